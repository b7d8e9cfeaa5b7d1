"""Pictures of what was found in a user's images: the object in colour, and all images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.drawing import Tile, draw_line, draw_row, find_edge, fit_size, shorten_caption, stack_rows

SHEET_SIDE = 320  # pixels, of a sheet's tile
FEWEST_COLUMNS, MOST_COLUMNS = 5, 12  # of a sheet: it grows wider before it grows long
TINT = np.array((255, 0, 120), np.float32)  # magenta, the rarest in photographs: one colour in all pictures
OBJECT_TINT = 0.2  # of the tint, the rest is the object's own colours


def highlight_object(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An RGB image with a boolean region (H, W) lightly tinted, and its outline in the tint and, around it, white."""
    if not mask.any():
        return image.copy()
    pixels = np.array(image, np.float32)
    pixels[mask] = (1 - OBJECT_TINT) * pixels[mask] + OBJECT_TINT * TINT
    width = math.ceil(max(image.size) / 300)
    pixels[find_edge(~mask, width)] = 255
    pixels[find_edge(mask, width)] = TINT
    return Image.fromarray(pixels.round().astype(np.uint8))


def draw_thumbnail(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An image with a region highlighted, as large as a tile.

    Small ones are enlarged before they are drawn on, for outlines that are fine.
    """
    size = fit_size(image.size, SHEET_SIDE)
    large_mask = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return highlight_object(image.resize(size, Image.Resampling.BILINEAR), large_mask)


def draw_sheet(sections: Sequence[tuple[str, Sequence[Tile]]]) -> Image.Image:
    """Sections of a heading and tiles in rows; the columns follow from the longest section.

    Captions are "NAME: REST" or NAME; of names that do not fit in a tile the middle is left out.
    """
    longest = max(len(tiles) for _, tiles in sections)
    columns = min(max(FEWEST_COLUMNS, math.ceil(math.sqrt(1.3 * longest))), MOST_COLUMNS)
    rows = []
    for heading, tiles in sections:
        fitting = [tile._replace(caption=shorten_caption(tile.caption, SHEET_SIDE)) for tile in tiles]
        rows.append(draw_line(shorten_caption(heading, columns * SHEET_SIDE)))
        rows += [draw_row(fitting[start : start + columns], SHEET_SIDE) for start in range(0, len(tiles), columns)]
    return stack_rows(rows)
