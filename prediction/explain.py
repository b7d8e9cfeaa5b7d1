"""An explanation: what each step of the matching found in an image, as numbers (docs/method.md, section 3).

All of it is the network's own: the logits and confident pixels that its matching passes through, and the weights of
the adaptive background prototypes by the function that the matching itself calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model import matching
from model.matching import Chosen, Matching, Trace

Pixel = tuple[int, int]


class Confident(NamedTuple):
    """The confident pixels of a step, in the features' size."""

    fg: np.ndarray  # (h, w) bool
    bg: np.ndarray  # (h, w) bool
    fg_passed: bool  # whether any pixel passed the threshold; if not, fg holds the 12 likeliest
    bg_passed: bool


class AdaptiveSource(NamedTuple):
    """Where the adaptive background prototype (ASBP) of one pixel comes from."""

    pixel: Pixel  # (x, y) in the image's own pixels
    weights: np.ndarray  # (h, w) float32 that sum up to 1, 0 outside the confident background pixels of step 3
    reason: str  # why this pixel is shown


class Explanation(NamedTuple):
    """What the steps found in an image of H x W pixels, h x w features. What a network does not do is None."""

    image: Image.Image  # RGB, in its own size
    mask: np.ndarray  # (H, W) bool, what predict returns
    probability: np.ndarray  # (H, W) float32, what predict returns
    settings: Matching
    first: np.ndarray  # step 2: (h, w) float32, the probability of the object
    confident: Confident | None  # step 3
    out1: np.ndarray | None  # step 4, as first
    confident_again: Confident | None  # step 5
    out2: np.ndarray | None  # step 5, as first
    final: np.ndarray  # as first
    adaptive: tuple[AdaptiveSource, ...]  # of the pixels that were chosen


def explain_trace(
    image: Image.Image,
    features: Tensor,
    trace: Trace,
    found: tuple[np.ndarray, np.ndarray],
    pixels: Sequence[Pixel] | None = None,
) -> Explanation:
    """What a matching's trace tells of an image.

    Arguments:
        image: RGB, in its own size.
        features: of the image, (1, C, h, w).
        trace: of the matching of these features.
        found: mask and probability in the image's own size.
        pixels: (x, y) of those whose ASBP is looked at, in the image's own pixels; None for those that
            :func:`choose_pixels` names.
    Raises:
        ValueError: a pixel is outside the image, or is named although the network has no ASBP.
    """
    for x, y in pixels or ():
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise ValueError(f"pixel ({x}, {y}) is outside the image of {image.width}x{image.height}")
    if pixels and trace.chosen is None:
        raise ValueError("pixels are named, but this network has no adaptive background prototypes; leave them out")
    final = _probability_of(trace.final)
    adaptive = []
    if trace.chosen is not None:
        asked = None if pixels is None else dict.fromkeys(map(tuple, pixels), "as asked for")
        places = choose_pixels(final, image.size) if asked is None else asked
        for pixel, reason in places.items():
            feature = _find_feature(pixel, image.size, final.shape)
            weights = weigh_background(features, trace.chosen[0].bg, feature, trace.settings.adaptive_scale)
            adaptive.append(AdaptiveSource(pixel, weights, reason))
    mask, probability = found
    return Explanation(
        image,
        mask,
        probability,
        trace.settings,
        first=_probability_of(trace.first),
        confident=_find_confident(trace.chosen, trace.first, trace.settings),
        out1=None if trace.out1 is None else _probability_of(trace.out1),
        confident_again=_find_confident(trace.chosen_again, trace.out1, trace.settings),
        out2=None if trace.out2 is None else _probability_of(trace.out2),
        final=final,
        adaptive=tuple(adaptive),
    )


def weigh_background(features: Tensor, chosen: Tensor, pixel: tuple[int, int], scale: float) -> np.ndarray:
    """Weights (h, w) float32 of the chosen background pixels (n,) in the ASBP of one pixel (row, column).

    scale: the setting adaptive_scale of the matching.
    """
    height, width = features.shape[-2:]
    unit = (features / matching.norm(features)[:, None])[0].flatten(1)  # (C, N)
    index = pixel[0] * width + pixel[1]
    weights = unit.new_zeros(height * width)
    weights[chosen] = matching.adaptive_weights(unit[:, index : index + 1], unit[:, chosen], scale)[0]
    return weights.view(height, width).float().cpu().numpy()


def choose_pixels(final: np.ndarray, size: tuple[int, int]) -> dict[Pixel, str]:
    """The pixels that a figure looks at unless others are named, by the final probabilities (h, w).

    Gives (x, y) in an image of size (W, H), each with its reason: the likeliest object, the least certain, the
    likeliest background.
    """
    places = {
        "the likeliest object": final.argmax(),
        "the least certain": np.abs(final - 0.5).argmin(),
        "the likeliest background": final.argmin(),
    }
    chosen: dict[Pixel, str] = {}
    for reason, place in places.items():
        row, column = np.unravel_index(place, final.shape)
        chosen.setdefault(_find_pixel((int(row), int(column)), size, final.shape), reason)
    return chosen


def _find_feature(pixel: Pixel, size: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """The (row, column) of the feature nearest to (x, y) in an image of size (W, H): corners aligned."""
    row, column = (
        round(at * (cells - 1) / max(side - 1, 1))
        for at, side, cells in zip(pixel[::-1], size[::-1], grid, strict=True)
    )
    return row, column


def _find_pixel(feature: tuple[int, int], size: tuple[int, int], grid: tuple[int, ...]) -> Pixel:
    """The (x, y) on which a feature (row, column) lies."""
    y, x = (
        round(at * (side - 1) / max(cells - 1, 1)) for at, side, cells in zip(feature, size[::-1], grid, strict=True)
    )
    return x, y


def _probability_of(logits: Tensor) -> np.ndarray:
    """The probability of the object, (h, w) float32, by the logits (1, 2, h, w)."""
    return logits.softmax(1)[0, 1].float().cpu().numpy()


def _find_confident(chosen: list[Chosen] | None, logits: Tensor | None, settings: Matching) -> Confident | None:
    """The pixels that self-support chose under these logits (1, 2, h, w)."""
    if chosen is None or logits is None:
        return None
    p_bg, p_fg = logits.softmax(1)[0].flatten(1)  # (N,) each
    maps, passed = [], []
    pairs = ((chosen[0].fg, p_fg, settings.fg_threshold), (chosen[0].bg, p_bg, settings.bg_threshold))
    for pixels, p, threshold in pairs:
        region = torch.zeros_like(p, dtype=torch.bool)
        region[pixels] = True
        maps.append(region.view(logits.shape[-2:]).cpu().numpy())
        passed.append(bool((p[pixels] > threshold).all()))
    return Confident(maps[0], maps[1], passed[0], passed[1])
