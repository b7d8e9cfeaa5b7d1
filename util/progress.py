"""Progress bars: for people only, on a terminal, on what takes longer than a second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from util.distributed import rank


def progress(items: Iterable[Any] | None, what: str, total: int, unit: str, initial: int = 0) -> tqdm:
    """The items under a bar that goes when it is done; none where stderr is a file or this is not the first process."""
    return tqdm(
        items, what, total, unit=unit, initial=initial, leave=False, delay=1, disable=None if rank() == 0 else True
    )
