"""Progress bars: for people only, on a terminal, on what takes longer than a second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from util.distributed import rank


def progress(
    items: Iterable[Any] | None, what: str, total: int, unit: str, initial: int = 0, scale: bool = False
) -> tqdm:
    """Give the items, ``initial`` of them done already, under a bar that vanishes when it is done.

    None for the items: the caller moves the bar. Only the first process has one, and only on a terminal.
    """
    hidden = None if rank() == 0 else True
    return tqdm(items, what, total, unit=unit, initial=initial, unit_scale=scale, leave=False, delay=1, disable=hidden)
