"""Where a run's files lie and what they say: weights, checkpoints, results (docs/method.md, sections 4 and 9)."""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from dataset import DATASETS, Episode, Fold
from dataset.coco import CLASS_ORDERS, INTERLEAVED
from engine.checkpoint import SUFFIX, Checkpoint, save_checkpoint, save_weights
from engine.training.state import Training
from util.errors import UserError
from util.files import atomic_write

EPISODES_FORMAT = "ssp-episodes-1"
PROTOCOLS = ("ssp", "hsnet")  # the paper's own, HSNet's
SAVED = ("dataset", "class_order", "fold", "shot", "protocol")  # what saved episodes belong to
CHOICES = ("protocol", "seed", "seeds", "episodes", "engine", "amp")  # of test.py that a result depends on
PLACES = ("data_root", "splits")
TRAINED = ("episode", "batch_size", "lr", "crop_size", "pretrained", "seed", "amp")  # of main.py
SETTING = ("dataset", "class_order", "fold", "shot", "backbone", "method", "refine")  # what a result belongs to


def run_folder(args: argparse.Namespace) -> Path:
    """OUT/models/DATASET/fold_K of settled flags; coco_interleaved for that order, and no fold_K for fss."""
    order = f"_{INTERLEAVED}" if args.class_order == INTERLEAVED else ""
    folder = Path(args.out) / "models" / f"{args.dataset}{order}"
    return folder if args.fold is None else folder / f"fold_{args.fold}"


def describe_setting(args: argparse.Namespace) -> str:
    """What is trained or tested on, for people: pascal fold 0; coco fold 2 (interleaved); fss."""
    fold = "" if args.fold is None else f" fold {args.fold}"
    return f"{args.dataset}{fold}{f' ({args.class_order})' if args.class_order else ''}"


def spans(classes: Sequence[int]) -> str:
    """Sorted class numbers, for people, runs of three and more as one: classes 1-5, 7, 8."""
    runs: list[list[int]] = []
    for cls in classes:
        if runs and cls == runs[-1][-1] + 1:
            runs[-1].append(cls)
        else:
            runs.append([cls])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"classes {', '.join(shown)}"


def run_name(args: argparse.Namespace) -> str:
    """The start of a run's file names; for SSP the one that the authors' release gives."""
    return f"{'baseline_' if args.method == 'baseline' else ''}{args.backbone}_{args.shot}shot"


def free_stem(stem: Path, own: Path | None = None) -> Path:
    """The stem, or with _2, _3 ... where files of an earlier run have it; one of this run's own is free.

    The state of a run that is not finished is no result of an earlier one.
    """

    def is_taken(x: Path) -> bool:
        return any(".last" not in path.suffixes for path in stem.parent.glob(f"{glob.escape(x.name)}.*"))

    candidates = (stem if number == 1 else stem.with_name(f"{stem.name}_{number}") for number in count(1))
    return next(x for x in candidates if x == own or not is_taken(x))


def setting(args: argparse.Namespace) -> dict[str, Any]:
    """The settled flags that name a result."""
    return {name: getattr(args, name) for name in SETTING}


def save_run(stem: Path, state: Mapping[str, Tensor], info: dict[str, Any], previous: Path | None) -> None:
    """Write STEM.pth and STEM.ckpt; only when both are whole remove this run's previous pair."""
    save_weights(f"{stem}.pth", state)
    save_checkpoint(f"{stem}{SUFFIX}", Checkpoint(dict(state), info))
    if previous is not None and previous != stem:
        for suffix in (".pth", SUFFIX):
            Path(f"{previous}{suffix}").unlink(missing_ok=True)


def save_best(training: Training, args: argparse.Namespace, fold: Fold, folder: Path, former: str = "") -> None:
    """Write the best weights, remove the former best ones of this run."""
    info = {
        **setting(args),
        "base_classes": fold.train.classes,
        "novel_classes": fold.test.classes,
        "base_names": fold.train.names(),
        "selection_names": fold.select.names(),
        "novel_names": fold.test.names(),
        "arguments": training.arguments,
        "miou": training.best_miou,
    }
    previous = folder / former if former else None
    save_run(folder / training.best_name, training.best_state, info, previous)


def restore_best(training: Training, args: argparse.Namespace, fold: Fold, folder: Path) -> None:
    """Write the best weights again where someone has removed them, or their folder."""
    stem = folder / training.best_name
    if not all(Path(f"{stem}{suffix}").is_file() for suffix in (".pth", SUFFIX)):
        print(f"note: {stem}{SUFFIX} had vanished, it is written again", file=sys.stderr)
        save_best(training, args, fold, folder)


def save_result(
    path: str | Path,
    args: argparse.Namespace,
    checkpoint: str | Path,
    episodes: int,
    result: Mapping[str, Any],
    trained: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> None:
    """Write an evaluation as JSON (the fields of docs/method.md, section 9; IoUs in percent), atomically.

    warnings: why it may mean nothing, such as test classes that were trained on; trained: main.py's flags, as far as
    they are known.
    """
    chosen = {
        "protocol": getattr(args, "protocol", "ssp"),
        "engine": args.engine,
        "amp": getattr(args, "amp", False) is True,
    }
    summary = {
        **setting(args), **chosen, "checkpoint": str(checkpoint), "episodes": episodes, "warnings": list(warnings),
        "trained_with": {name: trained[name] for name in TRAINED if name in trained},
        **result,
    }  # fmt: skip
    lists = re.compile(r"\[\n[-\d.,\s]+\]")  # of numbers; no string holds a bare line break
    text = lists.sub(lambda numbers: " ".join(numbers[0].split()), json.dumps(summary, indent=2))
    with atomic_write(path) as file:
        file.write(text.encode())


def result_path(folder: str | Path, args: argparse.Namespace, checkpoint: str | Path) -> Path:
    """Where test.py --results keeps a result: another file for whatever else could give another result.

    args: the settled flags of test.py.
    """
    places = {name: str(Path(value).resolve()) for name in PLACES if (value := getattr(args, name))}
    inputs = {**{name: getattr(args, name) for name in (*SETTING, *CHOICES)}, **places}
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for path in filter(None, (checkpoint, args.episodes_from)):
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    order = f"_{args.class_order}" if args.class_order else ""
    fold = "" if args.fold is None else f"_fold_{args.fold}"
    refine = "_refine" if args.refine else ""
    name = f"{args.dataset}{order}{fold}_{run_name(args)}{refine}_{args.protocol}_{digest.hexdigest()[:8]}.json"
    return Path(folder) / name


def save_episodes(path: str | Path, args: argparse.Namespace, plans: Mapping[int, Sequence[Episode]]) -> None:
    """Write the episodes of each seed, [QUERY, CLASS, [SUPPORT, ...]], as JSON, atomically."""
    content = {
        "format": EPISODES_FORMAT,
        **{name: getattr(args, name) for name in SAVED},
        "seeds": {seed: [list(episode) for episode in episodes] for seed, episodes in plans.items()},
    }
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def load_episodes(path: str | Path) -> dict[str, Any]:
    """What :func:`save_episodes` wrote, "plans" in place of "seeds". Raises UserError on any other file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {name: content[name] for name in SAVED}
        numbers = known["fold"] in (None, 0, 1, 2, 3) and isinstance(known["shot"], int)
        names = known["dataset"] in DATASETS and known["protocol"] in PROTOCOLS
        order = known["class_order"] in (CLASS_ORDERS if known["dataset"] == "coco" else (None,))
        if content["format"] != EPISODES_FORMAT or not (numbers and names and order):
            raise ValueError("unknown format")
        plans = {
            int(seed): [Episode(str(query), int(cls), tuple(map(str, supports))) for query, cls, supports in episodes]
            for seed, episodes in content["seeds"].items()
        }
        shots = {len(episode.supports) for episodes in plans.values() for episode in episodes}
        if shots != {known["shot"]} or not all(plans.values()):
            raise ValueError("shots")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a list of episodes that --save-episodes wrote") from error
    return {**known, "plans": plans}
