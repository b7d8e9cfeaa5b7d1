"""Sheets have the sizes and captions they should have."""

from __future__ import annotations

import pytest
from PIL import Image

from engine.drawing import CAPTION_HEIGHT, LINE_HEIGHT, TILE_GAP, Tile
from prediction.sheet import SHEET_SIDE, draw_sheet

STEP = SHEET_SIDE + TILE_GAP
ROW = SHEET_SIDE + CAPTION_HEIGHT + 2 * TILE_GAP


@pytest.mark.parametrize(("queries", "columns", "rows"), [(1, 5, 1), (5, 5, 1), (7, 5, 2), (100, 12, 9), (120, 12, 10)])
def test_a_sheet_grows_wider_then_longer(queries: int, columns: int, rows: int) -> None:
    tiles = [Tile(f"{number}.jpg: 1%", Image.new("RGB", (30, 20), "blue")) for number in range(queries)]
    sheet = draw_sheet([("supports", tiles[:1]), ("queries", tiles)])
    assert sheet.height == 2 * LINE_HEIGHT + (1 + rows) * ROW
    assert sheet.width == min(queries, columns) * STEP + TILE_GAP
    assert sheet.getpixel((STEP // 2, LINE_HEIGHT + ROW // 2)) == (0, 0, 255)
