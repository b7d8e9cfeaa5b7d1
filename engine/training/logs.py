"""What TensorBoard and Weights & Biases show of a run as it grows: numbers of each step, pictures of some episodes."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from engine.training.history import History
from util.distributed import say
from util.errors import UserError, first_line
from util.files import atomic_write

Log = Callable[[History], None]  # is given the whole history so far, after each snapshot
TAGS = {"loss/snapshot": "loss", "lr": "lr", "miou": "miou", "fb_iou": "fb_iou"}  # fields of a line of the history
PROJECT = "ssp"  # of wandb, unless its own variable names another
UPLOAD_SECONDS = 120.0  # that wandb may take for what is left at the end of a run


class Row(NamedTuple):
    """What is logged of a step."""

    step: int  # counted over the whole run, from 0
    values: dict[str, float]  # by tag; the last step of a snapshot has those of the snapshot too
    picture: Path | None = None  # of some episodes, after the snapshot


def picture_of(pictures: Path, snapshot: int) -> Path:
    """The picture of the episodes after a snapshot, counted from 1."""
    return pictures / f"snapshot_{snapshot:03}.png"


def list_rows(history: History, pictures: Path, first: int = 0) -> Iterator[Row]:
    """The rows of a history from its line ``first`` on; a picture that is gone is left out."""
    step = sum(line["steps"] for line in history[:first])
    for snapshot, line in enumerate(history[first:], first + 1):
        *others, (end, loss) = enumerate(line["losses"], step)
        yield from (Row(number, {"loss/step": each}) for number, each in others)
        picture = picture_of(pictures, snapshot)
        values = {"loss/step": loss, **{tag: line[name] for tag, name in TAGS.items()}}
        yield Row(end, values, picture if picture.is_file() else None)
        step = end + 1


@contextmanager
def tensorboard_log(folder: Path, pictures: Path) -> Iterator[Log]:
    """A log that writes a run's history, as it grows, into a folder of events that is the run's own.

    Its first call writes the whole history anew, so that a run that was interrupted has every step once; so does a
    call that finds the folder gone. It raises UserError if it cannot write.
    """
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    writer, written = None, 0

    def log(history: History) -> None:
        nonlocal writer, written
        try:
            if writer is None or not folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
                writer, written = SummaryWriter(folder), 0
            for step, values, picture in list_rows(history, pictures, written):
                for tag, value in values.items():
                    writer.add_scalar(tag, value, step)
                if picture:
                    writer.add_image("episodes", np.asarray(Image.open(picture)), step, dataformats="HWC")
            writer.flush()
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror or error}; make room there, or leave --log tensorboard out"
            ) from error
        written = len(history)

    yield log


def check_wandb() -> None:
    """Raise UserError if wandb would ask for a login, or is a version that cannot be kept from asking."""
    import wandb

    if wandb.setup(wandb.Settings(silent=True)).settings.mode != "online":
        return
    try:
        is_ready = wandb.login(prompt=False, verify=False)
    except TypeError as error:
        raise UserError("--log wandb needs wandb 0.31 or newer (pip install -U wandb)") from error
    if not is_ready:
        raise UserError("--log wandb: nobody is logged in; run wandb login, or set WANDB_MODE=offline")


@contextmanager
def wandb_log(folder: Path, pictures: Path, name: str, config: Mapping[str, Any]) -> Iterator[Log]:
    """A log that writes a run's history, as it grows, into a run of Weights & Biases, which the end of the block ends.

    The run has an id of its own in the folder. Its first call starts it and logs the whole history, without what the
    server has: what was logged offline before a kill may be lost, and is written anew. Training outlives whatever
    fails in wandb: a note says it once, and nothing more is logged.
    """
    import wandb

    run, written, known, has_failed = None, 0, 0, False

    def start() -> wandb.Run:
        path = folder / "id"
        if not path.is_file():
            with atomic_write(path) as file:
                file.write(secrets.token_hex(8).encode())
        earlier = list(folder.glob("wandb/offline-run-*"))
        settings = wandb.Settings(console="off", silent=True, finish_timeout=UPLOAD_SECONDS)
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        named = {"project": project, "name": name, "id": path.read_text(), "config": dict(config)}
        started = wandb.init(**named, resume="allow", dir=folder, settings=settings)
        for each in earlier:  # the new one has all that they have
            shutil.rmtree(each, ignore_errors=True)
        how = f"wandb sync {Path(started.dir).parent} uploads it" if started.offline else started.url or "disabled"
        say(f"wandb: run {started.id}, {how}")
        return started

    def attempt(act: Callable[[], None]) -> None:
        nonlocal has_failed
        if has_failed:
            return
        try:
            act()
        except Exception as error:  # its service, its network, its disk
            has_failed = True
            say(f"note: wandb has failed ({first_line(error)}); the run goes on without it", file=sys.stderr)
            with suppress(Exception):  # else the end of the program tries again, with a traceback
                wandb.teardown(exit_code=1)

    def log(history: History) -> None:
        nonlocal run, written, known
        if run is None:
            run = start()
            known = run.step
        for step, values, picture in list_rows(history, pictures, written):
            if step >= known:
                shown = {"episodes": wandb.Image(str(picture))} if picture else {}
                run.log(values | shown, step=step, commit=True)  # without commit a row waits for the next one
        written = len(history)

    exit_code = 1
    try:
        yield lambda history: attempt(lambda: log(history))
        exit_code = 0
    finally:
        if run:
            attempt(lambda: run.finish(exit_code=exit_code))
