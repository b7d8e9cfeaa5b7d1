"""FSS-1000: a folder for each class with ten images and ten object masks (docs/data.md).

520 classes to train on, 240 to choose the best weights on, 240 to test on, no folds. Three lists name the
classes of each part: in the dataset's folder splits (prepare.py fss makes them), or in HSNet's data/splits/fss.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset import hsnet
from dataset.episodes import Episode
from dataset.images import ImageSet, Part
from dataset.lists import read_names

NAME, TITLE = "fss", "FSS-1000"
FOLDER = "FSS-1000"  # inside a folder that holds several datasets
PARTS = ("train", "select", "test")
LISTS = {"train": "trn.txt", "select": "val.txt", "test": "test.txt"}  # named as in HSNet's checkout
SPLITS, COUNTED = PARTS, "classes"
COUNTS = {"train": 520, "select": 240, "test": 240}
WITH_OBJECTS: dict[str, int] = {}
PARTIAL: dict[tuple[str, int], str] = {}
FOLDS, CLASS_ORDERS = (None,), (None,)
FIRST = {"train": 1, "select": 521, "test": 761}  # the number of the first class of a part
IMAGES = 10  # of each class
EPISODES = 1000  # of one evaluation seed
CROP_SIZE = 225  # our choice, which the paper does not give: the images have 224x224 pixels
HSNET_COUNTS = {None: COUNTS["test"]}  # classes
HSNET_EPISODES, HSNET_ORDER = IMAGES * COUNTS["test"], None  # one for each test image
# Every image shows its class and each class has but ten: none is too small a support.
MIN_PIXELS = 1


def open_part(root: Path, part: str, fold: int | None, class_order: str | None, splits: str | None) -> Part:
    """The "train", "select" or "test" part; splits: data/splits of an HSNet checkout, None for the dataset's own."""
    images = image_set(root, part, splits)
    return Part(images, list(images.class_names), MIN_PIXELS)


def image_set(root: Path, split: str, splits: str | None = None) -> ImageSet:
    """The ten images of each class of a part, which is what FSS-1000 has for a split."""
    names = dict(enumerate(sorted(class_list(lists_folder(root, splits), split)), start=FIRST[split]))
    ids = tuple(f"{name}/{number}" for name in names.values() for number in file_order())
    return any_image(root).listed(f"fss {split}", ids, names)


def novel_classes(fold: int | None = None, class_order: str | None = None) -> list[int]:
    """The numbers of the test classes of the published lists; a smaller dataset's own lists hold fewer."""
    return list(range(FIRST["test"], FIRST["test"] + COUNTS["test"]))


def lists_folder(root: Path, splits: str | None) -> Path:
    return root / "splits" if splits is None else Path(splits) / "fss"


def class_list(folder: Path, part: str) -> list[str]:
    """The class names of a part, as listed. Raises UserError on a name that is listed twice, or that is a path."""
    path = folder / LISTS[part]
    return read_names(path, "python prepare.py fss makes it, or pass an HSNet checkout's data/splits")


def file_order() -> list[str]:
    """The numbers of a class's images as their file names sort: 1, 10, 2, ..."""
    return sorted(str(number) for number in range(1, IMAGES + 1))


def any_image(root: Path) -> ImageSet:
    """Every image by its name with folder, such as abacus/1; ids and class names are left empty."""
    return ImageSet("fss", (), root, root, {}, binary=True)


def hsnet_list(splits: Path, fold: int | None = None, new: bool = False) -> Path:
    """The list of test classes in HSNet's data/splits."""
    return splits / NAME / LISTS["test"]


def hsnet_count(path: Path) -> int:
    """The test classes that HSNet lists."""
    return len(read_names(path, hsnet.MISSING))


def plan_hsnet(path: Path, fold: int | None, shot: int, rng: np.random.RandomState) -> list[Episode]:
    """HSNet's episodes: every image is a query once, in the order in which the file names sort: 1, 10, 2, ..."""
    drawn_from = [str(number) for number in range(1, IMAGES + 1)]
    episodes = []
    for cls, name in enumerate(sorted(read_names(path, hsnet.MISSING)), start=FIRST["test"]):
        for number in file_order():
            supports = hsnet.draw_supports(drawn_from, number, shot, rng)
            episodes.append(Episode(f"{name}/{number}", cls, tuple(f"{name}/{support}" for support in supports)))
    return episodes


def hsnet_lines(pairs: Sequence[tuple[str, int]], source: str) -> list[str]:
    """The lines of a list of HSNet: the classes, which are the folders of the images."""
    note = [] if source == hsnet.HSNET else [f"# {source}"]
    return [*note, *dict.fromkeys(image.split("/")[0] for image, _ in pairs)]
