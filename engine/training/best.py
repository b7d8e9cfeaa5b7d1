"""The best weights of a training run: as a plain state dict, and as a checkpoint that knows its training."""

from __future__ import annotations

import glob
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset import Fold
from engine.checkpoint import Checkpoint, save_checkpoint, save_weights
from engine.setting import SUFFIX, Setting
from engine.training.state import Training
from util.distributed import say

if TYPE_CHECKING:
    from torch import Tensor


def free_stem(stem: Path, own: Path | None = None) -> Path:
    """The stem, with _2, _3 ... if files of an earlier run have it. ``own``, a stem of this run, counts as free.

    The state of a run that is not finished does not count as a file of an earlier run.
    """

    def is_taken(x: Path) -> bool:
        return any(".last" not in path.suffixes for path in stem.parent.glob(f"{glob.escape(x.name)}.*"))

    candidates = (stem if number == 1 else stem.with_name(f"{stem.name}_{number}") for number in count(1))
    return next(x for x in candidates if x == own or not is_taken(x))


def suffixes(setting: Setting) -> tuple[str, ...]:
    """Of the files of weights: a plain state dict, as the release has, is that of one of the paper's networks."""
    return (".pth", SUFFIX) if setting.is_papers else (SUFFIX,)


def save_run(
    stem: Path, setting: Setting, state: Mapping[str, Tensor], info: dict[str, Any], previous: Path | None
) -> None:
    """Write STEM.ckpt, and STEM.pth of one of the paper's networks; then remove the previous ones of this run.

    Arguments:
        stem: of the files.
        setting: what was trained.
        state: the weights.
        info: what the checkpoint says of its training.
        previous: the stem of the former files, None if there are none.
    """
    if setting.is_papers:
        save_weights(f"{stem}.pth", state)
    save_checkpoint(f"{stem}{SUFFIX}", Checkpoint(dict(state), info))
    if previous is not None and previous != stem:
        for suffix in suffixes(setting):
            Path(f"{previous}{suffix}").unlink(missing_ok=True)


def save_best(training: Training, setting: Setting, fold: Fold, folder: Path) -> None:
    """Write the best weights, then remove the former best ones of this run.

    Arguments:
        training: holds the weights, their mIoU, their name and that of the former ones.
        setting, fold: what the weights were trained on.
        folder: of the run.
    """
    previous = folder / training.former if training.former else None
    info = training_info(training, setting, fold)
    save_run(folder / training.best_name, setting, training.best_state, info, previous)
    training.former = ""


def training_info(training: Training, setting: Setting, fold: Fold) -> dict[str, Any]:
    """What a checkpoint says of its training. Arguments as save_best's."""
    return {
        **setting.as_dict(),
        "base_classes": fold.train.classes,
        "novel_classes": fold.test.classes,
        "base_names": fold.train.names(),
        "selection_names": fold.val.names(),
        "novel_names": fold.test.names(),
        "data": fold.train.provenance and fold.train.provenance._asdict(),
        "arguments": training.arguments,
        "miou": training.best_miou,
    }


def restore_best(training: Training, setting: Setting, fold: Fold, folder: Path) -> None:
    """Write the best weights again if someone has removed them, or their folder, or if a kill came in between.

    Arguments as save_best's.
    """
    stem = folder / training.best_name
    are_there = all(Path(f"{stem}{suffix}").is_file() for suffix in suffixes(setting))
    if not are_there and not training.former:
        say(f"note: {stem}{SUFFIX} had vanished, it is written again", file=sys.stderr)
    if training.former or not are_there:
        save_best(training, setting, fold, folder)
