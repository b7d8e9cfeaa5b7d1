"""The single times that benchmarks.scale reckons with, measured in this process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.scale_model import Costs
from benchmarks.timing import timed
from dataset import ImageSet, Split, class_index, open_pool
from dataset.samples import Pictures, TrainingSamples, as_input
from engine.evaluation.metric import count_pixels
from engine.training.flags import ComputeOptions
from engine.training.trainer import Trainer, make_optimizer
from model import FewShotNetwork, fold_batch_norms
from model.fast.evaluation import Scratch

IMAGES = 16  # from which the median of each part is taken
STEPS = 3  # timed, after one that warms up
LR = 1e-4


def measure_costs(
    net: FewShotNetwork, train: Split, pixels: float, per_query: int, crop_size: int, share: int
) -> Costs:
    """The costs of images of so many pixels.

    Arguments:
        net: on the device to be measured; it stays as it is.
        train: images at hand, of any size.
        per_query: episodes of a query.
        crop_size: side of a training crop, pixels.
        share: episodes that are trained on together.
    """
    index = class_index(train.images)
    classes = {image: sorted(found) for image, found in index.items() if found}
    ids = sorted(classes)[:: max(1, len(classes) // IMAGES)][:IMAGES]
    encode, match = measure_evaluation(net, Pictures(train.images, ids, round(math.sqrt(pixels)), classes), per_query)
    sample, step = measure_training(net, train, crop_size, share)
    return Costs(measure_decoding(train.images, ids, classes, pixels), encode, match, sample, step)


def measure_decoding(images: ImageSet, ids: Sequence[str], classes: dict[str, list[int]], pixels: float) -> float:
    """Seconds to load an image of so many pixels, as those of the images at hand are to their pixels."""
    pictures = Pictures(images, ids, None, classes)
    times, loaded = zip(*(timed(partial(pictures.__getitem__, number)) for number in range(len(ids))), strict=True)
    return median(seconds / picture[0].numel() * pixels for seconds, (picture, _) in zip(times, loaded, strict=True))


@torch.inference_mode()
def measure_evaluation(net: FewShotNetwork, pictures: Pictures, per_query: int) -> tuple[float, float]:
    """Seconds of an image's backbone pass, and of an episode of a query that has so many."""
    device = net.device
    folded = fold_batch_norms(net.eval()).to(memory_format=torch.channels_last)
    passes, matched, features, masks = [], [], [], []
    for picture, (mask, *_) in pictures:
        picture = picture[None].to(device).contiguous(memory_format=torch.channels_last)
        seconds, found = timed(partial(folded.features, picture))
        passes.append(seconds)
        features.append(found)
        masks.append(mask.long().to(device))
    pairs = [folded.prototypes(x, mask[None]) for x, mask in zip(features, masks, strict=True)]
    fg, bg = (torch.cat([pairs[number % len(pairs)][kind] for number in range(per_query)]) for kind in (0, 1))
    scratch = Scratch()

    def match(found: Tensor, mask: Tensor) -> None:
        for logits in folded.match_episodes(found, fg, bg, scratch):
            large = torch.nn.functional.interpolate(logits[None], mask.shape, mode="bilinear", align_corners=True)
            count_pixels(large.argmax(1)[0], mask)

    for found, mask in zip(features, masks, strict=True):
        matched.append(timed(partial(match, found, mask))[0] / per_query)
    return median(passes[1:]), median(matched[1:])


def measure_training(net: FewShotNetwork, train: Split, crop_size: int, share: int) -> tuple[float, float]:
    """Seconds to load a training sample, and of an episode of a training step, of a copy of the network."""
    length = max(IMAGES, 2 * share)
    samples = TrainingSamples(train.images, open_pool(train, 1), 1, crop_size, length=length, seed=0)
    loading, drawn = timed(lambda: [samples[number] for number in range(length)])
    net = deepcopy(net).train()
    trainer = Trainer(net, make_optimizer(net, LR), ComputeOptions(net.device))
    batch = as_input(default_collate(drawn[:share]), net.device)
    steps = [timed(partial(trainer.step, batch, LR))[0] for _ in range(1 + STEPS)]
    return loading / length, median(steps[1:]) / share


def gradient_bytes(net: FewShotNetwork) -> int:
    """Bytes of the gradients of a step."""
    return sum(p.numel() * p.element_size() for p in net.parameters() if p.requires_grad)
