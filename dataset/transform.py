"""From a PIL image and its labels to what the network takes (design, sections 2 and 4)."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dataset.images import IGNORE

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def normalise(image: Image.Image) -> Tensor:
    """An RGB image as float32 (3, H, W), normalised by ImageNet's mean and deviation."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
    return (pixels.float().div(255) - MEAN) / STD


def target_mask(labels: np.ndarray | Tensor, label: int) -> Tensor:
    """Labels (H, W) uint8 as an episode's mask, int64: 1 where they are the label, 255 kept, 0 elsewhere."""
    labels = torch.as_tensor(labels)
    return (labels == label).long().masked_fill_(labels == IGNORE, IGNORE)


def square(image: Image.Image, labels: np.ndarray, side: int) -> tuple[Image.Image, np.ndarray]:
    """Resized to a square, the image bilinearly, the labels to the nearest pixel.

    Nearest is torch's F.interpolate(mode="nearest"), which HSNet calls: it computes in float32.
    """
    scales = (np.float32(length) / np.float32(side) for length in labels.shape)
    rows, columns = (
        np.minimum(np.arange(side, dtype=np.float32) * scale, length - 1).astype(int)
        for scale, length in zip(scales, labels.shape, strict=True)
    )
    return image.resize((side, side), Image.Resampling.BILINEAR), labels[rows[:, None], columns]


def crop(image: Image.Image, labels: np.ndarray, size: int, rng: random.Random) -> tuple[Image.Image, np.ndarray]:
    """A random square, after padding right and bottom with 0 (labels 255) where the image is smaller."""
    right, bottom = max(size - image.width, 0), max(size - image.height, 0)
    image = ImageOps.expand(image, (0, 0, right, bottom), fill=0)
    labels = np.pad(labels, ((0, bottom), (0, right)), constant_values=IGNORE)
    x = rng.randint(0, image.width - size)
    y = rng.randint(0, image.height - size)
    return image.crop((x, y, x + size, y + size)), labels[y : y + size, x : x + size]


def mirror(image: Image.Image, labels: np.ndarray, rng: random.Random) -> tuple[Image.Image, np.ndarray]:
    """Mirror left to right, half of the time."""
    if rng.random() < 0.5:
        return ImageOps.mirror(image), labels[:, ::-1].copy()
    return image, labels
