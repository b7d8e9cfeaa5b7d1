"""The curve of a run."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from engine.training.history import LEAST_SPAN, draw_history, miou_limits

HISTORY = [
    {"snapshot": 1, "steps": 2, "loss": 1.5, "losses": [2.0, 1.0], "lr": 1e-3, "miou": 30.0, "fb_iou": 50.0},
    {"snapshot": 2, "steps": 2, "loss": 0.7, "losses": [0.8, 0.6], "lr": 1e-4, "miou": 35.0, "fb_iou": 55.0},
]


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
