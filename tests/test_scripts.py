"""main.py and test.py from end to end on the toy dataset: what is written, and that it can be had again."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import main as training
import test as testing
from dataset import open_fold
from engine.checkpoint import load_checkpoint, save_weights
from engine.evaluation import evaluate as evaluation
from engine.setting import Schedule
from tests.files import GOLDEN, PIXELS
from util.errors import UserError
from util.launch import command

CURVE = {"resnet50_1shot.history.png"} if importlib.util.find_spec("matplotlib") else set()


def train(toy: Path, out: Path, flags: list[str]) -> Path:
    """The .ckpt of a run."""
    return training.main(["--data-root", str(toy), "--out", str(out), *flags])


def evaluated(toy: Path, flags: list[str | Path]) -> dict:
    """test.py's result, on the episodes that the quick run is evaluated on."""
    common = ["--data-root", toy, "--episodes", "2", "--seeds", "2", "--workers", "0", "--device", "cpu"]
    return testing.main([str(flag) for flag in (*common, *flags)])


@pytest.fixture(scope="module")
def run(toy: Path, tmp_path_factory: pytest.TempPathFactory, quick: list[str]) -> Path:
    """A run of SSP with refinement on fold 0."""
    return train(toy, tmp_path_factory.mktemp("run"), [*quick, "--refine"])


@pytest.fixture(scope="module")
def baseline_run(toy: Path, tmp_path_factory: pytest.TempPathFactory, quick: list[str]) -> Path:
    """A run of the baseline on fold 1."""
    return train(toy, tmp_path_factory.mktemp("baseline"), [*quick, "--method", "baseline", "--fold", "1"])


def state(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def read_history(run: Path) -> list[dict]:
    name = f"{run.stem.rpartition('_')[0]}.history.jsonl"
    return [json.loads(line) for line in (run.parent / name).read_text().splitlines()]


def test_what_a_run_writes(run: Path) -> None:
    assert run.parts[-4:-1] == ("models", "pascal", "fold_0")
    names = {path.name for path in run.parent.iterdir()}
    weights = {f"{run.stem}{suffix}" for suffix in (".pth", ".ckpt", ".json")}
    assert names == {*weights, "resnet50_1shot.history.jsonl", "resnet50_1shot.last", *CURVE}


def test_the_history(run: Path, quick: list[str]) -> None:
    history = read_history(run)
    assert [line["snapshot"] for line in history] == [1, 2]
    assert [line["steps"] for line in history] == [1, 1]
    assert [line["lr"] for line in history] == pytest.approx([1e-3, 1e-4])
    for line in history:
        assert line["losses"] == [line["loss"]]
        assert 0 < line["loss"] < 10
        assert 0 <= line["miou"] <= 100
        assert 0 <= line["fb_iou"] <= 100


def test_the_best_weights_are_kept(run: Path) -> None:
    best = max(line["miou"] for line in read_history(run))
    assert run.stem == f"resnet50_1shot_{best:.2f}"
    result = json.loads(run.with_suffix(".json").read_text())
    assert result["seeds"][0]["miou"] == pytest.approx(best, abs=1e-9)  # the same seed and episodes
    assert load_checkpoint(run).info["miou"] == best


def test_the_result_file(run: Path) -> None:
    result = json.loads(run.with_suffix(".json").read_text())
    expected = {
        "dataset": "pascal", "fold": 0, "shot": 1, "backbone": "resnet50", "method": "ssp", "refine": True,
        "protocol": "ssp", "checkpoint": str(run), "episodes": 2,
    }  # fmt: skip
    assert {name: result[name] for name in expected} == expected
    assert {"seconds", "images", "trunk_passes", "miou", "miou_std", "fb_iou"} < result.keys()
    toy = {"name": "toy", "counted": "images of pascal val", "count": 40, "published": 1449}
    assert result["data"] == toy
    assert result["training_data"] == {**toy, "counted": "images of pascal train", "count": 60, "published": 10582}
    assert result["trained_on"] == {"dataset": "pascal", "class_order": None, "fold": 0, "declared": False}
    assert result["trained_with"]["pretrained"] == "none"
    drawn = {cls for seed in result["seeds"] for cls in seed["class_iou"]}
    assert {*drawn, *result["missing_classes"]} == {"0", "1", "2", "3", "4", "5"}
    assert not drawn & result["missing_classes"].keys()
    assert [seed["seed"] for seed in result["seeds"]] == [0, 1]
    for seed in result["seeds"]:
        novel = {cls: iou for cls, iou in seed["class_iou"].items() if cls != "0"}
        assert novel.keys() <= {"1", "2", "3", "4", "5"}
        assert seed["miou"] == pytest.approx(sum(novel.values()) / len(novel))
    mious = [seed["miou"] for seed in result["seeds"]]
    assert result["miou"] == pytest.approx(sum(mious) / 2)
    assert result["miou_std"] == pytest.approx(abs(mious[0] - mious[1]) / 2)
    assert result["fb_iou"] == pytest.approx(sum(seed["fb_iou"] for seed in result["seeds"]) / 2)
    assert 2 <= result["images"] <= 8


def test_the_plain_weights_are_the_releases(run: Path) -> None:
    plain = torch.load(run.with_suffix(".pth"), weights_only=True)
    expected = json.loads((GOLDEN / "state_dict_resnet50.json").read_text())
    assert {key: list(value.shape) for key, value in plain.items()} == expected
    assert all(torch.isfinite(value).all() for value in plain.values())
    assert same(plain, state(run))


def test_the_checkpoint_knows_its_training(run: Path) -> None:
    info = load_checkpoint(run).info
    assert (info["dataset"], info["fold"], info["shot"], info["refine"]) == ("pascal", 0, 1, True)
    assert info["novel_classes"] == [1, 2, 3, 4, 5]
    assert info["base_classes"] == list(range(6, 21))
    assert (info["arguments"]["crop_size"], info["arguments"]["seed"]) == (65, 0)


def test_a_checkpoint_gives_its_result_again(
    toy: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads(run.with_suffix(".json").read_text())
    result = evaluated(toy, ["--checkpoint", run, "--json", tmp_path / "new" / "result.json"])
    printed = capsys.readouterr()
    assert f"mIoU {expected['miou']:.4f}" in printed.out
    assert "WARNING" not in printed.err
    written = json.loads((tmp_path / "new" / "result.json").read_text())
    assert written["miou"] == result["miou"] == expected["miou"]
    for name in expected.keys() - {"seconds", "peak_memory_gb"}:
        assert written[name] == expected[name], name


def test_the_runs_own_checkpoint_is_found(toy: Path, run: Path, baseline_run: Path) -> None:
    expected = json.loads(run.with_suffix(".json").read_text())["miou"]
    out = run.parents[3]
    assert evaluated(toy, ["--out", out])["miou"] == expected
    assert evaluated(toy, ["--checkpoint", run.parent])["miou"] == expected
    with pytest.raises(UserError, match=r"fold_1: no such checkpoint or folder"):
        evaluated(toy, ["--out", out, "--fold", "1"])
    with pytest.raises(UserError, match=r"holds no resnet50_5shot_\*\.pth"):
        evaluated(toy, ["--out", out, "--shot", "5"])
    flags = ["--out", baseline_run.parents[3], "--fold", "1", "--method", "baseline"]
    assert evaluated(toy, flags)["miou"] == json.loads(baseline_run.with_suffix(".json").read_text())["miou"]


def test_plain_weights_need_the_fold(toy: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = run.with_suffix(".pth")
    with pytest.raises(
        UserError, match=r"\.pth: does not say which fold of pascal to test; pass --fold, or --trained-on$"
    ):
        evaluated(toy, ["--checkpoint", plain])
    capsys.readouterr()
    result = evaluated(toy, ["--checkpoint", plain, "--fold", "0", "--refine"])
    assert result["miou"] == json.loads(run.with_suffix(".json").read_text())["miou"]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING: ")]
    assert len(warnings) == 1
    assert f"{plain} does not say which classes it was trained on" in warnings[0]


def test_plain_weights_whose_training_is_declared(
    toy: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fold follows, and the warning is the one that the checkpoint would cause, or none."""
    plain, flags = run.with_suffix(".pth"), ["--refine", "--trained-on", "0"]
    result = evaluated(toy, ["--checkpoint", plain, *flags, "--json", tmp_path / "r.json"])
    assert result["miou"] == json.loads(run.with_suffix(".json").read_text())["miou"]
    said = capsys.readouterr()
    assert "WARNING" not in said.err
    assert f"; weights {plain}, trained on pascal fold 0, as --trained-on says" in said.out
    trained_on = {"dataset": "pascal", "class_order": None, "fold": 0, "declared": True}
    assert json.loads((tmp_path / "r.json").read_text())["trained_on"] == trained_on
    evaluated(toy, ["--checkpoint", plain, *flags, "--fold", "1"])
    assert f"WARNING: {plain} was TRAINED on 5 of the 5 test classes: 6 " in capsys.readouterr().err
    with pytest.raises(
        UserError, match=r"says itself that it was trained on pascal fold 0 \(toy data\), 1-shot, refine"
    ):
        evaluated(toy, ["--checkpoint", run, "--trained-on", "0"])


def test_classes_that_were_trained_on_are_shouted_about(
    toy: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(toy, ["--checkpoint", run, "--fold", "1"])
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING: ")]
    names = open_fold("pascal", toy, 1).test.images.class_names
    listed = ", ".join(f"{cls} {names[cls]}" for cls in (6, 7, 8, 9, 10))
    assert warnings == [f"WARNING: {run} was TRAINED on 5 of the 5 test classes: {listed}"]


def test_flags_override_the_checkpoint(toy: Path, run: Path, tmp_path: Path) -> None:
    evaluated(toy, ["--checkpoint", run, "--no-refine", "--shot", "2", "--seed", "7", "--json", tmp_path / "r.json"])
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["refine"], result["shot"], result["fold"]) == (False, 2, 0)
    assert [seed["seed"] for seed in result["seeds"]] == [7, 8]
    assert result["miou"] != json.loads(run.with_suffix(".json").read_text())["miou"]


@pytest.mark.parametrize("method", ["ssp", "baseline"])
def test_engines_agree(toy: Path, run: Path, baseline_run: Path, method: str) -> None:
    path = run if method == "ssp" else baseline_run
    planned, plain = (
        evaluated(toy, ["--checkpoint", path, "--engine", engine, "--workers", workers])
        for engine, workers in (("planned", "0"), ("plain", "2"))
    )
    assert plain["trunk_passes"] == 8
    assert plain["images"] == planned["images"] <= planned["trunk_passes"] <= 8
    assert planned["miou"] == pytest.approx(plain["miou"], abs=PIXELS)


def test_the_baseline(toy: Path, baseline_run: Path) -> None:
    assert baseline_run.name.startswith("baseline_resnet50_1shot_")
    assert baseline_run.parent.name == "fold_1"
    weights = sorted(path.name for path in baseline_run.parent.glob("*_1shot_*"))
    assert weights == sorted(f"{baseline_run.stem}{suffix}" for suffix in (".pth", ".ckpt", ".json"))
    info = load_checkpoint(baseline_run).info
    assert (info["method"], info["refine"], info["fold"]) == ("baseline", False, 1)
    expected = json.loads(baseline_run.with_suffix(".json").read_text())
    assert (expected["method"], expected["refine"]) == ("baseline", False)
    assert evaluated(toy, ["--checkpoint", baseline_run])["miou"] == expected["miou"]


def test_a_run_can_be_had_again(toy: Path, run: Path, tmp_path: Path, quick: list[str]) -> None:
    """Whatever the number of workers."""
    again = train(toy, tmp_path, [*quick, "--refine", "--workers", "2"])
    assert again.name == run.name
    assert same(state(again), state(run))
    losses = [line["losses"] for line in read_history(run)]
    assert [line["losses"] for line in read_history(again)] == losses


def test_another_seed_is_another_run(toy: Path, run: Path, tmp_path: Path, quick: list[str]) -> None:
    other = train(toy, tmp_path, [*quick, "--refine", "--seed", "1"])
    assert not same(state(other), state(run))
    assert [seed["seed"] for seed in json.loads(other.with_suffix(".json").read_text())["seeds"]] == [1, 2]


def test_only_unfrozen_weights_are_trained(toy: Path, tmp_path: Path, quick: list[str]) -> None:
    slow, fast = (state(train(toy, tmp_path / lr, [*quick, "--lr", lr])) for lr in ("1e-9", "1e-1"))
    changed = {key for key, value in slow.items() if not torch.allclose(value, fast[key], rtol=1e-4, atol=1e-5)}
    assert changed == {key for key, value in slow.items() if key.startswith(("layer2.", "layer3.")) and value.ndim == 4}


def test_the_last_of_equally_good_weights_is_kept(
    toy: Path, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, seen, mious = evaluation.evaluate, [], iter([30.0, 40.0, 40.0, 20.0])

    def scripted(net: torch.nn.Module, *args: Any, **kwargs: Any) -> dict:
        """The evaluation as it is, but for the mIoU that the choice of weights goes by."""
        seen.append({key: value.clone() for key, value in net.state_dict().items()})
        result = evaluate(net, *args, **kwargs)
        return {**result, "miou": next(mious, result["miou"])}

    monkeypatch.setattr(evaluation, "evaluate", scripted)
    path = train(toy, tmp_path, [*quick, "--episode", "8", "--test-episodes", "1", "--seeds", "1"])
    assert len(seen) == 5  # after each of four snapshots, and at the end
    assert not same(seen[1], seen[2])
    assert path.stem == "resnet50_1shot_40.00"
    assert same(state(path), seen[2])
    assert same(seen[4], seen[2])
    assert sorted(each.suffix for each in path.parent.glob("*_1shot_*")) == [".ckpt", ".json", ".pth"]


def test_learning_rate_falls_after_each_third() -> None:
    rates = [Schedule(7, 7, 1, 1.0).learning_rate(iteration) for iteration in range(7)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01])
    assert Schedule(1, 1, 1, 0.5).learning_rate(0) == 0.5


def test_results_are_kept_and_not_computed_again(
    toy: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the weights, the data, the method's code or a flag that matters is another one."""
    weights = tmp_path / "weights.ckpt"
    weights.write_bytes(run.read_bytes())
    evaluations = []

    def counted(*args: Any, **kwargs: Any) -> dict:
        evaluations.append(1)
        return evaluate(*args, **kwargs)

    evaluate = evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", counted)
    flags = ["--checkpoint", weights, "--results", tmp_path / "results"]
    first = evaluated(toy, flags)
    (path,) = (tmp_path / "results").iterdir()
    assert path.name.startswith("pascal_fold_0_resnet50_1shot_refine_ssp_")
    assert json.loads(path.read_text())["trained_with"]["episode"] == 4
    capsys.readouterr()
    again = evaluated(toy, [*flags, "--workers", "1", "--cache-gb", "0.5"])
    assert len(evaluations) == 1
    assert again["miou"] == first["miou"]
    assert capsys.readouterr().out == f"finished before: {path}: mIoU {first['miou']:.4f}\n"
    for more in (["--seed", "1"], ["--no-refine"], ["--data-root", toy.parent]):
        evaluated(toy, [*flags, *more])
    save_weights(weights, {key: value + 1 for key, value in state(run).items()})
    evaluated(toy, [*flags, "--fold", "0", "--refine"])
    monkeypatch.setattr(testing, "method_digest", lambda: "of an edited model/matching.py")
    evaluated(toy, [*flags, "--fold", "0", "--refine"])
    assert len(evaluations) == len(list((tmp_path / "results").iterdir())) == 6


def test_a_kept_result_that_is_damaged_is_tested_again(toy: Path, run: Path, tmp_path: Path) -> None:
    flags = ["--checkpoint", run, "--results", tmp_path / "results"]
    first = evaluated(toy, flags)
    (path,) = (tmp_path / "results").iterdir()
    for damage in ("{", '{"data": null}'):
        path.write_text(damage)
        assert evaluated(toy, flags)["seeds"] == first["seeds"]
        assert json.loads(path.read_text())["miou"] == first["miou"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_test_as_it_ends_a_training(
    toy: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """One word, exit code 130, the process group left, the handlers of before in place."""
    left = []
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: os.kill(os.getpid(), number))
    monkeypatch.setattr("util.distributed.finish", lambda: left.append(1))
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        command(lambda: evaluated(toy, ["--checkpoint", run]))
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted"
    assert left == [1]
    assert signal.getsignal(number) == before
