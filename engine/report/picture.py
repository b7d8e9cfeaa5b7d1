"""The tables as one picture: what was published as rings, what was measured as dots in or beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset import FOLDS
from engine.report.tables import Row, Table, is_other, labels, row_name, shown_difference
from engine.setting import OWN
from util.errors import UserError
from util.files import atomic_write

WIDTH, ROW, AROUND = 10.5, 0.3, 0.8  # inches: the picture; a row; title and axis of a table
LINES = 1.5  # rows that another network's takes, whose name has two lines
LONGEST = 44  # letters of such a line
DPI = 120
SPAN = 10.0  # mIoU, the least that an axis shows: a tenth is no gulf
COLOURS = {None: "black", **dict(zip(FOLDS, ("tab:blue", "tab:orange", "tab:green", "tab:purple"), strict=True))}
RING = {"markerfacecolor": "none", "markersize": 8.5, "linestyle": "none"}  # a ring that a dot fits into
DOT = {"markersize": 4.5, "linestyle": "none", "elinewidth": 1.2, "capsize": 2.5}
STAR = "*: look at the notes under the table"


def figure_class() -> Any:
    """matplotlib's Figure. Raises UserError if matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("--picture needs the package matplotlib: pip install matplotlib") from error
    return Figure


def draw_tables(tables: Sequence[Table], path: str | Path) -> None:
    """Write a PNG with a panel for each table and a line for each row, atomically."""
    lines = [len(table.rows) * (LINES if _has_others(table) else 1) for table in tables]
    figure = figure_class()(figsize=(WIDTH, sum(lines) * ROW + len(tables) * AROUND + 0.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)
    panels = figure.subplots(len(tables), 1, squeeze=False, gridspec_kw={"height_ratios": lines})[:, 0]
    for axes, table in zip(panels, tables, strict=True):
        _draw_table(axes, table)
    _draw_legend(figure, tables)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


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
    for side, words in ((axes, [_name(row) for row in table.rows]), (right, [*map(_summary, table.rows)])):
        side.set_ylim(len(table.rows) - 0.5, -0.5)
        side.set_yticks(lines, words, fontsize=9, parse_math=False)  # a name may hold dollars
        side.tick_params(axis="both", length=0, labelsize=9)
        side.spines[:].set_visible(False)


def _has_others(table: Table) -> bool:
    return any(is_other(row.setting, row.weights) for row in table.rows)


def _name(row: Row) -> str:
    """A row in words; another network's in two lines, its trunk in the second."""
    weights = "" if row.weights == OWN else f", {row.weights}"
    if not is_other(row.setting, row.weights):
        return f"{row_name(row.setting)}{weights}"
    method, shot, backbone, _ = labels(row.setting)
    end = f" {shot}{' refine' if row.setting.refine else ''}{weights}"
    return f"{_shortened(method, LONGEST - len(end))}{end}\n{_shortened(backbone, LONGEST)}"


def _shortened(name: str, letters: int) -> str:
    """A name without folders, of so many letters at most: of a longer one start and end, which tell most."""
    name = name.rpartition("/")[2]
    start = (letters - 1) // 2
    return name if len(name) <= letters else f"{name[:start]}…{name[start + 1 - letters :]}"


def _summary(row: Row) -> str:
    """The mean of a row in words, with a star where there is a note."""
    mean = row.cells[-1]
    if mean.measured is None:
        shown = mean.gap
    else:
        shown = f"mean {mean.measured:.1f}" if len(row.cells) > 1 else f"{mean.measured:.1f}"
        shown += "" if mean.paper is None else f" ({shown_difference(mean)})"
    return f"{shown} *" if any(cell.notes for cell in row.cells) else shown


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
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9, frameon=False)
    if any(cell.notes for row in rows for cell in row.cells):
        figure.supxlabel(STAR, fontsize=9, x=0.99, ha="right")
