"""An episode's panel shows masks, and right, missed, wrong and ignored pixels, where they are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.drawing import CAPTION_HEIGHT, OBJECT_COLOUR, OBJECT_TINT, TILE_GAP
from engine.evaluation import panel as panels
from engine.evaluation.panel import (
    IGNORED,
    MISSED,
    PANEL_SIDE,
    PANEL_TINT,
    RIGHT,
    WRONG,
    draw_panel,
    draw_panel_legend,
)

STEP = PANEL_SIDE + TILE_GAP
PLACES = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]


def quarters(a: int, b: int, c: int, d: int) -> np.ndarray:
    """A mask of 96 x 96 pixels: a b above c d."""
    return np.kron(np.array([[a, b], [c, d]], np.uint8), np.ones((48, 48), np.uint8))


def colour_at(panel: Image.Image, tile: int, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place, in parts of a tile."""
    left, top = TILE_GAP + tile * STEP, TILE_GAP + CAPTION_HEIGHT
    return panel.getpixel((left + int(x * PANEL_SIDE), top + int(y * PANEL_SIDE)))


def highlighted(grey: int) -> tuple[int, ...]:
    """The colour of an object in a grey image."""
    return tuple(round((1 - OBJECT_TINT) * grey + OBJECT_TINT * each) for each in OBJECT_COLOUR)


def test_every_mask_is_highlighted_in_one_colour() -> None:
    support, query = Image.new("RGB", (96, 96), (40,) * 3), Image.new("RGB", (96, 96), (80,) * 3)
    truth = quarters(1, 1, 0, 255)
    predictions = [("one", quarters(1, 0, 1, 1)), ("two", quarters(0, 0, 0, 0))]
    panel = draw_panel([(support, quarters(1, 0, 255, 0))] * 2, (query, truth), predictions)
    assert panel.size == (5 * STEP + TILE_GAP, PANEL_SIDE + CAPTION_HEIGHT + 2 * TILE_GAP)
    plain, marked = (80,) * 3, highlighted(80)
    expected = [[highlighted(40), *[(40,) * 3] * 3]] * 2
    expected += [[marked, marked, plain, plain], [marked, plain, marked, marked], [plain] * 4]
    assert [[colour_at(panel, number, *place) for place in PLACES] for number in range(5)] == expected
    assert OBJECT_COLOUR in [colour_at(panel, 2, 0.25, y / PANEL_SIDE) for y in range(110, 130)]  # the outline
    assert panel.getpixel((1, 1)) == (255, 255, 255)


def test_the_difference_stands_beside_its_prediction() -> None:
    query, truth = Image.new("RGB", (96, 96), (80,) * 3), quarters(1, 1, 0, 255)
    predictions = [("one", quarters(1, 0, 1, 1)), ("two", quarters(0, 0, 0, 0))]
    panel = draw_panel([], (query, truth), predictions, differences=True)
    assert panel.width == 5 * STEP + TILE_GAP
    tints = (tuple(round((1 - PANEL_TINT) * 80 + PANEL_TINT * x) for x in c) for c in (RIGHT, MISSED, WRONG, IGNORED))
    right, missed, wrong, ignored = tints
    assert [colour_at(panel, 2, *place) for place in PLACES] == [right, missed, wrong, ignored]
    assert [colour_at(panel, 4, *place) for place in PLACES] == [missed, missed, (80, 80, 80), ignored]


def test_the_iou_leaves_ignored_pixels_out(monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []
    monkeypatch.setattr(panels, "draw_row", lambda tiles, side: captions.extend(tile.caption for tile in tiles))
    query, truth = Image.new("RGB", (96, 96)), quarters(1, 1, 0, 255)
    draw_panel([], (query, truth), [("one", quarters(1, 0, 1, 1)), ("two", quarters(0, 0, 0, 1)), ("three", truth)])
    assert captions == ["query, truth", "one, IoU 33", "two, IoU 0", "three, IoU 100"]


def test_its_legend_fits_in_a_line() -> None:
    sheet = draw_panel_legend(400)
    assert sheet.size == (400, 20)
    colours = {tuple(pixel) for pixel in np.array(sheet).reshape(-1, 3).tolist()}
    assert {RIGHT, MISSED, WRONG, IGNORED} <= colours
