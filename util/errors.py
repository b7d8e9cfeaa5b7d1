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
    """Run a script's ``main`` and end the process: 0 done, 2 user error, 130 Ctrl-C."""
    try:
        main()
    except UserError as error:
        _leave(str(error))
    except torch.cuda.OutOfMemoryError:
        _leave("the GPU's memory is full; lower --batch-size or --crop-size, in evaluation --cache-gb")
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        _leave("a loader process was killed, often for lack of (shared) memory; lower --workers, or --workers 0")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _leave(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)
