"""What the demo makes of the trained weights, and which episodes it draws; make demo itself is not run here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import demo
from dataset import Episode
from engine.checkpoint import Checkpoint, save_checkpoint
from engine.pretrained import load_pretrained
from model import build_model
from tests.files import OneLine


def test_prototypes_alone_are_step_2() -> None:
    torch.manual_seed(0)
    net = build_model("ssp").eval()
    alone = build_model(demo.PrototypesAlone).eval()
    alone.load_state_dict(net.state_dict())
    with torch.inference_mode():
        features = net.features(torch.rand(1, 3, 65, 65))
        supports = net.features(torch.rand(3, 3, 65, 65))
        masks = torch.randint(2, (3, 65, 65))
        fg, bg = net.prototypes(supports, masks)
        first = torch.cat([net.trace(features, fg[n : n + 1], bg[n : n + 1]).first for n in range(3)])
        assert torch.equal(alone.prototypes(supports, masks)[0], fg)
        assert torch.equal(alone.match(features, fg[:1], bg[:1])["final"], first[:1])
        assert torch.allclose(alone.match_episodes(features, fg, bg), first, atol=1e-4)


@pytest.mark.parametrize("method", ["ssp", "baseline"])
def test_both_methods_start_from_the_backbone(method: str, tmp_path: Path) -> None:
    trained, net = build_model("baseline"), build_model(method)
    save_checkpoint(tmp_path / "trained.ckpt", Checkpoint(trained.state_dict(), {}))
    load_pretrained(net, demo.export_backbone(tmp_path / "trained.ckpt", tmp_path / "backbone.pth"))
    image = torch.rand(1, 3, 65, 65)
    with torch.inference_mode():
        assert torch.allclose(net.eval().features(image), trained.eval().features(image), atol=1e-5)


def test_the_episodes_that_are_drawn_are_chosen_by_their_gain() -> None:
    episodes = [Episode(f"query_{number}", cls, ("support",)) for number, cls in enumerate((5, 2, 5, 2, 5))]
    scores = ([0.5, 0.5, 0.5, 0.5, 0.5], [0.6, 0.9, 0.4, 0.1, 0.95])
    baseline, ours = ({"seeds": [{"episode_iou": of_each}]} for of_each in scores)
    # Gains of class 2: 0.4, -0.4; of class 5: 0.1, -0.1, 0.45. Of two the larger is the median.
    assert demo.choose_episodes(episodes, baseline, ours) == [episodes[number] for number in (1, 0, 4, 3)]


def test_the_last_lines_name_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "HERE", tmp_path)
    (tmp_path / "out" / "ssp").mkdir(parents=True)
    (tmp_path / "out" / "ssp" / "resnet50_1shot.history.png").touch()
    text = demo.what_to_open(tmp_path / "out")
    for name in ("out/episodes.png", "out/explained.png", "out/look/index.html", "out/ssp/resnet50_1shot.history.png"):
        assert f"\n  {name}  " in text
    assert "make app" in text
    assert "README.md" in text


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
