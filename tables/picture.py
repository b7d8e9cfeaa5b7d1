"""The tables as one picture: published values as rings, measured ones as dots in or beside them, all in numbers too."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset import FOLDS
from engine.setting import OWN
from tables.experiment import labels, row_name
from tables.tables import Cell, Row, Table
from tables.text import shown_difference
from util.errors import UserError
from util.files import atomic_write

WIDTH, ROW, AROUND = 12.4, 0.3, 1.0  # inches: the picture; a row; title, header and axis of a table
LONG_ROW = 1.5  # rows that a name of two lines takes
NOTE = 0.17  # inches that a line of the notes takes
NOTE_LETTERS, NAME_LETTERS, NUMBER_LETTERS = 170, 44, 7  # the longest line of a note and of a name, a column of numbers
DPI = 120
PICTURE_MARK = "SSP report.py"  # the PNG's "Software"
SPAN = 10.0  # the least mIoU that an axis shows: a tenth is no gulf
COLOURS = {None: "black", **dict(zip(FOLDS, ("tab:blue", "tab:orange", "tab:green", "tab:purple"), strict=True))}
RING = {"markerfacecolor": "none", "markersize": 8.5, "linestyle": "none"}  # a ring that a dot fits into
DOT = {"markersize": 4.5, "linestyle": "none", "elinewidth": 1.2, "capsize": 2.5}
KEY = "on the right: measured (or published)"


def figure_class() -> Any:
    """matplotlib's Figure. Raises UserError if matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--picture needs the package matplotlib: pip install matplotlib") from error
    return Figure


def draw_tables(tables: Sequence[Table], path: str | Path) -> None:
    """Write a PNG with a panel for each table, a line for each row and the notes under it, atomically."""
    wrap = textwrap.TextWrapper(NOTE_LETTERS, subsequent_indent="    ").wrap
    notes = [[line for note in table.lines for line in wrap(note)] for table in tables]
    heights = []  # inches: each panel, then its notes
    for table, lines in zip(tables, notes, strict=True):
        rows = sum(LONG_ROW if len(_name(row).splitlines()) > 1 else 1 for row in table.rows)
        heights += [rows * ROW + AROUND, (len(lines) + 1) * NOTE]
    figure = figure_class()(figsize=(WIDTH, sum(heights) + 0.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)
    from matplotlib.transforms import blended_transform_factory

    grid = figure.subplots(2 * len(tables), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, under, table, lines in zip(grid[::2], grid[1::2], tables, notes, strict=True):
        _draw_table(axes, table)
        under.axis("off")
        at = blended_transform_factory(figure.transFigure, under.transAxes)
        under.text(0.02, 1, "\n".join(lines), transform=at, va="top", fontsize=8.5, in_layout=False, parse_math=False)
    _draw_legend(figure, tables)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": PICTURE_MARK})


def _draw_table(axes: Any, table: Table) -> None:
    """Folds in colour, means in black; the means in words on the right."""
    lines = range(len(table.rows))
    for line, row in zip(lines, table.rows, strict=True):
        for cell in row.cells:
            mean = cell.fold is None
            look = {"color": COLOURS[cell.fold], "marker": "D" if mean else "o", "zorder": 4 if mean else 3}
            if cell.paper is not None:
                axes.plot(cell.paper, line, **look, **RING)
            if cell.measured is not None:
                axes.errorbar(cell.measured, line, xerr=cell.std, **look, **DOT)
    low, high = axes.get_xlim()
    wider = max(0.0, SPAN - (high - low)) / 2
    axes.set_xlim(low - wider, high + wider)
    axes.set_title(table.title, loc="left", fontsize=11)
    axes.set_xlabel("mIoU", fontsize=9, labelpad=1)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    right = axes.twinx()
    names, (header, *numbers) = [_name(row) for row in table.rows], _numbers(table)
    right.set_yticks([-1, *lines], [header, *numbers], family="monospace")
    axes.set_yticks(lines, names, parse_math=False)  # a name may hold dollars
    for side in (axes, right):
        side.set_ylim(len(table.rows) - 0.5, -1.5)
        side.tick_params(axis="both", length=0, labelsize=9)
        side.spines[:].set_visible(False)


def _name(row: Row) -> str:
    """A row in words; in a second line the backbone of another network, and the row's variation."""
    setting, weights = row.experiment.setting, row.experiment.weights
    method, shot, backbone, _ = labels(setting)
    end = f"{' refine' if setting.refine else ''}{'' if weights == OWN else f', {weights}'}"
    second = [row.variation]
    if row.experiment.is_other:
        end, second = f" {shot}{end}", [_shorten(backbone, NAME_LETTERS), row.variation]
    else:
        method = row_name(setting).removesuffix(" refine")
    lines = _shorten(method, NAME_LETTERS - len(end)) + end, ", ".join(filter(None, second))
    return "\n".join(line[:NAME_LETTERS] for line in lines if line)


def _shorten(name: str, letters: int) -> str:
    """A name without folders, of so many letters at most: of a longer one start and end, which tell most."""
    name = name.rpartition("/")[2]
    start = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:start]}…{name[start + 1 - letters :]}"


def _numbers(table: Table) -> list[str]:
    """A header, then each row in numbers: of each fold, the mean with its difference, the numbers of the footnotes."""
    marks = table.marks
    *folds, mean = table.rows[0].cells
    header = [*(f"fold {cell.fold}" for cell in folds), "mean" if folds else "mIoU"]
    lines = ["".join(name.rjust(NUMBER_LETTERS) for name in header)]
    for row in table.rows:
        mean = row.cells[-1]
        beside = "" if mean.difference is None else f" {shown_difference(mean)}"
        noted = sorted({marks[note] for cell in row.cells for note in cell.footnotes})
        shown = f" [{','.join(map(str, noted))}]" if noted else ""
        lines.append("".join(_number(cell).rjust(NUMBER_LETTERS) for cell in row.cells) + beside + shown)
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]


def _number(cell: Cell) -> str:
    """The measured value, or in brackets the published one, which stands under the digits of a measured one."""
    if cell.measured is not None:
        return f"{cell.measured:.1f} "
    return "- " if cell.paper is None else f"({cell.paper:.1f})"


def _draw_legend(figure: Any, tables: Sequence[Table]) -> None:
    from matplotlib.lines import Line2D

    rows = [row for table in tables for row in table.rows]
    named = [*((fold, f"fold {fold}") for fold in FOLDS), (None, "mean")]
    folds = named if any(len(row.cells) > 1 for row in rows) else []
    handles = [
        Line2D([], [], color="0.4", marker="o", label="published", **RING),
        Line2D([], [], color="0.4", marker="o", markersize=4.5, label="measured, ± std over seeds"),
        *(
            Line2D([], [], color=COLOURS[fold], marker="o" if fold in FOLDS else "D", linestyle="none", label=name)
            for fold, name in folds
        ),
        Line2D([], [], linestyle="none", label=KEY),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9, frameon=False)
