"""Networks that are not the paper's: in tables of their own, without published values."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dataset import Provenance
from engine.evaluation.protocol import HSNET, PAPER
from engine.evaluation.result import EvaluationResult
from engine.setting import Setting
from tables.tables import OTHERS_NOTE, Table, make_tables, row_name, to_csv, to_markdown

DINO = "timm:vit_small_patch14_dinov2.lvd142m@9,11"
HEAD, BACKBONE = "my/heads.py:Head", "my/backbones.py:Backbone"
PASCAL, FSS = "Pascal-5i, the paper's own protocol", "FSS-1000, the paper's own protocol"
OTHERS = ": other networks"
SPREAD = (-0.3, -0.1, 0.0, 0.1, 0.3)  # of five seeds around their mean; the deviation is 0.2
PUBLISHED = {PASCAL: 8, "COCO-20i, the paper's own protocol, contiguous class order": 4,
             "COCO-20i, HSNet's protocol, interleaved class order": 4, FSS: 2}  # fmt: skip


def result(miou: float, trained: dict[str, Any] | None = None, written: float = 0.0, **fields: Any) -> EvaluationResult:
    """An evaluation in the paper's own protocol; fields: of its setting, where not fold 0 of SSP, ResNet-50, 1-shot."""
    seeds = [{"seed": seed, "miou": miou + off} for seed, off in enumerate(SPREAD)]
    episodes = 4000 if fields.get("dataset") == "coco" else 1000
    setting = Setting(**{"refine": fields.get("method") != "baseline", **fields})
    measured = {"seeds": seeds, "miou": miou, "miou_std": 0.2, "fb_iou": 70.0}
    whole = Provenance("", "images", 1449, 1449)
    found = EvaluationResult(setting, PAPER, measured, "w.ckpt", episodes, {"arguments": trained or {}}, data=whole)
    return replace(found, file=Path(f"{miou}.json"), written=written)


def titled(tables: list[Table]) -> dict[str, Table]:
    return {table.title: table for table in tables}


def four_folds(*mious: float, **fields: Any) -> list[EvaluationResult]:
    return [result(miou, fold=fold, **fields) for fold, miou in enumerate(mious)]


def test_they_follow_the_papers_rows_which_stay_as_they_are() -> None:
    own = four_folds(61.2, 68.0, 66.5, 50.3)
    others = [
        *four_folds(60.0, 70.0, 65.0, 55.0, backbone=DINO),
        result(40.0, method=HEAD),
        result(41.0, method=HEAD, backbone="resnet101"),
        result(42.0, method="baseline", backbone=BACKBONE),
        result(80.0, backbone="timm:resnet18", dataset="fss", fold=None),
        replace(result(30.0, backbone=BACKBONE, dataset="coco", class_order="interleaved"), protocol=HSNET),
    ]
    alone, tables = titled(make_tables(own)), titled(make_tables([*others, *own]))
    hsnet = "COCO-20i, HSNet's protocol, interleaved class order"
    assert list(tables) == [
        PASCAL, PASCAL + OTHERS, "COCO-20i, the paper's own protocol, contiguous class order",
        hsnet, hsnet + OTHERS, FSS, FSS + OTHERS,
    ]  # fmt: skip
    assert {name: table for name, table in tables.items() if OTHERS not in name} == alone
    assert {name: len(table.rows) for name, table in alone.items()} == PUBLISHED
    rows = tables[PASCAL + OTHERS].rows
    assert [(row.setting.method, row.setting.backbone) for row in rows] == [
        ("baseline", BACKBONE), ("ssp", DINO), (HEAD, "resnet50"), (HEAD, "resnet101"),
    ]  # fmt: skip
    assert [cell.measured for cell in rows[1].cells] == [60.0, 70.0, 65.0, 55.0, 62.5]  # 250 / 4
    assert [cell.std for cell in rows[1].cells] == pytest.approx([0.2] * 5)
    for name, table in tables.items():
        if OTHERS in name:
            assert table.notes == (OTHERS_NOTE,)
            assert {cell.paper for row in table.rows for cell in row.cells} == {None}


def test_the_values_without_a_backbone_stand_beside_resnets_only() -> None:
    fss = {"dataset": "fss", "fold": None}
    tables = titled(make_tables([result(80.0, backbone=DINO, **fss), result(86.0, backbone="resnet101", **fss)]))
    ours = [(row.setting.shot, row.setting.backbone, row.cells[0].paper) for row in tables[FSS].rows]
    assert ours == [(1, "resnet101", 87.3), (5, None, 88.6)]
    (row,) = tables[FSS + OTHERS].rows
    assert (row.setting.backbone, row.cells[0].paper, row.cells[0].measured) == (DINO, None, 80.0)
    assert [row.setting.backbone for row in titled(make_tables([result(80.0, backbone=DINO, **fss)]))[FSS].rows] == [
        None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("trained", "fields", "weights", "notes"),
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
def test_a_row_says_what_was_not_trained(trained: dict, fields: dict, weights: str, notes: tuple[str, ...]) -> None:
    tables = make_tables([result(33.3, trained, **fields)])
    found = [(row, table) for table in tables for row in table.rows if row.cells[0].measured is not None]
    ((row, table),) = found
    assert (row.weights, row.cells[0].notes, row.cells[0].remarks) == (weights, notes, ())
    is_papers = weights == "own" and not fields
    assert table.title == (PASCAL if is_papers else PASCAL + OTHERS)
    assert row.cells[0].paper == (61.4 if is_papers else None)


def test_frozen_trained_and_untrained_are_never_one_cell() -> None:
    """The newest is untrained, and the paper's cell keeps the trained one."""
    trained, untrained = {"episode": 24000}, {"episode": 0, "frozen": True}
    tables = titled(make_tables([result(61.0, trained), result(45.0, untrained, 9.0), result(44.0, untrained, 5.0)]))
    (cell,) = [row.cells[0] for row in tables[PASCAL].rows if row.cells[0].measured is not None]
    assert (cell.paper, cell.measured, cell.notes) == (61.4, 61.0, ())
    (row,) = tables[PASCAL + OTHERS].rows
    assert row.cells[0].measured == 45.0
    assert row.cells[0].notes == (
        "not trained (--episode 0)",
        "the newest result, 45.0.json; passed over: 44.0.json (44.00)",
    )
    ways = {1.0: {"frozen": True}, 2.0: {"episode": 0}, 3.0: {"episode": 24000}}
    rows = titled(make_tables(result(miou, way, method=HEAD) for miou, way in ways.items()))[PASCAL + OTHERS].rows
    assert [(row.weights, row.cells[0].measured) for row in rows] == [("frozen", 1.0), ("own", 3.0), ("untrained", 2.0)]


def test_filters_match_the_whole_name() -> None:
    results = [result(50.0, backbone="timm:resnet18"), result(51.0, backbone="timm:resnet18@2,3"), result(52.0)]
    (table,) = make_tables(results, backbone="timm:resnet18")
    assert [cell.measured for row in table.rows for cell in row.cells[:1]] == [50.0]
    assert make_tables(results, backbone="timm:resnet34") == []
    assert make_tables(results, backbone=DINO, weights="own") == []
    untrained = [result(45.0, {"episode": 0}), *results]
    assert PASCAL + OTHERS in titled(make_tables(untrained, weights="own"))
    assert PASCAL + OTHERS not in titled(make_tables(untrained, weights="authors"))


def test_markdown() -> None:
    results = [result(50.04, {"episode": 0}, backbone=DINO), result(40.0, method="a|b.py:Head", refine=False, fold=2)]
    text = to_markdown([titled(make_tables(results))[PASCAL + OTHERS]])
    lines = text.splitlines()
    assert lines[2] == f"## {PASCAL}{OTHERS}"
    assert [" ".join(line.split()) for line in lines[6:8]] == [
        f"| SSP | 1-shot | {DINO} | Yes | untrained | 50.0 ±0.2 [1] | missing | missing | missing | 1 of 4 folds |",
        r"| a\|b.py:Head | 1-shot | ResNet-50 | No | own | missing | missing | 40.0 ±0.2 | missing | 1 of 4 folds |",
    ]
    assert len({len(line) for line in lines[4:8]}) == 1
    assert lines[9:] == ["- [1] not trained (--episode 0)", f"- {OTHERS_NOTE}"]
    assert "paper " not in "".join(lines[6:8])


def test_csv() -> None:
    tables = make_tables([result(50.04, {"frozen": True}, method=HEAD, backbone=DINO)], "pascal", 1, DINO)
    first, *more = csv.DictReader(to_csv(tables).splitlines())
    assert first == {
        "dataset": "pascal", "protocol": "ssp", "class_order": "", "method": HEAD, "refine": "True", "shot": "1",
        "backbone": DINO, "fold": "0", "paper": "", "measured": "50.04", "std": "0.2", "difference": "",
        "fb_iou": "70.0", "seeds": "5", "episodes": "1000", "checkpoint": "w.ckpt", "file": "50.04.json",
        "note": "the backbone was frozen", "weights": "frozen", "data": "",
    }  # fmt: skip
    assert [(line["fold"], line["backbone"], line["note"]) for line in more] == [
        ("1", DINO, "missing"), ("2", DINO, "missing"), ("3", DINO, "missing"), ("mean", DINO, "1 of 4 folds"),
    ]  # fmt: skip


def test_names_in_words() -> None:
    assert row_name(Setting(backbone=DINO, refine=True)) == f"SSP 1-shot {DINO} refine"
    assert row_name(Setting(method=HEAD, backbone="resnet101", shot=5)) == f"{HEAD} 5-shot ResNet-101"
