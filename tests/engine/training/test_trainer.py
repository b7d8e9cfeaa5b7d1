"""Our training step against the release's, operation by operation (benchmarks/plain.py)."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plain import PlainSSP, plain_step
from dataset.samples import Sample
from engine.training.flags import ComputeOptions
from engine.training.trainer import Trainer, make_optimizer, parts
from model import FewShotNetwork, build_model, calibrate_batch_norms
from model.matching import product

CPU, SIDE = torch.device("cpu"), 97


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
    trainer = Trainer(ours, make_optimizer(ours, 1e-5), ComputeOptions(CPU, accumulate=accumulate))
    of_plain = torch.optim.SGD(
        [p for p in plain.parameters() if p.requires_grad], lr=1e-5, momentum=0.9, weight_decay=5e-4
    )
    for _ in range(4):
        expected = plain_step(plain, of_plain, batch(shot))
        assert trainer.step(batch(shot), 1e-5) == pytest.approx(expected, rel=1e-4)


def four_episodes(shot: int) -> Sample:
    """A batch of four different episodes, float64."""
    generator = torch.Generator().manual_seed(7)
    images = [torch.randn(4, 3, 65, 65, generator=generator).double() for _ in range(shot + 1)]
    masks = [(torch.rand(4, 65, 65, generator=generator) > 0.5 + 0.1 * k).long() for k in range(shot + 1)]
    masks[1][2, :20] = 255
    return Sample(images[1:], masks[1:], images[0], masks[0])


def release_loss(net: FewShotNetwork, sample: Sample, replicas: int) -> torch.Tensor:
    """The release's loss under DataParallel: outputs of the replicas one after the other, masks shot after shot."""
    outs = [net(*part) for part in parts(sample, replicas)]
    out = {name: torch.cat([each[name] for each in outs]) for name in outs[0]}
    weights = {"final": 1.0, "out1": 1.0, "query_self": 1.0, "support_self": 0.2}
    loss = 0.0
    for name, weight in weights.items():
        mask = torch.cat(list(sample.support_masks)) if name == "support_self" else sample.query_mask
        loss = loss + weight * torch.nn.functional.cross_entropy(out[name], mask, ignore_index=255)
    return loss


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_released_order_is_that_of_data_parallel(replicas: int, accumulate: int) -> None:
    """Loss and gradients of the release on so many GPUs, and on none of them."""
    torch.manual_seed(0)
    net = build_model("ssp", refine=True)
    calibrate_batch_norms(net, torch.randn(4, 3, 65, 65))
    net.double().train()
    sample = four_episodes(2)
    expected = release_loss(net, sample, replicas)
    expected.backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    compute = ComputeOptions(CPU, accumulate=accumulate)
    loss = Trainer(net, None, compute, released_order=replicas).step(sample)
    assert loss == pytest.approx(expected.item(), rel=1e-6)  # it is summed in float32
    for name, p in net.named_parameters():
        if name in gradients:
            torch.testing.assert_close(p.grad, gradients[name], rtol=1e-8, atol=1e-12)
    right = Trainer(net, None, compute).step(sample)
    assert abs(right / expected.item() - 1) > 1e-4
    assert right == pytest.approx(release_loss(net, sample, 1).item(), rel=1e-6)


def test_product_and_its_gradients() -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((5, 3), (3, 4)))
    assert torch.allclose(product(a, b), a @ b)
    assert torch.autograd.gradcheck(product, (a, b))
