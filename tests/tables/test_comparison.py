"""report.py --compare: what is printed and written, and pairs that are refused in one line."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import report
from dataset.episodes import Episode, digest_episodes
from engine.evaluation.compare import compare_results
from engine.evaluation.metric import foreground_iou, metrics, sum_by_class
from engine.evaluation.protocol import PAPER
from engine.evaluation.result import EvaluationResult
from engine.setting import Setting
from tests.files import OneLine
from tests.tables.results import write_result

EPISODES = [Episode("p", 1, ("s",)), Episode("q", 1, ("s",)), Episode("q", 2, ("t",))]
A = [(10, 10, 0, 5), (0, 20, 0, 5), (5, 5, 0, 5)]
B = [(10, 10, 0, 5), (10, 10, 0, 5), (4, 6, 0, 5)]


def result(path: Path, counts: list[tuple[int, ...]], episodes: list[Episode] = EPISODES, **other: Any) -> Path:
    """The file of a result with two equal seeds, as evaluate counts it."""
    pixels = torch.tensor(counts)
    queries = sorted({each.query for each in episodes})
    seed = {
        **metrics(sum_by_class(zip((each.cls for each in episodes), pixels, strict=True))),
        "episode_iou": [foreground_iou(each) for each in pixels],
        "episode_counts": pixels.flatten().tolist(),
        "episode_class": [each.cls for each in episodes],
        "episode_query": [queries.index(each.query) for each in episodes],
        "episode_digest": digest_episodes(episodes),
    }
    measured = {"seeds": [{"seed": number, **seed} for number in (3, 4)], "miou_std": 0.0, "seconds": 1.0}
    measured |= {"miou": seed["miou"], "fb_iou": seed["fb_iou"], "queries": queries}
    made = EvaluationResult(Setting(), PAPER, measured, "w.ckpt", episodes=len(episodes))
    replace(made, **other).write(path)
    return path


def test_a_comparison_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Class 1: 10 of 40 and 20 of 40; class 2: 5 and 4 of 10; so mIoU 37.5 and 45."""
    a, b = result(tmp_path / "a.json", A), result(tmp_path / "b.json", B)
    files = {flag: tmp_path / f"c.{flag}" for flag in ("markdown", "csv", "json")}
    argv = ["--compare", str(a), str(b), *(word for flag, file in files.items() for word in (f"--{flag}", str(file)))]
    report.main(argv)
    printed = capsys.readouterr().out
    assert files["markdown"].read_text() == printed
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    by_name = {row[0]: row for row in cells}
    assert by_name["mIoU"][1:4] == ["37.50", "45.00", "+7.50"]
    assert by_name["mIoU"][5:] == ["2", "6"]
    assert (by_name["class 1"][3], by_name["class 1"][5:]) == ("+25.00", ["2", "4"])
    assert (by_name["class 2"][3], by_name["class 2"][5:]) == ("-10.00", ["1", "2"])
    assert "Of 6 episodes 2 are better in B, 2 worse, 2 equal." in printed
    assert "--visualize-episodes 3:1,3:2\n" in printed  # not the equal ones, and none again
    (found,) = json.loads(files["json"].read_text())
    assert found["largest"][0] == {
        "seed": 3, "number": 1, "cls": 1, "query": "q", "iou_a": 0.0, "iou_b": 50.0, "difference": 50.0,
    }  # fmt: skip
    assert found["classes"]["2"]["low"] == -100  # one query image alone
    rows = list(csv.DictReader(files["csv"].open()))
    assert [(row["class"], float(row["difference"])) for row in rows] == [("mean", 7.5), ("1", 25), ("2", -10)]
    report.main(argv)  # what it wrote is written again


def test_the_files_hold_lists_in_a_line(tmp_path: Path) -> None:
    text = result(tmp_path / "a.json", A).read_text()
    assert '"episode_query": [ 0, 1, 1 ]' in text
    assert '"queries": [ "p", "q" ]' in text
    with_space = result(tmp_path / "b.json", A, [each._replace(query="a  b") for each in EPISODES])
    assert json.loads(with_space.read_text())["queries"] == ["a  b"]


OTHERS = [each._replace(supports=("u",)) for each in EPISODES]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"setting": Setting(fold=1)}, r"differ in fold \(0, 1\)"),
        ({"setting": Setting(shot=5)}, r"differ in shot \(1, 5\)"),
        ({"episodes": OTHERS}, r"differ in the episodes of seed 3 \(\w{8}, \w{8}\)"),
        ({"episodes": EPISODES[:2], "counts": B[:2]}, r"differ in number of episodes \(3, 2\)"),
    ],
)
def test_other_episodes_are_refused(
    tmp_path: Path, one_line_error: OneLine, changed: dict[str, Any], what: str
) -> None:
    a = result(tmp_path / "a.json", A)
    b = result(tmp_path / "b.json", **{"counts": B, **changed})
    line = one_line_error(report.main, ["--compare", str(a), str(b)])
    assert re.match(
        rf"error: {re.escape(f'{a} and {b}')}: {what}; compare results on the same episodes; test.py ", line
    )


def test_old_results_are_refused(tmp_path: Path, one_line_error: OneLine) -> None:
    a, old = result(tmp_path / "a.json", A), write_result(tmp_path / "old.json", 50.0)
    line = one_line_error(report.main, ["--compare", str(a), str(old)])
    assert line.startswith(f"error: {old}: does not hold what a comparison needs")
    assert line.endswith("; test it again with test.py --json")


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--compare", "{a}"], "--compare takes two results or more"),
        (["--compare", "{a}", "{a}"], "--compare takes two results or more"),
        (["--json", "c.json"], "--json belongs to --compare"),
        (["--compare", "{a}", "{a}", "--all"], "--all does not belong to --compare"),
    ],
)
def test_flags_that_do_not_fit(tmp_path: Path, one_line_error: OneLine, flags: list[str], what: str) -> None:
    a = result(tmp_path / "a.json", A)
    assert one_line_error(report.main, [flag.format(a=a) for flag in flags]).startswith(f"error: {what}")


def test_a_result_against_itself(tmp_path: Path) -> None:
    many = 1000
    path = result(tmp_path / "a.json", A * many, EPISODES * many)
    found = compare_results(*[EvaluationResult.read(path)] * 2)
    assert (found.miou.difference, found.equal, found.largest) == ((0, 0, 0), 6 * many, [])
