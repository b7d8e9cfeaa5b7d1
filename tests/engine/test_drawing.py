"""Pictures have the sizes and, at pixels that can be worked out, the colours they should have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.drawing import (
    IGNORED,
    MISSED,
    RIGHT,
    TILE,
    WRONG,
    episode_panel,
    fitted_size,
    legend,
    outlined,
    row_of_tiles,
    save_png,
    stack,
    text_length,
    tinted,
)

GAP, CAPTION = 6, 16
STEP = TILE + GAP


def mixed(colour: tuple[int, int, int], grey: int) -> tuple[int, ...]:
    return tuple(int(0.45 * grey + 0.55 * part) for part in colour)


def quarters(a: int, b: int, c: int, d: int) -> np.ndarray:
    """A mask of 96 x 96 pixels: a b above c d."""
    return np.kron(np.array([[a, b], [c, d]], np.uint8), np.ones((48, 48), np.uint8))


def at(panel: Image.Image, tile: int, x: float, y: float) -> tuple[int, ...]:
    """The colour at a place, in parts of a tile."""
    return panel.getpixel((GAP + tile * STEP + int(x * TILE), GAP + CAPTION + int(y * TILE)))


def test_tinted() -> None:
    image = Image.new("RGB", (2, 1), (100, 100, 100))
    picture = tinted(image, [(np.array([[False, True]]), (200, 0, 100))])
    assert picture.getpixel((0, 0)) == (100, 100, 100)
    assert picture.getpixel((1, 0)) == (155, 45, 100)
    assert image.getpixel((1, 0)) == (100, 100, 100)


def test_outlined() -> None:
    image = Image.new("RGB", (5, 6), (100, 50, 20))
    mask = np.zeros((6, 5), bool)
    mask[1:4, 1:4] = True
    picture = np.asarray(outlined(image, mask))
    look = {(100, 50, 20): ".", (255, 255, 255): "w", (0, 0, 0): "b"}
    assert ["".join(look[tuple(pixel)] for pixel in row) for row in picture.tolist()] == [
        ".bbb.",
        "bwwwb",
        "bw.wb",
        "bwwwb",
        ".bbb.",
        ".....",
    ]
    assert outlined(image, np.ones((6, 5), bool)).tobytes() == image.tobytes()  # no edge at the image's own


def test_episode_panel() -> None:
    support, query = Image.new("RGB", (96, 96), (40,) * 3), Image.new("RGB", (96, 96), (80,) * 3)
    truth = quarters(1, 1, 0, 255)
    predictions = [("one", quarters(1, 0, 1, 1)), ("two", quarters(0, 0, 0, 0))]
    panel = episode_panel([(support, quarters(1, 0, 255, 0))] * 2, (query, truth), predictions)
    assert panel.size == (5 * STEP + GAP, TILE + CAPTION + 2 * GAP)
    places = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    for number, grey in ((0, 40), (1, 40), (2, 80)):
        assert [at(panel, number, *place) for place in places] == [(grey,) * 3] * 4
        below = [sum(at(panel, number, 0.25, y / TILE)) for y in range(90, 102)]
        assert min(below) == 0  # the outline between the upper and the lower left quarter
        assert max(below) > 600
    plain, ignored = (80, 80, 80), mixed(IGNORED, 80)
    right, missed, wrong = mixed(RIGHT, 80), mixed(MISSED, 80), mixed(WRONG, 80)
    assert [at(panel, 3, *place) for place in places] == [right, missed, wrong, ignored]
    assert [at(panel, 4, *place) for place in places] == [missed, missed, plain, ignored]
    assert panel.getpixel((1, 1)) == (255, 255, 255)


def test_legend() -> None:
    sheet = legend(400)
    assert sheet.size == (400, 20)
    assert [sheet.getpixel((12 + 85 * number, 8)) for number in range(4)] == [RIGHT, MISSED, WRONG, IGNORED]


def test_pictures_are_fitted_into_squares() -> None:
    wide, mask = Image.new("RGB", (300, 100), "black"), np.zeros((100, 300), np.uint8)
    panel = episode_panel([], (wide, mask), [])
    assert panel.size == (STEP + GAP, TILE + CAPTION + 2 * GAP)
    black = [at(panel, 0, 0.5, y) == (0, 0, 0) for y in (0.1, 0.3, 0.4, 0.6, 0.7, 0.9)]
    assert black == [False, False, True, True, False, False]


def test_tiles_of_another_side() -> None:
    row = row_of_tiles([("small", Image.new("RGB", (3, 2), "red")), ("large", Image.new("RGB", (30, 60), "blue"))], 40)
    assert row.size == (2 * (40 + GAP) + GAP, 40 + CAPTION + 2 * GAP)
    pixels = np.array(row)
    assert (pixels == (255, 0, 0)).all(2).sum() == 40 * 27
    assert (pixels == (0, 0, 255)).all(2).sum() == 20 * 40


def test_captions_stand_above_their_pictures() -> None:
    """Letters below the line included."""
    caption = "gjpqy, IoU 100"
    pixels = np.array(row_of_tiles([(caption, Image.new("RGB", (9, 9), "white"))]).convert("L"))
    rows, columns = np.nonzero(pixels < 200)
    assert rows.max() < GAP + CAPTION
    assert columns.max() <= GAP + text_length(caption) < GAP + TILE


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 100), (30, 10)), ((3, 4), (22, 30)), ((30, 30), (30, 30)), ((1, 500), (1, 30))]
)
def test_fitted_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted_size(size, 30) == expected


def test_stack() -> None:
    sheet = stack([Image.new("RGB", (3, 2), "red"), Image.new("RGB", (5, 1), "blue")])
    assert sheet.size == (5, 3)
    assert [sheet.getpixel(place) for place in ((2, 1), (4, 1), (4, 2))] == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]


def test_save_png(tmp_path: Path) -> None:
    save_png(Image.new("RGB", (3, 2), "red"), tmp_path / "new" / "picture.png")
    with Image.open(tmp_path / "new" / "picture.png") as picture:
        assert (picture.format, picture.size, picture.getpixel((2, 1))) == ("PNG", (3, 2), (255, 0, 0))
