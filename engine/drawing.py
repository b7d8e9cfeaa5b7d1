"""Pictures: an episode's panel, its legend, PNG files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset.images import IGNORE
from util.files import atomic_write

TILE = 192  # pixels, the side of a panel's pictures
LETTERS = 13  # pixels, of the letters of a caption
HEADING = 24  # pixels, the height of a line of text
RIGHT, MISSED, WRONG, IGNORED = (0, 190, 80), (255, 215, 0), (230, 40, 40), (235, 235, 235)


def outlined(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """An image with the outline of a boolean region (H, W), white on black."""
    pixels = np.array(image)
    scale = max(1, round(max(image.size) / TILE))
    inner, outer = region_edge(mask, scale), region_edge(~mask, scale)
    pixels[inner], pixels[outer] = 255, 0
    return Image.fromarray(pixels)


def region_edge(region: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a boolean region (H, W) that are at most ``width`` away from its outside."""
    inside = region
    for _ in range(width):
        padded = np.pad(inside, 1, mode="edge")
        inside = inside & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return region & ~inside


def tinted(image: Image.Image, regions: Sequence[tuple[np.ndarray, tuple[int, int, int]]]) -> Image.Image:
    """An image in grey with boolean regions (H, W) tinted, each in its colour."""
    pixels = np.array(image.convert("L").convert("RGB"), np.float32)
    for region, colour in regions:
        pixels[region] = 0.45 * pixels[region] + 0.55 * np.array(colour, np.float32)
    return Image.fromarray(pixels.astype(np.uint8))


def episode_panel(
    supports: Sequence[tuple[Image.Image, np.ndarray]],
    query: tuple[Image.Image, np.ndarray],
    predictions: Sequence[tuple[str, np.ndarray]],
    outlines: bool = False,
) -> Image.Image:
    """Draw supports and the query with their masks outlined, and each prediction with what it got wrong.

    Green is right, yellow missed, red too much, light grey ignored (see :func:`legend`).

    Arguments:
        supports, query: images with masks (H, W), 1 the target, 255 ignored.
        predictions: captions with masks (H, W) of 0 and 1.
        outlines: whether each prediction is also shown by itself.
    """
    tiles = [(f"support {number}", outlined(image, mask == 1)) for number, (image, mask) in enumerate(supports, 1)]
    image, truth = query
    tiles.append(("query, truth", outlined(image, truth == 1)))
    for caption, predicted in predictions:
        if outlines:
            tiles.append(("prediction", outlined(image, predicted == 1)))
        kept = truth != IGNORE
        right, missed = (predicted == 1) & (truth == 1), (predicted == 0) & (truth == 1)
        wrong = (predicted == 1) & kept & (truth != 1)
        iou = 100 * right.sum() / max((right | missed | wrong).sum(), 1)
        regions = [(right, RIGHT), (missed, MISSED), (wrong, WRONG), (~kept, IGNORED)]
        tiles.append((f"{caption}, IoU {iou:.0f}", tinted(image, regions)))
    return row_of_tiles(tiles)


def legend(width: int) -> Image.Image:
    """A line that explains the colours of :func:`episode_panel`."""
    sheet = Image.new("RGB", (width, 20), "white")
    draw, left = ImageDraw.Draw(sheet), 6
    for name, colour in (("right", RIGHT), ("missed", MISSED), ("too much", WRONG), ("ignored", IGNORED)):
        draw.rectangle((left, 5, left + 12, 17), fill=colour, outline="black")
        draw.text((left + 17, 3), name, fill="black", font=ImageFont.load_default(LETTERS))
        left += 85
    return sheet


def row_of_tiles(tiles: Sequence[tuple[str, Image.Image]], side: int = TILE) -> Image.Image:
    """Captioned pictures next to each other, each fitted into a square of this side."""
    gap, caption_height = 6, 16
    sheet = Image.new("RGB", (len(tiles) * (side + gap) + gap, side + caption_height + 2 * gap), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, picture) in enumerate(tiles):
        fitted = picture.resize(fitted_size(picture.size, side))
        left = gap + number * (side + gap)
        draw.text((left, gap - 2), caption, fill="black", font=ImageFont.load_default(LETTERS))
        sheet.paste(fitted, (left + (side - fitted.width) // 2, caption_height + gap + (side - fitted.height) // 2))
    return sheet


def fitted_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size (W, H) whose longer side is this one, larger or smaller than before."""
    width, height = (max(1, round(each * side / max(size))) for each in size)
    return width, height


def text_length(text: str) -> float:
    """The length of a caption, in pixels."""
    return ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font=ImageFont.load_default(LETTERS))


def text_line(text: str) -> Image.Image:
    """A line of text on white."""
    sheet = Image.new("RGB", (math.ceil(text_length(text)) + 12, HEADING), "white")
    ImageDraw.Draw(sheet).text((6, 7), text, fill="black", font=ImageFont.load_default(LETTERS))
    return sheet


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, aligned left."""
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def save_png(picture: Image.Image, path: str | Path) -> None:
    """Write a picture, atomically."""
    with atomic_write(path) as file:
        picture.save(file, "PNG")
