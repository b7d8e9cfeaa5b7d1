"""vary.py: tables, picture and records of many settings, and wrong words."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import test as testing
import vary
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model import build_model
from tests.files import OneLine
from tests.hostile.children import in_two_processes
from tests.tiny import TINY

FEW = "--episodes 3 --seeds 2 --workers 0 --device cpu".split()


@pytest.fixture(scope="module")
def checkpoint(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a backbone that takes no time, trained by nobody."""
    from engine.custom import build_network

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.ckpt"
    net = build_network("ssp", TINY, True)
    info = {"dataset": "pascal", "fold": 0, "shot": 1, "refine": True, "method": "ssp", "backbone": TINY}
    save_checkpoint(path, Checkpoint(net.state_dict(), info))
    return path


def flags(toy: Path, checkpoint: Path, out: Path, *more: str) -> list[str]:
    known = ["--data-root", str(toy), "--checkpoint", str(checkpoint), "--backbone", TINY, "--to", str(out)]
    return [*known, *FEW, *more]


def test_a_grid(toy: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = flags(toy, checkpoint, tmp_path, "--vary", "fg_threshold=0.6,0.7", "--vary", "refine_mix=0.5/0.2/0.3,0/0/1")
    records = vary.main(argv)
    names = [record["name"] for record in records]
    assert names == [
        "the paper's", "fg_threshold=0.6", "fg_threshold=0.6 refine_mix=0,0,1", "refine_mix=0,0,1",
    ]  # fmt: skip
    assert json.loads((tmp_path / "records.json").read_text()) == json.loads(json.dumps(records))
    table = (tmp_path / "table.md").read_text().splitlines()
    assert table[0] == "| setting | mIoU | std | FB-IoU | difference | 95 % interval |"
    assert [line.split(" | ")[0][2:] for line in table[2:]] == names
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [float(row["fg_threshold"]) for row in rows] == [0.7, 0.6, 0.6, 0.7]
    assert [row["refine_mix"] for row in rows] == ["0.5,0.2,0.3", "0.5,0.2,0.3", "0,0,1", "0,0,1"]
    with Image.open(tmp_path / "picture.png") as picture:
        assert min(picture.size) > 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.png", "records.json", "table.csv", "table.md"]
    assert "4 settings" in capsys.readouterr().out
    assert vary.main(argv) == records  # over its own files


@pytest.mark.parametrize("engine", ["planned", "plain"])
def test_a_setting_is_what_test_py_gives(toy: Path, checkpoint: Path, tmp_path: Path, engine: str) -> None:
    argv = flags(toy, checkpoint, tmp_path, "--engine", engine, "--vary", "bg_threshold=0.5", "--vary", "rounds=0,2")
    records = vary.main([*argv, "--one-at-a-time"])
    assert [record["name"] for record in records] == ["the paper's", "bg_threshold=0.5", "rounds=0", "rounds=2"]
    argv = ["--data-root", str(toy), "--checkpoint", str(checkpoint), "--backbone", TINY, *FEW, "--engine", engine]
    for record in records:
        words = [word for name, value in record["settings"].items() for word in ("--set", f"{name}={value}")]
        alone = testing.main([*argv, *words])
        assert record["miou"] == pytest.approx(alone["miou"], abs=1e-3)
        assert record["difference"] == pytest.approx(record["miou"] - records[0]["miou"])


def test_from_python(toy: Path, checkpoint: Path, tmp_path: Path) -> None:
    known = {"episodes": 3, "seeds": 2, "workers": 0, "device": "cpu", "backbone": TINY, "to": tmp_path}
    values = {"bg_mix": [0.1, 0.3], "refine_mix": [(0.2, 0.3, 0.5)]}
    records = vary.vary(checkpoint, toy, vary=values, one_at_a_time=True, **known)
    expected = [{}, {"bg_mix": 0.1}, {"refine_mix": [0.2, 0.3, 0.5]}]
    assert [record["settings"] for record in records] == expected


def test_in_two_processes(toy: Path, checkpoint: Path, tmp_path: Path) -> None:
    argv = ("--vary", "fg_mix=0.2,0.8")
    alone = vary.main(flags(toy, checkpoint, tmp_path / "one", *argv))
    in_two_processes(lambda: vary.main(flags(toy, checkpoint, tmp_path / "two", *argv)))
    together = json.loads((tmp_path / "two" / "records.json").read_text())
    assert [record["miou"] for record in together] == pytest.approx([record["miou"] for record in alone], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--vary depth=1,2", r"--vary depth=1: is not NAME=VALUE with one of the names temperature, "),
        ("--vary bg_mix", r"--vary bg_mix=: bg_mix is a number from 0 to 1"),
        ("--vary bg_mix=0.1,,0.3", r"--vary bg_mix=: bg_mix is a number from 0 to 1"),
        ("--vary bg_mix=0.1,2", r"--vary bg_mix=2: bg_mix is a number from 0 to 1 \(the paper's: 0.3\)"),
        ("--vary refine_mix=0.1,0.2,0.3", r"--vary refine_mix=0.1: refine_mix is three numbers"),
        ("--vary bg_mix=0 --vary bg_mix=1", r"--vary gives bg_mix twice; give all its values at once"),
        ("--vary final_loss=0,1", r"final_loss: the weights of the losses belong to training"),
        ("--vary rounds=1,2 --no-refine", r"rounds=1: belongs to the refinement; pass --refine, or leave rounds out"),
        (f"--vary fallback_pixels={','.join(map(str, range(1, 1003)))}", r"1002 settings, more than 1000; name fewer"),
        ("--vary bg_mix=0,1 --amp --engine plain", r"--amp belongs to --engine planned"),
    ],
)
def test_wrong_words(
    toy: Path, checkpoint: Path, tmp_path: Path, words: str, says: str, one_line_error: OneLine
) -> None:
    line = one_line_error(vary.main, flags(toy, checkpoint, tmp_path / "out", *words.split()))
    assert re.search(says, line), line
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_weights_that_know_the_test_classes(
    toy: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fold 1's classes were trained on: the same warning as test.py's."""
    known = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "a.ckpt", known._replace(info={**known.info, "base_classes": [*range(1, 16)]}))
    vary.main(flags(toy, tmp_path / "a.ckpt", tmp_path / "out", "--vary", "bg_mix=0", "--fold", "1"))
    assert "WARNING: " in capsys.readouterr().err


def test_files_of_others_stay(toy: Path, checkpoint: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    (tmp_path / "table.csv").write_text("mine")
    line = one_line_error(vary.main, flags(toy, checkpoint, tmp_path, "--vary", "bg_mix=0,1"))
    assert "table.csv: is there and is nothing that --to" in line
    assert (tmp_path / "table.csv").read_text() == "mine"


def test_the_baseline_has_one_setting(toy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    path = tmp_path / "b.ckpt"
    save_checkpoint(path, Checkpoint(build_model("baseline").state_dict(), {"dataset": "pascal", "fold": 0}))
    argv = ["--data-root", str(toy), "--checkpoint", str(path), "--vary", "bg_mix=0,1", *FEW]
    assert "the baseline's only setting is temperature" in one_line_error(vary.main, argv)
