"""The size in which an image is segmented: its own, unless it has a longer side than max_side (0: no limit)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from engine.setting import MIN_SIDE

OBJECT = 1  # in a support's mask; 0 is background, 255 neither


def limit_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """The (width, height) in which an image of this size is segmented."""
    scale = min(1, max_side / max(size)) if max_side else 1
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def find_size_problem(size: tuple[int, int], max_side: int, flag: str = "max_side") -> str | None:
    """Why an image of this (width, height) cannot be segmented, None if it can; flag: what callers call max_side."""
    width, height = limit_size(size, max_side)
    if min(size) < MIN_SIDE:
        return f"{size[0]}x{size[1]} pixels; at least {MIN_SIDE} on either side are needed"
    if min(width, height) < MIN_SIDE:
        wanted = -(-MIN_SIDE * max(size) // min(size))
        narrow = f"{size[0]}x{size[1]} pixels would be segmented as {width}x{height}, too narrow"
        return f"{narrow}; raise {flag} to {wanted}, or crop the image"
    return None


def shrink_image(image: Image.Image, max_side: int) -> Image.Image:
    """An image in working size."""
    size = limit_size(image.size, max_side)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def shrink_marked(image: Image.Image, mask: np.ndarray, max_side: int) -> tuple[Image.Image, np.ndarray]:
    """An image and its mask (H, W) uint8 in working size; an object does not vanish however small it becomes."""
    size = limit_size(image.size, max_side)
    if size == image.size:
        return image, mask
    small = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    if not (small == OBJECT).any():
        rows, columns = np.nonzero(mask == OBJECT)
        small[rows * size[1] // image.height, columns * size[0] // image.width] = OBJECT
    return shrink_image(image, max_side), small
