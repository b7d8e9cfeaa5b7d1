"""Evaluate a checkpoint on the novel classes of a fold.

    python test.py --data-root ../Datasets_SSP --checkpoint outdir/models/pascal/fold_0/resnet50_1shot_61.40.ckpt
    python test.py --data-root ../Datasets_SSP --checkpoint ... --protocol hsnet --splits ../hsnet/data/splits
    torchrun --nproc-per-node 4 test.py ...        the same result, the images shared among four processes

A .ckpt holds its dataset, fold, shot, backbone, method and refinement; flags override all but backbone and
method. Custom code (FILE.py:CLASS) runs only if --backbone or --method names it. A plain state dict (.pth), such
as the authors' release writes, tells only method and backbone.
Without --checkpoint the program takes the checkpoint in the run's own folder, OUT/models/DATASET/fold_K/.

The paper's own protocol (ssp) draws 1,000 episodes (COCO: 4,000) for each of five seeds and keeps the size of
images. HSNet's protocol takes 1,000 episodes (FSS-1000: 2,400) from HSNet's lists, resizes images to 400x400, and
refines only with --refine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import util.launch
from dataset import DATASETS, Benchmark
from dataset.provenance import label_of
from engine.checkpoint import Checkpoint, find_checkpoint, load_network
from engine.custom import build_network, code_files, resolve_network
from engine.evaluation.evaluation_set import describe_evaluation, describe_missing_classes, open_evaluation_set
from engine.evaluation.protocol import HSNET, PAPER, PROTOCOLS, SAVED, leakage_warnings, load_episodes, save_episodes
from engine.evaluation.result import finished_result, result_path, save_result
from engine.evaluation.training_provenance import state_training
from engine.options import EPISODES, check_engine, default_device, make_parser, resolve_setting, whole
from engine.setting import SUFFIX, Setting
from tables.authors import load_known
from util import distributed
from util.errors import UserError
from util.files import check_apart, check_file, check_writable
from util.interrupts import interrupts


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, Path, Checkpoint]:
    """The settled flags, the checkpoint's path and the checkpoint."""
    parser = make_parser(__doc__, "the checkpoint's, else ")
    add = parser.add_argument
    add("--checkpoint", metavar="PATH", help="weights, or a folder that holds exactly one")
    add("--trained-on", metavar="FOLD", help="what a .pth was trained on: 0 (pascal), contiguous:0 (coco), fss")
    add("--out", default="outdir", metavar="DIR", help="main.py's folder (default %(default)s)")
    add("--protocol", choices=tuple(PROTOCOLS), help="the paper's own, or HSNet's (default ssp)")
    add("--episodes", type=EPISODES, help="episodes of a seed (default the protocol's)")
    add("--save-episodes", metavar="FILE", help="write the episodes here, as JSON")
    add("--episodes-from", metavar="FILE", help="run the episodes of a file that --save-episodes wrote")
    add("--json", metavar="FILE", help="write the result here")
    add("--results", metavar="DIR", help="keep results in this folder; one that is there is not computed again")
    add("--visualize", metavar="DIR", help="draw the best, the worst and random episodes on a page")
    add("--visualize-episodes", type=whole(3, 999), default=60, metavar="N", help="drawn episodes (default 60)")
    add("--amp", action="store_true", help="run the backbone in bfloat16, meant for CUDA; results differ slightly")
    parser.set_defaults(seed=None, seeds=None)  # which saved episodes have of their own
    args = parser.parse_args(argv)
    take_saved(args)
    if args.protocol == HSNET.name and args.dataset:
        args.class_order = args.class_order or DATASETS[args.dataset].hsnet_order
    if args.checkpoint:
        path = find_checkpoint(args.checkpoint)
    else:
        run = resolve_setting(vars(args))
        path = find_checkpoint(run.folder(args.out), f"{run.name}_*")
    DATASETS.get(args.dataset, Benchmark)(args.data_root)  # a folder that is missing is met here
    checkpoint = load_known(path)
    if args.trained_on:
        known = state_training(checkpoint.info, args.trained_on, path, args.dataset, args.data_root, args.splits)
        checkpoint = checkpoint._replace(info=known)
    vars(args).update(resolve_network(path, checkpoint.info, vars(args)))
    resolve_episodes(args, dict(checkpoint.info), path)
    if args.amp and args.engine == "plain":
        raise UserError("--amp belongs to --engine planned, the plain one is the reference")
    check_engine(args.engine)
    outputs = {"--json": args.json, "--save-episodes": args.save_episodes}
    check_apart(outputs, [path, path.with_suffix(".pth"), path.with_suffix(SUFFIX), args.episodes_from])
    for file in filter(None, outputs.values()):
        check_file(file)
    from engine.evaluation.gallery import PICTURES

    for folder in filter(None, (args.visualize and Path(args.visualize) / PICTURES, args.results)):
        check_writable(folder)
    return args, path, checkpoint


def take_saved(args: argparse.Namespace) -> None:
    """Take the episodes of --episodes-from, and what they belong to."""
    saved = load_episodes(args.episodes_from) if args.episodes_from else None
    is_given = (args.seed, args.seeds) != (None, None)
    args.seed, args.seeds = args.seed or 0, args.seeds or PAPER.seeds
    if saved and is_given and [*saved["plans"]] != [*range(args.seed, args.seed + args.seeds)]:
        has = ", ".join(map(str, saved["plans"]))
        raise UserError(f"{args.episodes_from}: its seeds are {has}; leave --seed and --seeds out")
    for name in SAVED if saved else ():
        if getattr(args, name) not in (None, saved[name]):
            flag = name.replace("_", "-")
            raise UserError(f"{args.episodes_from}: its {flag} is {saved[name]}, not --{flag} {getattr(args, name)}")
        setattr(args, name, saved[name])
    args.saved = saved
    args.protocol = args.protocol or PAPER.name


def resolve_episodes(args: argparse.Namespace, known: dict[str, Any], path: Path) -> None:
    """Settle the dataset, fold, shot and refinement; known: what the checkpoint at ``path`` says of itself."""
    benchmark = DATASETS[args.dataset or known.get("dataset", "pascal")]
    if known.get("dataset") != benchmark.name:
        known = {name: value for name, value in known.items() if name not in ("fold", "class_order")}
    if args.protocol == HSNET.name:
        known.pop("refine", None)  # the release does not refine in this protocol
        if args.class_order not in (None, benchmark.hsnet_order) and args.class_order in benchmark.class_orders:
            raise UserError(f"--class-order: HSNet's protocol tests {benchmark.hsnet_order} folds; leave the flag out")
        args.class_order = args.class_order or benchmark.hsnet_order
        if not (args.splits or args.saved):
            raise UserError(
                "--protocol hsnet needs --splits, the data/splits of an HSNet checkout or of prepare.py splits"
            )
    if benchmark.folds[0] is not None and args.fold is None and known.get("fold") is None:
        raise UserError(f"{path}: does not say which fold of {benchmark.name} to test; pass --fold, or --trained-on")
    vars(args).update(resolve_setting(vars(args), known).as_dict())


def kept_result(args: argparse.Namespace, path: Path) -> Path | None:
    """Where --results keeps the result of these flags and weights."""
    if not args.results:
        return None
    choices = {name: getattr(args, name) for name in ("seed", "seeds", "episodes", "engine", "amp")}
    choices |= {"trained_on": args.trained_on} if args.trained_on else {}
    choices |= {name: str(Path(x).resolve()) for name in ("data_root", "splits") if (x := getattr(args, name))}
    files = [path, *filter(None, [args.episodes_from]), *code_files(args.method, args.backbone)]
    return result_path(args.results, Setting.of(vars(args)), PROTOCOLS[args.protocol], choices, files)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Evaluate as the flags say; returns the result of engine.evaluation.evaluate."""
    args, path, checkpoint = parse(argv)
    with interrupts(), distributed.joined(args.device or default_device()) as args.device:
        return test(args, path, checkpoint)


def test(args: argparse.Namespace, path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Plan the episodes of all seeds, segment them, print and write the result."""
    # Here, so that --help and wrong flags need not wait for torch.
    from engine.evaluation.estimate import LONG, cost, duration, unit_seconds
    from engine.evaluation.evaluate import evaluate, result_table, summary
    from engine.evaluation.gallery import choose, headline, write_gallery

    setting, protocol = Setting.of(vars(args)), PROTOCOLS[args.protocol]
    kept = kept_result(args, path)
    if kept and not (args.json or args.save_episodes or args.visualize) and (result := finished_result(kept)):
        distributed.say(f"finished before: {kept}: mIoU {result['miou']:.4f}")
        return result

    # The episodes are known before the first image is opened (docs/method.md, section 5).
    seeds = range(args.seed, args.seed + args.seeds)
    what = setting, protocol, args.data_root, args.splits
    tested = open_evaluation_set(*what, seeds, args.episodes, args.saved, args.workers)
    images, plans, classes, data = tested
    distributed.say(*describe_evaluation(setting, protocol, tested, checkpoint.info, path, args.episodes_from))
    distributed.say(*describe_missing_classes(tested, protocol))
    net = build_network(setting.method, setting.backbone, setting.refine)
    load_network(net, checkpoint.state_dict, path)
    net.to(args.device)
    splits = args.splits if protocol == HSNET and args.saved is None else None
    doubts = leakage_warnings(setting, classes, images.class_names, checkpoint.info, path, splits)
    for line in doubts:
        distributed.say(f"WARNING: {line}", file=sys.stderr)
    if args.save_episodes and distributed.rank() == 0:
        save_episodes(args.save_episodes, setting, protocol, plans, data)
    work = cost(plans, args.engine)
    if work > LONG:
        unit = unit_seconds(net, images, next(iter(plans.values())), args.engine, protocol, args.amp)
        distributed.say(f"{sum(map(len, plans.values()))} episodes, about {duration(work * unit)}")

    # Each image passes the backbone once, then each query is matched with all its episodes (sections 3, 6 and 8).
    how = {"engine": args.engine, "amp": args.amp}
    result = evaluate(net, images, plans, protocol, classes, args.workers, cache_gb=args.cache_gb, **how)
    if distributed.rank() == 0:
        about = setting, result, path, len(next(iter(plans.values()))), checkpoint.info, protocol
        known = {"data": data, "missing": tested.missing, "episodes_from": args.episodes_from}
        for file in filter(None, (args.json, kept)):
            save_result(file, *about, warnings=doubts, **known, **how)
    distributed.say(*result_table(result, images.class_names, classes).splitlines())
    distributed.say(f"{summary(result)}: {path}")
    if args.visualize and distributed.rank() == 0:
        what = ", ".join(filter(None, (path.name, label_of(data))))
        title = f"{what}: {headline(setting, protocol, plans, result)}"
        shown = choose(plans, result, args.visualize_episodes)
        page = write_gallery(Path(args.visualize), title, net, images, shown, args.workers, protocol)
        distributed.say(f"page: {page}")
    return result


if __name__ == "__main__":
    util.launch.command(main)
