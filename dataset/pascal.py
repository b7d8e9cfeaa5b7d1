"""Pascal-5i: PASCAL VOC 2012 with the augmented masks, four folds of five classes (docs/method.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset import hsnet
from dataset.episodes import MIN_PIXELS, Episode
from dataset.images import ImageSet, Part, need_folders, stems
from dataset.lists import class_names, read_ids
from util.distributed import say
from util.errors import UserError

CLASS_NAMES = dict(
    enumerate(
        "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
        "pottedplant sheep sofa train tvmonitor".split(),
        start=1,
    )
)
NAME, TITLE = "pascal", "Pascal-5i"
FOLDER = "VOC2012"  # inside a folder that holds several datasets
PARTS = ("train", "test")  # the release chooses its best weights on the test classes
SPLITS, COUNTED = ("train", "val"), "images"
COUNTS = {"train": 10582, "val": 1449}  # images with an augmented mask, 12,031 in all
WITH_OBJECTS: dict[str, int] = {}
PARTIAL = {("train", 1464): "VOC's own 2,913 masks only, not the 12,031 augmented"}
FOLDS, CLASS_ORDERS = (0, 1, 2, 3), (None,)
EPISODES = 1000  # of one evaluation seed
CROP_SIZE = 473
HSNET_EPISODES, HSNET_ORDER = hsnet.EPISODES, None
HSNET_COUNTS = {0: 346, 1: 451, 2: 725, 3: 346}  # pairs of an image and a class


def novel_classes(fold: int, class_order: str | None = None) -> list[int]:
    """The five classes 5k+1 .. 5k+5 that a fold tests on."""
    return list(range(5 * fold + 1, 5 * fold + 6))


def open_part(root: Path, part: str, fold: int | None, class_order: str | None, splits: str | None) -> Part:
    """The "train" or "test" part of a fold; there is only one class order."""
    novel = novel_classes(fold)
    images = image_set(root, "val" if part == "test" else "train")
    return Part(images, [cls for cls in images.class_names if (cls in novel) == (part == "test")], MIN_PIXELS)


def any_image(root: Path) -> ImageSet:
    """Every image by its name; ids are left empty."""
    need_folders(root, FOLDER, "JPEGImages")
    return ImageSet("pascal", (), root / "JPEGImages", mask_folder(root), class_names(root, CLASS_NAMES))


def image_set(root: Path, split: str, splits: str | None = None) -> ImageSet:
    """The "train" or "val" images of a VOC2012 folder. Raises UserError naming what is missing.

    A list that is missing is derived: val is VOC's own segmentation val list, train every other mask.
    """
    del splits  # lists of HSNet's, which only FSS-1000 takes its classes from
    everything = any_image(root)
    listed = root / "ImageSets" / f"{split}.txt"
    if listed.is_file():
        ids = read_ids(listed)
    else:
        ids = derive_list(root, split)
        say(f"{listed}: no such list, derived: {len(ids)} {split} images")
    return everything.listed(f"pascal {split}", ids)


def mask_folder(root: Path) -> Path:
    """SegmentationClassAug, or if there is none SegmentationClass."""
    folders = [root / name for name in ("SegmentationClassAug", "SegmentationClass")]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise UserError(f"{root}: no folder SegmentationClassAug (or SegmentationClass) with the masks")
    return found


def derive_list(root: Path, split: str) -> tuple[str, ...]:
    """VOC's own list of validation images, or every image that has a mask and is not in the val list."""
    val, own = (root / "ImageSets" / name for name in ("val.txt", "Segmentation/val.txt"))
    if not val.is_file() and not own.is_file():
        raise UserError(f"{val}: no such list, and no ImageSets/Segmentation/val.txt to derive it from")
    held_out = read_ids(val if val.is_file() else own)
    if split == "val":
        return held_out
    masks = mask_folder(root)
    ids = tuple(sorted(set(stems(masks, ".png")) - set(held_out)))
    if not ids:
        raise UserError(f"{masks}: holds no mask that is not in the val list, so no image is left to train on")
    return ids


def hsnet_list(splits: Path, fold: int, new: bool = False) -> Path:
    """The list of a fold's test images in HSNet's data/splits."""
    return splits / NAME / "val" / f"fold{fold}.txt"


def hsnet_count(path: Path) -> int:
    """The pairs of an image and a class in HSNet's list."""
    return len(hsnet.read_pairs(path))


def plan_hsnet(path: Path, fold: int, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """HSNet's episodes: the queries in the order of the list, again from its start after its end."""
    pairs = hsnet.read_pairs(path)
    of_class: dict[int, list[str]] = {}
    for image, cls in pairs:
        of_class.setdefault(cls, []).append(image)
    hsnet.check_lists(of_class, path)
    drawn = (pairs[number % len(pairs)] for number in range(HSNET_EPISODES))
    return [Episode(query, cls, hsnet.draw_supports(of_class[cls], query, shot, rng)) for query, cls in drawn]


def hsnet_lines(pairs: Sequence[tuple[str, int]], source: str) -> list[str]:
    """The lines of HSNet's list, IMAGE__CLASS; a source other than HSNet is named in a comment.

    Raises ValueError if there are no pairs: HSNet's reader and ours refuse an empty list.
    """
    if not pairs:
        raise ValueError(f"no mask holds {MIN_PIXELS} pixels of a class")
    note = [] if source == hsnet.HSNET else [f"# {source}"]
    return [*note, *(f"{image}__{cls:02}" for image, cls in pairs)]
