"""Results with settings or a tag of their own: rows of their own, no published cell, no command for what they lack."""

from __future__ import annotations

import csv

from tables.commands import Folders, missing_commands
from tables.tables import Row, make_tables
from tables.text import to_csv, to_markdown
from tests.tables.results import MakeResult

CHANGED = {"settings": {"fg_mix": 0.0, "rounds": 2}}


def measured(results: list) -> list[Row]:
    return [row for table in make_tables(results) for row in table.rows if row.is_measured]


def test_rows_and_cells(make_result: MakeResult) -> None:
    results = [make_result(60.0), make_result(61.0, **CHANGED), make_result(62.0, tag="wide"), make_result(63.0)]
    rows = measured(results)
    assert [(row.variation, row.cells[0].measured) for row in rows] == [
        ("", 63.0), ("fg_mix=0 rounds=2", 61.0), ("tag wide", 62.0),
    ]  # fmt: skip
    assert rows[0].cells[0].paper is not None
    assert all(cell.paper is None for row in rows[1:] for cell in row.cells)
    text = to_markdown(make_tables(results), with_missing=False)
    assert "own, fg_mix=0 rounds=2" in text
    assert "rows of the paper are missing" in text
    assert "missing:" not in to_markdown(make_tables(results), with_missing=False, count_missing=False)


def test_a_training_with_other_settings(make_result: MakeResult) -> None:
    """A network that was trained with another setting is not the paper's, also if it is tested with the paper's."""
    trained = {"trained_with": {"set": "fg_mix=0"}}
    tested = [make_result(60.0, **trained), make_result(61.0, **trained, settings={"fg_mix": 0.0})]
    rows = measured([*tested, make_result(62.0, trained_with={"set": None}, settings={"fg_mix": 0.0})])
    assert {row.variation: row.cells[0].measured for row in rows} == {
        "trained with fg_mix=0": 60.0,
        "fg_mix=0": 61.0,
        "fg_mix=0, trained with the settings of the paper": 62.0,
    }
    assert all(cell.paper is None for row in rows for cell in row.cells)
    folders = Folders("data", "out", "splits")
    assert missing_commands(make_tables(tested), folders) == missing_commands(make_tables([]), folders)


def test_columns(make_result: MakeResult) -> None:
    results = [make_result(61.0, tag="wide", **CHANGED)]
    (line,) = [each for each in csv.DictReader(to_csv(make_tables(results)).splitlines()) if each["measured"]]
    assert (line["settings"], line["tag"], line["paper"]) == ("fg_mix=0 rounds=2", "wide", "")


def test_no_command_is_of_a_variation(make_result: MakeResult) -> None:
    folders = Folders("data", "out", "splits")
    without = missing_commands(make_tables([]), folders)
    assert missing_commands(make_tables([make_result(61.0, **CHANGED), make_result(9.0, tag="a")]), folders) == without
