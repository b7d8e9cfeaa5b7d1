"""An episode's panel shows right, missed, wrong and ignored pixels where they are."""

from __future__ import annotations

import numpy as np
from PIL import Image

from engine.drawing import CAPTION_HEIGHT, TILE_GAP
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


def test_draw_panel() -> None:
    support, query = Image.new("RGB", (96, 96), (40,) * 3), Image.new("RGB", (96, 96), (80,) * 3)
    truth = quarters(1, 1, 0, 255)
    predictions = [("one", quarters(1, 0, 1, 1)), ("two", quarters(0, 0, 0, 0))]
    panel = draw_panel([(support, quarters(1, 0, 255, 0))] * 2, (query, truth), predictions)
    assert panel.size == (5 * STEP + TILE_GAP, PANEL_SIDE + CAPTION_HEIGHT + 2 * TILE_GAP)
    for number, grey in ((0, 40), (1, 40), (2, 80)):
        assert [colour_at(panel, number, *place) for place in PLACES] == [(grey,) * 3] * 4
        below = [sum(colour_at(panel, number, 0.25, y / PANEL_SIDE)) for y in range(90, 102)]
        assert min(below) == 0  # the outline between the upper and the lower left quarter
        assert max(below) > 600
    tints = (tuple(round((1 - PANEL_TINT) * 80 + PANEL_TINT * x) for x in c) for c in (RIGHT, MISSED, WRONG, IGNORED))
    right, missed, wrong, ignored = tints
    assert [colour_at(panel, 3, *place) for place in PLACES] == [right, missed, wrong, ignored]
    assert [colour_at(panel, 4, *place) for place in PLACES] == [missed, missed, (80, 80, 80), ignored]
    assert panel.getpixel((1, 1)) == (255, 255, 255)
    assert draw_panel([], (query, truth), predictions, outlines=True).width == 5 * STEP + TILE_GAP


def test_its_legend_fits_in_a_line() -> None:
    sheet = draw_panel_legend(400)
    assert sheet.size == (400, 20)
    colours = {tuple(pixel) for pixel in np.array(sheet).reshape(-1, 3).tolist()}
    assert {RIGHT, MISSED, WRONG, IGNORED} <= colours
