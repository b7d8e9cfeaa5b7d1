"""From a PIL image and a mask to what the network takes (docs/method.md, sections 2 and 4)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dataset.images import resize_labels
from dataset.labels import IGNORE

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def normalise(image: Image.Image | Tensor) -> Tensor:
    """An RGB image, or uint8 pixels (..., H, W, 3), as float32 (..., 3, H, W), by ImageNet's mean and deviation."""
    x = image if isinstance(image, Tensor) else pixels(image)
    return (x.movedim(-1, -3).float().div_(255) - MEAN.to(x.device)) / STD.to(x.device)


def pixels(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (H, W, 3)."""
    return torch.from_numpy(np.array(image, dtype=np.uint8))


def square(image: Image.Image, masks: Sequence[np.ndarray], side: int) -> tuple[Image.Image, list[np.ndarray]]:
    """Resized to a square, the image bilinearly, masks (H, W) to the nearest pixel."""
    return image.resize((side, side), Image.Resampling.BILINEAR), [resize_labels(mask, (side, side)) for mask in masks]


def crop(image: Image.Image, mask: np.ndarray, size: int, rng: random.Random) -> tuple[Image.Image, np.ndarray]:
    """Cut out a random square.

    Arguments:
        image: RGB, of any size; a smaller one is padded right and bottom with 0.
        mask: (H, W) uint8, padded with 255.
        size: side of the square, pixels.
        rng: draws x, then y.
    """
    x = rng.randint(0, max(image.width - size, 0))
    y = rng.randint(0, max(image.height - size, 0))
    part = mask[y : y + size, x : x + size]
    padded = np.full((size, size), IGNORE, np.uint8)
    padded[: part.shape[0], : part.shape[1]] = part
    return image.crop((x, y, x + size, y + size)), padded  # beyond the image PIL crops 0


def mirror(image: Image.Image, mask: np.ndarray, rng: random.Random) -> tuple[Image.Image, np.ndarray]:
    """Mirror left to right, half of the time."""
    if rng.random() < 0.5:
        return ImageOps.mirror(image), mask[:, ::-1].copy()
    return image, mask
