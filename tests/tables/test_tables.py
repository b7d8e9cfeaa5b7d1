"""Rows, cells and tables against numbers worked out by hand; what never stands beside the paper's numbers."""

from __future__ import annotations

from typing import Any

import pytest

from engine.evaluation.result import EvaluationResult
from engine.setting import Setting
from tables.caveats import ORDER_NOTE, OTHERS_NOTE
from tables.experiment import row_name
from tables.tables import Cell, make_tables
from tables.text import cell_text
from tests.tables.results import (
    BACKBONE,
    COCO,
    COCO_BY_HSNET,
    DINO,
    FSS,
    HEAD,
    ON_COCO,
    ON_COCO_BY_HSNET,
    ON_FSS,
    OTHERS,
    PASCAL,
    SPREAD,
    SSP_1SHOT,
    TOY,
    MakeResult,
    by_title,
    measured_rows,
    published_data,
    row_of,
)

PUBLISHED = {PASCAL: 8, COCO: 4, COCO_BY_HSNET: 4, FSS: 2}  # rows


@pytest.fixture
def four_folds(make_result: MakeResult) -> list[EvaluationResult]:
    """All folds of SSP, ResNet-50, 1-shot; fold 1's seeds differ the other way."""
    mious = enumerate((61.2, 68.0, 66.5, 50.3))
    return [make_result(miou, SPREAD[::-1] if fold == 1 else SPREAD, fold=fold) for fold, miou in mious]


def test_a_row_of_four_folds(four_folds: list[EvaluationResult]) -> None:
    tables = by_title(make_tables(four_folds))
    assert {title: len(table.rows) for title, table in tables.items()} == PUBLISHED
    row = row_of(tables[PASCAL], **SSP_1SHOT)
    assert [cell.measured for cell in row.cells] == pytest.approx([61.2, 68.0, 66.5, 50.3, 61.5])
    assert [cell.paper for cell in row.cells] == [61.4, 67.8, 66.5, 50.9, 61.7]
    # of each seed the folds' mean: three folds go up where fold 1 goes down, so half of one fold's spread
    assert [cell.std for cell in row.cells] == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.1])
    assert [cell_text(cell, {}) for cell in row.cells] == [
        "61.2 ±0.2 (paper 61.4, -0.2)",
        "68.0 ±0.2 (paper 67.8, +0.2)",
        "66.5 ±0.2 (paper 66.5, +0.0)",
        "50.3 ±0.2 (paper 50.9, -0.6)",
        "61.5 ±0.1 (paper 61.7, -0.2)",
    ]


def test_a_row_of_three_folds_has_no_mean(four_folds: list[EvaluationResult]) -> None:
    row = row_of(by_title(make_tables(four_folds[:2] + four_folds[3:]))[PASCAL], **SSP_1SHOT)
    assert row.cells[2] == Cell(2, 66.5)
    assert (row.cells[4].measured, row.cells[4].gap) == (None, "3 of 4 folds")
    assert [cell_text(cell, {}) for cell in row.cells[2:]] == [
        "missing (paper 66.5)", "50.3 ±0.2 (paper 50.9, -0.6)", "3 of 4 folds (paper 61.7)",
    ]  # fmt: skip


def test_a_mean_of_other_seeds_has_no_spread(four_folds: list[EvaluationResult], make_result: MakeResult) -> None:
    others = [{"seed": seed, "miou": 66.5} for seed in (7, 1, 2, 3, 4)]
    results = [*four_folds, make_result(66.5, fold=2, seeds=others)]
    mean = row_of(by_title(make_tables(results))[PASCAL], **SSP_1SHOT).cells[4]
    assert (mean.measured, mean.std) == (pytest.approx(61.5), None)


def test_hsnets_protocol_has_one_seed(make_result: MakeResult) -> None:
    results = [make_result(m, (0.0,), fold=f, **ON_COCO_BY_HSNET) for f, m in enumerate((35.0, 40.0, 38.0, 36.0))]
    row = row_of(by_title(make_tables(results))[COCO_BY_HSNET], shot=1, backbone="resnet50")
    assert [(cell.measured, cell.std, cell.caveats) for cell in row.cells] == [
        (value, None, ()) for value in (35.0, 40.0, 38.0, 36.0, 37.25)
    ]
    assert cell_text(row.cells[0], {}) == "35.0 (paper 35.5, -0.5)"


def test_the_newest_result_counts(make_result: MakeResult) -> None:
    c, a, same, newest = (make_result(miou) for miou in (59.0, 61.0, 60.0 + 1e-9, 60.0))
    cell = row_of(by_title(make_tables([a, newest, c, same]))[PASCAL], **SSP_1SHOT).cells[0]
    assert (cell.measured, cell.file) == (60.0, str(newest.file))
    assert cell.caveats == (f"the newest result, {newest.file}; passed over: {a.file} (61.00), {c.file} (59.00)",)
    assert row_of(by_title(make_tables([same, newest]))[PASCAL], **SSP_1SHOT).cells[0].caveats == ()


def test_a_mean_has_the_footnotes_of_its_folds(four_folds: list[EvaluationResult], make_result: MakeResult) -> None:
    odd = [make_result(68.0, fold=1, warnings=["a"]), make_result(66.5, fold=2, warnings=["a", "b"])]
    table = by_title(make_tables([four_folds[0], *odd, four_folds[3]]))[PASCAL]
    row = row_of(table, **SSP_1SHOT)
    assert row.cells[4].caveats == ("may mean nothing: a", "may mean nothing: b")
    assert (row.cells[4].seeds, row.cells[4].episodes) == (5, 1000)
    texts = [cell_text(cell, table.marks) for cell in row.cells]
    assert [text.partition(") ")[2] for text in texts] == ["", "[1]", "[1] [2]", "", "[1] [2]"]


def test_results_of_other_flags_or_code_have_a_row_each(make_result: MakeResult) -> None:
    """Beside the same published values; one fold is there of each, and no mean is taken over them."""
    usual = {"episode": 24000, "lr": 1e-3, "seed": 0, "pretrained": "x/resnet50.pth"}
    ways = (
        ({"trained_with": usual}, ""),
        ({"trained_with": {**usual, "lr": 0.01}}, "--lr 0.01"),
        ({"trained_with": {**usual, "seed": 1}, "fold": 1}, "--seed 1"),
        ({"trained_with": {**usual, "pretrained": "x/mine.pth"}}, "--pretrained x/mine.pth"),
        ({"episodes": 10}, "10 episodes"),
        ({"amp": True}, "tested with --amp"),
        ({"code": "0123456789abcdef"}, "code 01234567"),
    )
    results = [make_result(60.0 + number, **fields) for number, (fields, _) in enumerate(ways)]
    rows = measured_rows(by_title(make_tables(results))[PASCAL])
    found = {tuple(cell.measured for cell in row.cells): row.variation for row in rows}
    none = (None, None, None, None)
    for result, (_, words) in zip(results, ways, strict=True):
        place = (None, result.miou) if result.setting.fold else (result.miou, None)
        told = found[(*place, *none[:3])].split(", ")
        assert [word for word in told if word not in ("1000 episodes", "")] == ([words] if words else [])
    assert len(rows) == len(ways)
    assert {row.cells[0].paper for row in rows} == {61.4}
    assert rows[0].variation == "1000 episodes, code 01234567"  # the newest first


def test_rows_and_tables_that_are_not_in_the_paper(make_result: MakeResult) -> None:
    results = [
        make_result(60.0, refine=False),
        make_result(55.0, (0.0,), protocol="hsnet", refine=False, fold=3),
        make_result(40.0, dataset="coco", class_order="interleaved", episodes=4000),
    ]
    tables = by_title(make_tables(results))
    more = ["Pascal-5i, HSNet's protocol", "COCO-20i, the paper's own protocol, interleaved class order"]
    assert list(tables) == [*PUBLISHED, *more]
    assert len(tables[PASCAL].rows) == 9
    texts = [cell_text(cell, {}) for cell in tables[PASCAL].rows[8].cells]
    assert texts == ["60.0 ±0.2", "missing", "missing", "missing", "1 of 4 folds"]
    assert tables[more[0]].rows[0].cells[3].measured == 55.0
    assert tables[more[0]].notes == ("Nothing is published for this benchmark and protocol.",)


def test_values_without_a_backbone_stand_beside_each_resnet_that_was_measured(make_result: MakeResult) -> None:
    dino, large, small = (make_result(80.0, backbone=name, **ON_FSS) for name in (DINO, "resnet101", "resnet50"))

    def rows(*results: EvaluationResult, **wanted: Any) -> list[tuple]:
        found = by_title(make_tables(results, **wanted))[FSS].rows
        return [(row.experiment.setting.shot, row.experiment.setting.backbone, row.cells[0].paper) for row in found]

    assert rows(dino) == [(1, None, 87.3), (5, None, 88.6)]
    assert rows(dino, large) == [(1, "resnet101", 87.3), (5, None, 88.6)]
    assert rows(large, small) == [(1, "resnet50", 87.3), (1, "resnet101", 87.3), (5, None, 88.6)]
    assert rows(small, backbone="resnet101") == [(1, "resnet101", 87.3), (5, "resnet101", 88.6)]
    (row,) = by_title(make_tables([dino, large]))[FSS + OTHERS].rows
    assert (row.experiment.setting.backbone, row.cells[0].paper, row.cells[0].measured) == (DINO, None, 80.0)


def test_filters(four_folds: list[EvaluationResult], make_result: MakeResult) -> None:
    (table,) = make_tables(four_folds, dataset="pascal", shot=5, backbone="resnet101")
    assert [(row.experiment.setting.method, row.experiment.setting.refine) for row in table.rows] == [
        ("baseline", False), ("ssp", True),
    ]  # fmt: skip
    (table,) = make_tables(four_folds, dataset="pascal", method="baseline")
    assert [row.experiment.setting.method for row in table.rows] == ["baseline"] * 4
    results = [make_result(50.0 + n, backbone=f"timm:resnet18{stages}") for n, stages in enumerate(("", "@2,3"))]
    (table,) = make_tables(results, backbone="timm:resnet18")  # the whole name
    assert [row.cells[0].measured for row in table.rows] == [50.0]
    assert make_tables(results, backbone="timm:resnet34") == make_tables(results, "own", backbone=DINO) == []
    untrained = make_result(45.0, trained_with={"episode": 0})
    assert PASCAL + OTHERS in by_title(make_tables([untrained], "own"))
    assert PASCAL + OTHERS not in by_title(make_tables([untrained], "authors"))


# What never stands beside the paper's numbers


def test_other_data(four_folds: list[EvaluationResult], make_result: MakeResult) -> None:
    alone = by_title(make_tables(four_folds, dataset="pascal"))[PASCAL]
    few = {"name": "", "counted": "images of pascal val", "count": 42, "published": 1449}
    train = {"name": "", "counted": "images of pascal train", "count": 60, "published": 10582}
    kinds = ((TOY, TOY), (few, {**train, "count": 10582}), (few, train), (published_data(), TOY), (None, None))
    results = [make_result(55.0 + n, data=data, training_data=of) for n, (data, of) in enumerate(kinds)]
    results.append(make_result(70.0, data=TOY, backbone=DINO))
    tables = by_title(make_tables([*four_folds, *results], dataset="pascal"))
    some = "42 images of pascal val in place of 1449"
    assert list(tables) == [
        PASCAL,
        f"{PASCAL}: {some}",
        f"{PASCAL}: {some}, trained on 60 images of pascal train in place of 10582",
        f"{PASCAL}: data not recorded",
        f"{PASCAL}: toy data",
        f"{PASCAL}: toy data{OTHERS}",
        f"{PASCAL}: trained on toy data",
    ]
    assert tables.pop(PASCAL) == alone
    rows = [row for table in tables.values() for row in table.rows]
    assert [row.cells[0].measured for row in rows] == [56.0, 57.0, 59.0, 55.0, 70.0, 58.0]
    assert {cell.paper for row in rows for cell in row.cells} == {None}
    notes = [table.notes[0] for table in tables.values()]
    assert [note.startswith("These results are not on the benchmark's own data (") for note in notes].count(True) == 5
    assert "do not say on which data they were measured: test again with test.py" in notes[2]


def test_other_networks(four_folds: list[EvaluationResult], make_result: MakeResult) -> None:
    others = [
        *(make_result(miou, fold=fold, backbone=DINO) for fold, miou in enumerate((60.0, 70.0, 65.0, 55.0))),
        make_result(40.0, method=HEAD),
        make_result(41.0, method=HEAD, backbone="resnet101"),
        make_result(42.0, method="baseline", refine=False, backbone=BACKBONE),
        make_result(80.0, backbone="timm:resnet18", **ON_FSS),
        make_result(30.0, backbone=BACKBONE, **ON_COCO_BY_HSNET),
    ]
    alone, tables = by_title(make_tables(four_folds)), by_title(make_tables([*others, *four_folds]))
    assert list(tables) == [PASCAL, PASCAL + OTHERS, COCO, COCO_BY_HSNET, COCO_BY_HSNET + OTHERS, FSS, FSS + OTHERS]
    assert {title: table for title, table in tables.items() if OTHERS not in title} == alone
    rows = tables[PASCAL + OTHERS].rows
    assert [(row.experiment.setting.method, row.experiment.setting.backbone) for row in rows] == [
        ("baseline", BACKBONE), ("ssp", DINO), (HEAD, "resnet50"), (HEAD, "resnet101"),
    ]  # fmt: skip
    assert [cell.measured for cell in rows[1].cells] == [60.0, 70.0, 65.0, 55.0, 62.5]  # 250 / 4
    assert [cell.std for cell in rows[1].cells] == pytest.approx([0.2] * 5)
    for table in (tables[title] for title in tables if OTHERS in title):
        assert table.notes == (OTHERS_NOTE,)
        assert {cell.paper for row in table.rows for cell in row.cells} == {None}


def test_frozen_trained_and_untrained_are_never_one_cell(make_result: MakeResult) -> None:
    """The newest is untrained, and the paper's cell keeps the trained one."""
    trained, old, new = (
        make_result(miou, trained_with=way)
        for miou, way in ((61.0, {"episode": 24000}), (44.0, {"episode": 0}), (45.0, {"episode": 0, "frozen": True}))
    )
    tables = by_title(make_tables([trained, old, new]))
    (row,) = measured_rows(tables[PASCAL])
    assert row.cells[0][:3] == (0, 61.4, 61.0)
    found = [(row.variation, row.cells[0].measured, row.cells[0].caveats) for row in tables[PASCAL + OTHERS].rows]
    untrained = ("not trained (--episode 0)",)
    assert found == [("--frozen", new.miou, untrained), ("", old.miou, untrained)]
    ways = {1.0: {"frozen": True}, 2.0: {"episode": 0}, 3.0: {"episode": 24000}}
    results = [make_result(miou, method=HEAD, trained_with=way) for miou, way in ways.items()]
    rows = by_title(make_tables(results))[PASCAL + OTHERS].rows
    found = [(row.experiment.weights, row.cells[0].measured) for row in rows]
    assert found == [("frozen", 1.0), ("own", 3.0), ("untrained", 2.0)]


def test_the_authors_weights_have_rows_of_their_own(
    four_folds: list[EvaluationResult], make_result: MakeResult
) -> None:
    """Never one mean over both; each can be shown alone."""
    mious = (61.4, 67.8, 66.5, 50.9)
    results = [*four_folds, *(make_result(miou, fold=fold, weights="authors") for fold, miou in enumerate(mious))]
    table = by_title(make_tables(results))[PASCAL]
    rows = [(row.experiment.weights, round(row.cells[4].measured, 2)) for row in measured_rows(table)]
    assert rows == [("own", 61.5), ("authors", 61.65)]
    assert len(table.rows) == 9
    for kind, titles in (("own", list(PUBLISHED)), ("authors", [PASCAL, COCO, COCO_BY_HSNET])):  # there are none of fss
        tables = by_title(make_tables(results, kind))
        assert list(tables) == titles
        assert {row.experiment.weights for table in tables.values() for row in table.rows} == {kind}
    assert tuple(cell.measured for cell in row_of(tables[PASCAL], **SSP_1SHOT).cells[:4]) == mious


# Caveats and notes

FIVE_SHOT = {"shot": 5, "trained_with": {"released_order": None}}
USUAL = {"episode": 24000, "batch_size": 4, "lr": 1e-3, "crop_size": 473, "seed": 3}
STATED = {"dataset": "pascal", "class_order": None, "fold": 0}


@pytest.mark.parametrize(
    ("fields", "caveats"),
    [
        ({"episodes": 200}, ["200 of the protocol's 1000 episodes"]),
        ({"spread": (0.0, 0.1)}, ["2 of the protocol's 5 seeds"]),
        ({"amp": True}, ["the backbone in bfloat16 (--amp)"]),
        ({"warnings": ["w.ckpt was TRAINED\non 5 of 5"]}, ["may mean nothing: w.ckpt was TRAINED on 5 of 5"]),
        ({"warnings": [], "episodes": 2000}, []),
        (
            {**ON_COCO, "episodes": 1000, "spread": (0.0,)},
            ["1000 of the protocol's 4000 episodes", "1 of the protocol's 5 seeds"],
        ),
        ({**ON_COCO_BY_HSNET, "spread": (0.0,)}, []),
        ({**ON_COCO_BY_HSNET, "spread": (0.0,), "episodes": 12}, ["12 of the protocol's 1000 episodes"]),
        (ON_FSS, []),
        ({**ON_FSS, "trained_with": {"crop_size": 225}}, []),
        ({**ON_FSS, "trained_with": {"crop_size": 129}}, ["trained with --crop-size 129"]),
        ({**ON_FSS, "protocol": "hsnet"}, ["1000 of the protocol's 2400 episodes"]),
        ({"trained_with": USUAL}, []),
        ({"trained_with": {**USUAL, "episode": 800, "lr": 0.01}}, ["trained with --episode 800 --lr 0.01"]),
        ({"trained_with": {"pretrained": "none"}}, ["trained with --pretrained none"]),
        ({"missing_classes": {"4": "boat", "5": ""}}, ["no episode of class 4 boat, 5"]),
    ],
)
def test_caveats(fields: dict[str, Any], caveats: list[str], make_result: MakeResult) -> None:
    tables = make_tables([make_result(33.3, **fields)])
    ((table, row),) = [(table, row) for table in tables for row in measured_rows(table)]
    (cell,) = [cell for cell in row.cells if cell.measured is not None]
    assert (list(cell.caveats), cell.notes) == (caveats, ())
    assert table.lines[: len(caveats)] == [f"[{n}] {text}" for n, text in enumerate(caveats, start=1)]
    marks = "".join(f" [{number}]" for number in range(1, len(caveats) + 1))
    assert cell_text(cell, table.marks).removesuffix(marks).endswith((")", "33.3", "33.3 ±0.2"))


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"episodes_from": "my/e.json"}, "its episodes are those of my/e.json"),
        ({"trained_on": {**STATED, "declared": True}}, "what the weights were trained on is what --trained-on says"),
        ({"trained_on": {**STATED, "declared": False}}, ""),
        ({"trained_with": {"pretrained": "x/backbone.pth"}}, "the backbone started from x/backbone.pth"),
        ({"trained_with": {"pretrained": "x/resnet50.pth"}}, ""),
        ({"trained_with": {"pretrained": None}}, ""),
        ({"trained_with": {"pretrained": "a\nb"}}, "the backbone started from a b"),
        ({"shot": 5, "trained_with": {}}, ""),
        (
            {"shot": 5, "trained_with": {"released_order": 2}},
            "trained with --released-order 2, as the published models were (N = 2)",
        ),
        (FIVE_SHOT, "trained with the right order of masks; the published models were not, see docs/reproduce.md"),
        ({**FIVE_SHOT, "method": "baseline", "refine": False}, ""),
    ],
)
def test_notes(fields: dict[str, Any], note: str, make_result: MakeResult) -> None:
    (row,) = measured_rows(by_title(make_tables([make_result(33.3, **fields)]))[PASCAL])
    assert (row.cells[0].notes, row.cells[0].caveats) == ((note,) if note else (), ())


@pytest.mark.parametrize(
    ("trained", "fields", "weights", "caveats"),
    [
        ({"episode": 24000, "frozen": None}, {}, "own", ()),
        ({"episode": 24000, "frozen": True}, {"method": HEAD}, "frozen", ("the backbone was frozen",)),
        ({"episode": 800, "frozen": True}, {"method": HEAD}, "frozen",
         ("the backbone was frozen", "trained with --episode 800")),
        ({"episode": 0, "lr": 1.0, "crop_size": 33, "frozen": True}, {}, "untrained", ("not trained (--episode 0)",)),
        ({"episode": 0, "pretrained": "timm"}, {"backbone": DINO}, "untrained", ("not trained (--episode 0)",)),
        ({"episode": 0, "pretrained": "none"}, {"backbone": DINO}, "untrained",
         ("not trained (--episode 0 --pretrained none)",)),
        ({"episode": 24000, "pretrained": "none"}, {"backbone": DINO}, "own", ("trained with --pretrained none",)),
        ({"episode": 0, "released_order": None}, {"shot": 5}, "untrained", ("not trained (--episode 0)",)),
    ],
)  # fmt: skip
def test_a_row_says_what_was_not_trained(
    trained: dict, fields: dict, weights: str, caveats: tuple[str, ...], make_result: MakeResult
) -> None:
    tables = make_tables([make_result(33.3, trained_with=trained, **fields)])
    ((row, table),) = [(row, table) for table in tables for row in measured_rows(table)]
    assert (row.experiment.weights, row.cells[0].caveats, row.cells[0].notes) == (weights, caveats, ())
    is_papers = weights == "own" and not fields
    assert (table.title, row.cells[0].paper) == ((PASCAL, 61.4) if is_papers else (PASCAL + OTHERS, None))


def test_the_order_of_classes_of_the_authors_weights_is_not_stated() -> None:
    for weights, noted in (("authors", True), ("own", False)):
        tables = by_title(make_tables([], weights, dataset="coco"))
        assert [ORDER_NOTE in tables[title].notes for title in (COCO, COCO_BY_HSNET)] == [noted] * 2


def test_names_in_words() -> None:
    assert row_name(Setting(backbone=DINO, refine=True)) == f"SSP 1-shot {DINO} refine"
    assert row_name(Setting(method=HEAD, backbone="resnet101", shot=5)) == f"{HEAD} 5-shot ResNet-101"
