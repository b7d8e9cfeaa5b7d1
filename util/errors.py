"""One kind of error for everything a user can mend, and the one place that turns it into a line.

A :class:`UserError` says in one line what is wrong, in which file or flag, and the way out. Scripts
run under :func:`command`, which prints that line to stderr and leaves with exit code 2; any other
exception is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import timedelta

import torch


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag."""


def command(main: Callable[[], object]) -> None:
    """Run a script's ``main`` and end the process: 0 done, 2 user error, 130 Ctrl-C or SIGTERM."""
    code, line = _run(main)  # when it is back no traceback keeps loader processes alive
    if code:
        if _first_to_say():
            print(line, file=sys.stderr)
        sys.exit(code)


def _run(main: Callable[[], object]) -> tuple[int, str]:
    """The exit code and the last line."""
    try:
        main()
    except UserError as error:
        return 2, f"error: {error}"
    except torch.cuda.OutOfMemoryError:
        return 2, (
            "error: the GPU's memory is full; lower --batch-size or --crop-size or raise --accumulate, in evaluation "
            "lower --cache-gb"
        )
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            return 2, (
                "error: a loader process was killed, often for lack of (shared) memory; lower --workers, or --workers 0"
            )
        if launched() and _is_connection(error):
            return 2, "error: another process of this run has ended; see what it says, then go on with --resume"
        raise
    except KeyboardInterrupt as error:
        return 130, "; ".join(filter(None, ("interrupted", str(error))))
    return 0, ""


def launched() -> bool:
    """Whether torchrun started this process."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def _first_to_say() -> bool:
    """Whether no other process of this run has said why it ends: torchrun's store, which outlives them, counts."""
    if not launched():
        return True
    try:
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(*where, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f"ssp/said/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1
    except (RuntimeError, KeyError):  # the launcher has ended
        return True


def _is_connection(error: RuntimeError) -> bool:
    """Whether torch.distributed lost another process."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "Connection" in str(error)
