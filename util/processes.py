"""Work on many files in several processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

from util.errors import UserError
from util.interrupts import leave_interrupts_to_parent, no_interrupts
from util.progress import progress

CHUNK = 64  # files a process takes at a time


def map_files(
    work: Callable[..., Any], *arguments: Iterable[Any], count: int, what: str, unit: str, workers: int | None = None
) -> Iterator[Any]:
    """Work on many files under a progress bar, in several processes; gives the results in order.

    The first error ends it; so does Ctrl-C, without a word from the processes, which never outlive this one.

    Arguments:
        work: called with one of each of the arguments, iterables of equal length ``count``.
        what, unit: words for the bar.
        workers: processes, all cores by default; none but this one for 0, or for few files.
    """
    workers = min((os.cpu_count() or 1) if workers is None else workers, -(-count // CHUNK))
    if workers <= 1:
        yield from progress(map(work, *arguments), what, count, unit)
        return
    # forking is instant; these processes touch neither torch's threads nor a GPU
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start) as pool:
        try:
            with no_interrupts():
                results = pool.map(work, *arguments, chunksize=CHUNK)
            yield from progress(results, what, count, unit)
        except BrokenProcessPool as error:
            raise UserError(f"{what}: a process was killed, often for lack of memory; lower --workers") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def keep_inherited() -> None:
    """Let a forked process never collect what it inherited: PyAV's garbage would wait for threads of its parent's."""
    gc.freeze()


def _start() -> None:
    keep_inherited()
    leave_interrupts_to_parent()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
