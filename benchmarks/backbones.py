"""What the features of a backbone are worth: novel-class mIoU of its weights against random ones, frozen and trained.

    python -m benchmarks.backbones --data-root data/toy --backbone timm:tf_efficientnet_lite0 --pretrained lite0.pth

For each fold and seed it tests the frozen backbone (main.py --frozen --episode 0) with the baseline, SSP and SSP +
refine, and trains baseline and SSP + refine for 200 steps, from the weights and from random ones. A run that was
finished before is not done again.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from statistics import fmean, pstdev

import main as training
from dataset import FOLDS
from engine.options import OneLineParser
from util.launch import command

STEPS, BATCH = 200, 4
SETTING = ["--shot", "1", "--crop-size", "129", "--seeds", "1", "--batch-size", str(BATCH), "--workers", "0"]
FROZEN = ["--frozen", "--episode", "0"]
TRAINED = ["--episode", str(STEPS * BATCH), "--snapshot", str(STEPS * BATCH)]
WAYS = {  # the columns: what is run
    "baseline, frozen": [*FROZEN, "--method", "baseline"],
    "SSP, frozen": FROZEN,
    "SSP + refine, frozen": [*FROZEN, "--refine"],
    f"baseline, {STEPS} steps": [*TRAINED, "--method", "baseline"],
    f"SSP + refine, {STEPS} steps": [*TRAINED, "--refine"],
}


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR")
    add("--backbone", default="timm:tf_efficientnet_lite0")
    add("--pretrained", required=True, metavar="FILE", help="the backbone's weights, as of main.py")
    add("--folds", type=int, nargs="+", default=FOLDS)
    add("--seeds", type=int, default=3, help="of weights, training and episodes (default %(default)s)")
    add("--test-episodes", default="200", help="of a fold and seed (default %(default)s)")
    add("--out", default="outdir_backbones", metavar="DIR")
    args = parser.parse_args(argv)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    miou: dict[tuple[str, str, int], list[float]] = {}  # by weights, way and fold, of each seed
    for seed, fold, (way, flags), (name, file) in product(
        range(args.seeds), args.folds, WAYS.items(), {"its weights": args.pretrained, "random": "none"}.items()
    ):
        home = out / f"{name} {way} {seed}".replace(" ", "_").replace(",", "")
        where = ["--data-root", args.data_root, "--backbone", args.backbone, "--fold", str(fold), "--seed", str(seed)]
        how = ["--pretrained", file, "--out", str(home), "--test-episodes", args.test_episodes, "--resume"]
        best = training.main([*SETTING, *where, *how, *flags])
        miou.setdefault((name, way, fold), []).append(json.loads(best.with_suffix(".json").read_text())["miou"])

    print(f"\n| {args.backbone} | {' | '.join(WAYS)} |\n| :-- {'| --: ' * len(WAYS)}|")
    for name in ("its weights", "random"):
        for fold in args.folds:
            cells = (miou[name, way, fold] for way in WAYS)
            print(f"| {name}, fold {fold} | {' | '.join(f'{fmean(x):.1f} ±{pstdev(x):.1f}' for x in cells)} |")
        folds = ([miou[name, way, fold] for fold in args.folds] for way in WAYS)
        means = ([fmean(seed) for seed in zip(*found, strict=True)] for found in folds)
        print(f"| {name}, mean | {' | '.join(f'{fmean(x):.1f} ±{pstdev(x):.1f}' for x in means)} |")


if __name__ == "__main__":
    command(main)
