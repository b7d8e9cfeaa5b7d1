"""Where the time goes: of an episode of a planned evaluation, and of a training step.

    python -m benchmarks.breakdown --data-root ../Datasets_SSP

The evaluation is that of benchmarks.evaluation, each of its steps timed where it stands; the training step is that
of benchmarks.training, its operations summed up by kind. Convolutions are the floor of both.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.evaluation import network, plan
from benchmarks.timing import timed
from benchmarks.training import LR, both_ways
from engine.evaluation import planned
from engine.evaluation.planned import count_planned
from engine.evaluation.protocol import EvaluationOptions
from engine.options import OneLineParser, default_device, positive, whole
from engine.training.flags import ComputeOptions
from engine.training.trainer import Trainer, make_optimizer
from model import matching
from model.fast import evaluation
from model.fast.evaluation import Query, Sums
from model.ssp import SSP
from util.launch import command
from util.memory import keep_freed_memory

STEPS = {  # steps of a planned evaluation; none of these functions calls another one
    "backbone": [(SSP, "features")],
    "prototypes of the supports": [(SSP, "prototypes")],
    "kernel of the query": [(evaluation, "kernel")],
    "sums over the background sets": [(Sums, "add")],
    "background prototypes mixed, their cosines": [(evaluation, "mixed_cosine")],
    "other cosines and means": [(Query, "cosine"), (Query, "mean")],
    "resizing and counting": [(matching, "resize"), (planned, "count_pixels")],
}
KINDS = {  # kinds of operations in a training step
    "convolutions, forward": ["aten::mkldnn_convolution", "aten::cudnn_convolution"],
    "convolutions, backward": ["aten::convolution_backward"],
    "matching, forward": ["_Match"],
    "matching, backward": ["_MatchBackward"],
}


def clocked(function: Callable, seconds: Counter, step: str) -> Callable:
    """The function, its seconds added to those of a step."""

    def run(*args: Any, **kwargs: Any) -> Any:
        spent, result = timed(lambda: function(*args, **kwargs))
        seconds[step] += spent
        return result

    return run


def of_evaluation(args: argparse.Namespace) -> None:
    images, _, episodes = plan(args.data_root, 0, args.shot, args.per_image)
    net = network("resnet50", args.checkpoint, images).to(default_device())
    seconds: Counter = Counter()
    with ExitStack() as stack:
        for step, places in STEPS.items():
            for owner, name in places:
                stack.enter_context(patch.object(owner, name, clocked(getattr(owner, name), seconds, step)))
        total, _ = timed(lambda: count_planned(net, images, episodes, options=EvaluationOptions(args.workers)))
    title = f"planned evaluation, {args.shot}-shot, {len(episodes)} episodes: ms an episode"
    show(title, {step: 1000 * seconds[step] / len(episodes) for step in STEPS}, 1000 * total / len(episodes))


def of_training(args: argparse.Namespace) -> None:
    drawn, _, net = both_ways(args)
    trainer = Trainer(net, make_optimizer(net, LR), ComputeOptions(net.device))
    trainer.step(drawn[0], LR)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
    with profile(activities=activities) as profiled:
        total, _ = timed(lambda: trainer.step(drawn[0], LR))
    events = {event.key: event.cpu_time_total / 1000 for event in profiled.key_averages()}
    found = {kind: sum(events.get(key, 0.0) for key in keys) for kind, keys in KINDS.items()}
    show(f"training step, crop {args.crop_size}, batch {args.batch_size}: ms", found, 1000 * total)


def show(title: str, parts: dict[str, float], total: float) -> None:
    """A table of the parts of a time, of the rest and of the whole, in ms."""
    print(f"\n{title}")
    for name, spent in {**parts, "the rest": total - sum(parts.values()), "all": total}.items():
        print(f"  {name:<44}{spent:9.2f}{100 * spent / total:7.1f} %", flush=True)


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="VOC2012 or the folder that holds it")
    add("--checkpoint", metavar="FILE", help="trained weights instead of random ones")
    add("--shot", type=whole(1), default=5, help="of the evaluation (default %(default)s)")
    add("--per-image", type=positive, default=14, help="planned episodes for each distinct image (default 14)")
    add("--workers", type=whole(0), default=2, help="loader processes of the evaluation (default %(default)s)")
    add("--crop-size", type=whole(33), help="of the training step (default 241 and 473)")
    add("--batch-size", type=whole(1), help="of the training step (default 2 and 4)")
    args = parser.parse_args()
    of_evaluation(args)
    if default_device().type == "cpu":
        keep_freed_memory()
    sizes = [(args.crop_size, args.batch_size)] if args.crop_size and args.batch_size else [(241, 2), (473, 4)]
    for args.crop_size, args.batch_size in sizes:
        of_training(args)


if __name__ == "__main__":
    command(main)
