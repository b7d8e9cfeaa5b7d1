"""Freed memory is kept, where the C library can."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.files import CHECKOUT

HEAP = """
from pathlib import Path
import torch
from util.memory import keep_freed_memory

def heap():
    line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("[heap]"))
    return [int(end, 16) for end in line.split()[0].split("-")]

def allocate():
    blocks = [torch.empty(2**24) for _ in range(4)]  # of 64 MB
    start, end = heap()
    print(all(start <= block.data_ptr() < end for block in blocks))
    del blocks
    start, end = heap()
    print(end - start >= 4 * 2**26)

allocate()
assert keep_freed_memory()
allocate()
"""


def test_freed_blocks_stay_in_the_heap() -> None:
    """Large blocks lie in the heap, which stays as large when they are freed; before neither is so."""
    if not (sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")):
        pytest.skip("only glibc is told")
    said = subprocess.check_output([sys.executable, "-c", HEAP], cwd=CHECKOUT, text=True)
    assert said.split() == ["False", "False", "True", "True"]
