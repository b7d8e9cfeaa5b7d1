"""The columns of a table are aligned."""

from __future__ import annotations

from util.table import align_columns

ROWS = [("", "seed 0", "note"), ("mIoU", "61.4", "-")]


def test_columns() -> None:
    assert align_columns(ROWS) == ["      seed 0  note", "mIoU    61.4     -"]
    assert align_columns(ROWS, left=(0, 2), gap=" | ") == ["     | seed 0 | note", "mIoU |   61.4 | -"]
    assert align_columns([]) == []
