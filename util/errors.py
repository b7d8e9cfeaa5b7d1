"""One kind of error for everything a user can mend, and the one place that turns it into a line.

A :class:`UserError` says in one line what is wrong, in which file or flag, and the way out. Scripts
run under :func:`command`, which prints that line to stderr and leaves with exit code 2; any other
exception is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag."""


def command(main: Callable[[], None]) -> None:
    """Run a script's ``main`` and end the process: 0 done, 2 user error, 130 Ctrl-C."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
