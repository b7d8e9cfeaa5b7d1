"""Datasets and episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dataset import coco, fss, pascal
from dataset.episodes import Episode, Pool, check_pool, images_of, make_pool, plan_episodes
from dataset.images import ImageSet, Part
from dataset.index import ClassIndex, class_index
from util.errors import UserError

DATASETS = {"pascal": pascal, "coco": coco, "fss": fss}

__all__ = [
    "DATASETS",
    "ClassIndex",
    "Episode",
    "Fold",
    "ImageSet",
    "Part",
    "class_index",
    "open_fold",
    "open_listed",
    "open_part",
    "open_pool",
    "plan_episodes",
]


class Fold(NamedTuple):
    """What a fold trains on, chooses its best weights on, and is tested on."""

    train: Part
    select: Part  # but for fss the test part itself, as in the release
    test: Part


def open_fold(
    dataset: str, root: str | Path, fold: int | None = None, class_order: str | None = None, splits: str | None = None
) -> Fold:
    """All parts of a fold; arguments and errors as for :func:`open_part`."""
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
    """Find one part ("train", "test", of fss also "select") of a dataset, at its folder or in the one that holds it.

    fold: None for fss, which has none. class_order: of coco. splits: HSNet's data/splits, for the lists of fss.
    Raises UserError naming what is missing: a folder, a list, the image of a listed name.
    """
    layout = DATASETS[dataset]
    found = layout.open_part(locate(root, layout.FOLDER), part, fold, class_order, splits)
    found.images.check_images()
    return found


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


def locate(root: str | Path, folder: str) -> Path:
    """The dataset's folder: root itself, or the one of that name in it."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --data-root must be {folder} or the folder that holds it")
    return root / folder if (root / folder).is_dir() else root
