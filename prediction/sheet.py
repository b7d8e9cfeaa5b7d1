"""Pictures of what was found in a user's images: the object in colour, and all images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from engine.drawing import fitted_size, region_edge, row_of_tiles, stack, text_length, text_line
from util.errors import printable

SIDE = 320  # pixels, of a sheet's tile
TINTS = np.array([(255, 0, 120), (0, 210, 255), (255, 225, 0)], np.float32)  # magenta, cyan, yellow
STRENGTH = 0.5  # of a tint, the rest is the image in grey
DARKEST = 50  # what black becomes in that grey, so that a tint shows on it
COLUMNS = 5, 12  # of a sheet: it grows wider before it grows long


def highlighted(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An RGB image with a boolean region (H, W) in one tint, and its outline in the tint on white."""
    if not mask.any():
        return image.copy()
    plain = np.array(image)
    # In grey first: a tint over the complementary colour would be mud.
    grey = DARKEST + (1 - DARKEST / 255) * np.array(image.convert("L"), np.float32)[mask]
    tint = telling_tint(plain, mask, float(grey.mean(dtype=np.float64)))
    pixels = plain.astype(np.float32)
    pixels[mask] = (1 - STRENGTH) * grey[:, None] + STRENGTH * tint
    width = math.ceil(max(image.size) / 300)
    pixels[region_edge(~mask, width)] = 255
    pixels[region_edge(mask, width)] = tint
    return Image.fromarray(pixels.round().astype(np.uint8))


def telling_tint(pixels: np.ndarray, mask: np.ndarray, grey: float) -> np.ndarray:
    """The tint that takes a region farthest from what it was, and from what is around it.

    Arguments:
        pixels: of the image, (H, W, 3) uint8.
        mask: (H, W) bool, the region.
        grey: the mean of the greys under the tint.
    """
    means = np.stack([pixels[part].mean(0) for part in (mask, ~mask) if part.any()])
    tinted = (1 - STRENGTH) * grey + STRENGTH * TINTS
    distances = np.linalg.norm(tinted[:, None] - means, axis=2)  # (tints, means)
    return TINTS[distances.min(1).argmax()]


def thumbnail(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An image with a region highlighted, as large as a tile.

    Small ones are enlarged before they are drawn on, for outlines that are fine.
    """
    size = fitted_size(image.size, SIDE)
    enlarged = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return highlighted(image.resize(size, Image.Resampling.BILINEAR), enlarged)


def contact_sheet(sections: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]]) -> Image.Image:
    """Sections of a heading and captioned pictures in rows; the columns follow from the longest section.

    Captions are "NAME: REST" or NAME; of names that do not fit in a tile the middle is left out.
    """
    few, many = COLUMNS
    columns = min(max(few, math.ceil(math.sqrt(1.3 * max(len(tiles) for _, tiles in sections)))), many)
    rows = []
    for heading, tiles in sections:
        fitting = [(shortened(caption, SIDE), picture) for caption, picture in tiles]
        lines = [row_of_tiles(fitting[start : start + columns], SIDE) for start in range(0, len(tiles), columns)]
        rows += [text_line(shortened(heading, columns * SIDE)), *lines]
    return stack(rows)


def shortened(caption: str, width: float) -> str:
    """A caption in the font's letters that takes at most so many pixels, with "..." for the middle of its name."""
    caption = printable(caption).encode("latin-1", "replace").decode("latin-1")  # Pillow's own font knows no others
    name, colon, rest = caption.rpartition(": ")
    name, rest = (name, colon + rest) if colon else (rest, "")
    kept = len(name)
    shown = name
    while kept > 1 and text_length(shown + rest) > width:
        kept -= 1
        shown = f"{name[: (kept + 1) // 2]}...{name[len(name) - kept // 2 :]}"
    return shown + rest
