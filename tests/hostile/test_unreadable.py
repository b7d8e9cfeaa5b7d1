"""What the system does not let us read is not called damaged, and nobody is told to remove it or to fetch it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataset.hsnet import read_class_lists
from dataset.images import read_mask
from dataset.index import read_object
from dataset.lists import read_lines
from dataset.prepare.verify import examine
from dataset.provenance import read_name
from engine.checkpoint import load_checkpoint
from engine.evaluation.protocol import load_episodes
from engine.recorded import read_record
from engine.training.state import load_training
from util.errors import UserError

IO_ERROR = Path("/proc/self/mem")  # a file whose first byte cannot be read
READERS: dict[str, Callable[[Path], object]] = {
    "expected.json": lambda path: read_name(path.parent),
    "checkpoints.json": lambda path: read_record(path.parent),
    "run.last": load_training,
    "run.last.previous": lambda path: load_training(path.with_suffix("")),
    "w.ckpt": load_checkpoint,
    "w.safetensors": load_checkpoint,
    "fold.json": read_class_lists,
    "fold.pkl": read_class_lists,
    "mask.png": read_mask,
    "header.png": lambda path: examine(str(path), str(path), read_object, quick=True),
    "list.txt": lambda path: read_lines(path, "make it"),
    "episodes.json": load_episodes,
}


@pytest.mark.skipif(not IO_ERROR.is_file(), reason="needs Linux's /proc")
@pytest.mark.parametrize("what", ["a folder", "an error of the disk"])
@pytest.mark.parametrize("name", READERS)
def test_what_cannot_be_read(name: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if what == "a folder":
        path.mkdir()
    else:
        path.symlink_to(IO_ERROR)
    try:
        said = str(READERS[name](path))  # findings, or nothing where a folder is no such file
    except UserError as error:
        said = str(error)
        assert str(path) in said
    assert "damaged" not in said
    assert "remove" not in said
    assert "again" not in said
    assert path.exists()
