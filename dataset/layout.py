"""What a dataset module declares, so that no other file asks which dataset it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from dataset.episodes import Episode
from dataset.images import ImageSet, Part


class Layout(Protocol):
    """The interface of dataset.pascal, dataset.coco and dataset.fss, which are modules with these names."""

    NAME: str  # of the flag --dataset and of folders, such as "pascal"
    TITLE: str  # of tables, such as "Pascal-5i"
    FOLDER: str  # of the dataset inside a folder that holds several datasets
    PARTS: Sequence[str]  # "train" and "test", and "select" if the best weights are chosen on other classes
    SPLITS: Sequence[str]  # the lists of images or classes
    COUNTED: str  # what the lists hold: "images" or "classes"
    COUNTS: Mapping[str, int]  # of the published dataset, for each split
    WITH_OBJECTS: Mapping[str, int]  # the same without images that show no class, if a list may leave them out
    PARTIAL: Mapping[tuple[str, int], str]  # counts of incomplete downloads, and what is missing then
    FOLDS: Sequence[int | None]  # None: there are no folds
    CLASS_ORDERS: Sequence[str | None]  # None: there is only one order
    MIN_PIXELS: int  # that a class must cover in a support image
    EPISODES: int  # of an evaluation seed in the paper's own protocol
    CROP_SIZE: int  # of training, pixels
    HSNET_EPISODES: int  # in HSNet's protocol
    HSNET_COUNTS: Mapping[int | None, int]  # of HSNet's own lists, for each fold: what hsnet_count counts
    HSNET_ORDER: str | None  # the class order of HSNet's folds

    def novel_classes(self, fold: int, class_order: str | None = None) -> list[int]:
        """The classes that a fold tests on, ascending."""

    def open_part(self, root: Path, part: str, fold: int | None, class_order: str | None, splits: str | None) -> Part:
        """The images and classes of a part.

        Arguments:
            root: the dataset's own folder.
            part: one of PARTS.
            fold: one of FOLDS.
            class_order: one of CLASS_ORDERS.
            splits: HSNet's data/splits, for a dataset whose classes are listed there.
        Raises:
            UserError: names the folder or list that is missing.
        """

    def any_image(self, root: Path) -> ImageSet:
        """Every test image by its name; ids are left empty."""

    def image_set(self, root: Path, split: str, splits: str | None = None) -> ImageSet:
        """The images of a split. Raises UserError naming the folder or list that is missing."""

    def hsnet_list(self, splits: Path, fold: int | None, new: bool = False) -> Path:
        """The file in HSNet's data/splits that a fold's test episodes are drawn from; new: one that we write."""

    def hsnet_count(self, path: Path) -> int:
        """The entries of what hsnet_list names. Raises UserError as plan_hsnet does."""

    def plan_hsnet(self, path: Path, fold: int | None, shot: int, rng: np.random.RandomState) -> list[Episode]:
        """HSNet's test episodes.

        Arguments:
            path: what hsnet_list names.
            fold: one of FOLDS.
            shot: supports of an episode.
            rng: numpy's legacy generator, seeded with 0.
        Raises:
            UserError: names the list that is missing or damaged.
        """

    def hsnet_lines(self, pairs: Sequence[tuple[str, int]], source: str) -> list[str]:
        """The lines of an HSNet list of (image, class) pairs. source: of the pairs, for formats that name it."""
