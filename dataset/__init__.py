"""Datasets and episodes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dataset import pascal
from dataset.episodes import Episode, plan_episodes
from dataset.images import ImageSet
from dataset.index import ClassIndex, class_index
from util.errors import UserError

DATASETS = {"pascal": pascal}

__all__ = ["DATASETS", "ClassIndex", "Episode", "Fold", "ImageSet", "class_index", "open_fold", "plan_episodes"]


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
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --data-root must be {layout.FOLDER} or the folder that holds it")
    inner = root / layout.FOLDER
    sets = layout.image_sets(inner if inner.is_dir() else root)
    for images in sets.values():
        images.check_images()
    novel = layout.novel_classes(fold)
    base = [cls for cls in layout.CLASS_NAMES if cls not in novel]
    return Fold(sets["train"], sets["val"], base, novel, layout.EPISODES)
