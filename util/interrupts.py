"""Ctrl-C, SIGTERM and SIGHUP as a request to save and leave, honoured between two training steps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from util.distributed import is_first_here, launched, say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a cluster's end of time, a terminal that was closed


class Interrupts:
    """Whether the user, or a cluster, has asked to stop; see :func:`interrupts`."""

    def __init__(self) -> None:
        self.asked = 0  # the number of the signal
        self.delayed = False  # whether a signal waits for the end of a step

    @contextmanager
    def delay(self) -> Iterator[None]:
        """Signals that come in this block are only noted, in :attr:`asked`; a second one ends it at once."""
        self.delayed = True
        try:
            yield
        finally:
            self.delayed = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        again, self.asked = bool(self.asked), number
        if again or not self.delayed:
            raise KeyboardInterrupt
        say("stopping after this step; once more stops at once", file=sys.stderr)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Take the signals over for the block; outside :meth:`Interrupts.delay` each is a KeyboardInterrupt.

    A SIGHUP that is ignored, as under nohup, stays so.
    """
    asked = Interrupts()
    taken = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    former = {number: signal.signal(number, asked.handle) for number in taken}
    try:
        yield asked
    except BaseException:
        if launched():  # where one process ends torchrun stops the others, which have yet to say why
            former[signal.SIGTERM] = signal.SIG_IGN
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def no_interrupts() -> Iterator[None]:
    """Signals that come in this block wait for its end; a process that is forked in it waits for its own word."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_interrupts_to_parent(terminate: Callable[..., object] | signal.Handlers = signal.SIG_IGN) -> None:
    """Signals reach all: one forked under no_interrupts ignores them, or answers SIGTERM with ``terminate``."""
    for number in SIGNALS:
        signal.signal(number, terminate if number == signal.SIGTERM else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave_at_once() -> None:
    """Make each of the signals end this process with one word, without cleaning up, as while modules are imported."""

    def leave(*_: object) -> None:
        if is_first_here():  # of torchrun's processes
            with suppress(OSError):  # a terminal that was closed
                os.write(2, b"interrupted\n")
        os._exit(130)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave)
