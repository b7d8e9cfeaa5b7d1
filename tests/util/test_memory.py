"""Freed memory is kept, where the C library can."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from util.memory import keep_freed_memory

HEAP = textwrap.dedent(
    """
    from pathlib import Path
    import torch
    from util.memory import keep_freed_memory

    def heap():
        line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[heap]"))
        return [int(end, 16) for end in line.split()[0].split("-")]

    if {keep}:
        assert keep_freed_memory()
    blocks = [torch.empty(2**24) for _ in range(4)]  # of 64 MB
    start, end = heap()
    print(all(start <= block.data_ptr() < end for block in blocks))
    del blocks
    start, end = heap()
    print(end - start >= 4 * 2**26)
    """
)


def in_the_heap_and_kept(keep: bool) -> list[str]:
    """Whether large blocks lie in the heap, and whether it stays as large when they are freed; in a new process."""
    root = Path(__file__).parents[2]
    return subprocess.check_output([sys.executable, "-c", HEAP.format(keep=keep)], cwd=root, text=True).split()


def test_freed_blocks_stay_in_the_heap() -> None:
    if not (sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")):
        pytest.skip("only glibc is told")
    assert in_the_heap_and_kept(False) == ["False", "False"]
    assert in_the_heap_and_kept(True) == ["True", "True"]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
