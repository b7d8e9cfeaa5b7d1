"""Tables as text: Markdown, CSV, and a line with a verdict for each published cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tables.experiment import labels, row_name
from tables.tables import Cell, Table
from util.table import align_columns

LEGEND = (
    "mIoU in percent: measured (published, difference). Measured is the mean over seeds ± their standard deviation; "
    "a single seed has no ±. A row's mean is that of its four folds ± the standard deviation over seeds of that mean, "
    "where all four ran the same seeds. [n]: see the note. Networks with another backbone or head than the paper's, or "
    "whose backbone was not trained, and results on other data than the benchmark's have tables of their own."
)
CSV_FIELDS = (
    "dataset,protocol,class_order,method,refine,shot,backbone,fold,paper,measured,std,difference,fb_iou,seeds,episodes,"
    "checkpoint,file,note,weights,data,variation,settings,tag"
).split(",")
MARKDOWN_MARK, CSV_MARK = LEGEND[:40], ",".join(CSV_FIELDS[:6])  # with which the two begin
# The same of a comparison of results (tables/comparison.py).
COMPARISON_LEGEND = (
    "Differences in points: B less A, on the same episodes. The 95 % interval is a bootstrap over the query images; "
    "where it holds 0, the difference may be chance (docs/protocols.md). A class of few query images has a rough one."
)
COMPARISON_CSV_FIELDS = "a,b,class,miou_a,miou_b,difference,low,high,queries,episodes,better,worse,equal".split(",")
COMPARISON_MARK, COMPARISON_CSV_MARK = COMPARISON_LEGEND[:40], ",".join(COMPARISON_CSV_FIELDS[:6])
COMPARISON_JSON_MARK = '[\n  {\n    "a": {'


def signed(value: float) -> str:
    """-0.2, +0.2, +0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"  # + 0.0 makes -0.0 of it 0.0


def shown_difference(cell: Cell) -> str:
    """The difference for people: of the measured value as it is shown, to a tenth."""
    return signed(cell._replace(measured=round(cell.measured, 1)).difference)


def to_markdown(tables: Sequence[Table], with_missing: bool = True, count_missing: bool = True) -> str:
    """All tables with their notes; or the rows alone of which something is measured, and how many others there are.

    count_missing: whether a last line says how many rows are left out.
    """
    if with_missing:
        return "\n\n".join([LEGEND, *map(_markdown, tables)]) + "\n"
    measured = [table._replace(rows=tuple(row for row in table.rows if row.is_measured)) for table in tables]
    missing = sum(len(table.rows) for table in tables) - sum(len(table.rows) for table in measured)
    parts = [LEGEND, *(_markdown(table) for table in measured if table.rows)]
    if missing and count_missing:
        parts.append(f"{missing} rows of the paper are missing: --all lists them, --commands how to measure them.")
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    folds = [f"Fold {cell.fold}" for cell in table.rows[0].cells if cell.fold is not None]
    lines = [["Method", "Setting", "Backbone", "Refine", "Weights", *folds, "Mean" if folds else "mIoU"]]
    marks = table.marks
    for row in table.rows:
        words = [literal(word) for word in labels(row.experiment.setting)]
        weights = literal(", ".join(filter(None, (row.experiment.weights, row.variation))))
        lines.append([*words, weights, *(cell_text(cell, marks) for cell in row.cells)])
    shown = markdown_table(lines)
    return "\n".join([f"## {literal(table.title)}", "", *shown, "", *(f"- {literal(line)}" for line in table.lines)])


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, its columns aligned; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first, *others = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return [first, "| " + " | ".join(":" + "-" * (width - 1) for width in widths) + " |", *others]


def literal(text: str) -> str:
    """A text that may hold somebody else's: no HTML, and nothing that ends a cell."""
    return text.replace("<", "\\<").replace("|", "\\|")


def cell_text(cell: Cell, marks: Mapping[str, int]) -> str:
    """Such as 61.2 ±0.3 (paper 61.4, -0.2) [1]; marks: the number of each footnote."""
    paper = "" if cell.paper is None else f"paper {cell.paper:.1f}"
    if cell.measured is None:
        return f"{cell.gap} ({paper})" if paper else cell.gap
    spread = "" if cell.std is None else f" ±{cell.std:.1f}"
    beside = f" ({paper}, {shown_difference(cell)})" if paper else ""
    shown = [f" [{marks[note]}]" for note in cell.footnotes]
    return f"{cell.measured:.1f}{spread}{beside}{''.join(shown)}"


def to_csv(tables: Sequence[Table]) -> str:
    """One line a cell, with the header CSV_FIELDS; fold: 0 to 3, or mean, which is the only line of fss."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in (row for table in tables for row in table.rows):
        protocol, setting, weights, data, _ = row.experiment
        for cell in row.cells:
            numbers = {"paper": cell.paper, "measured": cell.measured, "std": cell.std, "fb_iou": cell.fb_iou}
            numbers["difference"] = cell.difference
            notes = [cell.gap, *cell.footnotes] if cell.measured is None else cell.footnotes
            fields = {
                **setting.as_dict(), "protocol": protocol.name, "weights": weights, "data": data,
                "variation": row.variation, "settings": str(setting.variation), "tag": setting.tag,
                "fold": "mean" if cell.fold is None else cell.fold,
                **{name: value if value is None else round(value, 4) for name, value in numbers.items()},
                "seeds": cell.seeds, "episodes": cell.episodes, "checkpoint": cell.checkpoint, "file": cell.file,
                "note": "; ".join(notes),
            }  # fmt: skip
            writer.writerow({name: plain(value) for name, value in fields.items()})
    return text.getvalue()


def plain(field: Any) -> Any:
    """A field that no spreadsheet takes for a formula: somebody else's text may begin like one."""
    return f"'{field}" if isinstance(field, str) and field[:1] in tuple("=+-@\t\r") else field


def verdict(cell: Cell) -> str:
    """Whether a measured value is the published one: "same" to a tenth, "within" a standard deviation over the seeds
    of it, or "outside"; "" where one of the two is missing.
    """
    if cell.difference is None:
        return ""
    if signed(cell.measured) == signed(cell.paper):
        return "same"
    # 0.05: what was published is rounded to a tenth
    return "within" if cell.std is not None and abs(cell.difference) <= cell.std + 0.05 else "outside"


def verdicts(tables: Sequence[Table]) -> str:
    """A line for each published cell: paper, measured, difference, spread over the seeds, and the verdict.

    What was measured on other data has no verdict.
    """
    lines = [("", "fold", "paper", "measured", "difference", "spread", "verdict")]
    for row in (row for table in tables for row in table.rows):
        protocol, setting, _, data, _ = row.experiment
        name = f"{setting.benchmark.title} {protocol.name} {row_name(setting)}"
        if beside := ", ".join(filter(None, (data, row.variation))):
            name = f"{name} ({beside})"
        is_published = any(cell.paper is not None for cell in row.cells)
        for cell in row.cells:
            if is_published or (data and cell.measured is not None):
                lines.append((name, *_verdict_line(cell, is_other_data=bool(data))))
                name = ""  # stands in the row's first line alone
    return "\n".join(align_columns(lines, left=(0, len(lines[0]) - 1)))


def _verdict_line(cell: Cell, is_other_data: bool) -> tuple[str, ...]:
    fold = "mean" if cell.fold is None else str(cell.fold)
    paper = "-" if cell.paper is None else f"{cell.paper:.1f}"
    if cell.measured is None:
        return fold, paper, "missing", "", "", ""
    difference = "-" if cell.difference is None else f"{cell.difference:+.2f}"
    spread = "-" if cell.std is None else f"{cell.std:.2f}"
    return fold, paper, f"{cell.measured:.2f}", difference, spread, "other data" if is_other_data else verdict(cell)
