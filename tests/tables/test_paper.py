"""The published tables agree with themselves, but for one mean that was printed otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dataset import BENCHMARKS
from dataset.coco import CONTIGUOUS, INTERLEAVED, Coco
from engine.evaluation.protocol import HSNET, PAPER
from engine.setting import Setting
from tables.paper import PUBLISHED, SOURCES, Published, mean_of_folds

ODD = (HSNET, Setting("coco", INTERLEAVED, None, 5, "resnet101", "ssp", False))


def test_rows() -> None:
    settings = [row[:2] for row in PUBLISHED]
    assert len(set(settings)) == len(settings) == 18
    assert all(row.setting.fold is None for row in PUBLISHED)
    assert set(SOURCES) == set(BENCHMARKS)
    of_dataset = {name: [row for row in PUBLISHED if row.setting.dataset == name] for name in BENCHMARKS}
    assert {name: len(rows) for name, rows in of_dataset.items()} == {"pascal": 8, "coco": 8, "fss": 2}
    for row in PUBLISHED:
        setting = row.setting
        assert len(row.folds) == (0 if setting.dataset == "fss" else 4)
        assert all(20 < value < 95 and value == round(value, 1) for value in (*row.folds, row.mean))
        assert (setting.backbone is None) == (setting.dataset == "fss")
        order = {PAPER: CONTIGUOUS, HSNET: INTERLEAVED}[row.protocol]
        assert setting.class_order == (order if setting.dataset == "coco" else None)
        assert setting.refine == (setting.method == "ssp" and row.protocol == PAPER)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.setting}-{row.protocol.name}")
def test_means_are_those_of_their_folds(row: Published) -> None:
    if row[:2] == ODD:
        assert row.mean == 50.2
        assert mean_of_folds(row) == pytest.approx(50.475)
    else:
        assert mean_of_folds(row) is None


def test_the_greater_network_and_more_shots_are_better() -> None:
    """A digit that was copied wrong would likely show; the source has one exception."""
    rows = {row[:2]: row for row in PUBLISHED if row.setting.backbone}
    pairs = [(row, rows[row.protocol, replace(row.setting, backbone="resnet101")]) for row in rows.values()]
    pairs += [(row, rows[row.protocol, replace(row.setting, shot=5)]) for row in rows.values()]
    worse = [(a, b) for low, high in pairs for a, b in zip(low.folds, high.folds, strict=True) if a > b]
    assert worse == [(61.7, 61.3)]  # the baseline, 1-shot, fold 2


def test_the_class_orders_share_five_classes() -> None:
    for fold in range(4):
        assert len({*Coco.novel_classes(fold, CONTIGUOUS)} & {*Coco.novel_classes(fold, INTERLEAVED)}) == 5
