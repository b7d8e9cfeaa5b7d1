"""The drawing kit: fit, tint and outline pictures, write text, put captioned tiles in rows, explain the colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from util.errors import printable
from util.files import atomic_write

TEXT_SIZE, CAPTION_SIZE = 13, 16  # pixels, the height of letters
TILE_GAP = 6  # pixels between tiles, and around them
CAPTION_HEIGHT, DETAIL_HEIGHT = 20, 18  # pixels, of a caption alone; of each line where details follow it
LINE_HEIGHT = 24  # pixels, of a line of text by itself
SWATCH, RAMP, KEY_HEIGHT, KEY_GAP = 16, 90, 20, 28  # pixels: width of one colour, of several; of a legend's entries
Colour = tuple[int, int, int]
OBJECT_COLOUR: Colour = (255, 0, 120)  # magenta, the rarest in photographs: one colour in all pictures
OBJECT_TINT = 0.2  # of the colour, the rest is the object's own colours


class Tile(NamedTuple):
    """A picture with the caption above it, and smaller lines of text below the caption."""

    caption: str
    picture: Image.Image
    details: tuple[str, ...] = ()


class Key(NamedTuple):
    """An entry of a legend: a colour, or a ramp of colours, between two texts."""

    before: str
    colours: Sequence[Colour]
    after: str = ""


# Regions and colours


def fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size (W, H) of the same shape whose longer side is ``side``, be it larger or smaller than before."""
    width, height = (max(1, round(each * side / max(size))) for each in size)
    return width, height


def find_edge(region: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a boolean region (H, W) that are at most ``width`` away from its outside."""
    inside = region
    for _ in range(width):
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return region & ~inside


def outline_region(image: Image.Image, region: np.ndarray, width: int) -> Image.Image:
    """An image with the outline of a boolean region (H, W), white inside and black outside, ``width`` pixels each."""
    pixels = np.array(image)
    inner, outer = find_edge(region, width), find_edge(~region, width)
    pixels[inner], pixels[outer] = 255, 0
    return Image.fromarray(pixels)


def highlight_object(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An RGB image with a boolean region (H, W) lightly tinted, and its outline in the tint and, around it, white."""
    if not mask.any():
        return image.copy()
    pixels = np.array(image, np.float32)
    pixels[mask] = (1 - OBJECT_TINT) * pixels[mask] + OBJECT_TINT * np.array(OBJECT_COLOUR, np.float32)
    width = math.ceil(max(image.size) / 200)
    pixels[find_edge(~mask, width)] = 255
    pixels[find_edge(mask, width)] = OBJECT_COLOUR
    return Image.fromarray(pixels.round().astype(np.uint8))


def draw_thumbnail(image: Image.Image, mask: np.ndarray, side: int) -> Image.Image:
    """An image with a boolean region (H, W) highlighted, its longer side so many pixels.

    Small ones are enlarged before they are drawn on, for outlines that are fine.
    """
    size = fit_size(image.size, side)
    large_mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return highlight_object(image.resize(size, Image.Resampling.BILINEAR), large_mask)


def colour_regions(regions: Sequence[tuple[np.ndarray, Colour]]) -> np.ndarray:
    """Colours (H, W, 3) for :func:`tint_image` of boolean regions (H, W), later ones on top; nan outside."""
    colours = np.full((*regions[0][0].shape, 3), np.nan)
    for region, colour in regions:
        colours[region] = colour
    return colours


def blend_colours(values: np.ndarray, stops: Sequence[Colour]) -> np.ndarray:
    """Colours (..., 3) of values from 0 to 1, between stops at equal distances."""
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, places, channel) for channel in zip(*stops, strict=True)], -1)


def tint_image(image: Image.Image, colours: np.ndarray, strength: float) -> Image.Image:
    """An image in grey under colours (H, W, 3), of which ``strength`` of 1 is seen; grey alone where they are nan."""
    pixels = np.array(image.convert("L").convert("RGB"), np.float32)
    is_tinted = ~np.isnan(colours[..., 0])
    pixels[is_tinted] = (1 - strength) * pixels[is_tinted] + strength * colours[is_tinted]
    return Image.fromarray(pixels.round().astype(np.uint8))


# Text


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size)


def write_text(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int = TEXT_SIZE) -> None:
    """Write a text in black, its upper left corner at (x, y)."""
    draw.text(place, text, fill="black", font=load_font(size))


def measure_text(text: str, size: int = TEXT_SIZE) -> float:
    """The length of a text, in pixels."""
    return ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font=load_font(size))


def shorten_caption(caption: str, width: float) -> str:
    """A caption, "NAME: REST" or NAME, in the font's letters, with "..." for the middle of a name that is too long.

    width: pixels that it may take.
    """
    caption = printable(caption).encode("latin-1", "replace").decode("latin-1")  # Pillow's own font knows no others
    name, colon, rest = caption.rpartition(": ")
    name, rest = (name, colon + rest) if colon else (rest, "")
    kept, shown = len(name), name
    while kept > 1 and measure_text(shown + rest, CAPTION_SIZE) > width:
        kept -= 1
        shown = f"{name[: (kept + 1) // 2]}...{name[len(name) - kept // 2 :]}"
    return shown + rest


# Pictures put together


def draw_line(text: str) -> Image.Image:
    """A line of text on white, in the size of captions."""
    width = math.ceil(measure_text(text, CAPTION_SIZE)) + 2 * TILE_GAP
    sheet = Image.new("RGB", (width, LINE_HEIGHT), "white")
    write_text(ImageDraw.Draw(sheet), (TILE_GAP, 4), text, CAPTION_SIZE)
    return sheet


def draw_row(tiles: Sequence[Tile], side: int, height: int | None = None) -> Image.Image:
    """Tiles next to each other, each picture fitted into ``side`` x (``height`` or ``side``) pixels, under its text."""
    lines = max(len(tile.details) for tile in tiles)
    text_height = DETAIL_HEIGHT * (1 + lines) if lines else CAPTION_HEIGHT
    height = side if height is None else height
    step = side + TILE_GAP
    sheet = Image.new("RGB", (len(tiles) * step + TILE_GAP, text_height + height + 2 * TILE_GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, picture, details) in enumerate(tiles):
        left = TILE_GAP + number * step
        write_text(draw, (left, TILE_GAP - 2), caption, CAPTION_SIZE)
        for line, text in enumerate(details, 1):
            write_text(draw, (left, TILE_GAP - 2 + line * DETAIL_HEIGHT), text)
        fitted = picture.resize(fit_size(picture.size, side))
        corner = left + (side - fitted.width) // 2, text_height + TILE_GAP + (height - fitted.height) // 2
        sheet.paste(fitted, corner)
    return sheet


def draw_legend(keys: Sequence[Key], width: int) -> Image.Image:
    """What colours mean, in as many lines as the width (pixels) asks for."""
    pictures = [_draw_key(key) for key in keys]
    places, left, top = [], TILE_GAP, 0
    for picture in pictures:
        if left > TILE_GAP and left + picture.width > width:
            left, top = TILE_GAP, top + KEY_HEIGHT
        places.append((left, top))
        left += picture.width + KEY_GAP
    sheet = Image.new("RGB", (width, top + KEY_HEIGHT), "white")
    for picture, place in zip(pictures, places, strict=True):
        sheet.paste(picture, place)
    return sheet


def _draw_key(key: Key) -> Image.Image:
    bar = SWATCH if len(key.colours) == 1 else RAMP
    left = math.ceil(measure_text(key.before)) + TILE_GAP if key.before else 0
    picture = Image.new("RGB", (left + bar + TILE_GAP + math.ceil(measure_text(key.after)), KEY_HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    write_text(draw, (0, 2), key.before)
    strip = blend_colours(np.linspace(0, 1, bar)[None].repeat(14, 0), key.colours)
    picture.paste(Image.fromarray(strip.round().astype(np.uint8)), (left, 4))
    draw.rectangle((left, 4, left + bar - 1, 17), outline="black")
    write_text(draw, (left + bar + TILE_GAP, 2), key.after)
    return picture


def stack_rows(rows: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, aligned left."""
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def save_png(picture: Image.Image, path: str | Path, mark: str = "SSP") -> None:
    """Write a picture, atomically; mark: the program that made it, which the file says."""
    info = PngInfo()
    info.add_text("Software", mark)
    with atomic_write(path) as file:
        picture.save(file, "PNG", pnginfo=info)
