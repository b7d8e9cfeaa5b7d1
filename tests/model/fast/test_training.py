"""The matching of a training step gives the logits and the gradients of the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model import build_model, matching
from model.fast import training
from model.matching import PAPER

Arguments = tuple[Tensor, Tensor, Tensor]


def arguments(shift: float, height: int = 9, width: int = 11, channels: int = 16) -> Arguments:
    """Features of two images and their prototypes, in float64; the shift moves the confident sets."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    features = noise(2, channels, height, width) + shift
    fg, bg = noise(2, channels, 1, 1) + shift, noise(2, channels, 1, 1) - 0.3 * shift
    return tuple(x.requires_grad_() for x in (features, fg, bg))


def gradients(out: dict[str, Tensor], inputs: Arguments) -> list[Tensor]:
    """Of a sum of the logits, each weighted at random; of an input that does not count, zeros."""
    generator = torch.Generator().manual_seed(1)
    total = sum((x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum() for x in out.values())
    found = torch.autograd.grad(total, inputs, allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for x, grad in zip(inputs, found, strict=True)]


@pytest.mark.parametrize("rows", [7, 512])
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_logits_and_gradients(monkeypatch: pytest.MonkeyPatch, refine: bool, shift: float, rows: int) -> None:
    monkeypatch.setattr(training, "KERNEL_ROWS", rows)  # some blocks, the last one smaller, or one
    inputs = arguments(shift)
    plain, ours = matching.trace(*inputs, refine).outputs, training.match(*inputs, refine, PAPER)
    assert list(ours) == list(plain)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-10, atol=1e-10)
    for got, expected in zip(gradients(ours, inputs), gradients(plain, inputs), strict=True):
        assert expected.abs().max() > 0 or not refine  # BP alone has no gradient without refinement
        assert (got - expected).abs().max() <= 1e-10 * max(expected.abs().max(), 1)


def test_the_cases_differ() -> None:
    """The cases above have sets that grow, that shrink, and that fall back to the twelve likeliest pixels."""
    sizes = {}
    for shift in (0.0, 0.3, 2.0):
        trace = matching.trace(*arguments(shift), refine=True)
        sizes[shift] = [(len(a.bg), len(b.bg)) for a, b in zip(trace.chosen, trace.chosen_again, strict=True)]
    assert any(after > before for before, after in sizes[0.3])
    assert any(before == PAPER.fallback_pixels for before, _ in sizes[2.0])


def test_second_sums_taken_anew() -> None:
    """Where the two background sets have little in common, the sums of the second do not start from the first's."""
    inputs = arguments(0.0)
    pixels, _ = training._pixels(inputs[0][0].detach())
    unit = torch.nn.functional.normalize(pixels, dim=1)
    k = torch.exp(2 * unit @ unit.t())
    cosine = torch.linspace(-1, 1, len(pixels), dtype=pixels.dtype)
    first = training._self_support(pixels, unit, torch.stack((-cosine, cosine)), PAPER)
    anew = training._self_support(pixels, unit, torch.stack((cosine, -cosine)), PAPER)
    assert not (first.bg_set & anew.bg_set).any()
    for before in (None, first):
        own = training._self_support(pixels, unit, torch.stack((cosine, -cosine)), PAPER, before)
        weights = k[:, own.bg_set]
        torch.testing.assert_close(own.s, weights @ pixels[own.bg_set])
        torch.testing.assert_close(own.z, weights.sum(1))


def test_only_training_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("model.fast.check.agrees", lambda *_: True)  # which tries it, once a process
    monkeypatch.setattr(training, "match", lambda *args: calls.append(args) or matching.trace(*args).outputs)
    net = build_model("ssp", refine=True)
    image, mask = torch.randn(1, 3, 33, 33), torch.zeros(1, 33, 33, dtype=torch.long)
    mask[:, 10:20] = 1
    net.eval()([image], [mask], image)
    assert not calls
    net.train()([image], [mask], image, mask)
    assert len(calls) == 1


def test_gradients_of_float32_stay_close() -> None:
    inputs = arguments(0.3)
    small = tuple(x.detach().float().requires_grad_() for x in inputs)
    exact = gradients(matching.trace(*inputs, True).outputs, inputs)
    for got, expected in zip(gradients(training.match(*small, True, PAPER), small), exact, strict=True):
        assert got.dtype == torch.float32
        assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()
