"""Watching a run in TensorBoard, which is optional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from util.errors import UserError


def need_tensorboard() -> None:
    """Raise UserError where tensorboard is absent."""
    if find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs the package tensorboard (pip install tensorboard)")


def tensorboard_log(folder: Path, done: int) -> Callable[[Mapping[str, Any]], None]:
    """What writes a line of the history into a folder of events; steps logged before beyond those done are purged."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder, purge_step=done or None)

    def log(line: Mapping[str, Any]) -> None:
        nonlocal done
        for number, loss in enumerate(line["losses"], start=done):
            writer.add_scalar("loss/step", loss, number)
        done += line["steps"]
        for name in ("loss", "lr", "miou", "fb_iou"):
            writer.add_scalar(f"{name}/snapshot" if name == "loss" else name, line[name], done - 1)
        writer.flush()

    return log
