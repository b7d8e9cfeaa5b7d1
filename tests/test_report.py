"""report.py: cells against numbers worked out by hand, what is doubtful marked, commands that the scripts take."""

from __future__ import annotations

import csv
import json
import os
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import main as training
import report
import test as testing
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engine.setting import Setting
from engine.training.state import Training, save_training
from model import build_model
from tables import picture
from tables.tables import Cell, Row, Table, cell_text, make_tables, numbered_notes, signed
from tests.files import OneLine

SPREAD = (-0.3, -0.1, 0.0, 0.1, 0.3)  # of five seeds around their mean; the deviation is 0.2
SSP_1SHOT = {"method": "ssp", "refine": True, "shot": 1, "backbone": "resnet50"}
COCO_HSNET = {"dataset": "coco", "class_order": "interleaved", "protocol": "hsnet", "refine": False}


TOY = {"name": "toy", "counted": "images of val", "count": 40, "published": 1449}


def whole(fields: dict[str, Any]) -> dict[str, Any]:
    """The data of a result, of which nothing is left out."""
    count = {"coco": 40504, "fss": 240}.get(fields.get("dataset"), 1449)
    return {"name": "", "counted": "images of val", "count": count, "published": count}


def write_result(path: Path, miou: float, spread: tuple[float, ...] = SPREAD, **fields: Any) -> Path:
    """A result such as test.py --json writes; fields: those that differ from fold 0 of SSP, ResNet-50, 1-shot."""
    content = {
        "dataset": "pascal", "class_order": None, "fold": 0, **SSP_1SHOT, "protocol": "ssp", "engine": "planned",
        "amp": False, "checkpoint": "w.ckpt", "episodes": 1000,
        "seeds": [
            {"seed": seed, "miou": miou + off, "fb_iou": 70.0, "class_iou": {"0": 80.0, "1": miou + off}}
            for seed, off in enumerate(spread)
        ],
        "data": whole(fields), "miou": miou, "miou_std": 0.2 if spread == SPREAD else 0.0, "fb_iou": 70.0,
        "seconds": 1.0, **fields,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(autouse=True)
def _data_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are parsed here whose dataset is not there."""
    monkeypatch.setattr(testing, "locate", lambda root, folder: Path(root))


@pytest.fixture
def four_folds(tmp_path: Path) -> Path:
    """All folds of SSP, ResNet-50, 1-shot; fold 1's seeds differ the other way."""
    for fold, miou in enumerate((61.2, 68.0, 66.5, 50.3)):
        spread = SPREAD[::-1] if fold == 1 else SPREAD
        write_result(tmp_path / "outdir" / f"fold_{fold}" / "r.json", miou, spread, fold=fold, miou_std=0.2)
    return tmp_path / "outdir"


def tables_of(*argv: object) -> dict[str, Table]:
    return {table.title: table for table in report.main([str(arg) for arg in argv])}


def row_of(tables: dict[str, Table], title: str, **wanted: Any) -> Row:
    rows = [row for row in tables[title].rows if wanted.items() <= row.setting.as_dict().items()]
    assert len(rows) == 1
    return rows[0]


PASCAL = "Pascal-5i, the paper's own protocol"
COCO = "COCO-20i, the paper's own protocol, contiguous class order"
COCO_BY_HSNET = "COCO-20i, HSNet's protocol, interleaved class order"
FSS = "FSS-1000, the paper's own protocol"
OTHERS = ": other networks"
DINO = "timm:vit_small_patch14_dinov2.lvd142m@9,11"


def lines_of(printed: str, start: str) -> list[list[str]]:
    """The cells of the printed rows whose first cells are these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return [row for row in rows if row[: len(start.split(","))] == start.split(",")]


# Tables


def test_a_row_against_numbers_worked_out_by_hand(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT)
    assert [cell.measured for cell in row.cells] == pytest.approx([61.2, 68.0, 66.5, 50.3, 61.5])
    assert [cell.paper for cell in row.cells] == [61.4, 67.8, 66.5, 50.9, 61.7]
    # of each seed the folds' mean: three folds go up where fold 1 goes down, so half of one fold's spread
    assert [cell.std for cell in row.cells] == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.1])
    assert not any(cell.notes for cell in row.cells)
    expected = [
        "61.2 ±0.2 (paper 61.4, -0.2)",
        "68.0 ±0.2 (paper 67.8, +0.2)",
        "66.5 ±0.2 (paper 66.5, +0.0)",
        "50.3 ±0.2 (paper 50.9, -0.6)",
        "61.5 ±0.1 (paper 61.7, -0.2)",
    ]
    assert lines_of(capsys.readouterr().out, "SSP,1-shot,ResNet-50,Yes")[0] == [
        "SSP",
        "1-shot",
        "ResNet-50",
        "Yes",
        "own",
        *expected,
    ]


def test_rounding() -> None:
    assert [signed(value) for value in (-0.04, 0.0, 0.04, -0.06, 0.26, -12.3)] == [
        "+0.0", "+0.0", "+0.0", "-0.1", "+0.3", "-12.3",
    ]  # fmt: skip


def test_nothing_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of the paper's rows, in its order, every cell missing."""
    tables = tables_of("--out", tmp_path / "none")
    assert list(tables) == [PASCAL, COCO, COCO_BY_HSNET, FSS]
    assert [len(table.rows) for table in tables.values()] == [8, 4, 4, 2]
    printed = capsys.readouterr()
    assert printed.err == f"{tmp_path / 'none'}: no such folder, nothing is measured yet\n"
    assert lines_of(printed.out, "SSP,5-shot,ResNet-101,Yes")[0][5:] == [
        "missing (paper 70.9)", "missing (paper 77.1)", "missing (paper 78.9)", "missing (paper 66.1)",
        "missing (paper 73.3)",
    ]  # fmt: skip
    assert lines_of(printed.out, "SSP,1-shot,not stated,Yes") == [
        ["SSP", "1-shot", "not stated", "Yes", "own", "missing (paper 87.3)"]
    ]
    assert "SSP 5-shot ResNet-101: the published mean is 50.2, that of the published folds 50.5." in printed.out
    assert printed.out.count("share only five of the twenty test classes") == 2


def test_no_mean_of_some_folds(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (four_folds / "fold_2" / "r.json").unlink()
    row = row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT)
    assert row.cells[2] == Cell(2, 66.5)
    assert (row.cells[4].measured, row.cells[4].gap) == (None, "3 of 4 folds")
    shown = lines_of(capsys.readouterr().out, "SSP,1-shot,ResNet-50,Yes")[0]
    assert shown[7:] == ["missing (paper 66.5)", "50.3 ±0.2 (paper 50.9, -0.6)", "3 of 4 folds (paper 61.7)"]


def test_no_spread_of_a_mean_over_other_seeds(four_folds: Path) -> None:
    path = four_folds / "fold_2" / "r.json"
    content = json.loads(path.read_text())
    content["seeds"][0]["seed"] = 7
    path.write_text(json.dumps(content))
    mean = row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT).cells[4]
    assert (mean.measured, mean.std) == (pytest.approx(61.5), None)


def test_hsnets_protocol_has_one_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fold, miou in enumerate((35.0, 40.0, 38.0, 36.0)):
        write_result(tmp_path / f"{fold}.json", miou, (0.0,), fold=fold, **COCO_HSNET)
    row = row_of(tables_of(tmp_path), COCO_BY_HSNET, shot=1, backbone="resnet50")
    assert [(cell.measured, cell.std, cell.notes) for cell in row.cells] == [
        (value, None, ()) for value in (35.0, 40.0, 38.0, 36.0, 37.25)
    ]
    shown = lines_of(capsys.readouterr().out, "SSP,1-shot,ResNet-50,No")[0]
    assert shown[5] == "35.0 (paper 35.5, -0.5)"


def test_rows_and_tables_that_are_not_in_the_paper(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "a.json", 60.0, refine=False)
    write_result(tmp_path / "b.json", 55.0, (0.0,), protocol="hsnet", refine=False, fold=3)
    write_result(tmp_path / "c.json", 40.0, dataset="coco", class_order="interleaved", episodes=4000)
    tables = tables_of(tmp_path)
    extra = ["Pascal-5i, HSNet's protocol", "COCO-20i, the paper's own protocol, interleaved class order"]
    assert list(tables) == [PASCAL, COCO, COCO_BY_HSNET, FSS, *extra]
    assert len(tables[PASCAL].rows) == 9
    assert tables[PASCAL].rows[8].cells[0].paper is None
    printed = capsys.readouterr().out
    assert lines_of(printed, "SSP,1-shot,ResNet-50,No")[0][5:] == ["60.0 ±0.2", *["missing"] * 3, "1 of 4 folds"]
    assert tables[extra[0]].rows[0].cells[3].measured == 55.0
    assert tables[extra[0]].notes == ("Nothing is published for this benchmark and protocol.",)


def test_fss_stands_beside_each_backbone_that_was_measured(tmp_path: Path) -> None:
    fss = {"dataset": "fss", "fold": None}
    write_result(tmp_path / "a.json", 87.0, backbone="resnet101", **fss)
    write_result(tmp_path / "b.json", 86.0, **fss)
    one = [row for row in tables_of(tmp_path)[FSS].rows if row.setting.shot == 1]
    assert [(row.setting.backbone, row.cells[0].paper, row.cells[0].measured) for row in one] == [
        ("resnet50", 87.3, 86.0),
        ("resnet101", 87.3, 87.0),
    ]
    five = [row.setting.backbone for row in tables_of(tmp_path, "--backbone", "resnet101")[FSS].rows]
    assert five == ["resnet101", "resnet101"]


def test_filters(four_folds: Path, one_line_error: OneLine) -> None:
    tables = tables_of(four_folds, "--dataset", "pascal", "--shot", "5", "--backbone", "resnet101")
    assert list(tables) == [PASCAL]
    assert [
        (row.setting.method, row.setting.refine, row.setting.shot, row.setting.backbone) for row in tables[PASCAL].rows
    ] == [
        ("baseline", False, 5, "resnet101"),
        ("ssp", True, 5, "resnet101"),
    ]
    line = one_line_error(report.main, [str(four_folds), "--shot", "3"])
    flags = "--dataset, --shot, --method, --backbone and --weights"
    assert line == f"error: nothing is measured or published for these {flags}; leave some out\n".rstrip()
    rows = tables_of(four_folds, "--dataset", "pascal", "--method", "baseline")[PASCAL].rows
    assert {row.setting.method for row in rows} == {"baseline"}
    assert len(rows) == 4


# Other data


def test_other_data_never_stand_beside_the_papers_numbers(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = tables_of(four_folds, "--dataset", "pascal")[PASCAL]
    few = {"name": "", "counted": "images of pascal val", "count": 42, "published": 1449}
    train = {"name": "", "counted": "images of pascal train", "count": 60, "published": 10582}
    real = {**train, "count": 10582}
    for number, (data, trained) in enumerate(((TOY, TOY), (few, real), (few, train), (whole({}), TOY), (None, None))):
        write_result(four_folds / f"{number}.json", 55.0 + number, data=data, training_data=trained)
    write_result(four_folds / "network.json", 70.0, data=TOY, backbone=DINO)
    capsys.readouterr()
    tables = tables_of(four_folds, "--dataset", "pascal")
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
    assert tables[PASCAL] == alone
    others = [row for name, table in tables.items() if name != PASCAL for row in table.rows]
    assert [row.cells[0].measured for row in others] == [56.0, 57.0, 59.0, 55.0, 70.0, 58.0]
    assert {cell.paper for row in others for cell in row.cells} == {None}
    printed = capsys.readouterr().out
    assert printed.count("are not on the benchmark's own data") == 5
    assert "do not say on which data they were measured: test again with test.py" in printed


def test_other_data_in_the_csv(four_folds: Path) -> None:
    write_result(four_folds / "toy.json", 55.0, data=TOY)
    tables_of(four_folds, "--dataset", "pascal", "--csv", four_folds / "r.csv")
    lines = list(csv.DictReader((four_folds / "r.csv").read_text().splitlines()))
    (toy,) = [line for line in lines if line["data"] == "toy data" and line["measured"]]
    assert (toy["measured"], toy["paper"], toy["difference"]) == ("55.0", "", "")


def test_commands_measure_what_only_other_data_has(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--dataset", "pascal", "--backbone", "resnet50", "--method", "ssp", "--shot", 1)
    assert commands_of(capsys, four_folds, *flags) == [["#", "nothing is missing"]]
    path = four_folds / "fold_0" / "r.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": TOY}))
    lines = commands_of(capsys, four_folds, *flags)
    assert [words[0] for words in lines] == ["#", "python"]
    assert lines[0][1].strip() == f"{PASCAL}: SSP 1-shot ResNet-50 refine, fold 0 (paper 61.4)"


def test_commands_for_several_processes(
    tmp_path: Path, one_line_error: OneLine, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--dataset", "coco", "--method", "ssp", "--shot", 1, "--backbone", "resnet50", "--out", tmp_path)
    alone = [words for words in commands_of(capsys, *flags) if words[0] == "python"]
    shared = [words for words in commands_of(capsys, *flags, "--torchrun", 4) if words[0] == "torchrun"]
    assert len(shared) == len(alone) == 12  # trainings for both protocols, and HSNet's tests
    assert [words[3:] for words in shared] == [words[1:] for words in alone]
    assert {tuple(words[1:3]) for words in shared} == {("--nproc-per-node", "4")}
    line = one_line_error(report.main, ["--torchrun", "4"])
    assert line == "error: --torchrun belongs to --commands; leave it out"


# What is doubtful


@pytest.mark.parametrize(
    ("fields", "notes"),
    [
        ({"episodes": 200}, ["200 of the protocol's 1000 episodes"]),
        ({"spread": (0.0, 0.1)}, ["2 of the protocol's 5 seeds"]),
        ({"amp": True}, ["the backbone in bfloat16 (--amp)"]),
        ({"warnings": ["w.ckpt was TRAINED\non 5 of 5"]}, ["may mean nothing: w.ckpt was TRAINED on 5 of 5"]),
        ({"warnings": [], "episodes": 2000}, []),
        (
            {"dataset": "coco", "class_order": "contiguous", "spread": (0.0,)},
            ["1000 of the protocol's 4000 episodes", "1 of the protocol's 5 seeds"],
        ),
        ({**COCO_HSNET, "spread": (0.0,)}, []),
        ({**COCO_HSNET, "spread": (0.0,), "episodes": 12}, ["12 of the protocol's 1000 episodes"]),
        ({"dataset": "fss", "fold": None}, []),
        ({"dataset": "fss", "fold": None, "trained_with": {"crop_size": 225}}, []),
        ({"dataset": "fss", "fold": None, "trained_with": {"crop_size": 129}}, ["trained with --crop-size 129"]),
        ({"trained_with": {"pretrained": "none"}}, ["trained with --pretrained none"]),
        ({"missing_classes": {"4": "boat", "5": ""}}, ["no episode of class 4 boat, 5"]),
        ({"dataset": "fss", "fold": None, "protocol": "hsnet"}, ["1000 of the protocol's 2400 episodes"]),
    ],
)
def test_marks(fields: dict[str, Any], notes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "r.json", 33.3, **fields)
    tables = tables_of(tmp_path)
    cells = [cell for table in tables.values() for row in table.rows for cell in row.cells if cell.measured == 33.3]
    assert [list(cell.notes) for cell in cells] == [notes]
    printed = capsys.readouterr().out
    assert all(f"- [{number}] {note}\n" in printed for number, note in enumerate(notes, start=1))
    marks = "".join(f" [{number}]" for number in range(1, len(notes) + 1))
    (shown,) = [word for line in lines_of(printed, "SSP") for word in line if word.startswith("33.3")]
    assert shown.partition("[")[1:] == ("[" if notes else "", marks.lstrip(" [") if notes else "")


@pytest.mark.parametrize(
    ("fields", "remarks"),
    [
        ({"episodes_from": "my/e.json"}, ["its episodes are those of my/e.json"]),
        (
            {"trained_on": {"dataset": "pascal", "class_order": None, "fold": 0, "declared": True}},
            ["what the weights were trained on is what --trained-on says"],
        ),
        ({"trained_on": {"dataset": "pascal", "class_order": None, "fold": 0, "declared": False}}, []),
        ({"trained_with": {"pretrained": "x/backbone.pth"}}, ["the backbone started from x/backbone.pth"]),
        ({"trained_with": {"pretrained": "x/resnet50.pth"}}, []),
        ({"trained_with": {"pretrained": None}}, []),
        ({"trained_with": {"pretrained": "a\nb"}}, ["the backbone started from a b"]),
    ],
)
def test_remarks(fields: dict[str, Any], remarks: list[str], tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", 33.3, **fields)
    cell = row_of(tables_of(tmp_path), PASCAL, **SSP_1SHOT).cells[0]
    assert (list(cell.remarks), cell.notes) == (remarks, ())


def test_a_mean_has_the_marks_of_its_folds(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(four_folds / "fold_1" / "r.json", 68.0, fold=1, episodes=10)
    write_result(four_folds / "fold_2" / "r.json", 66.5, fold=2, episodes=10, amp=True)
    mean = row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT).cells[4]
    assert mean.notes == ("10 of the protocol's 1000 episodes", "the backbone in bfloat16 (--amp)")
    assert (mean.seeds, mean.episodes) == (5, None)
    shown = lines_of(capsys.readouterr().out, "SSP,1-shot,ResNet-50,Yes")[0]
    assert [cell.partition(") ")[2] for cell in shown[5:]] == ["", "[1]", "[1] [2]", "", "[1] [2]"]


def test_the_newest_result_counts(tmp_path: Path) -> None:
    paths = [write_result(tmp_path / f"{name}.json", miou) for name, miou in (("a", 61.0), ("b", 60.0), ("c", 59.0))]
    same = write_result(tmp_path / "d.json", 60.0 + 1e-9)
    for age, path in enumerate((paths[1], same, paths[0], paths[2])):
        os.utime(path, (1e9 - age, 1e9 - age))
    cell = row_of(tables_of(tmp_path), PASCAL, **SSP_1SHOT).cells[0]
    assert (cell.measured, cell.file) == (60.0, str(paths[1]))
    assert cell.notes == (f"the newest result, {paths[1]}; passed over: {paths[0]} (61.00), {paths[2]} (59.00)",)
    for path in (paths[0], paths[2]):
        path.unlink()
    assert row_of(tables_of(tmp_path), PASCAL, **SSP_1SHOT).cells[0].notes == ()


def test_a_file_that_is_named_twice_is_one(four_folds: Path) -> None:
    file = four_folds / "fold_0" / "r.json"
    row = row_of(tables_of(four_folds, file, four_folds / "fold_0" / ".." / "fold_0"), PASCAL, **SSP_1SHOT)
    assert row.cells[0].notes == ()


# Files that are no results


def test_other_files_in_a_folder(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSONs of others are passed over in silence, damaged ones with a line."""
    for name, content in (("list", "[1, 2]"), ("episodes", '{"format": "ssp-episodes-1", "seeds": {}}'), ("n", "3")):
        (four_folds / f"{name}.json").write_text(content)
    (four_folds / "folder.json").mkdir()
    (four_folds / "cut.json").write_text((four_folds / "fold_0" / "r.json").read_text()[:200])
    (four_folds / "deep.json").write_text("[" * 100_000)
    (four_folds / "bytes.json").write_bytes(b"\xff\xfe\x00")
    row = row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT)
    assert row.cells[4].measured == pytest.approx(61.5)
    assert capsys.readouterr().err.splitlines() == [
        f"WARNING: {four_folds / name}.json: damaged, or not JSON; passed over" for name in ("bytes", "cut", "deep")
    ]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"miou": "61"}, "its miou cannot be '61'"),
        ({"miou": float("nan")}, "its miou cannot be nan"),
        ({"miou": 101.0}, "its miou cannot be 101.0"),
        ({"miou_std": None}, "its miou_std cannot be None"),
        ({"fb_iou": -1}, "its fb_iou cannot be -1"),
        ({"seeds": []}, "its seeds cannot be []"),
        ({"seeds": {"0": []}}, "its seeds cannot be {'0': []}"),
        ({"seeds": [{"seed": 0}]}, "its seeds cannot be [{'seed': 0}]"),
        ({"seeds": [{"seed": 0, "miou": 1.0}] * 2}, "its seeds cannot be [{'miou': 1.0, 'seed': 0}, {'miou': 1.0,"),
        ({"fold": 7}, "its fold cannot be 7"),
        ({"fold": None}, "its fold cannot be None"),
        ({"fold": True}, "its fold cannot be True"),
        ({"dataset": "fss"}, "its fold cannot be 0"),
        ({"dataset": ["coco"]}, "its dataset cannot be ['coco']"),
        ({"dataset": "coco"}, "its class_order cannot be None"),
        ({"class_order": "contiguous"}, "its class_order cannot be 'contiguous'"),
        ({"shot": 0}, "its shot cannot be 0"),
        ({"shot": 101}, "its shot cannot be 101"),
        ({"backbone": "vgg\n16"}, "its backbone cannot be 'vgg\\n16'"),
        ({"method": "baseline"}, "its refine cannot be True"),
        ({"protocol": {}}, "its protocol cannot be {}"),
        ({"episodes": 1e3}, "its episodes cannot be 1000.0"),
        ({"warnings": "all"}, "its warnings cannot be 'all'"),
    ],
)
def test_absurd_results(
    fields: dict, says: str, four_folds: Path, one_line_error: OneLine, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_result(four_folds / "absurd.json", 99.0)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT).cells[4].measured == pytest.approx(61.5)
    assert capsys.readouterr().err == f"WARNING: {path}: {says}; passed over\n"
    assert one_line_error(report.main, [str(path)]) == f"error: {path}: {says}; write it again with test.py --json"


def test_named_files_must_be_results(tmp_path: Path, one_line_error: OneLine) -> None:
    absent, other, damaged = (tmp_path / name for name in ("absent", "other.json", "damaged.json"))
    other.write_text("{}")
    damaged.write_text("{")
    for path, says in (
        (absent, "does not exist or cannot be read"),
        (other, "not a result of"),
        (damaged, "damaged, or not JSON"),
    ):
        assert f"{path}: {says}" in one_line_error(report.main, [str(path)])


def test_a_table_does_not_replace_a_result(four_folds: Path, one_line_error: OneLine) -> None:
    result = four_folds / "fold_0" / "r.json"
    before = result.read_bytes()
    for flag in ("--csv", "--markdown", "--picture"):
        line = one_line_error(report.main, [str(four_folds), flag, str(result)])
        assert line == f"error: {flag} {result}: is read, or written by another flag; name another file"
    line = one_line_error(
        report.main, [str(four_folds), "--csv", str(four_folds / "x"), "--markdown", str(four_folds / "x")]
    )
    assert "is read, or written by another flag" in line
    assert result.read_bytes() == before


def test_a_pipe_is_no_result(tmp_path: Path, one_line_error: OneLine) -> None:
    """It would be waited for without end."""
    os.mkfifo(tmp_path / "r.json")
    assert "does not exist or cannot be read" in one_line_error(report.main, [str(tmp_path / "r.json")])
    assert report.main([str(tmp_path), "--dataset", "pascal"])


def test_folders_are_checked_before_anything_is_read(four_folds: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    (tmp_path / "file").write_text("")
    for flag in ("--markdown", "--csv"):
        assert "cannot write to" in one_line_error(report.main, ["absent", flag, str(tmp_path / "file" / "x")])
        line = one_line_error(report.main, ["absent", flag, str(four_folds)])
        assert line == f"error: {four_folds}: is a folder; name a file to write"


# What is written


def test_markdown_is_what_is_printed(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables_of(four_folds, "--markdown", four_folds / "new" / "report.md")
    assert (four_folds / "new" / "report.md").read_text() == capsys.readouterr().out
    assert [path.name for path in (four_folds / "new").iterdir()] == ["report.md"]


def test_csv(four_folds: Path) -> None:
    (four_folds / "fold_3" / "r.json").unlink()
    write_result(four_folds / "fold_1" / "r.json", 68.0, fold=1, episodes=10, amp=True, checkpoint='a, "b".ckpt')
    tables_of(four_folds, "--csv", four_folds / "report.csv")
    with (four_folds / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert ",".join(lines[0]) == (
        "dataset,protocol,class_order,method,refine,shot,backbone,fold,paper,measured,std,difference,fb_iou,seeds,"
        "episodes,checkpoint,file,note,weights,data"
    )
    assert len(lines) == 16 * 5 + 2
    ours = [line for line in lines if [line[k] for k in ("dataset", "method", "shot", "backbone")] == [
        "pascal", "ssp", "1", "resnet50",
    ]]  # fmt: skip
    assert [line["fold"] for line in ours] == ["0", "1", "2", "3", "mean"]
    assert ours[1] == {
        "dataset": "pascal", "protocol": "ssp", "class_order": "", "method": "ssp", "refine": "True", "shot": "1",
        "backbone": "resnet50", "fold": "1", "paper": "67.8", "measured": "68.0", "std": "0.2", "difference": "0.2",
        "fb_iou": "70.0", "seeds": "5", "episodes": "10", "checkpoint": 'a, "b".ckpt',
        "file": str(four_folds / "fold_1" / "r.json"),
        "note": "10 of the protocol's 1000 episodes; the backbone in bfloat16 (--amp)",
        "weights": "own", "data": "",
    }  # fmt: skip
    assert [line["note"] for line in ours[2:]] == ["", "missing", "3 of 4 folds"]
    assert [(ours[4][name], ours[3][name]) for name in ("paper", "measured")] == [("61.7", "50.9"), ("", "")]
    assert [line["fold"] for line in lines if line["dataset"] == "fss"] == ["mean", "mean"]


@pytest.mark.parametrize("flags", [[], ["--dataset", "fss", "--shot", "1"]])
def test_picture(four_folds: Path, flags: list[str]) -> None:
    pytest.importorskip("matplotlib")
    write_result(four_folds / "more.json", 60.0, shot=2, episodes=3)
    tables = tables_of(four_folds, *flags, "--picture", four_folds / "pictures" / "report.png")
    height = sum(inches(table) for table in tables.values())
    with Image.open(four_folds / "pictures" / "report.png") as picture:
        assert picture.format == "PNG"
        assert 1000 <= picture.width <= 1500
        assert 120 * height <= picture.height <= 120 * height + 100
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def inches(table: Table, row: float = 0.3) -> float:
    """The height that a table needs in the picture: its rows, title and axis, and a line for each note or more."""
    notes = [note for note in numbered_notes(table) for _ in range(1 + len(note) // 171)]
    return row * len(table.rows) + 1.0 + 0.17 * (len(notes) + 1)


LONG = {
    DINO: "ssp",
    "timm:vit_so400m_patch14_siglip_gap_896.pali2_10b_pt_and_many_more_words@20,22,24,26": "ssp",
    "/a/very/long/path/that/goes/on/and/on/my_backbones$x_{$.py:BackboneWithAVeryLongNameWithoutEnd": "b/heads.py:Head",
}


def test_a_picture_of_long_names(four_folds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two labels overlap, and none leaves the picture or covers a plot, which keeps two fifths of the width."""
    pytest.importorskip("matplotlib")
    for number, (backbone, method) in enumerate(LONG.items()):
        fields = {"backbone": backbone, "method": method, "shot": 5, "trained_with": {"episode": 0}}
        write_result(four_folds / f"{number}.json", 60.0 + number, **fields)
    figures = []
    kept = picture.figure_class()
    monkeypatch.setattr(picture, "figure_class", lambda: lambda **how: figures.append(kept(**how)) or figures[-1])
    tables = tables_of(four_folds, "--dataset", "pascal", "--picture", four_folds / "report.png")
    assert list(tables) == [PASCAL, PASCAL + OTHERS]
    (figure,) = figures
    left, right = figure.axes[2], figure.axes[5]  # of the second table: panels and their notes, then the twins
    assert left.get_title(loc="left") == PASCAL + OTHERS
    shown = [[label.get_text() for label in axes.get_yticklabels()] for axes in (left, right)]
    assert shown == [
        [
            f"SSP 5-shot refine, untrained\n{DINO}",
            "SSP 5-shot refine, untrained\ntimm:vit_so400m_patch…more_words@20,22,24,26",
            "heads.py:Head 5-shot refine, untrained\nmy_backbones$x_{$.py:Tru…LongNameThatDoesNotEnd",
        ],
        [
            " fold 0 fold 1 fold 2 fold 3   mean    ",
            "  60.0      -      -      -      -  [1]",
            "  61.0      -      -      -      -  [1]",
            "  62.0      -      -      -      -  [1]",
        ],
    ]
    notes = figure.axes[3].texts[0].get_text().splitlines()
    assert notes[0] == "[1] not trained (--episode 0)"
    assert notes[1].startswith("These networks are not the paper's: ")
    figure.draw_without_rendering()  # the picture has been written with more dots to an inch
    plot = left.get_window_extent()
    for axes in (left, right):
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)
        assert all(box.x1 <= plot.x0 or box.x0 >= plot.x1 for box in boxes)
        assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
    assert plot.width > figure.bbox.width * 0.4
    with Image.open(four_folds / "report.png") as image:
        height = inches(tables[PASCAL]) + inches(tables[PASCAL + OTHERS], 0.45)
        assert 120 * height <= image.height <= 120 * height + 100


def test_picture_without_matplotlib(four_folds: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = one_line_error(report.main, [str(four_folds), "--picture", str(four_folds / "new" / "x.png")])
    assert line == "error: --picture needs the package matplotlib: pip install matplotlib"
    assert not (four_folds / "new").exists()
    assert tables_of(four_folds)


# Whose weights


def test_the_authors_weights_have_rows_of_their_own(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Never one mean over both; each can be shown alone."""
    for fold, miou in enumerate((61.4, 67.8, 66.5, 50.9)):
        write_result(four_folds / "results" / f"{fold}.json", miou, fold=fold, miou_std=0.2, weights="authors")
    table = tables_of(four_folds)[PASCAL]
    rows = [row for row in table.rows if row.setting.as_dict().items() >= SSP_1SHOT.items()]
    assert [(row.weights, round(row.cells[4].measured, 2)) for row in rows] == [("own", 61.5), ("authors", 61.65)]
    assert len(table.rows) == 9
    assert [line[4] for line in lines_of(capsys.readouterr().out, "SSP,1-shot,ResNet-50,Yes")[:2]] == ["own", "authors"]
    own = tables_of(four_folds, "--weights", "own")[PASCAL]
    assert {row.weights for row in own.rows} == {"own"}
    authors = tables_of(four_folds, "--weights", "authors")
    assert list(authors) == [PASCAL, COCO, COCO_BY_HSNET]  # there are none of fss
    assert {row.weights for table in authors.values() for row in table.rows} == {"authors"}
    assert [cell.measured for cell in row_of(authors, PASCAL, **SSP_1SHOT).cells[:4]] == [61.4, 67.8, 66.5, 50.9]


def test_the_classes_that_the_authors_weights_may_have_been_trained_on() -> None:
    tables = {table.title: table for table in make_tables([], "coco", weights="authors")}
    (note,) = [note for note in tables[COCO].notes if "interleaved order, they have been trained on" in note]
    assert "fold 0: 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20; fold 1: 21, 23, 24, 25, 27, " in note
    (note,) = [note for note in tables[COCO_BY_HSNET].notes if "contiguous order, they have been trained on" in note]
    assert "fold 0: 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61, 65, 69, 73, 77; fold 1: 2, 6, 10, 14, 18, 42, " in note


def test_commands_are_for_trainings(tmp_path: Path, one_line_error: OneLine) -> None:
    line = one_line_error(report.main, ["--commands", "--weights", "authors", "--out", str(tmp_path)])
    assert line.startswith("error: --commands prints trainings; ./reproduce.sh")


def test_five_shot_rows_say_in_which_order_of_masks_they_were_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five = {**SSP_1SHOT, "shot": 5}
    for name, trained in (("released", {"released_order": 2}), ("right", {"released_order": None}), ("unknown", {})):
        write_result(tmp_path / name / "r.json", 67.5, **five, trained_with=trained)
    cells = {name: row_of(tables_of(tmp_path / name), PASCAL, **five).cells[0] for name in ("released", "right")}
    assert cells["released"].remarks == ("trained with --released-order 2, as the published models were (N = 2)",)
    assert cells["right"].remarks[0].startswith("trained with the right order of masks; the published models were not")
    assert [cell.notes for cell in cells.values()] == [(), ()]  # neither is a fault
    assert "[1] trained with the right order of masks" in capsys.readouterr().out
    assert row_of(tables_of(tmp_path / "unknown"), PASCAL, **five).cells[0].remarks == ()
    commands = commands_of(capsys, "--dataset", "pascal", "--shot", "5", "--backbone", "resnet50", "--out", tmp_path)
    orders = {parsed_training(words).released_order for words in commands if "main.py" in words and "--refine" in words}
    assert orders == {2}
    assert {parsed_training(w).released_order for w in commands if "main.py" in w and "baseline" in w} == {None}


# Other networks


def test_other_networks_have_tables_of_their_own(
    four_folds: Path, one_line_error: OneLine, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT)
    for fold, miou in enumerate((50.0, 60.0, 55.0, 45.0)):
        spread = SPREAD[::-1] if fold == 1 else SPREAD
        write_result(four_folds / f"dino_{fold}.json", miou, spread, fold=fold, miou_std=0.2, backbone=DINO)
    write_result(four_folds / "head.json", 70.0, method="heads.py:Head")
    tables = tables_of(four_folds)
    assert list(tables) == [PASCAL, PASCAL + OTHERS, COCO, COCO_BY_HSNET, FSS]
    assert row_of(tables, PASCAL, **SSP_1SHOT) == paper
    assert len(tables[PASCAL].rows) == 8
    for flags in ((), ("--backbone", DINO)):
        capsys.readouterr()
        row = row_of(tables_of(four_folds, *flags), PASCAL + OTHERS, backbone=DINO)
        assert [cell.measured for cell in row.cells] == [50.0, 60.0, 55.0, 45.0, 52.5]  # 210 / 4
        assert [cell.std for cell in row.cells] == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.1])  # as of the paper's above
        (line,) = [line for line in capsys.readouterr().out.splitlines() if DINO in line]
        assert [cell.strip() for cell in line.strip("|").split("|")][5:] == [
            "50.0 ±0.2", "60.0 ±0.2", "55.0 ±0.2", "45.0 ±0.2", "52.5 ±0.1",
        ]  # fmt: skip
    assert list(tables_of(four_folds, "--backbone", DINO)) == [PASCAL + OTHERS]
    line = one_line_error(report.main, [str(four_folds), "--backbone", "timm:vit_small_patch14_dinov2.lvd142m"])
    assert line.startswith("error: nothing is measured or published for these ")


@pytest.mark.parametrize("name", ["x", "ssp", "timm:../x", "timm:", "a\nb.py:C", "a.py:"])
def test_a_wrong_backbone(name: str, one_line_error: OneLine) -> None:
    line = one_line_error(report.main, ["--backbone", name])
    assert line.startswith(
        f"error: argument --backbone: invalid choice: {name!r} (choose from resnet50, resnet101, timm:"
    )


def test_hostile_results_are_passed_over(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_result(four_folds / "absurd.json", 99.0, backbone="timm:../x")
    assert row_of(tables_of(four_folds), PASCAL, **SSP_1SHOT).cells[4].measured == pytest.approx(61.5)
    assert capsys.readouterr().err == f"WARNING: {path}: its backbone cannot be 'timm:../x'; passed over\n"


# Commands


def commands_of(capsys: pytest.CaptureFixture[str], *argv: object) -> list[list[str]]:
    """The words of each printed line, but for the first, which makes the shell stop at a failure."""
    capsys.readouterr()
    report.main(["--commands", *map(str, argv)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("set -e ") or lines == ["# nothing is missing"]
    return [
        line.split(" ", 1) if line[0] == "#" else shlex.split(line) for line in lines if not line.startswith("set -e")
    ]


def parsed_training(words: list[str]) -> Any:
    assert words[:2] == ["python", "main.py"]
    return training.parse(words[2:])


@pytest.fixture(scope="module")
def weights() -> dict:
    """SSP's keys and shapes, all zero, from one number in memory."""
    return {key: x.new_zeros(()).expand(x.shape) for key, x in build_model("ssp").state_dict().items()}


def setting(args: Any) -> Setting:
    return Setting.of(vars(args))


def put_checkpoint(args: Any, weights: dict, name: str = "50.00") -> Path:
    """What main.py leaves with these flags."""
    path = setting(args).folder(args.out) / f"{setting(args).name}_{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = ("dataset", "class_order", "fold", "shot", "backbone", "method", "refine")
    save_checkpoint(path, Checkpoint(weights, {key: getattr(args, key) for key in known}))
    return path


def test_a_command_for_every_missing_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "my results"
    lines = commands_of(capsys, "--out", out, "--data-root", "/data sets")
    headings = [words[1] for words in lines if words[0] == "#"]
    assert len(headings) == len(set(headings)) == 16 * 4 + 2
    assert headings[0] == f"{PASCAL}: Baseline 1-shot ResNet-50, fold 0 (paper 54.9)"
    assert headings[-1] == f"{FSS}: SSP 5-shot refine (paper 88.6)"
    runs = [parsed_training(words) for words in lines if words[1] == "main.py"]
    assert len(runs) == 66
    assert all(args.resume and args.out == str(out) and args.data_root == "/data sets" for args in runs)
    names = ("dataset", "class_order", "method", "refine", "shot", "backbone", "fold")
    settings = [tuple(getattr(args, name) for name in names) for args in runs]
    assert len(set(settings)) == 66
    assert ("pascal", None, "baseline", False, 5, "resnet101", 3) in settings
    assert ("pascal", None, "ssp", True, 1, "resnet50", 0) in settings
    assert ("coco", "contiguous", "ssp", True, 5, "resnet50", 2) in settings
    assert ("coco", "interleaved", "ssp", True, 1, "resnet101", 1) in settings  # for HSNet's protocol
    assert ("fss", None, "ssp", True, 1, "resnet50", None) in settings
    assert len({setting(args).folder(args.out) / setting(args).name for args in runs}) == 66
    assert sum(words[1] == "test.py" for words in lines) == 16


def test_the_commands_for_hsnets_protocol(tmp_path: Path, weights: dict, capsys: pytest.CaptureFixture[str]) -> None:
    """Training, then a test that finds what the training wrote."""
    out = tmp_path / "out"
    flags = ("--dataset", "coco", "--shot", 5, "--backbone", "resnet50", "--splits", "my splits", "--out", out)
    lines = commands_of(capsys, *flags)[8:]  # after the paper's own protocol
    assert [words[0] for words in lines] == ["#", "python", "python"] * 4
    for fold in range(4):
        heading, train, test = lines[3 * fold : 3 * fold + 3]
        assert heading[1].startswith(f"{COCO_BY_HSNET}: SSP 5-shot ResNet-50, fold {fold} (paper ")
        path = put_checkpoint(parsed_training(train), weights)
        assert path.parent == out / "models" / "coco_interleaved" / f"fold_{fold}"
        flags = testing.parse(test[2:])
        found, _, setting, protocol, wanted = testing.open_evaluation(flags)
        assert found == path
        assert (protocol.name, setting.refine, setting.fold, setting.shot) == ("hsnet", False, fold, 5)
        assert (flags.splits, len(wanted.seeds), wanted.episodes) == ("my splits", 5, None)
        assert Path(flags.results) == out / "results"


def test_what_is_trained_is_only_tested(tmp_path: Path, weights: dict, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--dataset", "coco", "--shot", 1, "--backbone", "resnet50", "--out", tmp_path / "out")
    runs = [parsed_training(words) for words in commands_of(capsys, *flags) if words[1] == "main.py"]
    assert [(args.class_order, args.fold) for args in runs] == [
        (order, fold) for order in ("contiguous", "interleaved") for fold in range(4)
    ]
    paths = [put_checkpoint(args, weights) for args in runs]
    os.utime(paths[0], (1e9, 1e9))
    paths[0] = put_checkpoint(runs[0], weights, "49.00")  # newer, though worse
    lines = [words for words in commands_of(capsys, *flags) if words[0] != "#"]
    assert [words[1] for words in lines] == ["test.py"] * 8
    for words, run, path in zip(lines, runs, paths, strict=True):
        found, _, setting, protocol, _ = testing.open_evaluation(testing.parse(words[2:]))
        assert (found, setting.fold, setting.class_order) == (path, run.fold, run.class_order)
        own = run.class_order == "contiguous"
        assert (protocol.name, setting.refine) == (("ssp", True) if own else ("hsnet", False))


@pytest.mark.parametrize(
    ("state", "result", "trained"),
    [
        (None, None, True),  # brought from elsewhere
        (False, None, False),
        (True, None, True),  # whose result was removed
        (True, True, True),
        (False, False, False),
        (None, False, False),  # trained without refinement
    ],
)
def test_unfinished_runs_go_on(
    state: bool | None, result: bool | None, trained: bool, tmp_path: Path, weights: dict,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """state: of the run, finished or not; result: beside the checkpoint, of a refined run or not."""
    flags = ("--dataset", "pascal", "--shot", 1, "--backbone", "resnet50", "--out", tmp_path / "out")
    train = next(words for words in commands_of(capsys, *flags) if "--refine" in words)
    path = put_checkpoint(parsed_training(train), weights)
    if state is not None:
        save_training(path.with_name("resnet50_1shot.last"), Training({}, best_name=path.stem, finished=state))
    if result is not None:
        write_result(path.with_suffix(".json"), 60.0, refine=result)
    reported = tmp_path / "elsewhere"
    reported.mkdir()
    words = next(words for words in commands_of(capsys, *flags, reported) if "--refine" in words)
    if trained:
        assert testing.open_evaluation(testing.parse(words[2:])).path == path
    else:
        assert words == train


def test_a_training_that_cells_share_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    write_result(out / "r.json", 60.0, (0.0,), protocol="hsnet", refine=False, fold=1)
    flags = ("--dataset", "pascal", "--shot", 1, "--backbone", "resnet50", "--out", out)
    lines = commands_of(capsys, *flags)
    trainings = [tuple(words) for words in lines if words[1] == "main.py"]
    assert len(trainings) == len(set(trainings)) == 8
    tests = lines[16:]
    assert [words[1][:28] for words in tests[::2]] == ["Pascal-5i, HSNet's protocol:"] * 3
    assert [words[words.index("--fold") + 1] for words in tests[1::2]] == ["0", "2", "3"]
    assert all(words[1].endswith("(not in the paper)") for words in tests[::2])


def test_runs_without_refinement_have_a_folder_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    write_result(out / "r.json", 60.0, refine=False, shot=2)
    lines = commands_of(capsys, "--shot", 2, "--out", out)
    runs = [parsed_training(words) for words in lines if words[1] == "main.py"]
    assert [(args.fold, args.refine, args.out) for args in runs] == [
        (fold, False, str(out / "unrefined")) for fold in (1, 2, 3)
    ]


def test_nothing_is_missing(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in range(4):
        write_result(four_folds / f"two_{fold}.json", 60.0, shot=2, fold=fold)
    assert commands_of(capsys, four_folds, "--shot", 2) == [["#", "nothing is missing"]]


def test_there_are_no_commands_for_other_networks(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither for their missing folds nor for results with marks; those of the paper's rows stay the same."""
    expected = commands_of(capsys, four_folds)
    head = {"method": "heads.py:Head", "refine": False, "episodes": 3, "amp": True}
    write_result(four_folds / "a.json", 50.0, backbone=DINO, fold=2, episodes=10)
    write_result(four_folds / "b.json", 50.0, **head)
    write_result(four_folds / "c.json", 50.0, backbone="backbones.py:Backbone", dataset="fss", fold=None, episodes=3)
    write_result(four_folds / "d.json", 50.0, trained_with={"episode": 0, "frozen": True})
    assert commands_of(capsys, four_folds) == expected
    assert commands_of(capsys, four_folds, "--backbone", DINO) == [["#", "nothing is missing"]]
    assert commands_of(capsys, four_folds, "--backbone", "backbones.py:Backbone") == [["#", "nothing is missing"]]


@pytest.mark.parametrize("fields", [{"trained_with": {"episode": 0}}, {"backbone": "my.py:resnet50"}, {"data": TOY}])
def test_another_networks_checkpoint_is_not_tested_for_the_papers(
    fields: dict, tmp_path: Path, weights: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the name of the paper's network, whose training would not go on from it."""
    flags = ("--dataset", "pascal", "--shot", 1, "--backbone", "resnet50", "--out", tmp_path / "out")
    expected = commands_of(capsys, *flags)
    at = next(n for n, words in enumerate(expected) if "--refine" in words)
    path = put_checkpoint(parsed_training(expected[at]), weights)
    write_result(path.with_suffix(".json"), 45.0, **fields)
    what = "another network, an untrained one, or one trained on other data"
    says = f"  {path.parent} holds {what}; pass another --out"
    assert commands_of(capsys, *flags) == [*expected[:at], ["#", says], *expected[at + 1 :]]


def test_a_file_cannot_write_commands(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(four_folds / "fold_0" / "r.json", 61.2, trained_with={"lr": "1\npython evil.py"})
    lines = commands_of(capsys, four_folds, "--dataset", "pascal", "--shot", 1, "--backbone", "resnet50")
    assert ["#", "  measured, but not as in the paper: trained with --lr 1 python evil.py"] in lines
    assert not any("evil.py" in words for words in lines if words[0] != "#")


def test_a_files_name_cannot_write_commands(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever --commands prints is a comment in a line, or quoted."""
    folder = four_folds / "x\ntouch X\n#"
    os.utime(write_result(folder / "r.json", 50.0), (1, 1))
    flags = ["--dataset", "pascal", "--out", str(folder), "--data-root", "a\ntouch Y"]
    report.main(["--commands", str(four_folds), *flags])
    script = capsys.readouterr().out
    words = shlex.split(script, comments=True)
    assert "a\ntouch Y" in words
    assert "touch" not in words


def test_a_file_cannot_write_html_or_formulas(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "# <script>alert(1)</script>\n## x | y"
    write_result(four_folds / "fold_0" / "r.json", 61.2, warnings=[evil], checkpoint='=HYPERLINK("http://x")')
    tables_of(four_folds, "--dataset", "pascal", "--csv", four_folds / "r.csv")
    printed = capsys.readouterr().out
    assert r"may mean nothing: # \<script>alert(1)\</script> ## x \| y" in printed
    assert not any(line.startswith("## x") for line in printed.splitlines())
    rows = list(csv.DictReader((four_folds / "r.csv").read_text().splitlines()))
    assert [row["checkpoint"] for row in rows if row["checkpoint"].endswith('x")')] == ['\'=HYPERLINK("http://x")']
    assert "-0.6" in [row["difference"] for row in rows]  # numbers stay numbers


# From the real scripts


def test_another_training_is_marked(tmp_path: Path) -> None:
    usual = {"episode": 24000, "batch_size": 4, "lr": 1e-3, "crop_size": 473, "seed": 3}
    write_result(tmp_path / "usual.json", 61.25, fold=0, trained_with=usual)
    write_result(tmp_path / "short.json", 61.25, fold=1, trained_with={**usual, "episode": 800, "lr": 0.01})
    usual_cell, short, *_ = row_of(tables_of(tmp_path), PASCAL, **SSP_1SHOT).cells
    assert usual_cell.notes == ()
    assert short.notes == ("trained with --episode 800 --lr 0.01",)
    assert cell_text(usual_cell, {}) == "61.2 ±0.2 (paper 61.4, -0.2)"  # what is shown adds up


def test_a_real_run_is_reported(
    toy: Path, tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = training.main(["--data-root", str(toy), "--out", str(out), "--refine", *quick])
    result = json.loads(path.with_suffix(".json").read_text())
    tables = tables_of(out)
    assert {cell.measured for row in tables[PASCAL].rows for cell in row.cells} == {None}
    cell = row_of(tables, f"{PASCAL}: toy data", **SSP_1SHOT).cells[0]
    assert cell.paper is None
    assert (cell.measured, cell.std, cell.fb_iou) == (result["miou"], result["miou_std"], result["fb_iou"])
    assert cell.notes == (
        "2 of the protocol's 1000 episodes",
        "no episode of class 4 blue rings",
        "2 of the protocol's 5 seeds",
        "trained with --episode 4 --batch-size 2 --crop-size 65 --pretrained none",
    )
    assert load_checkpoint(cell.checkpoint).info["fold"] == 0
    lines = commands_of(capsys, out, "--dataset", "pascal", "--backbone", "resnet50", "--shot", 1, "--out", out)
    at = next(n for n, words in enumerate(lines) if "SSP 1-shot ResNet-50 refine, fold 0" in words[1])
    assert (
        lines[at + 1][1].strip().startswith(f"{path.parent} holds another network, an untrained one, or one trained on")
    )
    assert "fold 1" in lines[at + 2][1]


def test_a_real_untrained_run_is_reported_apart(toy: Path, tmp_path: Path, quick: list[str]) -> None:
    out = tmp_path / "out"
    flags = [*quick, "--refine", "--episode", "0", "--frozen"]
    path = training.main(["--data-root", str(toy), "--out", str(out), *flags])
    assert json.loads(path.with_suffix(".json").read_text())["trained_with"]["frozen"] is True
    tables = tables_of(out)
    assert {cell.measured for row in tables[PASCAL].rows for cell in row.cells} == {None}
    (row,) = tables[f"{PASCAL}: toy data{OTHERS}"].rows
    assert (row.setting, row.weights) == (Setting(fold=None, refine=True), "untrained")
    assert row.cells[0].notes == (
        "2 of the protocol's 1000 episodes",
        "no episode of class 4 blue rings",
        "2 of the protocol's 5 seeds",
        "not trained (--episode 0 --pretrained none)",
    )
