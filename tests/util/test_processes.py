"""Work on files in several processes: order, errors, and that nothing outlives the process that started it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.files import CHECKOUT
from util.processes import CHUNK, map_files

FILES = 2 * CHUNK + 5


def both(number: int, text: str) -> tuple[int, str, int]:
    return number, text, os.getpid()


def fails(number: int, folder: Path) -> int:
    (folder / str(number)).touch()
    if number == 7:
        raise ValueError(f"file {number}")
    return number


@pytest.mark.parametrize(("workers", "count"), [(0, FILES), (1, FILES), (2, 5), (2, FILES), (None, 3)])
def test_results_are_in_order_whoever_works(workers: int | None, count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    found = list(map_files(both, range(count), texts, count=count, what="working", unit="file", workers=workers))
    assert [entry[:2] for entry in found] == list(enumerate(texts))
    alone = workers in (0, 1) or count <= CHUNK
    processes = {entry[2] for entry in found}
    assert (processes == {os.getpid()}) == alone
    assert (os.getpid() in processes) == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_error_ends_it(tmp_path: Path, workers: int) -> None:
    count = 40 * CHUNK
    with pytest.raises(ValueError, match="file 7"):
        list(
            map_files(
                fails, range(count), [tmp_path] * count, count=count, what="working", unit="file", workers=workers
            )
        )
    worked_on = {int(path.name) for path in tmp_path.iterdir()}
    assert set(range(8)) <= worked_on
    assert len(worked_on) < count / 2  # chunks that were begun are finished, no others are begun


SLOW = """
import os, sys, time
from pathlib import Path
from util.processes import map_files

count, folder = int(sys.argv[1]), sys.argv[2]

def work(number: int) -> None:
    Path(folder, f"{os.getpid()} {number}").touch()
    while not number and not Path(folder, "go on").exists():
        time.sleep(0.01)

try:
    list(map_files(work, range(count), count=count, what="working", unit="file", workers=2))
except KeyboardInterrupt:
    print("interrupted")
"""


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def state(process: int) -> str:
    """As /proc has it: S sleeps, Z has ended though nobody has asked about it, X is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def is_alive(process: int) -> bool:
    return state(process) not in ("Z", "X")


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="needs /proc")


@needs_proc
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """Two workers, one with work that never ends, one with none."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, "128", str(tmp_path)], cwd=CHECKOUT, start_new_session=True)
    try:
        assert wait_for(lambda: len(list(tmp_path.iterdir())) >= 65)
        workers = {int(path.name.split()[0]) for path in tmp_path.iterdir()}
        assert len(workers) == 2
        assert all(map(is_alive, workers))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_for(lambda: not any(map(is_alive, workers)))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@needs_proc
@pytest.mark.usefixtures("signals_arrive")
def test_a_worker_without_work_says_nothing_at_ctrl_c(tmp_path: Path) -> None:
    """As from a terminal, which tells every process; the other worker finishes its files."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "65", str(tmp_path)],
        cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        assert wait_for(lambda: {path.name.split()[1] for path in tmp_path.iterdir()} == {"0", "64"})
        (idle,) = (int(path.name.split()[0]) for path in tmp_path.glob("* 64"))
        assert wait_for(lambda: state(idle) == "S")  # it waits for more
        os.killpg(process.pid, signal.SIGINT)
        (tmp_path / "go on").touch()
        printed, errors = process.communicate(timeout=60)
    assert errors == ""
    assert printed == "interrupted\n"
    assert len(list(tmp_path.glob("[0-9]*"))) == 65


class Inherited:
    """Garbage of the parent that tells which process collected it."""

    def __init__(self, folder: Path) -> None:
        self.itself, self.folder, self.parent = self, folder, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.parent:
            (self.folder / "collected").touch()


def collect(number: int) -> int:
    gc.collect()
    return number


def test_processes_do_not_collect_what_they_inherited(tmp_path: Path) -> None:
    gc.disable()
    try:
        Inherited(tmp_path)
        assert sum(map_files(collect, range(FILES), count=FILES, what="working", unit="file", workers=2)) > 0
    finally:
        gc.enable()
    assert list(tmp_path.iterdir()) == []
