"""Every field of every file that is read, absent and of some wrong kinds: it is taken, or one line says why not."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import main as training
import prepare
import report
import test as testing
from dataset import Coco
from dataset.prepare.coco_masks import make_masks, read_instances
from dataset.provenance import EXPECTED
from engine.checkpoint import INFO_RULES, Checkpoint, load_checkpoint, save_checkpoint, write
from engine.evaluation.protocol import load_episodes
from engine.evaluation.result import finished_result
from engine.recorded import RECORD, RECORD_FORMAT, fingerprint, is_recorded
from model import build_model
from prediction.masks import read_support
from tables.authors import choose
from tests.files import write as write_file
from tests.tiny import TINY
from util.errors import UserError

WRONG: list[Any] = ["../x\nerror: b", 10**30, [None]]
WRONG_IN_TORCH = [*WRONG, float("nan"), {1: "a"}]


def broken(content: Any, wrong: list[Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Where it is wrong, and the content, for each field absent or wrong; of a list, its first entry.

    The flags of a training are compared with those given, one like the other: two stand for all.
    """
    keys = list(content) if isinstance(content, dict) else [0] if isinstance(content, list) and content else []
    for key in keys[:2] if at.endswith(".arguments") else keys:
        place = f"{at}.{key}"
        without = copy.copy(content)
        del without[key]
        yield f"{place} absent", without
        values = ((f"{place} = {value!r:.30}", value) for value in wrong)
        for where, value in (*values, *broken(content[key], wrong, place)):
            other = copy.copy(content)
            other[key] = value
            yield where, other


def fallen(
    content: Any,
    put: Callable[[Any], object],
    read: Callable[[], object],
    name: str,
    wrong: list[Any] = WRONG,
) -> list[str]:
    """The cases that end neither in success nor in a line that names the file."""
    found = []
    for where, other in broken(content, wrong):
        put(other)
        try:
            read()
        except UserError as error:
            if name not in str(error):
                found.append(f"{where} does not name the file: {error}")
        except Exception as error:
            found.append(f"{where}: {type(error).__name__}: {error}")
    return found


def fallen_json(path: Path, content: Any, read: Callable[[], object]) -> list[str]:
    """The cases of a JSON file that fell through."""
    return fallen(content, lambda x: path.write_text(json.dumps(x)), read, path.name)


@pytest.fixture(scope="module")
def tested(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a result, r.json, and its episodes, e.json."""
    out = tmp_path_factory.mktemp("tested")
    info = {"dataset": "pascal", "fold": 0, "shot": 1, "refine": True, "base_classes": list(range(6, 21))}
    save_checkpoint(out / "w.ckpt", Checkpoint(build_model("ssp").half().state_dict(), info))
    flags = "--episodes 2 --seeds 1 --workers 0 --device cpu".split()
    files = ["--json", str(out / "r.json"), "--save-episodes", str(out / "e.json")]
    testing.main(["--data-root", str(toy), "--checkpoint", str(out / "w.ckpt"), *flags, *files])
    return out


def test_results(tested: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"

    def read() -> None:
        finished_result(path)
        report.main([str(path), "--csv", str(tmp_path / "r.csv"), "--markdown", str(tmp_path / "r.md")])
        report.main([str(path), "--commands"])

    content = json.loads((tested / "r.json").read_text())
    assert fallen_json(path, content, read) == []


def test_episodes(tested: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    content = json.loads((tested / "e.json").read_text())
    assert fallen_json(path, content, lambda: load_episodes(path)) == []


@pytest.mark.parametrize(
    "field",
    [
        *({name: "other"} for name in ("format", "dataset", "fold", "data", "seeds")),
        *({"seeds": {"0": [["a", cls, ["b"]]]}} for cls in (0, 100_001, "3")),
        {"shot": 101},
        {"fold": 4},
        {"seeds": {"0": []}},
    ],
)
def test_episodes_of_other_kinds(tested: Path, field: dict[str, Any], tmp_path: Path) -> None:
    path = write_file(tmp_path / "e.json", json.dumps({**json.loads((tested / "e.json").read_text()), **field}))
    with pytest.raises(UserError, match=r"e\.json: not a list of episodes that --save-episodes wrote$"):
        load_episodes(path)


@pytest.mark.parametrize("field", INFO_RULES)
def test_checkpoints(field: str, tested: Path, tmp_path: Path) -> None:
    """What one need not say may be absent; a wrong value is named, in one line."""
    path, (state, known) = tmp_path / "w.ckpt", load_checkpoint(tested / "w.ckpt")
    state = dict.fromkeys(state, torch.zeros(1))
    save_checkpoint(path, Checkpoint(state, {name: value for name, value in known.items() if name != field}))
    assert field not in load_checkpoint(path).info
    for value in ([["a\nerror: b"]], {1: "a"}, torch.zeros(2)):
        save_checkpoint(path, Checkpoint(state, {**known, field: value}))
        with pytest.raises(UserError, match=rf"w\.ckpt: damaged: its {field} cannot be ") as raised:
            load_checkpoint(path)
        assert str(raised.value).isprintable()


def test_instances(toy_coco: Path, tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    content = json.loads((toy_coco / "annotations" / "instances_val2014.json").read_text())
    crowd = next(x for x in content["annotations"] if isinstance(x["segmentation"], dict))
    drawn = next(x for x in content["annotations"] if isinstance(x["segmentation"], list))

    def read() -> None:
        try:
            make_masks(read_instances(path), tmp_path / "masks", again=True, workers=0)
        except UserError as error:
            raise UserError(f"instances.json: {error}") from error

    for annotation in (crowd, drawn):
        image = next(x for x in content["images"] if x["id"] == annotation["image_id"])
        small = {"categories": content["categories"], "images": [image], "annotations": [annotation]}
        assert fallen_json(path, small, read) == []


def test_labelme(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    path = tmp_path / "a.json"
    shape = {"label": "x", "shape_type": "polygon", "points": [[1, 1], [7, 1], [7, 7]]}
    content = {"imageWidth": 9, "imageHeight": 9, "shapes": [shape]}
    for label in (None, "x"):
        assert fallen_json(path, content, partial(read_support, tmp_path / "a.png", path, label)) == []


def test_records_of_downloads(tmp_path: Path) -> None:
    (weights,) = choose((0,), dataset="pascal", method="ssp", shot=1, backbone="resnet50")
    path = write_file(tmp_path / weights.name, b"weights")
    content = {"format": RECORD_FORMAT, "files": {weights.name: {"drive": weights.drive, **fingerprint(path)}}}
    assert fallen_json(tmp_path / RECORD, content, lambda: is_recorded(tmp_path, weights.name)) == []


def test_lists_of_hsnet(toy_coco: Path, tmp_path: Path) -> None:
    prepare.main(["splits", "--dataset", "coco", "--data-root", str(toy_coco), "--out", str(tmp_path)])
    path = Coco.hsnet_list(tmp_path, 0)
    content = json.loads(path.read_text())
    cls = next(iter(content["classes"]))
    content["classes"] = {cls: content["classes"][cls]}
    assert fallen_json(path, content, lambda: Coco.plan_hsnet(tmp_path, 0, 1)) == []


def test_what_a_dataset_says_of_itself(toy_copy: Path) -> None:
    path = toy_copy / EXPECTED
    flags = ["--data-root", str(toy_copy), "--workers", "0", "--quick", "--shot", "1"]

    def read() -> None:
        with suppress(SystemExit):  # faults that were found
            prepare.main(["verify", *flags])

    content = json.loads(path.read_text())
    assert fallen_json(path, content, read) == []


@pytest.mark.slow
def test_states_of_trainings(toy: Path, tmp_path: Path) -> None:
    flags = (
        f"--data-root {toy} --backbone {TINY} --crop-size 65 --episode 8 --snapshot 4 --batch-size 2 "
        f"--test-episodes 2 --seeds 1 --workers 0 --device cpu --out {tmp_path}/out --resume"
    ).split()

    def stop(self: object, *_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.training.run_files.RunFiles.finish", stop)
        with pytest.raises(KeyboardInterrupt):
            training.main(flags)
    (last,) = (tmp_path / "out").rglob("*.last")
    content = torch.load(last, weights_only=True)
    whole = shutil.copytree(tmp_path / "out", tmp_path / "whole")
    folder = last.parent

    def put(x: dict[str, Any]) -> None:
        shutil.rmtree(tmp_path / "out")
        shutil.copytree(whole, tmp_path / "out")
        (folder / f"{last.name}.previous").unlink(missing_ok=True)
        write(last, x)

    assert fallen(content, put, lambda: training.main(flags), last.name, wrong=WRONG_IN_TORCH) == []
