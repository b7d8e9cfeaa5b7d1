"""The edge of every program: errors become one line and an exit code.

Scripts run their ``main`` under :func:`command`. A :class:`UserError` is printed to stderr as one line, with exit
code 2; any exception that is not foreseen here is a defect of this project and keeps its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from util.distributed import launched
from util.errors import UserError, fills_gpu

WAIT_FOR_CAUSE = 2  # seconds that a process waits for another one to name the cause of a run's end


def command(main: Callable[[], object]) -> None:
    """Run a script's ``main`` and end the process.

    Exit codes: 0 after success, 2 after an error that the user can mend, 130 after Ctrl-C or SIGTERM.
    """
    code, line, is_cause = _run(main)  # after the return no traceback keeps loader processes alive
    if code:
        if _speaks(is_cause):
            print(line, file=sys.stderr)
        sys.exit(code)


def _run(main: Callable[[], object]) -> tuple[int, str, bool]:
    """The exit code, the last line, and whether the line names a cause rather than the end of another process."""
    try:
        main()
    except UserError as error:
        return 2, f"error: {error}", True
    except RuntimeError as error:
        if fills_gpu(error):
            line = "lower --batch-size or --crop-size or raise --accumulate, in evaluation lower --cache-gb"
            return 2, f"error: the GPU's memory is full; {line}", True
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


def _speaks(is_cause: bool) -> bool:
    """Whether this process prints why the run ends: under torchrun one does, if possible one that knows the cause."""
    if not launched():
        return True
    if not is_cause:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it when another process has ended
        time.sleep(WAIT_FOR_CAUSE)
    try:
        import torch

        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(*address, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f"ssp/ended/{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1
    except (RuntimeError, KeyError):  # the launcher, which keeps the store, has ended
        return True


def _is_connection(error: RuntimeError) -> bool:
    """Whether torch.distributed lost another process."""
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "Connection" in str(error)
