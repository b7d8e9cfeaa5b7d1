"""What TensorBoard is given, and the curve."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

import main as training
from engine.training.history import draw_history, tensorboard_log
from engine.training.state import load_training
from tests.files import OneLine
from util.errors import UserError

HISTORY = [
    {"snapshot": 1, "steps": 2, "loss": 1.5, "losses": [2.0, 1.0], "lr": 1e-3, "miou": 30.0, "fb_iou": 50.0},
    {"snapshot": 2, "steps": 2, "loss": 0.7, "losses": [0.8, 0.6], "lr": 1e-4, "miou": 35.0, "fb_iou": 55.0},
]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def line(losses: list[float], miou: float) -> dict:
    return {"losses": losses, "steps": len(losses), "loss": sum(losses) / len(losses), "lr": 0.5, "miou": miou,
            "fb_iou": 50.0}  # fmt: skip


def test_a_run_that_was_interrupted_has_each_step_once(tmp_path: Path) -> None:
    """The second snapshot was logged, but its state was not saved; it is trained again."""
    pytest.importorskip("tensorboard")
    first, lost, again = line([4.0, 2.0], 10.0), line([9.0, 9.0], 99.0), line([1.5, 0.5], 20.0)
    log = tensorboard_log(tmp_path / "events")
    log([first])
    log([first, lost])
    tensorboard_log(tmp_path / "events")([first, again])
    check(tmp_path / "events")


def test_a_folder_that_vanishes_is_written_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    log = tensorboard_log(tmp_path / "events")
    log([line([4.0, 2.0], 10.0)])
    shutil.rmtree(tmp_path / "events")
    log([line([4.0, 2.0], 10.0), line([1.5, 0.5], 20.0)])
    check(tmp_path / "events")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/events"):
        tensorboard_log(tmp_path / "file" / "events")([line([4.0], 10.0)])


def check(folder: Path) -> None:
    assert scalars(folder) == {
        "loss/step": [(0, 4.0), (1, 2.0), (2, 1.5), (3, 0.5)],
        "loss/snapshot": [(1, 3.0), (3, 1.0)],
        "lr": [(1, 0.5), (3, 0.5)],
        "miou": [(1, 10.0), (3, 20.0)],
        "fb_iou": [(1, 50.0), (3, 50.0)],
    }


def test_main_writes_them_when_asked(toy: Path, tmp_path: Path, quick: list[str]) -> None:
    pytest.importorskip("tensorboard")
    training.main([*quick, "--data-root", str(toy), "--out", str(tmp_path), "--tensorboard"])
    folder = tmp_path / "models" / "pascal" / "fold_0"
    history = load_training(folder / "resnet50_1shot.last").history
    found = scalars(folder / "resnet50_1shot.tensorboard")
    assert [value for _, value in found["miou"]] == pytest.approx([entry["miou"] for entry in history])
    assert [value for _, value in found["loss/step"]] == pytest.approx([entry["loss"] for entry in history])


def test_its_absence_is_one_line(
    toy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.history.find_spec", lambda _: None)
    flags = [*quick, "--data-root", str(toy), "--out", str(tmp_path), "--tensorboard"]
    assert "pip install tensorboard" in one_line_error(training.main, flags)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("snapshots", [1, 2])
def test_draw_history(tmp_path: Path, snapshots: int, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    draw_history(HISTORY[:snapshots], tmp_path / "curve.png", rates={0: 1e-3, 1: 1e-4, 3: 1e-5})
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (840, 480)
        blue, red = (31, 119, 180), (214, 39, 40)  # matplotlib's first two colours: loss and mIoU
        colours = {colour[:3] for _, colour in picture.convert("RGB").getcolors(10**6)}
        assert {blue, red} < colours
    assert list(tmp_path.iterdir()) == [tmp_path / "curve.png"]
    assert capsys.readouterr().out == ""


def test_without_matplotlib_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    draw_history(HISTORY, tmp_path / "curve.png", rates={})
    expected = "no training curve drawn: it needs the package matplotlib (pip install matplotlib)\n"
    assert capsys.readouterr().out == expected
    assert list(tmp_path.iterdir()) == []
