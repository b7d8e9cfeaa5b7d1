"""export.py: graphs that give what PyTorch gives, the program in docs/export.md, and one line for whatever is wrong."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import export
from engine.checkpoint import Checkpoint, save_checkpoint
from model import build_model, matching
from prediction import graph_check, load_predictor
from prediction.graph_check import borders, compare_graphs, run_graphs, run_network, stack
from prediction.graphs import confident, exportable_steps, make_graphs
from tests.files import CHECKOUT, OneLine, write
from tests.test_predict import paint, paint_mask
from tests.tiny import TINY, Tiny
from util.files import check_mark

for package in export.PACKAGES:
    pytest.importorskip(package)

WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = None  # whoever imports it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny backbone, that refines."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.ckpt"
    info = {"method": "ssp", "backbone": TINY, "refine": True}
    save_checkpoint(path, Checkpoint(build_model("ssp", Tiny(), True).state_dict(), info))
    return path


@pytest.fixture(scope="module")
def graphs(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What export.py writes of it."""
    folder = tmp_path_factory.mktemp("graphs")
    export.main(["--checkpoint", str(tiny), "--backbone", TINY, "--to", str(folder)])
    return folder


def test_what_is_written(graphs: Path, tiny: Path) -> None:
    assert sorted(path.name for path in graphs.iterdir()) == sorted(export.NAMES)
    told = json.loads((graphs / "export.json").read_text())
    assert told["refine"]
    assert told["settings"]["fg_threshold"] == 0.7
    assert (told["channels"], told["stride"]) == (8, 16)
    assert told["network"].endswith(f"weights {tiny.name}, which do not say what they were trained on")
    differences = [comparison["difference"] for comparison in told["comparisons"]]
    assert len(differences) == 9
    assert max(differences) == told["largest_difference"] <= told["tolerance"] == 1e-4
    for name in export.NAMES:  # which another run may replace
        check_mark("--to", graphs / name, export.MARK)


def test_the_program_of_the_page(graphs: Path, tiny: Path, tmp_path: Path) -> None:
    """Verbatim, in a process that cannot import torch; its mask is the predictor's."""
    page = (CHECKOUT / "docs" / "export.md").read_text()
    (program,) = re.findall(r"```python\n(# segment\.py.*?)```", page, re.DOTALL)
    script = write(tmp_path / "segment.py", program)
    words, images, masks = [], [], []
    for number, size in enumerate(((64, 96), (130, 80))):
        image = paint(tmp_path / f"support_{number}.png", size, number)
        mask = paint_mask(tmp_path / f"mask_{number}.png", size)
        words += [str(image), str(mask)]
        images.append(Image.open(image))
        masks.append((np.array(Image.open(mask)) > 0).astype(np.uint8))
    for size in ((200, 120), (1200, 300)):
        query, out = paint(tmp_path / "query.png", size, 9), tmp_path / "out.png"
        command = [sys.executable, "-c", WITHOUT_TORCH, str(script), str(graphs), *words, str(query), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100)
        assert done.returncode == 0, done.stderr
        predictor = load_predictor(tiny, device="cpu", backbone=TINY)
        predictor.set_support(images, masks)
        expected = predictor.predict(Image.open(query)).mask
        found = np.array(Image.open(out)) > 0
        assert found.shape == expected.shape == size[::-1]
        assert (found != expected).mean() < 1e-3
        assert 0 < expected.mean() < 1


@pytest.mark.parametrize(
    ("method", "refine", "settings"),
    [
        ("ssp", False, {}),
        ("ssp", True, {"rounds": 2, "fg_threshold": 0.55, "bg_threshold": 0.52, "support_bg_mix": 0.25}),
        ("ssp", True, {"fallback_pixels": 500}),
        ("baseline", False, {"temperature": 5.0}),
    ],
)
def test_graphs_are_the_network(method: str, refine: bool, settings: dict) -> None:
    """With one to three supports, in sizes from few pixels on, whether or not pixels are confident."""
    torch.manual_seed(1)
    net = build_model(method, Tiny(), refine).eval()
    net.matching = matching.Matching(**settings)
    graph, plain = run_graphs(make_graphs(net, "a test")), run_network(net)
    chosen: set[bool] = set()
    for number, size in enumerate(((32, 48), (70, 33), (400, 570))):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        mask = rng.choice(np.array([0, 1, 255], np.uint8), size)
        pairs = [side.prototypes(side.features(image), mask) for side in (graph, plain)]
        for shots, doubtful in ((1, False), (3, True)):
            fg, bg = stack([pairs[1]] * shots, doubtful)
            with borders() as distances:
                expected = plain.match(plain.features(image), fg, bg, size)
            found = graph.match(graph.features(image), *stack([pairs[0]] * shots, doubtful), size)
            if method == "ssp":
                chosen.add(doubtful)
            if min(distances, default=1.0) > graph_check.BORDER:
                assert np.abs(found - expected).max() < 1e-4
    assert bool(chosen) == (method == "ssp")


def test_the_form_of_the_choice_is_the_methods() -> None:
    """Above the threshold, or the likeliest where there is none: the same pixels."""
    generator = torch.Generator().manual_seed(0)
    for count, threshold, fallback in ((40, 0.7, 12), (40, 1.0, 12), (5, 1.0, 12), (40, 0.999, 1)):
        probability = torch.rand(count, generator=generator)
        expected = matching.confident(probability, threshold, fallback)
        assert confident(probability, threshold, fallback).tolist() == sorted(expected.tolist())


def test_the_method_stays_as_it_is() -> None:
    before = dict(vars(matching))
    with pytest.raises(ZeroDivisionError), exportable_steps():
        raise ZeroDivisionError
    assert vars(matching) == before


def test_graphs_of_another_method_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that the graphs do not hold: nothing is taken for equal."""
    torch.manual_seed(0)
    net = build_model("ssp", Tiny(), True).eval()
    graphs = make_graphs(net, "a test")
    compare_graphs(net, graphs)
    of_method = matching.confident
    monkeypatch.setattr(matching, "confident", lambda x, threshold, *more: of_method(x, threshold - 0.01, *more))
    with pytest.raises(export.UserError, match=r"other logits than PyTorch, .* nothing is written"):
        compare_graphs(net, graphs)


def test_whatever_is_wrong_is_one_line(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line_error: OneLine
) -> None:
    (tmp_path / "taken").mkdir()
    write(tmp_path / "taken" / "match.onnx", "somebody's")
    file = write(tmp_path / "file", "text")
    flags = ["--checkpoint", str(tiny), "--backbone", TINY, "--to", str(tmp_path / "out")]
    table = {
        "a file of somebody's": ([*flags, "--to", str(tmp_path / "taken")], "match.onnx: is there and is nothing"),
        "a file as folder": ([*flags, "--to", str(file)], "cannot write to"),
        "no checkpoint": ([*flags, "--checkpoint", str(tmp_path / "none")], "none: no such checkpoint or folder"),
        "text": ([*flags, "--checkpoint", str(file)], "file: text, not weights"),
        "nothing to refine": ([*flags, "--no-refine", "--set", "rounds=2"], "belongs to the refinement; pass --refine"),
        "a setting": ([*flags, "--set", "bg_mix=2"], "bg_mix is a number from 0 to 1"),
        "code unnamed": ([*flags[:2], *flags[4:]], "code of someone's own; if you trust it, pass --backbone"),
        "no folder": (flags[:4], "the following arguments are required: --to"),
    }  # fmt: skip
    for what, (argv, says) in table.items():
        line = one_line_error(export.main, argv)
        assert says in line, f"{what}: {line}"
        assert not list((tmp_path / "out").glob("*"))
    assert (tmp_path / "taken" / "match.onnx").read_text() == "somebody's"
    monkeypatch.setattr(graph_check, "TOLERANCE", 0.0)
    assert "apart at 320x240 pixels with 1 support " in one_line_error(export.main, flags)
    assert not list((tmp_path / "out").glob("*"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    assert one_line_error(export.main, flags) == (
        "error: export.py needs onnxscript: pip install onnx onnxscript onnxruntime"
    )


@pytest.mark.filterwarnings("ignore:The tensor attributes .* were assigned during export")  # levit's cache
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224@1", "levit_128s@0"])
def test_transformers(name: str) -> None:
    """Of whole patches, and of one size."""
    pytest.importorskip("timm")
    torch.manual_seed(0)
    net = build_model("ssp", f"timm:{name}", True).eval()
    compare_graphs(net, make_graphs(net, "a test"))


def test_a_step_that_cannot_be_written(tmp_path: Path, one_line_error: OneLine) -> None:
    """A backbone that branches on pixels."""
    code = write(
        tmp_path / "branching.py",
        "from tests.tiny import Tiny\n\n\nclass Branching(Tiny):\n    def forward(self, images):\n"
        "        return super().forward(images if images.sum() > 0 else -images)\n",
    )
    name, weights = f"{code}:Branching", tmp_path / "branching.ckpt"
    info = {"method": "ssp", "backbone": name, "refine": False}
    save_checkpoint(weights, Checkpoint(build_model("ssp", Tiny()).state_dict(), info))
    argv = ["--checkpoint", str(weights), "--backbone", name, "--to", str(tmp_path / "out")]
    line = one_line_error(export.main, argv)
    assert " cannot write features.onnx of this network (" in line
    assert not list((tmp_path / "out").glob("*"))
