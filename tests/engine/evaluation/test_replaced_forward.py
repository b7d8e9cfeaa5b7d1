"""A head whose forward does more than its steps, which planned evaluation and prediction call, is not lost silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dataset import class_index, open_split, plan_episodes
from engine.checkpoint import save_weights
from engine.evaluation.evaluate import evaluate
from model import SSP, build_model
from prediction import Predictor
from prediction.load import load_trained
from tests.model import recipe
from util.errors import UserError


class AllObject(SSP):
    """Whatever the method says, every pixel is the object."""

    def forward(self, *inputs: object) -> dict[str, Tensor]:
        out = super().forward(*inputs)
        final = torch.zeros_like(out["final"])
        final[:, 1] = 1
        return {**out, "final": final}


class LastSupport(SSP):
    """The last support alone counts."""

    def episode_prototypes(self, features: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.prototypes(features[-1], masks[-1])


@pytest.mark.parametrize("head", [AllObject, LastSupport])
def test_planned_evaluation_leaves_it_to_the_plain_one(
    head: type[SSP], toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = open_split("pascal", toy, "test", 0)
    plans = {0: plan_episodes(class_index(split.images, 1), split.classes, 2, 0, 2)}
    net = build_model(head)
    recipe.fill(net, "resnet50")
    result = evaluate(net, split.images, plans)
    says = f"note: the steps of {head.__name__} do not give what its forward gives: --engine plain runs\n"
    assert capsys.readouterr().out == says
    assert result["trunk_passes"] == 6
    if head is AllObject:
        labels = [split.images.load(episode.query)[1] for episode in plans[0]]
        pairs = zip(labels, plans[0], strict=True)
        shares = [100 * (mask[mask != 255] == episode.cls).mean() for mask, episode in pairs]
        assert result["seeds"][0]["episode_iou"] == pytest.approx(shares, abs=0.01)


def test_prediction_follows_replaced_prototypes() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 48, 3), dtype=np.uint8) for _ in range(3)]
    masks = [np.zeros((48, 48), np.uint8) for _ in range(2)]
    masks[0][:24], masks[1][:, :24] = 1, 1
    torch.manual_seed(0)
    predictor = Predictor(build_model(LastSupport))
    predictor.set_support(images[:2], masks)
    both = predictor.predict(Image.fromarray(images[2])).probability
    predictor.set_support(images[1:2], masks[1:])
    assert np.array_equal(both, predictor.predict(images[2]).probability)


def test_prediction_refuses_a_replaced_forward(tmp_path: Path) -> None:
    save_weights(tmp_path / "ssp.pth", build_model("ssp").state_dict())
    method = f"{__file__}:AllObject"
    with pytest.raises(
        UserError, match=r"AllObject: its forward gives other logits than its steps, which predict\.py calls; replace"
    ):
        load_trained(tmp_path / "ssp.pth", method=method, backbone="resnet50")
    assert type(load_trained(tmp_path / "ssp.pth", method=f"{__file__}:LastSupport").net).__name__ == "LastSupport"
