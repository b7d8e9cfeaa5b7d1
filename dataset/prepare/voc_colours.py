"""Masks of VOC that hold their labels as colours, or otherwise than a label a pixel: found, and written anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.images import read_converted
from util.errors import UserError
from util.files import atomic_write, check_writable, remove_leftovers
from util.processes import map_files


def examine_masks(paths: Sequence[Path], workers: int | None = None) -> tuple[list[Path], list[str]]:
    """Masks whose pixels are not their labels, though they tell them, and what is said of those that cannot be read.

    workers: processes, all cores by default.
    """
    work = map_files(_examine, paths, count=len(paths), what="looking at masks", unit="mask", workers=workers)
    in_colours, unreadable = [], []
    for path, (differs, error) in zip(paths, work, strict=True):
        if error:
            unreadable.append(error)
        elif differs:
            in_colours.append(path)
    return in_colours, unreadable


def convert_masks(paths: Sequence[Path], kept: Path, workers: int | None = None) -> None:
    """Replace masks by grey PNGs of their labels, each atomically; their old files are kept in a folder.

    Raises UserError naming a file of the folder that is another one than the mask that it should keep.
    """
    check_writable(kept)
    remove_leftovers(kept)
    work = partial(_convert, kept=kept)
    for _ in map_files(work, paths, count=len(paths), what="writing labels", unit="mask", workers=workers):
        pass


def _examine(path: Path) -> tuple[bool, str]:
    try:
        return read_converted(path) is not None, ""
    except UserError as error:
        return False, str(error)


def _convert(path: Path, kept: Path) -> None:
    labels: np.ndarray | None = read_converted(path)
    if labels is None:
        return
    old = kept / path.name
    if old.exists() and old.read_bytes() != path.read_bytes():
        raise UserError(f"{old}: keeps another mask of this name; move {kept.name} away")
    with path.open("rb") as content, atomic_write(old) as file:
        shutil.copyfileobj(content, file)
    with atomic_write(path) as file:
        Image.fromarray(labels).save(file, "PNG")
