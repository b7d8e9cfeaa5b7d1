"""The files of a training run: its state, its best weights, its history (docs/training.md, "Files")."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dataset.provenance import label_of
from engine.checkpoint import Checkpoint, save_checkpoint, save_weights
from engine.drawing import save_png, stack_rows
from engine.evaluation.gallery import draw_episodes
from engine.evaluation.panel import draw_panel_legend
from engine.evaluation.protocol import PAPER
from engine.evaluation.result import EvaluationResult
from engine.setting import SUFFIX, Setting
from engine.training.data import Run
from engine.training.history import draw_history, write_history
from engine.training.logs import Log, picture_of, tensorboard_log, wandb_log
from engine.training.state import Training, check_counts, keep_finished, previous_of, save_training
from engine.training.trainer import Trainer
from model import FewShotNetwork
from util import distributed
from util.errors import UserError
from util.files import check_writable, remove_leftovers
from util.locks import only_one

SHOWN_EPISODES = 4  # in the picture of a snapshot


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


def weight_suffixes(setting: Setting) -> tuple[str, ...]:
    """The files of weights: a plain state dict, as the release has, is that of a network with the paper's settings."""
    return (".pth", SUFFIX) if setting.is_papers and not setting.variation else (SUFFIX,)


def free_stem(stem: Path, own: Path | None = None) -> Path:
    """The stem, with _2, _3 ... if files of an earlier run have it. ``own``, a stem of this run, counts as free.

    The state of a run that is not finished does not count as a file of an earlier run.
    """

    def is_taken(x: Path) -> bool:
        return any(".last" not in path.suffixes for path in stem.parent.glob(f"{glob.escape(x.name)}.*"))

    candidates = (stem if number == 1 else stem.with_name(f"{stem.name}_{number}") for number in count(1))
    return next(x for x in candidates if x == own or not is_taken(x))


def save_run(
    stem: Path, setting: Setting, state: Mapping[str, Tensor], info: dict[str, Any], former: Path | None
) -> None:
    """Write STEM.ckpt, and STEM.pth of one of the paper's; then remove the files of the former stem."""
    if ".pth" in weight_suffixes(setting):
        save_weights(f"{stem}.pth", state)
    save_checkpoint(f"{stem}{SUFFIX}", Checkpoint(dict(state), info))
    if former not in (None, stem):
        for suffix in weight_suffixes(setting):
            Path(f"{former}{suffix}").unlink(missing_ok=True)


def draw_snapshot(net: FewShotNetwork, run: Run) -> Image.Image:
    """Draw the first episodes of the selection as the network segments them; no random state changes."""
    episodes = next(iter(run.selection.values()))[:SHOWN_EPISODES]
    with torch.random.fork_rng([net.device] if net.device.type == "cuda" else []):
        panels = list(draw_episodes(net, run.fold.val.images, episodes))
    return stack_rows([*panels, draw_panel_legend(panels[0].width)])


@contextmanager
def open_files(run: Run, last: Path, state: Training, logs: Sequence[str] = ()) -> Iterator[RunFiles]:
    """The files of a run, which no other run writes during the block.

    ``last`` is the file of the state; the others are written beside it. The state of a new run has no name yet.
    ``logs`` are names in LOGS, which the first process writes.
    Raises UserError if the folder cannot be written, another run writes there, or the state is not of this run.
    """
    check_writable(last.parent)
    is_first = distributed.rank() == 0
    with only_one(last, "a training") if is_first else nullcontext():
        if is_first:
            remove_leftovers(last.parent)
        files = RunFiles(run, last, state)
        with ExitStack() as at_end:
            if is_first:
                files.logs = [at_end.enter_context(files.open_log(name)) for name in logs]
            yield files


class RunFiles:
    """The files of a run, with its state: all processes call it, the first one writes. Arguments as of open_files."""

    def __init__(self, run: Run, last: Path, state: Training) -> None:
        self.run, self.last, self.folder, self.state = run, last, last.parent, state
        self.suffix = weight_suffixes(run.setting)[0]
        self.is_first = distributed.rank() == 0
        self.is_new = not state.name  # nothing is saved of it yet
        if self.is_new:
            self._name_files()
        check_counts(last, state, run.schedule)
        self.pictures = self.folder / f"{state.name}.episodes"
        self.logs: list[Log] = []

    def open_log(self, package: str) -> AbstractContextManager[Log]:
        """A log of one of LOGS, in a folder of its own."""
        folder = self.folder / f"{self.state.name}.{package}"
        if package == "tensorboard":
            return tensorboard_log(folder, self.pictures)
        name = f"{self.state.name}, {self.run.setting.describe()}"
        return wandb_log(folder, self.pictures, name, self.state.arguments)

    def _name_files(self) -> None:
        name = self.run.setting.name
        earlier = sorted(path.name for path in self.folder.glob(f"{name}_*{self.suffix}"))
        self.state.name = distributed.first_known(free_stem(self.folder / name).name)
        if earlier:
            kept = ", ".join(earlier)
            distributed.say(f"note: {self.folder} keeps {kept} of an earlier run; test.py will need --checkpoint")

    @property
    def best_file(self) -> Path | str:
        """The file of the best weights so far, for people."""
        name = self.state.best_name
        return self.folder / f"{name}{self.suffix}" if name else "none"

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
        state, before = self.state, self.state.best_name
        stem = free_stem(self.folder / f"{self.run.setting.name}_{miou:.2f}", self.folder / before)
        state.best_state = {key: value.detach().cpu().clone() for key, value in trainer.net.state_dict().items()}
        state.best_name, state.best_miou = distributed.first_known(stem.name), miou
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
        are_there = all(Path(f"{stem}{suffix}").is_file() for suffix in weight_suffixes(self.run.setting))
        if not are_there and not self.state.former:
            distributed.say(f"note: {stem}{SUFFIX} had vanished, it is written again", file=sys.stderr)
        if self.state.former or not are_there:
            self._write_best()

    def _info(self) -> dict[str, Any]:
        """What a checkpoint says of its training."""
        fold = self.run.fold
        return {
            **self.run.setting.as_dict(),
            **self.run.setting.added(),
            "base_classes": fold.train.classes,
            "novel_classes": fold.test.classes,
            "base_names": fold.train.names(),
            "selection_names": fold.val.names(),
            "novel_names": fold.test.names(),
            "data": fold.train.provenance and fold.train.provenance.as_dict(),
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
        if self.logs:
            save_png(draw_snapshot(trainer.net, self.run), picture_of(self.pictures, state.snapshot))
        for log in self.logs:
            log(state.history)
        return line

    def load_best(self, net: FewShotNetwork) -> None:
        """Put the best weights into the network, if it was trained; the last ones stay in the state."""
        if self.state.best_state:
            self.state.state_dict = {key: value.clone() for key, value in net.state_dict().items()}
            net.load_state_dict(self.state.best_state)

    def finish(self, trainer: Trainer, result: Mapping[str, Any], engine: str) -> Path:
        """Write the result of the best weights, the curve and the last state. Returns the best weights' .ckpt."""
        setting, schedule, *_, test = self.run
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
            title = ", ".join(filter(None, (state.name, setting.describe(), label_of(test.data))))
            draw_history(state.history, self.folder / f"{state.name}.history.png", rates, title)
        EvaluationResult(
            setting, PAPER, result, str(checkpoint), episodes=len(next(iter(test.plans.values()))),
            training=self._info(), engine=engine, data=test.data, missing_classes=test.missing,
        ).write(f"{best}.json")  # fmt: skip
        save_training(self.last, replace(state, optimizer={}, best_state={}, finished=True))
        return checkpoint
