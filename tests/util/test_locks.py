"""One program at a time in one place."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import pytest

from tests.files import CHECKOUT
from util.errors import UserError
from util.locks import only_one

HOLDER = """
import sys, time
from pathlib import Path
from util.locks import only_one
with only_one(Path(sys.argv[1]), "a training"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=CHECKOUT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_lock_is_gone_at_the_end(tmp_path: Path) -> None:
    for _ in range(2):
        with only_one(tmp_path / "new" / "run.last", "a training"):
            assert [path.name for path in (tmp_path / "new").iterdir()] == [".run.last.lock"]
        assert not list((tmp_path / "new").iterdir())
    with pytest.raises(ZeroDivisionError), only_one(tmp_path / "run.last", "a training"):
        raise ZeroDivisionError
    assert not (tmp_path / ".run.last.lock").exists()


def test_the_second_says_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "run.last"
    process = holder(path)
    line = rf"^{path}: a training is under way there, by process {process.pid} on .* since {time.strftime('%Y')}-"
    with pytest.raises(UserError, match=line) as raised, only_one(path, "a training"):
        raise AssertionError
    assert str(raised.value).endswith("; wait for its end, or choose another place")
    assert (tmp_path / ".run.last.lock").exists()  # still the other one's
    process.kill()
    process.wait()


def test_a_kill_releases_it(tmp_path: Path) -> None:
    process = holder(tmp_path / "run.last")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with only_one(tmp_path / "run.last", "a training"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_does_not_count(tmp_path: Path) -> None:
    """Whoever ends removes the file: it may be open in another process that waits for its turn."""
    process = holder(tmp_path / "run.last")
    (tmp_path / ".run.last.lock").unlink()
    with only_one(tmp_path / "run.last", "a training"):
        assert (tmp_path / ".run.last.lock").exists()
    process.kill()
    process.wait()


def test_one_that_waits_is_next(tmp_path: Path) -> None:
    process = holder(tmp_path / "run.last")
    Timer(0.3, process.kill).start()
    with only_one(tmp_path / "run.last", "a recording", waits=True):
        assert process.wait() == -signal.SIGKILL


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"^cannot write "), only_one(tmp_path / "run.last", "a training"):
        raise AssertionError


@pytest.mark.parametrize("number", [524, errno.EINVAL, errno.EBADF, errno.EIO])
def test_a_file_system_that_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("util.locks.fcntl.flock", refuse)
    line = r"run\.last: its file system cannot lock \.run\.last\.lock \(.*\), .*; choose a place on a local disk, or "
    with pytest.raises(UserError, match=line), only_one(tmp_path / "run.last", "a training"):
        raise AssertionError
