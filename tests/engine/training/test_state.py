"""The state of a run on disk: written, kept, read back, compared."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from engine.setting import Setting
from engine.training.run_files import save_run
from engine.training.state import FORMAT, Training, check_same, load_training, plain_values, save_training
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


OTHER_KIND = r"run\.last: not the state of a training run; remove it"
OUTSIDE = r"run\.last: names a file outside its folder: .*; somebody has edited it; "  # files are written by names
REFUSED = [
    ({"format": "another"}, OTHER_KIND), ({"history": {}}, OTHER_KIND), ({"snapshot": -1}, OTHER_KIND),
    ({"best_state": []}, OTHER_KIND), ({"best_name": 3}, OTHER_KIND),
    *(({"name": name}, OUTSIDE) for name in ("../x", "/x", "a/../../x", "..", "a\nb", "a\\b")),
    ({"best_name": "../x"}, OUTSIDE), ({"former": "../x"}, OUTSIDE),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), REFUSED)
def test_another_or_an_edited_state_is_one_line(tmp_path: Path, change: dict, expected: str) -> None:
    torch.save({"format": FORMAT, **asdict(STATE), **change}, tmp_path / "run.last")
    with pytest.raises(UserError, match=expected) as e:
        load_training(tmp_path / "run.last")
    assert str(e.value).isprintable()


def test_flags_are_kept_as_plain_values() -> None:
    flags = {"device": torch.device("cpu"), "lr": 0.5, "resume": True, "fold": None, "out": Path("here")}
    assert plain_values(flags) == {"device": "cpu", "lr": 0.5, "resume": True, "fold": None, "out": "here"}


def test_flags_that_say_where_a_run_is_may_differ(tmp_path: Path) -> None:
    saved = {"lr": 0.5, "fold": None, "data_root": "here", "workers": 0}
    check_same(tmp_path, saved, {**saved, "data_root": "there", "workers": 4, "resume": True})
    with pytest.raises(UserError, match=r"--fold 1 \(was not given\), --lr 0\.1 \(was 0\.5\); give the same"):
        check_same(tmp_path, saved, {**saved, "lr": 0.1, "fold": 1})


@pytest.mark.parametrize(
    ("setting", "suffixes"),
    [
        (Setting(), [".ckpt", ".pth"]),
        # A state dict alone cannot say which other network it is of.
        (Setting(backbone="timm:resnet10t"), [".ckpt"]),
        (Setting(method="a.py:A"), [".ckpt"]),
        (Setting(backbone="a.py:A"), [".ckpt"]),
    ],
)
def test_better_weights_replace_those_before(tmp_path: Path, setting: Setting, suffixes: list[str]) -> None:
    former = None
    for stem in (tmp_path / "net_50.00", tmp_path / "net_60.00", tmp_path / "net_60.00"):
        save_run(stem, setting, {"weight": torch.ones(1)}, {"miou": 60.0}, former)
        former = stem
        assert sorted(each.name for each in tmp_path.iterdir()) == [f"{stem.name}{suffix}" for suffix in suffixes]
