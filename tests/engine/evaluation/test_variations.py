"""Many settings at once give what each gives alone, and a killed evaluation goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from dataset import class_index, open_fold, plan_episodes
from dataset.episodes import Episode
from dataset.images import ImageSet
from engine.evaluation import kept_counts
from engine.evaluation.evaluate import count_plainly, evaluate
from engine.evaluation.kept_counts import KeptCounts
from engine.evaluation.planned import count_planned, count_variations
from engine.evaluation.protocol import EvaluationOptions
from engine.evaluation.variations import evaluate_variations, make_variations
from engine.variation import PAPERS, Variation
from model import FewShotNetwork, build_model
from model.fast import evaluation
from model.matching import PAPER, Matching
from tests.model import recipe

# Each field in another value. Few pixels of fallback would turn on the rounding of the likeliest.
SETTINGS = [
    PAPER,
    Matching(fg_threshold=0.5),
    Matching(fg_threshold=0.5, bg_mix=0.1),
    Matching(bg_threshold=0.9),
    Matching(temperature=7.0),
    Matching(fallback_pixels=60, fg_threshold=1.0, bg_threshold=1.0),
    Matching(adaptive_scale=1.0),
    Matching(adaptive_scale=30.0),  # which the fast form leaves to the method
    Matching(fg_mix=0.0, support_bg_mix=1.0),
    Matching(bg_mix=0.0),
    Matching(bg_mix=1.0, support_bg_mix=0.25),
    Matching(refine_mix=(0.2, 0.3, 0.5), final_mix=1.0),
    Matching(rounds=0),
    Matching(rounds=3),
    PAPER,
]


@pytest.fixture(scope="module")
def evaluated(toy: Path) -> tuple[FewShotNetwork, ImageSet, list[Episode]]:
    net = build_model("ssp", refine=True)
    recipe.fill(net, "resnet50")
    fold = open_fold("pascal", toy, 0)
    episodes = plan_episodes(class_index(fold.test.images, 1), fold.test.classes, 1, 0, 7)
    return net.eval(), fold.test.images, episodes


def under(net: FewShotNetwork, settings: Matching) -> FewShotNetwork:
    net = net.under(settings)
    assert net.matching == settings
    return net


@pytest.mark.parametrize(
    ("base", "values", "one_at_a_time", "expected"),
    [
        ({}, {"bg_mix": [0.1, 0.3]}, False, ["", "bg_mix=0.1"]),
        ({}, {"bg_mix": [0.1, 0.3], "rounds": [1, 2]}, False, ["", "bg_mix=0.1", "bg_mix=0.1 rounds=2", "rounds=2"]),
        ({}, {"bg_mix": [0.1, 0.5], "rounds": [2]}, True, ["", "bg_mix=0.1", "bg_mix=0.5", "rounds=2"]),
        ({"fg_mix": 0.2}, {"bg_mix": [0.3]}, False, ["fg_mix=0.2"]),
        ({"fg_mix": 0.2}, {"fg_mix": [0.5, 0.2, 0.1]}, False, ["fg_mix=0.2", "", "fg_mix=0.1"]),
    ],
)
def test_the_settings_of_a_sweep(base: dict, values: dict, one_at_a_time: bool, expected: list[str]) -> None:
    assert [str(each) for each in make_variations(Variation.of(base), values, one_at_a_time)] == expected


def test_counts_are_those_of_each_setting_alone(evaluated: tuple[FewShotNetwork, ImageSet, list[Episode]]) -> None:
    """Also of the plain engine, but for pixels whose two logits are nearly tied."""
    net, images, episodes = evaluated
    together, _ = count_variations(net, images, episodes, SETTINGS)
    assert torch.equal(together[0], together[-1])
    assert len({tuple(counts.flatten().tolist()) for counts in together}) > 8  # settings take effect
    for settings, counts in zip(SETTINGS[:-1], together, strict=False):
        for alone in (
            count_planned(under(net, settings), images, episodes)[0],
            count_plainly(under(net, settings), images, episodes),
        ):
            assert (counts - alone).abs().sum() <= 1e-4 * alone.sum(), settings


def test_logits_are_those_of_each_setting_alone(evaluated: tuple[FewShotNetwork, ImageSet, list[Episode]]) -> None:
    net, _, _ = evaluated
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, net.channels, 9, 13, generator=generator)
    fg, bg = torch.randn(2, 5, net.channels, 1, 1, generator=generator)
    fg[3] = features[:, :, :3, :3].mean((2, 3), keepdim=True)[0]
    with torch.inference_mode():
        together = net.match_variations(features, fg, bg, SETTINGS)
        for settings, logits in zip(SETTINGS, together, strict=True):
            alone = under(net, settings)
            expected = torch.cat([alone.match(features, fg[n : n + 1], bg[n : n + 1])["final"] for n in range(5)])
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows part by part, whose sums start from those of the parts before."""
    features, fg, bg = (torch.rand(*shape) for shape in ((1, 6, 8, 9), (9, 6, 1, 1), (9, 6, 1, 1)))
    some = [Matching(bg_threshold=value, fg_mix=mix) for value in (0.4, 0.5, 0.6) for mix in (0.4, 0.6)]
    whole = evaluation.match_variations(features, fg, bg, True, some)
    monkeypatch.setattr(evaluation, "SUMS_BYTES", 9 * 72 * 6 * 4)
    torch.testing.assert_close(evaluation.match_variations(features, fg, bg, True, some), whole, rtol=1e-4, atol=1e-4)


def test_rows_that_are_equal_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits that differ in final_mix alone have all prototypes in common; fg_mix leaves the first background alone."""
    features, fg, bg = (torch.rand(*shape) for shape in ((1, 6, 8, 9), (5, 6, 1, 1), (5, 6, 1, 1)))
    rows: list[int] = []
    mix = evaluation.mixed_cosine
    monkeypatch.setattr(
        evaluation, "mixed_cosine", lambda sums, fixed, *rest: rows.append(len(fixed)) or mix(sums, fixed, *rest)
    )
    evaluation.match_variations(features, fg, bg, True, [Matching(final_mix=value) for value in (0.4, 0.6, 0.7)])
    assert rows == [5, 5]
    rows.clear()
    evaluation.match_variations(features, fg, bg, True, [Matching(fg_mix=value) for value in (0.0, 1.0)])
    assert rows == [5, 10]


def test_records(evaluated: tuple[FewShotNetwork, ImageSet, list[Episode]]) -> None:
    """Each has the numbers of evaluate; the first is what the others are compared with."""
    net, images, episodes = evaluated
    plans = {0: episodes[:4], 1: episodes[4:]}
    variations = [PAPERS, Variation.of({"fg_mix": 0.0, "support_bg_mix": 1.0})]
    records = evaluate_variations(net, images, plans, variations)
    for variation, record in zip(variations, records, strict=True):
        alone = evaluate(under(net, variation.change(PAPER)), images, plans)
        assert record["settings"] == variation.as_dict()
        assert record["miou"] == pytest.approx(alone["miou"], abs=0.01)
        assert [seed["class_iou"].keys() for seed in record["seeds"]] == [s["class_iou"].keys() for s in alone["seeds"]]
    assert (records[0]["difference"], records[0]["low"], records[0]["high"]) == (0, 0, 0)
    assert records[1]["difference"] == pytest.approx(records[1]["miou"] - records[0]["miou"])
    assert records[1]["low"] <= records[1]["difference"] <= records[1]["high"]
    plainly = evaluate_variations(net, images, plans, variations, options=EvaluationOptions(engine="plain"))
    assert [each["miou"] for each in plainly] == pytest.approx([each["miou"] for each in records], abs=0.01)


@pytest.mark.parametrize("key", ["the same", "another"])
def test_a_killed_evaluation_goes_on(
    evaluated: tuple[FewShotNetwork, ImageSet, list[Episode]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """After three queries: the rest is counted, the supports are not encoded again; of another key everything is."""
    net, images, episodes = evaluated
    some = SETTINGS[:3]
    expected, _ = count_variations(net, images, episodes, some)
    monkeypatch.setattr(kept_counts, "EVERY", 0)
    matched: list[int] = []
    match = type(net).match_variations

    def match_some(self: FewShotNetwork, features: torch.Tensor, *rest: Sequence) -> torch.Tensor:
        if len(matched) == 3:
            raise KeyboardInterrupt
        matched.append(len(features))
        return match(self, features, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(type(net), "match_variations", match_some)
        with pytest.raises(KeyboardInterrupt):
            count_variations(net, images, episodes, some, kept=KeptCounts(tmp_path, "the same"))
        kept = KeptCounts(tmp_path, key)
        assert kept.path.is_file()
        patch.setattr(type(net), "match_variations", lambda *inputs: matched.append(1) or match(*inputs))
        matched.clear()
        counts, passes = count_variations(net, images, episodes, some, kept=kept)
    queries = len({episode.query for episode in episodes})
    assert torch.equal(counts, expected)
    assert len(matched) == (queries - 3 if key == "the same" else queries)
    assert (passes == queries - 3) == (key == "the same")
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_counts_is_not_taken(
    evaluated: tuple[FewShotNetwork, ImageSet, list[Episode]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, images, episodes = evaluated
    kept = KeptCounts(tmp_path, "key")
    kept.path.write_bytes(b"PK\x03\x04 nothing")
    expected, _ = count_planned(net, images, episodes[:2])
    counts, _ = count_variations(net, images, episodes[:2], [PAPER], kept=kept)
    assert torch.equal(counts[0], expected)
    assert "of another evaluation, or damaged" in capsys.readouterr().out
