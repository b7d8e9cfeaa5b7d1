"""A result is written, named after what it depends on, and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.evaluation.protocol import HSNET, PAPER
from engine.evaluation.result import EvaluationResult, result_path
from engine.setting import Setting

SETTING = Setting("coco", "interleaved", 2, 5, "resnet101", "ssp", True)
SEED = {"seed": 0, "miou": 40.0, "fb_iou": 60.0, "class_iou": {0: 80.0, 3: 40.0}, "episode_iou": [39.5, 40.5]}
MEASURED = {"seeds": [SEED], "miou": 40.0, "miou_std": 0.0, "fb_iou": 60.0, "seconds": 1.0}
RESULT = EvaluationResult(SETTING, PAPER, MEASURED, "w.ckpt", episodes=2)
DINO = "timm:vit_small_patch14_dinov2.lvd142m@9,11"


def written(path: Path, result: EvaluationResult = RESULT, **fields: Any) -> Path:
    """The file of a result, with other values in some fields."""
    result.write(path)
    if fields:
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    flags = {"lr": 0.5, "device": "cpu", "episode": 8}
    result = replace(
        RESULT, protocol=HSNET, engine="plain", amp=True, warnings=("a warning",), missing_classes={"3": "a"}
    )
    path = written(tmp_path / "new folder" / "r.json", replace(result, training={"arguments": flags}))
    found = EvaluationResult.read(path)
    for name in ("setting", "protocol", "miou", "episodes", "amp", "engine", "warnings", "checkpoint", "missing"):
        assert getattr(found, name) == getattr(result, name)
    assert found.trained == {"episode": 8, "lr": 0.5}  # not the device
    assert (found.seeds, found.std, found.weights, found.missing) == ({0: 40.0}, 0.0, "own", ("3 a",))
    assert '"episode_iou": [ 39.5, 40.5 ]' in path.read_text()  # in a line, for people
    assert written(tmp_path / "again.json", found).read_text() == path.read_text()


def test_a_result_says_what_made_it(tmp_path: Path) -> None:
    path = written(tmp_path / "r.json", replace(RESULT, measured={**MEASURED, "device": "cuda:1, a GPU"}))
    made = json.loads(path.read_text())["made_by"]
    assert made.keys() == {"commit", "versions", "device", "command"}
    assert made["device"] == "cuda:1, a GPU"
    assert made["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("method", "backbone", "refine"),
    [
        ("ssp", "timm:resnet18", True),
        ("ssp", DINO, False),
        ("baseline", DINO, False),
        ("ssp", "my code/backbone.py:Backbone", True),
        ("/home/heads.py:Head", "resnet50", True),
        ("heads.py:Head", "backbones.py:_Backbone2", False),
    ],
)
def test_other_networks_are_read(tmp_path: Path, method: str, backbone: str, refine: bool) -> None:
    setting = replace(SETTING, method=method, backbone=backbone, refine=refine)
    flags = {"frozen": True, "episode": 0, "resume": True}
    found = EvaluationResult.read(
        written(tmp_path / "r.json", replace(RESULT, setting=setting, training={"arguments": flags}))
    )
    assert found.setting == setting
    assert found.trained == {"episode": 0, "frozen": True}


@pytest.mark.parametrize(
    "fields",
    [
        {"fold": 4}, {"fold": True}, {"fold": None}, {"shot": 0}, {"class_order": None}, {"dataset": "voc"},
        {"protocol": "own"}, {"miou": "40"}, {"trained_with": [1]}, {"data": {"name": "x"}},
        *({"backbone": name} for name in (
            "timm:../x", "timm:", "timm:/etc/x", "timm:x@", "timm:x@last", "timm:x\n", "timm:a b", "a\nb.py:C",
            "a.py:C\n", "a.py:", "a.py:1C", "a.py:C()", ".py:C", "a:b.py:C", "\ud800.py:C", "a\u2028.py:C",
            "\u202ea.py:C", "ssp", "", ["resnet50"], {"a": 1}, 50, True, None,
        )),
        *({"method": name} for name in ("timm:resnet18", "resnet50", "a\nb.py:C", "SSP", "", ["ssp"], None)),
        {"refine": True, "method": "baseline", "backbone": DINO}, {"refine": None, "method": "heads.py:Head"},
    ],
)  # fmt: skip
def test_absurd_fields_are_named(tmp_path: Path, fields: dict[str, Any]) -> None:
    """In one line, whatever they hold."""
    with pytest.raises(ValueError, match=rf"^its {next(iter(fields))} cannot be ") as raised:
        EvaluationResult.read(written(tmp_path / "r.json", **fields))
    assert str(raised.value).isprintable()


def test_another_name_for_whatever_gives_another_result(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights")
    choices = {"seed": 0, "episodes": None}

    def name(setting: Setting = SETTING, **other: Any) -> str:
        return result_path("kept", setting, PAPER, {**choices, **other}, files=[weights]).name

    first = name()
    assert first.startswith("coco_interleaved_fold_2_resnet101_5shot_refine_ssp_")
    assert first == name()
    others = {name(seed=1), name(episodes=10), name(replace(SETTING, shot=1)), name(replace(SETTING, refine=False))}
    weights.write_bytes(b"other weights")
    assert len({first, *others, name()}) == 6
