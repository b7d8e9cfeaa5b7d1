"""The reckoning of benchmarks.scale against this machine: a planned evaluation and training steps, on some processes.

    python -m benchmarks.scale_check --data-root data/toy
    torchrun --nproc-per-node 2 -m benchmarks.scale_check --data-root data/toy

The first process measures the single costs alone while the others wait. Then all evaluate and train together, and the
time they take stands beside the one that was reckoned. For CPUs: give each process as many threads alone as together.
"""

from __future__ import annotations

import os
from functools import partial
from statistics import median

import numpy as np
from torch.utils.data import default_collate

from benchmarks.evaluation import network, plan
from benchmarks.link import measure_here
from benchmarks.scale_costs import LR, gradient_bytes, measure_costs
from benchmarks.scale_model import Link, evaluation, loads, training_step
from benchmarks.timing import timed
from dataset import images_of, open_pool, open_split
from dataset.images import read_rgb
from dataset.samples import TrainingSamples, as_input
from engine.evaluation.planned import count_planned, group
from engine.evaluation.protocol import EvaluationOptions
from engine.options import OneLineParser, default_device, positive, whole
from engine.training.data import own_samples
from engine.training.flags import ComputeOptions
from engine.training.trainer import Trainer, make_optimizer
from model.resnet import ResNet
from util.distributed import is_first_here, joined, say, values_of_all, world
from util.errors import UserError
from util.launch import command
from util.memory import keep_freed_memory

STEPS = 4  # timed, after two that warm up


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="VOC2012 or the folder that holds it")
    add("--per-image", type=positive, default=4, help="episodes for each distinct image (default %(default)s)")
    add("--crop-size", type=whole(33), default=241, help="side of training crops, pixels (default %(default)s)")
    add("--batch-size", type=whole(1), default=2, help="episodes of a step, of all processes (default %(default)s)")
    add("--workers", type=whole(0), default=0, help="loader processes of each process (default %(default)s)")
    args = parser.parse_args()
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torchrun says
    if args.batch_size % processes:
        raise UserError(f"--batch-size {args.batch_size} cannot be shared among {processes} processes")
    share = args.batch_size // processes
    if default_device().type == "cpu":
        keep_freed_memory()
    images, _, episodes = plan(args.data_root, 0, 1, args.per_image)
    train = open_split("pascal", args.data_root, "train", 0)
    ids = images_of(episodes)
    pixels = float(np.mean([np.prod(read_rgb(images.image_path(image)).size) for image in ids]))
    of_query, of_support = group(episodes)
    per_query = max(1, round(len(episodes) / len(of_query)))
    net = network("resnet50", None, images).to(default_device())
    # Before it joins the others, who wait for it: a training step of one that has joined waits for those of all.
    costs = measure_costs(net, train, pixels, per_query, args.crop_size, share) if is_first_here() else None
    with joined(default_device()) as device:
        costs = values_of_all(costs)[0]
        net = net.to(device)
        gradients, prototypes = gradient_bytes(net), 8 * ResNet.channels * sum(map(len, of_support.values()))
        link = Link(float("inf"), 0.0)
        if world() > 1:
            small, large = measure_here([4, gradients])
            link = Link(gradients / large, small)
        say(f"{world()} processes; ms: " + ", ".join(f"{k} {1000 * v:.1f}" for k, v in costs._asdict().items()))
        found = loads(episodes, world(), kept=len(ids))
        reckoned = evaluation(found, costs, args.workers, prototypes, link)["all"]
        options = EvaluationOptions(args.workers, cache_gb=len(ids))  # features of all images are kept
        taken, _ = timed(lambda: count_planned(net, images, episodes, options=options))
        say(f"evaluation of {len(episodes)} episodes over {len(ids)} images: {compared(reckoned, taken)}")

        length = args.batch_size * (2 + STEPS)
        samples = TrainingSamples(train.images, open_pool(train, 1), 1, args.crop_size, length=length, seed=0)
        own = own_samples(samples, args.batch_size, 0, 2 + STEPS)
        trainer = Trainer(net, make_optimizer(net, LR), ComputeOptions(device))

        def step(number: int) -> None:
            some = [own[share * number + place] for place in range(share)]
            trainer.step(as_input(default_collate(some), device), LR)

        steps = [timed(partial(step, number))[0] for number in range(2 + STEPS)]
        reckoned = training_step(share, world(), costs, 0, gradients, link)["all"]
        say(f"training step, crop {args.crop_size}, batch {args.batch_size}: {compared(reckoned, median(steps[2:]))}")


def compared(reckoned: float, taken: float) -> str:
    return f"reckoned {reckoned:.2f} s, measured {taken:.2f} s ({100 * (taken / reckoned - 1):+.0f} %)"


if __name__ == "__main__":
    command(main)
