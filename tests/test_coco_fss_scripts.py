"""main.py and test.py from end to end on the toy datasets in COCO's and FSS-1000's layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import main as training
import prepare
import test as testing
from dataset import ImageSet, coco, open_fold
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
    return [cls for cls in coco.novel_classes(fold, order) if cls in TOY_CLASSES]


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


@pytest.fixture(scope="module")
def coco_thrice(toy_coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every toy image under three names: enough images of each class for five supports."""
    root = tmp_path_factory.mktemp("thrice") / "COCO2014"
    shutil.copytree(toy_coco / "ImageSets", root / "ImageSets", ignore=shutil.ignore_patterns("train.txt", "val.txt"))
    for folder in ("train2014", "val2014", "annotations/train2014", "annotations/val2014"):
        (root / folder).mkdir(parents=True)
        for path in (toy_coco / folder).iterdir():
            for copy in ("", "_2", "_3"):
                (root / folder / f"{path.stem}{copy}{path.suffix}").symlink_to(path)
    return root


# What a run writes


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("contiguous_run", ("models", "coco", "fold_1")),
        ("interleaved_run", ("models", "coco_interleaved", "fold_2")),
        ("fss_run", ("models", "fss")),
    ],
)
def test_where_a_run_lies(request: pytest.FixtureRequest, name: str, parts: tuple[str, ...]) -> None:
    run: Path = request.getfixturevalue(name)
    assert run.parts[-1 - len(parts) : -1] == parts
    assert run.name.startswith("resnet50_1shot_")
    assert {path.suffix for path in run.parent.glob(f"{run.stem}*")} == {".pth", ".ckpt", ".json"}


@pytest.mark.parametrize(
    ("name", "fold", "order"), [("contiguous_run", 1, "contiguous"), ("interleaved_run", 2, "interleaved")]
)
def test_a_coco_checkpoint_knows_its_classes(
    request: pytest.FixtureRequest, toy_coco: Path, name: str, fold: int, order: str
) -> None:
    run: Path = request.getfixturevalue(name)
    info = load_checkpoint(run).info
    assert (info["dataset"], info["class_order"], info["fold"], info["shot"]) == ("coco", order, fold, 1)
    assert info["novel_classes"] == novel(fold, order)
    assert info["base_classes"] == sorted(TOY_CLASSES - set(info["novel_classes"]))
    assert (len(info["base_classes"]), len(info["novel_classes"])) == (15, 5)
    parts = open_fold("coco", toy_coco, fold, order)
    assert info["base_names"] == parts.train.names()
    assert info["selection_names"] == info["novel_names"] == parts.test.names()  # as in the release
    result = json.loads(run.with_suffix(".json").read_text())
    assert (result["dataset"], result["class_order"], result["fold"]) == ("coco", order, fold)
    shown = {int(cls) for seed in result["seeds"] for cls in seed["class_iou"]} - {0}
    assert shown
    assert shown <= set(info["novel_classes"])


def test_an_fss_checkpoint_knows_its_classes(toy_fss: Path, fss_run: Path) -> None:
    info = load_checkpoint(fss_run).info
    assert (info["dataset"], info["class_order"], info["fold"]) == ("fss", None, None)
    assert info["base_classes"] == list(range(1, 11))
    assert info["novel_classes"] == [761, 762, 763, 764, 765]
    lists = {name: sorted((toy_fss / "splits" / f"{name}.txt").read_text().split()) for name in ("trn", "val", "test")}
    assert [info[key] for key in ("base_names", "selection_names", "novel_names")] == list(lists.values())
    assert info["arguments"]["crop_size"] == 65
    result = json.loads(fss_run.with_suffix(".json").read_text())
    assert (result["dataset"], result["fold"], result["class_order"]) == ("fss", None, None)


def test_the_best_fss_weights_are_not_chosen_on_the_test_classes(
    toy_fss: Path, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, seen = evaluation.evaluate, []

    def noted(net: torch.nn.Module, images: ImageSet, plans: dict, **kwargs: Any) -> dict:
        seen.append((images.name, {episode.cls for plan in plans.values() for episode in plan}))
        return evaluate(net, images, plans, **kwargs)

    monkeypatch.setattr(evaluation, "evaluate", noted)
    train(toy_fss, tmp_path, *quick, *"--dataset fss --episode 1 --snapshot 1 --batch-size 1 --seeds 1".split())
    assert [name for name, _ in seen] == ["fss select", "fss test"]
    assert seen[0][1] <= set(range(521, 526))
    assert seen[1][1] <= set(range(761, 766))


# What test.py makes of it


@pytest.mark.parametrize("name", ["contiguous_run", "interleaved_run", "fss_run"])
def test_a_checkpoint_gives_its_result_again(
    request: pytest.FixtureRequest, toy_coco: Path, toy_fss: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dataset, order and fold are the checkpoint's own."""
    run: Path = request.getfixturevalue(name)
    result = evaluated(toy_fss if name == "fss_run" else toy_coco, "--checkpoint", run)
    expected = json.loads(run.with_suffix(".json").read_text())
    assert result["miou"] == expected["miou"]
    assert result["fb_iou"] == expected["fb_iou"]
    assert warned(capsys) == []


def test_the_runs_own_checkpoint_is_found(toy_coco: Path, toy_fss: Path, interleaved_run: Path, fss_run: Path) -> None:
    flags = ("--dataset", "coco", "--class-order", "interleaved", "--fold", 2)
    result = evaluated(toy_coco, "--out", interleaved_run.parents[3], *flags)
    assert result["miou"] == json.loads(interleaved_run.with_suffix(".json").read_text())["miou"]
    result = evaluated(toy_fss, "--out", fss_run.parents[2], "--dataset", "fss")
    assert result["miou"] == json.loads(fss_run.with_suffix(".json").read_text())["miou"]


@pytest.mark.parametrize("dataset", ["coco", "fss"])
def test_five_shots(
    toy_fss: Path, coco_thrice: Path, tmp_path: Path, quick: list[str], dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = {"coco": coco_thrice, "fss": toy_fss}[dataset]
    flags = ["--class-order", "contiguous"] if dataset == "coco" else []
    flags += "--shot 5 --episode 1 --snapshot 1 --batch-size 1 --test-episodes 1 --seeds 1".split()
    run = train(root, tmp_path, *quick, *flags, "--dataset", dataset)
    assert run.name.startswith("resnet50_5shot_")
    result = evaluated(root, "--checkpoint", run, episodes=1, seeds=1)
    assert result["miou"] == json.loads(run.with_suffix(".json").read_text())["miou"]
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
    known = coco.any_image(root).class_names
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
    expected = "--dataset coco needs --class-order: contiguous (the paper's own) or interleaved (HSNet's)"
    assert line == f"error: {expected}"
    for order, other in (("contiguous", "interleaved"), ("interleaved", "contiguous")):
        evaluated(toy_coco, *flags, "--class-order", order, episodes=1, seeds=1)
        seen = [cls for cls in novel(1, order) if cls not in coco.novel_classes(1, other)]
        assert len(seen) == 4
        assert warned(capsys) == [
            f"{plain} does not say which classes it was trained on; make sure the test classes are not among them; "
            f"one trained on fold 1 in {other} order has SEEN 4 of them: {names(toy_coco, seen)}"
        ]


def test_fifteen_of_cocos_twenty_classes_would_have_been_seen(tmp_path: Path) -> None:
    """Of the real COCO; no network is needed."""
    path = tmp_path / "old.pth"
    setting = Setting("coco", "contiguous", 0)
    [line] = training_leakage(setting, coco.novel_classes(0, "contiguous"), coco.CLASS_NAMES, {}, path)
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


def generated(dataset: str, root: Path, out: Path) -> Path:
    flags = ["--dataset", dataset, "--data-root", str(root), "--out", str(out), "--workers", "0"]
    prepare.main(["splits", *flags])
    return out


def test_hsnets_protocol_on_generated_lists_of_coco(
    toy_coco: Path, interleaved_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = generated("coco", toy_coco, tmp_path)
    capsys.readouterr()
    hsnet = ("--checkpoint", interleaved_run, "--protocol", "hsnet", "--splits", splits)
    result = evaluated(toy_coco, *hsnet, "--json", tmp_path / "result.json", episodes=2)
    made = f"{splits / 'coco' / 'val' / 'fold2.json'} was made from masks by prepare.py splits"
    assert warned(capsys) == [f"{made}: its episodes are not HSNet's"]
    assert sorted(result["seeds"][0]["class_iou"]) == [0, *novel(2, "interleaved")]
    written = json.loads((tmp_path / "result.json").read_text())
    assert (written["protocol"], written["class_order"], written["episodes"]) == ("hsnet", "interleaved", 2)


def test_hsnets_protocol_is_interleaved_whatever_the_checkpoint_is(
    toy_coco: Path, contiguous_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = generated("coco", toy_coco, tmp_path)
    capsys.readouterr()
    hsnet = ("--checkpoint", contiguous_run, "--protocol", "hsnet", "--splits", splits)
    evaluated(toy_coco, *hsnet, episodes=1)
    lines = warned(capsys)
    assert len(lines) == 2
    assert "fold1.json was made from masks" in lines[0]
    assert f"{contiguous_run} was TRAINED on 4 of the 5 test classes: " in lines[1]


def test_hsnets_protocol_on_generated_lists_of_fss(
    toy_fss: Path, fss_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = generated("fss", toy_fss, tmp_path)
    capsys.readouterr()
    hsnet = ("--checkpoint", fss_run, "--protocol", "hsnet", "--splits", splits)
    result = evaluated(toy_fss, *hsnet, episodes=2)
    assert [line.partition(" was ")[0] for line in warned(capsys)] == [str(splits / "fss" / "test.txt")]
    assert sorted(result["seeds"][0]["class_iou"]) == [0, 761]  # the first ten episodes are of the first class


# Flags and data that do not fit


def test_flags_of_training_that_do_not_fit(
    toy_coco: Path, toy_fss: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    def refused(root: Path, *flags: str) -> str:
        argv = ["--data-root", str(root), "--out", str(tmp_path / "out"), *quick, *flags]
        return one_line_error(training.main, argv).removeprefix("error: ")

    needed = "--dataset coco needs --class-order: contiguous (the paper's own) or interleaved (HSNet's)"
    assert refused(toy_coco, "--dataset", "coco") == needed
    line = refused(toy_fss, "--dataset", "fss", "--fold", "0")
    assert line == "--fold 0: fss has no folds, its test classes are a list; leave the flag out"
    line = refused(toy_fss, "--dataset", "fss", "--class-order", "interleaved")
    assert line == "--class-order interleaved belongs to --dataset coco, fss has but one order"
    line = refused(toy_coco, "--dataset", "coco", "--class-order", "sorted")
    assert line.startswith("argument --class-order: invalid choice: 'sorted'")
    line = refused(toy_coco, "--dataset", "fss")
    assert line.startswith(f"{toy_coco / 'splits' / 'trn.txt'}: no such list; ")
    assert not (tmp_path / "out").exists()


def test_too_few_images_for_the_shot(
    toy_coco: Path, toy_fss: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    argv = ["--out", str(tmp_path / "out"), *quick, "--shot", "10"]
    line = one_line_error(training.main, ["--data-root", str(toy_fss), "--dataset", "fss", *argv])
    assert (
        "fss select: class 521 (blue_checks) has 10 images with at least 1 pixels of it, 10-shot episodes need 11"
        in line
    )
    flags = ["--dataset", "coco", "--class-order", "interleaved", "--fold", "1"]
    line = one_line_error(training.main, ["--data-root", str(toy_coco), *flags, *argv])
    assert line.startswith("error: coco val: class 6 (yellow checks) has ")
    assert not (tmp_path / "out").exists()


def test_coco_before_its_masks_are_made(
    toy_coco_copy: Path, tmp_path: Path, quick: list[str], one_line_error: OneLine
) -> None:
    shutil.rmtree(toy_coco_copy / "annotations" / "val2014")
    flags = ["--dataset", "coco", "--class-order", "contiguous", *quick, "--out", str(tmp_path / "out")]
    line = one_line_error(training.main, ["--data-root", str(toy_coco_copy), *flags])
    assert line.endswith(f"make them: python prepare.py coco --data-root {toy_coco_copy}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no object", "fss test: no image holds 1 pixels of any of the classes [761, 762, 763, 764, 765]"),
        ("another size", ".png: mask of 129x129 pixels beside an image of 50x40, "),
        ("truncated", ".jpg: damaged or not an image, fetch it again"),
        ("missing", "blue_dots/1.jpg: no such image, but the list of fss test names it"),
    ],
)
def test_damaged_fss_images(toy_fss_copy: Path, fss_run: Path, one_line_error: OneLine, kind: str, says: str) -> None:
    for name in open_fold("fss", toy_fss_copy).test.names():
        for number in range(1, 11):
            image, mask = (toy_fss_copy / name / f"{number}.{suffix}" for suffix in ("jpg", "png"))
            if kind == "no object":
                Image.new("RGB", (129, 129)).save(mask)
            elif kind == "another size":
                Image.new("RGB", (50, 40)).save(image)
            elif kind == "truncated":
                image.write_bytes(image.read_bytes()[:1000])
            else:
                image.unlink()
    argv = ["--data-root", str(toy_fss_copy), "--checkpoint", str(fss_run), "--workers", "0", "--episodes", "1"]
    assert says in one_line_error(testing.main, argv)


def test_an_old_checkpoint_without_a_class_order_needs_it(
    toy_coco: Path, contiguous_run: Path, tmp_path: Path, one_line_error: OneLine
) -> None:
    known = load_checkpoint(contiguous_run)
    info = {name: value for name, value in known.info.items() if name != "class_order"}
    save_checkpoint(tmp_path / "old.ckpt", Checkpoint(known.state_dict, info))
    argv = ["--data-root", str(toy_coco), "--checkpoint", str(tmp_path / "old.ckpt")]
    assert one_line_error(testing.main, argv).startswith("error: --dataset coco needs --class-order: contiguous")
    (tmp_path / "old.ckpt").unlink()  # 70 MB
