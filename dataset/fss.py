"""FSS-1000: a folder for each class with ten images and ten object masks (docs/data.md).

520 classes to train on, 240 to choose the best weights on, 240 to test on, no folds. Three lists name the
classes of each split: in the dataset's folder splits (prepare.py fss makes them), or in HSNet's data/splits/fss.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from dataset import hsnet
from dataset.benchmark import Benchmark
from dataset.episodes import Episode
from dataset.folders import find_file, subfolders
from dataset.images import PHOTOS, ImageSet
from dataset.lists import read_names
from util.errors import UserError
from util.progress import progress

CLASS_LISTS = {"train": "trn.txt", "val": "val.txt", "test": "test.txt"}  # named as in HSNet's checkout
FIRST_CLASSES = {"train": 1, "val": 521, "test": 761}  # the number of the first class of a split
IMAGES = 10  # in each class's folder
NUMBERS = [str(number) for number in range(1, IMAGES + 1)]
FILE_ORDER = sorted(NUMBERS)  # as the names of a class's files sort: 1, 10, 2, ...


class Fss(Benchmark):
    """FSS-1000's folder of folders."""

    name, title, folder = "fss", "FSS-1000", "FSS-1000"
    lists, counted = tuple(CLASS_LISTS), "classes"
    named = True
    counts: ClassVar = {"train": 520, "val": 240, "test": 240}
    folds = (None,)
    min_pixels = 1  # every image shows its class, and each class has but ten: none is too small a support
    crop_size = 225  # our choice, which the paper does not give: the images have 224x224 pixels
    hsnet_episodes = 2400  # one for each test image
    hsnet_counts: ClassVar = {None: 240}  # classes

    @classmethod
    def novel_classes(cls, fold: int | None = None, class_order: str | None = None) -> list[int]:
        """The numbers of the test classes of the published lists; a smaller dataset's own lists hold fewer."""
        return list(range(FIRST_CLASSES["test"], FIRST_CLASSES["test"] + cls.counts["test"]))

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Whether it holds a class's folder."""
        return any(find_file(str(below / NUMBERS[0]), PHOTOS) for below in subfolders(folder))

    @property
    def class_list_folder(self) -> Path:
        """Where the three lists of classes are: beside the classes' folders, or where these lie one level deeper."""
        if self.hsnet_lists is not None:
            return self.hsnet_lists / self.name
        places = [folder / "splits" for folder in (self.root, self.root.parent)]
        return next((place for place in places if (place / CLASS_LISTS["test"]).is_file()), places[0])

    def read_class_list(self, split: str) -> list[str]:
        """The class names of a split, as listed. Raises UserError on a name that is listed twice, or that is a path."""
        way_out = "python prepare.py fss makes it, or pass an HSNet checkout's data/splits"
        return read_names(self.class_list_folder / CLASS_LISTS[split], way_out)

    def open_list(self, image_list: str) -> ImageSet:
        """The ten images of each class of a split."""
        names = dict(enumerate(sorted(self.read_class_list(image_list)), start=FIRST_CLASSES[image_list]))
        ids = [f"{name}/{number}" for name in names.values() for number in FILE_ORDER]
        return self.open_folders().listed(f"{self.name} {image_list}", ids, names)

    def open_folders(self, image_list: str | None = None) -> ImageSet:
        """Every image by its name with folder, such as abacus/1."""
        return ImageSet(self.name, (), self.root, self.root, {}, binary=True)

    def open_images(self, episodes: Sequence[Episode]) -> ImageSet:
        """The folders tell the names of the classes. Raises UserError also if images of a class are of two folders."""
        images = super().open_images(episodes)
        names = {episode.cls: os.path.dirname(episode.query) for episode in episodes}
        for episode in episodes:
            for image in (episode.query, *episode.supports):
                if os.path.dirname(image) != (name := names[episode.cls]):
                    own = f"an episode of class {episode.cls}, {name}, names the image {image}"
                    raise UserError(f"{self.root}: {own}; save the episodes again")
        return images.listed(images.name, images.ids, names)

    @classmethod
    def hsnet_list(cls, hsnet_lists: str | Path, fold: int | None = None) -> Path:
        """The list of test classes."""
        return Path(hsnet_lists) / cls.name / CLASS_LISTS["test"]

    @classmethod
    def hsnet_files(cls, hsnet_lists: str | Path) -> list[Path]:
        return [Path(hsnet_lists) / cls.name / name for name in CLASS_LISTS.values()]

    @classmethod
    def read_hsnet_list(cls, path: Path) -> list[tuple[str, int]]:
        """The first image of each class, for the whole class."""
        names = read_names(path, hsnet.MISSING)
        return [(f"{name}/1", number) for number, name in enumerate(names, start=FIRST_CLASSES["test"])]

    @classmethod
    def copy_hsnet_list(cls, path: Path) -> list[str]:
        return read_names(path, hsnet.MISSING)

    @classmethod
    def plan_hsnet(cls, hsnet_lists: str | Path, fold: int | None, shot: int) -> list[Episode]:
        """Every image is a query once, in the order in which the file names sort: 1, 10, 2, ..."""
        rng, episodes = np.random.RandomState(0), []
        names = sorted(read_names(cls.hsnet_list(hsnet_lists), hsnet.MISSING))
        listed = progress(names, "drawing HSNet's episodes", len(names), "class")
        for target, name in enumerate(listed, start=FIRST_CLASSES["test"]):
            for number in FILE_ORDER:
                supports = hsnet.draw_supports(NUMBERS, number, shot, rng)
                episodes.append(Episode(f"{name}/{number}", target, tuple(f"{name}/{support}" for support in supports)))
        return episodes

    @classmethod
    def hsnet_classes(cls, fold: int | None, episodes: Sequence[Episode]) -> list[int]:
        """The classes of the list, which all are drawn."""
        return sorted({episode.cls for episode in episodes})

    def hsnet_lists_of_masks(self, out: Path, workers: int | None = None) -> dict[Path, list[str]]:
        """The dataset's own three lists of classes."""
        return {
            Path(out) / self.name / file: hsnet.add_source(self.read_class_list(split), hsnet.GENERATED)
            for split, file in CLASS_LISTS.items()
        }
