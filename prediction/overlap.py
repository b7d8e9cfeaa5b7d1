"""Read, work and write: one after the other, or at the same time, so that a GPU need not wait for image files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from typing import Any


def take_turns(
    items: Sequence[Any],
    read: Callable[[Any], Any],
    work: Callable[[Any], Any],
    write: Callable[[Any, Any, Any], object],
) -> None:
    """For each item in turn: ``image = read(item)``, ``found = work(image)``, ``write(item, image, found)``."""
    for item in items:
        image = read(item)
        write(item, image, work(image))


def overlap(
    items: Sequence[Any],
    read: Callable[[Any], Any],
    work: Callable[[Any], Any],
    write: Callable[[Any, Any, Any], object],
) -> None:
    """As :func:`take_turns`, but reading runs one item ahead, and writing one behind, each in a thread of its own.

    The work is done by the caller's thread. There are three images at most. What is raised is what would be raised in
    turn: the error of the first item that has one, after all before it is written. A write that has begun ends.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reading = reader.submit(read, items[0])
        writing: Future[object] | None = None
        for item, following in zip_longest(items, items[1:]):
            try:
                image = reading.result()
                if following is not None:
                    reading = reader.submit(read, following)
                found = work(image)
            finally:  # an error of the item before comes first
                if writing is not None:
                    writing.result()
            writing = writer.submit(write, item, image, found)
        writing.result()
