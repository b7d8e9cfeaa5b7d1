"""Verdicts against values worked out by hand."""

from __future__ import annotations

import pytest

from engine.evaluation.protocol import PAPER
from engine.setting import AUTHORS, Setting
from tables.tables import Cell, Row, Table
from tables.verdict import verdict, verdicts


@pytest.mark.parametrize(
    ("paper", "measured", "std", "expected"),
    [
        (61.4, 61.44, 0.0, "same"),  # 61.4 to a tenth
        (61.4, 61.36, None, "same"),
        (61.4, 61.46, 0.0, "outside"),  # 61.5, 0.06 above and nothing but 0.05 of rounding
        (61.4, 61.46, 0.02, "within"),  # 0.06 <= 0.02 + 0.05
        (61.4, 61.0, 0.3, "outside"),  # 0.4 > 0.35
        (61.4, 61.0, 0.36, "within"),
        (61.4, 61.0, None, "outside"),  # one seed has no spread
        (None, 61.0, 0.3, ""),
        (61.4, None, None, ""),
    ],
)
def test_verdict(paper: float | None, measured: float | None, std: float | None, expected: str) -> None:
    assert verdict(Cell(0, paper, measured, std)) == expected


def test_a_line_for_each_cell() -> None:
    row = Row(
        PAPER,
        Setting("pascal", None, None, 1, "resnet50", "ssp", True),
        AUTHORS,
        (
            Cell(0, 61.4, 61.4321, 0.3), Cell(1, 67.8, 67.2, 0.25), Cell(2, 66.5), Cell(3, 50.9, 51.1, 0.2),
            Cell(None, 61.7, gap="3 of 4 folds"),
        ),
    )  # fmt: skip
    lines = verdicts([Table("x", (row,), ())]).splitlines()
    name = "Pascal-5i ssp SSP 1-shot ResNet-50 refine"
    assert [line.split() for line in lines] == [
        ["fold", "paper", "measured", "difference", "spread", "verdict"],
        [*name.split(), "0", "61.4", "61.43", "+0.03", "0.30", "same"],
        ["1", "67.8", "67.20", "-0.60", "0.25", "outside"],
        ["2", "66.5", "missing"],
        ["3", "50.9", "51.10", "+0.20", "0.20", "within"],
        ["mean", "61.7", "missing"],
    ]
