"""The history of a run: a line of JSON for each snapshot, and a curve."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from util.files import atomic_write

History = Sequence[Mapping[str, Any]]
LEAST_SPAN = 5  # points of mIoU on the curve's axis


def write_history(path: Path, history: History) -> None:
    """Write a line of JSON for each snapshot, atomically."""
    with atomic_write(path) as file:
        file.write("".join(json.dumps(entry) + "\n" for entry in history).encode())


def miou_limits(mious: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis for mIoUs: at least five points apart, so that noise does not look like progress."""
    low, high = min(mious), max(mious)
    half = min(max(1.1 * (high - low), LEAST_SPAN), 100) / 2
    middle = min(max((low + high) / 2, half), 100 - half)
    return middle - half, middle + half


def draw_history(history: History, path: str | Path, rates: Mapping[int, float], title: str) -> None:
    """Draw the loss of each step, the mIoU of each snapshot and the learning rates as a PNG.

    rates: the learning rate from each of these steps on, counted from 0.
    Prints a note and draws nothing without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        print("no training curve drawn: it needs the package matplotlib (pip install matplotlib)")
        return
    losses = [loss for line in history for loss in line["losses"]]
    ends = np.cumsum([line["steps"] for line in history])
    mious = [line["miou"] for line in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color="0.75", linewidth=0.8, label="loss of each step")
    means = [line["loss"] for line in history]
    axes.plot(ends, means, color="tab:blue", marker="o", label="its mean per snapshot")
    margin = max(0.5, 0.03 * len(losses))
    axes.set_xlim(1 - margin, len(losses) + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color="tab:blue")
    other = axes.twinx()
    # Not clipped: a mark of 0 or 100 lies on the axis's end.
    other.plot(ends, mious, color="tab:red", marker="s", clip_on=False, label="mIoU")
    other.set_ylim(*miou_limits(mious))
    other.set_ylabel("mIoU", color="tab:red")
    told = {step + 0.5: rate for step, rate in rates.items() if step < len(losses)}  # between an old and a new rate
    for place, rate in told.items():
        where = {"xy": (place, 1.01), "xycoords": axes.get_xaxis_transform(), "va": "bottom"}
        axes.annotate(f"lr {rate:.3g}", **where, color="0.4", fontsize=8)
    if drops := [place for place in told if place > 1]:
        span = {"ymin": 0, "ymax": 1, "transform": other.get_xaxis_transform()}
        other.vlines(drops, **span, colors="0.5", linestyles=":", label="new learning rate")
    axes.set_title(textwrap.fill(title, 70), fontsize=10, pad=16, parse_math=False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
