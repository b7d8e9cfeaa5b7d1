"""A table of plain text, its columns aligned."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def align_columns(rows: Sequence[Sequence[str]], left: Collection[int] = (0,), gap: str = "  ") -> list[str]:
    """Align the columns of a table; returns a line for each row, without spaces at its end.

    The columns of ``left`` are aligned at the left, the others at the right; every row has as many cells.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads = [str.ljust if number in left else str.rjust for number in range(len(widths))]
    lines = ([pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)] for row in rows)
    return [gap.join(cells).rstrip() for cells in lines]
