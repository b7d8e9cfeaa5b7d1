"""One kind of error for everything a user can mend, and the one place that turns it into a line.

A :class:`UserError` says in one line what is wrong, in which file or flag, and the way out. Scripts
run under :func:`command`, which prints that line to stderr and leaves with exit code 2; any other
exception is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag."""


def command(main: Callable[[], object]) -> None:
    """Run a script's ``main`` and end the process: 0 done, 2 user error, 130 Ctrl-C or SIGTERM."""
    code, line = _run(main)  # when it is back no traceback keeps loader processes alive
    if code:
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
        if torch.distributed.is_available() and torch.distributed.is_initialized() and _is_connection(error):
            return 2, "error: another process of this run has ended; see what it says, then go on with --resume"
        raise
    except KeyboardInterrupt:
        return 130, "interrupted"
    return 0, ""


def _is_connection(error: RuntimeError) -> bool:
    """Whether torch.distributed lost another process."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "Connection" in str(error)
