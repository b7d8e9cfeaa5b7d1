"""Toy images to click on the page, painted in memory: a support with its mask, and queries of its class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from dataset.prepare.toy import scene

# Scenes; every twentieth holds the same class. The demo has trained on neither these classes nor these images.
SCENES = (421, 423, 404, 440)


class Example(NamedTuple):
    """A support and queries, all RGB."""

    support: Image.Image
    mask: np.ndarray  # (H, W) bool
    queries: list[Image.Image]


def make_examples() -> list[Example]:
    """One for each of SCENES, with two queries; the same at every call."""
    made = []
    for number in SCENES:
        image, objects = scene(number, seed=0)
        queries = [scene(number + 20 * step, seed=0).image for step in (1, 2)]
        made.append(Example(image, objects[-1][1], queries))
    return made


def paint_layer(mask: np.ndarray, colour: tuple[int, int, int, int]) -> Image.Image:
    """A mask as a brush would have painted it: RGBA."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = colour
    return Image.fromarray(pixels)
