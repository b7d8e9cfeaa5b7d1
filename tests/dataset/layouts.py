"""Small datasets in each layout, for tests to damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import open_fold
from tests.files import write
from util.errors import UserError

COCO_NAMES = {split: [f"COCO_{split}2014_{number:012d}" for number in (9, 10, 30, 400)] for split in ("train", "val")}
FSS_NAMES = {"trn": ("bus", "apple"), "val": ("crab", "abacus", "zebra"), "test": ("drum", "cup")}


def lay_out_pascal(folder: Path) -> Path:
    """Six images with masks (empty files: nothing opens them), lists of four and two."""
    root = folder / "VOC2012"
    for name in "abcdef":
        write(root / "JPEGImages" / f"{name}.jpg")
        write(root / "SegmentationClassAug" / f"{name}.png")
    write(root / "ImageSets" / "train.txt", "d\na\nc\nb\n")
    write(root / "ImageSets" / "val.txt", "f\ne\n")
    return root


def lay_out_coco(folder: Path) -> Path:
    """Four images with masks in either split (empty files), no lists."""
    root = folder / "COCO2014"
    for split, names in COCO_NAMES.items():
        for name in names:
            write(root / f"{split}2014" / f"{name}.jpg")
            write(root / "annotations" / f"{split}2014" / f"{name}.png")
    return root


def lay_out_fss(folder: Path) -> Path:
    """Seven classes of ten images of 6x4 pixels; the object of image n of a class covers n pixels."""
    root = folder / "FSS-1000"
    for file, names in FSS_NAMES.items():
        write(root / "splits" / f"{file}.txt", "".join(f"{name}\n" for name in names))
        for name in names:
            (root / name).mkdir()
            for number in range(1, 11):
                Image.new("RGB", (6, 4)).save(root / name / f"{number}.jpg")
                save_object(root / name / f"{number}.png", number, "RGB" if number % 2 else "L")
    return root


def save_object(path: Path, pixels: int, mode: str, values: tuple[int, int] = (255, 0)) -> None:
    """A mask of 6x4 pixels with an object of some; values: of object and background."""
    grey = np.full(24, values[1], np.uint8)
    grey[:pixels] = values[0]
    Image.fromarray(grey.reshape(4, 6)).convert(mode).save(path)


def save_labels(path: Path, *areas: tuple[int, int]) -> None:
    """A mask of 128x64 pixels, (label, pixels) from its first pixel on."""
    labels, start = np.zeros(128 * 64, np.uint8), 0
    for label, pixels in areas:
        labels[start : start + pixels] = label
        start += pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.reshape(64, 128)).save(path)


LAYOUTS: dict[str, Callable[[Path], Path]] = {"pascal": lay_out_pascal, "coco": lay_out_coco, "fss": lay_out_fss}
FOLDS = {"pascal": (0, None), "coco": (0, "contiguous"), "fss": (None, None)}


def failure(dataset: str, root: Path, hsnet_lists: str | None = None) -> str:
    """The line that is said when a fold cannot be opened."""
    with pytest.raises(UserError) as excinfo:
        open_fold(dataset, root, *FOLDS[dataset], hsnet_lists)
    message = str(excinfo.value)
    assert "\n" not in message
    return message
