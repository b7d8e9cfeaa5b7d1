"""The panel of an episode: supports, query, and predictions with what each got wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dataset.labels import IGNORE
from engine.drawing import Colour, Key, Tile, colour_regions, draw_legend, draw_row, draw_thumbnail, tint_image

PANEL_SIDE = 240  # pixels, of a panel's tiles
PANEL_TINT = 0.55  # a difference's colour, the rest is the image in grey
RIGHT, MISSED, WRONG, IGNORED = (0, 190, 80), (255, 215, 0), (230, 40, 40), (235, 235, 235)
MEANINGS: dict[str, Colour] = {"right": RIGHT, "missed": MISSED, "too much": WRONG, "ignored": IGNORED}


def draw_panel(
    supports: Sequence[tuple[Image.Image, np.ndarray]],
    query: tuple[Image.Image, np.ndarray],
    predictions: Sequence[tuple[str, np.ndarray]],
    differences: bool = False,
) -> Image.Image:
    """Draw supports, the query with its truth and each prediction: the object highlighted, in one colour throughout.

    Arguments:
        supports, query: images with masks (H, W), 1 the target, 255 ignored.
        predictions: captions with masks (H, W) of 0 and 1.
        differences: whether beside each prediction stands what it got wrong, in the colours of
            :func:`draw_panel_legend`: green is right, yellow missed, red too much, light grey ignored.
    """
    tiles = [_draw_mask(f"support {number}", *support) for number, support in enumerate(supports, 1)]
    image, truth = query
    tiles.append(_draw_mask("query, truth", image, truth))
    for caption, predicted in predictions:
        tiles.append(_draw_mask(f"{caption}, IoU {_iou(predicted, truth):.0f}", image, predicted))
        if differences:
            tiles.append(Tile("difference", _draw_difference(image, truth, predicted)))
    return draw_row(tiles, PANEL_SIDE)


def _draw_mask(caption: str, image: Image.Image, mask: np.ndarray) -> Tile:
    return Tile(caption, draw_thumbnail(image, mask == 1, PANEL_SIDE))


def _iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """The IoU in percent of masks (H, W), but for pixels that the truth ignores."""
    found, target = (predicted == 1) & (truth != IGNORE), truth == 1
    return 100 * (found & target).sum() / max((found | target).sum(), 1)


def _draw_difference(image: Image.Image, truth: np.ndarray, predicted: np.ndarray) -> Image.Image:
    """A prediction (H, W) against the truth (H, W) in colours."""
    regions = [
        ((predicted == 1) & (truth == 1), RIGHT),
        ((predicted == 0) & (truth == 1), MISSED),
        ((predicted == 1) & (truth == 0), WRONG),
        (truth == IGNORE, IGNORED),
    ]
    return tint_image(image, colour_regions(regions), PANEL_TINT)


def draw_panel_legend(width: int) -> Image.Image:
    """A line of this width (pixels) that explains the colours of a difference."""
    return draw_legend([Key("", (colour,), meaning) for meaning, colour in MEANINGS.items()], width)
