"""A look inside: what each step of the matching found in an image, and one figure of it (docs/method.md, section 3).

All of it is the network's own: the logits and confident pixels that its matching passes through, and the weights of
the adaptive background prototypes by the function that the matching itself calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from engine.drawing import outlined, stack
from model.matching import PAPER, Chosen, Trace, adaptive_weights, norm, resize

BG_THRESHOLD, FG_THRESHOLD = PAPER.bg_threshold, PAPER.fg_threshold

SIDE = 320  # pixels, of a tile
COLUMNS = 5  # tiles in a row at most
GAP, LINE = 8, 18  # pixels: between tiles, of a line of text
LETTERS, HEADING = 13, 16  # pixels, of the letters of a text and of a heading
STRENGTH = 0.65  # of a colour, the rest is the image in grey
FG_COLOUR, BG_COLOUR = (255, 90, 0), (0, 120, 255)
LIKELY = ((20, 50, 190), (110, 190, 255), (255, 255, 215), (255, 140, 60), (190, 0, 30))  # from 0 to 1
WEIGHTS = ((60, 0, 110), (190, 40, 110), (250, 140, 40), (255, 255, 130))  # from the least to the largest


class Confident(NamedTuple):
    """The confident pixels of a step, in the features' size."""

    fg: np.ndarray  # (h, w) bool
    bg: np.ndarray  # (h, w) bool
    fg_passed: bool  # whether any pixel passed the threshold; if not, fg holds the 12 likeliest
    bg_passed: bool


class AdaptiveSource(NamedTuple):
    """Where the adaptive background prototype (ASBP) of one pixel comes from."""

    pixel: tuple[int, int]  # (x, y) in the image's own pixels
    weights: np.ndarray  # (h, w) float32 that sum up to 1, 0 outside the confident background pixels of step 3
    reason: str  # why this pixel is shown


class Explanation(NamedTuple):
    """What the steps found in an image of H x W pixels, h x w features. What a network does not do is None."""

    image: Image.Image  # RGB, in its own size
    mask: np.ndarray  # (H, W) bool, what predict returns
    probability: np.ndarray  # (H, W) float32, what predict returns
    first: np.ndarray  # step 2: (h, w) float32, the probability of the object
    confident: Confident | None  # step 3
    out1: np.ndarray | None  # step 4, as first
    confident_again: Confident | None  # step 5
    out2: np.ndarray | None  # step 5, as first
    final: np.ndarray  # as first
    adaptive: tuple[AdaptiveSource, ...]  # of the pixels that were chosen


def explained(
    image: Image.Image,
    features: Tensor,
    trace: Trace,
    found: tuple[np.ndarray, np.ndarray],
    pixels: Sequence[tuple[int, int]] | None = None,
) -> Explanation:
    """What a matching's trace tells of an image.

    Arguments:
        image: RGB, in its own size.
        features: of the image, (1, C, h, w).
        trace: of the matching of these features.
        found: mask and probability in the image's own size.
        pixels: (x, y) of those whose ASBP is looked at, in the image's own pixels; None for those that
            :func:`telling_pixels` chooses.
    Raises:
        ValueError: a pixel is outside the image, or is named although the network has no ASBP.
    """
    for x, y in pixels or ():
        if not (0 <= x < image.width and 0 <= y < image.height):
            raise ValueError(f"pixel ({x}, {y}) is outside the image of {image.width}x{image.height}")
    if pixels and trace.chosen is None:
        raise ValueError("pixels are named, but this network has no adaptive background prototypes; leave them out")
    final = _likely(trace.final)
    adaptive = []
    if trace.chosen is not None:
        named = telling_pixels(final, image.size) if pixels is None else [("as asked for", pixel) for pixel in pixels]
        for reason, pixel in named:
            weights = asbp_weights(features, trace.chosen[0].bg, _feature_at(pixel, image.size, final.shape))
            adaptive.append(AdaptiveSource(pixel, weights, reason))
    return Explanation(
        image,
        *found,
        first=_likely(trace.first),
        confident=_confident(trace.chosen, trace.first),
        out1=None if trace.out1 is None else _likely(trace.out1),
        confident_again=_confident(trace.chosen_again, trace.out1),
        out2=None if trace.out2 is None else _likely(trace.out2),
        final=final,
        adaptive=tuple(adaptive),
    )


def asbp_weights(features: Tensor, chosen: Tensor, pixel: tuple[int, int]) -> np.ndarray:
    """Weights (h, w) float32 of the chosen background pixels (n,) in the ASBP of one pixel (row, column)."""
    height, width = features.shape[-2:]
    unit = (features / norm(features)[:, None])[0].flatten(1)  # (C, N)
    index = pixel[0] * width + pixel[1]
    weights = unit.new_zeros(height * width)
    weights[chosen] = adaptive_weights(unit[:, index : index + 1], unit[:, chosen])[0]
    return weights.view(height, width).float().cpu().numpy()


def telling_pixels(final: np.ndarray, size: tuple[int, int]) -> list[tuple[str, tuple[int, int]]]:
    """The pixels that a figure looks at unless others are named: the likeliest object, the doubtful, the likeliest
    background, by the final probabilities (h, w). Each with its reason and (x, y) in an image of size (W, H)."""
    places = {
        "the likeliest object": final.argmax(),
        "the least certain": np.abs(final - 0.5).argmin(),
        "the likeliest background": final.argmin(),
    }
    chosen: dict[tuple[int, int], str] = {}
    for reason, place in places.items():
        row, column = np.unravel_index(place, final.shape)
        chosen.setdefault(_pixel_at((int(row), int(column)), size, final.shape), reason)
    return [(reason, pixel) for pixel, reason in chosen.items()]


def _feature_at(pixel: tuple[int, int], size: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """The (row, column) of the feature nearest to (x, y) in an image of size (W, H): corners aligned."""
    row, column = (
        round(at * (cells - 1) / max(side - 1, 1))
        for at, side, cells in zip(pixel[::-1], size[::-1], grid, strict=True)
    )
    return row, column


def _pixel_at(feature: tuple[int, int], size: tuple[int, int], grid: tuple[int, ...]) -> tuple[int, int]:
    """The (x, y) on which a feature (row, column) lies."""
    y, x = (
        round(at * (side - 1) / max(cells - 1, 1)) for at, side, cells in zip(feature, size[::-1], grid, strict=True)
    )
    return x, y


def _likely(logits: Tensor) -> np.ndarray:
    """The probability of the object, (h, w) float32, by the logits (1, 2, h, w)."""
    return logits.softmax(1)[0, 1].float().cpu().numpy()


def _confident(chosen: list[Chosen] | None, logits: Tensor | None) -> Confident | None:
    """The pixels that self-support chose under these logits (1, 2, h, w)."""
    if chosen is None or logits is None:
        return None
    probability = logits.softmax(1)[0].flatten(1)  # (2, N)
    maps, passed = [], []
    pairs = ((chosen[0].fg, probability[1], FG_THRESHOLD), (chosen[0].bg, probability[0], BG_THRESHOLD))
    for pixels, p, threshold in pairs:
        region = torch.zeros_like(p, dtype=torch.bool)
        region[pixels] = True
        maps.append(region.view(logits.shape[-2:]).cpu().numpy())
        passed.append(bool((p[pixels] > threshold).all()))
    return Confident(maps[0], maps[1], passed[0], passed[1])


# The figure


def explanation_figure(explanation: Explanation, columns: int = COLUMNS) -> Image.Image:
    """One figure of an explanation: the steps in their order, then the pixels whose ASBP is looked at.

    columns: tiles in a row at most, each of SIDE pixels.
    """
    found = explanation
    scale = SIDE / max(found.image.size)
    size = max(1, round(found.image.width * scale)), max(1, round(found.image.height * scale))
    image = found.image.resize(size, Image.Resampling.LANCZOS)
    mask = np.array(Image.fromarray(found.mask).resize(size, Image.Resampling.NEAREST))
    height, width = found.final.shape

    def likely(probability: np.ndarray) -> Image.Image:
        return painted(image, ramp(enlarged(probability, size), LIKELY))

    def confident(pixels: Confident) -> Image.Image:
        colours = np.full((size[1], size[0], 3), np.nan)
        for region, colour in ((pixels.bg, BG_COLOUR), (pixels.fg, FG_COLOUR)):
            colours[cells(region, size)] = colour
        return painted(image, colours)

    tiles = [
        (
            "query",
            f"{found.image.width}x{found.image.height} pixels, {width}x{height} features",
            "",
            image,
        ),
        ("step 2: first match", "by the supports' FP and BP", _share(found.first), likely(found.first)),
    ]
    if found.confident is not None and found.out1 is not None:
        tiles += [
            ("step 3: self-support, confident pixels", *_counts(found.confident), confident(found.confident)),
            (
                "step 4: second match, out1",
                "FP1 = 0.5 FP + 0.5 SSFP, BP1 = 0.3 SSBP + 0.7 ASBP",
                _share(found.out1),
                likely(found.out1),
            ),
        ]
    if found.confident_again is not None and found.out2 is not None:
        tiles += [
            ("step 5: self-support of out1 again", *_counts(found.confident_again), confident(found.confident_again)),
            (
                "step 5: refinement, out2",
                "by FP2 and BP2, which mix all before",
                _share(found.out2),
                likely(found.out2),
            ),
        ]
    if found.out2 is not None:
        formula = "final = 0.7 out2 + 0.3 out1"
    else:
        formula = (
            "final = the first match: this network does no more"
            if found.out1 is None
            else "final = out1, no refinement"
        )
    tiles.append(
        (
            "step 6: final, the object outlined",
            formula,
            f"{found.mask.mean():.1%} object",
            outlined(likely(found.final), mask),
        )
    )
    tiles += [_adaptive_tile(source, image, found.image.size) for source in found.adaptive]
    return _sheet(tiles, columns, found)


def _adaptive_tile(
    source: AdaptiveSource, image: Image.Image, own_size: tuple[int, int]
) -> tuple[str, str, str, Image.Image]:
    """The weights of a pixel's ASBP over the image, the pixel marked by a cross."""
    chosen = source.weights > 0
    used = source.weights[chosen]
    low, high = float(used.min()), float(used.max())
    colours = ramp((source.weights - low) / ((high - low) or 1), WEIGHTS)
    colours[~chosen] = np.nan
    at = _feature_indices(source.weights.shape, image.size)
    picture = painted(image, colours[at])
    x, y = (
        round((at + 0.5) * small / side - 0.5)
        for at, small, side in zip(source.pixel, image.size, own_size, strict=True)
    )
    _draw_cross(picture, x, y)
    share = f"weights {low * len(used):.2f} to {high * len(used):.2f} times their mean"
    return f"step 3: ASBP of pixel ({source.pixel[0]}, {source.pixel[1]})", f"{source.reason} (+)", share, picture


def _draw_cross(picture: Image.Image, x: int, y: int) -> None:
    draw = ImageDraw.Draw(picture)
    for width, colour, length in ((7, "black", 13), (3, (0, 255, 60), 11)):
        draw.line((x - length, y, x + length, y), fill=colour, width=width)
        draw.line((x, y - length, x, y + length), fill=colour, width=width)


def _counts(pixels: Confident) -> tuple[str, str]:
    """How many pixels were chosen, and by what."""
    fg, bg = (
        f"{name}: {region.sum():,} pixels with p({name}) > {threshold}"
        if passed
        else f"{name}: none passed {threshold}, the {region.sum()} likeliest"
        for name, region, passed, threshold in (
            ("fg", pixels.fg, pixels.fg_passed, FG_THRESHOLD),
            ("bg", pixels.bg, pixels.bg_passed, BG_THRESHOLD),
        )
    )
    return fg, bg


def _share(probability: np.ndarray) -> str:
    return f"p(fg) > 0.5 at {(probability > 0.5).mean():.1%} of the pixels"


def enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (h, w) in size (W, H), resized as the matching resizes its logits."""
    return resize(torch.from_numpy(values)[None, None], (size[1], size[0]))[0, 0].numpy()


def _feature_indices(grid: tuple[int, ...], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, to index an array (h, w) so that it becomes (H, W): the nearest feature of each pixel."""
    rows, columns = (
        np.round(np.linspace(0, cells - 1, side)).astype(int) for cells, side in zip(grid, size[::-1], strict=True)
    )
    return np.ix_(rows, columns)


def cells(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A region (h, w) in size (W, H), each pixel as the feature nearest to it."""
    return region[_feature_indices(region.shape, size)]


def ramp(values: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Colours (..., 3) of values from 0 to 1, between the given ones."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, stops, channel) for channel in zip(*colours, strict=True)], -1)


def painted(image: Image.Image, colours: np.ndarray) -> Image.Image:
    """An image in grey under colours (H, W, 3); it shows by itself where they are nan."""
    pixels = np.array(image.convert("L").convert("RGB"), np.float32)
    there = ~np.isnan(colours[..., 0])
    pixels[there] = (1 - STRENGTH) * pixels[there] + STRENGTH * colours[there]
    return Image.fromarray(pixels.round().astype(np.uint8))


def _sheet(tiles: Sequence[tuple[str, str, str, Image.Image]], columns: int, found: Explanation) -> Image.Image:
    """Tiles with a heading and two lines each, in even rows, above the legend."""
    per_row = math.ceil(len(tiles) / math.ceil(len(tiles) / columns))
    height = max(picture.height for *_, picture in tiles)
    rows = []
    for start in range(0, len(tiles), per_row):
        row = Image.new("RGB", (per_row * (SIDE + GAP) + GAP, height + 3 * LINE + 2 * GAP), "white")
        draw = ImageDraw.Draw(row)
        for number, (heading, *lines, picture) in enumerate(tiles[start : start + per_row]):
            left = GAP + number * (SIDE + GAP)
            _write(draw, left, GAP // 2 - 2, heading, HEADING)
            for line, text in enumerate(lines, 1):
                _write(draw, left, GAP // 2 + line * LINE, text)
            row.paste(picture, (left + (SIDE - picture.width) // 2, 3 * LINE + GAP))
        rows.append(row)
    return stack([*rows, _legend(rows[0].width, found)])


def _legend(width: int, found: Explanation) -> Image.Image:
    """What the colours mean: entries that wrap where the figure is narrow."""
    entries = [("probability of the object: 0", LIKELY, "1")]
    if found.confident is not None:
        entries += [("confident foreground", (FG_COLOUR,), ""), ("confident background", (BG_COLOUR,), "")]
    if found.adaptive:
        entries.append(("weight of a background pixel in the ASBP: least", WEIGHTS, "largest"))
    places, left, line = [], GAP, 0
    for before, colours, after in entries:
        bar = 90 if len(colours) > 1 else 16
        length = _length(before) + bar + _length(after) + 12
        if left > GAP and left + length > width:
            left, line = GAP, line + 1
        places.append((left, line * (LINE + 4) + 4, bar))
        left += math.ceil(length) + 28
    sheet = Image.new("RGB", (width, (line + 1) * (LINE + 4) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for (before, colours, after), (left, top, bar) in zip(entries, places, strict=True):
        _write(draw, left, top, before)
        start = math.ceil(left + _length(before) + 6)
        strip = (
            ramp(np.linspace(0, 1, bar)[None].repeat(14, 0), colours) if bar > 16 else np.full((14, bar, 3), colours[0])
        )
        sheet.paste(Image.fromarray(strip.round().astype(np.uint8)), (start, top + 2))
        _write(draw, start + bar + 6, top, after)
    return sheet


def _write(draw: ImageDraw.ImageDraw, left: int, top: int, text: str, letters: int = LETTERS) -> None:
    draw.text((left, top), text, fill="black", font=ImageFont.load_default(letters))


def _length(text: str) -> float:
    return ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font=ImageFont.load_default(LETTERS))
