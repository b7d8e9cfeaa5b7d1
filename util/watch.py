"""A watch on the other processes of a run, which ends this one when a machine or the network between them is gone.

A process that ends closes its connections, and torch.distributed tells the others at once. A machine without power or
network closes nothing: gloo waits half an hour for it, NCCL ten minutes. So each process counts on in the store through
which all found each other, and looks whether the others do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from util.errors import join_names

INTERVAL = 3.0  # seconds of a round
SILENCE = 10  # rounds in which nothing is heard; counted, as seconds also pass while this process is suspended
LEFT = 1 << 40  # added by a process that has done its part, which then is missed no more


@contextmanager
def watch_others(rank: int, world: int, speaks: bool) -> Iterator[None]:
    """Watch the other processes for the block, at whose end they are told that this one has done its part.

    When one is silent for SILENCE rounds this process ends with exit code 2, at once: its main thread may wait in torch
    for what never comes. A process that speaks says why, before those that do not end.
    """
    from torch.distributed import TCPStore

    # a connection of its own: one that waits holds up whoever shares it
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, wait_for_workers=False)
    silent = {other: 0 for other in range(world) if other != rank}  # rounds since each was heard
    leaving = Event()

    def count_on() -> None:
        with suppress(RuntimeError):  # the store is gone: nobody is heard from now on
            store.set(_key(rank), "0")
            counts = dict.fromkeys(silent, 0)
            while not leaving.wait(INTERVAL):
                store.add(_key(rank), 1)
                for other, before in counts.items():
                    counts[other] = store.add(_key(other), 0)
                    if counts[other] != before or before >= LEFT:
                        silent[other] = 0
            store.add(_key(rank), LEFT)

    def look() -> None:
        patience = SILENCE if speaks else SILENCE + 2
        while not leaving.wait(INTERVAL):
            for other in silent:
                silent[other] += 1
            if missed := [other for other, rounds in silent.items() if rounds >= patience]:
                _end(missed if len(missed) < len(silent) else [], speaks)

    counting = Thread(target=count_on, daemon=True)
    counting.start()
    Thread(target=look, daemon=True).start()

    try:
        yield
    finally:
        leaving.set()
        counting.join(INTERVAL)  # no longer: the store may not answer


def _key(rank: int) -> str:
    return f"ssp/alive/{rank}"


def _end(missed: list[int], speaks: bool) -> None:
    """End this process. missed: the processes that are silent; none: all others."""
    if speaks:
        who = f"process {join_names(missed)}" if missed else "the other processes"
        seconds = f"{INTERVAL * SILENCE:.0f} s"
        line = f"error: nothing was heard of {who} of this run for {seconds}: a machine or the network is down"
        with suppress(OSError):  # a terminal that was closed
            print(f"{line}; a training goes on with --resume", file=sys.stderr, flush=True)
    os._exit(2)
