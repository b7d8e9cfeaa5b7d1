"""The published mIoU of SSP and its baseline, as data: what `report.py` sets measured results beside.

Pascal-5i and COCO-20i are the tables in the README of the authors' release; FSS-1000 is from the paper (ECCV 2022),
which gives no folds and, as far as is known here, no backbone. Percent, as printed; means are kept as
published, also where they are not the mean of their folds (see :func:`mean_of_folds`).
"""

from __future__ import annotations

from typing import NamedTuple

from dataset.coco import CONTIGUOUS, INTERLEAVED
from engine.evaluation.protocol import HSNET, PAPER, Protocol
from engine.setting import Setting


class Published(NamedTuple):
    """A row of a published table."""

    protocol: Protocol
    setting: Setting  # of all folds: its fold is None
    folds: tuple[float, ...]  # fold 0 to 3; none of fss
    mean: float


SOURCES = {
    "pascal": "the README of the authors' release, table Pascal VOC",
    "coco": "the README of the authors' release, table MS COCO",
    "fss": "the paper (ECCV 2022)",
}


def _row(
    where: tuple[str, Protocol, str | None],
    method: str,
    refine: bool,
    shot: int,
    backbone: str | None,
    folds: tuple[float, ...],
    mean: float,
) -> Published:
    dataset, protocol, class_order = where
    return Published(protocol, Setting(dataset, class_order, None, shot, backbone, method, refine), folds, mean)


PASCAL = ("pascal", PAPER, None)
# The COCO table does not state the refinement. In the paper's own protocol it is taken as on, as in the Pascal table;
# in HSNet's the release never refines.
COCO, COCO_HSNET = ("coco", PAPER, CONTIGUOUS), ("coco", HSNET, INTERLEAVED)
FSS = ("fss", PAPER, None)

PUBLISHED = (
    _row(PASCAL, "baseline", False, 1, "resnet50", (54.9, 66.5, 61.7, 48.3), 57.9),
    _row(PASCAL, "baseline", False, 1, "resnet101", (57.2, 68.5, 61.3, 53.3), 60.1),
    _row(PASCAL, "baseline", False, 5, "resnet50", (61.6, 70.3, 70.5, 56.4), 64.7),
    _row(PASCAL, "baseline", False, 5, "resnet101", (64.2, 74.0, 71.5, 61.3), 67.8),
    _row(PASCAL, "ssp", True, 1, "resnet50", (61.4, 67.8, 66.5, 50.9), 61.7),
    _row(PASCAL, "ssp", True, 1, "resnet101", (63.2, 70.4, 68.5, 56.3), 64.6),
    _row(PASCAL, "ssp", True, 5, "resnet50", (67.5, 72.3, 75.2, 62.1), 69.3),
    _row(PASCAL, "ssp", True, 5, "resnet101", (70.9, 77.1, 78.9, 66.1), 73.3),
    _row(COCO, "ssp", True, 1, "resnet50", (46.4, 35.2, 27.3, 25.4), 33.6),
    _row(COCO, "ssp", True, 1, "resnet101", (50.4, 39.9, 30.6, 30.0), 37.7),
    _row(COCO, "ssp", True, 5, "resnet50", (53.9, 42.0, 36.0, 33.7), 41.4),
    _row(COCO, "ssp", True, 5, "resnet101", (57.8, 47.0, 40.2, 39.9), 46.2),
    _row(COCO_HSNET, "ssp", False, 1, "resnet50", (35.5, 39.6, 37.9, 36.7), 37.4),
    _row(COCO_HSNET, "ssp", False, 1, "resnet101", (39.1, 45.1, 42.7, 41.2), 42.0),
    _row(COCO_HSNET, "ssp", False, 5, "resnet50", (40.6, 47.0, 45.1, 43.9), 44.1),
    _row(COCO_HSNET, "ssp", False, 5, "resnet101", (47.4, 54.5, 50.4, 49.6), 50.2),
    _row(FSS, "ssp", True, 1, None, (), 87.3),
    _row(FSS, "ssp", True, 5, None, (), 88.6),
)


def mean_of_folds(row: Published) -> float | None:
    """The mean of a row's folds where the published mean cannot have been rounded from it, None where it agrees."""
    if not row.folds:
        return None
    mean = sum(row.folds) / len(row.folds)
    # A half is rounded up in some rows and down in others; 1e-9 is for binary fractions.
    return None if abs(mean - row.mean) <= 0.05 + 1e-9 else mean
