"""Highlighted objects and sheets have the colours, sizes and captions they should have."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from PIL import Image

from engine.drawing import HEADING, text_length
from prediction.sheet import (
    DARKEST,
    SIDE,
    STRENGTH,
    TINTS,
    contact_sheet,
    highlighted,
    shortened,
    thumbnail,
)

STEP = SIDE + 6
ROW = SIDE + 28
MAGENTA, CYAN, YELLOW = TINTS
BRIGHTNESS = np.array((0.299, 0.587, 0.114))


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
    pixels = np.array(highlighted(Image.new("RGB", (9, 9), (10, 200, 30)), mask))
    grey = DARKEST + (1 - DARKEST / 255) * 124  # of this green
    assert pixels[4, 4].tolist() == ((1 - STRENGTH) * grey + STRENGTH * MAGENTA).round().tolist()
    assert (pixels[3:6, 3:6] == pixels[4, 4]).all()
    assert (pixels[2, 2:7] == MAGENTA).all()
    assert (pixels[1, 2:7] == 255).all()
    assert (pixels[0] == (10, 200, 30)).all()


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 0, 0), (255, 0, 120), (255, 255, 255)])
def test_a_tint_shows_on_red_on_black_on_its_own_colour_and_on_white(colour: tuple[int, int, int]) -> None:
    found = mean_inside(highlighted(Image.new("RGB", (90, 90), colour), disc()))
    assert np.linalg.norm(found - colour) > 120
    assert abs(BRIGHTNESS @ (found - colour)) > 40


def test_a_tint_shows_on_every_colour() -> None:
    for colour in product((0, 51, 102, 153, 204, 255), repeat=3):
        found = mean_inside(highlighted(Image.new("RGB", (90, 90), colour), disc()))
        assert np.linalg.norm(found - colour) > 90, colour


@pytest.mark.parametrize(("around", "tint"), [((90, 140, 220), YELLOW), ((220, 200, 60), CYAN)])
def test_a_tint_differs_from_what_is_around_the_object(around: tuple[int, int, int], tint: np.ndarray) -> None:
    """A brown tower before the sky, and in a field."""
    pixels = np.where(disc()[..., None], (110, 80, 60), around).astype(np.uint8)
    picture = highlighted(Image.fromarray(pixels), disc())
    assert (np.array(picture) == tint).all(2).any()  # the outline
    assert np.linalg.norm(mean_inside(picture) - around) > 60


def test_the_image_itself_is_not_drawn_on() -> None:
    image = Image.new("RGB", (90, 90), "red")
    for mask in (disc(), np.zeros((90, 90), bool)):
        assert highlighted(image, mask) is not image
        assert image.getcolors() == [(8100, (255, 0, 0))]


@pytest.mark.parametrize(
    ("size", "expected"), [((129, 86), (320, 213)), ((500, 1000), (160, 320)), ((1, 900), (1, 320))]
)
def test_thumbnails_are_as_large_as_a_tile(size: tuple[int, int], expected: tuple[int, int]) -> None:
    mask = np.ones(size[::-1], bool)
    assert thumbnail(Image.new("RGB", size), mask).size == expected


def test_a_thumbnail_of_a_small_image_has_a_fine_outline() -> None:
    mask = np.zeros((16, 16), bool)
    mask[:, :8] = True
    row = np.array(thumbnail(Image.new("RGB", (16, 16), (200, 0, 0)), mask))[100]
    assert (row == 255).all(1).sum() == 2  # of 320 pixels, 20 of which were one


@pytest.mark.parametrize("mask", [np.zeros((40, 60), bool), np.ones((40, 60), bool)])
def test_nothing_and_everything_have_no_outline(mask: np.ndarray) -> None:
    pixels = np.array(highlighted(Image.new("RGB", (60, 40), "black"), mask))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 1


def test_short_captions_stay_and_long_ones_lose_the_middle_of_their_name() -> None:
    assert shortened("cat.jpg: 12.3%", SIDE) == "cat.jpg: 12.3%"
    short = shortened(f"{'IMG_2023_' * 9}end.jpg: 12.3%", SIDE)
    assert short.startswith("IMG_2023_")
    assert "..." in short
    assert short.endswith("end.jpg: 12.3%")
    assert text_length(short) <= SIDE
    assert shortened("x" * 300, SIDE).startswith("xxx")
    assert shortened("猫.jpg: 1%", SIDE) == "?.jpg: 1%"  # Pillow's font has no such letter


@pytest.mark.parametrize(("queries", "columns", "rows"), [(1, 5, 1), (5, 5, 1), (7, 5, 2), (100, 12, 9), (120, 12, 10)])
def test_a_sheet_grows_wider_then_longer(queries: int, columns: int, rows: int) -> None:
    tiles = [(f"{number}.jpg: 1%", Image.new("RGB", (30, 20), "blue")) for number in range(queries)]
    sheet = contact_sheet([("supports", tiles[:1]), ("queries", tiles)])
    assert sheet.height == 2 * HEADING + (1 + rows) * ROW
    assert sheet.width == min(queries, columns) * STEP + 6
    assert sheet.getpixel((6 + SIDE // 2, HEADING + 22 + SIDE // 2)) == (0, 0, 255)
