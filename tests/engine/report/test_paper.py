"""The published tables agree with themselves, but for one mean that was printed otherwise."""

from __future__ import annotations

import pytest

from dataset import DATASETS
from dataset.coco import CONTIGUOUS, INTERLEAVED, novel_classes
from engine.report.paper import PUBLISHED, SOURCES, Published, mean_of_folds
from engine.report.results import Setting

ODD = ("coco", "hsnet", INTERLEAVED, "ssp", False, 5, "resnet101")


def test_rows() -> None:
    settings = [row[:7] for row in PUBLISHED]
    assert len(set(settings)) == len(settings) == 18
    assert Published._fields[:7] == Setting._fields
    assert set(SOURCES) == set(DATASETS)
    of_dataset = {name: [row for row in PUBLISHED if row.dataset == name] for name in DATASETS}
    assert {name: len(rows) for name, rows in of_dataset.items()} == {"pascal": 8, "coco": 8, "fss": 2}
    for row in PUBLISHED:
        assert len(row.folds) == (0 if row.dataset == "fss" else 4)
        assert all(20 < value < 95 and value == round(value, 1) for value in (*row.folds, row.mean))
        assert (row.backbone is None) == (row.dataset == "fss")
        order = {"ssp": CONTIGUOUS, "hsnet": INTERLEAVED}[row.protocol]
        assert row.class_order == (order if row.dataset == "coco" else None)
        assert row.refine == (row.method == "ssp" and row.protocol == "ssp")


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: "-".join(map(str, row[:7])))
def test_means_are_those_of_their_folds(row: Published) -> None:
    if row[:7] == ODD:
        assert row.mean == 50.2
        assert mean_of_folds(row) == pytest.approx(50.475)
    else:
        assert mean_of_folds(row) is None


def test_the_greater_network_and_more_shots_are_better() -> None:
    """A digit that was copied wrong would likely show; the source has one exception."""
    rows = {row[:7]: row for row in PUBLISHED if row.backbone}
    pairs = [(row, rows[row._replace(backbone="resnet101")[:7]]) for row in rows.values()]
    pairs += [(row, rows[row._replace(shot=5)[:7]]) for row in rows.values()]
    worse = [(a, b) for low, high in pairs for a, b in zip(low.folds, high.folds, strict=True) if a > b]
    assert worse == [(61.7, 61.3)]  # the baseline, 1-shot, fold 2


def test_the_class_orders_share_five_classes() -> None:
    for fold in range(4):
        assert len({*novel_classes(fold, CONTIGUOUS)} & {*novel_classes(fold, INTERLEAVED)}) == 5
