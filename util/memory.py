"""How a process gets its memory from the operating system."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names in glibc's mallopt


def keep_freed_memory() -> bool:
    """Have what is freed used again, in place of giving it back to the system; whether the C library can.

    glibc maps every block of more than 32 MB anew, and the system clears each of its pages: on a CPU a third of the
    time of a training step at crop 473. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS and Windows
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
