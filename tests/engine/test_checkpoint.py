"""Weights in and out: spellings, wrong files, hostile files.

The weights here are constant tensors, another constant for each key, so that files stay small and it
shows where every value lands.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.checkpoint import (
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    load_network,
    read,
    save_checkpoint,
    save_weights,
)
from engine.pretrained import PRETRAINED, find_pretrained, load_pretrained
from model import build_model
from util.errors import UserError

SEMSEG = {  # the flat keys' stem, and how semseg and CSAIL spell it
    "conv1.0.": "conv1.", "conv1.1.": "bn1.", "conv1.3.": "conv2.", "conv1.4.": "bn2.",
    "conv1.6.": "conv3.", "bn1.": "bn3.",
}  # fmt: skip
INFO = {"dataset": "pascal", "fold": 2, "base_classes": [1, 2, 3], "arguments": {"lr": 1e-3, "pretrained": None}}


def constants(net: nn.Module) -> dict[str, Tensor]:
    """A state dict of a network's keys and shapes, the n-th filled with n + 1 from one number in memory."""
    return {
        key: torch.tensor(number, dtype=old.dtype).expand(old.shape)
        for number, (key, old) in enumerate(net.state_dict().items(), 1)
    }


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    """Networks to load into, by method; :func:`blank` makes them forget."""
    return {method: build_model(method) for method in ("ssp", "baseline")}


@pytest.fixture
def net(nets: dict[str, nn.Module]) -> nn.Module:
    return blank(nets["ssp"])


@pytest.fixture(scope="module")
def weights(nets: dict[str, nn.Module]) -> dict[str, Tensor]:
    return constants(nets["ssp"])


@torch.no_grad()
def blank(net: nn.Module) -> nn.Module:
    for value in net.state_dict().values():
        value.zero_()
    return net


def assert_landed(net: nn.Module, expected: dict[str, Tensor]) -> None:
    state = net.state_dict()
    assert state.keys() == expected.keys()
    assert [key for key, value in state.items() if not torch.equal(value, expected[key])] == []


def without(weights: dict[str, Tensor], *ends: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.endswith(ends)}


def failure(excinfo: pytest.ExceptionInfo[UserError]) -> str:
    message = str(excinfo.value)
    assert "\n" not in message
    return message


# Trained networks


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "model", "own"])
def test_trained_networks_load(
    net: nn.Module, weights: dict[str, Tensor], tmp_path: Path, prefix: str, wrapped: str
) -> None:
    path = tmp_path / "weights.pth"
    state = {prefix + key: value for key, value in weights.items()}
    if wrapped == "plain":
        save_weights(path, state)
    elif wrapped == "own":
        save_checkpoint(path, Checkpoint(state, INFO))
    else:
        torch.save({"epoch": 3, wrapped: state}, path)
    checkpoint = load_checkpoint(path)
    load_network(net, checkpoint.state_dict, path)
    assert_landed(net, weights)
    known = {"method": "ssp", "backbone": "resnet50"}
    assert checkpoint.info == ({**INFO, **known} if wrapped == "own" else known)


def test_plain_weights_are_what_the_release_reads(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_weights(tmp_path / "weights.pth", weights)
    content = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert content.keys() == weights.keys()
    assert all(torch.equal(content[key], value) for key, value in weights.items())


@pytest.mark.parametrize(
    ("lacks", "more", "says"),
    [
        ("layer2.0.conv1.weight", {}, "1 of 270 keys are missing, layer2.0.conv1.weight the first"),
        ((), {"b": torch.empty(0), "a": torch.empty(0)}, "2 keys do not belong to the network, a the first"),
        ((), {"layer0.1.weight": torch.empty(64)}, "layer0.1.weight has shape (64,), expected (128,)"),
    ],
)
def test_load_network_says_what_differs(
    net: nn.Module, weights: dict[str, Tensor], lacks: str | tuple, more: dict[str, Tensor], says: str
) -> None:
    with pytest.raises(UserError) as excinfo:
        load_network(net, {**{key: x for key, x in weights.items() if not key.endswith(lacks)}, **more}, "here")
    assert failure(excinfo) == f"here: {says}"


# ImageNet weights


def flat(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """SSP's keys as the authors' and timm's ImageNet files spell them."""
    state = {}
    for key, value in weights.items():
        for prefix, spelled in (("layer0.0.", "conv1."), ("layer0.1.", "bn1.")):
            key = spelled + key.removeprefix(prefix) if key.startswith(prefix) else key
        state[key] = value
    return state


def imagenet(weights: dict[str, Tensor], spelling: str) -> dict[str, Tensor]:
    """SSP's weights as a classifier's file, with the last stage and the classifier that are not used."""
    state = flat(weights)
    if spelling == "semseg":
        stems = {key: next((stem for stem in SEMSEG if key.startswith(stem)), "") for key in state}
        state = {SEMSEG.get(stems[key], "") + key.removeprefix(stems[key]): value for key, value in state.items()}
    rest = ("layer4.0.conv1.weight", "layer4.0.downsample.1.num_batches_tracked", "fc.weight", "fc.bias")
    return {**state, **{key: torch.zeros(2) for key in rest}}


def test_the_semseg_spelling_is_the_one_of_its_files(weights: dict[str, Tensor]) -> None:
    stem = [key for key in imagenet(weights, "semseg") if not key.startswith(("layer", "fc")) and "weight" in key]
    assert stem == [f"{name}.weight" for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")]


@pytest.mark.parametrize("method", ["ssp", "baseline"])
@pytest.mark.parametrize("spelling", ["flat", "semseg"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_imagenet_weights_land(
    nets: dict[str, nn.Module], weights: dict[str, Tensor], tmp_path: Path, method: str, spelling: str, suffix: str
) -> None:
    path, state = tmp_path / f"resnet50{suffix}", imagenet(weights, spelling)
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors = pytest.importorskip("safetensors.torch")
        safetensors.save_file({key: value.contiguous() for key, value in state.items()}, path)
    target = blank(nets[method])
    load_pretrained(target, path)
    path.unlink()  # 35 MB
    expected = weights if method == "ssp" else {f"backbone.{key}": value for key, value in flat(weights).items()}
    assert_landed(target, expected)


def test_build_model_loads_them(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in imagenet(weights, "flat").items()}}, tmp_path / "w.pth")
    assert_landed(build_model("ssp", pretrained=tmp_path / "w.pth"), weights)


@pytest.mark.parametrize("spelling", ["flat", "semseg"])
def test_files_of_old_versions_lack_a_counter(
    net: nn.Module, weights: dict[str, Tensor], tmp_path: Path, spelling: str
) -> None:
    torch.save(imagenet(without(weights, "num_batches_tracked"), spelling), tmp_path / "w.pth")
    load_pretrained(net, tmp_path / "w.pth")
    zero = torch.tensor(0)
    assert_landed(net, {k: zero if k.endswith("num_batches_tracked") else v for k, v in weights.items()})


def test_a_missing_key_is_named(net: nn.Module, weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(imagenet(without(weights, "layer3.5.conv2.weight"), "flat"), tmp_path / "w.pth")
    with pytest.raises(UserError) as excinfo:
        load_pretrained(net, tmp_path / "w.pth")
    expected = f"{tmp_path / 'w.pth'}: 1 of 270 keys are missing, layer3.5.conv2.weight the first"
    assert failure(excinfo) == expected


def narrow(state: dict[str, Tensor]) -> dict[str, Tensor]:
    shapes = {"conv1.0.weight": (32, 3, 3, 3), "conv1.3.weight": (32, 32, 3, 3), "conv1.6.weight": (64, 32, 3, 3)}
    return {key: torch.zeros(shapes.get(key, value.shape)) for key, value in state.items()}


def torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    kept = {key: value for key, value in state.items() if not key.startswith("conv1.")}
    return {"conv1.weight": torch.zeros(64, 3, 7, 7), **kept}


def mmcv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.replace("conv1.", "stem.", 1) if key.startswith("conv1.") else key: v for key, v in state.items()}


def stemless(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("conv1.")}


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (torchvision, "one convolution of shape (64, 3, 7, 7) (torchvision's 7x7 stem)"),
        (narrow, "convolutions of shapes [(32, 3, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3)]"),
        (mmcv, "the stem keys ['stem.0.weight', "),
        (stemless, "the stem keys []"),
    ],
)
def test_another_stem_is_named(
    net: nn.Module, weights: dict[str, Tensor], tmp_path: Path, wrong: Callable, found: str
) -> None:
    torch.save(wrong(flat(weights)), tmp_path / "w.pth")
    with pytest.raises(UserError) as excinfo:
        load_pretrained(net, tmp_path / "w.pth")
    message = failure(excinfo)
    assert message.startswith(f"{tmp_path / 'w.pth'}: its stem has {found}")
    assert "expected the deep stem of three 3x3 convolutions with 64, 64 and 128 channels" in message
    assert "resnet50s.gluon_in1k" in message


def test_a_trained_network_is_not_imagenet_weights(net: nn.Module, weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(UserError, match="is a trained few-shot network, not ImageNet weights"):
        load_pretrained(net, tmp_path / "w.pth")


def test_a_missing_file_tells_how_to_get_it(net: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError) as excinfo:
        load_pretrained(net, tmp_path / "resnet50.pth")
    message = failure(excinfo)
    assert message.startswith(f"{tmp_path / 'resnet50.pth'}: no weights there: get them with prepare.py weights ")
    assert "--pretrained none" in message


def test_where_imagenet_weights_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_pretrained("elsewhere.pth", "resnet50") == Path("elsewhere.pth")
    assert Path(__file__).resolve().parents[2] / "pretrained" == PRETRAINED
    monkeypatch.setattr("engine.pretrained.PRETRAINED", tmp_path)
    assert find_pretrained(None, "resnet101") == tmp_path / "resnet101.pth"
    (tmp_path / "resnet101.safetensors").touch()
    assert find_pretrained(None, "resnet101") == tmp_path / "resnet101.safetensors"
    (tmp_path / "resnet101.pth").touch()
    assert find_pretrained(None, "resnet101") == tmp_path / "resnet101.pth"


# Files that are not what they should be


class Hostile:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["zip", "raw pickle", "among weights"])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, weights: dict[str, Tensor], form: str, recwarn: pytest.WarningsRecorder
) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "the code ran"
    hostile = Hostile(trace)
    if form == "raw pickle":
        path.write_bytes(pickle.dumps(hostile))
        pickle.loads(path.read_bytes())
    else:
        torch.save(hostile if form == "zip" else {**weights, "more": hostile}, path)
        torch.load(path, weights_only=False)
    trace.unlink()  # the file is dangerous indeed
    for reader in (read, load_checkpoint):
        with pytest.raises(UserError) as excinfo:
            reader(path)
        assert failure(excinfo).startswith(f"{path}: refused: ")
    assert not trace.exists()
    assert [str(warning.message) for warning in recwarn] == []  # they would be lines on stderr


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("content", ["truncated", "text", "empty", "garbage"])
def test_damaged_files_are_one_line(tmp_path: Path, weights: dict[str, Tensor], suffix: str, content: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if content == "truncated":
        torch.save(weights, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes({"text": b"version https://git-lfs\n", "empty": b"", "garbage": bytes(range(256))}[content])
    with pytest.raises(UserError) as excinfo:
        load_checkpoint(path)
    assert failure(excinfo).startswith(f"{path}: ")


ONE = {"layer": torch.zeros(1)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ([torch.zeros(1)], "holds a list, not a state dict"),
        ({"state_dict": {}}, "holds no state dict (tensors by name)"),
        ({"a": torch.zeros(1), "epoch": 3}, "holds no state dict (tensors by name)"),
        (ONE, "not the weights of an SSP or baseline network"),
        *(({"format": "ssp-checkpoint-1", "state_dict": ONE, **rest}, "") for rest in ({}, {"info": [1]})),
    ],
)
def test_other_contents_are_named(tmp_path: Path, content: object, says: str) -> None:
    if content is not None:
        torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError) as excinfo:
        load_checkpoint(tmp_path / "w.pth")
    assert says in failure(excinfo)
    assert failure(excinfo).startswith(f"{tmp_path / 'w.pth'}: ")


# Folders of checkpoints


def test_find_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such checkpoint or folder; .*--checkpoint"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no \*\.pth or \*\.ckpt; name a checkpoint with --checkpoint"):
        find_checkpoint(tmp_path)
    for name in ("resnet50_1shot_40.00.pth", "resnet50_1shot_40.00.json", "resnet50_1shot.history.jsonl"):
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path) == tmp_path / "resnet50_1shot_40.00.pth"
    (tmp_path / "resnet50_1shot_40.00.ckpt").touch()
    assert find_checkpoint(tmp_path) == tmp_path / "resnet50_1shot_40.00.ckpt"
    assert find_checkpoint(tmp_path / "resnet50_1shot_40.00.pth") == tmp_path / "resnet50_1shot_40.00.pth"
    (tmp_path / "baseline_resnet50_1shot_30.00.pth").touch()
    with pytest.raises(UserError) as excinfo:
        find_checkpoint(tmp_path)
    expected = "holds 2 checkpoints (baseline_resnet50_1shot_30.00.pth, resnet50_1shot_40.00.ckpt)"
    assert expected in failure(excinfo)
    assert find_checkpoint(tmp_path, "resnet50_1shot_*").name == "resnet50_1shot_40.00.ckpt"


# Writing


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "w.ckpt"
    save_checkpoint(path, Checkpoint(weights, INFO))
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):  # no file can hold a function of this test
        save_checkpoint(path, Checkpoint(weights, {"fold": lambda: 0}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saves_replace_the_old_file(net: nn.Module, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = tmp_path / "new folder" / "w.ckpt"
    save_checkpoint(path, Checkpoint({"layer0": torch.zeros(1)}, {}))
    save_checkpoint(path, Checkpoint(weights, INFO))
    load_network(net, load_checkpoint(path).state_dict, path)
    assert_landed(net, weights)
    assert list(path.parent.iterdir()) == [path]
