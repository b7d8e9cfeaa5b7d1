"""Evaluate a checkpoint on the novel classes of a fold.

    python test.py --data-root ../Datasets_SSP --checkpoint outdir/models/pascal/fold_0/resnet50_1shot_61.40.ckpt
    python test.py --data-root ../Datasets_SSP --checkpoint ... --protocol hsnet --splits ../hsnet/data/splits
    torchrun --nproc-per-node 4 test.py ...        the same result, the images shared among four processes

A .ckpt tells dataset, fold, shot, backbone, method and refinement; flags override all but backbone and
method. A plain state dict (.pth), such as the authors' release writes, tells method and backbone only.
Without --checkpoint the one in the run's own folder, OUT/models/DATASET/fold_K/, is taken.

The paper's own protocol (ssp) draws 1,000 episodes from each of five seeds and takes images at their own
size. HSNet's takes its lists' 1,000 episodes (FSS-1000: 2,400), 400x400, and refines only with --refine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset import (
    DATASETS,
    Episode,
    ImageSet,
    coco,
    hsnet,
    hsnet_classes,
    hsnet_list,
    open_listed,
    open_part,
    open_pool,
    plan_hsnet,
)
from dataset.coco import CONTIGUOUS, INTERLEAVED
from dataset.episodes import plan_from_pool
from engine.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, load_network
from engine.evaluation.estimate import cost, duration, unit_seconds
from engine.evaluation.evaluate import evaluate, result_table
from engine.evaluation.gallery import PICTURES, choose, write_gallery
from engine.options import make_parser, settle, whole
from engine.training.best import (
    PROTOCOLS,
    SAVED,
    describe_setting,
    load_episodes,
    result_path,
    run_folder,
    run_name,
    save_episodes,
    save_result,
)
from model import build_model
from util import distributed
from util.errors import UserError
from util.files import check_file, check_writable
from util.launch import command

WORTH_ESTIMATING = 2000  # in units of estimate.cost: half a minute on two cores, of ResNet-50 and VOC's images


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, Path, Checkpoint]:
    """The settled flags, the checkpoint's path and the checkpoint."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--checkpoint", metavar="PATH", help="weights, or a folder that holds exactly one")
    add("--out", default="outdir", metavar="DIR", help="main.py's folder, without --checkpoint (default %(default)s)")
    add("--protocol", choices=PROTOCOLS, help="the paper's own, or HSNet's (default ssp)")
    add("--episodes", type=whole(1), help="episodes of a seed (default the protocol's)")
    add("--save-episodes", metavar="FILE", help="write the episodes here, as JSON")
    add("--episodes-from", metavar="FILE", help="run the episodes of such a file instead of drawing them")
    add("--json", metavar="FILE", help="write the result here")
    add(
        "--results",
        metavar="DIR",
        help="write it here under a name of its own; one that is there is not computed again",
    )
    add("--visualize", metavar="DIR", help="draw best, worst and random episodes, with a page")
    add("--visualize-episodes", type=whole(3, 999), default=60, metavar="N", help="how many (default %(default)s)")
    add("--amp", action="store_true", help="the trunk in bfloat16, meant for CUDA; results differ slightly")
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
    settle_episodes(args, dict(checkpoint.info), path)
    if args.amp and args.engine == "plain":
        raise UserError("--amp belongs to --engine planned, the plain one is the reference")
    if args.engine == "plain" and distributed.launched():
        raise UserError("--engine plain, the reference, runs in one process; start it with python, not torchrun")
    for file in filter(None, (args.json, args.save_episodes)):
        check_file(file)
    if args.visualize:
        check_writable(Path(args.visualize) / PICTURES)
    if args.results:
        check_writable(args.results)
    return args, path, checkpoint


def settle_episodes(args: argparse.Namespace, known: dict[str, Any], path: Path) -> None:
    """Settle which episodes are run: those of a file, or of a dataset's fold in a protocol; known: the checkpoint's."""
    saved = load_episodes(args.episodes_from) if args.episodes_from else None
    for name in SAVED if saved else ():
        if getattr(args, name) not in (None, saved[name]):
            flag = name.replace("_", "-")
            raise UserError(f"{args.episodes_from}: its {flag} is {saved[name]}, not --{flag} {getattr(args, name)}")
        setattr(args, name, saved[name])
    args.plans = saved["plans"] if saved else None
    args.protocol = args.protocol or "ssp"
    dataset = args.dataset or known.get("dataset", "pascal")
    if dataset != known.get("dataset"):
        known = {name: value for name, value in known.items() if name not in ("fold", "class_order")}
    if args.protocol == "hsnet":
        known.pop("refine", None)
        if args.class_order == CONTIGUOUS:
            raise UserError("--class-order contiguous: HSNet's protocol tests interleaved folds; leave the flag out")
        args.class_order = INTERLEAVED if dataset == "coco" else args.class_order
        if not (args.splits or saved):
            raise UserError("--protocol hsnet needs --splits, the data/splits of an HSNet checkout")
    if dataset != "fss" and args.fold is None and known.get("fold") is None:
        raise UserError(f"{path}: does not say which fold of {dataset} to test; pass --fold")
    settle(args, known)


def plan(args: argparse.Namespace) -> tuple[ImageSet, Mapping[int, Sequence[Episode]], list[int]]:
    """The images, the episodes of each seed (saved, HSNet's, or drawn as the authors draw them), the test classes."""
    if args.plans or args.protocol == "hsnet":
        plans = args.plans or {0: plan_hsnet(args.dataset, args.splits, args.fold, args.shot)}
        plans = {seed: episodes[: args.episodes] for seed, episodes in plans.items()}
        everything = [episode for episodes in plans.values() for episode in episodes]
        if args.protocol == "hsnet":
            classes = hsnet_classes(args.dataset, args.fold, everything)
        else:
            classes = sorted({episode.cls for episode in everything})
        images = open_listed(args.dataset, args.data_root, everything)
        return images, plans, [cls for cls in classes if cls in images.class_names]
    part = open_part(args.dataset, args.data_root, "test", args.fold, args.class_order, args.splits)
    with distributed.first_process_first():
        pool = open_pool(part, args.shot, args.workers)
    episodes = args.episodes or DATASETS[args.dataset].EPISODES
    seeds = range(args.seed, args.seed + args.seeds)
    return part.images, {seed: plan_from_pool(pool, args.shot, seed, episodes) for seed in seeds}, part.classes


def warnings(
    args: argparse.Namespace, classes: Sequence[int], names: Mapping[int, str], checkpoint: Checkpoint, path: Path
) -> list[str]:
    """Why the result may mean nothing: test classes that were trained on, or chosen on, or may have been."""
    if args.plans is None and args.protocol == "hsnet":
        lists = hsnet_list(args.dataset, args.splits, args.fold)
        generated = [f"{lists} was {hsnet.GENERATED}: its episodes are not HSNet's"] * hsnet.is_generated(lists)
    else:
        generated = []

    def named(some: Sequence[int]) -> str:
        return ", ".join(f"{cls} {names.get(cls, '')}".strip() for cls in some)

    info = checkpoint.info
    if "base_classes" not in info:
        line = f"{path} does not say which classes it was trained on; make sure the test classes are not among them"
        if args.dataset == "coco":
            other = CONTIGUOUS if args.class_order == INTERLEAVED else INTERLEAVED
            seen = [cls for cls in classes if cls not in coco.novel_classes(args.fold, other)]
            line += f"; one trained on fold {args.fold} in {other} order has SEEN {len(seen)} of them: {named(seen)}"
        return [*generated, line]
    if info.get("dataset") != args.dataset:
        other = f"was trained on {info.get('dataset')}, whose classes may be among those of {args.dataset}"
        return [*generated, f"{path} {other}"]
    if args.dataset == "fss":  # another list gives other numbers
        trained, chosen = set(info.get("base_names", ())), set(info.get("selection_names", ()))
        seen = {"TRAINED on": [c for c in classes if names[c] in trained]}
        seen["CHOSEN on"] = [c for c in classes if names[c] in chosen]
    else:
        seen = {"TRAINED on": sorted(set(classes) & set(info["base_classes"]))}
    return [
        *generated,
        *(
            f"{path} was {how} {len(found)} of the {len(classes)} test classes: {named(found)}"
            for how, found in seen.items()
            if found
        ),
    ]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Evaluate as the flags say; returns the result of engine.evaluation.evaluate.evaluate."""
    args, path, checkpoint = parse(argv)
    device = distributed.start(args.device)
    kept = result_path(args.results, args, path) if args.results else None
    if kept and kept.is_file() and not (args.json or args.save_episodes or args.visualize):
        result = json.loads(kept.read_bytes())
        distributed.say(f"finished before: {kept}: mIoU {result['miou']:.4f}")
        distributed.finish()
        return result
    images, plans, classes = plan(args)
    net = build_model(args.method, args.backbone, args.refine)
    load_network(net, checkpoint.state_dict, path)
    net.to(device)
    hsnets = args.protocol == "hsnet"
    side = hsnet.SIDE if hsnets else None
    first = distributed.rank() == 0
    doubts = warnings(args, classes, images.class_names, checkpoint, path)
    for line in doubts:
        distributed.say(f"WARNING: {line}", sys.stderr)
    if args.save_episodes and first:
        save_episodes(args.save_episodes, args, plans)
    work = cost(plans, args.engine)
    if work > WORTH_ESTIMATING:
        unit = unit_seconds(net, images, next(iter(plans.values())), args.engine, side, args.amp)
        distributed.say(f"{sum(map(len, plans.values()))} episodes, about {duration(work * unit)}")

    result = evaluate(
        net,
        images,
        plans,
        classes=classes if hsnets else None,
        side=side,
        workers=args.workers,
        engine=args.engine,
        cache_gb=args.cache_gb,
        amp=args.amp,
    )
    if first:
        print(result_table(result, images.class_names))
        print(f"mIoU {result['miou']:.4f} (std {result['miou_std']:.2f}), FB-IoU {result['fb_iou']:.4f}: {path}")
        known = checkpoint.info.get("arguments", {})
        for file in filter(None, (args.json, kept)):
            save_result(file, args, path, len(next(iter(plans.values()))), result, known, doubts)
        if args.visualize:
            title = f"{path.name}, {describe_setting(args)}, {args.shot}-shot: mIoU {result['miou']:.2f}"
            shown = choose(plans, result, args.visualize_episodes)
            print(f"page: {write_gallery(Path(args.visualize), title, net, images, shown, args.workers, side)}")
    distributed.finish()
    return result


if __name__ == "__main__":
    command(main)
