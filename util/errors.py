"""One kind of error for everything a user can mend, and the one place that turns it into a line.

A :class:`UserError` says in one line what is wrong, in which file or flag, and the way out. Scripts
run under :func:`command`, which prints that line to stderr and leaves with exit code 2; any other
exception is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import torch

GRACE = 2  # seconds in which the process that caused the end of a run may say so, before the others speak


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag."""


def command(main: Callable[[], object]) -> None:
    """Run a script's ``main`` and end the process: 0 done, 2 user error, 130 Ctrl-C or SIGTERM."""
    code, line, cause = _run(main)  # when it is back no traceback keeps loader processes alive
    if code:
        if _is_mine_to_say(line, cause):
            print(line, file=sys.stderr)
        sys.exit(code)


def _run(main: Callable[[], object]) -> tuple[int, str, bool]:
    """The exit code, the last line, and whether it says a cause, not what another process's end has led to."""
    try:
        main()
    except UserError as error:
        return 2, f"error: {error}", True
    except torch.cuda.OutOfMemoryError:
        line = "lower --batch-size or --crop-size or raise --accumulate, in evaluation lower --cache-gb"
        return 2, f"error: the GPU's memory is full; {line}", True
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            line = "often for lack of (shared) memory; lower --workers, or --workers 0"
            return 2, f"error: a loader process was killed, {line}", True
        if launched() and _is_connection(error):
            line = "torchrun's report names it; a training goes on with --resume"
            return 2, f"error: another process of this run has ended; {line}", False
        raise
    except KeyboardInterrupt as error:
        return 130, "; ".join(filter(None, ("interrupted", str(error)))), False
    return 0, "", True


def launched() -> bool:
    """Whether torchrun started this process."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def _is_mine_to_say(line: str, cause: bool) -> bool:
    """Whether to print why this process ends: each cause is said once, anything else only where no other has spoken.

    torchrun's store counts, which outlives its processes.
    """
    if not launched():
        return True
    try:
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(*where, is_master=False, timeout=timedelta(seconds=5))
        said = f"ssp/said/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}"
        if not cause:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, for the end of another process
            time.sleep(GRACE)
            return store.add(said, 1) == 1
        store.add(said, 1)
        return store.add(f"{said}/{line}", 1) == 1
    except (RuntimeError, KeyError):  # the launcher has ended
        return True


def _is_connection(error: RuntimeError) -> bool:
    """Whether torch.distributed lost another process."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "Connection" in str(error)
