"""The networks as torch.hub gives them, from any folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import hubconf
from engine.checkpoint import Checkpoint, save_checkpoint, save_weights
from model import build_model
from model.matching import Matching
from prediction.predictor import Predictor
from tests.files import CHECKOUT, write
from util.errors import UserError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that hold few numbers: a .ckpt of SSP that refines, and plain state dicts."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for method, backbone in (("ssp", "resnet50"), ("ssp", "resnet101"), ("baseline", "resnet50")):
        state = build_model(method, backbone).state_dict()
        state = {key: torch.full((), 0.5).to(x.dtype).expand(x.shape) for key, x in state.items()}
        paths[f"{method}_{backbone}"] = folder / f"{method}_{backbone}.pth"
        save_weights(paths[f"{method}_{backbone}"], state)
        if (method, backbone) == ("ssp", "resnet50"):
            paths["refining"] = folder / "refining.ckpt"
            save_checkpoint(paths["refining"], Checkpoint(state, {"refine": True}))
    return paths


def test_nothing_else_is_an_entry() -> None:
    entries = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
    assert entries == ["baseline_resnet101", "baseline_resnet50", "predictor", "ssp_resnet101", "ssp_resnet50"]
    assert all(getattr(hubconf, name).__doc__ for name in entries)


@pytest.mark.parametrize("name", ["ssp_resnet50", "baseline_resnet101"])
def test_random_weights(name: str) -> None:
    net = torch.hub.load(str(CHECKOUT), name, source="local")
    method, backbone = name.split("_")
    assert not net.training
    assert not net.refine
    assert net.method == method
    assert net.state_dict().keys() == build_model(method, backbone).state_dict().keys()


def test_weights_and_what_they_say_of_themselves(weights: dict[str, Path]) -> None:
    plain, refining = (hubconf.ssp_resnet50(weights[name]) for name in ("ssp_resnet50", "refining"))
    assert (plain.refine, refining.refine) == (False, True)
    assert hubconf.ssp_resnet50(str(weights["ssp_resnet50"]), refine=True).refine
    assert not hubconf.ssp_resnet50(weights["refining"], refine=False).refine
    assert not plain.training
    assert plain.backbone.layer3[0].conv1.weight.eq(0.5).all()
    assert hubconf.ssp_resnet101(weights["ssp_resnet101"]).method == "ssp"
    assert hubconf.baseline_resnet50(weights["baseline_resnet50"]).method == "baseline"


@pytest.mark.parametrize(
    ("name", "flags", "method", "refine"),
    [
        ("refining", {"max_side": 100}, "ssp", True),
        ("refining", {"max_side": 0}, "ssp", True),
        ("refining", {"method": "ssp"}, "ssp", True),
        ("refining", {"backbone": "resnet50"}, "ssp", True),
        ("baseline_resnet50", {}, "baseline", False),
    ],
)
def test_a_predictor_takes_the_network_from_the_weights(
    weights: dict[str, Path], name: str, flags: dict[str, object], method: str, refine: bool
) -> None:
    predictor = hubconf.predictor(weights[name], device="cpu", **flags)
    assert isinstance(predictor, Predictor)
    assert (predictor.net.method, predictor.net.refine) == (method, refine)
    assert predictor.max_side == flags.get("max_side", 1024)


def test_a_predictor_takes_settings(weights: dict[str, Path]) -> None:
    usual, other = (
        hubconf.predictor(weights["refining"], device="cpu", settings=settings)
        for settings in (None, {"fg_threshold": 0.8, "refine_mix": [0, 0, 1]})
    )
    assert usual.net.matching == Matching()
    assert other.net.matching == Matching(fg_threshold=0.8, refine_mix=(0.0, 0.0, 1.0))
    for settings, says in (
        ({"depth": 1}, "settings: none is called depth; there are temperature, "),
        ({"fg_mix": "0.5"}, "settings: fg_mix must be a number from 0 to 1"),
        ({"final_loss": 2.0}, "final_loss: the weights of the losses belong to training"),
    ):
        with pytest.raises(UserError, match=says):
            hubconf.predictor(weights["refining"], device="cpu", settings=settings)


HOLDS = "holds the weights of {}, not of {}; ask for it"
NOTHING = "refine belongs to ssp, the baseline has nothing to refine; leave it out"


@pytest.mark.parametrize(
    ("build", "name", "flags", "says"),
    [
        (hubconf.ssp_resnet50, "ssp_resnet101", {}, HOLDS.format("ssp_resnet101", "ssp_resnet50")),
        (hubconf.baseline_resnet50, "ssp_resnet50", {}, HOLDS.format("ssp_resnet50", "baseline_resnet50")),
        (hubconf.ssp_resnet50, "nothing", {}, "no such file"),
        (hubconf.baseline_resnet50, "baseline_resnet50", {"refine": True}, NOTHING),
        (hubconf.predictor, "refining", {"method": "baseline"}, "its method is ssp, not baseline; leave --method out"),
    ],
)
def test_weights_of_another_network(
    weights: dict[str, Path], build: Callable[..., object], name: str, flags: dict[str, object], says: str
) -> None:
    path = weights.get(name, Path("nothing.pth"))
    with pytest.raises(UserError) as caught:
        build(path, **flags)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith(says)


def test_random_weights_of_the_baseline_have_nothing_to_refine() -> None:
    with pytest.raises(UserError, match=f"^{NOTHING}$"):
        hubconf.baseline_resnet50(refine=True)


SCRIPT = """
import sys, torch
checkout, weights = sys.argv[1:]
net = torch.hub.load(checkout, "ssp_resnet50", source="local", weights=weights)
predictor = torch.hub.load(checkout, "predictor", source="local", weights=weights, refine=False, device="cpu")
print(net.refine, net.training, predictor.net.refine)
"""


def test_from_another_folder(weights: dict[str, Path], tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SCRIPT, str(CHECKOUT), str(weights["refining"])]
    run = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "True False False"
    assert list(tmp_path.iterdir()) == []


BESIDE = """
import pickle, sys, torch
checkout, weights, order = sys.argv[1:]
if order == "before":
    import model, util
net = torch.hub.load(checkout, "ssp_resnet50", source="local", weights=weights)
found = torch.hub.load(checkout, "predictor", source="local", weights=weights, device="cpu")
assert type(net) is type(found.net)
import model, util, util.mine
assert (model.whose, util.whose, util.mine.whose) == ("mine", "mine", "mine"), (model, util)
assert checkout not in sys.path
images, mask = [torch.rand(1, 3, 33, 33)], [torch.ones(1, 33, 33, dtype=torch.int64)]
with torch.no_grad():
    again = pickle.loads(pickle.dumps(net))
    assert again(images, mask, images[0])["final"].isnan().all()  # weights of one number
    torch.compile(net, backend="eager")(images, mask, images[0])
try:
    torch.hub.load(checkout, "ssp_resnet101", source="local", weights=weights)
except Exception as error:
    print(type(error).__name__, error)
for name in ("dataset", "engine", "prediction"):
    assert name not in sys.modules, name
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_beside_packages_of_the_same_names(weights: dict[str, Path], tmp_path: Path, order: str) -> None:
    """A person's own model and util stay theirs, and what is loaded goes on working."""
    for name in ("model/__init__.py", "util/__init__.py", "util/mine.py"):
        write(tmp_path / name, "whose = 'mine'\n")
    argv = [sys.executable, "-c", BESIDE, str(CHECKOUT), str(weights["refining"]), order]
    run = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith(f"UserError {weights['refining']}: holds the weights of ssp_resnet50")


CUSTOM = """
import sys, torch
checkout, weights, code = sys.argv[1:]
found = torch.hub.load(checkout, "predictor", source="local", weights=weights, device="cpu", method=f"{code}:Mine")
print(type(found.net).__name__, "model" in sys.modules)
"""


def test_custom_code_imports_the_network_that_loads_it(weights: dict[str, Path], tmp_path: Path) -> None:
    code = write(tmp_path / "mine.py", "from model import SSP\nimport model.ssp\nclass Mine(model.ssp.SSP): pass\n")
    argv = [sys.executable, "-c", CUSTOM, str(CHECKOUT), str(weights["refining"]), str(code)]
    run = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1:] == ["Mine False"], run.stderr
