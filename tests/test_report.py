"""report.py: what is printed and written, which files are results, errors in one line, results of the real scripts."""

from __future__ import annotations

import csv
import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

import main as training
import report
from engine.checkpoint import load_checkpoint
from tables import picture
from tables.tables import Table
from tests.files import OneLine, write
from tests.tables.results import (
    COCO,
    COCO_BY_HSNET,
    DINO,
    FSS,
    OTHERS,
    PASCAL,
    SPREAD,
    SSP_1SHOT,
    by_title,
    row_of,
    write_result,
)


@pytest.fixture
def four_folds(tmp_path: Path) -> Path:
    """All folds of SSP, ResNet-50, 1-shot; fold 1's seeds differ the other way."""
    for fold, miou in enumerate((61.2, 68.0, 66.5, 50.3)):
        spread = SPREAD[::-1] if fold == 1 else SPREAD
        write_result(tmp_path / "outdir" / f"fold_{fold}" / "r.json", miou, spread, fold=fold)
    return tmp_path / "outdir"


def tables_of(*argv: object) -> dict[str, Table]:
    return by_title(report.main([str(arg) for arg in argv]))


def lines_of(printed: str, start: str) -> list[list[str]]:
    """The cells of the printed rows whose first cells are these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return [row for row in rows if row[: len(start.split(","))] == start.split(",")]


# What is printed


def test_nothing_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of the paper's rows, in its order, every cell missing."""
    tables = tables_of("--out", tmp_path / "none", "--all")
    assert {title: len(table.rows) for title, table in tables.items()} == {
        PASCAL: 8, COCO: 4, COCO_BY_HSNET: 4, FSS: 2,
    }  # fmt: skip
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


def test_missing_rows_are_summed_up(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One's own row stands alone, with a line for the others at the end."""
    assert len(tables_of(four_folds)[PASCAL].rows) == 8
    printed = capsys.readouterr().out
    (row,) = lines_of(printed, "SSP")
    assert row[5] == "61.2 ±0.2 (paper 61.4, -0.2)"
    assert [line for line in printed.splitlines() if line.startswith("##")] == [f"## {PASCAL}"]
    last = printed.splitlines()[-1]
    assert last == "17 rows of the paper are missing: --all lists them, --commands how to measure them."
    tables_of(four_folds, "--all")
    assert len(lines_of(capsys.readouterr().out, "SSP")) == 14


def test_flags_limit_the_rows(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(four_folds / "dino.json", 50.0, backbone=DINO)
    write_result(four_folds / "authors.json", 61.4, weights="authors")
    assert [row.cells[0].measured for row in tables_of(four_folds, "--backbone", DINO)[PASCAL + OTHERS].rows] == [50.0]
    flags = ("--dataset", "pascal", "--method", "ssp", "--shot", 1, "--backbone", "resnet50")
    for weights, found in (((), [61.2, 61.4]), (("--weights", "own"), [61.2]), (("--weights", "authors"), [61.4])):
        tables = tables_of(four_folds, *flags, *weights)
        assert list(tables) == [PASCAL]
        assert [row.cells[0].measured for row in tables[PASCAL].rows] == found
    capsys.readouterr()
    report.main([str(four_folds), "--commands", *map(str, flags)])
    assert capsys.readouterr().out == "# nothing is missing\n"
    report.main(
        ["--commands", "--out", str(four_folds), "--data-root", "a b", "--torchrun", "4", *map(str, flags[:-2])]
    )
    command = capsys.readouterr().out.splitlines()[2]
    assert command.startswith("torchrun --nproc-per-node 4 main.py --dataset pascal --data-root 'a b' --backbone")


REFUSALS = (
    (["{out}", "--shot", "3"], "nothing is measured or published for these --dataset, --shot, --method, --backbone and "
     "--weights; leave some out"),
    (["{out}", "--backbone", "timm:vit_small_patch14_dinov2.lvd142m"], "nothing is measured or published for these "),
    (["--torchrun", "4"], "--torchrun belongs to --commands; leave it out"),
    (["--commands", "--weights", "authors"], "--commands prints trainings; ./reproduce.sh"),
    (["{out}/absent"], "{out}/absent: does not exist or cannot be read"),
    (["{odd}/other.json"], "{odd}/other.json: not a result of"),
    (["{odd}/damaged.json"], "{odd}/damaged.json: damaged, or not JSON"),
    (["{odd}/pipe.json"], "{odd}/pipe.json: does not exist or cannot be read"),  # it would be waited for without end
    *(
        case
        for flag in ("--csv", "--markdown", "--picture")
        for case in (
            (["{out}", flag, "{out}/fold_0/r.json"],
             flag + " {out}/fold_0/r.json: is there and is nothing that " + flag + " writes; name another, or move"),
            (["{out}/fold_0/r.json", flag, "{out}/fold_0/r.json"],
             flag + " {out}/fold_0/r.json: is read, or written by another flag; name another file"),
            # before anything is read
            (["absent", flag, "{odd}/other.json/x"], "cannot write to"),
            (["absent", flag, "{out}"], "{out}: is a folder; name a file to write"),
        )
    ),
    (["{out}", "--csv", "{out}/x", "--markdown", "{out}/x"], "--csv {out}/x: is read, or written by another flag"),
    *(
        (["--backbone", name], f"argument --backbone: invalid choice: {name!r} (choose from resnet50, resnet101, timm:")
        for name in ("x", "ssp", "timm:../x", "timm:", "a\nb.py:C", "a.py:")
    ),
)  # fmt: skip


@pytest.mark.parametrize(("flags", "says"), REFUSALS)
def test_refusals(flags: list[str], says: str, four_folds: Path, one_line_error: OneLine) -> None:
    odd = four_folds.parent / "odd"
    for name, content in (("other", "{}"), ("damaged", "{")):
        write(odd / f"{name}.json", content)
    os.mkfifo(odd / "pipe.json")
    before = (four_folds / "fold_0" / "r.json").read_bytes()

    def fill(text: str) -> str:
        return text.replace("{out}", str(four_folds)).replace("{odd}", str(odd))

    line = one_line_error(report.main, list(map(fill, flags)))
    assert line.startswith(f"error: {fill(says)}")
    assert (four_folds / "fold_0" / "r.json").read_bytes() == before


# Which files are results


def test_a_file_that_is_named_twice_is_one(four_folds: Path) -> None:
    tables = tables_of(four_folds, four_folds / "fold_0" / "r.json", four_folds / "fold_0" / ".." / "fold_0")
    assert row_of(tables[PASCAL], **SSP_1SHOT).cells[0].caveats == ()


def test_other_files_in_a_folder(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSONs of others and pipes are passed over in silence, damaged ones with a line."""
    for name, content in (("list", "[1, 2]"), ("episodes", '{"format": "ssp-episodes-1", "seeds": {}}'), ("n", "3")):
        (four_folds / f"{name}.json").write_text(content)
    (four_folds / "folder.json").mkdir()
    os.mkfifo(four_folds / "pipe.json")
    (four_folds / "cut.json").write_text((four_folds / "fold_0" / "r.json").read_text()[:200])
    (four_folds / "deep.json").write_text("[" * 100_000)
    (four_folds / "bytes.json").write_bytes(b"\xff\xfe\x00")
    assert row_of(tables_of(four_folds)[PASCAL], **SSP_1SHOT).cells[4].measured == pytest.approx(61.5)
    assert capsys.readouterr().err.splitlines() == [
        f"WARNING: {four_folds / name}.json: damaged, or not JSON; passed over" for name in ("bytes", "cut", "deep")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"miou": float("nan")}, {"miou": 101.0}, {"miou_std": None}, {"fb_iou": -1}, {"seeds": []},
        {"seeds": {"0": []}}, {"seeds": [{"seed": 0}]}, {"seeds": [{"seed": 0, "miou": 1.0}] * 2}, {"dataset": "fss"},
        {"dataset": ["coco"]}, {"class_order": "contiguous"}, {"shot": 101}, {"backbone": "timm:../x"},
        {"episodes": 1e3}, {"warnings": "all"},
    ],
)  # fmt: skip
def test_absurd_results(
    fields: dict, four_folds: Path, one_line_error: OneLine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Passed over in a folder, refused by name; the engine's tests of results have more of them."""
    path = write_result(four_folds / "absurd.json", 99.0)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert row_of(tables_of(four_folds)[PASCAL], **SSP_1SHOT).cells[4].measured == pytest.approx(61.5)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"WARNING: {path}: it")
    reason = warning.removeprefix("WARNING: ").removesuffix("; passed over")
    assert one_line_error(report.main, [str(path)]) == f"error: {reason}; write it again with test.py --json"


# What is written


def test_files_hold_what_is_printed(four_folds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = four_folds / "new"
    tables_of(four_folds, "--markdown", new / "report.md", "--csv", new / "report.csv")
    assert (new / "report.md").read_text() == capsys.readouterr().out
    assert sorted(path.name for path in new.iterdir()) == ["report.csv", "report.md"]
    lines = list(csv.DictReader((new / "report.csv").read_text().splitlines()))
    assert len(lines) == 16 * 5 + 2
    assert [line["file"] for line in lines if line["file"]] == [
        str(four_folds / f"fold_{fold}" / "r.json") for fold in range(4)
    ]


def check_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 1000 <= image.width <= 1500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 10


@pytest.mark.parametrize("flags", [[], ["--dataset", "fss", "--shot", "1"]])
def test_picture(four_folds: Path, flags: list[str]) -> None:
    pytest.importorskip("matplotlib")
    write_result(four_folds / "more.json", 60.0, shot=2, episodes=3)
    tables_of(four_folds, *flags, "--picture", four_folds / "pictures" / "report.png")
    check_picture(four_folds / "pictures" / "report.png")


LONG = {
    DINO: "ssp",
    "timm:vit_so400m_patch14_siglip_gap_896.pali2_10b_pt_and_many_more_words@20,22,24,26": "ssp",
    "/a/very/long/path/that/goes/on/and/on/my_backbones$x_{$.py:BackboneWithAVeryLongNameWithoutEnd": "b/heads.py:Head",
}
NAMES = [
    f"SSP 5-shot refine, untrained\n{DINO}",
    "SSP 5-shot refine, untrained\ntimm:vit_so400m_patch…more_words@20,22,24,26",
    "heads.py:Head 5-shot refine, untrained\nmy_backbones$x_{$.py:…VeryLongNameWithoutEnd",
]
NUMBERS = [
    " fold 0 fold 1 fold 2 fold 3   mean    ",
    "  60.0      -      -      -      -  [1]",
    "  61.0      -      -      -      -  [1]",
    "  62.0      -      -      -      -  [1]",
]


def test_a_picture_of_long_names(four_folds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two labels overlap, and none leaves the picture or covers a plot, which keeps two fifths of the width."""
    pytest.importorskip("matplotlib")
    for number, (backbone, method) in enumerate(LONG.items()):
        fields = {"backbone": backbone, "method": method, "shot": 5, "trained_with": {"episode": 0}}
        write_result(four_folds / f"{number}.json", 60.0 + number, **fields)
    figures = []
    kept = picture.figure_class()
    monkeypatch.setattr(picture, "figure_class", lambda: lambda **how: figures.append(kept(**how)) or figures[-1])
    tables_of(four_folds, "--dataset", "pascal", "--picture", four_folds / "report.png")
    check_picture(four_folds / "report.png")
    (figure,) = figures
    left, right = figure.axes[2], figure.axes[5]  # of the second table: panels and their notes, then the twins
    assert left.get_title(loc="left") == PASCAL + OTHERS
    assert [[label.get_text() for label in axes.get_yticklabels()] for axes in (left, right)] == [NAMES, NUMBERS]
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


def test_picture_without_matplotlib(four_folds: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = one_line_error(report.main, [str(four_folds), "--picture", str(four_folds / "new" / "x.png")])
    assert line == "error: --picture needs the package matplotlib: pip install matplotlib"
    assert not (four_folds / "new").exists()
    assert tables_of(four_folds)


# Results of the real scripts


def test_a_real_run_is_reported(
    toy: Path, tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = training.main(["--data-root", str(toy), "--out", str(out), "--refine", *quick])
    result = json.loads(path.with_suffix(".json").read_text())
    tables = tables_of(out)
    assert {cell.measured for row in tables[PASCAL].rows for cell in row.cells} == {None}
    cell = row_of(tables[f"{PASCAL}: toy data"], **SSP_1SHOT).cells[0]
    assert cell.paper is None
    assert (cell.measured, cell.std, cell.fb_iou) == (result["miou"], result["miou_std"], result["fb_iou"])
    assert cell.caveats == (
        "2 of the protocol's 1000 episodes",
        "no episode of class 4 blue rings",
        "2 of the protocol's 5 seeds",
        "trained with --episode 4 --batch-size 2 --crop-size 65 --pretrained none",
    )
    assert load_checkpoint(cell.checkpoint).info["fold"] == 0
    capsys.readouterr()
    report.main([str(out), "--commands", *"--dataset pascal --method ssp --shot 1 --out".split(), str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"# {PASCAL}: SSP 1-shot ResNet-50 refine, fold 0 (paper 61.4)"
    assert lines[2].startswith(f"#   {path.parent} holds another network, an untrained one, or one trained on other ")
    assert "fold 1" in lines[3]


def test_a_real_untrained_run_is_reported_apart(toy: Path, tmp_path: Path, quick: list[str]) -> None:
    flags = ["--data-root", str(toy), "--out", str(tmp_path), *quick, "--refine", "--episode", "0", "--frozen"]
    path = training.main(flags)
    assert json.loads(path.with_suffix(".json").read_text())["trained_with"]["frozen"] is True
    (row,) = tables_of(tmp_path)[f"{PASCAL}: toy data{OTHERS}"].rows
    assert (row.experiment.weights, row.cells[0].caveats[-1]) == (
        "untrained", "not trained (--episode 0 --pretrained none)",
    )  # fmt: skip
