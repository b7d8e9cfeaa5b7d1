"""What can be mended is one line and exit code 2; a defect is one line and 3, or keeps its traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.files import CHECKOUT
from util.errors import UserError
from util.launch import TRACEBACK, command


def fail(error: BaseException) -> None:
    raise error


def refused(number: int, name: str | None) -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("file: gone"), 2, "error: file: gone\n"),
        (UserError("a\nerror: b\x1b[31m.jpg: gone"), 2, "error: a\\nerror: b\\x1b[31m.jpg: gone\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (refused(errno.EACCES, "x"), 2, "error: x: Permission denied; give yourself the right, or name another\n"),
        (refused(errno.ENAMETOOLONG, "aa"), 2, "error: aa: File name too long; shorten the name\n"),
        (refused(errno.EIO, "x"), 2, "error: x: Input/output error; name another\n"),
    ],
)
def test_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as excinfo:
        command(lambda: fail(error))
    assert excinfo.value.code == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("no number"), RuntimeError("x")])
def test_defects_keep_their_traceback(error: Exception) -> None:
    """In tests, so that these fail."""
    with pytest.raises(type(error)):
        command(lambda: fail(error))


def test_a_defect_is_one_line_for_users(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(TRACEBACK)
    with pytest.raises(SystemExit) as excinfo:
        command(lambda: fail(ValueError("two\nlines")))
    assert excinfo.value.code == 3
    line = capsys.readouterr().err
    assert line.startswith("error: ValueError: two (test_launch.py, line ")
    assert line.endswith("): a defect of this program; SSP_TRACEBACK=1 before the command shows all\n")


def test_success_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda: None)
    assert capsys.readouterr() == ("", "")


PRINTER = """
import sys
from util.distributed import say
from util.launch import command

def main():
    for number in range(3):
        {} (f"line {{number}} {}")
    open(sys.argv[1], "w").write("went on")

command(main)
"""


def printed(how: str, name: str, tmp_path: Path, **options: object) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-c", PRINTER.format(how, name), str(tmp_path / "end")]
    return subprocess.run(argv, cwd=CHECKOUT, stderr=subprocess.PIPE, check=False, **options)


@pytest.mark.parametrize(("how", "code", "ends"), [("print", 141, False), ("say", 0, True)])
def test_a_reader_that_has_gone(how: str, code: int, ends: bool, tmp_path: Path) -> None:
    """A report ends quietly, a training goes on without it."""
    reading, writing = os.pipe()
    os.close(reading)
    flush = "import functools; print = functools.partial(print, flush=True)\n"
    argv = [sys.executable, "-c", flush + PRINTER.format(how, ""), str(tmp_path / "end")]
    done = subprocess.run(argv, cwd=CHECKOUT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (code, b"")
    assert (tmp_path / "end").exists() == ends


def test_a_full_output_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = printed("print", "", tmp_path, stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"error: the output: No space left on device; make room there\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_a_terminal_that_cannot_show_a_name(encoding: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = printed("print", "\\xe9\\udcff", tmp_path, stdout=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\udcff" in done.stdout


MEMORY = "error: memory is full; close other programs, or lower --workers, --cache-gb or --max-side\n"
IN_A_LOADER = "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback\nRuntimeError: {}"


def test_memory_as_torch_and_the_system_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as allocated:
        torch.empty(2**48)
    lacks = [allocated.value, RuntimeError(IN_A_LOADER.format(allocated.value)), refused(errno.ENOMEM, None)]
    for error in lacks:
        with pytest.raises(SystemExit) as ended:
            command(lambda error=error: fail(error))
        assert (ended.value.code, capsys.readouterr().err) == (2, MEMORY)


# Standard streams that are closed, as the shell says it; whether the note can be read

CLOSED = {">&-": True, "2>&-": False, ">&- 2>&-": False, "<&- >&- 2>&-": False, "<&-": False}


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(
    "words", ["report.py --all --out {0} --csv {0}/out", "prepare.py toy --train 1 --val 1 --out {0}/out"]
)
def test_closed_streams(words: str, closed: str, tmp_path: Path) -> None:
    """The work is done, and what was printed is in no file."""
    line = f"{sys.executable} {words.format(tmp_path)} {closed}"
    done = subprocess.run(line, shell=True, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    note = "note: the standard output is closed; what is printed there is lost\n"
    assert done.stderr == (note if CLOSED[closed] else "")
    out = tmp_path / "out"
    assert out.is_dir() or out.read_text().startswith("dataset,protocol,")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_an_error_with_closed_streams(closed: str, tmp_path: Path) -> None:
    line = f"{sys.executable} report.py {tmp_path}/absent {closed}"
    done = subprocess.run(line, shell=True, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert ("absent: does not exist" in done.stderr) == ("2>&-" not in closed)
