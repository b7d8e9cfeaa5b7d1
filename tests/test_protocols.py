"""test.py's protocols, saved episodes, processes and what a killed run leaves behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import test as testing
from dataset import Episode
from dataset.pascal import Pascal
from engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from engine.evaluation.protocol import PAPER, save_episodes
from engine.setting import Setting
from model import build_model
from tests.files import CHECKOUT, PIXELS, OneLine, write
from tests.model import recipe


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = build_model("ssp")
    recipe.fill(net, "resnet50")
    path = tmp_path_factory.mktemp("weights") / "w.ckpt"
    info = {"dataset": "pascal", "fold": 0, "shot": 1, "refine": True, "base_classes": list(range(6, 21))}
    save_checkpoint(path, Checkpoint(net.state_dict(), info))
    return path


@pytest.fixture(scope="module")
def splits(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An HSNet list of the toy images of classes 1 and 2, two each; classes 3 to 5 have none."""
    folder = tmp_path_factory.mktemp("splits")
    names = Pascal(toy).open_list("val").ids
    lines = [f"{names[number]}__{cls:02d}" for cls in (1, 2) for number in range(2 * cls, 2 * cls + 2)]
    write(folder / "pascal" / "val" / "fold0.txt", "\n".join(lines))
    return folder


def flags(root: Path, checkpoint: Path, *more: object) -> list[str]:
    return [str(flag) for flag in ("--data-root", root, "--checkpoint", checkpoint, "--workers", 0, *more)]


@pytest.mark.usefixtures("small_squares")
def test_hsnet_protocol_counts_every_class_of_the_fold(
    toy: Path, checkpoint: Path, splits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "result.json"
    hsnet = ("--protocol", "hsnet", "--splits", splits, "--episodes", 4)
    planned = testing.main(flags(toy, checkpoint, *hsnet, "--json", out))
    written = json.loads(out.read_text())
    assert (written["protocol"], written["refine"], written["episodes"]) == ("hsnet", False, 4)
    assert len(planned["seeds"]) == 1
    class_iou = planned["seeds"][0]["class_iou"]
    assert sorted(class_iou) == [0, 1, 2, 3, 4, 5]
    assert class_iou[3] == class_iou[4] == class_iou[5] == 0
    assert planned["miou"] == pytest.approx((class_iou[1] + class_iou[2]) / 5)
    plain = testing.main(flags(toy, checkpoint, *hsnet, "--engine", "plain"))
    assert planned["miou"] == pytest.approx(plain["miou"], abs=PIXELS)
    assert planned["fb_iou"] == pytest.approx(plain["fb_iou"], abs=PIXELS)
    assert planned["trunk_passes"] < plain["trunk_passes"]


@pytest.mark.usefixtures("small_squares")
@pytest.mark.parametrize("protocol", ["ssp", "hsnet"])
def test_saved_episodes_give_the_same_result(
    toy: Path, checkpoint: Path, splits: Path, tmp_path: Path, protocol: str
) -> None:
    saved = tmp_path / "episodes.json"
    drawn = flags(toy, checkpoint, "--protocol", protocol, "--episodes", 4, "--seeds", 2, "--save-episodes", saved)
    first = testing.main(drawn + (["--splits", str(splits)] if protocol == "hsnet" else []))
    again = testing.main(flags(toy, checkpoint, "--episodes-from", saved))
    if protocol == "hsnet":
        assert again["seeds"] == first["seeds"]
    else:
        assert [seed["seed"] for seed in again["seeds"]] == [0, 1]
        assert again["miou"] == first["miou"]


def test_saved_episodes_and_hsnets_protocol_say_whose_checkpoint_is_looked_for(
    tmp_path: Path, one_line_error: OneLine
) -> None:
    """Without --checkpoint: the run's own, of the fold of the file, or in HSNet's class order."""
    saved = tmp_path / "e.json"
    setting = Setting("coco", "contiguous", 2, 5)
    save_episodes(saved, setting, PAPER, {0: [Episode("a", 41, tuple("bcdef"))]})
    root = ["--data-root", str(tmp_path), "--out", str(tmp_path)]
    line = one_line_error(testing.main, [*root, "--episodes-from", str(saved)])
    assert line.startswith(f"error: {setting.folder(tmp_path)}: no such checkpoint or folder")
    line = one_line_error(testing.main, [*root, "--protocol", "hsnet", "--dataset", "coco", "--fold", "1"])
    assert line.startswith(f"error: {tmp_path / 'models' / 'coco_interleaved' / 'fold_1'}: no such checkpoint")


def test_episodes_from_another_file(toy: Path, checkpoint: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    path = write(tmp_path / "e.json", "[]")
    line = one_line_error(testing.main, flags(toy, checkpoint, "--episodes-from", path))
    assert line == f"error: {path}: not a list of episodes that --save-episodes wrote"


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (None, "fold0.txt: no such list; pass the data/splits"),
        ("toy_00060__01\nnobody__01", "JPEGImages/nobody.jpg: no such image"),
        ("toy_00060__01\ntoy_00061__01\ntoy_00062__", "is not IMAGE__CLASS"),
        ("toy_00060__01\ntoy_00061__02\ntoy_00062__02", "lists 1 images of class 1"),
    ],
)
def test_bad_hsnet_lists(
    toy: Path, checkpoint: Path, tmp_path: Path, one_line_error: OneLine, listed: str | None, message: str
) -> None:
    if listed is not None:
        write(tmp_path / "pascal" / "val" / "fold0.txt", listed)
    argv = flags(toy, checkpoint, "--protocol", "hsnet", "--splits", tmp_path, "--json", tmp_path / "out.json")
    assert message in one_line_error(testing.main, argv)
    assert not (tmp_path / "out.json").exists()


def test_flags_that_do_not_fit(toy: Path, checkpoint: Path, one_line_error: OneLine) -> None:
    for more, message in (
        (["--protocol", "hsnet"], "--protocol hsnet needs --splits"),
        (["--dataset", "coco", "--fold", "0"], "--dataset coco needs --class-order: contiguous"),
        (["--class-order", "interleaved"], "--class-order interleaved belongs to --dataset coco"),
        (["--dataset", "fss", "--fold", "0"], "--fold 0: fss has no folds"),
        (
            ["--dataset", "coco", "--fold", "0", "--class-order", "contiguous", "--protocol", "hsnet", "--splits", toy],
            "HSNet's protocol tests interleaved folds",
        ),
        (["--amp", "--engine", "plain"], "--amp belongs to --engine planned"),
        (["--cache-gb", "0"], "argument --cache-gb: '0' is not a positive number"),
    ):
        assert message in one_line_error(testing.main, flags(toy, checkpoint, *more))


def test_outputs_over_inputs(toy: Path, checkpoint: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    saved = tmp_path / "e.json"
    testing.main(flags(toy, checkpoint, "--episodes", 1, "--seeds", 1, "--save-episodes", saved))
    before = checkpoint.read_bytes(), saved.read_bytes()
    for more in (
        ["--json", checkpoint], ["--save-episodes", checkpoint], ["--json", checkpoint.with_suffix(".pth")],
        ["--episodes-from", saved, "--json", saved], ["--json", tmp_path / "x", "--save-episodes", tmp_path / "x"],
    ):  # fmt: skip
        line = one_line_error(testing.main, flags(toy, checkpoint, *more))
        assert line.endswith(": is read, or written by another flag; name another file")
    assert (checkpoint.read_bytes(), saved.read_bytes()) == before
    assert not (tmp_path / "x").exists()


def paint(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.mark.usefixtures("small_squares")
def test_fss_in_the_hsnet_protocol(checkpoint: Path, tmp_path: Path) -> None:
    """RGB object masks; two classes of ten images, every image a query once."""
    rng = np.random.RandomState(0)
    for name in ("zebra", "apple"):
        for number in range(1, 11):
            mask = np.zeros((70, 80, 3), np.uint8)
            mask[10 + number : 50, 20:60] = 255
            paint(tmp_path / "FSS-1000" / name / f"{number}.png", mask)
            paint(tmp_path / "FSS-1000" / name / f"{number}.jpg", rng.randint(0, 255, (70, 80, 3), dtype=np.uint8))
    write(tmp_path / "fss" / "test.txt", "zebra\napple\n")
    argv = flags(tmp_path, checkpoint, "--dataset", "fss", "--protocol", "hsnet", "--splits", tmp_path)
    result = testing.main(argv)
    assert sorted(result["seeds"][0]["class_iou"]) == [0, 761, 762]
    assert result["images"] == 20


def test_coco_in_the_hsnet_protocol(checkpoint: Path, tmp_path: Path) -> None:
    root, images = tmp_path / "COCO2014", []
    for number in range(4):
        labels = np.zeros((64, 72), np.uint8)
        labels[8:40, 10:50] = 5
        images.append(f"val2014/COCO_val2014_{number:012d}.jpg")
        paint(root / images[-1], np.full((64, 72, 3), 60 * number, np.uint8))
        paint(root / "annotations" / images[-1].replace(".jpg", ".png"), labels)
    lists = {cls: images if cls % 4 == 0 else [] for cls in range(80)}
    write(tmp_path / "coco" / "val" / "fold0.pkl", pickle.dumps(lists, protocol=2))
    more = ("--dataset", "coco", "--fold", 0, "--protocol", "hsnet", "--splits", tmp_path, "--episodes", 5)
    result = testing.main(flags(root, checkpoint, *more))
    assert len(result["seeds"][0]["class_iou"]) == 1 + 20


def test_torchrun_gives_the_same_result(toy: Path, checkpoint: Path, tmp_path: Path) -> None:
    argv = flags(toy, checkpoint, "--episodes", 4, "--seeds", 2)
    alone = testing.main(argv)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = tmp_path / "result.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    script = [str(CHECKOUT / "test.py"), *argv, "--json", str(out)]
    done = subprocess.run([*launch, *script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nmIoU ") == 2  # the table's row and the last line, from one process
    assert done.stdout.count("ssp resnet50, refine on pascal fold 0, 1-shot") == 1
    shared = json.loads(out.read_text())
    assert shared["miou"] == pytest.approx(alone["miou"], abs=PIXELS)
    assert shared["trunk_passes"] == alone["trunk_passes"]


def test_a_killed_run_leaves_no_result(toy: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    argv = flags(
        toy, checkpoint, "--episodes", 200, "--engine", "plain", "--json", out, "--save-episodes", tmp_path / "e"
    )
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "test.py"), *argv], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "e").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # now in the middle of the episodes
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e"]
    assert len(json.loads((tmp_path / "e").read_text())["seeds"]) == 5


def test_bfloat16_backbone_is_close(toy: Path, checkpoint: Path) -> None:
    argv = flags(toy, checkpoint, "--episodes", 6, "--seeds", 1)
    assert testing.main([*argv, "--amp"])["miou"] == pytest.approx(testing.main(argv)["miou"], abs=3)
    assert torch.is_autocast_enabled() is False


def test_flags_that_contradict_saved_episodes(
    toy: Path, checkpoint: Path, tmp_path: Path, one_line_error: OneLine
) -> None:
    saved = tmp_path / "e.json"
    testing.main(flags(toy, checkpoint, "--episodes", 1, "--seeds", 1, "--save-episodes", saved))
    contradictions = (
        (["--shot", "5"], "shot is 1"), (["--fold", "2"], "fold is 0"), (["--protocol", "hsnet"], "ssp"),
        (["--seeds", "2"], "seeds are 0; leave --seed and --seeds out"),
        (["--seed", "1", "--seeds", "1"], "seeds are 0"),
    )  # fmt: skip
    for more, its in contradictions:
        line = one_line_error(testing.main, flags(toy, checkpoint, "--episodes-from", saved, *more))
        assert line.startswith(f"error: {saved}: its ")
        assert its in line


def test_a_checkpoint_of_another_dataset(
    toy: Path, checkpoint: Path, tmp_path: Path, one_line_error: OneLine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its fold is not this dataset's, nor are its class numbers."""
    argv = flags(tmp_path, checkpoint, "--dataset", "coco", "--protocol", "hsnet", "--splits", tmp_path)
    assert "does not say which fold of coco to test; pass --fold" in one_line_error(testing.main, argv)
    info = {"dataset": "coco", "base_classes": [1, 2]}
    path = tmp_path / "other.ckpt"
    save_checkpoint(path, Checkpoint(load_checkpoint(checkpoint).state_dict, info))
    testing.main(flags(toy, path, "--dataset", "pascal", "--fold", 0, "--episodes", 1, "--seeds", 1))
    said = capsys.readouterr()
    assert said.err == f"WARNING: {path} was trained on coco, whose classes may be among those of pascal\n"
    assert sum(line.startswith("note: without --refine; ") for line in said.out.splitlines()) == 1
