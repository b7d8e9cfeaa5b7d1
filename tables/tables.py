"""Measured results beside the published ones: tables, as Markdown or CSV.

A table for each benchmark and protocol, a row for each setting, a cell for each fold and for the mean. All rows of
the paper are there, measured or not, and all that were measured, published or not. Networks that are not the paper's,
by their backbone, head or training, have a table of their own after it, and so have results on other data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from dataset import DATASETS, FOLDS
from dataset.provenance import label_of
from engine.evaluation.protocol import PAPER, Protocol
from engine.evaluation.result import EvaluationResult
from engine.setting import AUTHORS, FROM_TIMM, OWN, RANDOM, RECIPE, RELEASED_ORDER, Setting
from model.names import BACKBONES, METHODS
from tables.paper import DRIVE, PUBLISHED, SOURCES, Published, mean_of_folds
from util.errors import one_line

METHOD_NAMES = {"baseline": "Baseline", "ssp": "SSP"}
FROZEN, UNTRAINED = "frozen", "untrained"  # weights of main.py --frozen, and of its --episode 0
EQUAL = 1e-6  # results of one cell that differ by less are the same, such as main.py's and test.py's of one checkpoint

LEGEND = (
    "mIoU in percent: measured (published, difference). Measured is the mean over seeds ± their standard deviation; "
    "a single seed has no ±. A row's mean is that of its four folds ± the standard deviation over seeds of that mean, "
    "where all four ran the same seeds. [n]: see the note. Networks with another backbone or head than the paper's, or "
    "whose backbone was not trained, and results on other data than the benchmark's have tables of their own."
)
COCO_NOTES = (
    "The authors list the same checkpoints under both protocols, although the two class orders share only five of the "
    "twenty test classes of a fold: a checkpoint of one order has been trained on 15 of the 20 test classes of the "
    "other.",
    "The published table does not state the refinement: in the paper's own protocol it is taken as on; in HSNet's the "
    "release never refines.",
)
NOTES = {
    "coco": COCO_NOTES,
    "fss": (
        "The paper does not state the backbone of these values, so they stand beside each ResNet that was measured. "
        "Their protocol is not released, nor is the size of the crops that were trained on: 225 is our choice.",
    ),
}
UNKNOWN_DATA = "data not recorded"
DATA_NOTE = (
    "These results are not on the benchmark's own data ({}). Nothing is published for them; they do not compare with "
    "the paper's rows."
)
UNKNOWN_NOTE = (
    "The files of these results do not say on which data they were measured: test again with test.py. Until then they "
    "do not stand beside the paper's rows."
)
OTHERS_NOTE = (
    "These networks are not the paper's: another backbone or head, or one that was not trained. Nothing is "
    "published for them, and they do not compare with the paper's rows."
)


class Cell(NamedTuple):
    """What was published and what was measured, in percent; None: there is none."""

    fold: int | None  # None: the mean of the row's folds, or the one value of fss
    paper: float | None
    measured: float | None = None
    std: float | None = None
    fb_iou: float | None = None
    seeds: int | None = None  # how many
    episodes: int | None = None  # of a seed
    checkpoint: str = ""
    file: str = ""
    notes: tuple[str, ...] = ()  # why the measured value may not compare
    remarks: tuple[str, ...] = ()  # what else to know of it
    gap: str = "missing"  # shown where nothing was measured


class Row(NamedTuple):
    protocol: Protocol
    setting: Setting  # its fold is None
    weights: str  # who trained them: one of WEIGHTS_FROM; FROZEN or UNTRAINED if not all was trained
    cells: tuple[Cell, ...]  # fold 0 to 3, mean; without folds the mean alone
    data: str = ""  # other data than the benchmark's, in words


class Table(NamedTuple):
    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


class Line(NamedTuple):
    """What a row is about, or with a fold in the setting a cell."""

    protocol: Protocol
    setting: Setting
    weights: str
    data: str = ""


def make_tables(
    results: Iterable[EvaluationResult],
    dataset: str | None = None,
    shot: int | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    method: str | None = None,
) -> list[Table]:
    """The tables of all published and measured settings.

    Results of the authors' weights and of trainings here are in rows of their own, and so are those of a backbone that
    was not trained.

    Arguments:
        results: what was measured; the newest result of a cell counts.
        dataset, shot, backbone: limit the rows to these.
        weights: "own", trained here or not, or "authors", to limit the rows to these. Without it the authors' rows
            are those measured.
        method: limits the rows, as dataset, shot and backbone do.
    """
    by_cell: dict[Line, list[EvaluationResult]] = {}
    for result in sorted(results, key=lambda result: (-result.written, str(result.file))):
        line = Line(result.protocol, result.setting, weights_of(result), data_of(result))
        by_cell.setdefault(line, []).append(result)
    measured = {line._replace(setting=replace(line.setting, fold=None)) for line in by_cell}
    published = {
        line: row for row in PUBLISHED for line in (*_own_lines(row, measured, backbone), *_authors_lines(row))
    }
    groups: dict[tuple, dict[tuple[str, bool], list[Row]]] = {}  # by data, the benchmark's first, and whose networks
    for line in [*published, *sorted(measured - published.keys(), key=_order)]:
        protocol, setting, whose, data = line
        if whose == AUTHORS and weights is None and line not in measured:
            continue
        is_wanted = weights is None or (weights == AUTHORS) == (whose == AUTHORS)
        if is_wanted and setting.matches(dataset=dataset, shot=shot, backbone=backbone, method=method):
            cells = _cells(by_cell, line, published.get(line))
            group = setting.dataset, protocol, setting.class_order
            row = Row(protocol, setting, whose, cells, data)
            groups.setdefault(group, {}).setdefault((data, is_other(setting, whose)), []).append(row)
    tables = [group[kind] for group in groups.values() for kind in sorted(group)]
    return [Table(title(rows[0]), tuple(rows), tuple(_table_notes(rows, published))) for rows in tables]


def weights_of(result: EvaluationResult) -> str:
    """Who trained a result's weights, or FROZEN or UNTRAINED."""
    if result.weights == OWN and result.trained.get("episode") == 0:
        return UNTRAINED
    if result.weights == OWN and result.trained.get("frozen") is True:
        return FROZEN
    return result.weights


def data_of(result: EvaluationResult) -> str:
    """Which other data than the benchmark's a result is of, in words, "" for the benchmark's own."""
    if result.data is None:
        return UNKNOWN_DATA
    tested, trained = label_of(result.data), label_of(result.training_data)
    if trained in ("", tested):
        return tested
    return f"{tested}, trained on {trained}" if tested else f"trained on {trained}"


def is_other(setting: Setting, weights: str) -> bool:
    """Whether a network is not the paper's: by its backbone or head, or because its backbone was not trained."""
    return not setting.is_papers or weights in (FROZEN, UNTRAINED)


def _own_lines(row: Published, measured: Collection[Line], backbone: str | None) -> list[Line]:
    """What a published row is about; if its backbone is not stated, each ResNet that was measured or is wanted."""
    if row.setting.backbone is not None:
        return [Line(row.protocol, row.setting, OWN)]
    of_each = {name: Line(row.protocol, replace(row.setting, backbone=name), OWN) for name in BACKBONES}
    found = [name for name, line in of_each.items() if line in measured]
    chosen = [backbone] if backbone in BACKBONES else found
    return [of_each[name] for name in chosen] or [Line(row.protocol, row.setting, OWN)]


def _authors_lines(row: Published) -> list[Line]:
    """The row of the authors' weights, where they are published."""
    setting = row.setting
    has_files = (setting.dataset, setting.method, setting.shot, setting.backbone) in DRIVE
    return [Line(row.protocol, setting, AUTHORS)] if has_files else []


def _order(line: Line) -> tuple:
    """Rows that are not in the paper: benchmarks in their order, the paper's protocol, methods and backbones first."""
    protocol, setting, weights, data = line
    group = list(DATASETS).index(setting.dataset), protocol != PAPER, setting.class_order or ""
    method = setting.method not in METHODS, setting.method
    place = BACKBONES.index(setting.backbone) if setting.backbone in BACKBONES else len(BACKBONES)
    return *group, *method, setting.refine, setting.shot, place, setting.backbone, weights, data


def _cells(by_cell: Mapping[Line, Sequence[EvaluationResult]], line: Line, row: Published | None) -> tuple[Cell, ...]:
    """The cells of a row; by_cell: newest results first."""
    mean = row and row.mean
    if line.setting.benchmark.folds == (None,):
        return (_cell(None, mean, by_cell.get(line, ())),)
    folds = [by_cell.get(line._replace(setting=replace(line.setting, fold=fold)), ()) for fold in FOLDS]
    cells = (_cell(fold, row and row.folds[fold], found) for fold, found in zip(FOLDS, folds, strict=True))
    return (*cells, _mean_cell(mean, [found[0] for found in folds if found]))


def _cell(fold: int | None, paper: float | None, found: Sequence[EvaluationResult]) -> Cell:
    """One evaluation, of which the newest result counts."""
    if not found:
        return Cell(fold, paper)
    newest = found[0]
    others = [f"{other.file} ({other.miou:.2f})" for other in found[1:] if abs(other.miou - newest.miou) > EQUAL]
    passed_over = [one_line(f"the newest result, {newest.file}; passed over: {', '.join(others)}")] if others else []
    return Cell(
        fold, paper, newest.miou, newest.std if len(newest.seeds) > 1 else None, newest.fb_iou, len(newest.seeds),
        newest.episodes, newest.checkpoint, str(newest.file), (*doubts(newest), *passed_over),
        remarks(newest),
    )  # fmt: skip


def _mean_cell(paper: float | None, folds: Sequence[EvaluationResult]) -> Cell:
    """The mean of all folds, if they are there."""
    if len(folds) < len(FOLDS):
        return Cell(None, paper, gap=f"{len(folds)} of {len(FOLDS)} folds" if folds else "missing")
    first = folds[0]
    same_seeds = len(first.seeds) > 1 and all(fold.seeds.keys() == first.seeds.keys() for fold in folds)
    means = [fmean(fold.seeds[seed] for fold in folds) for seed in first.seeds] if same_seeds else []
    return Cell(
        None,
        paper,
        fmean(fold.miou for fold in folds),
        pstdev(means) if means else None,
        fmean(fold.fb_iou for fold in folds),
        _shared(len(fold.seeds) for fold in folds),
        _shared(fold.episodes for fold in folds),
        notes=tuple(dict.fromkeys(line for fold in folds for line in doubts(fold))),
        remarks=tuple(dict.fromkeys(line for fold in folds for line in remarks(fold))),
    )


def _shared(values: Iterable[int]) -> int | None:
    """The value that all have, if they have one."""
    return distinct.pop() if len(distinct := set(values)) == 1 else None


def doubts(result: EvaluationResult) -> list[str]:
    """Why a result may not be what the paper's is: warnings, fewer episodes or seeds, another training or none,
    bfloat16.
    """
    benchmark, protocol = result.setting.benchmark, result.protocol
    seeds, episodes = protocol.seeds, protocol.episodes(benchmark.name)
    found = [f"may mean nothing: {line}" for line in result.warnings]
    if result.episodes < episodes:
        found.append(f"{result.episodes} of the protocol's {episodes} episodes")
    if result.missing:
        found.append(f"no episode of class {', '.join(result.missing)}")
    if len(result.seeds) < seeds:
        found.append(f"{len(result.seeds)} of the protocol's {seeds} seeds")
    whose = weights_of(result)
    usual = {"episode": RECIPE.episodes, "batch_size": RECIPE.batch_size, "lr": RECIPE.lr, "amp": None}
    if whose == UNTRAINED:
        usual = {"episode": RECIPE.episodes}  # the others changed nothing
    else:
        usual["crop_size"] = benchmark.crop_size
    other = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in result.trained.items()
        if (name in usual and value != usual[name]) or (name == "pretrained" and value == RANDOM)
    ]
    if whose == FROZEN:
        found.append("the backbone was frozen")
    if whose == UNTRAINED:
        found.append(f"not trained ({' '.join(other)})")
    elif other:
        found.append(f"trained with {' '.join(other)}")
    if result.amp:
        found.append("the backbone in bfloat16 (--amp)")
    return [one_line(line) for line in found]  # whatever the file of a result holds


def remarks(result: EvaluationResult) -> tuple[str, ...]:
    """What else to know of a result: where its episodes and backbone came from, what was said of its weights, and in
    which order of masks an SSP of several supports was trained (docs/reproduce.md), as far as it is known.
    """
    found = []
    if result.episodes_from:
        found.append(f"its episodes are those of {result.episodes_from}")
    if result.declared:
        found.append("what the weights were trained on is what --trained-on says")
    start = result.trained.get("pretrained")
    if start not in (None, RANDOM, FROM_TIMM) and Path(str(start)).stem != result.setting.backbone:
        found.append(f"the backbone started from {start}")
    is_trained = result.trained and weights_of(result) != UNTRAINED
    if result.setting.method == "ssp" and result.setting.shot > 1 and is_trained:
        replicas = result.trained.get("released_order")
        if replicas is None:
            found.append("trained with the right order of masks; the published models were not, see docs/reproduce.md")
        else:
            published = f"as the published models were (N = {RELEASED_ORDER})"
            found.append(f"trained with --released-order {replicas}, {published}")
    return tuple(map(one_line, found))


def _table_notes(rows: Sequence[Row], published: Mapping[Line, Published]) -> Iterator[str]:
    data = rows[0].data
    if data:
        yield UNKNOWN_NOTE if data == UNKNOWN_DATA else DATA_NOTE.format(data)
    if is_other(rows[0].setting, rows[0].weights):
        yield OTHERS_NOTE
    if data or is_other(rows[0].setting, rows[0].weights):
        return
    lines = [Line(row.protocol, row.setting, row.weights) for row in rows]
    known = {line.setting: published[line] for line in lines if line in published}
    if not known:
        yield "Nothing is published for this benchmark and protocol."
        return
    dataset = rows[0].setting.dataset
    yield f"Published: {SOURCES[dataset]}."
    yield from NOTES.get(dataset, ())
    if any(row.weights == AUTHORS for row in rows):
        yield from _class_order_notes(rows[0].setting)
    for setting, row in known.items():
        mean = mean_of_folds(row)
        if mean is not None:
            yield f"{row_name(setting)}: the published mean is {row.mean}, that of the published folds {mean:.1f}."


def _class_order_notes(setting: Setting) -> Iterator[str]:
    """For the authors' weights: which test classes they have been trained on, if in the other order of classes."""
    order, novel = setting.class_order, setting.benchmark.novel_classes
    for other in setting.benchmark.class_orders:
        if other != order:
            seen = [
                f"fold {fold}: {', '.join(str(cls) for cls in novel(fold, order) if cls not in novel(fold, other))}"
                for fold in FOLDS
            ]
            yield (
                f"If the authors' weights were trained in {other} order, they have been trained on these test classes, "
                f"{'; '.join(seen)}. They did not say which order it was: the protocol in which the measured numbers "
                "are the published ones, and not far above, tells."
            )


def difference(cell: Cell) -> float | None:
    """Measured less published."""
    return None if cell.measured is None or cell.paper is None else cell.measured - cell.paper


def shown_difference(cell: Cell) -> str:
    """For people: of the measured value as it is shown, to a tenth."""
    return signed(difference(cell._replace(measured=round(cell.measured, 1))))


def title(row: Row) -> str:
    """The title of the table that a row is in."""
    order = f", {row.setting.class_order} class order" if row.setting.class_order else ""
    data = f": {row.data}" if row.data else ""
    others = ": other networks" if is_other(row.setting, row.weights) else ""
    return f"{row.setting.benchmark.title}, {row.protocol.title}{order}{data}{others}"


def row_name(setting: Setting) -> str:
    """A row in words: SSP 1-shot ResNet-50 refine."""
    method, shot, backbone, _ = labels(setting)
    return " ".join([method, shot, *([backbone] if setting.backbone else []), *(["refine"] if setting.refine else [])])


def labels(setting: Setting) -> tuple[str, str, str, str]:
    """A row's Method, Setting, Backbone and Refine."""
    backbone = setting.backbone or "not stated"
    if backbone in BACKBONES:
        backbone = f"ResNet-{backbone.removeprefix('resnet')}"
    method = METHOD_NAMES.get(setting.method, setting.method)
    return method, f"{setting.shot}-shot", backbone, "Yes" if setting.refine else "No"


def to_markdown(tables: Sequence[Table]) -> str:
    """All tables with their notes."""
    return "\n\n".join([LEGEND, *map(_markdown, tables)]) + "\n"


def _markdown(table: Table) -> str:
    folds = [] if len(table.rows[0].cells) == 1 else [f"Fold {fold}" for fold in FOLDS]
    lines = [["Method", "Setting", "Backbone", "Refine", "Weights", *folds, "Mean" if folds else "mIoU"]]
    marks = marks_of(table)
    for row in table.rows:
        words = [_literal(word) for word in labels(row.setting)]
        lines.append([*words, row.weights, *(cell_text(cell, marks) for cell in row.cells)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, [":" + "-" * (width - 1) for width in widths])
    shown = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    notes = [f"- {_literal(note)}" for note in numbered_notes(table)]
    return "\n".join([f"## {_literal(table.title)}", "", *shown, "", *notes])


def _literal(text: str) -> str:
    """A text that may hold somebody else's: no HTML, and nothing that ends a cell."""
    return text.replace("<", "\\<").replace("|", "\\|")


def marks_of(table: Table) -> dict[str, int]:
    """The number of each note on a cell, from 1."""
    cells = (cell for row in table.rows for cell in row.cells)
    notes = dict.fromkeys(note for cell in cells for note in (*cell.notes, *cell.remarks))
    return {note: number for number, note in enumerate(notes, start=1)}


def numbered_notes(table: Table) -> list[str]:
    """The notes under a table, those on cells with their numbers first."""
    return [*(f"[{number}] {note}" for note, number in marks_of(table).items()), *table.notes]


def cell_text(cell: Cell, marks: Mapping[str, int]) -> str:
    """Such as 61.2 ±0.3 (paper 61.4, -0.2) [1]; marks: the number of each note."""
    paper = "" if cell.paper is None else f"paper {cell.paper:.1f}"
    if cell.measured is None:
        return f"{cell.gap} ({paper})" if paper else cell.gap
    spread = "" if cell.std is None else f" ±{cell.std:.1f}"
    beside = f" ({paper}, {shown_difference(cell)})" if paper else ""
    shown = [f" [{marks[note]}]" for note in (*cell.notes, *cell.remarks)]
    return f"{cell.measured:.1f}{spread}{beside}{''.join(shown)}"


def signed(value: float) -> str:
    """-0.2, +0.2, +0.0."""
    return f"{round(value, 1) + 0.0:+.1f}"  # + 0.0 makes -0.0 of it 0.0


CSV_FIELDS = (
    "dataset,protocol,class_order,method,refine,shot,backbone,fold,paper,measured,std,difference,fb_iou,seeds,episodes,"
    "checkpoint,file,note,weights,data"
).split(",")


def to_csv(tables: Sequence[Table]) -> str:
    """One line a cell, with the header CSV_FIELDS; fold: 0 to 3, or mean, which is the only line of fss."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_FIELDS)
    for row in (row for table in tables for row in table.rows):
        setting = row.setting
        for cell in row.cells:
            numbers = (cell.paper, cell.measured, cell.std, difference(cell), cell.fb_iou)
            notes = (*([cell.gap] if cell.measured is None else []), *cell.notes, *cell.remarks)
            writer.writerow(
                _plain(field)
                for field in [
                    *(setting.dataset, row.protocol.name, setting.class_order, setting.method, setting.refine),
                    *(setting.shot, setting.backbone),
                    "mean" if cell.fold is None else cell.fold,
                    *(value if value is None else round(value, 4) for value in numbers),
                    *(cell.seeds, cell.episodes, cell.checkpoint, cell.file, "; ".join(notes), row.weights, row.data),
                ]
            )
    return text.getvalue()


def _plain(field: Any) -> Any:
    """A field that no spreadsheet takes for a formula: somebody else's text may begin like one."""
    return f"'{field}" if isinstance(field, str) and field[:1] in tuple("=+-@\t\r") else field
