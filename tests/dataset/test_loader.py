"""Loader processes hand over batches and errors, and none outlives the loading."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import weakref
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from dataset.loader import batches
from model import build_model
from tests.files import CHECKOUT
from util.errors import UserError


class Numbers(Dataset):
    """The numbers up to 20, of which one may be damaged."""

    def __init__(self, damaged: int | None = None) -> None:
        self.damaged = damaged

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> torch.Tensor:
        if number == self.damaged:
            raise UserError("7.jpg: damaged")
        return torch.tensor(number)


def read_all(loaded: Generator[Any, None, None]) -> None:
    assert torch.equal(torch.cat(list(loaded)), torch.arange(20))


def meet_error(loaded: Generator[Any, None, None]) -> UserError:
    with pytest.raises(UserError, match=r"^7\.jpg: damaged$") as caught:
        list(loaded)
    return caught.value


def close(loaded: Generator[Any, None, None]) -> None:
    next(loaded)
    loaded.close()


ENDS = {"last batch": (None, read_all), "error": (7, meet_error), "closed": (None, close)}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_no_process_is_left(end: str, workers: int) -> None:
    """At once, even while somebody holds the error."""
    damaged, read = ENDS[end]
    loaded = batches(Numbers(damaged), 2, workers)
    held = read(loaded)
    assert multiprocessing.active_children() == []
    del held


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_in_no_cycle(workers: int) -> None:
    """It goes with its last name, and with it all that its traceback holds."""
    gc.disable()
    try:
        dataset = Numbers(7)
        seen = weakref.ref(dataset)
        with suppress(UserError):
            list(batches(dataset, 2, workers))
        del dataset
        assert seen() is None
    finally:
        gc.enable()


def test_a_truncated_image_ends_a_program_with_one_line(toy_copy: Path, tmp_path: Path) -> None:
    """No traceback follows it when the processes end."""
    for path in (toy_copy / "JPEGImages").iterdir():
        os.truncate(path, 900)
    torch.save(build_model("ssp", "resnet50").half().state_dict(), tmp_path / "ssp.pth")
    flags = "--trained-on 0 --fold 0 --episodes 4 --seeds 1 --device cpu --workers 2".split()
    argv = ["test.py", "--data-root", toy_copy, "--checkpoint", tmp_path / "ssp.pth", *flags]
    done = subprocess.run([sys.executable, *argv], cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "damaged or not an image, fetch it again (image file is truncated" in done.stderr
