"""Pictures have the sizes and, at pixels that can be worked out, the colours they should have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.drawing import (
    CAPTION_HEIGHT,
    CAPTION_SIZE,
    DETAIL_HEIGHT,
    KEY_HEIGHT,
    OBJECT_COLOUR,
    OBJECT_TINT,
    RAMP,
    SWATCH,
    TILE_GAP,
    Key,
    Tile,
    blend_colours,
    colour_regions,
    draw_legend,
    draw_row,
    draw_thumbnail,
    fit_size,
    highlight_object,
    measure_text,
    outline_region,
    save_png,
    shorten_caption,
    stack_rows,
    tint_image,
)

RED, BLUE = (255, 0, 0), (0, 0, 255)


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.array(picture) == colour).all(2).sum())


@pytest.mark.parametrize(
    ("size", "expected"), [((300, 100), (30, 10)), ((3, 4), (22, 30)), ((30, 30), (30, 30)), ((1, 500), (1, 30))]
)
def test_fit_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(size, 30) == expected


def test_tint_image() -> None:
    image = Image.new("RGB", (3, 1), (100, 100, 100))
    regions = [(np.array([[False, True, True]]), (200, 0, 100)), (np.array([[False, False, True]]), (0, 0, 0))]
    picture = tint_image(image, colour_regions(regions), 0.55)
    assert [picture.getpixel((x, 0)) for x in range(3)] == [(100, 100, 100), (155, 45, 100), (45, 45, 45)]
    assert image.getpixel((1, 0)) == (100, 100, 100)


def test_blend_colours() -> None:
    stops = ((0, 0, 0), (100, 200, 40))
    assert blend_colours(np.array([0.0, 0.25, 1.0]), stops).tolist() == [[0, 0, 0], [25, 50, 10], [100, 200, 40]]


def test_outline_region() -> None:
    image = Image.new("RGB", (5, 6), (100, 50, 20))
    mask = np.zeros((6, 5), bool)
    mask[1:4, 1:4] = True
    picture = np.asarray(outline_region(image, mask, 1))
    look = {(100, 50, 20): ".", (255, 255, 255): "w", (0, 0, 0): "b"}
    assert ["".join(look[tuple(pixel)] for pixel in row) for row in picture.tolist()] == [
        ".bbb.",
        "bwwwb",
        "bw.wb",
        "bwwwb",
        ".bbb.",
        ".....",
    ]
    assert outline_region(image, np.ones((6, 5), bool), 1).tobytes() == image.tobytes()  # no edge at the image's own


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
    assert (pixels[2, 2:7] == OBJECT_COLOUR).all()
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
    assert draw_thumbnail(Image.new("RGB", size), np.ones(size[::-1], bool), 320).size == expected


def test_a_thumbnail_of_a_small_image_has_a_fine_outline() -> None:
    mask = np.zeros((16, 16), bool)
    mask[:, :8] = True
    row = np.array(draw_thumbnail(Image.new("RGB", (16, 16), (200, 0, 0)), mask, 320))[100]
    assert (row == 255).all(1).sum() == 2  # of 320 pixels, 20 of which were one


@pytest.mark.parametrize("mask", [np.zeros((40, 60), bool), np.ones((40, 60), bool)])
def test_nothing_and_everything_have_no_outline(mask: np.ndarray) -> None:
    image = Image.new("RGB", (60, 40), "black")
    picture = highlight_object(image, mask)
    assert len(picture.getcolors()) == 1
    assert picture is not image


def test_short_captions_stay_and_long_ones_lose_the_middle_of_their_name() -> None:
    assert shorten_caption("cat.jpg: 12.3%", 320) == "cat.jpg: 12.3%"
    short = shorten_caption(f"{'IMG_2023_' * 9}end.jpg: 12.3%", 320)
    assert short.startswith("IMG_2023_")
    assert "..." in short
    assert short.endswith("end.jpg: 12.3%")
    assert measure_text(short, CAPTION_SIZE) <= 320
    assert shorten_caption("x" * 300, 320).startswith("xxx")
    assert shorten_caption("猫.jpg: 1%", 320) == "?.jpg: 1%"  # Pillow's font has no such letter


@pytest.mark.parametrize(
    ("details", "height", "text_height"),
    [((), None, CAPTION_HEIGHT), (("gjpqy", "gjpqy"), 30, 3 * DETAIL_HEIGHT)],
)
def test_a_row_of_tiles(details: tuple[str, ...], height: int | None, text_height: int) -> None:
    """Pictures are fitted into squares, or lower boxes, below their text, letters below the line included."""
    tiles = [Tile("gjpqy", Image.new("RGB", (4, 3), "red"), details), Tile("", Image.new("RGB", (6, 4), "blue"))]
    row = draw_row(tiles, 40, height)
    assert row.size == (2 * (40 + TILE_GAP) + TILE_GAP, (height or 40) + text_height + 2 * TILE_GAP)
    assert (count(row, RED), count(row, BLUE)) == (40 * 30, 40 * 27)
    below = np.array(row)[TILE_GAP + text_height :]
    assert set(map(tuple, below.reshape(-1, 3).tolist())) == {RED, BLUE, (255, 255, 255)}


@pytest.mark.parametrize(("width", "lines"), [(400, 1), (130, 2)])
def test_draw_legend(width: int, lines: int) -> None:
    """A swatch and a ramp, each in a black frame, that wrap where it is narrow."""
    sheet = draw_legend([Key("", (RED,), "right"), Key("0", (BLUE, BLUE), "1")], width)
    assert sheet.size == (width, lines * KEY_HEIGHT)
    assert (count(sheet, RED), count(sheet, BLUE)) == ((SWATCH - 2) * 12, (RAMP - 2) * 12)


def test_stack_rows() -> None:
    sheet = stack_rows([Image.new("RGB", (3, 2), "red"), Image.new("RGB", (5, 1), "blue")])
    assert sheet.size == (5, 3)
    assert [sheet.getpixel(place) for place in ((2, 1), (4, 1), (4, 2))] == [RED, (255, 255, 255), BLUE]


def test_save_png(tmp_path: Path) -> None:
    save_png(Image.new("RGB", (3, 2), "red"), tmp_path / "new" / "picture.png")
    with Image.open(tmp_path / "new" / "picture.png") as picture:
        assert (picture.format, picture.size, picture.getpixel((2, 1))) == ("PNG", (3, 2), RED)
