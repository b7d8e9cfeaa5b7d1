"""Episodes as tensors: random crops to train on, whole images to evaluate."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.episodes import Episode, Pool, draw_episode
from dataset.images import IGNORE, ImageSet
from dataset.transform import crop, mirror, normalise, square, target_mask


class Sample(NamedTuple):
    """An episode's arguments of a network; batched, each tensor has a leading B."""

    support_images: list[Tensor]  # K of (3, H, W)
    support_masks: list[Tensor]  # K of (H, W)
    query_image: Tensor
    query_mask: Tensor


def training_sample(
    images: ImageSet, pool: Pool, shot: int, crop_size: int, rng: random.Random
) -> tuple[Episode, Sample]:
    """Draw an episode, then crop and mirror the query and each support, in this order of random calls."""
    episode = draw_episode(pool, shot, rng)
    pairs = []
    for image in (episode.query, *episode.supports):
        picture, labels = mirror(*crop(*images.load(image), crop_size, rng), rng)
        pairs.append((normalise(picture), target_mask(labels, images.label_of(episode.cls))))
    (query_image, query_mask), *supports = pairs
    return episode, Sample([x for x, _ in supports], [mask for _, mask in supports], query_image, query_mask)


class TrainingSamples(Dataset):
    """The samples of one epoch; each depends on (seed, epoch, number) only, not on workers or order."""

    def __init__(
        self,
        images: ImageSet,
        pool: Pool,
        shot: int,
        crop_size: int,
        length: int,
        seed: int,
        epoch: int = 0,
    ) -> None:
        self.images, self.pool = images, pool
        self.shot, self.crop_size, self.length = shot, crop_size, length
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Sample:
        rng = random.Random(f"{self.seed}/{self.epoch}/{number}")
        return training_sample(self.images, self.pool, self.shot, self.crop_size, rng)[1]


class EvaluationEpisodes(Dataset):
    """Planned episodes, every image at its own size, or (HSNet's protocol) resized to a square."""

    def __init__(self, images: ImageSet, episodes: Sequence[Episode], side: int | None = None) -> None:
        self.images, self.episodes, self.side = images, episodes, side

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, number: int) -> Sample:
        episode = self.episodes[number]
        pairs = []
        for image in (episode.query, *episode.supports):
            picture, labels = whole_image(self.images, image, self.side)
            pairs.append((picture, target_mask(labels, self.images.label_of(episode.cls))))
        (query_image, query_mask), *supports = pairs
        support_masks = [support_mask(mask, self.side) for _, mask in supports]
        return Sample([x for x, _ in supports], support_masks, query_image, query_mask)


class Pictures(Dataset):
    """Single images as an evaluation takes them, (3, H, W) float, with their labels, (H, W) uint8."""

    def __init__(self, images: ImageSet, ids: Sequence[str], side: int | None = None) -> None:
        self.images, self.ids, self.side = images, ids, side

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        picture, labels = whole_image(self.images, self.ids[number], self.side)
        return picture, torch.from_numpy(labels)


def whole_image(images: ImageSet, image: str, side: int | None) -> tuple[Tensor, np.ndarray]:
    """An image, normalised, and its labels, at their own size (side None) or resized to a square."""
    picture, labels = images.load(image)
    if side is not None:
        picture, labels = square(picture, labels, side)
    return normalise(picture), labels


def support_mask(mask: Tensor, side: int | None) -> Tensor:
    """A support's episode mask; HSNet (side given) takes what a support ignores, 255, for background."""
    return mask if side is None else mask.masked_fill(mask == IGNORE, 0)
