"""Settings as words, in files and in networks."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import main as training
import test as testing
from dataset import open_fold
from engine.checkpoint import load_checkpoint
from engine.evaluation.result import find_results
from engine.training import trainer
from engine.variation import (
    PAPERS,
    RANGES,
    USUAL,
    Value,
    Variation,
    given_settings,
    parse_setting,
    parse_settings,
    write_value,
)
from model.loss import loss_terms, total_loss
from model.settings import LOSS_WEIGHTS, PAPER, Matching
from tests.files import OneLine
from tests.tiny import TINY
from util.errors import UserError

# Another value of each setting of the matching, as --set takes it.
OTHERS = {
    "temperature": "3", "fg_threshold": "0.5", "bg_threshold": "0.5", "fallback_pixels": "30", "adaptive_scale": "1",
    "fg_mix": "0", "bg_mix": "1", "refine_mix": "0,0,1", "final_mix": "0", "support_bg_mix": "1", "rounds": "3",
}  # fmt: skip
STEP = (
    "--pretrained none --crop-size 65 --episode 2 --snapshot 2 --batch-size 2 --test-episodes 2 --seeds 1 --workers 0 "
    "--shot 1 --device cpu --refine --fold 0"
).split()


def test_every_setting_can_be_set() -> None:
    assert [*OTHERS] == [field.name for field in fields(Matching)]
    assert {*RANGES} == {*OTHERS, *(f"{name}_loss" for name in LOSS_WEIGHTS)}
    values = vars(PAPER) | {f"{name}_loss": weight for name, weight in LOSS_WEIGHTS.items()}
    assert Variation.of(values) == PAPERS


@pytest.mark.parametrize(
    ("words", "without", "expected"),
    [
        ([], [], ""),
        (["bg_mix=0.30"], [], ""),
        (["rounds=2", "bg_mix=.5"], [], "bg_mix=0.5 rounds=2"),
        (["refine_mix=1,0,0"], [], "refine_mix=1,0,0"),
        ([], ["ssfp"], "fg_mix=0"),
        ([], ["ssbp"], "bg_mix=0"),
        ([], ["asbp"], "bg_mix=1"),
        ([], ["asbp", "ssbp"], "support_bg_mix=1"),
        ([], ["self-support"], "fg_mix=0 support_bg_mix=1"),
        ([], ["self-support", "asbp"], "fg_mix=0 support_bg_mix=1"),
        ([], ["self-support-loss", "ssfp"], "fg_mix=0 query_self_loss=0 support_self_loss=0"),
        (["fg_mix=0"], ["ssfp"], "fg_mix=0"),
    ],
)
def test_words(words: list[str], without: list[str], expected: str) -> None:
    variation = parse_settings(words, without)
    assert str(variation) == expected
    assert Variation.of(json.loads(json.dumps(variation.as_dict()))) == variation
    assert parse_settings(str(variation).split()) == variation


@pytest.mark.parametrize(
    ("words", "without", "says"),
    [
        (["fgmix=0"], [], r"--set fgmix=0: is not NAME=VALUE with one of the names temperature, fg_threshold, "),
        (["fg_mix"], [], r"--set fg_mix: is not NAME=VALUE"),
        (["fg_mix=1.1"], [], r"--set fg_mix=1.1: fg_mix is a number from 0 to 1 \(the paper's: 0.5\)"),
        (["fg_mix=nan"], [], r"fg_mix is a number from 0 to 1"),
        (["fg_mix=\u0661"], [], r"fg_mix is a number from 0 to 1"),
        (["rounds=1.5"], [], r"rounds is a whole number from 0 to 100"),
        (["fallback_pixels=0"], [], r"fallback_pixels is a whole number from 1"),
        (["temperature=0"], [], r"temperature is a number from 0.001"),
        (["refine_mix=0.5,0.5"], [], r"refine_mix is three numbers from 0 to 1 as A,B,C"),
        (["out1_loss=-1"], [], r"out1_loss is a number from 0"),
        (["fg_mix=0", "fg_mix=1"], [], r"--set gives fg_mix twice, 0 and 1; leave one"),
        (["fg_mix=0.2"], ["ssfp"], r"--set fg_mix=0.2 contradicts --without ssfp, which is fg_mix=0; leave one"),
        ([], ["fp"], r"--without fp: is none of ssfp, ssbp, asbp, self-support, self-support-loss"),
    ],
)
def test_wrong_words(words: list[str], without: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        given_settings(words, without)


def test_the_loss_is_weighted_by_hand() -> None:
    terms = {"final": torch.tensor(1.0), "out1": torch.tensor(10.0), "query_self": torch.tensor(100.0)}
    terms["support_self"] = torch.tensor(1000.0)
    assert total_loss(terms) == 1 + 10 + 100 + 200
    for name, changed in (("final", 1), ("out1", 10), ("query_self", 100), ("support_self", 1000)):
        weights = parse_settings([f"{name}_loss=3"]).loss_weights
        assert total_loss(terms, weights) == pytest.approx(311 + (3 - LOSS_WEIGHTS[name]) * changed)


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_a_training_minimises_the_sum_by_hand(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Of the terms as the loss has them, each with its weight."""
    terms: list[dict[str, torch.Tensor]] = []
    values: list[float] = []
    step = trainer.Trainer.step
    monkeypatch.setattr(trainer, "loss_terms", lambda *inputs: terms.append(loss_terms(*inputs)) or terms[-1])
    monkeypatch.setattr(trainer.Trainer, "step", lambda *inputs: values.append(step(*inputs)) or values[-1])
    words = ["--data-root", str(toy), "--out", str(tmp_path), "--backbone", TINY, *STEP]
    training.main([*words, "--set", f"{name}_loss=3"])
    weights = {"final": 1, "out1": 1, "query_self": 1, "support_self": 0.2, name: 3}
    expected = [sum(weights[each] * term.item() for each, term in some.items()) for some in terms]
    assert values
    assert {*terms[0]} == {*weights}
    assert values == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with settings and a tag, of a backbone that takes no time."""
    out = tmp_path_factory.mktemp("out")
    words = ["--data-root", str(toy), "--out", str(out), "--backbone", TINY, *STEP]
    return training.main([*words, "--set", "fg_threshold=0.65", "--without", "self-support-loss", "--tag", "mine"])


def evaluate(toy: Path, checkpoint: Path, *more: str) -> dict:
    few = ["--episodes", "3", "--seeds", "1", "--workers", "0", "--device", "cpu"]
    return testing.main(["--data-root", str(toy), "--checkpoint", str(checkpoint), "--backbone", TINY, *few, *more])


def test_a_run_carries_its_settings(
    toy: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoint, names of files, results; test.py takes them, --set changes them."""
    settings = {"fg_threshold": 0.65, "query_self_loss": 0.0, "support_self_loss": 0.0}
    assert load_checkpoint(trained).info["settings"] == settings
    assert trained.name.startswith("mine+")
    result = find_results([trained.with_suffix(".json")])[0]
    assert (result.setting.variation.as_dict(), result.setting.tag) == (settings, "mine")
    evaluate(toy, trained, "--json", str(tmp_path / "r.json"))
    assert (
        "settings fg_threshold=0.65 query_self_loss=0 support_self_loss=0, as it was trained" in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "r.json").read_text())["settings"] == settings
    evaluate(toy, trained, "--set", "fg_threshold=0.7", "--json", str(tmp_path / "s.json"))
    assert "trained with fg_threshold=0.65" in capsys.readouterr().out
    assert "fg_threshold" not in json.loads((tmp_path / "s.json").read_text())["settings"]


def test_kept_results_know_the_settings(toy: Path, trained: Path, tmp_path: Path) -> None:
    for words in ([], ["--set", "bg_mix=0.5"], ["--set", "bg_mix=0.5"], ["--tag", "other"]):
        evaluate(toy, trained, "--results", str(tmp_path), *words)
    assert len(list(tmp_path.glob("*.json"))) == 3


def usual_of(name: str) -> Value:
    """The setting in the checkpoint."""
    return 0.65 if name == "fg_threshold" else USUAL[name]


@pytest.mark.parametrize("engine", ["planned", "plain"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_is_an_edit(toy: Path, trained: Path, engine: str, name: str) -> None:
    """What --set gives is what the plain engine gives a network whose settings somebody has edited."""
    from dataset import class_index, plan_episodes
    from engine.checkpoint import load_network
    from engine.custom import build_network
    from engine.evaluation.evaluate import count_plainly, summarise

    changes = dict([parse_setting(f"{name}={OTHERS[name]}")])
    if name == "fallback_pixels":  # which are taken where no pixel passes
        changes |= {"fg_threshold": 1.0, "bg_threshold": 1.0}
    net = build_network("ssp", TINY, True)
    load_network(net, load_checkpoint(trained).state_dict, trained)
    test = open_fold("pascal", toy, 0).test
    plans = {0: plan_episodes(class_index(test.images, 1), test.classes, 1, 0, 3)}
    usual, expected = {}, {}
    for found, settings in ((usual, changes | {name: usual_of(name)}), (expected, changes)):
        net.matching = Matching(**{"fg_threshold": 0.65, **settings})
        found |= summarise(count_plainly(net.eval(), test.images, plans[0]), plans, None)
    words = [word for changed, value in changes.items() for word in ("--set", f"{changed}={write_value(value)}")]
    got = evaluate(toy, trained, *words, "--engine", engine)
    tolerance = 0.05 if engine == "planned" else 1e-9  # a pixel of a tie is 0.01
    assert got["miou"] == pytest.approx(expected["miou"], abs=tolerance)
    assert abs(expected["miou"] - usual["miou"]) > 2 * tolerance  # the setting takes effect


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--set depth=1", "is not NAME=VALUE with one of the names"),
        ("--without final", "is none of ssfp"),
        ("--method baseline --set bg_mix=1", "the baseline's only setting is temperature"),
        ("--no-refine --set rounds=2", "rounds=2: belongs to the refinement; pass --refine"),
        ("--set final_loss=0 --set out1_loss=0 --without self-support-loss", "the weights of all losses are 0"),
        ("--tag a/b", "'a/b' is no tag: letters, digits"),
    ],
)
def test_wrong_flags_of_a_training(toy: Path, tmp_path: Path, words: str, says: str, one_line_error: OneLine) -> None:
    step = [word for word in STEP if word != "--refine" or "baseline" not in words]
    line = one_line_error(training.main, ["--data-root", str(toy), "--out", str(tmp_path / "o"), *step, *words.split()])
    assert re.search(re.escape(says), line), line
    assert not (tmp_path / "o").exists()
