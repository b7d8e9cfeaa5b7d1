"""Evaluate a checkpoint on the novel classes of a fold.

    python test.py --data-root ../Datasets_SSP --checkpoint outdir/models/pascal/fold_0/resnet50_1shot_61.40.ckpt
    python test.py --data-root ../Datasets_SSP --checkpoint ... --protocol hsnet --splits ../hsnet/data/splits
    torchrun --nproc-per-node 4 test.py ...        the same result, the images shared among four processes

A .ckpt holds its dataset, fold, shot, backbone, method and refinement; flags override all but backbone and
method. Custom code (FILE.py:CLASS) runs only if --backbone or --method names it. A plain state dict (.pth), such
as the authors' release writes, tells only method and backbone.
Without --checkpoint the program takes the checkpoint in the run's own folder, OUT/models/DATASET/fold_K/; --tag says
of which run. A checkpoint is tested with the settings that it was trained with; --set and --without change them.

The paper's own protocol (ssp) draws 1,000 episodes (COCO: 4,000) for each of five seeds and keeps the size of
images. HSNet's protocol takes 1,000 episodes (FSS-1000: 2,400) from HSNet's lists, resizes images to 400x400, and
refines only with --refine.
"""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any, NamedTuple

import util.launch
from dataset import DATASETS, Benchmark
from dataset.own import Own
from dataset.provenance import label_of
from engine.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, load_network
from engine.custom import build_network, code_files, method_digest, resolve_network
from engine.evaluation.evaluation_set import (
    EpisodesWanted,
    EvaluationSet,
    describe_evaluation,
    describe_missing_classes,
    open_evaluation_set,
    unshown_warnings,
)
from engine.evaluation.protocol import (
    EPISODES_MARK,
    HSNET,
    PAPER,
    PROTOCOLS,
    EvaluationOptions,
    Protocol,
    SavedEpisodes,
    load_episodes,
    save_episodes,
)
from engine.evaluation.result import RESULT_MARK, EvaluationResult, finished_result, result_path
from engine.evaluation.training_provenance import leakage_warnings, state_training
from engine.options import (
    add_settings,
    add_tag,
    check_engine,
    default_device,
    make_parser,
    parse_flags,
    resolve_setting,
    whole,
)
from engine.setting import SUFFIX, Setting
from engine.variation import check_training_alone, given_settings
from util import distributed
from util.errors import UserError
from util.files import OutputFile, check_outputs, check_writable


class Evaluation(NamedTuple):
    """What is to be tested: the weights, what on, how, and with which episodes."""

    path: Path  # the file of the weights
    checkpoint: Checkpoint
    setting: Setting
    protocol: Protocol
    wanted: EpisodesWanted


def parse(argv: list[str] | None) -> Any:
    """Parse the flags into a frozen record; None: not given."""
    parser = make_parser(__doc__, "the checkpoint's, else ")
    add = parser.add_argument
    add("--checkpoint", metavar="PATH", help="weights, or a folder that holds exactly one")
    add("--trained-on", metavar="FOLD", help="what a .pth was trained on: 0 (pascal), contiguous:0 (coco), fss")
    add("--out", default="outdir", metavar="DIR", help="main.py's folder (default %(default)s)")
    add("--protocol", choices=tuple(PROTOCOLS), help="the paper's own, or HSNet's (default ssp)")
    add("--episodes", type=whole(1), help="episodes of a seed (default the protocol's)")
    add("--save-episodes", metavar="FILE", help="write the episodes here, as JSON")
    add("--episodes-from", metavar="FILE", help="run the episodes of a file that --save-episodes wrote")
    add("--json", metavar="FILE", help="write the result here")
    add("--results", metavar="DIR", help="keep results in this folder; one that is there is not computed again")
    add("--visualize", metavar="DIR", help="draw the best, the worst and random episodes on a page")
    which = (
        "drawn episodes: how many (default %(default)s), or which: SEED:NUMBER,... as report.py --compare names them"
    )
    add("--visualize-episodes", type=drawn_episodes, default=60, metavar="N", help=which)
    add("--amp", action="store_true", help="run the backbone in bfloat16, meant for CUDA; results differ slightly")
    add_settings(parser, "the checkpoint's, else ")
    add_tag(parser, "the checkpoint's, else ")
    parser.set_defaults(seed=None, seeds=None)  # saved episodes have seeds of their own
    flags = parse_flags(parser, argv)
    check_training_alone(given_settings(flags.set, flags.without))
    if flags.amp and flags.engine == "plain":
        raise UserError("--amp belongs to --engine planned, the plain one is the reference")
    check_engine(flags.engine)
    return flags


def drawn_episodes(text: str) -> int | list[tuple[int, int]]:
    """An argparse type: how many episodes are drawn, or the seed and number of each, 0:17,3:250."""
    if ":" not in text:
        return whole(3, 999)(text)
    named = [tuple(map(whole(0, 2**32 - 1), pair.split(":"))) for pair in text.split(",")]
    if len(named) > 999 or any(len(pair) != 2 for pair in named):
        raise ArgumentTypeError(f"{text!r:.40} is not a number, or SEED:NUMBER of at most 999 episodes, as 0:17,3:250")
    return list(dict.fromkeys(named))


def open_evaluation(flags: Any) -> Evaluation:
    """Open the weights, and settle what they are tested on. Raises UserError if flags, weights and files do not fit."""
    saved = load_episodes(flags.episodes_from) if flags.episodes_from else None
    seeds = range(flags.seed or 0, (flags.seed or 0) + (flags.seeds or PAPER.seeds))
    if saved and (flags.seed, flags.seeds) != (None, None) and [*saved.plans] != [*seeds]:
        has = ", ".join(map(str, saved.plans))
        raise UserError(f"{flags.episodes_from}: its seeds are {has}; leave --seed and --seeds out")
    flags = take_saved(flags, saved) if saved else flags
    protocol = PROTOCOLS[flags.protocol or PAPER.name]
    given = {name: getattr(flags, name) for name in (*Setting().as_dict(), "tag")}
    if flags.checkpoint:
        path = find_checkpoint(flags.checkpoint)
    else:
        run = resolve_setting(given, protocol=protocol, root=flags.data_root)
        path = find_checkpoint(run.folder(flags.out), f"{run.name}_*")  # --set does not choose the run
    DATASETS.get(flags.dataset, Benchmark)(flags.data_root)  # a folder that is missing is met here
    checkpoint = load_checkpoint(path)
    if flags.trained_on:
        info = state_training(
            checkpoint.info, flags.trained_on, path, flags.dataset, root=flags.data_root, hsnet_lists=flags.splits
        )
        checkpoint = checkpoint._replace(info=info)
    info = checkpoint.info
    settings = {"settings": given_settings(flags.set, flags.without)}
    setting = resolve_setting(given | resolve_network(path, info, given) | settings, info, protocol, flags.data_root)
    if protocol == HSNET and not (flags.splits or saved or setting.dataset == Own.name):
        raise UserError("--protocol hsnet needs --splits, the data/splits of an HSNet checkout or of prepare.py splits")
    tells_fold = info.get("dataset") == setting.dataset and info.get("fold") is not None
    if setting.fold is not None and given["fold"] is None and not tells_fold:
        raise UserError(f"{path}: does not say which fold of {setting.dataset} to test; pass --fold, or --trained-on")
    check_places(flags, path)
    return Evaluation(path, checkpoint, setting, protocol, wanted=EpisodesWanted(seeds, flags.episodes, saved))


def take_saved(flags: Any, saved: SavedEpisodes) -> Any:
    """The flags, with what saved episodes belong to. Raises UserError if other flags were given."""
    known = {name: getattr(saved, name) for name in ("dataset", "class_order", "fold", "shot", "protocol")}
    for name, value in known.items():
        if (given := getattr(flags, name)) not in (None, value):
            flag = name.replace("_", "-")
            raise UserError(f"{flags.episodes_from}: its {flag} is {value}, not --{flag} {given}")
    return flags._replace(**known)


def check_places(flags: Any, path: Path) -> None:
    """Raise UserError if what is to be written cannot be, or is what is read, such as the weights at ``path``."""
    from engine.evaluation.gallery import INDEX, PAGE_MARK  # which needs torch, as the weights did

    outputs = {
        "--json": OutputFile(flags.json, RESULT_MARK),
        "--save-episodes": OutputFile(flags.save_episodes, EPISODES_MARK),
        "--visualize": OutputFile(flags.visualize and Path(flags.visualize, INDEX), PAGE_MARK),
    }
    check_outputs(outputs, [path, path.with_suffix(".pth"), path.with_suffix(SUFFIX), flags.episodes_from])
    for folder in filter(None, (flags.visualize, flags.results)):
        check_writable(folder)


def kept_result(flags: Any, evaluation: Evaluation) -> Path | None:
    """Where --results keeps the result of these flags and weights, and of this code."""
    if not flags.results:
        return None
    path, _, setting, protocol, wanted = evaluation
    choices = {"seed": wanted.seeds[0], "seeds": len(wanted.seeds), "episodes": wanted.episodes}
    choices |= {"engine": flags.engine, "amp": flags.amp, "code": method_digest()}
    choices |= {"trained_on": flags.trained_on} if flags.trained_on else {}
    choices |= {name: value for name, value in setting.added().items() if value}
    choices |= {name: str(Path(x).resolve()) for name in ("data_root", "splits") if (x := getattr(flags, name))}
    files = [path, *filter(None, [flags.episodes_from]), *code_files(setting.method, setting.backbone)]
    return result_path(flags.results, setting, protocol, choices, files=files)


def find_warnings(evaluation: Evaluation, tested: EvaluationSet, hsnet_lists: str | None) -> list[str]:
    """Why the numbers may mean nothing: what the weights were trained on, and masks that do not fit saved episodes."""
    path, checkpoint, setting, protocol, wanted = evaluation
    lists = hsnet_lists if protocol == HSNET and wanted.saved is None else None
    names = tested.images.class_names
    warnings = leakage_warnings(setting, tested.classes, names, checkpoint.info, path=path, hsnet_lists=lists)
    return warnings + (unshown_warnings(wanted.saved, tested) if wanted.saved else [])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Evaluate as the flags say; returns what engine.evaluation.evaluate measured."""
    flags = parse(argv)
    evaluation = open_evaluation(flags)
    with distributed.joined(flags.device or default_device()) as device:
        return test(flags._replace(device=device), evaluation)


def test(flags: Any, evaluation: Evaluation) -> dict[str, Any]:
    """Plan the episodes of all seeds, segment them, print and write the result."""
    # Here, so that --help and wrong flags need not wait for torch.
    from engine.evaluation.estimate import describe_duration
    from engine.evaluation.evaluate import evaluate, result_table, summary
    from engine.evaluation.gallery import choose, find_episodes, headline, show_named, write_gallery

    path, checkpoint, setting, protocol, wanted = evaluation
    options = EvaluationOptions(flags.workers, flags.engine, flags.cache_gb, flags.amp)
    kept = kept_result(flags, evaluation)
    if kept and not (flags.json or flags.save_episodes or flags.visualize) and (result := finished_result(kept)):
        distributed.say(f"finished before: {kept}: mIoU {result.miou:.4f}")
        return result.measured

    # The episodes are known before the first image is opened (docs/method.md, section 5).
    tested = open_evaluation_set(
        setting, protocol, wanted, flags.data_root, hsnet_lists=flags.splits, workers=flags.workers
    )
    images, plans, classes, data, _ = tested
    drawn = flags.visualize_episodes
    if isinstance(drawn, list):
        find_episodes(plans, drawn)  # told now if one is not there, not after the evaluation
    lines = describe_evaluation(setting, protocol, tested, checkpoint.info, path=path, source=flags.episodes_from)
    distributed.say(*lines, *describe_missing_classes(tested, protocol))
    net = build_network(setting.method, setting.backbone, setting.refine)
    net.matching = setting.variation.change(net.matching)
    load_network(net, checkpoint.state_dict, path)
    net.to(flags.device)
    warnings = find_warnings(evaluation, tested, flags.splits)
    for line in warnings:
        distributed.say(f"WARNING: {line}", file=sys.stderr)
    if flags.save_episodes and distributed.rank() == 0:
        save_episodes(flags.save_episodes, setting, protocol, plans, data=data)
    distributed.say(*describe_duration(net, images, plans, protocol, options=options))

    # Each image passes the backbone once, then each query is matched with all its episodes (sections 3, 6 and 8).
    measured = evaluate(net, images, plans, protocol, classes=classes, options=options)
    result = EvaluationResult(
        setting, protocol, measured, str(path), episodes=len(next(iter(plans.values()))), training=checkpoint.info,
        engine=flags.engine, amp=flags.amp, warnings=warnings, data=data, missing_classes=tested.missing,
        episodes_from=flags.episodes_from,
    )  # fmt: skip
    for file in filter(None, (flags.json, kept) if distributed.rank() == 0 else ()):
        result.write(file)
    distributed.say(*result_table(measured, images.class_names, classes).splitlines())
    distributed.say(f"{summary(measured)}: {path}")
    if flags.visualize and distributed.rank() == 0:
        shown = (show_named if isinstance(drawn, list) else choose)(plans, measured, drawn)
        what = ", ".join(filter(None, (path.name, label_of(data))))
        title = f"{what}: {headline(setting, protocol, plans, measured)}"
        page = write_gallery(Path(flags.visualize), title, net, images, shown=shown, protocol=protocol)
        distributed.say(f"page: {page}")
    return measured


if __name__ == "__main__":
    util.launch.command(main)
