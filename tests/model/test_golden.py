"""The networks give the authors' logits, losses, gradients and training steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from model import build_model
from model.loss import loss_terms, total_loss
from tests.model import recipe

ORDER = ("final", "out1", "query_self", "support_self")
EVALUATED = [
    "eval_r50_5shot", "eval_r50_refine_1shot", "eval_r50_refine_5shot_mixed_sizes", "eval_r50_refine_fallback",
    "eval_r101_refine_1shot",
]  # fmt: skip


def close(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Largest difference, relative to the largest expected value."""
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= tolerance * expected.abs().max()


def network(meta: dict) -> torch.nn.Module:
    net = build_model("ssp", meta["backbone"], refine=meta["refine"])
    recipe.fill(net, meta["backbone"], meta["centred"])
    return net


@pytest.mark.parametrize("name", EVALUATED)
def test_logits(name: str) -> None:
    golden = recipe.episode(name)
    net = network(golden["meta"]).eval()
    with torch.no_grad():
        out = net(*golden["arguments"])
    assert list(out) == list(ORDER[: len(golden["out"])])
    for got, expected in zip(out.values(), golden["out"], strict=True):
        close(got, expected, 1e-4)


@pytest.mark.parametrize("name", ["train_r50_1shot", "train_r50_refine_2shot"])
def test_training(name: str) -> None:
    golden = recipe.episode(name)
    meta = golden["meta"]
    supports, support_masks, query, query_mask = golden["arguments"]
    net = network(meta).train()
    trainable = {key: p for key, p in net.state_dict(keep_vars=True).items() if p.requires_grad}
    assert sorted(trainable) == sorted(meta["trainable"])
    optimizer = torch.optim.SGD(trainable.values(), lr=meta["lr"], momentum=0.9, weight_decay=5e-4)

    losses = []
    for step in range(4):
        out = net(supports, support_masks, query, query_mask)
        terms = loss_terms(out, query_mask, support_masks)
        loss = total_loss(terms)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            expected = dict(zip(sorted(out, key=ORDER.index), golden["out"], strict=True))
            for key, logits in out.items():
                close(logits.detach(), expected[key], 1e-4)
            values = [terms[key].item() for key in ORDER if key in terms]
            assert values == pytest.approx(meta["terms"], rel=1e-4)
            norms = {key: p.grad.double().norm().item() for key, p in trainable.items()}
            assert norms == pytest.approx(meta["grad_norm"], rel=1e-3)
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(meta["losses"], rel=1e-3)
    norms = {key: p.detach().double().norm().item() for key, p in trainable.items()}
    assert norms == pytest.approx(meta["param_norm_after"], rel=1e-5)


@pytest.mark.parametrize("shots", [1, 5])
def test_baseline(shots: int) -> None:
    golden = np.load(recipe.GOLDEN / "eval_baseline_r50.npz")
    meta = json.loads(str(golden["meta"]))
    supports, support_masks, query, query_mask = recipe.episode("eval_r50_5shot", shots)["arguments"]
    net = build_model("baseline", meta["backbone"])
    recipe.fill(net, meta["backbone"])
    net.requires_grad_(True)  # the golden gradients include the batch norms', which training freezes
    out = net(supports, support_masks, query, query_mask)
    close(out["final"].detach(), torch.as_tensor(golden[f"out_{shots}shot"]), 1e-4)
    if shots == 1:
        loss = total_loss(loss_terms(out, query_mask, support_masks))
        assert loss.item() == pytest.approx(meta["loss"], rel=1e-4)
        loss.backward()
        parameters = {key: p for key, p in net.state_dict(keep_vars=True).items() if isinstance(p, torch.nn.Parameter)}
        norms = {key: p.grad.double().norm().item() for key, p in parameters.items()}
        assert norms == pytest.approx(meta["grad_norm"], rel=1e-3)


@pytest.mark.parametrize(
    ("file", "method", "backbone"),
    [
        ("state_dict_resnet50", "ssp", "resnet50"),
        ("state_dict_resnet101", "ssp", "resnet101"),
        ("state_dict_baseline_resnet50", "baseline", "resnet50"),
    ],
)
def test_state_dict(file: str, method: str, backbone: str) -> None:
    expected = json.loads((recipe.GOLDEN / f"{file}.json").read_text())
    state = build_model(method, backbone).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == expected
