"""main.py and test.py from end to end on the toy datasets in COCO's and FSS-1000's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import main as training
import prepare
import test as testing
from dataset import Coco, ImageSet, open_fold
from dataset.prepare.toy import coco_class
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engine.evaluation import evaluate as evaluation
from engine.evaluation.protocol import load_episodes
from engine.evaluation.training_provenance import training_leakage
from engine.setting import Setting
from tests.files import OneLine

TOY_CLASSES = {coco_class(cls) for cls in range(1, 21)}  # that the toy dataset holds of COCO's 80


def train(root: Path, out: Path, *flags: str) -> Path:
    """The .ckpt of a run."""
    return training.main(["--data-root", str(root), "--out", str(out), *flags])


def evaluated(root: Path, *flags: object, episodes: int = 2, seeds: int = 2) -> dict:
    """test.py's result, on the episodes that the quick run is evaluated on if they are not said to be others."""
    common = ["--data-root", root, "--episodes", episodes, "--seeds", seeds, "--workers", 0, "--device", "cpu"]
    return testing.main([str(flag) for flag in (*common, *flags)])


def warned(capsys: pytest.CaptureFixture[str]) -> list[str]:
    prefix = "WARNING: "
    return [line.removeprefix(prefix) for line in capsys.readouterr().err.splitlines() if line.startswith(prefix)]


def novel(fold: int, order: str) -> list[int]:
    return [cls for cls in Coco.novel_classes(fold, order) if cls in TOY_CLASSES]


@pytest.fixture(scope="module")
def contiguous_run(toy_coco: Path, tmp_path_factory: pytest.TempPathFactory, quick: list[str]) -> Path:
    flags = ["--dataset", "coco", "--class-order", "contiguous", "--fold", "1", "--refine"]
    return train(toy_coco, tmp_path_factory.mktemp("contiguous"), *quick, *flags)


@pytest.fixture(scope="module")
def interleaved_run(toy_coco: Path, tmp_path_factory: pytest.TempPathFactory, quick: list[str]) -> Path:
    flags = ["--dataset", "coco", "--class-order", "interleaved", "--fold", "2"]
    return train(toy_coco, tmp_path_factory.mktemp("interleaved"), *quick, *flags)


@pytest.fixture(scope="module")
def fss_run(toy_fss: Path, tmp_path_factory: pytest.TempPathFactory, quick: list[str]) -> Path:
    return train(toy_fss, tmp_path_factory.mktemp("fss"), *quick, "--dataset", "fss")


# What a run writes


@pytest.mark.parametrize(
    ("name", "folder", "setting"),
    [
        ("contiguous_run", "models/coco/fold_1", ("coco", "contiguous", 1)),
        ("interleaved_run", "models/coco_interleaved/fold_2", ("coco", "interleaved", 2)),
        ("fss_run", "models/fss", ("fss", None, None)),
    ],
)
def test_a_run_knows_its_setting_and_its_classes(
    request: pytest.FixtureRequest,
    toy_coco: Path,
    toy_fss: Path,
    name: str,
    folder: str,
    setting: tuple[str, str | None, int | None],
) -> None:
    run: Path = request.getfixturevalue(name)
    assert run.parent.as_posix().endswith(folder)
    assert run.name.startswith("resnet50_1shot_")
    assert {path.suffix for path in run.parent.glob(f"{run.stem}*")} == {".pth", ".ckpt", ".json"}
    info, result = load_checkpoint(run).info, json.loads(run.with_suffix(".json").read_text())
    for known in (info, result):
        assert tuple(known[name] for name in ("dataset", "class_order", "fold")) == setting
    dataset, order, fold = setting
    splits = open_fold(dataset, toy_fss if dataset == "fss" else toy_coco, fold, order)
    assert (info["shot"], info["arguments"]["crop_size"]) == (1, 65)
    assert (info["base_classes"], info["novel_classes"]) == (splits.train.classes, splits.test.classes)
    if dataset == "coco":
        assert info["novel_classes"] == novel(fold, order)
        assert info["base_classes"] == sorted(TOY_CLASSES - set(info["novel_classes"]))
        assert info["selection_names"] == info["novel_names"]  # as in the release
    assert [info[f"{kind}_names"] for kind in ("base", "selection", "novel")] == [split.names() for split in splits]
    shown = {int(cls) for seed in result["seeds"] for cls in seed["class_iou"]} - {0}
    assert shown
    assert shown <= set(info["novel_classes"])


def test_the_best_fss_weights_are_not_chosen_on_the_test_classes(
    toy_fss: Path, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, seen = evaluation.evaluate, []

    def noted(net: torch.nn.Module, images: ImageSet, plans: dict, **kwargs: Any) -> dict:
        seen.append((images.name, {episode.cls for plan in plans.values() for episode in plan}))
        return evaluate(net, images, plans, **kwargs)

    monkeypatch.setattr(evaluation, "evaluate", noted)
    train(toy_fss, tmp_path, *quick, *"--dataset fss --episode 1 --snapshot 1 --batch-size 1 --seeds 1".split())
    assert [name for name, _ in seen] == ["fss val", "fss test"]
    assert seen[0][1] <= set(range(521, 526))
    assert seen[1][1] <= set(range(761, 766))


# What test.py makes of it


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("contiguous_run", None),
        ("interleaved_run", None),
        ("fss_run", None),
        ("interleaved_run", "--dataset coco --class-order interleaved --fold 2"),
        ("fss_run", "--dataset fss"),
    ],
)
def test_a_checkpoint_gives_its_result_again(
    request: pytest.FixtureRequest,
    toy_coco: Path,
    toy_fss: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    flags: str | None,
) -> None:
    """Dataset, order and fold are the checkpoint's own; without --checkpoint it is found by them."""
    run: Path = request.getfixturevalue(name)
    out = next(folder.parent for folder in run.parents if folder.name == "models")
    which = ["--checkpoint", run] if flags is None else ["--out", out, *flags.split()]
    capsys.readouterr()
    result = evaluated(toy_fss if name == "fss_run" else toy_coco, *which)
    expected = json.loads(run.with_suffix(".json").read_text())
    assert (result["miou"], result["fb_iou"]) == (expected["miou"], expected["fb_iou"])
    assert warned(capsys) == []


def test_saved_episodes_keep_the_class_order(
    toy_coco: Path, interleaved_run: Path, tmp_path: Path, one_line_error: OneLine
) -> None:
    saved = tmp_path / "episodes.json"
    first = evaluated(toy_coco, "--checkpoint", interleaved_run, "--save-episodes", saved)
    known = load_episodes(saved)
    assert (known.dataset, known.class_order, known.fold) == ("coco", "interleaved", 2)
    assert {episode.cls for plan in known.plans.values() for episode in plan} <= set(novel(2, "interleaved"))
    again = evaluated(toy_coco, "--checkpoint", interleaved_run, "--episodes-from", saved)
    assert again["miou"] == first["miou"]
    flags = ["--data-root", str(toy_coco), "--checkpoint", str(interleaved_run), "--episodes-from", str(saved)]
    line = one_line_error(testing.main, [*flags, "--class-order", "contiguous"])
    assert line == f"error: {saved}: its class-order is interleaved, not --class-order contiguous"


# Warnings of what may have been trained on


def names(root: Path, classes: list[int]) -> str:
    known = Coco(root).open_folders().class_names
    return ", ".join(f"{cls} {known[cls]}" for cls in classes)


@pytest.mark.parametrize(
    ("flags", "tested", "count"),
    [
        (("--class-order", "interleaved"), (1, "interleaved"), 4),
        (("--fold", 0), (0, "contiguous"), 5),
        (("--fold", 3, "--class-order", "interleaved"), (3, "interleaved"), 3),
    ],
)
def test_another_fold_or_order_is_shouted_about(
    toy_coco: Path,
    contiguous_run: Path,
    flags: tuple[object, ...],
    tested: tuple[int, str],
    count: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluated(toy_coco, "--checkpoint", contiguous_run, *flags, episodes=1, seeds=1)
    seen = [cls for cls in novel(*tested) if cls not in novel(1, "contiguous")]
    assert len(seen) == count
    expected = f"{contiguous_run} was TRAINED on {count} of the 5 test classes: {names(toy_coco, seen)}"
    assert warned(capsys) == [expected]


def test_plain_weights_may_be_of_the_other_order(
    toy_coco: Path, contiguous_run: Path, capsys: pytest.CaptureFixture[str], one_line_error: OneLine
) -> None:
    plain = contiguous_run.with_suffix(".pth")
    flags = ("--checkpoint", plain, "--dataset", "coco", "--fold", 1)
    line = one_line_error(testing.main, ["--data-root", str(toy_coco), *map(str, flags)])
    assert line == f"error: {NEEDS_ORDER}"
    for order, other in (("contiguous", "interleaved"), ("interleaved", "contiguous")):
        evaluated(toy_coco, *flags, "--class-order", order, episodes=1, seeds=1)
        seen = [cls for cls in novel(1, order) if cls not in Coco.novel_classes(1, other)]
        assert len(seen) == 4
        assert warned(capsys) == [
            f"{plain} does not say which classes it was trained on; make sure the test classes are not among them; "
            f"one trained on fold 1 in {other} order has SEEN 4 of them: {names(toy_coco, seen)}"
        ]


def test_fifteen_of_cocos_twenty_classes_would_have_been_seen(tmp_path: Path) -> None:
    """Of the real COCO; no network is needed."""
    path = tmp_path / "old.pth"
    setting = Setting("coco", "contiguous", 0)
    [line] = training_leakage(setting, Coco.novel_classes(0, "contiguous"), Coco.class_names, {}, path)
    assert "one trained on fold 0 in interleaved order has SEEN 15 of them: 2 bicycle, 3 car, 4 motorcycle, 6 " in line
    assert "person" not in line


def test_another_dataset_is_shouted_about(
    toy_coco: Path, toy_fss: Path, contiguous_run: Path, fss_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(toy_fss, "--checkpoint", contiguous_run, "--dataset", "fss", episodes=1, seeds=1)
    line = f"{contiguous_run} was trained on coco, whose classes may be among those of fss"
    assert warned(capsys) == [line]
    flags = ("--dataset", "coco", "--class-order", "contiguous", "--fold", 0)
    evaluated(toy_coco, "--checkpoint", fss_run, *flags, episodes=1, seeds=1)
    assert warned(capsys) == [f"{fss_run} was trained on fss, whose classes may be among those of coco"]


def test_fss_classes_are_compared_by_name(
    toy_fss: Path, fss_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other lists give other numbers to the same classes."""
    lists = {name: sorted((toy_fss / "splits" / f"{name}.txt").read_text().split()) for name in ("trn", "val", "test")}
    trained, chosen, new = lists["trn"][:2], lists["val"][:1], lists["test"]
    (tmp_path / "fss").mkdir()
    (tmp_path / "fss" / "test.txt").write_text("\n".join([*new, *chosen, *trained]))
    evaluated(toy_fss, "--checkpoint", fss_run, "--splits", tmp_path, episodes=1, seeds=1)
    number = {name: 761 + rank for rank, name in enumerate(sorted([*new, *chosen, *trained]))}
    seen = sorted(f"{number[name]} {name}" for name in trained)
    assert warned(capsys) == [
        f"{fss_run} was TRAINED on 2 of the 8 test classes: {', '.join(seen)}",
        f"{fss_run} was CHOSEN on 1 of the 8 test classes: {number[chosen[0]]} {chosen[0]}",
    ]


# HSNet's protocol on lists made from masks


@pytest.mark.usefixtures("small_squares")
@pytest.mark.parametrize(
    ("name", "file", "shown"),
    [
        ("interleaved_run", "coco/val/fold2.json", novel(2, "interleaved")),
        ("contiguous_run", "coco/val/fold1.json", novel(1, "interleaved")),  # whatever the checkpoint's order is
        ("fss_run", "fss/test.txt", [761]),  # the first ten episodes are of the first class
    ],
)
def test_hsnets_protocol_on_generated_lists(
    request: pytest.FixtureRequest,
    toy_coco: Path,
    toy_fss: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    file: str,
    shown: list[int],
) -> None:
    run: Path = request.getfixturevalue(name)
    dataset, root = ("fss", toy_fss) if name == "fss_run" else ("coco", toy_coco)
    flags = ["--dataset", dataset, "--data-root", str(root), "--out", str(tmp_path), "--workers", "0"]
    prepare.main(["splits", *flags])
    capsys.readouterr()
    hsnet = ("--checkpoint", run, "--protocol", "hsnet", "--splits", tmp_path)
    result = evaluated(root, *hsnet, "--json", tmp_path / "result.json", episodes=2)
    made, *others = warned(capsys)
    assert made == f"{tmp_path / file} was made from masks by prepare.py splits: its episodes are not HSNet's"
    seen = f"{run} was TRAINED on 4 of the 5 test classes: "
    assert [line[: len(seen)] for line in others] == [seen] * (name == "contiguous_run")
    assert sorted(result["seeds"][0]["class_iou"]) == [0, *shown]
    written = json.loads((tmp_path / "result.json").read_text())
    order = None if dataset == "fss" else "interleaved"
    assert (written["protocol"], written["class_order"], written["episodes"]) == ("hsnet", order, 2)


# Flags and data that do not fit


NEEDS_ORDER = "--dataset coco needs --class-order: contiguous (the paper's own) or interleaved (HSNet's)"


def test_an_old_checkpoint_without_a_class_order_needs_it(
    toy_coco: Path, contiguous_run: Path, tmp_path: Path, one_line_error: OneLine
) -> None:
    known = load_checkpoint(contiguous_run)
    info = {name: value for name, value in known.info.items() if name != "class_order"}
    save_checkpoint(tmp_path / "old.ckpt", Checkpoint(known.state_dict, info))
    argv = ["--data-root", str(toy_coco), "--checkpoint", str(tmp_path / "old.ckpt")]
    assert one_line_error(testing.main, argv).startswith("error: --dataset coco needs --class-order: contiguous")
    (tmp_path / "old.ckpt").unlink()  # 70 MB
