"""Ctrl-C and SIGTERM as a request to save and leave, honoured between two training steps."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from util.distributed import launched, say


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
        say("stopping after this step; once more stops at once", sys.stderr)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Take SIGINT and SIGTERM over for the block; outside :meth:`Interrupts.delay` either is a KeyboardInterrupt."""
    asked = Interrupts()
    former = {number: signal.signal(number, asked.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    except BaseException:
        if launched():  # where one process ends torchrun stops the others, which have yet to say why
            former[signal.SIGTERM] = signal.SIG_IGN
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
