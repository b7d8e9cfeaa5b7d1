"""Evaluation on the novel classes: the episodes of all seeds, counted, averaged (design, section 6)."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dataset.episodes import Episode, plan_episodes
from dataset.fewshot import EvaluationEpisodes
from dataset.images import ImageSet
from dataset.loading import batches, to_device
from model import FewShotNetwork
from util.metric import count_pixels, metrics, sum_by_class
from util.planned import count_planned

ENGINES = ("planned", "plain")
CACHE_GB = 1.0  # features of about 80 images of VOC's size


def evaluate(
    net: FewShotNetwork,
    images: ImageSet,
    index: Mapping[str, Mapping[int, int]],
    classes: Collection[int],
    shot: int,
    seeds: Sequence[int],
    episodes: int,
    workers: int = 0,
    engine: str = "planned",
    cache_gb: float = CACHE_GB,
) -> dict[str, Any]:
    """Draw the episodes of every seed and segment them, on the network's device.

    engine: "planned" passes each image through the trunk once, or twice where the features of query
    images exceed cache_gb; "plain" is the reference, one episode at a time.
    Returns "seeds" (for each seed its number and metrics, IoUs in percent), the means "miou" and
    "fb_iou" over the seeds, "miou_std" (population), "seconds", "images" (distinct), "trunk_passes" and
    "peak_memory_gb" (of the process, on CUDA of the device).
    Raises UserError where a class has too few images for the shot.
    """
    started = time.perf_counter()
    planned = [plan_episodes(index, classes, shot, seed, episodes) for seed in seeds]
    everything = [episode for plan in planned for episode in plan]
    if engine == "planned":
        counts, passes = count_planned(net, images, everything, workers, int(cache_gb * 2**30))
    else:
        counts, passes = count_plainly(net, images, everything, workers), len(everything) * (1 + shot)
    results = []
    for number, seed in enumerate(seeds):
        part = slice(number * episodes, (number + 1) * episodes)
        targets = (episode.cls for episode in everything[part])
        results.append({"seed": seed, **metrics(sum_by_class(zip(targets, counts[part], strict=True)))})
    return {
        "seeds": results,
        "miou": float(np.mean([result["miou"] for result in results])),
        "miou_std": float(np.std([result["miou"] for result in results])),
        "fb_iou": float(np.mean([result["fb_iou"] for result in results])),
        "seconds": time.perf_counter() - started,
        "images": len({image for episode in everything for image in (episode.query, *episode.supports)}),
        "trunk_passes": passes,
        "peak_memory_gb": peak_memory_gb(next(net.parameters()).device),
    }


def peak_memory_gb(device: torch.device) -> float:
    """The most that this process has held so far, in 2**30 bytes; on CUDA, what the device has held for it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def count_plainly(net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int) -> list[Tensor]:
    """Pixel counts of each episode, one at a time, every image through the trunk each time."""
    return [count_pixels(prediction, mask) for prediction, mask in _predictions(net, images, episodes, workers)]


def segment(net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int) -> list[Tensor]:
    """The predicted mask (H, W) of each episode's query, 1 the target, on the CPU."""
    return [prediction.cpu() for prediction, _ in _predictions(net, images, episodes, workers)]


def _predictions(
    net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each episode's predicted and true mask (H, W), on the network's device."""
    training = net.training
    net.eval()
    device = next(net.parameters()).device
    samples = batches(EvaluationEpisodes(images, episodes), 1, workers)
    with torch.inference_mode():
        for sample in tqdm(samples, "evaluating", len(episodes), unit="episode", leave=False, delay=1):
            support_images, support_masks, query_image, query_mask = to_device(sample, device)
            out = net(support_images, support_masks, query_image)
            yield out["final"].argmax(1)[0], query_mask[0]
    net.train(training)


def result_table(result: Mapping[str, Any], class_names: Mapping[int, str]) -> str:
    """The IoUs of a result, a line for each class, seeds side by side, and the means."""
    seeds = result["seeds"]
    classes = sorted({cls for seed in seeds for cls in seed["class_iou"]})
    rows = [("", *(f"seed {seed['seed']}" for seed in seeds), "mean")]

    def row(name: str, values: list[float]) -> None:
        shown = [value for value in values if value is not None]
        rows.append((name, *("-" if v is None else f"{v:.2f}" for v in values), f"{np.mean(shown):.2f}"))

    for cls in classes:
        name = "background" if cls == 0 else f"{cls} {class_names.get(cls, '')}".strip()
        row(name, [seed["class_iou"].get(cls) for seed in seeds])
    row("mIoU", [seed["miou"] for seed in seeds])
    row("FB-IoU", [seed["fb_iou"] for seed in seeds])
    width = max(len(r[0]) for r in rows)
    return "\n".join(r[0].ljust(width) + "".join(cell.rjust(9) for cell in r[1:]) for r in rows)
