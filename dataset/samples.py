"""Episodes as tensors: random crops to train on, whole images to evaluate."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dataset.episodes import Episode, Pool, draw_episode
from dataset.images import ImageSet, Labels
from dataset.labels import IGNORE
from dataset.transform import crop, mirror, normalise, pixels, square


class Sample(NamedTuple):
    """An episode's arguments of a network; batched, each tensor has a leading B.

    A training sample has uint8 images (H, W, 3) and masks, for fewer bytes between processes; :func:`as_input`
    turns them into what a network takes, on its device.
    """

    support_images: list[Tensor]  # K of (3, H, W)
    support_masks: list[Tensor]  # K of (H, W)
    query_image: Tensor
    query_mask: Tensor


Load = Callable[[str], tuple[Image.Image, Labels]]


def keep_decoded(load: Load, budget: int) -> Load:
    """ImageSet.load that keeps what it has decoded, as far as budget bytes go (the first images, not the last)."""
    kept: dict[str, tuple[Image.Image, Labels]] = {}
    used = 0

    def loaded(image: str) -> tuple[Image.Image, Labels]:
        nonlocal used
        if image in kept:
            return kept[image]
        pair = load(image)
        size = 5 * pair[0].width * pair[0].height  # Pillow keeps four bytes for a pixel of RGB
        if used + size <= budget:
            kept[image] = pair
            used += size
        return pair

    return loaded


def training_sample(
    images: ImageSet, pool: Pool, shot: int, crop_size: int, rng: random.Random, load: Load | None = None
) -> tuple[Episode, Sample]:
    """Draw an episode, then crop and mirror the query and each support, in this order of random calls.

    crop_size: side of the crops, pixels. load: in place of images.load.
    """
    load = load or images.load
    episode = draw_episode(pool, shot, rng)
    pairs = []
    for image in (episode.query, *episode.supports):
        picture, labels = load(image)
        picture, mask = mirror(*crop(picture, images.mask_of(labels, episode.cls), crop_size, rng), rng)
        pairs.append((pixels(picture), torch.from_numpy(mask)))
    (query_image, query_mask), *supports = pairs
    return episode, Sample([x for x, _ in supports], [mask for _, mask in supports], query_image, query_mask)


def as_input(sample: Sample, device: torch.device) -> Sample:
    """A training sample, or a batch of them, on a device: images normalised, masks int64."""

    def image(x: Tensor) -> Tensor:
        return normalise(x.to(device, non_blocking=True))

    def mask(x: Tensor) -> Tensor:
        return x.to(device, non_blocking=True).long()

    support_images, support_masks, query_image, query_mask = sample
    return Sample(
        list(map(image, support_images)), list(map(mask, support_masks)), image(query_image), mask(query_mask)
    )


@dataclass(eq=False)
class TrainingSamples(Dataset):
    """The samples of a run, number (epoch * length + n); each depends on (seed, epoch, n) only, not on workers."""

    images: ImageSet
    pool: Pool
    shot: int
    crop_size: int  # side of the crops, pixels
    length: int  # samples of an epoch
    seed: int  # determines all draws
    cache_bytes: int = field(default=0, init=False)  # memory of each loader process for decoded images
    load: Load | None = field(default=None, init=False)  # made in each loader process, which has a cache of its own

    def __len__(self) -> int:
        """Samples of an epoch; a run goes on after it."""
        return self.length

    def __getitem__(self, number: int) -> Sample:
        epoch, number = divmod(number, self.length)
        rng = random.Random(f"{self.seed}/{epoch}/{number}")
        self.load = self.load or keep_decoded(self.images.load, self.cache_bytes)
        return training_sample(self.images, self.pool, self.shot, self.crop_size, rng, self.load)[1]


@dataclass(eq=False)
class EvaluationEpisodes(Dataset):
    """Planned episodes as samples."""

    images: ImageSet
    episodes: Sequence[Episode]
    side: int | None = None  # pixels of the square that images are resized to; None: they keep their size
    ignored_is_background: bool = False  # whether a support's pixels labelled 255 count as background

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, number: int) -> Sample:
        episode = self.episodes[number]
        pairs = []
        for image in (episode.query, *episode.supports):
            picture, (mask,) = whole_image(self.images, image, [episode.cls], self.side)
            pairs.append((picture, mask.long()))
        (query_image, query_mask), *supports = pairs
        support_masks = [support_mask(mask, self.ignored_is_background) for _, mask in supports]
        return Sample([x for x, _ in supports], support_masks, query_image, query_mask)


@dataclass(eq=False)
class Pictures(Dataset):
    """Single images as an evaluation takes them, (3, H, W) float, with masks of K classes, (K, H, W) uint8."""

    images: ImageSet
    ids: Sequence[str]
    side: int | None = None  # as EvaluationEpisodes'
    classes: Mapping[str, Sequence[int]] = field(default_factory=dict)  # of an image; none of one that is not there

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        image = self.ids[number]
        return whole_image(self.images, image, self.classes.get(image, ()), self.side)


def whole_image(images: ImageSet, image: str, classes: Sequence[int], side: int | None) -> tuple[Tensor, Tensor]:
    """An image, normalised, and masks (K, H, W) of classes, at their own size (side None) or resized to a square."""
    picture, masks = load_whole(images, image, classes, side)
    return normalise(picture), torch.from_numpy(masks)


def load_whole(
    images: ImageSet, image: str, classes: Sequence[int], side: int | None
) -> tuple[Image.Image, np.ndarray]:
    """:func:`whole_image` before it is normalised. A mask is resized once, as in HSNet, whatever its size."""
    picture, labels = images.load(image) if side is None else images.load_unfitted(image)
    masks = [images.mask_of(labels, cls) for cls in classes]
    if side is not None:
        picture, masks = square(picture, masks, side)
    height, width = picture.height, picture.width
    return picture, np.stack(masks) if masks else np.empty((0, height, width), np.uint8)


def support_mask(mask: Tensor, ignored_is_background: bool) -> Tensor:
    """A support's episode mask, in which pixels labelled 255 stay ignored or become background."""
    return mask.masked_fill(mask == IGNORE, 0) if ignored_is_background else mask
