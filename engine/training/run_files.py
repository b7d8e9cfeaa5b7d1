"""The files of a training run: its state, its best weights, its history (docs/training.md, "Files")."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset.provenance import label_of
from engine.evaluation.evaluation_set import missing_classes
from engine.evaluation.protocol import PAPER
from engine.evaluation.result import EvaluationResult
from engine.setting import SUFFIX
from engine.training.data import Run
from engine.training.history import draw_history, tensorboard_log, write_history
from engine.training.state import (
    Training,
    check_counts,
    check_same,
    keep_finished,
    load_training,
    previous_of,
    save_training,
)
from engine.training.trainer import Trainer
from engine.training.weight_files import free_stem, save_run, suffixes
from model import FewShotNetwork
from util import distributed
from util.errors import UserError
from util.files import check_writable, remove_leftovers
from util.locks import only_one


def find_training(last: Path, flags: Mapping[str, Any], resume: bool) -> Training | None:
    """The state of an earlier run to go on from, or of a finished one; None to start a run.

    Raises UserError if it had other flags, the state is damaged, or an unfinished run is not to be resumed.
    """
    state = load_training(last)
    if not resume:
        if state and not state.finished:
            raise UserError(f"{last}: an unfinished run; go on with --resume, or remove it, or choose another --out")
        return None
    if state is not None:
        check_same(last, state.arguments, flags)
    elif any(last.parent.glob(f"{glob.escape(last.stem)}_*")):  # of a first run nothing need be said
        distributed.say(f"{last}: is gone, so there is no run to resume; starting one")
    return state


def finished_checkpoint(last: Path, state: Training) -> Path:
    """The best weights of a finished run. Raises UserError if they are gone."""
    best = last.parent / f"{state.best_name}{SUFFIX}"
    if not best.is_file():
        raise UserError(f"{best}: is gone, though its run is finished; remove {last} to train again")
    if distributed.rank() == 0:
        with suppress(UserError), only_one(last, "a training"):  # what a kill at the very end has left
            previous_of(last).unlink(missing_ok=True)
    distributed.say(f"finished before: {best}")
    return best


@contextmanager
def open_files(run: Run, last: Path, state: Training, tensorboard: bool) -> Iterator[RunFiles]:
    """The files of a run, which no other run writes during the block.

    ``last`` is the file of the state; the others are written beside it. The state of a new run has no name yet.
    Raises UserError if the folder cannot be written, another run writes there, or the state is not of this run.
    """
    check_writable(last.parent)
    is_first = distributed.rank() == 0
    with only_one(last, "a training") if is_first else nullcontext():
        if is_first:
            remove_leftovers(last.parent)
        yield RunFiles(run, last, state, tensorboard)


class RunFiles:
    """The files of a run and the state that is kept in one of them. All processes call it, the first one writes.

    Arguments as of open_files.
    """

    def __init__(self, run: Run, last: Path, state: Training, tensorboard: bool) -> None:
        self.run, self.last, self.folder, self.state = run, last, last.parent, state
        self.is_first = distributed.rank() == 0
        self.is_new = not state.name  # nothing is saved of it yet
        if self.is_new:
            self._name_files()
        check_counts(last, state, run.schedule)
        is_logged = tensorboard and self.is_first
        self.log = tensorboard_log(self.folder / f"{state.name}.tensorboard") if is_logged else None

    def _name_files(self) -> None:
        name, suffix = self.run.setting.name, suffixes(self.run.setting)[0]
        earlier = sorted(path.name for path in self.folder.glob(f"{name}_*{suffix}"))
        self.state.name = distributed.from_first(free_stem(self.folder / name).name)
        if earlier:
            distributed.say(
                f"note: {self.folder} keeps {', '.join(earlier)} of an earlier run; test.py will need --checkpoint"
            )

    @property
    def best_file(self) -> Path | str:
        """The file of the best weights so far, for people."""
        name = self.state.best_name
        return self.folder / f"{name}{suffixes(self.run.setting)[0]}" if name else "none"

    def save(self, trainer: Trainer) -> None:
        """Write the state of the run."""
        trainer.put_into(self.state)
        if self.is_first:
            if self.is_new:
                keep_finished(self.last)
            save_training(self.last, self.state)
        self.is_new = False

    def keep_best(self, trainer: Trainer, miou: float) -> None:
        """Keep the network's weights as the best so far, under a name that is free.

        The state is written before their files are: a run that is killed in between knows these as its own.
        """
        state = self.state
        own = self.folder / state.best_name if state.best_name else None
        stem = free_stem(self.folder / f"{self.run.setting.name}_{miou:.2f}", own)
        state.best_state = {key: value.detach().cpu().clone() for key, value in trainer.net.state_dict().items()}
        before, state.best_name = state.best_name, distributed.from_first(stem.name)
        state.best_miou = miou
        if before != state.best_name:
            state.former = before
        self.save(trainer)
        if self.is_first:
            self._write_best()

    def _write_best(self) -> None:
        """Write the best weights, then remove the former best ones of this run."""
        state = self.state
        former = self.folder / state.former if state.former else None
        save_run(self.folder / state.best_name, self.run.setting, state.best_state, self._info(), former)
        state.former = ""

    def _restore_best(self) -> None:
        """Write the best weights again if someone has removed them, or their folder, or if a kill came in between."""
        stem = self.folder / self.state.best_name
        are_there = all(Path(f"{stem}{suffix}").is_file() for suffix in suffixes(self.run.setting))
        if not are_there and not self.state.former:
            distributed.say(f"note: {stem}{SUFFIX} had vanished, it is written again", file=sys.stderr)
        if self.state.former or not are_there:
            self._write_best()

    def _info(self) -> dict[str, Any]:
        """What a checkpoint says of its training."""
        fold = self.run.fold
        return {
            **self.run.setting.as_dict(),
            "base_classes": fold.train.classes,
            "novel_classes": fold.test.classes,
            "base_names": fold.train.names(),
            "selection_names": fold.val.names(),
            "novel_names": fold.test.names(),
            "data": fold.train.provenance and fold.train.provenance._asdict(),
            "arguments": self.state.arguments,
            "miou": self.state.best_miou,
        }

    def finish_snapshot(self, trainer: Trainer, result: Mapping[str, Any]) -> dict[str, Any]:
        """Write history and state after the evaluation of a snapshot. Returns the history's new line."""
        state, losses = self.state, self.state.losses
        if self.is_first:
            self._restore_best()
        state.snapshot, state.losses = state.snapshot + 1, []
        line = {
            "snapshot": state.snapshot, "steps": len(losses),
            "loss": sum(losses) / len(losses), "losses": losses,
            "lr": self.run.schedule.learning_rate(state.snapshot * len(losses) - 1),
            "miou": result["miou"], "fb_iou": result["fb_iou"],
        }  # fmt: skip
        state.history.append(line)
        if self.is_first:
            write_history(self.folder / f"{state.name}.history.jsonl", state.history)
        self.save(trainer)
        if self.log:
            self.log(state.history)
        return line

    def load_best(self, net: FewShotNetwork) -> None:
        """Put the best weights into the network, if it was trained; the last ones stay in the state."""
        if self.state.best_state:
            self.state.state_dict = {key: value.clone() for key, value in net.state_dict().items()}
            net.load_state_dict(self.state.best_state)

    def finish(self, trainer: Trainer, result: Mapping[str, Any], engine: str) -> Path:
        """Write the result of the best weights, the curve and the last state. Returns the best weights' .ckpt."""
        setting, schedule, fold, *_, final = self.run
        state = self.state
        if not schedule.snapshots:
            self.keep_best(trainer, result["miou"])
        best = self.folder / state.best_name
        checkpoint = Path(f"{best}{SUFFIX}")
        if not self.is_first:
            return checkpoint
        if schedule.snapshots:
            self._restore_best()
            rates = {step: schedule.learning_rate(step) for step in (0, *schedule.drops)}
            title = ", ".join(filter(None, (state.name, setting.describe(), label_of(fold.test.provenance))))
            draw_history(state.history, self.folder / f"{state.name}.history.png", rates, title)
        EvaluationResult(
            setting,
            PAPER,
            result,
            str(checkpoint),
            episodes=len(next(iter(final.values()))),
            training=self._info(),
            engine=engine,
            data=fold.test.provenance,
            missing_classes=missing_classes(fold.test.classes, final, fold.test.images.class_names),
        ).write(f"{best}.json")
        save_training(self.last, replace(state, optimizer={}, best_state={}, finished=True))
        return checkpoint
