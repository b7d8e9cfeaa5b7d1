"""What is edited is what runs: a fast form that gives other numbers than the method steps aside, with a line."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from model import SSP, Baseline, matching
from model.fast import check, evaluation, training
from model.matching import Matching
from tests.model.fast.test_evaluation import clustered

LEFT_OUT = "runs the steps of {} as they are written; model/fast/ is for other ones and is left out"


class Pixels(torch.nn.Module):
    """A backbone that gives its images back."""

    channels, stride = 32, 1

    def forward(self, images: Tensor) -> Tensor:
        return images


@pytest.fixture(autouse=True)
def _nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "results", {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which fast forms ran on features of the network, in place of the method."""
    found = []
    for module, name in ((training, "match"), (evaluation, "match_episodes"), (evaluation, "score_episodes")):
        fast = getattr(module, name)

        def recorded(features: Tensor, *args: object, fast: object = fast, name: str = name) -> object:
            if features.shape[1] == Pixels.channels:
                found.append(name)
            return fast(features, *args)

        monkeypatch.setattr(module, name, recorded)
    return found


def numbers(net: SSP | Baseline) -> list[Tensor]:
    """Logits and gradients of training, then the logits of planned and of plain evaluation."""
    features, fg, bg = (x.requires_grad_() for x in clustered(2, 9, 13, 1.0))
    out = net.train().match(features.expand(2, -1, -1, -1), fg, bg)
    trained = [*out.values(), *torch.autograd.grad(sum(x.square().sum() for x in out.values()), (features, fg))]
    with torch.inference_mode():
        pair = fg.detach(), bg.detach()
        planned = net.eval().match_episodes(features.detach(), *pair)
        plain = torch.cat([net.match(features.detach(), fg[e : e + 1], bg[e : e + 1])["final"] for e in range(2)])
    torch.testing.assert_close(planned, plain, rtol=1e-4, atol=1e-4)
    return [x.detach() for x in (*trained, planned)]


def differ(some: list[Tensor], others: list[Tensor]) -> list[bool]:
    return [not torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(some, others, strict=True)]


def edited_step_4(features: Tensor, fg: Tensor, bg: Tensor, refine: bool, settings: Matching) -> matching.Trace:
    """The method with another mix of step 4, as an edit of the file would be."""
    return TRACE(features, fg, bg, refine, replace(settings, fg_mix=0.9))


def capped(probability: Tensor, threshold: float, fallback: int = 12) -> Tensor:
    """At most 300 confident pixels: an edit that small queries do not show."""
    return CONFIDENT(probability, threshold, fallback)[:300]


TRACE, CONFIDENT = matching.trace, matching.confident


@pytest.mark.parametrize("refine", [False, True])
def test_the_papers_method_takes_the_fast_forms(
    refine: bool, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state()
    numbers(SSP(Pixels(), refine))
    assert calls == ["match", "match_episodes"]
    assert torch.equal(torch.get_rng_state(), before)
    assert not caplog.records
    assert list(check.results.values()) == [True, True]


@pytest.mark.parametrize(("name", "edit"), [("trace", edited_step_4), ("confident", capped)])
@pytest.mark.parametrize("refine", [False, True])
def test_an_edited_step_runs_everywhere(
    name: str,
    edit: object,
    refine: bool,
    calls: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also after the fast forms were used; and they are used again when the edit is taken back."""
    net = SSP(Pixels(), refine)
    before = numbers(net)
    monkeypatch.setattr(matching, name, edit)
    calls.clear()
    after = numbers(net)
    assert not calls
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        f"{use} {LEFT_OUT.format('SSP')}" for use in ("training", "evaluation")
    ]
    if name == "trace":
        assert all(differ(before, after))
    monkeypatch.undo()
    assert not any(differ(before, numbers(net)))


SETTINGS = {
    "temperature": 7.0, "fg_threshold": 0.999, "bg_threshold": 0.999, "fallback_pixels": 3, "adaptive_scale": 3.0,
    "fg_mix": 0.8, "bg_mix": 0.7, "support_bg_mix": 0.4, "refine_mix": (0.2, 0.2, 0.6), "final_mix": 0.2, "rounds": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Matching)])
def test_a_setting_reaches_every_form(name: str, calls: list[str], caplog: pytest.LogCaptureFixture) -> None:
    net = SSP(Pixels(), refine=True)
    if name == "fallback_pixels":  # no pixel is so confident: all fall back
        net.matching = Matching(fg_threshold=0.9999999, bg_threshold=0.9999999)
    before = numbers(net)
    net.matching = replace(net.matching, **{name: SETTINGS[name]})
    changed = differ(before, numbers(net))
    assert changed[0]  # of training
    assert changed[-1]  # of evaluation
    if name == "rounds":  # a second round is trained as it is written
        assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
            f"training {LEFT_OUT.format('SSP')}"
        ]
        return
    assert calls == 2 * ["match", "match_episodes"]  # the fast forms know the settings
    assert not caplog.records


def test_a_scale_that_float32_cannot_sum_is_the_methods(calls: list[str], caplog: pytest.LogCaptureFixture) -> None:
    net = SSP(Pixels(), refine=True)
    net.matching = Matching(adaptive_scale=100.0)
    assert all(x.isfinite().all() for x in numbers(net))
    assert not calls
    assert len(caplog.records) == 2


class LearnedMix(SSP):
    """Equal to SSP until it has learned: the numbers alone would not tell."""

    def trace(self, features: Tensor, fg: Tensor, bg: Tensor) -> matching.Trace:
        return super().trace(features, fg, bg)


class OtherBaseline(Baseline):
    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        return {"final": 2 * super().match(features, fg, bg)["final"]}


@pytest.mark.parametrize("head", [LearnedMix, OtherBaseline])
def test_a_subclass_runs_its_own_steps(head: type[SSP], calls: list[str], caplog: pytest.LogCaptureFixture) -> None:
    numbers(head(Pixels()))
    assert not calls
    assert all(record.getMessage().endswith(LEFT_OUT.format(head.__name__)) for record in caplog.records)
    assert len(caplog.records) == (2 if head is LearnedMix else 1)  # the baseline has no fast form of training


def test_a_replaced_method_of_one_network(calls: list[str]) -> None:
    net = SSP(Pixels())
    net.trace = lambda *inputs: matching.trace(*inputs, True)
    numbers(net)
    assert not calls


def test_code_that_fails_on_the_queries_fails_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "self_support", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        SSP(Pixels()).train().match(*clustered(1, 9, 13, 1.0))


def test_the_baseline_takes_its_fast_form(calls: list[str]) -> None:
    numbers(Baseline(Pixels()))
    assert calls == ["score_episodes"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"temperature": "10"}, "temperature '10': must be a number"),
        ({"fg_threshold": torch.tensor(0.7)}, "fg_threshold tensor"),
        ({"fallback_pixels": 0}, "fallback_pixels 0: must be a whole number from 1 on"),
        ({"fallback_pixels": 1.5}, "fallback_pixels 1.5"),
        ({"refine_mix": (0.5, 0.5)}, "must be a tuple of three numbers"),
        ({"refine_mix": [0.5, 0.2, 0.3]}, "must be a tuple of three numbers"),
    ],
)
def test_settings_are_numbers(values: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Matching(**values)


@pytest.mark.parametrize("name", ["FG_THRESHOLD", "TEMPERATURE", "REFINE_MIX", "PAPER"])
def test_a_setting_of_the_module_is_no_silent_mistake(name: str) -> None:
    with pytest.raises(AttributeError, match=r"net\.matching = Matching"):
        setattr(matching, name, 0.8)
