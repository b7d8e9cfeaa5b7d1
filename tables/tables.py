"""Measured results beside the published ones, as tables.

A table for each benchmark and protocol, a row for each setting, a cell for each fold and for the mean. All rows of
the paper are there, measured or not, and all that were measured, published or not. Networks that are not the paper's,
by their backbone, head or training, have a table of their own after it, and so have results on other data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from dataset import DATASETS
from engine.evaluation.protocol import PAPER
from engine.evaluation.result import EvaluationResult
from engine.setting import AUTHORS
from model.names import BACKBONES, METHODS
from tables.caveats import find_caveats, find_notes, table_notes
from tables.experiment import Experiment, experiment_of, variation_of
from tables.paper import DRIVE, PUBLISHED, Published
from util.errors import one_line

EQUAL = 1e-6  # results of one cell that differ by less are the same, such as main.py's and test.py's of one checkpoint


class Cell(NamedTuple):
    """The published and the measured mIoU of a fold or of a row's mean, in percent; None: there is none."""

    fold: int | None  # None: the mean of the row's folds, or the one value of fss
    paper: float | None
    measured: float | None = None
    std: float | None = None  # over the seeds
    fb_iou: float | None = None
    seeds: int | None = None  # how many
    episodes: int | None = None  # episodes per seed
    checkpoint: str = ""
    file: str = ""
    caveats: tuple[str, ...] = ()  # why the measured value may not compare
    notes: tuple[str, ...] = ()  # what else to know of it
    gap: str = "missing"  # shown where nothing was measured

    @property
    def footnotes(self) -> tuple[str, ...]:
        return (*self.caveats, *self.notes)

    @property
    def difference(self) -> float | None:
        """Measured less published."""
        return None if self.measured is None or self.paper is None else self.measured - self.paper


class Row(NamedTuple):
    """The cells of an experiment: its folds and the mean; without folds the mean alone."""

    experiment: Experiment
    cells: tuple[Cell, ...]
    variation: str = ""  # its settings and tag, and what differs from other rows of the same experiment

    @property
    def is_measured(self) -> bool:
        return any(cell.measured is not None for cell in self.cells)


class Table(NamedTuple):
    """The rows of a benchmark and protocol, and the notes under them."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def marks(self) -> dict[str, int]:
        """The number of each footnote of a cell, from 1."""
        footnotes = dict.fromkeys(note for row in self.rows for cell in row.cells for note in cell.footnotes)
        return {note: number for number, note in enumerate(footnotes, start=1)}

    @property
    def lines(self) -> list[str]:
        """The lines under the table: the footnotes with their numbers, then the notes."""
        return [*(f"[{number}] {note}" for note, number in self.marks.items()), *self.notes]


def make_tables(results: Iterable[EvaluationResult], weights: str | None = None, **wanted: Any) -> list[Table]:
    """The tables of all published and measured settings.

    Results of the authors' weights, of trainings here and of a backbone that was not trained are in rows of their own,
    and so are those with settings or a tag of their own, and those of one setting that were trained or tested with
    other flags, or by other code of the method.

    Arguments:
        results: what was measured; of equal ones the newest counts.
        weights: "own", trained here or not, or "authors", to limit the rows to these. Without it the authors' rows
            are those measured.
        wanted: values of a Setting's fields that limit the rows, such as shot=1; None for any.
    """
    found: dict[Experiment, list[EvaluationResult]] = {}
    for result in sorted(results, key=lambda result: (-result.written, str(result.file))):
        found.setdefault(experiment_of(result).on_fold(None), []).append(result)
    published = _published_experiments(found, wanted.get("backbone"))
    rows, places = [], {}  # where the first row of each benchmark and protocol stands
    for experiment in (*published, *sorted(found.keys() - published.keys(), key=_order)):
        if weights is None:
            is_wanted = experiment in found or experiment.weights != AUTHORS
        else:
            is_wanted = (weights == AUTHORS) == (experiment.weights == AUTHORS)
        if is_wanted and experiment.setting.matches(**wanted):
            rows += _make_rows(experiment, found.get(experiment, ()), published.get(experiment))
            places.setdefault(experiment.benchmark, len(places))
    rows.sort(key=lambda row: (places[row.experiment.benchmark], row.experiment.data, row.experiment.is_other))
    tables = []
    for title, group in groupby(rows, key=lambda row: row.experiment.title):
        group = tuple(group)
        tables.append(Table(title, group, tuple(table_notes([row.experiment for row in group], published))))
    return tables


def _published_experiments(measured: Collection[Experiment], backbone: str | None) -> dict[Experiment, Published]:
    """The published rows as experiments: trained here, and of the authors' weights where these are published.

    A row whose backbone is not stated stands for each ResNet that was measured or, as ``backbone``, is wanted.
    """
    experiments = {}
    for row in PUBLISHED:
        setting, names = row.setting, [row.setting.backbone]
        if setting.backbone is None:
            of_each = {name: Experiment(row.protocol, replace(setting, backbone=name)) for name in BACKBONES}
            names = [backbone] if backbone in BACKBONES else [n for n in BACKBONES if of_each[n] in measured] or [None]
        for name in names:
            experiments[Experiment(row.protocol, replace(setting, backbone=name))] = row
        if (setting.dataset, setting.method, setting.shot, setting.backbone) in DRIVE:
            experiments[Experiment(row.protocol, setting, AUTHORS)] = row
    return experiments


def _order(experiment: Experiment) -> tuple:
    """Rows that are not in the paper: benchmarks in their order, the paper's protocol, methods and backbones first."""
    protocol, setting, weights, data, _ = experiment
    group = list(DATASETS).index(setting.dataset), protocol != PAPER, setting.class_order or ""
    method = setting.method not in METHODS, setting.method
    place = BACKBONES.index(setting.backbone) if setting.backbone in BACKBONES else len(BACKBONES)
    return *group, *method, setting.refine, setting.shot, place, setting.backbone, weights, data, experiment.changes


def _make_rows(experiment: Experiment, results: Sequence[EvaluationResult], row: Published | None) -> list[Row]:
    """A row for each variation of an experiment, and one that is empty if there is none; results: newest first."""
    variations: dict[tuple[str, ...], list[EvaluationResult]] = {}
    for result in results:
        variations.setdefault(variation_of(result), []).append(result)
    shared = set.intersection(*map(set, variations)) if variations else set()
    return [
        Row(
            experiment,
            _make_cells(experiment, some, row),
            ", ".join([*experiment.changes, *(word for word in words if word not in shared)]),
        )
        for words, some in (variations or {(): []}).items()
    ]


def _make_cells(experiment: Experiment, results: Sequence[EvaluationResult], row: Published | None) -> tuple[Cell, ...]:
    folds, mean = experiment.setting.benchmark.folds, row and row.mean
    if results and results[0].data and results[0].data.folds is not None:  # own data, whose folder says how many
        folds = tuple(range(results[0].data.folds)) or (None,)
    if folds == (None,):
        return (_fold_cell(None, mean, results),)
    measured = [[result for result in results if result.setting.fold == fold] for fold in folds]
    cells = [_fold_cell(fold, row and row.folds[fold], some) for fold, some in zip(folds, measured, strict=True)]
    return (*cells, _mean_cell(mean, [some[0] for some in measured if some], len(folds)))


def _fold_cell(fold: int | None, paper: float | None, results: Sequence[EvaluationResult]) -> Cell:
    """The newest result of a fold."""
    if not results:
        return Cell(fold, paper)
    newest = results[0]
    others = [f"{other.file} ({other.miou:.2f})" for other in results[1:] if abs(other.miou - newest.miou) > EQUAL]
    passed_over = [one_line(f"the newest result, {newest.file}; passed over: {', '.join(others)}")] if others else []
    return Cell(
        fold,
        paper,
        newest.miou,
        std=newest.std if len(newest.seeds) > 1 else None,
        fb_iou=newest.fb_iou,
        seeds=len(newest.seeds),
        episodes=newest.episodes,
        checkpoint=newest.checkpoint,
        file=str(newest.file),
        caveats=(*find_caveats(newest), *passed_over),
        notes=tuple(find_notes(newest)),
    )


def _mean_cell(paper: float | None, folds: Sequence[EvaluationResult], count: int) -> Cell:
    """The mean of all folds, if they are there; count: how many the dataset has."""
    if len(folds) < count:
        return Cell(None, paper, gap=f"{len(folds)} of {count} folds" if folds else "missing")
    first = folds[0]
    same_seeds = len(first.seeds) > 1 and all(fold.seeds.keys() == first.seeds.keys() for fold in folds)
    means = [fmean(fold.seeds[seed] for fold in folds) for seed in first.seeds] if same_seeds else []
    return Cell(
        None,
        paper,
        fmean(fold.miou for fold in folds),
        std=pstdev(means) if means else None,
        fb_iou=fmean(fold.fb_iou for fold in folds),
        seeds=_shared_value(len(fold.seeds) for fold in folds),
        episodes=_shared_value(fold.episodes for fold in folds),
        caveats=tuple(dict.fromkeys(line for fold in folds for line in find_caveats(fold))),
        notes=tuple(dict.fromkeys(line for fold in folds for line in find_notes(fold))),
    )


def _shared_value(values: Iterable[int]) -> int | None:
    """The value that all have, if they have one."""
    return distinct.pop() if len(distinct := set(values)) == 1 else None
