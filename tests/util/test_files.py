"""Files are whole or absent, whatever goes wrong while they are written."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from model.checkpoint import save_weights
from util.errors import UserError
from util.files import atomic_write, check_writable
from util.runs import free_stem


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


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_everything_as_it_was(
    tmp_path: Path, old: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_bytes(old)

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == ([(path, old)] if old else [])


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


def test_a_path_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*: Is a directory$"), atomic_write(path) as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_check_writable_makes_the_folder_and_nothing_in_it(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file can grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_bytes(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(bytes(200_000))


def save_tensors(path: Path) -> None:
    save_weights(path, {"weight": torch.zeros(100_000)})


@pytest.mark.parametrize("save", [save_bytes, save_tensors])
def test_a_full_disk_is_one_line(tmp_path: Path, save: Callable[[Path], None]) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(b"old")
    with full_disk(100_000), pytest.raises(UserError) as excinfo:
        save(path)
    assert str(excinfo.value).startswith(f"cannot write {path}: ")
    assert "\n" not in str(excinfo.value)
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == [(path, b"old")]


def test_files_of_an_earlier_run_keep_their_names(tmp_path: Path) -> None:
    stem = tmp_path / "resnet50_1shot_48.53"
    assert free_stem(stem) == stem
    (tmp_path / "resnet50_1shot_48.53.pth").touch()
    (tmp_path / "resnet50_1shot_48.53_2.ckpt").touch()
    assert free_stem(stem) == tmp_path / "resnet50_1shot_48.53_3"
    assert free_stem(stem, own=stem) == stem
