"""A dataset on disk as an object: what all datasets have in common. A subclass overrides what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from dataset import hsnet
from dataset.episodes import MIN_PIXELS, Episode, images_of
from dataset.folders import find_folder
from dataset.images import ImageSet
from dataset.index import class_index
from dataset.lists import read_class_names, read_ids
from dataset.provenance import Provenance, read_name
from util.distributed import say_once
from util.errors import UserError


class Split(NamedTuple):
    """What episodes are drawn from: to train on, to choose the best weights on, or to test on."""

    images: ImageSet
    classes: list[int]
    min_pixels: int  # a class must cover so much of a support, and some class so much of every image
    provenance: Provenance | None = None  # how much of the published dataset the images are

    def names(self) -> list[str]:
        """The names of the classes."""
        return [self.images.class_names[cls] for cls in self.classes]


class Fold(NamedTuple):
    """The splits of a fold."""

    train: Split
    val: Split  # for the best weights; but for fss the test split itself, as in the release
    test: Split


class Benchmark:
    """A dataset in its folder, in VOC's layout unless a subclass says otherwise.

    Arguments:
        root: the dataset's folder, or the folder that holds it.
        hsnet_lists: HSNet's data/splits, for a dataset whose classes are listed there.
    Raises:
        UserError: there is no such folder.
    """

    name: ClassVar[str]  # what --dataset and folders say, such as "pascal"
    title: ClassVar[str]  # what tables say, such as "Pascal-5i"
    folder: ClassVar[str] = "the dataset's folder"  # its usual name inside a folder that holds several datasets
    class_names: ClassVar[Mapping[int, str]] = {}  # by the class's number, from 1
    lists: ClassVar[tuple[str, ...]] = ("train", "val")  # the lists on disk; the last one is tested on
    counted: ClassVar[str] = "images"  # what the lists hold: "images" or "classes"
    named: ClassVar[bool] = False  # whether a class is known by its name, as its number depends on lists
    counts: ClassVar[Mapping[str, int]] = {}  # the published number of entries in each list
    counts_with_objects: ClassVar[Mapping[str, int]] = {}  # without images that show no class, if these may be left out
    partial_downloads: ClassVar[Mapping[tuple[str, int], str]] = {}  # what is missing if a list has this count
    folds: ClassVar[Sequence[int | None]] = (0, 1, 2, 3)  # (None,): there are no folds
    class_orders: ClassVar[Sequence[str | None]] = (None,)  # (None,): there is only one order
    min_pixels: ClassVar[int] = MIN_PIXELS  # a class must cover so much of a support
    episodes: ClassVar[int] = 1000  # for each evaluation seed in the paper's own protocol
    crop_size: ClassVar[int] = 473  # side of the training crops, pixels
    hsnet_episodes: ClassVar[int] = 1000  # for each fold in HSNet's protocol
    hsnet_counts: ClassVar[Mapping[int | None, int]] = {}  # entries of HSNet's own list of each fold
    hsnet_order: ClassVar[str | None] = None  # the class order of HSNet's folds
    hsnet_suffix: ClassVar[str] = ".txt"  # what a list that prepare.py splits writes ends with

    def __init__(self, root: str | Path, hsnet_lists: str | Path | None = None) -> None:
        self.root = self.locate(Path(root))
        self.hsnet_lists = None if hsnet_lists is None else Path(hsnet_lists)

    @classmethod
    def locate(cls, root: Path) -> Path:
        """The dataset's folder, which is root, in it, or as deep in it as archives unpack.

        Raises UserError if root is not there, or several folders below it could be meant.
        """
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; the data root must be {cls.folder} or the folder that holds it")
        usual = root / cls.folder if (root / cls.folder).is_dir() else root
        places = dict.fromkeys((usual, root))
        found = next(filter(None, (find_folder(place, cls.is_root, cls.folder) for place in places)), None)
        if found not in (None, usual):
            say_once(f"note: {found}: the dataset's folder, found below {root}")
        return found or usual

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        """Whether a folder looks like the dataset's; where nothing tells that, the usual place is taken."""
        return True

    @classmethod
    def novel_classes(cls, fold: int | None, class_order: str | None = None) -> list[int]:
        """The classes that a fold tests on, ascending: an equal share of all, one share after the other."""
        share = len(cls.class_names) // len(cls.folds)
        return list(range(share * fold + 1, share * (fold + 1) + 1))

    def classes_of(self, images: ImageSet, image_list: str, fold: int | None, class_order: str | None) -> list[int]:
        """The classes that a fold uses in the images of a list: its base classes to train on, else its novel ones."""
        if self.folds == (None,):  # each list has classes of its own
            return list(images.class_names)
        novel = self.novel_classes(fold, class_order)
        return [cls for cls in images.class_names if (cls in novel) == (image_list != "train")]

    def open_fold(self, fold: int | None = None, class_order: str | None = None) -> Fold:
        """Open all splits of a fold. Arguments and errors as open_split's."""
        splits = {name: self.open_split(name, fold, class_order) for name in self.lists}
        return Fold(**{"test": splits["val"], **splits})

    def open_split(self, split: str, fold: int | None = None, class_order: str | None = None) -> Split:
        """Open one split ("train", "val" or "test") of one of the folds, in one of the class orders.

        Raises UserError naming what is missing: a folder, a list, the image of a listed name.
        """
        image_list = split if split in self.lists else self.lists[-1]
        images = self.open_list(image_list)
        images.check_images()
        classes = self.classes_of(images, image_list, fold, class_order)
        return Split(images, classes, self.min_pixels, self.measure_provenance(image_list, images))

    def open_list(self, image_list: str) -> ImageSet:
        """The images of one of the lists, in its order. Raises UserError naming the folder or list that is missing."""
        images, path = self.open_folders(image_list), self.list_path(image_list)
        ids = read_ids(path) if path.is_file() else self.derive_ids(image_list)
        return images.listed(f"{self.name} {image_list}", ids)

    def list_path(self, image_list: str) -> Path:
        """The file of one of the lists."""
        return self.root / "ImageSets" / f"{image_list}.txt"

    def derive_ids(self, image_list: str) -> Sequence[str]:
        """The images of a list that is not there. Raises UserError where nothing tells them."""
        raise UserError(f"{self.list_path(image_list)}: no such list")

    def open_folders(self, image_list: str | None = None) -> ImageSet:
        """Every image by its name, with ids left empty; image_list: whose images, None for those that are tested."""
        raise NotImplementedError

    def open_images(self, episodes: Sequence[Episode]) -> ImageSet:
        """The images of given episodes, whatever the lists say. Raises UserError on a missing image."""
        images = self.open_folders()
        images = images.listed(images.name, images_of(episodes))
        images.check_images()
        return images

    def read_class_names(self) -> dict[int, str]:
        """The classes' names, the usual ones or the folder's own (ImageSets/classes.txt)."""
        return read_class_names(self.root, self.class_names)

    def measure_provenance(self, image_list: str, images: ImageSet) -> Provenance:
        """How much of the published list the images of a list are."""
        count = len(images.class_names if self.counted == "classes" else images.ids)
        is_whole = count == self.counts_with_objects.get(image_list)
        published = count if is_whole else self.counts.get(image_list, count)
        return Provenance(read_name(self.root), f"{self.counted} of {images.name}", count, published)

    # HSNet's protocol: hsnet_lists is its data/splits, or what prepare.py splits wrote

    @classmethod
    def hsnet_list(cls, hsnet_lists: str | Path, fold: int | None) -> Path:
        """The file that the test episodes of a fold are drawn from."""
        return Path(hsnet_lists) / cls.name / "val" / f"fold{fold}{cls.hsnet_suffix}"

    @classmethod
    def hsnet_files(cls, hsnet_lists: str | Path) -> list[Path]:
        """All files of HSNet's that concern this dataset."""
        return [cls.hsnet_list(hsnet_lists, fold) for fold in cls.folds]

    @classmethod
    def read_hsnet_list(cls, path: Path) -> list[tuple[str, int]]:
        """The pairs of an image and a class in one of HSNet's lists. Raises UserError if it is missing or damaged."""
        return hsnet.read_pairs(path, len(cls.class_names))

    @classmethod
    def copy_hsnet_list(cls, path: Path) -> list[str]:
        """The lines of one of HSNet's own lists, as prepare.py splits writes it."""
        return cls.hsnet_lines(cls.read_hsnet_list(path), hsnet.IMPORTED)

    @classmethod
    def hsnet_lines(cls, pairs: Sequence[tuple[str, int]], source: str) -> list[str]:
        """The lines of a list of (image, class) pairs, IMAGE__CLASS; source: where the pairs are from."""
        return hsnet.add_source((f"{image}__{cls:02}" for image, cls in pairs), source)

    @classmethod
    def plan_hsnet(cls, hsnet_lists: str | Path, fold: int | None, shot: int) -> list[Episode]:
        """HSNet's test episodes of a fold; here the queries are in the list's order, and from its start again.

        An image can be drawn twice as a support. Raises UserError naming the list that is missing, damaged or has too
        few images of a class.
        """
        path, rng = cls.hsnet_list(hsnet_lists, fold), np.random.RandomState(0)
        pairs = cls.read_hsnet_list(path)
        of_class = hsnet.group_by_class(pairs)
        hsnet.check_lists(of_class, path)
        drawn = (pairs[number % len(pairs)] for number in hsnet.count_drawn(cls.hsnet_episodes))
        return [
            Episode(query, target, hsnet.draw_supports(of_class[target], query, shot, rng)) for query, target in drawn
        ]

    @classmethod
    def hsnet_classes(cls, fold: int | None, episodes: Sequence[Episode]) -> list[int]:
        """The classes that HSNet's mean is over: all novel ones of a fold. episodes: HSNet's."""
        return cls.novel_classes(fold, cls.hsnet_order)

    def hsnet_provenance(self, fold: int | None) -> Provenance:
        """How much of HSNet's own list of a fold the list in hsnet_lists is."""
        path = self.hsnet_list(self.hsnet_lists, fold)
        count = len(self.read_hsnet_list(path))
        return Provenance(read_name(self.root), f"entries of {path.name}", count, self.hsnet_counts.get(fold, count))

    def hsnet_lists_of_masks(self, out: Path, workers: int | None = None) -> dict[Path, list[str]]:
        """The lines of each list that prepare.py splits makes from the masks, below the folder ``out``.

        workers: processes that read masks. Raises UserError if a fold has no image.
        """
        images = self.open_list(self.lists[-1])
        index, content = class_index(images, workers), {}
        pairs = sorted((image, cls) for image, found in index.items() for cls, n in found.items() if n >= MIN_PIXELS)
        for fold in self.folds:
            novel = self.class_names if fold is None else self.novel_classes(fold, self.hsnet_order)
            of_fold = [(image, cls) for image, cls in pairs if cls in novel]
            if not of_fold and self.hsnet_suffix == ".txt":  # HSNet's reader and ours refuse an empty list
                raise UserError(f"{images.masks}: no mask holds {MIN_PIXELS} pixels of a class of fold {fold}")
            path = self.hsnet_list(out, fold).with_suffix(self.hsnet_suffix)
            content[path] = self.hsnet_lines(of_fold, hsnet.GENERATED)
        return content
