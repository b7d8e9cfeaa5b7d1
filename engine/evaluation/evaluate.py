"""Evaluation on the novel classes: the episodes of all seeds, counted, averaged (docs/method.md, section 6)."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.episodes import Episode, Plans, digest_episodes, images_of
from dataset.images import ImageSet
from dataset.loader import batches, to_device
from dataset.samples import EvaluationEpisodes
from engine.evaluation.metric import count_pixels, foreground_iou, metrics, sum_by_class
from engine.evaluation.planned import count_planned
from engine.evaluation.protocol import DEFAULT_OPTIONS, PAPER, EvaluationOptions, Protocol
from engine.made_by import describe_device
from model import FewShotNetwork
from model.fast.check import steps_give_forward
from util.distributed import say
from util.errors import UserError
from util.progress import progress
from util.table import align_columns

UNDRAWN_CLASS_NOTE = (
    "-: no episode of the seed drew the class. The seed's mIoU is the mean over the others, so the mean of the mIoUs "
    "may differ from that of the column."
)


def evaluate(
    net: FewShotNetwork,
    images: ImageSet,
    plans: Plans,
    protocol: Protocol = PAPER,
    classes: Collection[int] | None = None,
    options: EvaluationOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Segment the planned episodes of each seed, on the network's device.

    Arguments:
        net: the network; its mode is kept.
        images: the images that the episodes name.
        plans: episodes by seed.
        protocol: the paper's own, or HSNet's.
        classes: the test classes, for a protocol whose mean is over all of them.
        options: what to compute with. The planned engine passes each image through the backbone once, or twice if the
            features of the query images exceed the cache; the plain one passes all images of each episode.
    Returns:
        "seeds" (for each its number, metrics and the "episode_iou" of each target, IoUs in percent; what
        engine/evaluation/compare.py reads: the "episode_counts" of all, four pixel counts each, "episode_class",
        "episode_query" as a number among "queries", and "episode_digest"), the means "miou" and "fb_iou" over the
        seeds, "miou_std" (population), "seconds", "images" (distinct), "trunk_passes", "peak_memory_gb" (of the
        process, on CUDA of the device), the "device" and the "queries" (distinct).
    """
    started = time.perf_counter()
    everything = [episode for plan in plans.values() for episode in plan]
    is_planned = options.engine == "planned" and steps_give_forward(net, by_support=True)
    if options.engine == "planned" and not is_planned:
        say(f"note: the steps of {type(net).__name__} do not give what its forward gives: --engine plain runs")
    if is_planned:
        counts, passes = count_planned(net, images, everything, protocol, options=options)
    else:
        counts = count_plainly(net, images, everything, options.workers, protocol=protocol)
        passes = sum(1 + len(episode.supports) for episode in everything)
    return {
        **summarise(counts, plans, classes if protocol.over_all_classes else None),
        "seconds": time.perf_counter() - started,
        "images": len(images_of(everything)),
        "trunk_passes": passes,
        "peak_memory_gb": peak_memory_gb(net.device),
        "device": describe_device(net.device),
    }


def summarise(counts: Tensor, plans: Plans, mean_over: Collection[int] | None) -> dict[str, Any]:
    """The metrics of each seed and their means from the counts (E, 4) of all episodes; mean_over: as of metrics."""
    by_seed = counts.split([len(plan) for plan in plans.values()])
    queries = dict.fromkeys(episode.query for plan in plans.values() for episode in plan)
    number_of = {query: number for number, query in enumerate(queries)}
    results = [
        {
            "seed": seed,
            **metrics(sum_by_class(zip((episode.cls for episode in plan), part, strict=True)), mean_over),
            "episode_iou": [round(foreground_iou(pixels), 2) for pixels in part],
            "episode_counts": part.flatten().tolist(),
            "episode_class": [episode.cls for episode in plan],
            "episode_query": [number_of[episode.query] for episode in plan],
            "episode_digest": digest_episodes(plan),
        }
        for (seed, plan), part in zip(plans.items(), by_seed, strict=True)
    ]
    return {
        "seeds": results,
        "miou": float(np.mean([result["miou"] for result in results])),
        "miou_std": float(np.std([result["miou"] for result in results])),
        "fb_iou": float(np.mean([result["fb_iou"] for result in results])),
        "queries": list(number_of),
    }


@torch.inference_mode()
def count_plainly(
    net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int = 0, protocol: Protocol = PAPER
) -> Tensor:
    """The reference: count the pixels of each episode (E, 4), one at a time, each image through the backbone each time.

    Arguments as of evaluate; the episodes are those of all seeds.
    """
    segmented = _segment(net, images, episodes, workers, protocol=protocol)
    return torch.stack([count_pixels(prediction, mask).cpu() for prediction, mask in segmented])


@torch.inference_mode()
def segment(
    net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int = 0, protocol: Protocol = PAPER
) -> list[Tensor]:
    """Predict the mask (H, W) uint8 of each episode's query, 1 the target, on the CPU; one episode after the other.

    Arguments as of evaluate; the episodes are those of all seeds.
    """
    segmented = _segment(net, images, episodes, workers, protocol=protocol)
    return [prediction.to("cpu", torch.uint8) for prediction, _ in segmented]


def _segment(
    net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int, protocol: Protocol
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each episode's predicted and true mask (H, W), on the network's device."""
    training = net.training
    net.eval()
    samples = batches(EvaluationEpisodes(images, episodes, protocol.side, protocol.ignored_is_background), 1, workers)
    try:
        for episode, sample in zip(episodes, progress(samples, "evaluating", len(episodes), "episode"), strict=True):
            support_images, support_masks, query_image, query_mask = to_device(sample, net.device)
            try:
                out = net(support_images, support_masks, query_image)
            except ValueError as error:  # an image that is too small for the backbone
                raise UserError(f"image {episode.query} or a support of it: {error}") from error
            yield out["final"].argmax(1)[0], query_mask[0]
    finally:
        net.train(training)


def peak_memory_gb(device: torch.device) -> float:
    """The most that this process has held so far, in 2**30 bytes; on CUDA, what the device has held for it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def result_table(result: Mapping[str, Any], class_names: Mapping[int, str], classes: Collection[int] = ()) -> str:
    """A table of what evaluate returned: a line for each class, seeds side by side, then the means and the cost.

    Test classes (``classes``) without an episode are called missing.
    """
    seeds = result["seeds"]
    drawn = {cls for seed in seeds for cls in seed["class_iou"]}
    lines = []
    for cls in sorted({*drawn, *classes}):
        name = f"{cls} {class_names.get(cls, '')}".strip() if cls else "background"
        lines.append((name, [seed["class_iou"].get(cls) for seed in seeds]))
    lines += [("mIoU", [seed["miou"] for seed in seeds]), ("FB-IoU", [seed["fb_iou"] for seed in seeds])]
    rows = [("", *(f"seed {seed['seed']}" for seed in seeds), "mean")]
    for name, values in lines:
        known = [value for value in values if value is not None]
        mean = f"{np.mean(known):.2f}" if known else "missing"
        rows.append((name, *("-" if value is None else f"{value:.2f}" for value in values), mean))
    cost = (
        f"{result['seconds']:.1f} s, {result['images']} images, {result['trunk_passes']} backbone passes, "
        f"peak memory {result['peak_memory_gb']:.2f} GB"
    )
    note = [UNDRAWN_CLASS_NOTE] if any(len(seed["class_iou"]) < len(drawn) for seed in seeds) else []
    return "\n".join([*align_columns(rows), *note, cost])


def summary(result: Mapping[str, Any]) -> str:
    """The means of a result in a few words."""
    spread = f" (std {result['miou_std']:.2f})" if len(result["seeds"]) > 1 else ""
    return f"mIoU {result['miou']:.4f}{spread}, FB-IoU {result['fb_iou']:.4f}"
