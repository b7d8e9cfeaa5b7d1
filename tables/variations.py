"""What vary.py found, as a table for people, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from engine.training.history import miou_limits
from engine.variation import USUAL, Value, write_value
from tables.picture import figure_class
from util.files import atomic_write
from util.table import align_columns

Record = Mapping[str, Any]  # of engine.evaluation.variations.evaluate_variations
VARIATIONS_MARK = "SSP vary.py"  # the PNG's "Software"
TABLE_MARK, CSV_MARK = "| setting | mIoU |", "setting,miou,"  # with which the files begin
HEADER = ("setting", "mIoU", "std", "FB-IoU", "difference", "95 % interval")
DPI = 120


def table_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """The cells of each record: name, mIoU, its deviation over the seeds, FB-IoU, difference, interval."""
    rows = []
    for number, each in enumerate(records):
        interval = f"{each['low']:+.2f} to {each['high']:+.2f}"
        against = (f"{each['difference']:+.2f}", interval) if number else ("", "")
        rows.append((each["name"], f"{each['miou']:.2f}", f"{each['miou_std']:.2f}", f"{each['fb_iou']:.2f}", *against))
    return rows


def describe(records: Sequence[Record]) -> list[str]:
    """The table in lines of plain text, aligned."""
    return align_columns([HEADER, *table_rows(records)])


def to_markdown(records: Sequence[Record]) -> str:
    """The table in Markdown."""
    rows = [HEADER, (":--", *["--:"] * (len(HEADER) - 1)), *table_rows(records)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def to_csv(records: Sequence[Record]) -> str:
    """A line for each setting, with a column for each of the method's settings."""
    measured = ("miou", "miou_std", "fb_iou", "difference", "low", "high")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("setting", *measured, *USUAL))
    for each in records:
        values = [write_value(tuple(v) if isinstance(v, list) else v) for v in _values(each).values()]
        writer.writerow((each["name"], *(each[name] for name in measured), *values))
    return text.getvalue()


def draw_variations(records: Sequence[Record], values: Mapping[str, Sequence[Value]], path: str, title: str) -> bool:
    """Draw a curve for each varied setting, or a heat map for a grid of two, as a PNG; False without a grid to draw.

    Raises UserError without matplotlib.
    """
    found = {tuple(_key(_values(each)[name]) for name in values): each for each in records}
    is_grid = all(_in_grid(found, values))
    figure = figure_class()(layout="constrained", figsize=(6, 4))
    if is_grid and len(values) == 2:
        _draw_map(figure, found, values, records[0])
    elif is_grid and len(values) > 2:
        return False
    else:
        figure.set_size_inches(1.5 + 3.6 * len(values), 4)
        base = _values(records[0])
        panels = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
        limits = miou_limits([each["miou"] + end for each in records for end in (-_reach(each)[0], _reach(each)[1])])
        for axes, name in zip(panels, values, strict=True):
            others = {other: _key(base[other]) for other in values if other != name}
            line = [each for each in records if all(_key(_values(each)[o]) == v for o, v in others.items())]
            _draw_curve(axes, name, line, base[name], limits)
        panels[0].set_ylabel("mIoU")
    meaning = "red: the first row of the table; grey bars: 95 % interval of the difference to it"
    if is_grid and len(values) == 2:
        meaning = "red: the first row of the table; (difference to it), bold where its 95 % interval leaves out 0"
    figure.suptitle(f"{title}\n{meaning}", fontsize=9)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": VARIATIONS_MARK})
    return True


def _draw_curve(axes: Any, name: str, records: Sequence[Record], base: Value, limits: tuple[float, float]) -> None:
    """mIoU over the values of a setting; the bars are the intervals of the differences to the base."""
    records = sorted(records, key=lambda each: _key(_values(each)[name]))
    labels = [write_value(_key(_values(each)[name])) for each in records]
    is_number = not isinstance(base, tuple)
    places = [float(_values(each)[name]) for each in records] if is_number else list(range(len(records)))
    mious = [each["miou"] for each in records]
    reach = list(zip(*map(_reach, records), strict=True))
    axes.errorbar(places, mious, yerr=reach, marker="o", capsize=3, color="tab:blue", ecolor="0.6")
    for place, each in zip(places, records, strict=True):
        if _key(_values(each)[name]) == _key(base):
            axes.plot(place, each["miou"], marker="o", markersize=11, markerfacecolor="none", color="tab:red")
    axes.set_xticks(places, labels, rotation=0 if is_number else 20)
    axes.set_ylim(*limits)
    axes.set_xlabel(name)
    axes.grid(axis="y", color="0.9")


def _reach(record: Record) -> tuple[float, float]:
    """How far the interval of a record's difference reaches below and above it."""
    return record["difference"] - record["low"], record["high"] - record["difference"]


def _draw_map(figure: Any, found: Mapping[tuple, Record], values: Mapping[str, Sequence[Value]], base: Record) -> None:
    """mIoU of a grid of two settings, with the differences to the base, bold where the interval leaves out 0.

    The base, which has no difference, is framed.
    """
    import numpy as np
    from matplotlib.patches import Rectangle

    (down, rows), (across, columns) = values.items()
    grid = np.array([[found[_key(row), _key(column)]["miou"] for column in columns] for row in rows])
    axes = figure.add_subplot()
    image = axes.imshow(grid, cmap="viridis", aspect="auto")
    middle = (grid.min() + grid.max()) / 2
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            each = found[_key(row), _key(column)]
            is_clear = each["low"] > 0 or each["high"] < 0
            text = f"{each['miou']:.1f}"
            text = text if each["settings"] == base["settings"] else f"{text}\n({each['difference']:+.1f})"
            colour = "white" if each["miou"] < middle else "black"
            axes.text(x, y, text, ha="center", va="center", color=colour, weight="bold" if is_clear else "normal")
            if each["settings"] == base["settings"]:
                axes.add_patch(
                    Rectangle((x - 0.48, y - 0.47), 0.96, 0.94, fill=False, edgecolor="tab:red", linewidth=2)
                )
    axes.set_xticks(range(len(columns)), [write_value(_key(value)) for value in columns])
    axes.set_yticks(range(len(rows)), [write_value(_key(value)) for value in rows])
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    figure.colorbar(image, ax=axes, label="mIoU")


def _values(record: Record) -> dict[str, Any]:
    """All settings of a record by name, also those that are the paper's."""
    return {name: record["settings"].get(name, usual) for name, usual in USUAL.items()}


def _key(value: Any) -> Value:
    return tuple(value) if isinstance(value, list) else value


def _in_grid(found: Mapping[tuple, Record], values: Mapping[str, Sequence[Value]]) -> list[bool]:
    """Whether each point of the grid of all values was evaluated."""
    return [tuple(map(_key, point)) in found for point in itertools.product(*values.values())]
