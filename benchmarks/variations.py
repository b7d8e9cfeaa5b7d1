"""Twelve settings by one vary.py against one evaluation by test.py: whole processes, in turn.

    python -m benchmarks.variations --data-root ../Datasets_SSP --fold 0 --shot 5
    python -m benchmarks.variations ... --exact       also test.py under each setting: how far the numbers are apart

Both run the same episodes, some 14 for each image as in the real protocol, with the weights of --checkpoint or random
ones. Times are of processes from their start to their end, memory is the most that each held.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks.evaluation import SEEDS, network, plan
from benchmarks.timing import run_script
from engine.checkpoint import Checkpoint, save_checkpoint
from engine.options import OneLineParser, positive, whole
from util.launch import command

SWEEPS = {
    "fg_threshold and bg_mix": ("fg_threshold=0.5,0.6,0.7,0.8", "bg_mix=0.1,0.3,0.5"),
    "both thresholds": ("bg_threshold=0.5,0.55,0.6,0.65,0.7,0.8", "fg_threshold=0.6,0.7"),
    "the mixes": ("fg_mix=0.3,0.5,0.7", "final_mix=0.4,0.6,0.7,1"),
}


def write_weights(args: argparse.Namespace, path: Path) -> int:
    """A checkpoint that refines; returns the episodes of a seed, so that each image has as many as --per-image."""
    images, _, episodes = plan(args.data_root, args.fold, args.shot, args.per_image)
    state = network("resnet50", args.checkpoint, images).state_dict()
    save_checkpoint(path, Checkpoint(state, {"dataset": "pascal", "fold": args.fold, "refine": True}))
    return len(episodes) // SEEDS


def compare(args: argparse.Namespace, folder: Path) -> None:
    weights = folder / "w.ckpt"
    count = write_weights(args, weights)
    known = ["--data-root", args.data_root, "--checkpoint", str(weights), "--fold", str(args.fold)]
    known += ["--shot", str(args.shot), "--refine", "--episodes", str(count)]
    for name, sweep in SWEEPS.items():
        words = [word for values in sweep for word in ("--vary", values)]
        ratios, memory = [], 0.0
        for _ in range(args.rounds):
            one, _ = run_script("test.py", *known)
            many, held = run_script("vary.py", *known, *words, "--to", str(folder / "vary"))
            memory = max(memory, held)
            ratios.append(many / one)
            print(f"{name}: test.py {one:.1f} s, vary.py {many:.1f} s, {many / one:.2f} times", flush=True)
        records = json.loads((folder / "vary" / "records.json").read_text())
        print(f"{name}: {len(records)} settings, {median(ratios):.2f} times one evaluation, {memory:.2f} GB")
        if args.exact:
            print(f"{name}: largest difference to test.py {compare_numbers(records, known, folder):.1e} points of mIoU")


def compare_numbers(records: list[dict], known: list[str], folder: Path) -> float:
    """The largest difference of mIoU between the records and runs of test.py under each setting."""
    apart = []
    for record in records:
        words = [word for name, value in record["settings"].items() for word in ("--set", f"{name}={value}")]
        run_script("test.py", *known, *words, "--json", str(folder / "r.json"))
        alone = json.loads((folder / "r.json").read_text())
        apart.append(abs(alone["miou"] - record["miou"]))
    return max(apart)


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="VOC2012 or the folder that holds it")
    add("--fold", type=whole(0, 3), default=0)
    add("--shot", type=whole(1), default=5, help="(default %(default)s)")
    add("--checkpoint", metavar="FILE", help="trained weights instead of random ones")
    add("--per-image", type=positive, default=14, help="episodes for each distinct image (default %(default)s)")
    add("--rounds", type=whole(1), default=3, help="(default %(default)s)")
    add("--exact", action="store_true", help="also compare with an evaluation for each setting")
    args = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


if __name__ == "__main__":
    command(main)
