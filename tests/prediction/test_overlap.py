"""Reading ahead and writing behind: the order, the first error, and how many images are held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from prediction.overlap import overlap

Step = Callable[..., object]


def steps(log: list[str], fails: str = "", error: type[BaseException] = ValueError, slow: str = "") -> tuple[Step, ...]:
    """Reading, work and writing of numbers, which keep a log; one of their calls fails, one kind takes long."""

    def do(what: str, number: int) -> int:
        if what == slow:
            time.sleep(0.02)
        if f"{what} {number}" == fails:
            raise error(fails)
        log.append(f"{what} {number}")
        return number

    return (
        lambda number: do("read", number),
        lambda number: -do("work", number),
        lambda number, image, found: do("write", number) if (number, -number) == (image, found) else 1 / 0,
    )


@pytest.mark.parametrize("slow", ["read", "work", "write"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_is_done_in_order(count: int, slow: str) -> None:
    log: list[str] = []
    overlap(range(count), *steps(log, slow=slow))
    for what in ("read", "work", "write"):
        assert [line for line in log if line.startswith(what)] == [f"{what} {number}" for number in range(count)]
    for number in range(2, count):  # three are held at most: one is read once the last but two is written
        assert log.index(f"write {number - 2}") < log.index(f"work {number}")


def test_reading_and_writing_run_beside_the_work() -> None:
    """Each waits until all three are under way."""
    together = threading.Barrier(3, timeout=10)

    def wait_at(item: int) -> Step:
        return lambda number, *_: (together.wait() if number == item else None, number)[1]

    overlap(range(4), wait_at(3), wait_at(2), wait_at(1))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("fails", "written"),
    [("read 0", 0), ("work 0", 0), ("write 0", 0), ("read 2", 2), ("work 2", 2), ("write 2", 2), ("write 3", 3)],
)
def test_what_came_before_an_error_is_written(fails: str, written: int, error: type[BaseException]) -> None:
    log: list[str] = []
    with pytest.raises(error, match=f"^{fails}$"):
        overlap(range(4), *steps(log, fails, error))
    assert [line for line in log if line.startswith("write")] == [f"write {number}" for number in range(written)]


@pytest.mark.parametrize("later", ["read", "work"])
def test_the_error_of_the_first_item_is_raised(later: str) -> None:
    """Although that of the second is met earlier."""
    met = threading.Event()

    def fail(number: int) -> int:
        if number == 0:
            return number
        met.set()
        raise ValueError("the second")

    def write(*_: object) -> None:
        met.wait(10)
        raise ValueError("the first")

    functions = {"read": lambda number: number, "work": lambda number: number, later: fail}
    with pytest.raises(ValueError, match="the first"):
        overlap(range(3), functions["read"], functions["work"], write)
    assert met.is_set()
