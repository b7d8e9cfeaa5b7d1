"""How fast a device evaluates and trains, and in how much memory, beside the plain ways to do it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import nn

from benchmarks.evaluation import bare_passes, network
from benchmarks.gpu_rows import Job, Numbers, Row, measured, row
from benchmarks.plain import plain_step
from benchmarks.training import both_ways, plain_optimizer
from dataset import Episode, ImageSet, class_index, images_of, open_split, plan_episodes
from dataset.samples import Pictures, Sample
from engine.evaluation.evaluate import count_plainly
from engine.evaluation.planned import count_planned
from engine.evaluation.protocol import EvaluationOptions
from engine.options import default_device
from engine.training.flags import ComputeOptions
from engine.training.trainer import DTYPES, Trainer, make_optimizer
from model import FewShotNetwork

COMPARED = 4  # losses, those of the first steps


def evaluation(job: Job) -> list[Row]:
    """The planned and the plain engine on the same episodes, with refinement and ResNet-50."""
    images, novel = open_split("pascal", job.data_root, "test", 0)[:2]
    index = class_index(images)
    net = network("resnet50", job.checkpoint, images).to(default_device())
    rows = []
    for shot in (1, 5):
        episodes = plan_episodes(index, novel, shot, 0, job.episodes)
        rows.append(row(f"{shot}-shot", both_engines, net, images, episodes, job))
    return rows


def both_engines(net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], job: Job) -> Numbers:
    """Time of an episode, memory, and the share of pixels that the engines predict otherwise."""
    some, options = episodes[: job.plain], EvaluationOptions(job.workers)
    seconds, results, memory = measured(lambda _: count_planned(net, images, episodes, options=options), job.rounds)
    counts, passes = results[-1]
    in_bfloat16, others, _ = measured(
        lambda _: count_planned(net, images, episodes, options=EvaluationOptions(job.workers, amp=True)), job.rounds
    )
    plain, expected, of_plain = measured(lambda _: count_plainly(net, images, some, job.workers), job.rounds)

    loaded = [picture[None].to(net.device) for picture, _ in Pictures(images, images_of(episodes))]
    bare, _, _ = measured(lambda _: bare_passes(net, loaded), 1)

    def otherwise(found: torch.Tensor) -> float:
        return ((found[: len(some)] - expected[-1]).abs().sum() / 2 / expected[-1].sum()).item()

    ours, theirs = 1000 * seconds / len(episodes), 1000 * plain / len(some)
    return {
        "episodes": len(episodes),
        "images": len(images_of(episodes)),
        "plain, ms": theirs,
        "planned, ms": ours,
        "ratio": theirs / ours,
        "bfloat16 backbone, ms": 1000 * in_bfloat16 / len(episodes),
        "backbone passes": passes / len(episodes),
        "bare backbone, ms": 1000 * bare / len(episodes),
        "pixels predicted otherwise": otherwise(counts),
        "with a bfloat16 backbone": otherwise(others[-1][0]),
        "plain, GB": of_plain,
        "planned, GB": memory,
    }


def training(job: Job) -> list[Row]:
    """Steps of the plain way and of ours in each type of the backbone, from the same weights on the same batches."""
    drawn, plain, ours = both_ways(job)
    plain, ours = plain.cpu(), ours.cpu()  # so that each way has the device to itself
    seconds, losses, memory = plain_steps(plain, drawn, job)
    rows: list[Row] = [("plain, float32", {"s a step": seconds, "GB": memory})]
    for name in DTYPES:
        rows.append(row(f"ours, {name or 'float32'}", our_steps, ours, drawn, job, name, seconds, losses))
    return rows


def plain_steps(net: nn.Module, drawn: Sequence[Sample], job: Job) -> tuple[float, list[float], float | None]:
    """Steps of a copy of the plain network, as measured gives them."""
    net = deepcopy(net).to(default_device())
    optimizer = plain_optimizer(net)
    return measured(lambda number: plain_step(net, optimizer, drawn[number % len(drawn)]), job.steps)


def our_steps(
    net: FewShotNetwork, drawn: Sequence[Sample], job: Job, amp: str | None, plain: float, losses: Sequence[float]
) -> Numbers:
    """Steps of a copy of our network, set up as engine.training.start does.

    Arguments:
        net: its weights are those that the plain way started from.
        drawn: batches on the device.
        job: how many steps.
        amp: the backbone's type, as of main.py --amp.
        plain, losses: seconds of a step of the plain way, and its losses.
    """
    device = default_device()
    if amp == "fp16" and device.type != "cuda":
        return {"skipped": "float16 needs CUDA"}
    net = deepcopy(net).to(device)
    if amp:
        net.to(memory_format=torch.channels_last)
    net.backbone_dtype = DTYPES[amp]
    lr = plain_optimizer(net).defaults["lr"]
    trainer = Trainer(net, make_optimizer(net, lr), ComputeOptions(device, amp=amp))
    scale = trainer.scaler.get_scale()
    seconds, own, memory = measured(lambda number: trainer.step(drawn[number % len(drawn)], lr), job.steps)
    apart = [abs(a - b) / b for a, b in zip(own, losses, strict=True)]
    return {
        "s a step": seconds,
        "GB": memory,
        "ratio": plain / seconds,
        "difference of the first loss": apart[0],
        f"of the first {COMPARED}": max(apart[:COMPARED]),
        "steps that float16 skipped": math.log2(scale / trainer.scaler.get_scale()),  # each halves it
    }
