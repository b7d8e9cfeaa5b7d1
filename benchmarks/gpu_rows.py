"""What the sections of benchmarks.gpu share: how much is measured, a measurement, rows and their table."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch

from benchmarks.timing import timed
from util.errors import first_line

Numbers = dict[str, float | str | None]
Row = tuple[str, Numbers]
NOTES = ("skipped", "failed")  # what a row has in place of numbers: the reason


class Job(NamedTuple):
    """What is measured, and how much; its first four fields are what benchmarks.training.both_ways reads."""

    crop_size: int  # side of training crops, pixels
    batch_size: int
    steps: int  # steps of each way to train, after one that warms up
    episodes: int  # episodes that the planned engine runs
    plain: int  # how many of them the plain engine runs
    rounds: int  # rounds of either engine, after one that warms up
    side: int  # side of painted images, pixels
    workers: int  # loader processes
    data_root: str = ""
    checkpoint: str | None = None


FULL = Job(473, 4, 8, 200, 12, 3, 433, min(4, os.cpu_count() or 1))  # 433 squared: as many pixels as VOC's images have
SMALL = Job(65, 2, 3, 3, 2, 1, 129, 0)


def row(name: str, work: Callable[..., Numbers], *args: Any) -> Row:
    """What was measured, or why it failed: what comes after it is measured all the same."""
    try:
        return name, work(*args)
    except Exception as error:
        return name, failure(error)


def failure(error: Exception) -> Numbers:
    """What a row says of an error, whose traceback is printed."""
    traceback.print_exception(error)
    return {"failed": first_line(error)}


def measured(work: Callable[[int], Any], rounds: int) -> tuple[float, list[Any], float | None]:
    """Measure some rounds that follow one which warms up.

    Arguments:
        work: is given the number of its round, 0 as it warms up.
        rounds: without that one.
    Returns:
        Median seconds of a round, the results of all, and the peak memory of the CUDA device in 2**30 bytes.
    """
    on_cuda = torch.cuda.is_available()
    gc.collect()  # what was measured before may hold memory still
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds, results = zip(*(timed(partial(work, number)) for number in range(1 + rounds)), strict=True)
    return median(seconds[1:]), list(results), torch.cuda.max_memory_allocated() / 2**30 if on_cuda else None


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; a column for each number that any row has, notes last."""
    columns = sorted(dict.fromkeys(column for _, numbers in rows for column in numbers), key=NOTES.__contains__)
    lines = [["", *columns], [":--", *("--:" for _ in columns)]]
    lines += [[name, *(shown(numbers.get(column)) for column in columns)] for name, numbers in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: float | str | None) -> str:
    """A cell: four digits of a number, "-" for none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")
