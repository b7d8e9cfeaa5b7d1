"""Try a fast form of the matching against the method: where it gives other numbers, the method itself runs.

So whatever is edited or replaced takes effect: a step in model/matching.py, a setting, a class. It costs speed at most.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from model import matching

if TYPE_CHECKING:
    from model.network import FewShotNetwork

Form = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]  # features, FP and BP of a batch -> logits by name

LARGEST_SCALE = 4.0  # setting adaptive_scale: beyond it sums that grow and shrink lose digits of float32
CLOSE = 1e-7  # largest difference of logits and gradients in float64, as a part of the largest value
CHANNELS = 6
log = logging.getLogger("ssp")  # without a handler Python prints the bare line to stderr
results: dict[tuple, bool] = {}  # what was tried before, and whether it agreed


def agrees(net: FewShotNetwork, use: str, fast: Form, method: Form) -> bool:
    """Whether a fast form gives the logits, and in training the gradients, of a network's method.

    Says once in a line if it does not. What was not written for them is not tried: a class or an instance that replaces
    ``trace`` or ``match``, which may learn, and an adaptive scale that float32 cannot sum.

    Arguments:
        net: the network, which holds the settings.
        use: "training" or "evaluation".
        fast, method: both forms, with the network's settings.
    """
    is_replaced = _is_replaced(net)
    steps = (type(net).trace, type(net).match, *(value for value in vars(matching).values() if callable(value)))
    case = use, type(net), is_replaced, steps, net.refine, net.matching, net.device.type
    if case not in results:
        results[case] = (
            not is_replaced
            and abs(net.matching.adaptive_scale) <= LARGEST_SCALE
            and _gives_the_same(fast, method, net.device, with_gradients=use == "training")
        )
        if not results[case] and os.environ.get("RANK", "0") == "0":
            line = "note: %s runs the steps of %s as they are written; model/fast/ is for other ones and is left out"
            log.warning(line, use, type(net).__name__)
    return results[case]


@contextmanager
def quietly() -> Iterator[None]:
    """Try forms in this block without a word, and forget what came of it: nothing is trained or evaluated in it."""
    before, log.disabled = dict(results), True
    try:
        yield
    finally:
        log.disabled = False
        results.clear()
        results.update(before)


@quietly()
@torch.inference_mode()
def steps_give_forward(net: FewShotNetwork, by_support: bool) -> bool:
    """Whether a network's steps, called one by one, give the logits of its ``forward``, on random numbers.

    Arguments:
        net: the network, whose backbone is left out.
        by_support: whether each support has prototypes of its own, as planned evaluation keeps them.
    """
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, net.channels, 10, 12, generator=generator).to(net.place) for _ in range(3)]
    masks = [torch.zeros(1, 10, 12, dtype=torch.int64, device=net.device) for _ in images[:2]]
    masks[0][:, :6], masks[1][:, :, :5] = 1, 1
    training = net.training
    probe = copy.copy(net.eval())  # in which batch norms of a head keep their statistics
    probe.features = lambda images: F.avg_pool2d(images, 2)
    try:
        expected = probe(images[:2], masks, images[2])["final"]
        *supports, query = map(probe.features, images)
        if by_support:
            pairs = [probe.prototypes(x, mask) for x, mask in zip(supports, masks, strict=True)]
            fg, bg = (probe.over_shots(torch.stack(some)) for some in zip(*pairs, strict=True))
        else:
            fg, bg = probe.episode_prototypes(supports, masks)
        got = matching.resize(probe.match_episodes(query, fg, bg), (10, 12))
    except Exception:  # a forward that takes images alone
        return False
    finally:
        net.train(training)
    return bool((got - expected).abs().max() <= 1e-3 * expected.abs().max())


def _is_replaced(net: FewShotNetwork) -> bool:
    """Whether a subclass or an instance has a ``trace`` or ``match`` other than its fast forms were written for."""
    of_instance = {"trace", "match"} & vars(net).keys()
    return bool(of_instance) or (type(net).trace, type(net).match) != net.fast_forms_of


def _gives_the_same(fast: Form, method: Form, device: torch.device, with_gradients: bool) -> bool:
    """Whether two forms agree on random queries; the global random state stays as it is."""
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
            return all(
                torch.isfinite(b).all() and (a - b).abs().max() <= CLOSE * b.abs().max().clamp_min(1)
                for inputs in _queries(device)
                for a, b in zip(*(_values(form, inputs, with_gradients) for form in (fast, method)), strict=True)
            )
    except Exception:  # edited code may not take these queries; in the run itself it then says what is wrong
        return False


def _queries(device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Features (E, C, h, w) of one query each, with FP and BP (E, C, 1, 1) of E episodes, in float64.

    Pixels lie around two centres, near and far. The last episode of each query has prototypes that leave no pixel
    confident. One query has many confident pixels.
    """
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for height, width, episodes, spread in ((9, 13, 3, 0.3), (6, 9, 3, 2.0), (24, 24, 1, 0.5)):
        centres = noise(2, CHANNELS)
        side = (torch.arange(width) >= 0.9 * width).long().expand(height, width)
        features = centres[side].permute(2, 0, 1)[None] + spread * noise(1, CHANNELS, height, width)
        fg, bg = (centre + 0.5 * noise(episodes, CHANNELS) for centre in centres)
        if episodes > 1:
            bg[-1] = 0.999 * fg[-1] + 0.001 * bg[-1]
        pair = fg[..., None, None].to(device), bg[..., None, None].to(device)
        yield features.to(device).expand(episodes, -1, -1, -1), *pair


def _values(form: Form, inputs: tuple[Tensor, ...], with_gradients: bool) -> list[Tensor]:
    """The logits that a form gives, and the gradients of their weighted sum."""
    inputs = tuple(x.clone().requires_grad_(with_gradients) for x in inputs)
    out = form(*inputs)
    logits = [out[name] for name in sorted(out)]
    if not with_gradients:
        return logits
    weights = torch.linspace(-1, 2, logits[0].numel(), dtype=torch.float64, device=logits[0].device)
    total = sum(number * (x.flatten() * weights).sum() for number, x in enumerate(logits, 1))
    gradients = torch.autograd.grad(total, inputs, allow_unused=True)
    zeros = (torch.zeros_like(x) if grad is None else grad for x, grad in zip(inputs, gradients, strict=True))
    return [*(x.detach() for x in logits), *zeros]
