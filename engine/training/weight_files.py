"""The files of a run's best weights: a plain state dict, and a checkpoint that knows its training."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoint import Checkpoint, save_checkpoint, save_weights
from engine.setting import SUFFIX, Setting

if TYPE_CHECKING:
    from torch import Tensor


def free_stem(stem: Path, own: Path | None = None) -> Path:
    """The stem, with _2, _3 ... if files of an earlier run have it. ``own``, a stem of this run, counts as free.

    The state of a run that is not finished does not count as a file of an earlier run.
    """

    def is_taken(x: Path) -> bool:
        return any(".last" not in path.suffixes for path in stem.parent.glob(f"{glob.escape(x.name)}.*"))

    candidates = (stem if number == 1 else stem.with_name(f"{stem.name}_{number}") for number in count(1))
    return next(x for x in candidates if x == own or not is_taken(x))


def suffixes(setting: Setting) -> tuple[str, ...]:
    """Of the files of weights: a plain state dict, as the release has, is that of one of the paper's networks."""
    return (".pth", SUFFIX) if setting.is_papers else (SUFFIX,)


def save_run(
    stem: Path, setting: Setting, state: Mapping[str, Tensor], info: dict[str, Any], previous: Path | None
) -> None:
    """Write STEM.ckpt, and STEM.pth of one of the paper's networks; then remove the files of the previous stem."""
    if setting.is_papers:
        save_weights(f"{stem}.pth", state)
    save_checkpoint(f"{stem}{SUFFIX}", Checkpoint(dict(state), info))
    if previous is not None and previous != stem:
        for suffix in suffixes(setting):
            Path(f"{previous}{suffix}").unlink(missing_ok=True)
