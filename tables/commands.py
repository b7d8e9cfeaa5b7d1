"""The commands that measure a cell of the published tables: a training, a test; script and flags, word by word."""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path

from engine.evaluation.protocol import HSNET, PAPER, Protocol
from engine.evaluation.result import EvaluationResult
from engine.setting import RELEASED_ORDER, SUFFIX, Setting
from engine.training.state import load_training
from model import BACKBONES
from tables.tables import data_of, is_other, weights_of
from util.errors import UserError

UNREFINED = "unrefined"  # folder in --out for SSP trained without refinement, whose files have the same names as with


def training_setting(setting: Setting, fold: int | None, protocol: Protocol) -> Setting:
    """What the training for a cell is about; for HSNet's protocol SSP is trained with refinement too."""
    refine = setting.method == "ssp" and (setting.refine or protocol == HSNET)
    return replace(setting, fold=fold, backbone=setting.backbone or BACKBONES[0], refine=refine)


def home_of(setting: Setting, out: str) -> str:
    """The --out of a training: out itself, or for SSP without refinement a folder in it."""
    return out if setting.refine or setting.method == "baseline" else str(Path(out) / UNREFINED)


def newest_checkpoint(setting: Setting, out: str) -> Path | None:
    """The newest one of the finished runs in the setting's folder."""
    pattern = f"{glob.escape(setting.name)}_*{SUFFIX}"
    found = [path for path in setting.folder(out).glob(pattern) if _is_finished(path, setting)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _is_finished(path: Path, setting: Setting) -> bool:
    """Whether a checkpoint is the last of such a run: its result says so, or there is no run to go on with."""
    result = _result_beside(path)
    if result:
        return result.setting.refine == setting.refine
    try:
        training = load_training(path.with_name(f"{setting.name}.last"))
    except UserError:
        return False  # main.py says what to do
    return training is None or (training.finished and training.best_name == path.stem)


def is_of_other(checkpoint: Path) -> bool:
    """Whether the result beside a checkpoint says that it is of another network than the paper's."""
    result = _result_beside(checkpoint)
    return result is not None and is_other(result.setting, weights_of(result))


def is_of_other_data(checkpoint: Path) -> bool:
    """Whether the result beside a checkpoint says that it was trained or tested on other data than the benchmark's."""
    result = _result_beside(checkpoint)
    return result is not None and bool(data_of(result))


def _result_beside(checkpoint: Path) -> EvaluationResult | None:
    try:
        return EvaluationResult.read(checkpoint.with_suffix(".json"))
    except ValueError:  # there is none
        return None


def _flags(setting: Setting, data_root: str) -> list[str]:
    """What training and test have in common."""
    given = {
        "dataset": setting.dataset,
        "class-order": setting.class_order,
        "data-root": data_root,
        "backbone": setting.backbone,
        "fold": setting.fold,
        "shot": setting.shot,
        "method": "baseline" if setting.method == "baseline" else None,
    }
    return [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]


def training_command(setting: Setting, out: str, data_root: str) -> list[str]:
    """The training of a setting; SSP of several supports as it was published, in the release's order of masks."""
    refine = ["--refine"] if setting.refine else []
    order = ["--released-order", str(RELEASED_ORDER)] if setting.method == "ssp" and setting.shot > 1 else []
    return ["main.py", *_flags(setting, data_root), *refine, *order, "--out", out, "--resume"]


def test_command(
    setting: Setting, protocol: Protocol, splits: str, checkpoint: Path | None, out: str, data_root: str
) -> list[str]:
    """The command that tests a cell.

    Arguments:
        setting: what is tested.
        protocol: how.
        splits: HSNet's data/splits, for its protocol.
        checkpoint: None if the training comes first, whose checkpoint test.py finds.
        out: main.py's folder; the result goes to its folder results.
        data_root: of the datasets.
    """
    words = ["test.py", *_flags(setting, data_root)]
    if setting.method == "ssp":
        words.append("--refine" if setting.refine else "--no-refine")
    words += [] if protocol == PAPER else ["--protocol", protocol.name, "--splits", splits]
    words += ["--checkpoint", str(checkpoint)] if checkpoint else ["--out", out]
    return [*words, "--results", str(Path(out) / "results")]
