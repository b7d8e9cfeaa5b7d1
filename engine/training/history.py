"""The history of a run: a line of JSON for each snapshot, a curve, and TensorBoard's events."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from util.errors import UserError
from util.files import atomic_write

History = Sequence[Mapping[str, Any]]


def need_tensorboard() -> None:
    """Raise UserError if tensorboard is absent."""
    if find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs the package tensorboard (pip install tensorboard)")


def tensorboard_log(folder: Path) -> Callable[[History], None]:
    """Make a function that writes a run's history, as it grows, into a folder of events that is the run's own.

    Its first call writes the whole history anew, so that a run that was interrupted has every step once; so does a
    call that finds the folder gone. It raises UserError if it cannot write.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer, written = None, 0

    def log(history: History) -> None:
        nonlocal writer, written
        try:
            if writer is None or not folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                writer, written = SummaryWriter(folder), 0
            step = sum(line["steps"] for line in history[:written])
            for line in history[written:]:
                for number, loss in enumerate(line["losses"], start=step):
                    writer.add_scalar("loss/step", loss, number)
                step += line["steps"]
                for tag, name in (("loss/snapshot", "loss"), ("lr", "lr"), ("miou", "miou"), ("fb_iou", "fb_iou")):
                    writer.add_scalar(tag, line[name], step - 1)
            writer.flush()
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror or error}; make room there, or leave --tensorboard out"
            ) from error
        written = len(history)

    return log


def write_history(path: Path, history: History) -> None:
    """Write a line of JSON for each snapshot, atomically."""
    with atomic_write(path) as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in history).encode())


def draw_history(history: History, path: str | Path, rates: Mapping[int, float]) -> None:
    """Draw the loss of each step, the mIoU of each snapshot and the learning rates as a PNG.

    Prints a note and draws nothing without matplotlib.

    Arguments:
        history: a mapping for each snapshot: "losses", "steps", "loss", "miou".
        path: the file to write.
        rates: the learning rate from each of these steps on.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no training curve drawn: it needs the package matplotlib (pip install matplotlib)")
        return
    losses = [loss for line in history for loss in line["losses"]]
    ends = np.cumsum([line["steps"] for line in history])
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color="0.8", linewidth=0.8)
    axes.plot(ends, [line["loss"] for line in history], color="tab:blue", marker="o", label="loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color="tab:blue")
    other = axes.twinx()
    other.plot(ends, [line["miou"] for line in history], color="tab:red", marker="s", label="mIoU")
    other.set_ylabel("mIoU of the evaluation", color="tab:red")
    for step, rate in rates.items():
        if step:
            axes.axvline(step, color="0.6", linestyle=":")
        place = {"xy": (step, 0.99), "xycoords": axes.get_xaxis_transform(), "va": "top", "in_layout": False}
        axes.annotate(f" lr {rate:.3g}", **place, color="0.4", fontsize=8, annotation_clip=True)
    axes.set_title("grey: the loss of each step; blue: its mean; red: mIoU; dotted: a new learning rate", fontsize=9)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
