"""The commands that measure a cell of the published tables: a training, a test; script and flags, word by word."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from engine.evaluation.protocol import HSNET, PAPER, Protocol
from engine.evaluation.result import EvaluationResult, find_results
from engine.setting import RELEASED_ORDER, SUFFIX, Setting
from engine.training.state import load_training
from model.names import BACKBONES
from tables.experiment import Experiment, experiment_of
from tables.tables import Cell, Table
from util.errors import UserError, one_line

UNREFINED = "unrefined"  # folder in --out for SSP trained without refinement, whose files have the same names as with


class Folders(NamedTuple):
    """Where the programs read and write: their flags of these names."""

    data_root: str
    out: str
    splits: str | None = None

    def of_training(self, setting: Setting) -> Folders:
        """The folders of a training: SSP without refinement has one in ``out``."""
        is_unrefined = setting.method != "baseline" and not setting.refine
        return self._replace(out=str(Path(self.out) / UNREFINED)) if is_unrefined else self


def training_setting(setting: Setting, protocol: Protocol) -> Setting:
    """What is trained to be tested in a setting; for HSNet's protocol SSP is trained with refinement too."""
    refine = setting.method == "ssp" and (setting.refine or protocol == HSNET)
    return replace(setting, backbone=setting.backbone or BACKBONES[0], refine=refine)


def newest_checkpoint(setting: Setting, folders: Folders) -> Path | None:
    """The newest one of the finished runs in a training's folder."""
    pattern = f"{glob.escape(setting.name)}_*{SUFFIX}"
    found = [path for path in setting.folder(folders.out).glob(pattern) if _is_finished(path, setting)]
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


def is_of_other(checkpoint: Path, or_data: bool = False) -> bool:
    """Whether the result beside a checkpoint says that it is of another network than the paper's.

    or_data: whether it says that, or that it was trained or tested on other data than the benchmark's.
    """
    result = _result_beside(checkpoint)
    if result is None:
        return False
    experiment = experiment_of(result)
    return experiment.is_other or (or_data and bool(experiment.data))


def _result_beside(checkpoint: Path) -> EvaluationResult | None:
    with suppress(UserError):  # there is none
        return find_results([checkpoint.with_suffix(".json")])[0]
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
    return [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]


def training_command(setting: Setting, folders: Folders) -> list[str]:
    """The training of a setting; SSP of several supports as it was published, in the release's order of masks."""
    refine = ["--refine"] if setting.refine else []
    order = ["--released-order", str(RELEASED_ORDER)] if setting.method == "ssp" and setting.shot > 1 else []
    return ["main.py", *_flags(setting, folders.data_root), *refine, *order, "--out", folders.out, "--resume"]


def test_command(setting: Setting, protocol: Protocol, folders: Folders, checkpoint: Path | None) -> list[str]:
    """The command that tests a cell and keeps the result in the folder results of ``folders.out``.

    checkpoint: None if the training comes first, whose checkpoint test.py finds in ``folders.out``.
    """
    words = ["test.py", *_flags(setting, folders.data_root)]
    if setting.method == "ssp":
        words.append("--refine" if setting.refine else "--no-refine")
    words += [] if protocol == PAPER else ["--protocol", protocol.name, "--splits", str(folders.splits)]
    words += ["--checkpoint", str(checkpoint)] if checkpoint else ["--out", folders.out]
    return [*words, "--results", str(Path(folders.out) / "results")]


def missing_commands(tables: Iterable[Table], folders: Folders, processes: int | None = None) -> str:
    """A shell script that measures what is missing, each training once.

    Arguments:
        tables: what is published and measured.
        folders: for the flags; ``out`` may hold checkpoints already.
        processes: the number that torchrun starts; None for python.
    """
    runner = ["python"] if processes is None else ["torchrun", "--nproc-per-node", str(processes)]
    lines: list[str] = []
    for experiment, cell in _open_cells(tables):
        paper = "not in the paper" if cell.paper is None else f"paper {cell.paper:.1f}"
        lines.append(f"# {experiment.name} ({paper})")
        if cell.measured is not None:
            lines.append(f"#   measured, but not as in the paper: {one_line('; '.join(cell.caveats))}")
            continue
        setting = training_setting(experiment.setting, experiment.protocol)
        own = folders.of_training(setting)
        checkpoint = newest_checkpoint(setting, own)
        if checkpoint and is_of_other(checkpoint, or_data=True):
            what = "another network, an untrained one, or one trained on other data"
            lines.append(f"#   {one_line(setting.folder(own.out))} holds {what}; pass another --out")
            continue
        training = shlex.join([*runner, *training_command(setting, own)])
        if not checkpoint and training not in lines:
            lines.append(training)
        if checkpoint or experiment.protocol == HSNET:
            tested = replace(setting, refine=experiment.setting.refine)
            lines.append(shlex.join([*runner, *test_command(tested, experiment.protocol, own, checkpoint)]))
    stop = "set -e  # the first failure, and Ctrl-C, stop it"
    return "".join(f"{line}\n" for line in ([stop, *lines] if lines else ["# nothing is missing"]))


def _open_cells(tables: Iterable[Table]) -> Iterator[tuple[Experiment, Cell]]:
    """What no row has measured without a caveat, in the order of the paper's tables; a mean follows from its folds."""
    best: dict[Experiment, Cell] = {}
    for row in (row for table in tables for row in table.rows):
        if row.experiment.data or row.experiment.is_other or row.experiment.changes:
            continue
        for cell in row.cells[:-1] or row.cells:  # the last one of several is their mean
            experiment = row.experiment.on_fold(cell.fold)
            best[experiment] = max(best.get(experiment, cell), cell, key=_standing)
    return ((experiment, cell) for experiment, cell in best.items() if _standing(cell) < (True, True))


def _standing(cell: Cell) -> tuple[bool, bool]:
    """Whether a cell is measured, and without a caveat."""
    return cell.measured is not None, not cell.caveats
