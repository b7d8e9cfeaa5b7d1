"""Planned evaluation: every image through the trunk once, whatever the number of its episodes (design, section 8).

The episodes of all seeds are known before the first image is opened. A support enters an episode only
through two prototypes, so a first pass turns every support image into the prototypes of its classes. A
second pass takes the queries one by one and matches all the episodes of each together. The features of
images that are both are kept from the first to the second pass while they fit the memory budget; the
others pass the trunk again. The reference is util.evaluation.count_plainly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dataset.episodes import Episode
from dataset.images import ImageSet
from dataset.loading import batches, to_device
from dataset.transform import normalise
from model import FewShotNetwork, fold_batch_norms
from model.matching import resize
from model.network import mean_prototypes
from util.metric import count_pixels

TOGETHER = 16  # episodes of a query whose predictions are resized to the image at a time


class Pictures(Dataset):
    """Images as the network takes them, with their labels."""

    def __init__(self, images: ImageSet, ids: Sequence[str]) -> None:
        self.images, self.ids = images, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        picture, labels = self.images.load(self.ids[number])
        return normalise(picture), torch.from_numpy(labels)


@torch.inference_mode()
def count_planned(
    net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int, cache_bytes: int
) -> tuple[list[Tensor], int]:
    """Pixel counts of each episode, in their order, and the number of trunk passes.

    cache_bytes: memory for features that are kept between the passes.
    """
    net = fold_batch_norms(net).to(memory_format=torch.channels_last)
    device = next(net.parameters()).device
    of_query: dict[str, list[int]] = defaultdict(list)
    classes_of_support: dict[str, set[int]] = defaultdict(set)
    for number, episode in enumerate(episodes):
        of_query[episode.query].append(number)
        for support in episode.supports:
            classes_of_support[support].add(episode.cls)
    supports = [image for image in images.ids if image in classes_of_support]
    queries = [image for image in images.ids if image in of_query]

    def encoded(ids: Sequence[str], what: str) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each image's name, features (1, C, h, w) and labels (H, W)."""
        loaded = batches(Pictures(images, ids), 1, workers)
        for image, batch in zip(ids, tqdm(loaded, what, len(ids), unit="image", leave=False, delay=1), strict=True):
            picture, labels = to_device(batch, device)
            yield image, net.features(picture.contiguous(memory_format=torch.channels_last)), labels[0]

    prototypes: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    free = cache_bytes
    for image, features, labels in encoded(supports, "encoding supports"):
        for cls in classes_of_support[image]:
            prototypes[image, cls] = net.prototypes(features, episode_mask(labels, cls)[None])
        size = features.nbytes + labels.nbytes
        if image in of_query and size <= free:
            kept[image] = (features, labels)
            free -= size

    counts: list[Tensor] = [torch.empty(0)] * len(episodes)
    again = [image for image in queries if image not in kept]
    fresh = encoded(again, "encoding queries")
    for image in tqdm(queries, "matching queries", unit="query", leave=False, delay=1):
        if image in kept:
            features, labels = kept.pop(image)
        else:
            _, features, labels = next(fresh)
        numbers = sorted(of_query[image], key=lambda number: episodes[number].cls)
        means = [
            mean_prototypes([prototypes[support, episodes[number].cls] for support in episodes[number].supports])
            for number in numbers
        ]
        fg, bg = (torch.cat(part) for part in zip(*means, strict=True))
        logits = net.match_episodes(features, fg, bg)
        margins = (logits[:, 1] - logits[:, 0])[:, None]  # resizing is linear: all that the argmax needs
        for some, part in zip(margins.split(TOGETHER), _chunks(numbers, TOGETHER), strict=True):
            predictions = resize(some, labels.shape)[:, 0] > 0
            for number, prediction in zip(part, predictions, strict=True):
                counts[number] = count_pixels(prediction, episode_mask(labels, episodes[number].cls))
    return counts, len(supports) + len(again)


def episode_mask(labels: Tensor, cls: int) -> Tensor:
    """Labels (H, W) uint8 as an episode's mask, int64: 1 where they are the class, 255 kept, 0 elsewhere."""
    return (labels == cls).long().masked_fill_(labels == 255, 255)


def _chunks(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
