"""Peak memory and time of an image by its side, of predict.py and of a query of planned evaluation.

    python -m benchmarks.memory --sides 320 640 1024 1656 3000
    python -m benchmarks.memory --against ../before --image photo.jpg       in turn with another checkout

Each number is of a process of its own. "predict" segments an image like one support of the same size; "planned"
matches a query with 14 episodes, as planned evaluation does. Both refine, with a ResNet-50 whose weights are random and
whose batch norms are calibrated. The image is --image, or painted; time and memory depend on its size, and on how much
of it is confident background. A checkout that compares each pixel with each is left out where that does not fit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("predict", "planned")
EPISODES = 14  # of a query, as in the real protocol
LONG_SECONDS = 20  # from which on a run is not repeated
OBJECT = slice(8, 16), slice(6, 12)  # rows and columns, of 24
STRIDE, NUMBER_BYTES = 8, 4  # pixels of the image a feature; float32


def paint(side: int, image: str | None) -> Any:
    """The image, or one of an object on a background of another colour, as a square of a side."""
    import numpy as np
    from PIL import Image

    if image:
        return Image.open(image).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    cells = np.random.default_rng(0).integers(-30, 31, (24, 24, 3)) + np.array([90, 120, 80])
    cells[OBJECT] += np.array([130, -70, -60])
    return Image.fromarray(cells.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def measure(task: str, side: int, image: str | None, rounds: int) -> list[float]:
    """Seconds of each round; the code is that of the folder that PYTHONPATH names."""
    import numpy as np
    import torch
    from PIL import Image

    from dataset.transform import normalise
    from model import build_model, calibrate_batch_norms, fold_batch_norms
    from model.fast.evaluation import Scratch
    from prediction.predictor import Predictor

    torch.manual_seed(0)
    net = build_model("ssp", "resnet50", refine=True).eval()
    picture = paint(side, image)
    calibrate_batch_norms(net, normalise(picture.resize((320, 320)))[None])
    net = fold_batch_norms(net).to(memory_format=torch.channels_last)
    mask = np.zeros((24, 24), np.uint8)
    mask[OBJECT] = 1
    mask = np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST))
    predictor = Predictor(net, max_side=side)
    if task == "predict":
        predictor.set_support([picture], [mask])

        def work() -> None:
            predictor.predict(picture)
    else:
        with torch.inference_mode():
            features = predictor.encode(picture).features.contiguous()
            masks = torch.from_numpy(np.stack([np.roll(mask, n * side // 200, 1) for n in range(EPISODES)]))
            pairs = [net.prototypes(features, each[None]) for each in masks]
            fg, bg = (torch.cat(each) for each in zip(*pairs, strict=True))
        scratch = Scratch()

        @torch.inference_mode()
        def work() -> None:
            net.match_episodes(features, fg, bg, scratch)

    seconds: list[float] = []
    while len(seconds) < rounds and sum(seconds) < LONG_SECONDS:
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds


def run(checkout: Path, task: str, side: int, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the work, and the most that the process held in GB, of a checkout's code."""
    words = ["--one", task, "--sides", str(side), "--rounds", str(args.rounds)]
    words += ["--image", args.image] if args.image else []
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *words],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
    )
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{task} at {side} pixels with {checkout}: ended with {os.waitstatus_to_exitcode(status)}")
    return median(json.loads(text)), usage.ru_maxrss / 2**20


def square_gb(side: int) -> float:
    """GB of a kernel of all pixels with all."""
    return (side / STRIDE) ** 4 * NUMBER_BYTES / 2**30


def free_gb() -> float:
    """Memory that the machine can still give."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--sides", nargs="+", type=int, default=[320, 640, 1024, 1656, 2048, 3000], help="(default %(default)s)")
    add("--tasks", nargs="+", choices=TASKS, default=TASKS)
    add("--against", metavar="DIR", help="another checkout, measured in turn")
    add("--squares", type=float, default=3.2, help="kernels of all pixels that --against holds (default %(default)s)")
    add("--image", metavar="FILE", help="a photograph in place of the painted image")
    add("--rounds", type=int, default=3, help="of short runs (default %(default)s)")
    add("--one", choices=TASKS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.sides[0], args.image, args.rounds)))
        return
    for task in args.tasks:
        peaks: list[tuple[int, float]] = []
        for side in args.sides:
            before = None
            if args.against and args.squares * square_gb(side) < free_gb():
                before = run(Path(args.against).resolve(), task, side, args)
            seconds, peak = run(ROOT, task, side, args)
            peaks.append((side, peak))
            line = f"{task:8}{side:5} pixels: {peak:6.2f} GB, {seconds:8.2f} s"
            if before:
                line += f"; before {before[1]:6.2f} GB, {before[0]:8.2f} s: {peak / before[1]:.2f} and "
                line += f"{seconds / before[0]:.2f} times"
            elif args.against:
                line += "; before: does not fit into memory"
            print(line, flush=True)
        for (small, little), (large, much) in pairwise(peaks):
            slope = math.log(much / little) / math.log(large / small)
            print(f"{task:8}from {small} to {large} pixels memory grows with the side to the power of {slope:.2f}")


if __name__ == "__main__":
    main()
