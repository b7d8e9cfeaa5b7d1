"""The training loop (docs/method.md, section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from dataset.samples import Sample, as_input
from engine.training.forecast import Forecast
from engine.training.run_files import RunFiles
from engine.training.trainer import Trainer
from util import distributed
from util.errors import UserError
from util.interrupts import Interrupts
from util.progress import progress


def train(
    trainer: Trainer,
    files: RunFiles,
    batches: Iterator[Sample],
    evaluate: Callable[[], Mapping[str, Any]],
    forecast: Forecast,
    asked: Interrupts,
) -> None:
    """Train a snapshot, evaluate the network, keep the best weights, until the last snapshot is done.

    Arguments:
        batches: this process's part of the batch of each step that is left.
        evaluate: gives the result of the network, with its "miou", "fb_iou" and "seconds".
        forecast: is told how long steps and evaluations took.
        asked: whether the user asked to stop.
    Raises:
        KeyboardInterrupt: the user asked to stop; the state is written.
        UserError: the loss is not finite, or a file cannot be read or written.
    """
    state, schedule = files.state, files.run.schedule
    stopped = False
    for snapshot in range(state.snapshot, schedule.snapshots):
        done, started = len(state.losses), time.perf_counter()
        bar = progress(None, f"snapshot {snapshot + 1}", schedule.steps, "step", initial=done)
        with bar, asked.delay():
            for step in range(snapshot * schedule.steps + done, (snapshot + 1) * schedule.steps):
                batch = as_input(next(batches), trainer.device)
                seed_step(files.run.samples.seed, step)
                try:
                    loss = trainer.step(batch, schedule.learning_rate(step))
                except UserError as error:
                    remedy = f"try a smaller --lr than {schedule.lr:g}; best weights so far: {files.best_file}"
                    raise UserError(f"{error} at step {step + 1}; {remedy}") from error
                state.losses.append(loss)
                bar.update()
                bar.set_postfix(loss=f"{sum(state.losses) / len(state.losses):.3f}", refresh=False)
                if stopped := distributed.any_process(bool(asked.asked)):
                    break
        forecast.note_steps(time.perf_counter() - started, len(state.losses) - done)
        trainer.spread_buffers()
        files.save(trainer)
        if stopped:
            raise KeyboardInterrupt(f"saved {files.last}, go on with --resume")

        result = evaluate()
        if result["miou"] >= state.best_miou:
            files.keep_best(trainer, result["miou"])
        line = files.finish_snapshot(trainer, result)
        forecast.note_evaluation(result["seconds"])
        distributed.say(
            f"snapshot {line['snapshot']}/{schedule.snapshots}: loss {line['loss']:.4f}, lr {line['lr']:g}, mIoU "
            f"{line['miou']:.2f}, best {state.best_miou:.2f}, about {forecast.time_left(state)} left"
        )


def seed_step(seed: int, step: int) -> None:
    """Seed torch for a step of this process: a custom head may draw, and a resumed run draws the same."""
    torch.manual_seed((seed << 32) + step * distributed.world() + distributed.rank())
