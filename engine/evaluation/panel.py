"""The panel of an episode: supports, query, and predictions with what each got wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dataset.labels import IGNORE
from engine.drawing import Colour, Key, Tile, colour_regions, draw_legend, draw_row, outline_region, tint_image

PANEL_SIDE = 192  # pixels, of a panel's tiles
PANEL_TINT = 0.55  # the colour's share, the rest is the image in grey
RIGHT, MISSED, WRONG, IGNORED = (0, 190, 80), (255, 215, 0), (230, 40, 40), (235, 235, 235)
MEANINGS: dict[str, Colour] = {"right": RIGHT, "missed": MISSED, "too much": WRONG, "ignored": IGNORED}


def draw_panel(
    supports: Sequence[tuple[Image.Image, np.ndarray]],
    query: tuple[Image.Image, np.ndarray],
    predictions: Sequence[tuple[str, np.ndarray]],
    outlines: bool = False,
) -> Image.Image:
    """Draw supports and the query with their masks outlined, and each prediction with what it got wrong.

    Green is right, yellow missed, red too much, light grey ignored (see :func:`draw_panel_legend`).

    Arguments:
        supports, query: images with masks (H, W), 1 the target, 255 ignored.
        predictions: captions with masks (H, W) of 0 and 1.
        outlines: whether each prediction is also shown by itself.
    """
    tiles = [Tile(f"support {number}", _outline(image, mask)) for number, (image, mask) in enumerate(supports, 1)]
    image, truth = query
    tiles.append(Tile("query, truth", _outline(image, truth)))
    for caption, predicted in predictions:
        if outlines:
            tiles.append(Tile("prediction", _outline(image, predicted)))
        tiles.append(_draw_difference(caption, image, truth, predicted))
    return draw_row(tiles, PANEL_SIDE)


def _outline(image: Image.Image, mask: np.ndarray) -> Image.Image:
    return outline_region(image, mask == 1, width=max(1, round(max(image.size) / PANEL_SIDE)))


def _draw_difference(caption: str, image: Image.Image, truth: np.ndarray, predicted: np.ndarray) -> Tile:
    """A prediction (H, W) against the truth (H, W) in colours, and its IoU."""
    kept = truth != IGNORE
    right, missed = (predicted == 1) & (truth == 1), (predicted == 0) & (truth == 1)
    wrong = (predicted == 1) & kept & (truth != 1)
    iou = 100 * right.sum() / max((right | missed | wrong).sum(), 1)
    colours = colour_regions([(right, RIGHT), (missed, MISSED), (wrong, WRONG), (~kept, IGNORED)])
    return Tile(f"{caption}, IoU {iou:.0f}", tint_image(image, colours, PANEL_TINT))


def draw_panel_legend(width: int) -> Image.Image:
    """A line of this width (pixels) that explains the colours of a panel."""
    return draw_legend([Key("", (colour,), meaning) for meaning, colour in MEANINGS.items()], width)
