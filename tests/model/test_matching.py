"""The matching's pure functions: hand-worked values, and slow loops that spell the method out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import matching
from tests.model.largest import Largest


def test_resize_keeps_the_corners() -> None:
    x = torch.tensor([[[[0.0, 2.0], [4.0, 8.0]]]])
    expected = torch.tensor([[[[0.0, 1.0, 2.0], [2.0, 3.5, 5.0], [4.0, 6.0, 8.0]]]])
    assert torch.equal(matching.resize(x, (3, 3)), expected)
    assert torch.equal(matching.resize(expected, (2, 2)), x)


FEATURES = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]]])


def test_masked_average() -> None:
    mask = torch.tensor([[[True, False], [False, True]]])
    average = matching.masked_average(FEATURES, mask)
    assert average.shape == (1, 2, 1, 1)
    assert average.flatten().tolist() == pytest.approx([5 / 2.00001, 50 / 2.00001], rel=1e-6)


def test_masked_average_of_a_larger_mask() -> None:
    mask = torch.zeros(1, 3, 3)
    mask[0, 0, 0] = mask[0, 2, 0] = 1  # aligned corners: the mask's corners are the features' four pixels
    average = matching.masked_average(FEATURES, mask)
    assert average.flatten().tolist() == pytest.approx([4 / 2.00001, 40 / 2.00001], rel=1e-6)


def test_masked_average_of_a_smaller_mask() -> None:
    features = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    mask = torch.tensor([[[1, 0], [0, 0]]])  # weights 1, 1/2, 0; 1/2, 1/4, 0; 0, 0, 0
    assert matching.masked_average(features, mask).item() == pytest.approx((1 + 1 + 2 + 1.25) / 2.25001, rel=1e-6)


def test_masked_average_of_an_empty_mask_is_zero() -> None:
    assert torch.equal(matching.masked_average(FEATURES, torch.zeros(1, 5, 4)), torch.zeros(1, 2, 1, 1))


def test_prototypes_leave_ignored_pixels_out() -> None:
    fg, bg = matching.prototypes(FEATURES, torch.tensor([[[1, 255], [0, 0]]]))
    assert fg.flatten().tolist() == pytest.approx([1 / 1.00001, 10 / 1.00001], rel=1e-6)
    assert bg.flatten().tolist() == pytest.approx([7 / 2.00001, 70 / 2.00001], rel=1e-6)


def test_score_is_ten_cosines_background_first() -> None:
    features = torch.tensor([[[[3.0, 1.0]], [[4.0, 0.0]]]])  # pixels (3, 4) and (1, 0)
    fg, bg = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.0, 5.0]).view(1, 2, 1, 1)
    logits = matching.score(features, fg, bg)
    assert logits.shape == (1, 2, 1, 2)
    assert logits.flatten().tolist() == pytest.approx([8, 0, 6, 10])
    per_pixel = torch.tensor([[[[-3.0, 0.0]], [[-4.0, 1.0]]]])  # opposite of the first pixel, square to the second
    assert matching.score(features, fg, per_pixel)[0, 0].flatten().tolist() == pytest.approx([-10, 0])


def test_confident_pixels_are_above_the_threshold() -> None:
    probability = torch.tensor([0.1, 0.75, 0.5, 0.9])
    assert matching.confident(probability, 0.5).tolist() == [1, 3]


def test_confident_falls_back_to_the_twelve_likeliest() -> None:
    probability = torch.arange(20.0).flip(0) / 100
    assert sorted(matching.confident(probability, 0.5).tolist()) == list(range(12))
    assert sorted(matching.confident(probability[:5], 0.5).tolist()) == [0, 1, 2, 3, 4]


def slow_cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def slow_score(pixels: np.ndarray, fg: np.ndarray, bg: np.ndarray) -> np.ndarray:
    """Pixels (N, C), one fg (C,), bg (C,) or (N, C) -> logits (N, 2)."""
    bg = np.broadcast_to(bg, pixels.shape)
    return np.array([[10 * slow_cosine(x, b), 10 * slow_cosine(x, fg)] for x, b in zip(pixels, bg, strict=True)])


def slow_self_support(pixels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SSFP (C,), SSBP (C,), ASBP (N, C) of pixels (N, C) under logits (N, 2), one pixel after the other."""
    p_bg = np.array([np.exp(b) / (np.exp(b) + np.exp(f)) for b, f in logits])

    def chosen(probability: np.ndarray, threshold: float) -> list[int]:
        above = [i for i, p in enumerate(probability) if p > threshold]
        return above or sorted(range(len(probability)), key=lambda i: -probability[i])[:12]

    fg = [pixels[i] for i in chosen(1 - p_bg, 0.7)]
    bg = [pixels[j] for j in chosen(p_bg, 0.6)]
    adaptive = []
    for pixel in pixels:
        weights = np.array([np.exp(2 * slow_cosine(pixel, other)) for other in bg])
        adaptive.append(sum(w * other for w, other in zip(weights / weights.sum(), bg, strict=True)))
    return np.mean(fg, axis=0), np.mean(bg, axis=0), np.array(adaptive)


def columns(x: torch.Tensor) -> np.ndarray:
    """(C, h, w) -> (N, C)."""
    return x.flatten(1).t().numpy()


# Spread 3: pixels pass both thresholds. Fallback: all pixels at p_fg 1/2 to 0.69 or at p_bg 1/2 to 0.59.
LOGIT_RANGES = {"confident": (-3.0, 3.0), "no confident pixel": (0.0, 0.35)}


@pytest.mark.parametrize("kind", LOGIT_RANGES)
def test_self_support_equals_the_loop(kind: str) -> None:
    torch.manual_seed(0)
    low, high = LOGIT_RANGES[kind]
    features = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    logits = torch.empty(2, 2, 4, 6, dtype=torch.float64).uniform_(low, high)
    probability = logits.softmax(1)
    assert (probability[:, 1] > 0.7).any() == (probability[:, 0] > 0.6).any() == (kind == "confident")
    got = matching.self_support(features, logits)
    assert got.fg.shape == got.bg.shape == (2, 5, 1, 1)
    assert got.adaptive_bg.shape == features.shape
    for image in range(2):
        fg, bg, adaptive = slow_self_support(columns(features[image]), columns(logits[image]))
        np.testing.assert_allclose(got.fg[image].flatten(), fg, rtol=1e-10)
        np.testing.assert_allclose(got.bg[image].flatten(), bg, rtol=1e-10)
        np.testing.assert_allclose(columns(got.adaptive_bg[image]), adaptive, rtol=1e-9)


def test_self_support_of_one_image_may_fall_back_alone() -> None:
    torch.manual_seed(1)
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    logits = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    logits[0, 1, 0, 0] = 9  # one sure foreground pixel in the first image, none in the second
    logits[1, 1] = torch.linspace(0, 0.3, 16).view(4, 4)
    got = matching.self_support(features, logits)
    assert torch.equal(got.fg[0].flatten(), features[0, :, 0, 0])
    assert got.fg[1].flatten().tolist() == pytest.approx(features[1].flatten(1)[:, 4:].mean(1).tolist())


@pytest.mark.parametrize("refine", [False, True])
def test_match_equals_the_steps_of_the_method(refine: bool) -> None:
    torch.manual_seed(2)
    features = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    fg, bg = torch.randn(2, 2, 6, 1, 1, dtype=torch.float64)
    out = matching.trace(features, fg, bg, refine).outputs
    assert list(out) == (["final", "out1"] if refine else ["final"])
    for image in range(2):
        x, f, b = columns(features[image]), fg[image].flatten().numpy(), bg[image].flatten().numpy()
        ssfp, ssbp, asbp = slow_self_support(x, slow_score(x, f, b))
        f1, b1 = 0.5 * f + 0.5 * ssfp, 0.3 * ssbp + 0.7 * asbp
        out1 = slow_score(x, f1, b1)
        final = out1
        if refine:
            ssfp, ssbp, asbp = slow_self_support(x, out1)
            f2 = 0.5 * f + 0.2 * f1 + 0.3 * (0.5 * f + 0.5 * ssfp)
            b2 = 0.5 * b + 0.2 * b1 + 0.3 * (0.3 * ssbp + 0.7 * asbp)
            final = 0.7 * slow_score(x, f2, b2) + 0.3 * out1
            np.testing.assert_allclose(columns(out["out1"][image]), out1, rtol=1e-9)
        np.testing.assert_allclose(columns(out["final"][image]), final, rtol=1e-9)


@pytest.mark.parametrize("refine", [False, True])
def test_a_trace_is_what_match_goes_through(refine: bool) -> None:
    torch.manual_seed(3)
    features = torch.randn(2, 6, 5, 4)
    fg, bg = torch.randn(2, 2, 6, 1, 1)
    trace = matching.trace(features, fg, bg, refine)
    out = matching.trace(features, fg, bg, refine).outputs
    assert torch.equal(trace.final, out["final"])
    assert list(trace.outputs) == list(out)
    lengths = matching.norm(features)
    assert torch.equal(trace.first, matching.score(features, fg, bg, lengths))
    pairs = [(trace.chosen, trace.first)]
    if refine:
        assert torch.equal(trace.out1, out["out1"])
        assert torch.equal(trace.final, 0.7 * trace.out2 + (1 - 0.7) * trace.out1)
        pairs.append((trace.chosen_again, trace.out1))
    else:
        assert trace.out1 is trace.final
        assert (trace.chosen_again, trace.out2) == (None, None)
    for chosen, logits in pairs:
        p_bg, p_fg = logits.softmax(1).flatten(2).unbind(1)
        own = matching.self_support(features, logits, lengths).chosen
        assert len(chosen) == len(own) == 2
        for image, pixels in enumerate(chosen):
            assert torch.equal(pixels.fg, matching.confident(p_fg[image], 0.7))
            assert torch.equal(pixels.bg, matching.confident(p_bg[image], 0.6))
            assert torch.equal(pixels.fg, own[image].fg)
            assert torch.equal(pixels.bg, own[image].bg)


def test_a_trace_holds_no_tensor_as_large_as_the_features() -> None:
    """The ASBPs and the similarities of all pixels are gone when the matching is done."""
    features = torch.randn(1, 64, 8, 8)
    trace = matching.trace(features, *torch.randn(2, 1, 64, 1, 1), True)
    chosen = [pixels for sets in (trace.chosen, trace.chosen_again) for pair in sets for pixels in pair]
    kept = [trace.first, trace.out1, trace.out2, trace.final, *chosen]
    assert all(x.untyped_storage().nbytes() <= 8 * 64 * 2 for x in kept)


@pytest.mark.parametrize("together", [1, 700, 2000])
def test_blocks_give_what_the_whole_gives(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and gradients with ASBP in blocks of one, some and many pixels; nothing of N x N is held, backward too."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = [x.requires_grad_() for x in (noise(2, 8, 20, 21), noise(2, 8, 1, 1), noise(2, 8, 1, 1))]

    def run() -> tuple[list[torch.Tensor], int]:
        with Largest() as largest:
            trace = matching.trace(*inputs, refine=True)
            found = torch.autograd.grad((trace.final * torch.linspace(-1, 1, 2)[:, None, None]).sum(), inputs)
        return [trace.out1, trace.final, *found], largest.numbers

    (whole, held), pixels = run(), 20 * 21
    assert held > 10 * pixels * 12  # the case has many confident background pixels
    monkeypatch.setattr(matching, "WEIGHTS_TOGETHER", together)
    blocks, held = run()
    assert held <= max(2 * 8 * pixels, together, pixels)  # features of both images, or a block
    for got, expected in zip(blocks, whole, strict=True):
        assert (got - expected).abs().max() <= 1e-12 * max(expected.abs().max(), 1)


def test_adaptive_weights_make_the_asbp() -> None:
    torch.manual_seed(4)
    features, logits = torch.randn(1, 6, 5, 4), 3 * torch.randn(1, 2, 5, 4)
    own = matching.self_support(features, logits)
    unit = (features / matching.norm(features)[:, None])[0].flatten(1)
    background = own.chosen[0].bg
    weights = matching.adaptive_weights(unit, unit[:, background])
    assert weights.shape == (20, len(background))
    torch.testing.assert_close(weights.sum(1), torch.ones(20))
    made = features[0].flatten(1)[:, background] @ weights.t()
    torch.testing.assert_close(made, own.adaptive_bg[0].flatten(1), rtol=1e-5, atol=1e-6)
