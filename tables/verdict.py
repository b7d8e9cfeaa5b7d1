"""Measured values judged against the published ones, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence

from tables.tables import Cell, Table, difference, row_name, signed


def verdict(cell: Cell) -> str:
    """Whether a measured value is the published one: "same" to a tenth, "within" a standard deviation over the seeds
    of it, or "outside"; "" where one of the two is missing.
    """
    if cell.measured is None or cell.paper is None:
        return ""
    if signed(cell.measured) == signed(cell.paper):
        return "same"
    # what was published is rounded to a tenth
    return "within" if cell.std is not None and abs(difference(cell)) <= cell.std + 0.05 else "outside"


def verdicts(tables: Sequence[Table]) -> str:
    """A line for each published cell: paper, measured, difference, spread over the seeds, and the verdict.

    What was measured on other data has no verdict.
    """
    rows = [("", "fold", "paper", "measured", "difference", "spread", "verdict")]
    for table in tables:
        for row in table.rows:
            published = any(cell.paper is not None for cell in row.cells)
            shown = row.cells if published else [cell for cell in row.cells if row.data and cell.measured is not None]
            for cell in shown:
                data = f" ({row.data})" if row.data else ""
                name = f"{row.setting.benchmark.title} {row.protocol.name} {row_name(row.setting)}{data}"
                fold = "mean" if cell.fold is None else str(cell.fold)
                paper = "-" if cell.paper is None else f"{cell.paper:.1f}"
                found = ("missing", "", "", "")
                if cell.measured is not None:
                    spread = "-" if cell.std is None else f"{cell.std:.2f}"
                    less = "-" if cell.paper is None else f"{difference(cell):+.2f}"
                    found = (f"{cell.measured:.2f}", less, spread, "other data" if row.data else verdict(cell))
                rows.append((name if cell is shown[0] else "", fold, paper, *found))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = (str.ljust, *[str.rjust] * 5, str.ljust)
    return "\n".join("  ".join(p(x, w) for p, x, w in zip(pads, row, widths, strict=True)).rstrip() for row in rows)
