"""Highlighted objects and sheets have the colours, sizes and captions they should have."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.drawing import LINE_HEIGHT, Tile
from prediction.sheet import OBJECT_TINT, SHEET_SIDE, TINT, draw_sheet, draw_thumbnail, highlight_object

STEP = SHEET_SIDE + 6
ROW = SHEET_SIDE + 28


def disc(side: int = 90) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side // 2
    return x**2 + y**2 < (side // 3) ** 2


def mean_inside(picture: Image.Image) -> np.ndarray:
    """The mean colour well inside of the disc, where no outline is."""
    y, x = np.mgrid[:90, :90] - 45
    return np.array(picture, np.float64)[x**2 + y**2 < 20**2].mean(0)


def test_the_object_is_tinted_and_outlined_and_the_rest_keeps_its_colours() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    image = Image.new("RGB", (9, 9), (10, 200, 30))
    pixels = np.array(highlight_object(image, mask))
    assert pixels[4, 4].tolist() == [59, 160, 48]  # 0.8 of the green and 0.2 of (255, 0, 120)
    assert (pixels[3:6, 3:6] == pixels[4, 4]).all()
    assert (pixels[2, 2:7] == TINT).all()
    assert (pixels[1, 2:7] == 255).all()
    assert (pixels[0] == (10, 200, 30)).all()
    assert image.getcolors() == [(81, (10, 200, 30))]  # the image itself is not drawn on


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 0), (255, 0, 120), (255, 255, 255), (128, 128, 128)])
def test_the_outline_shows_on_every_colour_and_the_object_keeps_its_own(colour: tuple[int, ...]) -> None:
    """The tint is the same whatever is around the object, and its own colours still differ under it."""
    picture = np.array(highlight_object(Image.new("RGB", (90, 90), colour), disc()), np.float64)
    around = [np.linalg.norm(picture[place] - colour) for place in ((45, 16), (45, 15))]  # on both sides of the edge
    assert max(around) > 120
    other = tuple(255 - each for each in colour)
    inside = mean_inside(Image.fromarray(picture.astype(np.uint8)))
    others = mean_inside(highlight_object(Image.new("RGB", (90, 90), other), disc()))
    assert np.allclose(inside - others, (1 - OBJECT_TINT) * np.subtract(colour, other), atol=1)


@pytest.mark.parametrize(
    ("size", "expected"), [((129, 86), (320, 213)), ((500, 1000), (160, 320)), ((1, 900), (1, 320))]
)
def test_thumbnails_are_as_large_as_a_tile(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert draw_thumbnail(Image.new("RGB", size), np.ones(size[::-1], bool)).size == expected


def test_a_thumbnail_of_a_small_image_has_a_fine_outline() -> None:
    mask = np.zeros((16, 16), bool)
    mask[:, :8] = True
    row = np.array(draw_thumbnail(Image.new("RGB", (16, 16), (200, 0, 0)), mask))[100]
    assert (row == 255).all(1).sum() == 2  # of 320 pixels, 20 of which were one


@pytest.mark.parametrize("mask", [np.zeros((40, 60), bool), np.ones((40, 60), bool)])
def test_nothing_and_everything_have_no_outline(mask: np.ndarray) -> None:
    image = Image.new("RGB", (60, 40), "black")
    picture = highlight_object(image, mask)
    assert len(picture.getcolors()) == 1
    assert picture is not image


@pytest.mark.parametrize(("queries", "columns", "rows"), [(1, 5, 1), (5, 5, 1), (7, 5, 2), (100, 12, 9), (120, 12, 10)])
def test_a_sheet_grows_wider_then_longer(queries: int, columns: int, rows: int) -> None:
    tiles = [Tile(f"{number}.jpg: 1%", Image.new("RGB", (30, 20), "blue")) for number in range(queries)]
    sheet = draw_sheet([("supports", tiles[:1]), ("queries", tiles)])
    assert sheet.height == 2 * LINE_HEIGHT + (1 + rows) * ROW
    assert sheet.width == min(queries, columns) * STEP + 6
    assert sheet.getpixel((6 + SHEET_SIDE // 2, LINE_HEIGHT + 22 + SHEET_SIDE // 2)) == (0, 0, 255)
