"""mIoU and FB-IoU: the authors' and HSNet's own numbers, and two by two pixels worked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.evaluation.metric import count_pixels, metrics, sum_by_class
from tests.files import GOLDEN as GOLDEN_FILES

GOLDEN = np.load(GOLDEN_FILES / "metrics.npz")
META = json.loads(str(GOLDEN["meta"]))
CLASSES = [6, 7, 8, 9, 10]


def golden_counts(ignored: int = 255, first: int | None = None) -> dict[int, Tensor]:
    """Counts by class of the golden episodes; ignored: what becomes of pixels labelled 255."""
    masks = torch.as_tensor(GOLDEN["label"].astype(np.int64))
    masks[masks == 255] = ignored
    episodes = zip(GOLDEN["cls"].tolist(), torch.as_tensor(GOLDEN["pred"]), masks, strict=True)
    return sum_by_class((cls, count_pixels(pred, mask)) for cls, pred, mask in list(episodes)[:first])


def close(expected: float) -> object:
    return pytest.approx(expected, rel=1e-6)


def test_the_papers_protocol() -> None:
    result, expected = metrics(golden_counts()), META["episodic"]
    assert result["miou"] == close(expected["miou"])
    assert result["class_iou"] == close({int(cls): iou for cls, iou in expected["class_iou"].items()})


@pytest.mark.parametrize(
    ("name", "ignored", "first"),
    [("hsnet_pascal", 255, None), ("hsnet_coco", 0, None), ("hsnet_pascal_missing_class", 255, META["missing_first"])],
)
def test_hsnets_protocol(name: str, ignored: int, first: int | None) -> None:
    result, expected = metrics(golden_counts(ignored, first), CLASSES), META[name]
    assert result["miou"] == close(expected["miou"])
    assert result["fb_iou"] == close(expected["fb_iou"])
    assert sorted(result["class_iou"]) == [0, *CLASSES]


def test_golden_cases_differ() -> None:
    assert set(GOLDEN["cls"][: META["missing_first"]].tolist()) < set(CLASSES)
    assert (GOLDEN["label"] == 255).any()


# Two episodes of class 3 and one of class 5, 2 x 2 pixels each.
PREDICTIONS = [[[1, 1], [0, 0]], [[1, 0], [0, 0]], [[0, 1], [1, 1]]]
MASKS = [[[1, 0], [1, 255]], [[1, 0], [255, 255]], [[1, 1], [255, 0]]]
COUNTED = [(1, 1, 1, 0), (1, 0, 0, 1), (1, 1, 1, 0)]  # true and false positives, false and true negatives


@pytest.mark.parametrize("number", range(3))
def test_counts_by_hand(number: int) -> None:
    counts = count_pixels(torch.tensor(PREDICTIONS[number]), torch.tensor(MASKS[number]))
    assert counts.dtype == torch.int64
    assert tuple(counts.tolist()) == COUNTED[number]


def test_metrics_by_hand() -> None:
    counts = sum_by_class(zip([3, 5, 3], (torch.tensor(COUNTED[i]) for i in (0, 2, 1)), strict=True))
    assert {cls: total.tolist() for cls, total in counts.items()} == {3: [2, 1, 1, 1], 5: [1, 1, 1, 0]}
    # class 3: 2 of 4, class 5: 1 of 3; together 3 of 7 foreground, 1 of 5 background
    result = metrics(counts)
    assert result["class_iou"] == pytest.approx({0: 20, 3: 50, 5: 100 / 3})
    assert result["miou"] == pytest.approx(125 / 3)
    assert result["fb_iou"] == pytest.approx((20 + 300 / 7) / 2)
    assert metrics(counts, [3, 4, 5, 6])["miou"] == pytest.approx((50 + 0 + 100 / 3 + 0) / 4)
    assert metrics(counts, [3, 4, 5, 6])["fb_iou"] == result["fb_iou"]


def test_counting_does_not_need_any_pixel() -> None:
    counts = count_pixels(torch.ones(2, 2), torch.full((2, 2), 255))
    assert counts.tolist() == [0, 0, 0, 0]
    assert metrics({1: counts}) == {"miou": 0, "fb_iou": 0, "class_iou": {0: 0, 1: 0}}
