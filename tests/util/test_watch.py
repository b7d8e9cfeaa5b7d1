"""A process that no longer answers ends the others; one that has done its part, or waits as they do, does not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from tests.hostile.children import start_child
from util import watch

SILENT = 0.2 * watch.SILENCE  # seconds


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """The store of a run whose rounds are short."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=30))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setattr(watch, "INTERVAL", 0.2)
    return store


def started(rank: int, speaks: bool, work: Callable[[], object]) -> int:
    def watched() -> None:
        with watch.watch_others(rank, 3, speaks):
            work()

    return start_child(watched)


def code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_frozen_process_is_named_by_the_one_that_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    frozen = started(1, False, freeze)
    waiting = [started(rank, speaks, lambda: time.sleep(60)) for rank, speaks in ((0, True), (2, False))]
    try:
        assert [code(child) for child in waiting] == [2, 2]
    finally:
        os.kill(frozen, signal.SIGKILL)
        os.waitpid(frozen, 0)
    line = "error: nothing was heard of process 1 of this run for 2 s: a machine or the network is down; "
    printed = capfd.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_processes_that_leave_or_wait_are_not_missed() -> None:
    ends = {0: 2 * SILENT, 1: 2 * SILENT, 2: 0}  # seconds
    children = [started(rank, True, lambda s=seconds: time.sleep(s)) for rank, seconds in ends.items()]
    assert [code(child) for child in children] == [0, 0, 0]
