"""Datasets and episodes. A dataset is a subclass of dataset.benchmark.Benchmark and an entry of DATASETS."""

from __future__ import annotations

from pathlib import Path

from dataset.benchmark import Benchmark, Fold, Split
from dataset.check import checked_index
from dataset.coco import Coco
from dataset.episodes import Episode, Plans, Pool, check_pool, images_of, make_pool, plan_episodes
from dataset.fss import Fss
from dataset.images import ImageSet
from dataset.index import ClassIndex, class_index
from dataset.own import Own
from dataset.pascal import Pascal
from dataset.provenance import Provenance

BENCHMARKS: dict[str, type[Benchmark]] = {benchmark.name: benchmark for benchmark in (Pascal, Coco, Fss)}
DATASETS = {**BENCHMARKS, Own.name: Own}
FOLDS = sorted({fold for benchmark in BENCHMARKS.values() for fold in benchmark.folds if fold is not None})  # of any

__all__ = [
    "BENCHMARKS",
    "DATASETS",
    "FOLDS",
    "Benchmark",
    "ClassIndex",
    "Episode",
    "Fold",
    "ImageSet",
    "Plans",
    "Provenance",
    "Split",
    "checked_index",
    "class_index",
    "find_benchmark",
    "images_of",
    "open_fold",
    "open_pool",
    "open_split",
    "plan_episodes",
]


def find_benchmark(dataset: str, root: str | Path | None) -> Benchmark | type[Benchmark]:
    """What is known of a dataset by its name; of own data, only their folder knows."""
    return Own(root) if dataset == Own.name and root else DATASETS[dataset]


def open_fold(
    dataset: str,
    root: str | Path,
    fold: int | None = None,
    class_order: str | None = None,
    hsnet_lists: str | None = None,
) -> Fold:
    """Open all splits of a fold. Arguments and errors as open_split's."""
    return DATASETS[dataset](root, hsnet_lists).open_fold(fold, class_order)


def open_split(
    dataset: str,
    root: str | Path,
    split: str,
    fold: int | None = None,
    class_order: str | None = None,
    hsnet_lists: str | None = None,
) -> Split:
    """Open one split of a dataset, by the dataset's name.

    Arguments:
        dataset: "pascal", "coco", "fss" or "own".
        root: the dataset's folder, or the folder that holds it.
        split: "train", "val" or "test".
        fold: 0 to 3, of own data as many as it has; None for fss, and for own data without folds.
        class_order: "contiguous" or "interleaved" for coco; None for the others.
        hsnet_lists: HSNet's data/splits, for the classes of fss.
    Raises:
        UserError: names what is missing: a folder, a list, the image of a listed name.
    """
    return DATASETS[dataset](root, hsnet_lists).open_split(split, fold, class_order)


def open_pool(split: Split, shot: int, workers: int | None = None) -> Pool:
    """What the episodes of a split are drawn from.

    Raises UserError on a file that does not fit (checked_index) and on a class with too few images for the shot.
    """
    pool = make_pool(checked_index(split.images, workers), split.classes, split.min_pixels)
    way_out = "; leave it out: prepare.py own --min-images" if split.images.annotations else ""
    check_pool(pool, shot, split.images.name, split.images.class_names, way_out)
    return pool
