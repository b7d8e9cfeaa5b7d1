"""Custom code by name: which weights it takes, and the digest of the method that results and runs keep."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import test as testing
from engine import custom
from engine.checkpoint import save_weights
from engine.custom import method_digest, resolve_network
from model import build_model
from prediction import load_predictor
from tests.files import CHECKOUT
from tests.model import recipe
from util.errors import UserError

HEADS = """
from model import SSP, Baseline
from model.matching import Matching

class Surer(SSP):
    matching = Matching(fg_threshold=0.99)

class Plainer(Baseline):
    pass
"""
SSP_50 = {"method": "ssp", "backbone": "resnet50"}


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    (tmp_path / "heads.py").write_text(HEADS)
    return tmp_path / "heads.py"


@pytest.mark.parametrize(
    ("method", "head", "says"),
    [
        ("ssp", "Surer", None),
        ("baseline", "Plainer", None),
        ("ssp", "Plainer", "its method is ssp, not .*:Plainer; leave --method out"),
        ("baseline", "Surer", "its method is baseline, not .*:Surer; leave --method out"),
    ],
)
def test_a_subclass_takes_the_weights_of_its_class(heads: Path, method: str, head: str, says: str | None) -> None:
    flags = {"method": f"{heads}:{head}", "backbone": None}
    if says is None:
        assert resolve_network("w.pth", {**SSP_50, "method": method}, flags) == {
            **SSP_50,
            **flags,
            "backbone": "resnet50",
        }
    else:
        with pytest.raises(UserError, match=says):
            resolve_network("w.pth", {**SSP_50, "method": method}, flags)


def test_a_subclass_runs_on_a_released_file(toy: Path, heads: Path, tmp_path: Path) -> None:
    """A plain state dict, as the authors publish: tested by both engines, and in predict.py."""
    net = build_model("ssp")
    recipe.fill(net, "resnet50")
    save_weights(tmp_path / "ssp.pth", net.state_dict())
    flags = ["--data-root", str(toy), "--checkpoint", str(tmp_path / "ssp.pth"), "--fold", "0", "--seeds", "1"]
    flags += ["--episodes", "6", "--workers", "0", "--device", "cpu"]
    surer = ["--method", f"{heads}:Surer"]
    of_paper, planned = (testing.main([*flags, *more])["miou"] for more in ([], surer))
    assert planned != of_paper
    plain = testing.main([*flags, *surer, "--engine", "plain"])["miou"]
    assert abs(planned - plain) < abs(planned - of_paper)
    assert load_predictor(tmp_path / "ssp.pth", method=surer[1]).net.matching.fg_threshold == 0.99


def test_the_digest_of_the_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code counts, in any file of the networks and the loss; comments, docstrings and layout do not."""
    shutil.copytree(CHECKOUT / "model", tmp_path / "model")
    monkeypatch.setattr(custom, "__file__", str(tmp_path / "engine" / "custom.py"))

    def digest_after(file: str, old: str, new: str) -> str:
        path = tmp_path / "model" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return method_digest.__wrapped__()

    before = method_digest.__wrapped__()
    assert before == method_digest()
    assert digest_after("matching.py", "# Step 4:", "#   Step four,") == before
    assert digest_after("loss.py", '"""The training loss', '"""The loss of training') == before
    assert digest_after("weights.py", "2**24", "2**25") == before  # how files are read changes no number
    edited = digest_after("settings.py", "fg_mix: float = 0.5", "fg_mix: float = 0.6")
    assert edited != before
    assert digest_after("settings.py", '"support_self": 0.2', '"support_self": 0.3') not in (before, edited)
