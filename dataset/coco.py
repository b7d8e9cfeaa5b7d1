"""COCO-20i: COCO 2014 with label masks, 1..80 in order of category id, four folds of twenty.

Two layouts are taken: COCO2014/{train2014,val2014} with masks in annotations/{train2014,val2014}, which
prepare.py coco makes, and the authors' {train,val}_coco folders, each in VOC's layout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from dataset import hsnet
from dataset.benchmark import Benchmark
from dataset.episodes import Episode
from dataset.folders import describe_folder, find_folder, innermost
from dataset.images import MASKS, PICTURES, ImageSet, list_stems
from dataset.lists import number_classes
from util.errors import UserError

OTHER_YEAR = "COCO-20i is COCO 2014, whose lists are others: unpack train2014.zip, val2014.zip and its annotations"
CONTIGUOUS, INTERLEAVED = CLASS_ORDERS = ("contiguous", "interleaved")


class Coco(Benchmark):
    """COCO's folder; without a list the images are in the order of their names."""

    name, title, folder = "coco", "COCO-20i", "COCO2014"
    class_names = number_classes(
        (
            "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
            "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,"
            "tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
            "tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,"
            "hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,"
            "cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,"
            "toothbrush"
        ).split(",")
    )
    counts: ClassVar = {"train": 82783, "val": 40504}
    counts_with_objects: ClassVar = {"train": 82081, "val": 40137}  # the others enter no episode
    class_orders = CLASS_ORDERS
    episodes = 4000
    hsnet_order = INTERLEAVED
    hsnet_counts: ClassVar = {0: 35783, 1: 17912, 2: 14563, 3: 14315}  # pairs of an image and a class
    hsnet_suffix = ".json"

    @classmethod
    def novel_classes(cls, fold: int | None, class_order: str | None = None) -> list[int]:
        """The twenty classes that a fold tests on: 20k+1 .. 20k+20 (the paper's own), or k+1, k+5 .. k+77 (HSNet's)."""
        if class_order == CONTIGUOUS:
            return super().novel_classes(fold)
        if class_order == INTERLEAVED:
            return list(range(fold + 1, 81, 4))
        raise ValueError(f"class_order {class_order!r} is not one of {CLASS_ORDERS}")

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Whether it holds a folder of images, of another year too, or an instances JSON."""
        names = [f"{where}{split}{year}" for where in ("", "images/") for split in cls.lists for year in (2014, 2017)]
        return any((folder / name).is_dir() for name in [*names, *(f"{split}_coco" for split in cls.lists)]) or any(
            (folder / "annotations" / instances_name(split)).is_file() for split in cls.lists
        )

    def open_folders(self, image_list: str | None = None) -> ImageSet:
        image_list = image_list or "val"
        images, masks, _ = self._folders(image_list)
        return ImageSet(f"{self.name} {image_list}", (), images, masks, self.read_class_names())

    def open_list(self, image_list: str) -> ImageSet:
        images = super().open_list(image_list)
        check_year(images)
        return images

    def open_images(self, episodes: Sequence[Episode]) -> ImageSet:
        check_year(self.open_folders().listed(self.name, [episodes[0].query]))
        return super().open_images(episodes)

    def instances_path(self, image_list: str) -> Path:
        """The instances JSON of a list, where the annotations are usually unpacked to or as deep as they may lie."""
        name, usual = instances_name(image_list), self.root / "annotations"
        found = find_folder(usual, lambda folder: (folder / name).is_file())
        found = found or find_folder(self.root, lambda folder: (folder / name).is_file())
        return (found or usual) / name

    def list_path(self, image_list: str) -> Path:
        return self._folders(image_list)[2]

    def derive_ids(self, image_list: str) -> tuple[str, ...]:
        images, masks, listed = self._folders(image_list)
        ids = list_stems(images, PICTURES)
        bare = set(ids) - set(list_stems(masks, MASKS))
        if bare or not ids:
            raise UserError(
                f"{masks}: {len(bare)} of the {len(ids)} images in {images.name} have no mask there; "
                f"python prepare.py coco makes them, or {listed} can list the images to use"
            )
        return ids

    def _folders(self, image_list: str) -> tuple[Path, Path, Path]:
        """The folders of images and masks, and where the list would be."""
        root, year, theirs = self.root, f"{image_list}2014", self.root / f"{image_list}_coco"
        ours = root / year if (root / year).is_dir() else root / "images" / year
        choices = [
            (ours, root / "annotations" / year, root),
            (theirs / "JPEGImages", theirs / "SegmentationClassAug", theirs),
            (theirs / "JPEGImages", theirs / "SegmentationClass", theirs),
        ]
        for images, masks, folder in choices:
            if images.is_dir() and masks.is_dir():
                listed = folder / "ImageSets" / f"{image_list}.txt"
                return innermost(images, PICTURES), innermost(masks, MASKS), listed
        if ours.is_dir():
            way_out = f"make them: python prepare.py coco --data-root {root}"
            raise UserError(f"{root}: no masks in annotations/{year}; {way_out}")
        way_out = f"the data root must be {self.folder} or the folder that holds it"
        if any((root / where / f"{image_list}2017").is_dir() for where in ("", "images")):
            way_out = f"{image_list}2017 is COCO 2017, {OTHER_YEAR}"
        raise UserError(f"{root}: no folder {year} (nor {theirs.name}); {way_out}; {describe_folder(root)}")

    @classmethod
    def hsnet_list(cls, hsnet_lists: str | Path, fold: int | None) -> Path:
        """Our JSON if it is there, else HSNet's pickle."""
        path = super().hsnet_list(hsnet_lists, fold)
        return path if path.is_file() else path.with_suffix(".pkl")

    @classmethod
    def read_hsnet_list(cls, path: Path) -> list[tuple[str, int]]:
        return [(image, target) for target, images in hsnet.read_class_lists(path).items() for image in images]

    @classmethod
    def copy_hsnet_list(cls, path: Path) -> list[str]:
        """With the classes that it has no image of."""
        return [_class_lists_line(hsnet.read_class_lists(path), hsnet.IMPORTED)]

    @classmethod
    def hsnet_lines(cls, pairs: Sequence[tuple[str, int]], source: str) -> list[str]:
        return [_class_lists_line(hsnet.group_by_class(pairs), source)]

    @classmethod
    def plan_hsnet(cls, hsnet_lists: str | Path, fold: int | None, shot: int) -> list[Episode]:
        """A class is drawn, then a query of it, then the supports."""
        path, rng = cls.hsnet_list(hsnet_lists, fold), np.random.RandomState(0)
        lists = hsnet.read_class_lists(path)
        classes = cls.novel_classes(fold, INTERLEAVED)
        if hsnet.is_generated(path):  # a list that was made from few masks may lack a class
            classes = [target for target in classes if target in lists]
        of_class = {target: lists.get(target, []) for target in classes}
        hsnet.check_lists(of_class, path)
        if not classes:
            raise UserError(f"{path}: lists no class of fold {fold}; make it again")
        episodes = []
        for _ in hsnet.count_drawn(cls.hsnet_episodes):
            target = hsnet.draw_one(classes, rng)
            query = hsnet.draw_one(of_class[target], rng)
            episodes.append(Episode(query, target, hsnet.draw_supports(of_class[target], query, shot, rng)))
        return episodes


def instances_name(image_list: str, year: int = 2014) -> str:
    """The file of COCO's annotations of a list."""
    return f"instances_{image_list}{year}.json"


def check_year(images: ImageSet) -> None:
    """Raise UserError if the images are named as in one year of COCO and the list as in the other."""
    listed = images.ids[0]
    number = listed.rpartition("_")[2]
    other = f"COCO_{images.name.split()[-1]}2014_{number}" if listed == number else number
    if not os.path.isfile(images.image_path(listed)) and os.path.isfile(found := images.image_path(other)):
        named, list_named = (2017, 2014) if other == number else (2014, 2017)
        line = f"the images are named as COCO {named}'s ({os.path.basename(found)}), in the list as {list_named}'s"
        raise UserError(f"{images.images}: {line} ({listed}); {OTHER_YEAR}")


def _class_lists_line(lists: Mapping[int, Sequence[str]], source: str) -> str:
    """The images of each class as one line of JSON; HSNet counts classes from 0."""
    return json.dumps({"source": source, "classes": {cls - 1: images for cls, images in lists.items()}})
