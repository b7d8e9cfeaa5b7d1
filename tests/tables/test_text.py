"""Markdown, CSV and verdicts against values worked out by hand."""

from __future__ import annotations

import csv

import pytest

from engine.evaluation.protocol import PAPER
from engine.setting import AUTHORS, Setting
from tables.caveats import OTHERS_NOTE
from tables.experiment import Experiment
from tables.tables import Cell, Row, Table, make_tables
from tables.text import signed, to_csv, to_markdown, verdict, verdicts
from tests.tables.results import DINO, HEAD, OTHERS, PASCAL, TOY, MakeResult, by_title


def test_rounding() -> None:
    assert [signed(value) for value in (-0.04, 0.0, 0.04, -0.06, 0.26, -12.3)] == [
        "+0.0", "+0.0", "+0.0", "-0.1", "+0.3", "-12.3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("paper", "measured", "std", "expected"),
    [
        (61.4, 61.44, 0.0, "same"),  # 61.4 to a tenth
        (61.4, 61.36, None, "same"),
        (61.4, 61.46, 0.0, "outside"),  # 61.5, 0.06 above and nothing but 0.05 of rounding
        (61.4, 61.46, 0.02, "within"),  # 0.06 <= 0.02 + 0.05
        (61.4, 61.0, 0.3, "outside"),  # 0.4 > 0.35
        (61.4, 61.0, 0.36, "within"),
        (61.4, 61.0, None, "outside"),  # one seed has no spread
        (None, 61.0, 0.3, ""),
        (61.4, None, None, ""),
    ],
)
def test_verdict(paper: float | None, measured: float | None, std: float | None, expected: str) -> None:
    assert verdict(Cell(0, paper, measured, std)) == expected


def test_a_line_for_each_cell() -> None:
    cells = (
        Cell(0, 61.4, 61.4321, 0.3), Cell(1, 67.8, 67.2, 0.25), Cell(2, 66.5), Cell(3, 50.9, 51.1, 0.2),
        Cell(None, 61.7, gap="3 of 4 folds"),
    )  # fmt: skip
    own = Experiment(PAPER, Setting("pascal", None, None, 1, "resnet50", "ssp", True), AUTHORS)
    toy = Row(own._replace(data="toy data"), (Cell(0, None, 50.0, 1.5), Cell(1, None)))
    unpublished = Row(own, (Cell(0, None, 50.0, 1.5),))
    lines = verdicts([Table("x", (Row(own, cells), toy, unpublished), ())]).splitlines()
    name = "Pascal-5i ssp SSP 1-shot ResNet-50 refine"
    assert [line.split() for line in lines] == [
        ["fold", "paper", "measured", "difference", "spread", "verdict"],
        [*name.split(), "0", "61.4", "61.43", "+0.03", "0.30", "same"],
        ["1", "67.8", "67.20", "-0.60", "0.25", "outside"],
        ["2", "66.5", "missing"],
        ["3", "50.9", "51.10", "+0.20", "0.20", "within"],
        ["mean", "61.7", "missing"],
        [*name.split(), "(toy", "data)", "0", "-", "50.00", "-", "1.50", "other", "data"],
    ]
    assert lines[1].startswith(f"{name}                0   61.4")


def test_markdown(make_result: MakeResult) -> None:
    results = [
        make_result(50.04, backbone=DINO, trained_with={"episode": 0}),
        make_result(40.0, method="a|b.py:Head", refine=False, fold=2),
    ]
    lines = to_markdown([by_title(make_tables(results))[PASCAL + OTHERS]]).splitlines()
    assert lines[2] == f"## {PASCAL}{OTHERS}"
    assert [" ".join(line.split()) for line in lines[6:8]] == [
        f"| SSP | 1-shot | {DINO} | Yes | untrained | 50.0 ±0.2 [1] | missing | missing | missing | 1 of 4 folds |",
        r"| a\|b.py:Head | 1-shot | ResNet-50 | No | own | missing | missing | 40.0 ±0.2 | missing | 1 of 4 folds |",
    ]
    assert len({len(line) for line in lines[4:8]}) == 1
    assert lines[9:] == ["- [1] not trained (--episode 0)", f"- {OTHERS_NOTE}"]


def test_csv(make_result: MakeResult) -> None:
    results = [
        make_result(68.0, fold=1, warnings=["w", "x"], checkpoint='a, "b".ckpt'),
        *(make_result(60.0, fold=fold) for fold in (0, 2)),
        make_result(55.0, data=TOY),
        make_result(50.04, method=HEAD, backbone=DINO, trained_with={"frozen": True}),
    ]
    lines = list(csv.DictReader(to_csv(make_tables(results)).splitlines()))
    assert ",".join(lines[0]) == (
        "dataset,protocol,class_order,method,refine,shot,backbone,fold,paper,measured,std,difference,fb_iou,seeds,"
        "episodes,checkpoint,file,note,weights,data,variation,settings,tag"
    )
    assert len(lines) == 16 * 5 + 2 + 5 + 5
    ours, toy, other = (
        [line for line in lines if line["method"] == method and line["shot"] == "1" and line["data"] == data
         and line["dataset"] == "pascal" and line["backbone"] == backbone]
        for method, data, backbone in (("ssp", "", "resnet50"), ("ssp", "toy data", "resnet50"), (HEAD, "", DINO))
    )  # fmt: skip
    assert [line["fold"] for line in ours] == ["0", "1", "2", "3", "mean"]
    assert ours[1] == {
        "dataset": "pascal", "protocol": "ssp", "class_order": "", "method": "ssp", "refine": "True", "shot": "1",
        "backbone": "resnet50", "fold": "1", "paper": "67.8", "measured": "68.0", "std": "0.2", "difference": "0.2",
        "fb_iou": "70.0", "seeds": "5", "episodes": "1000", "checkpoint": 'a, "b".ckpt', "file": str(results[0].file),
        "note": "may mean nothing: w; may mean nothing: x", "weights": "own", "data": "", "variation": "",
        "settings": "", "tag": "",
    }  # fmt: skip
    assert [line["note"] for line in ours[2:]] == ["", "missing", "3 of 4 folds"]
    assert [(ours[4][name], ours[3][name]) for name in ("paper", "measured")] == [("61.7", "50.9"), ("", "")]
    assert [line["fold"] for line in lines if line["dataset"] == "fss"] == ["mean", "mean"]
    assert [toy[0][name] for name in ("measured", "paper", "difference")] == ["55.0", "", ""]
    assert [other[0][name] for name in ("measured", "paper", "note", "weights")] == [
        "50.04", "", "the backbone was frozen", "frozen",
    ]  # fmt: skip
    assert [line["note"] for line in other[1:]] == ["missing"] * 3 + ["1 of 4 folds"]


def test_a_variation_is_named(make_result: MakeResult) -> None:
    results = [make_result(60.0), make_result(61.4, trained_with={"lr": 0.5})]
    tables = make_tables(results, dataset="pascal")
    cells = [
        [cell.strip() for cell in line.split("|")] for line in to_markdown(tables, with_missing=False).splitlines()
    ]
    assert [line[5:7] for line in cells if "SSP" in line] == [
        ["own, --lr 0.5", "61.4 ±0.2 (paper 61.4, +0.0) [1]"], ["own", "60.0 ±0.2 (paper 61.4, -1.4)"],
    ]  # fmt: skip
    assert "Pascal-5i ssp SSP 1-shot ResNet-50 refine (--lr 0.5) " in verdicts(tables)
    rows = [row for row in csv.DictReader(to_csv(tables).splitlines()) if row["measured"]]
    assert [(row["measured"], row["variation"]) for row in rows] == [("61.4", "'--lr 0.5"), ("60.0", "")]


def test_a_file_cannot_write_html_or_formulas(make_result: MakeResult) -> None:
    evil = "# <script>alert(1)</script>\n## x | y"
    tables = make_tables([make_result(61.2, warnings=[evil], checkpoint='=HYPERLINK("http://x")')], dataset="pascal")
    text = to_markdown(tables)
    assert r"may mean nothing: # \<script>alert(1)\</script> ## x \| y" in text
    assert not any(line.startswith("## x") for line in text.splitlines())
    rows = list(csv.DictReader(to_csv(tables).splitlines()))
    assert [row["checkpoint"] for row in rows if row["checkpoint"]] == ['\'=HYPERLINK("http://x")']
    assert "-0.2" in [row["difference"] for row in rows]  # numbers stay numbers
