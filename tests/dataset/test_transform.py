"""Crops, mirror images, normalised values and masks, worked by hand on tiny images."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.images import ImageSet
from dataset.transform import crop, mirror, normalise, square


class Recorder(random.Random):
    """Answers from a list, and remembers what was asked."""

    def __new__(cls, *answers: float) -> Recorder:
        return super().__new__(cls)  # in Python 3.10 it takes a seed

    def __init__(self, *answers: float) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), []

    def randint(self, a: int, b: int) -> int:
        self.asked.append((a, b))
        return self.answers.pop(0)

    def random(self) -> float:
        return self.answers.pop(0)


def numbered(width: int, height: int) -> tuple[Image.Image, np.ndarray]:
    """An image whose red is 10 * row + column + 1, and labels with the same numbers."""
    numbers = np.add.outer(10 * np.arange(height), np.arange(width)).astype(np.uint8) + 1
    return Image.fromarray(np.stack([numbers, numbers + 100, numbers + 200], 2)), numbers


def red(image: Image.Image) -> list[list[int]]:
    return np.asarray(image)[..., 0].tolist()


@pytest.mark.parametrize(
    ("image_size", "size", "answers", "asked", "reds", "numbers"),
    [
        ((5, 4), 2, (2, 1), [(0, 3), (0, 2)], [[13, 14], [23, 24]], [[13, 14], [23, 24]]),
        ((2, 1), 3, (0, 0), [(0, 0), (0, 0)], [[1, 2, 0], [0] * 3, [0] * 3], [[1, 2, 255], [255] * 3, [255] * 3]),
        ((4, 1), 2, (2, 0), [(0, 2), (0, 0)], [[3, 4], [0, 0]], [[3, 4], [255, 255]]),
    ],
    ids=["inside", "padded right and bottom", "padded on one side"],
)
def test_crop(image_size: tuple, size: int, answers: tuple, asked: list, reds: list, numbers: list) -> None:
    """Draws x, then y; what is beyond the image is black and ignored."""
    rng = Recorder(*answers)
    image, labels = crop(*numbered(*image_size), size, rng)
    assert rng.asked == asked
    assert red(image) == reds
    assert labels.tolist() == numbers
    colours = np.asarray(image)
    assert np.array_equal(colours[..., 2], np.where(colours[..., 0], colours[..., 0] + 200, 0))


@pytest.mark.parametrize(("drawn", "expected"), [(0.49, [[3, 2, 1]]), (0.5, [[1, 2, 3]])])
def test_mirror_half_of_the_time(drawn: float, expected: list[list[int]]) -> None:
    image, labels = mirror(*numbered(3, 1), Recorder(drawn))
    assert red(image) == labels.tolist() == expected


def test_normalise() -> None:
    image = Image.new("RGB", (3, 2), (255, 0, 51))
    image.putpixel((2, 1), (0, 255, 0))
    x = normalise(image)
    assert x.shape == (3, 2, 3)
    assert x.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert x[:, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    expected = [-0.485 / 0.229, (1 - 0.456) / 0.224, -0.406 / 0.225]
    assert x[:, 1, 2].tolist() == pytest.approx(expected, rel=1e-5)


def test_the_mask_of_a_class() -> None:
    images = ImageSet("few", (), Path(), Path(), {1: "cat", 7: "dog"})
    labels = np.array([[0, 7, 255], [1, 20, 7]], np.uint8)
    mask = images.mask_of(labels, 7)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[0, 1, 255], [0, 0, 1]]
    _, mirrored = mirror(Image.new("RGB", (3, 2)), images.mask_of(labels, 1), Recorder(0))
    assert mirrored.tolist() == [[255, 0, 0], [0, 0, 1]]


def test_square_takes_the_pixels_that_torch_takes() -> None:
    """For every length; torch's float32 is off by one of the exact quotient for some, such as 312 to 400."""
    for length in range(1, 641):
        labels = (np.arange(length * 2) % 251).astype(np.uint8).reshape(length, 2)
        _, (got,) = square(Image.new("RGB", (2, length)), [labels], 400)
        expected = torch.nn.functional.interpolate(torch.from_numpy(labels).float()[None, None], 400, mode="nearest")
        assert np.array_equal(got, expected[0, 0].numpy()), length


def test_square_resizes_the_image_bilinearly() -> None:
    picture = Image.fromarray(np.random.RandomState(0).randint(0, 255, (30, 50, 3), dtype=np.uint8))
    got, _ = square(picture, [], 40)
    assert got == picture.resize((40, 40), Image.Resampling.BILINEAR)
