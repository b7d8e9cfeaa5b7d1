"""FSS-1000: a folder for each class with ten images and ten object masks (docs/method.md, section 7).

520 classes to train on, 240 to choose the best weights on, 240 to test on, no folds. Which is which say three
lists, in the dataset's folder splits (prepare.py fss makes them) or in an HSNet checkout's data/splits/fss.
"""

from __future__ import annotations

from pathlib import Path

from dataset.images import ImageSet, Part
from dataset.lists import read_lines
from util.errors import UserError

FOLDER = "FSS-1000"  # inside a folder that holds several datasets
PARTS = ("train", "select", "test")
LISTS = {"train": "trn.txt", "select": "val.txt", "test": "test.txt"}  # named as in HSNet's checkout
COUNTS = {"train": 520, "select": 240, "test": 240}  # classes
FIRST = {"train": 1, "select": 521, "test": 761}  # the number of the first class of a part
IMAGES = 10  # of each class
EPISODES = 1000  # of one evaluation seed
CROP_SIZE = 225  # the images have 224x224 pixels
# Every image shows its class and each class has but ten: none is too small a support.
MIN_PIXELS = 1


def open_part(root: Path, part: str, fold: int | None, class_order: str | None, splits: str | None) -> Part:
    """The "train", "select" or "test" part; splits: data/splits of an HSNet checkout, None for the dataset's own."""
    names = dict(enumerate(sorted(class_list(lists_folder(root, splits), part)), start=FIRST[part]))
    ids = tuple(f"{name}/{number}" for name in names.values() for number in file_order())
    return Part(any_image(root).listed(f"fss {part}", ids, names), list(names), MIN_PIXELS)


def lists_folder(root: Path, splits: str | None) -> Path:
    return root / "splits" if splits is None else Path(splits) / "fss"


def class_list(folder: Path, part: str) -> list[str]:
    """The class names of a part, as listed. Raises UserError on a name that is listed twice."""
    path = folder / LISTS[part]
    names = read_lines(path, "python prepare.py fss makes it, or name an HSNet checkout's data/splits with --splits")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: lists {next(name for name in names if names.count(name) > 1)} twice")
    return names


def file_order() -> list[str]:
    """The numbers of a class's images as their file names sort: 1, 10, 2, ..."""
    return sorted(str(number) for number in range(1, IMAGES + 1))


def any_image(root: Path) -> ImageSet:
    """Every image by its name with folder, such as abacus/1; ids and class names are left empty."""
    return ImageSet("fss", (), root, root, {}, binary=True)
