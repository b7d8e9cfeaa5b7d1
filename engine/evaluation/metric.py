"""mIoU and FB-IoU of the two protocols (docs/method.md, section 6), from pixel counts summed over episodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dataset.labels import IGNORE

# Pixels of a class's episodes, (4,) int64: true positives, false positives, false negatives, true negatives.
Counts = dict[int, Tensor]


def count_pixels(prediction: Tensor, mask: Tensor) -> Tensor:
    """(4,) int64 counts of one episode: prediction and mask (..., H, W), 1 is the target, mask 255 left out."""
    kept, actual = mask != IGNORE, mask == 1
    predicted = (prediction == 1) & kept
    hits, positive, true, all_ = (each.count_nonzero() for each in (predicted & actual, predicted, actual, kept))
    return torch.stack((hits, positive - hits, true - hits, all_ - positive - true + hits))


def sum_by_class(counted: Iterable[tuple[int, Tensor]]) -> Counts:
    """Add the counts of episodes up, class by class."""
    totals: Counts = {}
    for cls, counts in counted:
        totals[cls] = totals.get(cls, torch.zeros_like(counts)) + counts
    return totals


def metrics(counts: Mapping[int, Tensor], classes: Collection[int] | None = None) -> dict[str, Any]:
    """The metrics of one seed, in percent: "miou", "fb_iou" and "class_iou" by class, 0 the background.

    classes: None for the paper's own protocol, which averages over the classes that were drawn; all the
    fold's classes for HSNet's, where one that was never drawn counts as 0.
    """
    none = torch.zeros(4, dtype=torch.int64)
    totals = {cls: counts.get(cls, none) for cls in sorted(counts if classes is None else classes)}
    class_iou = {cls: foreground_iou(total) for cls, total in totals.items()}
    overall = torch.stack(list(totals.values())).sum(0)
    background = foreground_iou(overall.flip(0))  # true negatives are its hits
    return {
        "miou": sum(class_iou.values()) / len(class_iou),
        "fb_iou": (background + foreground_iou(overall)) / 2,
        "class_iou": {0: background, **class_iou},
    }


def foreground_iou(total: Tensor) -> float:
    """The target's IoU in percent, from pixel counts (4,); a union of nothing counts as one pixel."""
    tp, fp, fn, _ = total.tolist()
    return 100 * tp / max(tp + fp + fn, 1)
