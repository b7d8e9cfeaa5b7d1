"""The state of a training run on disk, with the one before it: a run can be killed at any moment."""

from __future__ import annotations

import glob
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoint import STATE_FORMAT as FORMAT
from engine.checkpoint import read, write
from engine.setting import Schedule, Setting
from util.distributed import say, values_of_all
from util.errors import UserError
from util.fields import Rule, check_fields, dict_of, list_of, number, one_of, scalar, whole, with_fields
from util.files import is_name

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("name", "best_name", "former")  # files are written and removed by these names
COUNTED = ("snapshot", "steps", "loss", "lr", "miou", "fb_iou")  # the numbers in a line of the history


def _are_weights(value: Any) -> bool:
    from model.weights import is_dense

    return isinstance(value, dict) and all(type(x) is str and is_dense(y) for x, y in value.items())


LOSSES = list_of(number())
# What a state holds.
STATE_RULES: dict[str, Rule] = {
    "format": one_of(FORMAT),
    "arguments": dict_of(scalar),
    "snapshot": whole(0),
    "losses": LOSSES,
    "history": list_of(with_fields({"losses": LOSSES, **dict.fromkeys(COUNTED, number())})),
    "state_dict": _are_weights,
    "best_state": _are_weights,
    "optimizer": lambda value: type(value) is dict,  # engine.training.trainer knows its parameters
    "scaler": dict_of(number()),
    "best_miou": number(),
    "finished": one_of(False, True),
    **dict.fromkeys(NAMES, lambda value: type(value) is str),
}
# Flags that may differ when a run goes on: they say where it runs, not what it does.
# The version before had tensorboard in place of log_to.
FREE = ("data_root", "out", "device", "workers", "cache_gb", "resume", "log_to", "tensorboard")


@dataclass
class Training:
    """Everything that a run needs to go on."""

    arguments: dict[str, Any]
    snapshot: int = 0  # finished ones
    losses: list[float] = field(default_factory=list)  # the steps of the snapshot under way
    state_dict: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    name: str = ""  # what the files of this run begin with, such as resnet50_1shot_2
    best_miou: float = -1.0
    best_name: str = ""  # the files of the best weights
    best_state: dict[str, Tensor] = field(default_factory=dict)
    former: str = ""  # the files of the best weights before, still to be removed
    finished: bool = False


def state_of(setting: Setting, out: str | Path) -> Path:
    """The file of the state of a setting's run."""
    return setting.folder(out) / f"{setting.name}.last"


def how_to_go_on(last: Path) -> str:
    """The last words of a run that was interrupted, by the file of its state."""
    return "go on with --resume" if _candidates(last) else "nothing was saved yet"


def plain_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as values that a file of plain tensors can hold."""
    return {k: v if isinstance(v, (bool, int, float, type(None))) else str(v) for k, v in flags.items()}


def find_training(last: Path, flags: Mapping[str, Any], resume: bool) -> Training | None:
    """The state of an earlier run to go on from, or of a finished one; None to start a run.

    Raises UserError if it had other flags, the state is damaged, an unfinished run is not to be resumed, or the
    processes of a run do not find the same.
    """
    state = load_training(last)
    if not resume:
        if state and not state.finished:
            raise UserError(f"{last}: an unfinished run; go on with --resume, or remove it, or choose another --out")
        return None
    if state is not None:
        check_same(last, state.arguments, flags)
    elif any(last.parent.glob(f"{glob.escape(last.stem)}_*")):  # a first run needs no word
        say(f"{last}: is gone, so there is no run to resume; starting one")
    found = (state.snapshot, len(state.losses), state.finished) if state else None
    if any(each != found for each in values_of_all(found)):
        raise UserError(f"{last}: not all machines see the same state there; --out must be one folder that all share")
    return state


def save_training(path: Path, training: Training) -> None:
    """Write the state atomically; the one before it is kept as PATH.previous until the run is finished."""
    fresh = path.with_name(f"{path.name}.new")
    write(fresh, {"format": FORMAT, **asdict(training)})
    if path.is_file():
        path.replace(previous_of(path))
    fresh.replace(path)
    if training.finished:
        previous_of(path).unlink(missing_ok=True)


def previous_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def keep_finished(path: Path) -> None:
    """Make room for a new run's state: that of a finished one is kept as PATH.1, the next as PATH.2, and so on."""
    if path.is_file():
        previous_of(path).unlink(missing_ok=True)  # the finished run's too, if a kill has left it
        numbered = (path.with_name(f"{path.name}.{number}") for number in count(1))
        path.replace(next(each for each in numbered if not each.exists()))


def load_training(path: Path) -> Training | None:
    """The state to go on from; None if there is none; the previous one, with a note, if the last is damaged.

    Raises UserError if both are damaged, or one cannot be read.
    """
    damage: UserError | None = None
    for file in _candidates(path):
        try:
            training = _load(file)
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # nobody knows whether it is damaged
                raise
            damage = damage or error
            continue
        if damage:
            say(f"note: {damage}; going on from {file.name}", file=sys.stderr)
        return training
    if damage:
        raise UserError(f"{damage}; remove it, and {path.name}.previous, to start anew") from damage
    return None


def _candidates(path: Path) -> list[Path]:
    """The files that hold the state, the newest first; a folder in its place is not passed over."""
    return [file for file in (path, previous_of(path)) if file.exists()]


def _load(path: Path) -> Training:
    content = {"former": "", **read(path)}  # the version before did not write it
    try:
        check_fields(content, STATE_RULES)
    except ValueError as error:
        raise UserError(f"{path}: not the state of a training run") from error
    for name in filter(None, (content[each] for each in NAMES)):
        if not is_name(name):
            raise UserError(f"{path}: names a file outside its folder: {name!r:.40}; somebody has edited it")
    return Training(**{each.name: content[each.name] for each in fields(Training)})


def check_counts(path: Path, state: Training, schedule: Schedule) -> None:
    """Raise UserError if a state has more snapshots or steps than its run, or another number than its history."""
    is_within = state.snapshot <= schedule.snapshots and len(state.losses) <= schedule.steps
    if not is_within or len(state.history) != state.snapshot:
        what = "its counts contradict each other or the flags"
        raise UserError(f"{path}: not the state of this run: {what}; remove it to start anew")


def check_same(path: Path, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise UserError, naming the flags, if a resumed run was started with other ones."""
    if saved.get("code") != given.get("code"):
        raise UserError(f"{path}: was started with other custom code; choose another --out")
    if saved.get("method_code") not in (None, given.get("method_code")):  # None: a run of the version before
        raise UserError(f"{path}: the method's code in model/ has changed since; undo that, or choose another --out")
    other = []
    for name in sorted({*saved, *given} - {*FREE, "method_code"}):
        now, before = ("not given" if flags.get(name) is None else flags[name] for flags in (given, saved))
        if now != before:
            other.append(f"--{name.replace('_', '-')} {now} (was {before})")
    if other:
        raise UserError(f"{path}: was started with other flags: {', '.join(other)}; give the same, or another --out")
