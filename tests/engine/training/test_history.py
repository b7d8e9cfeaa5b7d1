"""What TensorBoard is given, and the curve."""

from __future__ import annotations

import shutil
import sys
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

import main as training
from engine.training.history import LEAST_SPAN, draw_history, miou_limits, tensorboard_log
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


@pytest.mark.parametrize("kind", ["its last snapshot was lost", "its folder vanished"])
def test_a_run_that_went_on_has_each_step_once(tmp_path: Path, kind: str) -> None:
    """A snapshot that was logged, but whose state was not saved, is trained again."""
    pytest.importorskip("tensorboard")
    folder, first = tmp_path / "events", line([4.0, 2.0], 10.0)
    log = tensorboard_log(folder)
    log([first])
    if kind == "its last snapshot was lost":
        log([first, line([9.0, 9.0], 99.0)])
        log = tensorboard_log(folder)
    else:
        shutil.rmtree(folder)
    log([first, line([1.5, 0.5], 20.0)])
    assert scalars(folder) == {
        "loss/step": [(0, 4.0), (1, 2.0), (2, 1.5), (3, 0.5)],
        "loss/snapshot": [(1, 3.0), (3, 1.0)],
        "lr": [(1, 0.5), (3, 0.5)],
        "miou": [(1, 10.0), (3, 20.0)],
        "fb_iou": [(1, 50.0), (3, 50.0)],
    }


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/events"):
        tensorboard_log(tmp_path / "file" / "events")([line([4.0], 10.0)])


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
    monkeypatch.setattr("main.find_spec", lambda _: None)
    flags = [*quick, "--data-root", str(toy), "--out", str(tmp_path), "--tensorboard"]
    assert "pip install tensorboard" in one_line_error(training.main, flags)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mious", "limits"),
    [
        ([40.0, 40.5, 40.2], (37.75, 42.75)),
        ([55.0], (52.5, 57.5)),
        ([30.0, 50.0], (29.0, 51.0)),
        ([0.0, 1.0], (0.0, LEAST_SPAN)),
        ([100.0], (100.0 - LEAST_SPAN, 100.0)),
        ([0.0, 100.0], (0.0, 100.0)),
    ],
)
def test_the_axis_of_miou_is_never_narrow(mious: list[float], limits: tuple[float, float]) -> None:
    assert miou_limits(mious) == pytest.approx(limits)


LONG = [{**HISTORY[0], "losses": [2.0, 1.0] * 500, "steps": 1000, "miou": 40 + n / 10} for n in range(6)]


@pytest.mark.parametrize(
    ("history", "rates", "title"),
    [
        (HISTORY, {0: 1e-3, 1: 1e-4, 2: 1e-5}, "resnet50_1shot, pascal fold 0"),
        ([{**HISTORY[0], "losses": [2.0], "steps": 1, "miou": 0.0}], {0: 1e-3, 7: 1e-4}, "a step, fss"),
        (LONG, {0: 1e-3, 2000: 1e-4, 4000: 1e-5}, f"{'my_own_head_' * 9}1shot, coco fold 2 (interleaved)"),
    ],
)
def test_what_the_curve_says(
    history: list[dict], rates: dict[int, float], title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Title, ticks, legend and learning rates, all inside the picture and none over another."""
    figures = pytest.importorskip("matplotlib.figure")
    drawn = []
    save = figures.Figure.savefig
    monkeypatch.setattr(
        figures.Figure, "savefig", lambda self, *args, **how: drawn.append(self) or save(self, *args, **how)
    )
    draw_history(history, tmp_path / "curve.png", rates, title)
    assert list(tmp_path.iterdir()) == [tmp_path / "curve.png"]
    with Image.open(tmp_path / "curve.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (840, 480))
        blue, red = (31, 119, 180), (214, 39, 40)  # matplotlib's first two colours: loss and mIoU
        assert {blue, red} < {colour[:3] for _, colour in picture.convert("RGB").getcolors(10**6)}
    figure = drawn[0]
    axes, other = figure.axes
    steps = sum(line["steps"] for line in history)
    shown = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    assert shown
    assert all(tick == int(tick) for tick in shown)
    low, high = other.get_ylim()
    assert high - low >= LEAST_SPAN
    assert low >= 0
    assert axes.get_title().replace("\n", "").replace(" ", "") == title.replace(" ", "")
    (legend,) = figure.legends
    entries = ["loss of each step", "its mean per snapshot", "mIoU", "new learning rate"]
    told = {step: rate for step, rate in rates.items() if step < steps}
    assert [text.get_text() for text in legend.get_texts()] == entries[: 3 + (len(told) > 1)]
    assert [text.get_text() for text in axes.texts] == [f"lr {rate:g}" for rate in told.values()]
    figure.draw_without_rendering()  # at the figure's own resolution, which the file's differs from
    texts = axes.title, axes.xaxis.label, axes.yaxis.label, other.yaxis.label, *axes.texts
    boxes = [part.get_window_extent() for part in (*texts, legend, axes)]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    inside = figure.bbox
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)


def test_without_matplotlib_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    draw_history(HISTORY, tmp_path / "curve.png", rates={}, title="a run")
    expected = "no training curve drawn: it needs the package matplotlib (pip install matplotlib)\n"
    assert capsys.readouterr().out == expected
    assert list(tmp_path.iterdir()) == []
