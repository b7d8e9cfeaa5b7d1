"""Datasets and episodes. What is particular to a dataset is in its module, whose interface is dataset.layout.Layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset import coco, fss, pascal
from dataset.episodes import Episode, Plans, Pool, check_pool, images_of, make_pool, plan_episodes
from dataset.images import ImageSet, Part
from dataset.index import ClassIndex, class_index
from dataset.layout import Layout
from dataset.provenance import Provenance, measure_provenance, own_name
from util.errors import UserError

DATASETS: dict[str, Layout] = {layout.NAME: layout for layout in (pascal, coco, fss)}
FOLDS = (0, 1, 2, 3)  # of the datasets that have folds

__all__ = [
    "DATASETS",
    "FOLDS",
    "ClassIndex",
    "Episode",
    "Fold",
    "ImageSet",
    "Layout",
    "Part",
    "Plans",
    "Provenance",
    "class_index",
    "hsnet_classes",
    "hsnet_list",
    "hsnet_provenance",
    "open_fold",
    "open_listed",
    "open_part",
    "open_pool",
    "plan_episodes",
    "plan_hsnet",
]


class Fold(NamedTuple):
    """What a fold trains on, chooses its best weights on, and is tested on."""

    train: Part
    select: Part  # but for fss the test part itself, as in the release
    test: Part


def open_fold(
    dataset: str, root: str | Path, fold: int | None = None, class_order: str | None = None, splits: str | None = None
) -> Fold:
    """Open all parts of a fold. Arguments and errors as open_part's."""
    parts = {part: open_part(dataset, root, part, fold, class_order, splits) for part in DATASETS[dataset].PARTS}
    return Fold(**{"select": parts["test"], **parts})


def open_part(
    dataset: str,
    root: str | Path,
    part: str,
    fold: int | None = None,
    class_order: str | None = None,
    splits: str | None = None,
) -> Part:
    """Find one part of a dataset.

    Arguments:
        dataset: "pascal", "coco" or "fss".
        root: the dataset's folder, or the folder that holds it.
        part: "train", "test" or, of fss, "select".
        fold: 0 to 3; None for fss, which has no folds.
        class_order: of coco, "contiguous" or "interleaved".
        splits: HSNet's data/splits, for the lists of fss.
    Raises:
        UserError: names what is missing: a folder, a list, the image of a listed name.
    """
    layout = DATASETS[dataset]
    folder = locate(root, layout.FOLDER)
    found = layout.open_part(folder, part, fold, class_order, splits)
    found.images.check_images()
    split = part if part in layout.SPLITS else layout.SPLITS[-1]
    return found._replace(provenance=measure_provenance(layout, folder, split, found.images))


def open_pool(part: Part, shot: int, workers: int | None = None) -> Pool:
    """What the episodes of a part are drawn from. Raises UserError on a class with too few images for the shot."""
    pool = make_pool(class_index(part.images, workers), part.classes, part.min_pixels)
    check_pool(pool, shot, part.images.name, part.images.class_names)
    return pool


def open_listed(dataset: str, root: str | Path, episodes: Sequence[Episode]) -> ImageSet:
    """The images of given episodes, whatever the dataset's own lists say. Raises UserError on a missing image."""
    layout = DATASETS[dataset]
    ids = images_of(episodes)
    images = layout.any_image(locate(root, layout.FOLDER))
    if images.binary:  # the folder tells the class
        images = images.listed(images.name, ids, {episode.cls: episode.query.split("/")[0] for episode in episodes})
    else:
        images = images.listed(images.name, ids)
    images.check_images()
    return images


def hsnet_list(dataset: str, splits: str | Path, fold: int | None) -> Path:
    """The file in HSNet's data/splits that the test episodes of a fold are drawn from."""
    return DATASETS[dataset].hsnet_list(Path(splits), fold)


def hsnet_provenance(dataset: str, root: str | Path, splits: str | Path, fold: int | None) -> Provenance:
    """How much of HSNet's own list of a fold a list is. Arguments as plan_hsnet's; root: as open_part's."""
    layout = DATASETS[dataset]
    path = hsnet_list(dataset, splits, fold)
    name = own_name(locate(root, layout.FOLDER))
    return Provenance(name, f"entries of {path.name}", layout.hsnet_count(path), layout.HSNET_COUNTS[fold])


def plan_hsnet(dataset: str, splits: str | Path, fold: int | None, shot: int) -> list[Episode]:
    """HSNet's test episodes of a fold, or of a dataset without folds (fold None).

    Arguments:
        dataset: "pascal", "coco" or "fss".
        splits: data/splits of an HSNet checkout, or what prepare.py splits wrote.
        fold: 0 to 3.
        shot: supports of an episode; an image can be drawn twice.
    Raises:
        UserError: names the list that is missing, damaged or has too few images of a class.
    """
    return DATASETS[dataset].plan_hsnet(hsnet_list(dataset, splits, fold), fold, shot, np.random.RandomState(0))


def hsnet_classes(dataset: str, fold: int | None, episodes: Sequence[Episode]) -> list[int]:
    """The classes that HSNet's mean is over: all of a fold, or without folds those of the list, which all are drawn."""
    layout = DATASETS[dataset]
    if layout.FOLDS == (None,):
        return sorted({episode.cls for episode in episodes})
    return layout.novel_classes(fold, layout.HSNET_ORDER)


def locate(root: str | Path, folder: str) -> Path:
    """The dataset's folder: root itself, or the one of that name in it."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; the data root must be {folder} or the folder that holds it")
    return root / folder if (root / folder).is_dir() else root
