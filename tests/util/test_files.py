"""Files are whole or absent, whatever goes wrong while they are written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from engine.checkpoint import save_weights
from engine.training.run_files import free_stem
from tests.files import CHECKOUT
from util.errors import UserError
from util.files import (
    OutputFile,
    atomic_write,
    check_outputs,
    check_writable,
    is_name,
    remove_leftovers,
    temporary_name,
)
from util.numbers import is_whole


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        with atomic_write(path) as file:
            file.write(b"new")
            file.flush()
            assert path.read_bytes() == b"old"
        assert path.read_bytes() == b"new"
        assert reader.read() == b"old"  # another file took the name, this one was not written to


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link, dangling = tmp_path / "real" / "a", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "real" / "b")
    for path in (link, dangling):
        check_outputs({"--a": OutputFile(path, "old")})
        with atomic_write(path) as file:
            file.write(b"new")
        assert path.is_symlink()
        assert path.read_bytes() == b"new"
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["a", "b"]


def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "null"):
        check_outputs({"--a": OutputFile(path, "mark")})
        with atomic_write(path) as file:
            file.write(b"gone")
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "null").is_symlink()


WRITER = """
from util.files import OutputFile, atomic_write, check_outputs
check_outputs({"--a": OutputFile("/dev/stdout", "mark")})
print("before", flush=True)
with atomic_write("/dev/stdout") as file:
    file.write(b"written")
"""


def test_the_standard_output_is_written_to(tmp_path: Path) -> None:
    """A pipe or a file of the shell's: neither is replaced."""
    command = [sys.executable, "-c", WRITER]
    piped = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"before\nwritten"
    with (tmp_path / "out").open("ab") as file:
        subprocess.run(command, cwd=CHECKOUT, stdout=file, check=True)
    assert (tmp_path / "out").read_bytes().endswith(b"written")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    """It would hang without a reader, or be replaced."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        for write in (check, lambda path: atomic_write(path).__enter__()):
            with pytest.raises(UserError, match=rf"{name}: is a pipe, a socket or a disk; name a file to write$"):
                write(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()


def check(path: str | Path) -> None:
    """A file for a flag --a, which writes files that begin with a mark."""
    check_outputs({"--a": OutputFile(path, "a mark")})


def test_outputs_and_inputs_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    (tmp_path / "link").symlink_to(tmp_path / "in")

    def check_all(**paths: str | Path | None) -> None:
        check_outputs({f"--{name}": OutputFile(path, "mark") for name, path in paths.items()}, [tmp_path / "in", None])

    check_all(a=tmp_path / "x", b=tmp_path / "y", c=None)
    check_all(a="/dev/null", b="/dev/null")
    for outputs in ({"a": tmp_path / "in"}, {"a": tmp_path / "link"}, {"b": "x", "a": "./x"}):
        with pytest.raises(UserError, match=r"^--a .*: is read, or written by another flag; name another file$"):
            check_all(**outputs)


THERE = {  # what lies where something is to be written, and whether it is replaced
    "nothing": (None, True),
    "an empty file, as mktemp makes": (b"", True),
    "what the flag wrote": (b"{a mark: 1}", True),
    "with a head before": (b"x" * 4000 + b"a mark", True),
    "a list": (b"2007_000033\n", False),
    "a picture": (b"\x89PNG\r\n\x1a\n", False),
    "with a mark at the end, as a video": (b"x" * 5000 + b"a mark" + b"x" * 4000, True),
    "a mark in the middle": (b"x" * 5000 + b"a mark" + b"x" * 5000, False),
}


@pytest.mark.parametrize("there", THERE)
def test_only_what_the_flag_wrote_is_replaced(there: str, tmp_path: Path) -> None:
    content, is_replaced = THERE[there]
    path, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(path)
    if content is not None:
        path.write_bytes(content)
    for name in (path, link):
        if is_replaced:
            check(name)
        else:
            says = rf"^--a {name}: is there and is nothing that --a writes; name another, or move it away$"
            with pytest.raises(UserError, match=says):
                check(name)
    assert (path.read_bytes() if path.exists() else None) == content


@pytest.mark.parametrize("text", ["", ".", "..", "../x", "/x", "a/b", "a\nb", "a\\b"])
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)
    assert is_name("resnet50_1shot_61.40")


@pytest.mark.parametrize("text", ["", "-1", "1_0", " 1", "1.0", "\u0663", "1" * 1001])
def test_what_is_no_whole_number(text: str) -> None:
    assert not is_whole(text)
    assert is_whole("1" * 1000)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")

    def write() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == [(path, b"old")]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    path = tmp_path / "file" / "below" / "file.txt"
    with pytest.raises(UserError) as excinfo, atomic_write(path) as file:
        file.write(b"new")
    assert str(excinfo.value) == f"cannot write {path}: Not a directory"
    with pytest.raises(UserError) as excinfo:
        check_writable(path.parent)
    assert str(excinfo.value) == f"cannot write to {path.parent}: Not a directory"
    assert (tmp_path / "file").read_bytes() == b"content"


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file can grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_figure(file: BinaryIO) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    figure.figimage(NOISE)
    figure.savefig(file, format="png", dpi=100)


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
WRITERS: dict[str, Callable[[BinaryIO], object]] = {
    "bytes": lambda file: file.write(bytes(20_000)),
    "numpy": lambda file: np.savez(file, noise=NOISE),
    "matplotlib": save_figure,
    **{
        kind: lambda file, kind=kind: Image.fromarray(NOISE).save(file, kind, quality=95)
        for kind in ("JPEG", "PNG", "TIFF")
    },
}


@pytest.mark.parametrize("what", WRITERS)
def test_a_full_disk_is_one_line(tmp_path: Path, what: str) -> None:
    """Even if it is the last byte that finds no room."""
    path, whole = tmp_path / "file", BytesIO()
    path.write_bytes(b"old")
    WRITERS[what](whole)
    with full_disk(len(whole.getvalue()) - 1), pytest.raises(UserError) as excinfo, atomic_write(path) as file:
        WRITERS[what](file)
    assert str(excinfo.value) == f"cannot write {path}: File too large"
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == [(path, b"old")]


def test_weights_on_a_full_disk_are_one_line(tmp_path: Path) -> None:
    with full_disk(100_000), pytest.raises(UserError, match=r"^cannot write .*: File too large$"):
        save_weights(tmp_path / "file.pth", {"weight": torch.zeros(100_000)})
    assert list(tmp_path.iterdir()) == []


def test_files_of_an_earlier_run_keep_their_names(tmp_path: Path) -> None:
    stem = tmp_path / "resnet50_1shot_48.53"
    assert free_stem(stem) == stem
    (tmp_path / "resnet50_1shot_48.53.pth").touch()
    (tmp_path / "resnet50_1shot_48.53_2.ckpt").touch()
    assert free_stem(stem) == tmp_path / "resnet50_1shot_48.53_3"
    assert free_stem(stem, own=stem) == stem


def dead_process() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = dead_process()
    left = [temporary_name(name, dead) for name in ("a.png", "b.tar.gz", "a\n.png", "a" * 240)]
    kept = [
        temporary_name("a.png", os.getpid()),  # of this process, which may be writing it
        temporary_name("a.png", 1),  # of the first process, which may be another user's
        temporary_name("a.png", dead)[1:],  # visible, so somebody else's
        f".a.png.{dead}.other-host.ssp-tmp",  # of another machine, on which it may be running
        ".a.png.ssp-tmp",
    ]
    for name in (*left, *kept):
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / temporary_name("folder", dead)).mkdir()
    (tmp_path / temporary_name("link", dead)).symlink_to("a.png")
    kept += [temporary_name(name, dead) for name in ("folder", "link")]
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_leftover_that_is_being_written_stays(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as file:
        file.write(b"half")
        remove_leftovers(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"half"
