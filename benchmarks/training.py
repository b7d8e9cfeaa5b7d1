"""A training step and the loader, against the release's way (benchmarks/plain.py): alternating in one run.

    python -m benchmarks.training --data-root ../Datasets_SSP [--checkpoint FILE]
    python -m benchmarks.training --data-root ../Datasets_SSP --against method      what model/fast/training.py is worth

Both take the same batches and start from the same weights, with the refinement and SGD. How many pixels support
themselves, and so the work of the matching, depends on the weights: a trained checkpoint is the realistic case.
Each way trains in a process of its own, and the two take turns, step by step. Of the images only the sizes matter here
(see benchmarks/evaluation.py).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from benchmarks.evaluation import network
from benchmarks.plain import PlainSamples, PlainSSP, plain_step
from benchmarks.timing import timed
from dataset import open_pool, open_split
from dataset.loader import batches
from dataset.samples import TrainingSamples, as_input
from engine.evaluation.evaluate import peak_memory_gb
from engine.options import OneLineParser, default_device, positive, whole
from engine.training.flags import ComputeOptions
from engine.training.trainer import MOMENTUM, WEIGHT_DECAY, Trainer, make_optimizer
from model import build_model
from util.launch import command
from util.memory import keep_freed_memory

LR = 1e-4
DIFFERENT = 4  # batches


def both_ways(args: argparse.Namespace) -> tuple[list[list], nn.Module, nn.Module]:
    """Batches, and the plain and our network with the same weights."""
    device = default_device()
    part = open_split("pascal", args.data_root, "train", 0)
    length = args.batch_size * DIFFERENT
    samples = TrainingSamples(part.images, open_pool(part, 1), 1, args.crop_size, length=length, seed=0)
    numbers = [range(first, first + args.batch_size) for first in range(0, len(samples), args.batch_size)]
    drawn = [as_input(default_collate([samples[n] for n in some]), device) for some in numbers]
    state = network("resnet50", args.checkpoint, part.images).state_dict()
    plain = PlainSSP("resnet50", state).train().to(device)
    ours = build_model("ssp", "resnet50", refine=True)
    ours.load_state_dict(state)
    ours = ours.train().to(device)
    return drawn, plain, ours.to(memory_format=torch.channels_last) if device.type == "cpu" else ours


def plain_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def measure_steps(args: argparse.Namespace) -> None:
    flags = ["--data-root", args.data_root, "--crop-size", str(args.crop_size), "--batch-size", str(args.batch_size)]
    flags += ["--checkpoint", args.checkpoint] if args.checkpoint else []
    steps: dict[str, list[list[float]]] = {args.against: [], "ours": []}
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(start_steps([*flags, "--only", name])) for name in steps}
        for _ in range(args.steps):
            for name, process in trainers.items():
                process.stdin.write("step\n")
                process.stdin.flush()
                steps[name].append(json.loads(process.stdout.readline()))
    theirs, own = (median(seconds for seconds, _, _ in taken[1:]) for taken in steps.values())
    their_peak, own_peak = (taken[-1][2] for taken in steps.values())
    first = [abs(a[1] - b[1]) / a[1] for a, b in zip(steps[args.against][:4], steps["ours"][:4], strict=True)]
    print(
        f"crop {args.crop_size}, batch {args.batch_size}: {args.against} {theirs:.3f} s, ours {own:.3f} s a step, "
        f"{theirs / own:.2f} x; losses of 4 steps differ by {max(first):.1e}; peak memory {args.against} "
        f"{their_peak:.2f}, ours {own_peak:.2f} GB",
        flush=True,
    )


def start_steps(flags: Sequence[str]) -> subprocess.Popen:
    """A process of its own, whose memory and allocator no other way of training has touched."""
    command_line = [sys.executable, "-m", "benchmarks.training", *flags]
    return subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def take_steps(args: argparse.Namespace) -> None:
    """A step for each line of the standard input, with its seconds, its loss and the peak memory so far in GB."""
    if args.only != "plain" and default_device().type == "cpu":
        keep_freed_memory()  # as engine.training.start does
    drawn, plain, ours = both_ways(args)
    if args.only == "method":
        ours.trace = ours.trace  # a trace of its own: no fast form takes its place
    device = default_device()
    if args.only == "plain":
        step = partial(plain_step, plain, plain_optimizer(plain))
    else:
        step = partial(Trainer(ours, make_optimizer(ours, LR), ComputeOptions(device)).step, lr=LR)
    for _, batch in zip(sys.stdin, cycle(drawn), strict=False):
        seconds, loss = timed(partial(step, batch))
        peak = peak_memory_gb(device) if device.type == "cuda" else own_peak_gb()
        print(json.dumps([seconds, loss, peak]), flush=True)


def own_peak_gb() -> float:
    """This program's peak; getrusage would count what the process that started it held then."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return peak_memory_gb(torch.device("cpu"))
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def consume(loader: object) -> Tensor:
    return torch.stack([batch[2].flatten()[0].float() for batch in loader]).sum()


def measure_loader(args: argparse.Namespace, cache_gb: float) -> None:
    part = open_split("pascal", args.data_root, "train", 0)
    pool = open_pool(part, 1)
    plain, ours = [], []
    for _ in range(3):
        samples = PlainSamples(part.images, pool, args.crop_size, args.samples)
        plain.append(timed(lambda s=samples: consume(DataLoader(s, 4, num_workers=args.workers)))[0])
        cache = int(cache_gb * 2**30) // max(args.workers, 1)
        fast = TrainingSamples(part.images, pool, 1, args.crop_size, length=args.samples, seed=0)
        fast.cache_bytes = cache
        ours.append(timed(lambda s=fast: consume(batches(s, 4, args.workers)))[0])
    theirs, own = args.samples / median(plain), args.samples / median(ours)
    print(
        f"loader, crop {args.crop_size}, {args.workers} workers, --cache-gb {cache_gb:g}: plain {theirs:.0f}, "
        f"ours {own:.0f} samples a second, {own / theirs:.2f} x",
        flush=True,
    )


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="VOC2012 or the folder that holds it")
    add("--checkpoint", metavar="FILE", help="weights to start from (default random ones)")
    add("--crop-size", type=whole(33), help="(default 241 and 473)")
    add("--batch-size", type=whole(1), help="(default 2 and 4)")
    add("--steps", type=whole(5), default=13, help="of either way, the first not counted (default %(default)s)")
    add("--samples", type=whole(1), default=1000, help="of the loader (default %(default)s)")
    add("--workers", type=whole(0), default=2, help="of the loader (default %(default)s)")
    add("--cache-gb", type=positive, default=1.0, help="of the loader (default %(default)s)")
    against_help = "the release's way, or ours by the method itself"
    add("--against", choices=("plain", "method"), default="plain", help=against_help)
    add("--only", choices=("plain", "method", "ours"), help="steps of one way, one for each line of the input")
    args = parser.parse_args()
    if args.only:
        take_steps(args)
        return
    sizes = [(args.crop_size, args.batch_size)] if args.crop_size and args.batch_size else [(241, 2), (473, 4)]
    for args.crop_size, args.batch_size in sizes:
        measure_steps(args)
    for cache_gb in (0.0, args.cache_gb) if args.against == "plain" else ():
        measure_loader(args, cache_gb)


if __name__ == "__main__":
    command(main)
