"""The figure of an explanation: a tile for each step of the matching, then one for each pixel that is looked at."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from engine.drawing import (
    Key,
    Tile,
    blend_colours,
    colour_regions,
    draw_legend,
    draw_row,
    fit_size,
    outline_region,
    stack_rows,
    tint_image,
)
from model.matching import Matching, resize
from prediction.explain import AdaptiveSource, Confident, Explanation

STEP_SIDE = 320  # pixels, of a tile
STEP_COLUMNS = 5  # tiles in a row at most
STEP_TINT = 0.65  # of a colour, the rest is the image in grey
OUTLINE = 2  # pixels
FG_COLOUR, BG_COLOUR = (255, 90, 0), (0, 120, 255)
PROBABILITY_COLOURS = ((20, 50, 190), (110, 190, 255), (255, 255, 215), (255, 140, 60), (190, 0, 30))  # from 0 to 1
WEIGHT_COLOURS = ((60, 0, 110), (190, 40, 110), (250, 140, 40), (255, 255, 130))  # from the least to the largest


def draw_explanation(explanation: Explanation, columns: int = STEP_COLUMNS) -> Image.Image:
    """One figure of an explanation: the steps in their order, then the pixels whose ASBP is looked at.

    columns: tiles in a row at most, each of STEP_SIDE pixels.
    """
    found, settings = explanation, explanation.settings
    image = found.image.resize(fit_size(found.image.size, STEP_SIDE), Image.Resampling.LANCZOS)
    height, width = found.final.shape
    tiles = [
        Tile("query", image, (f"{found.image.width}x{found.image.height} pixels, {width}x{height} features", "")),
        _draw_match("step 2: first match", "by the supports' FP and BP", found.first, image),
    ]
    if found.confident is not None and found.out1 is not None:
        mixes = "by FP1, of FP and SSFP, and BP1, of SSBP and ASBP"
        tiles += [
            _draw_confident("step 3: self-support, confident pixels", found.confident, settings, image),
            _draw_match("step 4: second match, out1", mixes, found.out1, image),
        ]
    if found.confident_again is not None and found.out2 is not None:
        tiles += [
            _draw_confident("step 5: self-support of out1 again", found.confident_again, settings, image),
            _draw_match("step 5: refinement, out2", "by FP2 and BP2, which mix all before", found.out2, image),
        ]
    tiles.append(_draw_final(found, image))
    tiles += [_draw_adaptive(source, image, found.image.size) for source in found.adaptive]
    per_row = math.ceil(len(tiles) / math.ceil(len(tiles) / columns))  # even rows
    starts = range(0, len(tiles), per_row)
    rows = [draw_row(tiles[start : start + per_row], STEP_SIDE, image.height) for start in starts]
    return stack_rows([*rows, draw_legend(_list_keys(found), rows[0].width)])


def _list_keys(found: Explanation) -> list[Key]:
    """What the legend explains: the colours that the figure has."""
    keys = [Key("probability of the object: 0", PROBABILITY_COLOURS, "1")]
    if found.confident is not None:
        keys += [Key("confident foreground", (FG_COLOUR,)), Key("confident background", (BG_COLOUR,))]
    if found.adaptive:
        keys.append(Key("weight of a background pixel in the ASBP: least", WEIGHT_COLOURS, "largest"))
    return keys


def _tint_probability(probability: np.ndarray, image: Image.Image) -> Image.Image:
    """An image under a probability (h, w), resized as the matching resizes its logits."""
    large = resize(torch.from_numpy(probability)[None, None], (image.height, image.width))[0, 0].numpy()
    return tint_image(image, blend_colours(large, PROBABILITY_COLOURS), STEP_TINT)


def _draw_match(title: str, formula: str, probability: np.ndarray, image: Image.Image) -> Tile:
    share = f"p(fg) > 0.5 at {(probability > 0.5).mean():.1%} of the pixels"
    return Tile(title, _tint_probability(probability, image), (formula, share))


def _draw_confident(title: str, confident: Confident, settings: Matching, image: Image.Image) -> Tile:
    """The confident pixels of a step, how many they are, and by what they were chosen."""
    regions = [
        (enlarge_cells(confident.bg, image.size), BG_COLOUR),
        (enlarge_cells(confident.fg, image.size), FG_COLOUR),
    ]
    counts = tuple(
        f"{name}: {region.sum():,} pixels with p({name}) > {threshold}"
        if passed
        else f"{name}: none passed {threshold}, the {region.sum()} likeliest"
        for name, region, passed, threshold in (
            ("fg", confident.fg, confident.fg_passed, settings.fg_threshold),
            ("bg", confident.bg, confident.bg_passed, settings.bg_threshold),
        )
    )
    return Tile(title, tint_image(image, colour_regions(regions), STEP_TINT), counts)


def _draw_final(found: Explanation, image: Image.Image) -> Tile:
    mask = np.array(Image.fromarray(found.mask).resize(image.size, Image.Resampling.NEAREST))
    if found.out2 is not None:
        formula = "final mixes out2 and out1"
    elif found.out1 is not None:
        formula = "final = out1, no refinement"
    else:
        formula = "final = the first match: this network does no more"
    picture = outline_region(_tint_probability(found.final, image), mask, OUTLINE)
    return Tile("step 6: final, the object outlined", picture, (formula, f"{found.mask.mean():.1%} object"))


def _draw_adaptive(source: AdaptiveSource, image: Image.Image, own_size: tuple[int, int]) -> Tile:
    """The weights of a pixel's ASBP over the image, the pixel marked by a cross."""
    chosen = source.weights > 0
    used = source.weights[chosen]
    low, high = float(used.min()), float(used.max())
    colours = blend_colours((source.weights - low) / ((high - low) or 1), WEIGHT_COLOURS)
    colours[~chosen] = np.nan
    picture = tint_image(image, enlarge_cells(colours, image.size), STEP_TINT)
    x, y = (
        round((at + 0.5) * small / side - 0.5)
        for at, small, side in zip(source.pixel, image.size, own_size, strict=True)
    )
    _draw_cross(picture, x, y)
    share = f"weights {low * len(used):.2f} to {high * len(used):.2f} times their mean"
    title = f"step 3: ASBP of pixel ({source.pixel[0]}, {source.pixel[1]})"
    return Tile(title, picture, (f"{source.reason} (+)", share))


def _draw_cross(picture: Image.Image, x: int, y: int) -> None:
    draw = ImageDraw.Draw(picture)
    for width, colour, length in ((7, "black", 13), (3, (0, 255, 60), 11)):
        draw.line((x - length, y, x + length, y), fill=colour, width=width)
        draw.line((x, y - length, x, y + length), fill=colour, width=width)


def enlarge_cells(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Values (h, w, ...) in size (W, H), each pixel as the feature nearest to it: corners aligned."""
    rows, columns = (
        np.round(np.linspace(0, cells - 1, side)).astype(int)
        for cells, side in zip(values.shape[:2], size[::-1], strict=True)
    )
    return values[np.ix_(rows, columns)]
