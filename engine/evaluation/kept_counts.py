"""What a long evaluation has counted so far, in a file from which a killed one goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.checkpoint import read, write
from util.distributed import any_process, rank, say, world
from util.errors import UserError
from util.fields import Rule, check_fields, one_of

FORMAT = "ssp-counts-1"
EVERY = 20  # seconds between two savings


class KeptCounts:
    """The file of one process.

    Arguments:
        folder: where it is.
        key: a digest of all that the counts depend on; a file with another one is not taken.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"counts_{rank()}_of_{world()}.last"
        self.key = key
        self.saved = time.monotonic()

    def load(self, rules: Mapping[str, Rule]) -> dict[str, Any] | None:
        """What was kept, checked by rules; None, in every process, if any has nothing that fits."""
        found = None
        try:
            if self.path.is_file():
                found = read(self.path)
                check_fields(found, {"format": one_of(FORMAT), "key": one_of(self.key), **rules})
        except (UserError, ValueError) as error:
            found = None
            say(f"note: {self.path}: of another evaluation, or damaged ({error}); counted anew")
        return None if any_process(found is None) else found

    def save(self, content: Callable[[], Mapping[str, Any]]) -> None:
        """Keep what was counted, if the last time is long ago."""
        if time.monotonic() - self.saved >= EVERY:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write(self.path, {"format": FORMAT, "key": self.key, **content()})
            self.saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file of a finished evaluation."""
        self.path.unlink(missing_ok=True)
