"""Datasets and episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dataset import coco, fss, pascal
from dataset.episodes import Episode, plan_episodes
from dataset.images import ImageSet
from dataset.index import ClassIndex, class_index
from util.errors import UserError

DATASETS = {"pascal": pascal}  # with the folds and lists of the paper's own protocol
LISTED = {"pascal": pascal, "coco": coco, "fss": fss}  # evaluated on lists of episodes

__all__ = [
    "DATASETS",
    "ClassIndex",
    "Episode",
    "Fold",
    "ImageSet",
    "class_index",
    "open_fold",
    "open_listed",
    "plan_episodes",
]


class Fold(NamedTuple):
    """What a fold trains on and what it is tested on."""

    train: ImageSet
    test: ImageSet
    base_classes: list[int]
    novel_classes: list[int]
    test_episodes: int  # of one seed, in the paper's protocol


def open_fold(dataset: str, root: str | Path, fold: int) -> Fold:
    """Find a dataset at its folder or in the folder that holds it. Raises UserError if it is not whole."""
    layout = DATASETS[dataset]
    sets = layout.image_sets(_locate(root, layout.FOLDER))
    for images in sets.values():
        images.check_images()
    novel = layout.novel_classes(fold)
    base = [cls for cls in layout.CLASS_NAMES if cls not in novel]
    return Fold(sets["train"], sets["val"], base, novel, layout.EPISODES)


def open_listed(dataset: str, root: str | Path, episodes: Sequence[Episode]) -> ImageSet:
    """The images of given episodes, whatever the dataset's own lists say. Raises UserError on a missing image."""
    layout = LISTED[dataset]
    names = {image: None for episode in episodes for image in (episode.query, *episode.supports)}
    images = replace(layout.any_image(_locate(root, layout.FOLDER)), ids=tuple(names))
    if images.binary:  # the folder tells the class
        images = replace(images, class_names={episode.cls: episode.query.split("/")[0] for episode in episodes})
    images.check_images()
    return images


def _locate(root: str | Path, folder: str) -> Path:
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --data-root must be {folder} or the folder that holds it")
    return root / folder if (root / folder).is_dir() else root
