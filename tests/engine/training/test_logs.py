"""What TensorBoard and Weights & Biases are given, and that training is the same with and without them."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import main as training
from engine.training import run_files
from engine.training.logs import picture_of, tensorboard_log
from engine.training.state import load_training
from tests.files import OneLine, write
from tests.tiny import TINY
from util.errors import UserError

FOLDER = "models/pascal/fold_0"


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = accumulate(folder)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def accumulate(folder: Path) -> Any:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder))
    events.Reload()
    return events


def line(losses: list[float], miou: float) -> dict:
    return {"losses": losses, "steps": len(losses), "loss": sum(losses) / len(losses), "lr": 0.5, "miou": miou,
            "fb_iou": 50.0}  # fmt: skip


@pytest.fixture
def flags(toy: Path, tmp_path: Path, quick: list[str]) -> list[str]:
    """A run of two snapshots of one step each, whose network does not matter."""
    return [*quick, "--backbone", TINY, "--data-root", str(toy), "--out", str(tmp_path / "out")]


def interrupt_first_snapshot(flags: list[str]) -> None:
    """Train until the first snapshot is logged."""
    finish = run_files.RunFiles.finish_snapshot

    def interrupt(*args: Any) -> None:
        finish(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_files.RunFiles, "finish_snapshot", interrupt)
        with pytest.raises(KeyboardInterrupt):
            training.main(flags)


# TensorBoard


@pytest.mark.parametrize("kind", ["its last snapshot was lost", "its folder vanished"])
def test_a_run_that_went_on_has_each_step_once(tmp_path: Path, kind: str) -> None:
    """A snapshot that was logged, but whose state was not saved, is trained again."""
    pytest.importorskip("tensorboard")
    folder, pictures, first = tmp_path / "events", tmp_path / "pictures", line([4.0, 2.0], 10.0)
    pictures.mkdir()
    Image.new("RGB", (5, 3), "red").save(picture_of(pictures, 2))  # that of the first snapshot is gone
    with tensorboard_log(folder, pictures) as log:
        log([first])
        if kind == "its last snapshot was lost":
            log([first, line([9.0, 9.0], 99.0)])
            with tensorboard_log(folder, pictures) as another:
                another([first, line([1.5, 0.5], 20.0)])
        else:
            shutil.rmtree(folder)
            log([first, line([1.5, 0.5], 20.0)])
    assert scalars(folder) == {
        "loss/step": [(0, 4.0), (1, 2.0), (2, 1.5), (3, 0.5)],
        "loss/snapshot": [(1, 3.0), (3, 1.0)],
        "lr": [(1, 0.5), (3, 0.5)],
        "miou": [(1, 10.0), (3, 20.0)],
        "fb_iou": [(1, 50.0), (3, 50.0)],
    }
    (picture,) = accumulate(folder).Images("episodes")
    assert (picture.step, picture.width, picture.height) == (3, 5, 3)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    write(tmp_path / "file")
    with (
        tensorboard_log(tmp_path / "file" / "events", tmp_path) as log,
        pytest.raises(UserError, match=r"cannot write .*file/events"),
    ):
        log([line([4.0], 10.0)])


@pytest.mark.parametrize(
    "asked", [["--tensorboard"], ["--log", "tensorboard", "--tensorboard"], ["--log-to", "tensorboard"]]
)
def test_main_writes_events_when_asked(flags: list[str], tmp_path: Path, asked: list[str]) -> None:
    pytest.importorskip("tensorboard")
    training.main([*flags, *asked])
    folder = tmp_path / "out" / FOLDER
    history = load_training(folder / "Tiny_1shot.last").history
    found = scalars(folder / "Tiny_1shot.tensorboard")
    assert [value for _, value in found["miou"]] == pytest.approx([entry["miou"] for entry in history])
    assert [value for _, value in found["loss/step"]] == pytest.approx([entry["loss"] for entry in history])
    assert [image.step for image in accumulate(folder / "Tiny_1shot.tensorboard").Images("episodes")] == [0, 1]


# Both


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
@pytest.mark.parametrize("spec", [None, ModuleSpec("a folder of that name", None)])
def test_its_absence_is_one_line(
    flags: list[str], tmp_path: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch, package: str, spec: Any
) -> None:
    monkeypatch.setattr("main.find_spec", lambda _: spec)
    message = one_line_error(training.main, [*flags, "--log", package])
    assert f"--log {package} needs the package {package} (pip install {package})" in message
    assert not any(tmp_path.iterdir())


def test_torchrun_leaves_the_flag_to_main() -> None:
    """It would take one that begins as a flag of its own does, such as --log, even after main.py."""
    parser = pytest.importorskip("torch.distributed.run").get_args_parser()
    asked = ["--log-to", "wandb", "--tensorboard"]
    assert parser.parse_args(["main.py", *asked]).training_script_args == asked


# Weights & Biases, a stand-in for it


class Server:
    """The module wandb as far as it is used, and what was logged with it."""

    def __init__(self, mode: str = "offline", step: int = 0) -> None:
        self.mode, self.step, self.runs = mode, step, []
        self.is_broken = False

    def setup(self, _: Any) -> SimpleNamespace:
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self, prompt: bool, verify: bool) -> bool:
        return prompt or verify

    def init(self, **given: Any) -> SimpleNamespace:
        given["dir"].joinpath("wandb", f"offline-run-{len(self.runs)}", "files").mkdir(parents=True)
        run = SimpleNamespace(
            id=given["id"], given=given, rows=[], step=self.step, offline=True, dir=str(given["dir"] / "run" / "files")
        )
        run.log = lambda values, step, commit: self._log(run, step, values) if commit else None
        run.finish = lambda exit_code: setattr(run, "exit_code", exit_code)
        self.runs.append(run)
        return run

    def _log(self, run: SimpleNamespace, step: int, values: dict) -> None:
        if self.is_broken:
            raise ConnectionResetError("Connection lost")
        run.rows.append((step, values))

    def module(self) -> ModuleType:
        wandb = ModuleType("wandb")
        wandb.__spec__ = ModuleSpec("wandb", None, origin="here")
        wandb.Settings, wandb.Image = SimpleNamespace, lambda path: ("image", Path(path).name)
        wandb.setup, wandb.login, wandb.init, wandb.teardown = self.setup, self.login, self.init, lambda exit_code: None
        return wandb


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setitem(sys.modules, "wandb", server.module())
    return server


def test_what_wandb_is_given(flags: list[str], tmp_path: Path, server: Server) -> None:
    training.main([*flags, "--log", "wandb", "--tag", "mine", "--set", "fg_threshold=0.6", "--refine"])
    (run,) = server.runs
    (last,) = (tmp_path / "out").rglob("*.last")
    state = load_training(last)
    assert run.rows == [
        (
            step,
            {"loss/step": entry["losses"][0], "loss/snapshot": entry["loss"], "lr": entry["lr"]}
            | {"miou": entry["miou"], "fb_iou": entry["fb_iou"], "episodes": ("image", f"snapshot_00{step + 1}.png")},
        )
        for step, entry in enumerate(state.history)
    ]
    assert run.exit_code == 0
    config = run.given["config"]
    assert config == state.arguments
    expected = {"dataset": "pascal", "fold": 0, "shot": 1, "backbone": TINY, "tag": "mine", "set": "fg_threshold=0.6"}
    assert config.items() >= expected.items()
    assert config["method_code"]
    assert config["code"]
    assert run.given["name"] == f"{state.name}, pascal fold 0"
    assert run.given["resume"] == "allow"


@pytest.mark.parametrize(("known", "steps"), [(0, [0, 1]), (1, [1])])
def test_a_run_that_goes_on_keeps_its_id_and_has_each_step_once(
    flags: list[str], tmp_path: Path, server: Server, known: int, steps: list[int]
) -> None:
    """The server knows a step, or the run is offline and what was logged before may be lost."""
    interrupt_first_snapshot([*flags, "--log", "wandb"])
    server.step = known
    training.main([*flags, "--log", "wandb", "--resume"])
    first, second = server.runs
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.id == second.id
    assert [step for step, _ in first.rows] == [0]
    assert [step for step, _ in second.rows] == steps
    kept = tmp_path / "out" / FOLDER / "Tiny_1shot.wandb" / "wandb"
    assert [path.name for path in kept.iterdir()] == ["offline-run-1"]


def test_a_training_outlives_wandb(flags: list[str], server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.is_broken = True
    assert training.main([*flags, "--log", "wandb"]).is_file()
    expected = "note: wandb has failed (Connection lost); the run goes on without it\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("login", "message"),
    [
        (lambda prompt, verify: False, "nobody is logged in; run wandb login, or set WANDB_MODE=offline"),
        (lambda verify: True, "needs wandb 0.31 or newer"),
    ],
)
def test_a_login_is_never_asked_for(
    flags: list[str], tmp_path: Path, server: Server, one_line_error: OneLine, login: Any, message: str
) -> None:
    server.mode = "online"
    sys.modules["wandb"].login = login
    assert message in one_line_error(training.main, [*flags, "--log", "wandb"])
    assert not any(tmp_path.iterdir())


def test_training_is_the_same_bit_for_bit(
    flags: list[str], tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither pictures nor logs change weights, losses, the network's mode, or what is drawn at random."""

    def state(net: torch.nn.Module) -> list[Any]:
        values = [value.numpy().tobytes() for value in net.state_dict().values()]
        return [net.training, [part.training for part in net.modules()], torch.get_rng_state().tolist(), values]

    draw, drawn = run_files.draw_snapshot, []

    def watched(net: torch.nn.Module, run: Any) -> Image.Image:
        torch.rand(3)
        before = state(net)
        drawn.append(draw(net, run))
        assert state(net) == before
        return drawn[-1]

    monkeypatch.setattr(run_files, "draw_snapshot", watched)
    kept = []
    for name, asked in (("without", []), ("with", ["--log", "wandb"])):
        out = str(tmp_path / name)
        training.main([*flags, "--out", out, *asked])
        last = load_training(Path(out, FOLDER, "Tiny_1shot.last"))
        kept.append((last.history, {key: value.tolist() for key, value in last.state_dict.items()}))
    assert kept[0] == kept[1]
    assert len(drawn) == 2
    assert np.ptp(np.asarray(drawn[0])) > 200


# Weights & Biases itself


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """wandb without a server, in a folder of its own."""
    wandb = pytest.importorskip("wandb")
    for name in ("exit", "excepthook"):  # which it replaces
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield wandb
    wandb.teardown()


def read_offline(path: Path) -> list[Any]:
    """The records of a run's file: a header of 7 bytes, then pieces, none across a border of 32 KB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the only piece, or the last
            records.append(Record.FromString(whole))
            whole = b""
    return records


def test_wandb_itself_offline(
    flags: list[str], tmp_path: Path, offline: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files lie in the run's folder alone; a run that went on has every step once, in one file."""
    interrupt_first_snapshot([*flags, "--log", "wandb"])
    capsys.readouterr()
    training.main([*flags, "--log", "wandb", "--resume"])
    assert os.listdir(tmp_path) == ["out"]
    folder = tmp_path / "out" / FOLDER
    (file,) = folder.glob("Tiny_1shot.wandb/wandb/offline-run-*/*.wandb")
    printed = capsys.readouterr()
    assert printed.err == ""
    assert [text for text in printed.out.splitlines() if text.startswith("wandb")] == [
        f"wandb: run {(folder / 'Tiny_1shot.wandb' / 'id').read_text()}, wandb sync {file.parent} uploads it"
    ]
    records = read_offline(file)
    rows = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    history = load_training(folder / "Tiny_1shot.last").history
    assert [row["_step"] for row in rows] == [0, 1]
    for tag, name in {"loss/step": "loss", "loss/snapshot": "loss", "miou": "miou", "lr": "lr"}.items():
        assert [row[tag] for row in rows] == [entry[name] for entry in history]
    pictures = [file.parent / "files" / row["episodes/path"] for row in rows]
    assert [path.read_bytes() for path in pictures] == [
        path.read_bytes() for path in sorted(folder.glob("Tiny_1shot.episodes/*.png"))
    ]
    (ended,) = (record.exit.exit_code for record in records if record.HasField("exit"))
    assert ended == 0
