"""Our training step against the release's, operation by operation (benchmarks/plain.py)."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plain import PlainSSP, plain_step
from dataset.samples import Sample
from engine.training.step import make_optimizer, train_step
from model import build_model, calibrate_batch_norms
from model.matching import product

SIDE = 97


def batch(shot: int) -> Sample:
    generator = torch.Generator().manual_seed(shot)
    images = [torch.randn(2, 3, SIDE, SIDE, generator=generator) for _ in range(shot + 1)]
    masks = [torch.zeros(2, SIDE, SIDE, dtype=torch.int64) for _ in range(shot + 1)]
    for number, mask in enumerate(masks):
        mask[:, 20 + number : 70, 10:60] = 1
        mask[0, :, 90:] = 255
    return Sample(images[1:], masks[1:], images[0], masks[0])


@pytest.mark.parametrize("shot", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_four_steps(shot: int, accumulate: int, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours = build_model("ssp", refine=True)
    calibrate_batch_norms(ours, torch.randn(4, 3, SIDE, SIDE))
    plain = PlainSSP("resnet50", ours.state_dict()).train()
    ours = ours.train().to(memory_format=memory_format)
    of_ours = make_optimizer(ours, 1e-5)
    of_plain = torch.optim.SGD(
        [p for p in plain.parameters() if p.requires_grad], lr=1e-5, momentum=0.9, weight_decay=5e-4
    )
    for _ in range(4):
        expected = plain_step(plain, of_plain, batch(shot))
        assert train_step(ours, of_ours, batch(shot), 1e-5, accumulate) == pytest.approx(expected, rel=1e-4)


def test_product_and_its_gradients() -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (3, 4)))
    assert torch.allclose(product(a, b), a @ b)
    assert torch.autograd.gradcheck(product, (a, b))
