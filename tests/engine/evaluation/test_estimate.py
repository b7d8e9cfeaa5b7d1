"""What a run is said to take."""

from __future__ import annotations

from pathlib import Path

import pytest

import main as training
from dataset.episodes import Episode
from engine.evaluation.estimate import cost, duration
from engine.evaluation.planned import BACKBONE_COST
from engine.training import forecast


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"), (89.4, "89 s"), (91, "2 min"), (59.4 * 60, "59 min"), (3600, "1 h 0 min"),
        (3 * 3600 + 20 * 60 + 5, "3 h 20 min"), (24 * 3600, "1 d 0 h"), (52 * 3600, "2 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_cost_of_an_evaluation() -> None:
    """Two episodes over three images; planned, each image passes the backbone once, plainly in each episode."""
    plans = {0: [Episode("a", 1, ("b",))], 1: [Episode("a", 1, ("c",))]}
    assert cost(plans, "planned") == 3 * BACKBONE_COST + 2
    assert cost(plans, "plain") == 2 * (2 * BACKBONE_COST + 1)


def without_notes(printed: str) -> list[str]:
    """The lines but those that a run has for its few episodes and for want of --refine."""
    return [line for line in printed.splitlines() if not line.startswith(("class ", "note: "))]


def test_a_run_tells_its_time(toy: Path, tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """At its start, after every snapshot; a short one only then. The timed step leaves no trace in the losses."""
    flags = [*quick, "--data-root", str(toy), "--batch-size", "1"]
    training.main([*flags, "--episode", "22", "--snapshot", "11", "--out", str(tmp_path / "long")])
    lines = without_notes(capsys.readouterr().out)
    assert "22 episodes to train on, 2 evaluated after each snapshot, 4 at the end" in lines[0]
    assert lines[1].startswith("about ")
    assert lines[1].endswith(" s a step")
    assert [line.endswith(" left") for line in lines[2:4]] == [True, True]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast, "MANY_STEPS", 22)
        training.main([*flags, "--episode", "22", "--snapshot", "11", "--out", str(tmp_path / "silent")])
    assert not without_notes(capsys.readouterr().out)[1].startswith("about ")
    histories = [next((tmp_path / name).rglob("*.jsonl")).read_text() for name in ("long", "silent")]
    assert histories[0] == histories[1]
