"""Highlighted objects and sheets have the colours, sizes and captions they should have."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.pictures import TILE
from engine.prediction.sheet import HEADING, STRENGTH, TINT, contact_sheet, highlighted, shortened

STEP = TILE + 6
ROW = TILE + 28


def test_the_object_is_tinted_and_outlined_and_the_rest_keeps_its_colours() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    pixels = np.array(highlighted(Image.new("RGB", (9, 9), (10, 200, 30)), mask))
    inside = ((1 - STRENGTH) * np.array((10, 200, 30)) + STRENGTH * TINT).round()
    assert (pixels[3:6, 3:6] == inside).all()
    assert (pixels[2, 2:7] == TINT).all()
    assert (pixels[1, 2:7] == 255).all()
    assert (pixels[0] == (10, 200, 30)).all()


@pytest.mark.parametrize("mask", [np.zeros((40, 60), bool), np.ones((40, 60), bool)])
def test_nothing_and_everything_have_no_outline(mask: np.ndarray) -> None:
    pixels = np.array(highlighted(Image.new("RGB", (60, 40), "black"), mask))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 1


def test_short_captions_stay_and_long_ones_lose_the_middle_of_their_name() -> None:
    assert shortened("cat.jpg: 12.3%", TILE) == "cat.jpg: 12.3%"
    short = shortened(f"{'IMG_2023_' * 9}end.jpg: 12.3%", TILE)
    assert short.startswith("IMG_2023_")
    assert "..." in short
    assert short.endswith("end.jpg: 12.3%")
    assert ImageDraw.Draw(Image.new("L", (1, 1))).textlength(short) <= TILE
    assert shortened("x" * 300, TILE).startswith("xxx")
    assert shortened("猫.jpg: 1%", TILE) == "?.jpg: 1%"  # Pillow's font has no such letter


@pytest.mark.parametrize(("queries", "columns", "rows"), [(1, 5, 1), (5, 5, 1), (7, 5, 2), (100, 12, 9), (120, 12, 10)])
def test_a_sheet_grows_wider_then_longer(queries: int, columns: int, rows: int) -> None:
    tiles = [(f"{number}.jpg: 1%", Image.new("RGB", (30, 20), "blue")) for number in range(queries)]
    sheet = contact_sheet([("supports", tiles[:1]), ("queries", tiles)])
    assert sheet.height == 2 * HEADING + (1 + rows) * ROW
    assert sheet.width == min(queries, columns) * STEP + 6
    assert sheet.getpixel((6 + TILE // 2, HEADING + 22 + TILE // 2)) == (0, 0, 255)
