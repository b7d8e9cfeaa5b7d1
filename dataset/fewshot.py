"""Episodes as tensors: random crops to train on, whole images to evaluate."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from dataset.episodes import Episode, Pool, draw_episode, make_pool
from dataset.images import ImageSet
from dataset.transform import crop, mirror, normalise, target_mask


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
        pairs.append((normalise(picture), target_mask(labels, episode.cls)))
    (query_image, query_mask), *supports = pairs
    return episode, Sample([x for x, _ in supports], [mask for _, mask in supports], query_image, query_mask)


class TrainingSamples(Dataset):
    """The samples of one epoch; each depends on (seed, epoch, number) only, not on workers or order."""

    def __init__(
        self,
        images: ImageSet,
        index: Mapping[str, Mapping[int, int]],
        classes: Collection[int],
        shot: int,
        crop_size: int,
        length: int,
        seed: int,
        epoch: int = 0,
    ) -> None:
        self.images, self.pool = images, make_pool(index, classes)
        self.shot, self.crop_size, self.length = shot, crop_size, length
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Sample:
        rng = random.Random(f"{self.seed}/{self.epoch}/{number}")
        return training_sample(self.images, self.pool, self.shot, self.crop_size, rng)[1]


class EvaluationEpisodes(Dataset):
    """Planned episodes, every image at its own size."""

    def __init__(self, images: ImageSet, episodes: Sequence[Episode]) -> None:
        self.images, self.episodes = images, episodes

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, number: int) -> Sample:
        episode = self.episodes[number]
        pairs = []
        for image in (episode.query, *episode.supports):
            picture, labels = self.images.load(image)
            pairs.append((normalise(picture), target_mask(labels, episode.cls)))
        (query_image, query_mask), *supports = pairs
        return Sample([x for x, _ in supports], [mask for _, mask in supports], query_image, query_mask)
