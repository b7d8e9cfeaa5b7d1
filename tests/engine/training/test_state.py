"""The state of a run on disk: written, kept, read back, compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.setting import Setting
from engine.training.best import save_run
from engine.training.state import Training, check_same, load_training, plain_values, save_training
from util.errors import UserError

STATE = Training({"lr": 0.5, "resume": False}, snapshot=2, losses=[1.5], state_dict={"weight": torch.ones(3)})


def test_the_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "run.last"
    assert load_training(path) is None
    save_training(path, STATE)
    found = load_training(path)
    assert torch.equal(found.state_dict["weight"], torch.ones(3))
    assert replace(found, state_dict={}) == replace(STATE, state_dict={})


def test_the_one_before_is_kept_until_the_run_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "run.last"
    save_training(path, STATE)
    save_training(path, replace(STATE, snapshot=3))
    assert load_training(path).snapshot == 3
    assert load_training(tmp_path / "run.last.previous").snapshot == 2
    save_training(path, replace(STATE, snapshot=4, finished=True))
    assert [each.name for each in tmp_path.iterdir()] == ["run.last"]


@pytest.mark.parametrize("content", [{"format": "another"}, {"format": "ssp-training-1", "arguments": {}}])
def test_another_file_is_one_line(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "run.last")
    with pytest.raises(UserError, match=r"run\.last: not the state of a training run; remove it"):
        load_training(tmp_path / "run.last")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..", ".", "a\nb", "a\\b"])
@pytest.mark.parametrize("field", ["best_name", "name"])
def test_names_out_of_a_file_are_names(tmp_path: Path, field: str, name: str) -> None:
    """Files are written and removed by them."""
    save_training(tmp_path / "run.last", replace(STATE, **{field: name}))
    with pytest.raises(
        UserError, match=r"run\.last: names a file outside its folder: .*; somebody has edited it; "
    ) as e:
        load_training(tmp_path / "run.last")
    assert str(e.value).isprintable()


@pytest.mark.parametrize(
    "other",
    [{"scaler": None}, {"history": {}}, {"best_miou": "1"}, {"best_state": []}, {"finished": 1}, {"snapshot": -1},
     {"name": None}, {"best_name": 3}],
)  # fmt: skip
def test_fields_of_another_kind(tmp_path: Path, other: dict) -> None:
    save_training(tmp_path / "run.last", replace(STATE, **other))
    with pytest.raises(UserError, match=r"run\.last: not the state of a training run; remove it"):
        load_training(tmp_path / "run.last")


def test_flags_are_kept_as_plain_values() -> None:
    flags = {"device": torch.device("cpu"), "lr": 0.5, "resume": True, "fold": None, "out": Path("here")}
    assert plain_values(flags) == {"device": "cpu", "lr": 0.5, "resume": True, "fold": None, "out": "here"}


def test_flags_that_say_where_a_run_is_may_differ(tmp_path: Path) -> None:
    saved = {"lr": 0.5, "fold": None, "data_root": "here", "workers": 0}
    check_same(tmp_path, saved, {**saved, "data_root": "there", "workers": 4, "resume": True})
    with pytest.raises(UserError, match=r"--fold 1 \(was not given\), --lr 0\.1 \(was 0\.5\); give the same"):
        check_same(tmp_path, saved, {**saved, "lr": 0.1, "fold": 1})


def test_better_weights_replace_those_before(tmp_path: Path) -> None:
    save_run(tmp_path / "net_50.00", Setting(), {"weight": torch.zeros(1)}, {"miou": 50.0}, None)
    save_run(tmp_path / "net_60.00", Setting(), {"weight": torch.ones(1)}, {"miou": 60.0}, tmp_path / "net_50.00")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net_60.00.ckpt", "net_60.00.pth"]
    save_run(tmp_path / "net_60.00", Setting(), {"weight": torch.ones(1)}, {"miou": 60.0}, tmp_path / "net_60.00")
    assert len(list(tmp_path.iterdir())) == 2


def test_other_networks_have_no_plain_weights(tmp_path: Path) -> None:
    """A state dict alone cannot say which network it is of."""
    for other in (Setting(backbone="timm:resnet10t"), Setting(method="a.py:A"), Setting(backbone="a.py:A")):
        save_run(tmp_path / "net_50.00", other, {"weight": torch.zeros(1)}, {}, None)
        save_run(tmp_path / "net_60.00", other, {"weight": torch.zeros(1)}, {}, tmp_path / "net_50.00")
        assert [each.name for each in tmp_path.iterdir()] == ["net_60.00.ckpt"]
