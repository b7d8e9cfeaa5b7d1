"""Pictures of what was found in a user's images: the object in colour, and all images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from engine.pictures import TILE, region_edge, row_of_tiles, stack

TINT = np.array((255, 0, 120), np.float32)  # a colour that photographs hardly have
STRENGTH = 0.4  # of the tint, the rest is the image
COLUMNS = 5, 12  # of a sheet: it grows wider before it grows long
HEADING = 20  # pixels, the height of a line of text


def highlighted(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An RGB image with a boolean region (H, W) tinted, and its outline in the tint on white."""
    pixels = np.array(image, np.float32)
    pixels[mask] = (1 - STRENGTH) * pixels[mask] + STRENGTH * TINT
    width = math.ceil(max(image.size) / 500)
    pixels[region_edge(~mask, width)] = 255
    pixels[region_edge(mask, width)] = TINT
    return Image.fromarray(pixels.round().astype(np.uint8))


def contact_sheet(sections: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]]) -> Image.Image:
    """Sections of a heading and captioned pictures in rows; the columns follow from the longest section.

    Captions are "NAME: REST" or NAME; of names that do not fit in a tile the middle is left out.
    """
    few, many = COLUMNS
    columns = min(max(few, math.ceil(math.sqrt(1.3 * max(len(tiles) for _, tiles in sections)))), many)
    rows = []
    for heading, tiles in sections:
        fitting = [(shortened(caption, TILE), picture) for caption, picture in tiles]
        lines = [row_of_tiles(fitting[start : start + columns]) for start in range(0, len(tiles), columns)]
        rows += [_line(heading), *lines]
    return stack(rows)


def shortened(caption: str, width: float) -> str:
    """A caption in the font's letters that takes at most so many pixels, with "..." for the middle of its name."""
    caption = caption.encode("latin-1", "replace").decode("latin-1")  # Pillow's own font knows no others
    name, colon, rest = caption.rpartition(": ")
    name, rest = (name, colon + rest) if colon else (rest, "")
    kept = len(name)
    shown = name
    while kept > 1 and _length(shown + rest) > width:
        kept -= 1
        shown = f"{name[: (kept + 1) // 2]}...{name[len(name) - kept // 2 :]}"
    return shown + rest


def _line(text: str) -> Image.Image:
    """A line of text on white."""
    sheet = Image.new("RGB", (math.ceil(_length(text)) + 12, HEADING), "white")
    ImageDraw.Draw(sheet).text((6, 6), text, fill="black")
    return sheet


def _length(text: str) -> float:
    """The length of a line, in pixels."""
    return ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text)
