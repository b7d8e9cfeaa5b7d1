"""A run that is killed at any rename or fsync, and resumed, ends with the files and weights of an uninterrupted one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

import main as training
from tests.test_resume import LAST, flags, results, same

POINTS = ("fsync", "replace", "rename")  # of os: what makes a file last, and what gives it its name


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:  # whatever happens, this process must not go on as the tests
            os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(number: int, argv: list[str]) -> bool:
    """Run main.py until its n-th such call, which is a kill; False if it came to its end before."""

    def work() -> None:
        calls = count(1)

        def deadly(call: Callable[..., object]) -> Callable[..., object]:
            def before(*arguments: object, **options: object) -> object:
                if next(calls) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)

            return before

        for name in POINTS:
            setattr(os, name, deadly(getattr(os, name)))
        training.main(argv)

    return os.WIFSIGNALED(in_child(work))


def names(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple, list[str]]:
    out = tmp_path_factory.mktemp("whole")
    training.main(flags(toy, out, "--resume"))
    return results(out), names(out)


def goes_on(toy: Path, out: Path, number: int, whole: tuple[tuple, list[str]]) -> bool:
    """Whether the run was killed at this point; if so, it must end as the whole one did."""
    argv = flags(toy, out, "--resume")
    if not killed_at(number, argv):
        return False
    training.main(argv)
    assert same(results(out), whole[0]), number
    assert names(out) == whole[1], number
    assert (out / LAST).is_file()
    return True


@pytest.mark.parametrize("number", [10])  # all of them: below
def test_a_kill_while_the_best_weights_are_written(
    toy: Path, tmp_path: Path, whole: tuple[tuple, list[str]], number: int
) -> None:
    """The state names them, the .pth is there, the .ckpt is not."""
    assert goes_on(toy, tmp_path, number, whole)


@pytest.mark.slow
def test_a_kill_at_every_rename_and_fsync(
    toy: Path, tmp_path_factory: pytest.TempPathFactory, whole: tuple[tuple, list[str]]
) -> None:
    points = 0
    for number in count(1):
        if not goes_on(toy, tmp_path_factory.mktemp(f"kill_{number}"), number, whole):
            break
        points = number
    assert points > 40
