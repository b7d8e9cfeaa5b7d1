"""Watching a run in TensorBoard, which is optional."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from util.errors import UserError

History = Sequence[Mapping[str, Any]]


def need_tensorboard() -> None:
    """Raise UserError where tensorboard is absent."""
    if find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs the package tensorboard (pip install tensorboard)")


def tensorboard_log(folder: Path) -> Callable[[History], None]:
    """What writes a run's history, as it grows, into a folder of events that is the run's own.

    The first call writes the whole history anew, so that a run that was interrupted has every step once; so does
    one that finds the folder gone. That raises UserError where it cannot be written.
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
                f"cannot write {folder}: {error.strerror or error}; free it, or no --tensorboard"
            ) from error
        written = len(history)

    return log
