"""Scripts run in forked processes, which may be killed, or join each other as torchrun's do."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable


def start_child(work: Callable[[], object]) -> int:
    """Start something in a forked process; its number."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 1)
        except BaseException:
            traceback.print_exc()
        finally:  # whatever happens, this process must not go on as the tests
            os._exit(99)
    return child


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process; its wait status."""
    return os.waitpid(start_child(work), 0)[1]


def in_two_processes(work: Callable[[], object]) -> None:
    """Run something in two processes with the variables that torchrun sets; both must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def join(rank: int) -> None:
        names = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        os.environ |= dict(zip(names, ("tests", str(rank), str(rank), "2", "127.0.0.1", port), strict=True))
        work()

    children = [start_child(lambda rank=rank: join(rank)) for rank in (0, 1)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
