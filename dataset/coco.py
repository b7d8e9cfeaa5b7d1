"""COCO-20i: COCO 2014 with label masks, 1..80 in order of category id, four folds of twenty.

Two layouts are taken: COCO2014/{train2014,val2014} with masks in annotations/{train2014,val2014}, which
prepare.py coco makes, and the authors' {train,val}_coco folders, each in VOC's layout.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset import hsnet
from dataset.episodes import MIN_PIXELS, Episode
from dataset.images import ImageSet, Part, stems
from dataset.lists import class_names, read_ids
from util.errors import UserError

NAME, TITLE = "coco", "COCO-20i"
FOLDER = "COCO2014"  # inside a folder that holds several datasets
PARTS = ("train", "test")
SPLITS, COUNTED = ("train", "val"), "images"
COUNTS = {"train": 82783, "val": 40504}
WITH_OBJECTS = {"train": 82081, "val": 40137}  # the others enter no episode
PARTIAL: dict[tuple[str, int], str] = {}
FOLDS = (0, 1, 2, 3)
EPISODES = 4000  # of one evaluation seed
CROP_SIZE = 473
CONTIGUOUS, INTERLEAVED = CLASS_ORDERS = ("contiguous", "interleaved")
HSNET_EPISODES, HSNET_ORDER = hsnet.EPISODES, INTERLEAVED
HSNET_COUNTS = {0: 35783, 1: 17912, 2: 14563, 3: 14315}  # pairs of an image and a class
CLASS_NAMES = dict(
    enumerate(
        (
            "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
            "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,"
            "tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
            "tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,"
            "hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,"
            "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,"
            "toothbrush"
        ).split(","),
        start=1,
    )
)


def novel_classes(fold: int, class_order: str | None) -> list[int]:
    """The twenty classes that a fold tests on: 20k+1 .. 20k+20 (the paper's own), or k+1, k+5 .. k+77 (HSNet's)."""
    if class_order == CONTIGUOUS:
        return list(range(20 * fold + 1, 20 * fold + 21))
    if class_order == INTERLEAVED:
        return list(range(fold + 1, 81, 4))
    raise ValueError(f"class_order {class_order!r} is not one of {CLASS_ORDERS}")


def open_part(root: Path, part: str, fold: int | None, class_order: str | None, splits: str | None) -> Part:
    """The "train" or "test" part of a fold."""
    novel = novel_classes(fold, class_order)
    images = image_set(root, "val" if part == "test" else "train")
    return Part(images, [cls for cls in images.class_names if (cls in novel) == (part == "test")], MIN_PIXELS)


def any_image(root: Path, split: str = "val") -> ImageSet:
    """Every image of a split by its name, such as COCO_val2014_000000000042; ids are left empty."""
    images, masks, _ = _folders(root, split)
    return ImageSet(f"coco {split}", (), images, masks, class_names(root, CLASS_NAMES))


def image_set(root: Path, split: str, splits: str | None = None) -> ImageSet:
    """The "train" or "val" images, in the order of their list, or of their names if there is none.

    Raises UserError naming what is missing: folders, or masks of images that no list leaves out.
    """
    del splits  # lists of HSNet's, which only FSS-1000 takes its classes from
    everything = any_image(root, split)
    images, masks, listed = _folders(root, split)
    if listed.is_file():
        return everything.listed(everything.name, read_ids(listed))
    ids = stems(images, ".jpg")
    bare = set(ids) - set(stems(masks, ".png"))
    if bare or not ids:
        raise UserError(
            f"{masks}: {len(bare)} of the {len(ids)} images in {images.name} have no mask there; "
            f"python prepare.py coco makes them, or {listed} can list the images to use"
        )
    return everything.listed(everything.name, ids)


def _folders(root: Path, split: str) -> tuple[Path, Path, Path]:
    """The folders of images and masks, and where a list of the split would be."""
    year, theirs = f"{split}2014", root / f"{split}_coco"
    choices = [
        (root / year, root / "annotations" / year, root / "ImageSets" / f"{split}.txt"),
        *(
            (theirs / "JPEGImages", theirs / masks, theirs / "ImageSets" / f"{split}.txt")
            for masks in ("SegmentationClassAug", "SegmentationClass")
        ),
    ]
    for images, masks, listed in choices:
        if images.is_dir() and masks.is_dir():
            return images, masks, listed
    if (root / year).is_dir():
        raise UserError(f"{root}: no masks in annotations/{year}; make them: python prepare.py coco --data-root {root}")
    raise UserError(
        f"{root}: no folder {year} (nor {split}_coco); the data root must be {FOLDER} or the folder that holds it"
    )


def hsnet_list(splits: Path, fold: int, new: bool = False) -> Path:
    """A fold's test images by class in HSNet's data/splits: our JSON if it is there or new, else HSNet's pickle."""
    own = splits / NAME / "val" / f"fold{fold}.json"
    return own if new or own.is_file() else own.with_suffix(".pkl")


def hsnet_count(path: Path) -> int:
    """The pairs of an image and a class in HSNet's list."""
    return sum(map(len, hsnet.read_class_lists(path).values()))


def plan_hsnet(path: Path, fold: int, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """HSNet's episodes: a class is drawn, then a query of it, then the supports."""
    lists = hsnet.read_class_lists(path)
    classes = [cls for cls in novel_classes(fold, HSNET_ORDER) if cls in lists or not hsnet.is_generated(path)]
    of_class = {cls: lists.get(cls, []) for cls in classes}
    hsnet.check_lists(of_class, path)
    if not classes:
        raise UserError(f"{path}: lists no class of fold {fold}; make it again")
    episodes = []
    for _ in range(HSNET_EPISODES):
        cls = hsnet.choice(classes, rng)
        query = hsnet.choice(of_class[cls], rng)
        episodes.append(Episode(query, cls, hsnet.draw_supports(of_class[cls], query, shot, rng)))
    return episodes


def hsnet_lines(pairs: Sequence[tuple[str, int]], source: str) -> list[str]:
    """HSNet's list of (image, class) pairs, as one line of JSON."""
    lists: dict[int, list[str]] = {}
    for image, cls in pairs:
        lists.setdefault(cls, []).append(image)
    return class_lists_line(lists, source)


def class_lists_line(lists: Mapping[int, Sequence[str]], source: str) -> list[str]:
    """The images of each class as one line of JSON; HSNet counts classes from 0."""
    return [json.dumps({"source": source, "classes": {cls - 1: images for cls, images in lists.items()}})]
