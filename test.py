"""Evaluate a checkpoint on the novel classes of a fold, on five seeds.

    python test.py --data-root ../Datasets_SSP --checkpoint outdir/models/pascal/fold_0/resnet50_1shot_61.40.ckpt

A .ckpt tells dataset, fold, shot, backbone, method and refinement; flags override all but backbone and
method. A plain state dict (.pth), such as the authors' release writes, tells method and backbone only.
Without --checkpoint the one in the run's own folder, OUT/models/DATASET/fold_K/, is taken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dataset import Fold, class_index, open_fold
from dataset.episodes import check_pool, make_pool
from model import build_model
from model.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, load_strict
from util.errors import UserError, command
from util.evaluation import evaluate, result_table
from util.files import check_writable
from util.options import make_parser, settle, whole
from util.runs import run_folder, run_name, save_result


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, Path, Checkpoint]:
    """The settled flags, the checkpoint's path and the checkpoint."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", metavar="PATH", help="weights, or a folder that holds exactly one")
    add("--out", default="outdir", metavar="DIR", help="main.py's folder, without --checkpoint (default %(default)s)")
    add("--episodes", type=whole(1), help="episodes of a seed (default the protocol's)")
    add("--json", metavar="FILE", help="write the result here")
    args = parser.parse_args(argv)
    if args.checkpoint:
        path = find_checkpoint(args.checkpoint)
    else:
        wanted = argparse.Namespace(**vars(args))
        settle(wanted)
        path = find_checkpoint(run_folder(wanted), f"{run_name(wanted)}_*")
    checkpoint = load_checkpoint(path)
    for name in ("method", "backbone"):
        given, found = getattr(args, name), checkpoint.info[name]
        if given not in (None, found):
            raise UserError(f"{path}: holds a {found} network, not --{name} {given}; leave the flag out")
    if args.fold is None and "fold" not in checkpoint.info:
        raise UserError(f"{path}: a plain state dict does not say its fold; pass --fold")
    settle(args, checkpoint.info)
    if args.json:
        check_writable(Path(args.json).parent)
    return args, path, checkpoint


def warn_if_trained_on(fold: Fold, checkpoint: Checkpoint, path: Path) -> None:
    """Few-shot results mean nothing on classes that were trained on."""
    if "base_classes" not in checkpoint.info:
        unknown = "does not say which classes it was trained on; make sure this fold's are not among them"
        print(f"WARNING: {path} {unknown}", file=sys.stderr)
        return
    seen = sorted(set(fold.novel_classes) & set(checkpoint.info["base_classes"]))
    if seen:
        names = ", ".join(f"{cls} {fold.test.class_names[cls]}" for cls in seen)
        print(f"WARNING: {path} was TRAINED on {len(seen)} of the test classes: {names}", file=sys.stderr)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Evaluate as the flags say; returns the result of util.evaluation.evaluate."""
    args, path, checkpoint = parse(argv)
    fold = open_fold(args.dataset, args.data_root, args.fold)
    index = class_index(fold.test, args.workers)
    check_pool(make_pool(index, fold.novel_classes), args.shot, fold.test.name, fold.test.class_names)
    net = build_model(args.method, args.backbone, args.refine)
    load_strict(net, checkpoint.state_dict, path)
    net.to(args.device)
    warn_if_trained_on(fold, checkpoint, path)

    seeds = list(range(args.seed, args.seed + args.seeds))
    episodes = args.episodes or fold.test_episodes
    result = evaluate(
        net, fold.test, index, fold.novel_classes, args.shot, seeds, episodes, args.workers, args.engine, args.cache_gb
    )
    print(result_table(result, fold.test.class_names))
    print(f"mIoU {result['miou']:.4f} (std {result['miou_std']:.2f}), FB-IoU {result['fb_iou']:.4f}: {path}")
    if args.json:
        save_result(args.json, args, path, episodes, result)
    return result


if __name__ == "__main__":
    command(main)
