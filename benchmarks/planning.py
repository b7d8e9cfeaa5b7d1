"""Planning at COCO's size: 40,504 images of 80 classes, five seeds of 4,000 5-shot episodes; time and memory.

    python -m benchmarks.planning

The index is synthetic: every image holds one to eight classes, the rare ones rarely, as COCO's do. The memory
bound of the planned evaluation is computed from the plan, then held against a query of COCO's usual size.
"""

from __future__ import annotations

import random
import time

import torch

from dataset import plan_episodes
from engine.evaluation.evaluate import peak_memory_gb
from engine.evaluation.planned import group
from engine.setting import CACHE_GB
from model import build_model
from model.fast.evaluation import SUMS_BYTES
from model.resnet import ResNet
from util.launch import command

IMAGES, CLASSES, EPISODES, SHOT, SEEDS = 40504, 80, 4000, 5, 5
SIDE = (480, 640)
MATCHED = 32  # episodes of the query whose memory is measured


def synthetic_index(images: int = IMAGES, seed: int = 0) -> dict[str, dict[int, int]]:
    """{image: {class: pixels}}."""
    rng = random.Random(seed)
    weights = [1 / rank for rank in range(1, CLASSES + 1)]
    return {
        f"COCO_val2014_{number:012d}": {
            cls: rng.randrange(100, 60000)
            for cls in set(rng.choices(range(1, CLASSES + 1), weights, k=rng.randint(1, 8)))
        }
        for number in range(images)
    }


def memory_bound(pairs: int, pixels: int) -> float:
    """Bytes: kept features, prototypes of (image, class) pairs, kernel and sums of one query of N pixels."""
    kernels = 2 * 4 * pixels**2  # the kernel, and its rows of a set
    arrays = 4 * 4 * pixels * ResNet.channels  # pixels and their directions, the features and the pixels of a set
    sums = max(SUMS_BYTES, 3 * 4 * pixels * ResNet.channels)  # of one episode at least, which has two sets
    return CACHE_GB * 2**30 + 2 * 4 * pairs * ResNet.channels + kernels + arrays + sums


@torch.inference_mode()
def main() -> None:
    index = synthetic_index()
    before = peak_memory_gb(torch.device("cpu"))
    started = time.perf_counter()
    novel = range(1, 21)
    episodes = [e for seed in range(SEEDS) for e in plan_episodes(index, novel, SHOT, seed, EPISODES)]
    planned = time.perf_counter() - started
    of_query, of_support = group(episodes)
    grouped = time.perf_counter() - started - planned
    added = 2**10 * (peak_memory_gb(torch.device("cpu")) - before)
    pairs = sum(map(len, of_support.values()))
    print(f"{IMAGES} images: {len(episodes)} episodes of {SHOT} shots planned in {planned:.2f} s,")
    print(f"grouped in {grouped:.2f} s: {len(of_query)} queries, {len(of_support)} supports,")
    print(f"{pairs} (image, class) pairs; {added:.0f} MiB for the plan")
    height, width = (-(-side // ResNet.stride) for side in SIDE)
    print(f"memory bound beyond the program itself: {memory_bound(pairs, height * width) / 2**30:.2f} GiB")

    net = build_model("ssp", refine=True).eval()
    generator = torch.Generator().manual_seed(0)
    idle = peak_memory_gb(torch.device("cpu"))
    features = torch.randn(1, ResNet.channels, height, width, generator=generator)
    fg, bg = torch.randn(2, MATCHED, ResNet.channels, 1, 1, generator=generator)
    net.match_episodes(features, fg, bg)
    used = peak_memory_gb(torch.device("cpu")) - idle
    bound = memory_bound(0, height * width) / 2**30 - CACHE_GB
    print(f"one query of {SIDE[1]}x{SIDE[0]} with {MATCHED} episodes: {used:.2f} GiB measured, {bound:.2f} GiB bound")


if __name__ == "__main__":
    command(main)
