"""A training run: opened or resumed, trained snapshot by snapshot, finished (docs/method.md, section 4)."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dataset import Fold, Plans
from dataset.loader import batches
from dataset.provenance import label_of
from dataset.samples import TrainingSamples, as_input
from engine.checkpoint import errors_name, load_network
from engine.evaluation.evaluation_set import missing_classes
from engine.evaluation.protocol import PAPER
from engine.evaluation.result import EvaluationResult
from engine.setting import SUFFIX, Schedule, Setting
from engine.training.best import free_stem, restore_best, save_best, suffixes, training_info
from engine.training.history import draw_history, tensorboard_log, write_history
from engine.training.parallel import wrap_parallel
from engine.training.start import compile_backbone, first_batch, start_network
from engine.training.state import Training, check_same, keep_finished, load_training, previous_of, save_training
from engine.training.step import make_optimizer, own_samples, restore_optimizer, step_seconds, train_step
from util import distributed
from util.errors import UserError
from util.files import check_writable, remove_leftovers
from util.interrupts import Interrupts
from util.locks import only_one
from util.memory import keep_freed_memory
from util.progress import progress

DTYPES = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}  # of --amp


@dataclass(frozen=True)
class Means:
    """What a run computes with; it changes results by rounding only."""

    device: torch.device
    workers: int = 0
    accumulate: int = 1  # parts that a batch is taken in
    amp: str | None = None  # None, "bf16" or "fp16"
    compiled: bool = False
    tensorboard: bool = False


def find_training(last: Path, flags: Mapping[str, Any], resume: bool) -> Training | None:
    """The state of an earlier run to go on from, or of a finished one; None to start a run.

    Arguments:
        last: the file of the state.
        flags: of this run; an earlier one must have had the same.
        resume: whether to go on.
    Raises:
        UserError: the flags differ, the state is damaged, or an unfinished run is not to be resumed.
    """
    training = load_training(last)
    if not resume:
        if training and not training.finished:
            raise UserError(f"{last}: an unfinished run; go on with --resume, or remove it, or choose another --out")
        return None
    if training is not None:
        check_same(last, training.arguments, flags)
    elif any(last.parent.glob(f"{glob.escape(last.stem)}_*")):  # of a first run nothing need be said
        distributed.say(f"{last}: is gone, so there is no run to resume; starting one")
    return training


def finished_checkpoint(last: Path, training: Training) -> Path:
    """The best weights of a finished run. Raises UserError if they are gone."""
    best = last.parent / f"{training.best_name}{SUFFIX}"
    if not best.is_file():
        raise UserError(f"{best}: is gone, though its run is finished; remove {last} to train again")
    if distributed.rank() == 0:
        with suppress(UserError), only_one(last, "a training"):  # what a kill at the very end has left
            previous_of(last).unlink(missing_ok=True)
    distributed.say(f"finished before: {best}")
    return best


class TrainingRun:
    """A network in training, with everything that is needed to lose none of it.

    Arguments:
        setting, schedule, fold: what is trained, how long, and on which images and classes.
        samples: the training samples of a snapshot.
        last: the file of the run's state; the other files are written beside it.
        flags: of main.py, to be kept in the files.
        means: what the run computes with.
        pretrained, frozen: as of start_network.
        training: the state to go on from; None to start.
        released_order: as of loss_and_gradients.
        held: keeps the run's lock until the run ends; None for no lock.
    Raises:
        UserError: the weights cannot be read, the folder cannot be written, or another run writes there.
    """

    def __init__(
        self,
        setting: Setting,
        schedule: Schedule,
        fold: Fold,
        samples: TrainingSamples,
        last: Path,
        flags: Mapping[str, Any],
        means: Means,
        pretrained: str | None,
        training: Training | None,
        released_order: int | None = None,
        frozen: bool = False,
        held: ExitStack | None = None,
    ) -> None:
        self.setting, self.schedule, self.fold, self.samples = setting, schedule, fold, samples
        self.last, self.folder, self.means = last, last.parent, means
        self.released_order = released_order
        if released_order:
            distributed.say(f"supports are compared with masks in the release's order on {released_order} GPUs")
        self.is_first = distributed.rank() == 0
        device = means.device
        self.net = net = start_network(setting, samples, pretrained, device, frozen, resumed=training is not None)
        if schedule.snapshots and not any(p.requires_grad for p in net.parameters()):
            what = f"--frozen: {setting.method} has nothing else" if frozen else f"{setting.backbone} has nothing"
            raise UserError(f"{what} to train; --episode 0 tests it as it is")
        if device.type == "cpu":
            keep_freed_memory()
        if device.type == "cpu" or means.amp:
            net.to(memory_format=torch.channels_last)  # in which convolutions are faster there
        self.optimizer = make_optimizer(net, schedule.lr) if schedule.snapshots else None
        check_writable(self.folder)
        if self.is_first:
            if held is not None:
                held.enter_context(only_one(last, "a training"))
            remove_leftovers(self.folder)
        self.scaler = torch.amp.GradScaler(device.type, enabled=means.amp == "fp16")
        net.backbone_dtype = DTYPES[means.amp]
        if means.compiled:
            own = schedule.batch_size // distributed.world() // means.accumulate
            compile_backbone(net, (1 + setting.shot) * own, samples.crop_size)
        self.is_new = training is None  # nothing is saved of it yet
        self.training = self._start(flags) if training is None else self._resume(training)

        steps = schedule.snapshots * schedule.steps
        done = self.training.snapshot * schedule.steps + len(self.training.losses)
        self.own = own_samples(samples, schedule.batch_size, done, steps - done)
        of_process = schedule.batch_size // distributed.world()
        self.stream = batches(self.own, of_process, means.workers, pin_memory=device.type == "cuda")
        self.parallel = wrap_parallel(net, device, setting.is_custom) if schedule.snapshots else net
        net.train()
        self.log: Callable | None = None
        if means.tensorboard and self.is_first:
            self.log = tensorboard_log(self.folder / f"{self.training.name}.tensorboard")
        self.step_seconds = 0.0  # of the last snapshot, or as timed at the start

    def _start(self, flags: Mapping[str, Any]) -> Training:
        name = self.setting.name
        earlier = sorted(path.name for path in self.folder.glob(f"{name}_*{suffixes(self.setting)[0]}"))
        training = Training(dict(flags), name=distributed.from_first(free_stem(self.folder / name).name))
        if earlier:
            distributed.say(
                f"note: {self.folder} keeps {', '.join(earlier)} of an earlier run; test.py will need --checkpoint"
            )
        return training

    def _resume(self, training: Training) -> Training:
        is_within = training.snapshot <= self.schedule.snapshots and len(training.losses) <= self.schedule.steps
        if not (is_within and len(training.history) == training.snapshot):
            what = "its counts contradict each other or the flags"
            raise UserError(f"{self.last}: not the state of this run: {what}; remove it to start anew")
        for state in filter(None, (training.best_state, training.state_dict)):  # the last ones stay
            load_network(self.net, state, self.last)
        with errors_name(self.last):
            if self.optimizer:
                restore_optimizer(self.optimizer, training.optimizer)
            if training.scaler.keys() != self.scaler.state_dict().keys():
                raise ValueError("its scaler of gradients is not that of this run")
            self.scaler.load_state_dict(training.scaler)
        return training

    @property
    def snapshots_left(self) -> int:
        return self.schedule.snapshots - self.training.snapshot

    @property
    def steps_left(self) -> int:
        return self.snapshots_left * self.schedule.steps - len(self.training.losses)

    def time_a_step(self, worth: int) -> bool:
        """Time two steps, which change no weight, if more than ``worth`` are left; whether it did."""
        if self.steps_left <= worth:
            return False
        batch = first_batch(self.samples, self.schedule.batch_size, self.means.device)
        buffers = [(buffer, buffer.clone()) for buffer in self.net.buffers()]  # a head's batch norms would move
        self.step_seconds = step_seconds(self.parallel, batch, self.means.accumulate)
        for buffer, before in buffers:
            buffer.copy_(before)
        return True

    def save(self) -> None:
        """Write the state of the run."""
        training = self.training
        training.state_dict = self.net.state_dict()
        training.optimizer = self.optimizer.state_dict() if self.optimizer else {}
        training.scaler = self.scaler.state_dict()
        if self.is_first:
            if self.is_new:
                keep_finished(self.last)
            save_training(self.last, training)
        self.is_new = False

    def train_snapshot(self, asked: Interrupts) -> None:
        """Train to the end of the snapshot under way and write the state.

        Raises KeyboardInterrupt, after it has written the state, if the user asked to stop.
        """
        started, before = time.perf_counter(), len(self.training.losses)
        is_whole = self._train_steps(asked)
        for buffer in self.net.buffers():  # each process has its own of a head's batch norms
            distributed.spread_from_first(buffer)
        if steps := len(self.training.losses) - before:  # none if a run goes on with the evaluation
            self.step_seconds = (time.perf_counter() - started) / steps
        self.save()
        if not is_whole:
            raise KeyboardInterrupt(f"saved {self.last}, go on with --resume")

    def _train_steps(self, asked: Interrupts) -> bool:
        """Train to the end of the snapshot; False if the user asked to stop before."""
        training, schedule, means = self.training, self.schedule, self.means
        losses = training.losses
        bar = progress(None, f"snapshot {training.snapshot + 1}", schedule.steps, "step", initial=len(losses))
        with bar, asked.delay():
            while len(losses) < schedule.steps:
                try:
                    batch = next(self.stream)
                except RuntimeError:  # a loader process ended
                    if asked.asked:  # by the same signal; the state that was saved last is whole
                        raise KeyboardInterrupt from None
                    raise
                iteration = training.snapshot * schedule.steps + len(losses)
                lr = schedule.learning_rate(iteration)
                inputs = as_input(batch, means.device)
                # A custom head may draw: of each step, so that a resumed run draws the same.
                torch.manual_seed((self.samples.seed << 32) + iteration * distributed.world() + distributed.rank())
                try:
                    how = means.accumulate, self.scaler, self.released_order
                    loss = train_step(self.parallel, self.optimizer, inputs, lr, *how)
                except UserError as error:
                    suffix = suffixes(self.setting)[0]
                    best = self.folder / f"{training.best_name}{suffix}" if training.best_name else "none"
                    raise UserError(
                        f"{error} at step {iteration + 1}; try a smaller --lr than {schedule.lr:g}; best weights so "
                        f"far: {best}"
                    ) from error
                losses.append(loss)
                bar.update()
                bar.set_postfix(loss=f"{sum(losses) / len(losses):.3f}", refresh=False)
                if distributed.any_process(bool(asked.asked)):
                    return False
        return True

    def finish_snapshot(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the weights if they are the best so far, write history and state. Returns the history's new line.

        Arguments:
            result: the evaluation of the weights.
        """
        training = self.training
        if result["miou"] >= training.best_miou:
            self._keep_as_best(result["miou"])
            if self.is_first:
                save_best(training, self.setting, self.fold, self.folder)
        elif self.is_first:
            restore_best(training, self.setting, self.fold, self.folder)
        iteration = (training.snapshot + 1) * len(training.losses) - 1
        line = {
            "snapshot": training.snapshot + 1, "steps": len(training.losses),
            "loss": sum(training.losses) / len(training.losses), "losses": training.losses,
            "lr": self.schedule.learning_rate(iteration),
            "miou": result["miou"], "fb_iou": result["fb_iou"],
        }  # fmt: skip
        training.history.append(line)
        training.snapshot, training.losses = training.snapshot + 1, []
        if self.is_first:
            write_history(self.folder / f"{training.name}.history.jsonl", training.history)
        self.save()
        if self.log:
            self.log(training.history)
        return line

    def _keep_as_best(self, miou: float) -> None:
        """The network's weights are the best so far, in the state, under a name that is free.

        The state is written before their files are: a run that is killed in between knows these as its own.
        """
        training = self.training
        own = self.folder / training.best_name if training.best_name else None
        stem = free_stem(self.folder / f"{self.setting.name}_{miou:.2f}", own)
        training.best_state = {key: value.detach().cpu().clone() for key, value in self.net.state_dict().items()}
        before, training.best_name = training.best_name, distributed.from_first(stem.name)
        training.best_miou = miou
        if before != training.best_name:
            training.former = before
        self.save()

    def load_best(self) -> None:
        """Put the best weights into the network, if it was trained; the last ones stay in the state."""
        if not self.training.best_state:
            return
        self.last_state = {key: value.clone() for key, value in self.net.state_dict().items()}
        self.net.load_state_dict(self.training.best_state)

    def finish(self, result: Mapping[str, Any], plans: Plans, engine: str) -> Path:
        """Write the result of the best weights, the curve and the last state. Returns the best weights' .ckpt.

        Arguments:
            result: the last evaluation.
            plans: its episodes.
            engine: of evaluation.
        """
        training = self.training
        if not self.schedule.snapshots:
            self._keep_as_best(result["miou"])
            self.last_state = self.net.state_dict()
            if self.is_first:
                save_best(training, self.setting, self.fold, self.folder)
        best = self.folder / training.best_name
        checkpoint = Path(f"{best}{SUFFIX}")
        if self.is_first and self.schedule.snapshots:
            restore_best(training, self.setting, self.fold, self.folder)
            rates = {step: self.schedule.learning_rate(step) for step in (0, *self.schedule.drops)}
            title = ", ".join(
                filter(None, (training.name, self.setting.describe(), label_of(self.fold.test.provenance)))
            )
            draw_history(training.history, self.folder / f"{training.name}.history.png", rates, title)
        if self.is_first:
            test, episodes = self.fold.test, len(next(iter(plans.values())))
            missing = missing_classes(test.classes, plans, test.images.class_names)
            info = training_info(training, self.setting, self.fold)
            EvaluationResult(
                self.setting,
                PAPER,
                result,
                str(checkpoint),
                episodes=episodes,
                training=info,
                engine=engine,
                data=test.provenance,
                missing_classes=missing,
            ).write(f"{best}.json")
            final = replace(training, state_dict=self.last_state, optimizer={}, best_state={}, finished=True)
            save_training(self.last, final)
        return checkpoint
