"""A run that is killed, interrupted or out of disk goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch

import main as training
from engine.checkpoint import find_checkpoint, load_checkpoint
from engine.training import data, run_files, start
from engine.training.state import load_training
from engine.training.trainer import Trainer
from tests.files import CHECKOUT, OneLine
from tests.hostile.children import in_two_processes
from tests.tiny import TINY
from util.files import atomic_write

LAST = "models/pascal/fold_0/Tiny_1shot.last"
RESNET = ("--backbone", "resnet50", "--lr", "2e-5")  # small steps: at 1e-3 rounding grows into percents
SHORT = ("--episode", "2", "--snapshot", "2")


def flags(toy: Path, out: Path, *more: str) -> list[str]:
    settings = (
        "--pretrained none --crop-size 65 --episode 12 --snapshot 4 --batch-size 2 --test-episodes 2 --seeds 1 "
        "--workers 0 --device cpu --refine"
    )
    return ["--data-root", str(toy), "--out", str(out), "--backbone", TINY, *settings.split(), *more]


def find_last(out: Path) -> Path:
    """The state of the only run of a folder."""
    (last,) = out.rglob("*.last")
    return last


def losses_of(out: Path) -> list[float]:
    return [loss for line in load_training(find_last(out)).history for loss in line["losses"]]


def results(out: Path) -> tuple[list[dict[str, torch.Tensor]], str]:
    """The last weights of a run, the best ones in each of their files, and the history, every loss of it."""
    (history,) = out.rglob("*.jsonl")
    finished = load_training(find_last(out))
    assert finished.finished
    best = [load_checkpoint(path).state_dict for path in sorted(out.rglob("*.*")) if path.suffix in (".ckpt", ".pth")]
    return [finished.state_dict, *best], history.read_text()


def same(one: tuple, other: tuple) -> bool:
    weights = all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(one[0], other[0], strict=True)
    )
    return weights and one[1] == other[1]


@pytest.fixture(scope="module")
def finished(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without interruption; no test may change it."""
    out = tmp_path_factory.mktemp("finished")
    training.main(flags(toy, out))
    assert not list(out.rglob("*.previous"))
    return out


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def whole(finished: Path) -> tuple:
    """What a run without interruption ends with."""
    return results(finished)


def die_after(saves: int, toy: Path, out: Path) -> None:
    """Start a run that ends when it has saved its state so many times."""
    save, states = run_files.save_training, []

    def dying(path: Path, state: object) -> None:
        save(path, state)
        states.append(state)
        if len(states) == saves:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_files, "save_training", dying)
        with pytest.raises(KeyboardInterrupt):
            training.main(flags(toy, out))


@pytest.fixture(scope="module")
def interrupted_once(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interrupted")
    die_after(3, toy, out)
    return out


@pytest.fixture
def interrupted(interrupted_once: Path, tmp_path: Path) -> Path:
    """A run that ended after its second snapshot's training."""
    return Path(shutil.copytree(interrupted_once, tmp_path, dirs_exist_ok=True))


def before_step(number: int, act: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Do something before a step of training, counted from 1."""
    step, steps = Trainer.step, count(1)

    def acting(*arguments: object) -> float:
        if next(steps) == number:
            act()
        return step(*arguments)

    patch.setattr(Trainer, "step", acting)


@pytest.mark.parametrize("writes", [1, 2, 4])
def test_a_run_that_died_after_some_saves(toy: Path, tmp_path: Path, whole: tuple, writes: int) -> None:
    """Before and after the evaluation of a snapshot, the first and another."""
    die_after(writes, toy, tmp_path)
    training.main(flags(toy, tmp_path, "--resume"))
    assert same(results(tmp_path), whole)


def test_a_signal_in_the_middle_of_a_snapshot(
    toy: Path, tmp_path: Path, whole: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        before_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)  # the first of the second snapshot
        with pytest.raises(KeyboardInterrupt, match=f"saved {tmp_path / LAST}, go on with --resume"):
            training.main(flags(toy, tmp_path))
    assert "stopping after this step" in capsys.readouterr().err
    state = load_training(tmp_path / LAST)
    assert (state.snapshot, len(state.losses)) == (1, 1)
    training.main(flags(toy, tmp_path, "--resume"))
    assert same(results(tmp_path), whole)


def edit(**of: Callable[[dict], object]) -> Callable[[Path], None]:
    """Make a function that edits fields of the two states of a run."""

    def act(out: Path) -> None:
        for path in (out / LAST, out / f"{LAST}.previous"):
            state = torch.load(path, weights_only=True)
            torch.save({**state, **{name: change(state) for name, change in of.items()}}, path)

    return act


def with_nan(state: dict) -> dict:
    name, value = next(iter(state["state_dict"].items()))
    return {**state["state_dict"], name: torch.full_like(value, torch.nan)}


def momentum(state: dict) -> dict:
    """One of another shape would end the process in the first step."""
    return {**state["optimizer"], "state": {0: {"momentum_buffer": torch.zeros(1)}}}


def damage(out: Path) -> None:
    for path in (out / LAST, out / f"{LAST}.previous"):
        path.write_bytes(b"damaged")


OTHER = ("--lr", "0.5", "--seed", "3")
VICTIM = {"best_name": lambda _: "../../victim", "name": lambda _: "../../victim"}
REFUSED = {
    "no --resume": ((), edit(), "an unfinished run; go on with --resume"),
    "flags": (("--resume", *OTHER), edit(), "other flags: --lr 0.5 (was 0.001), --seed 3 (was 0)"),
    "momentum": (("--resume",), edit(optimizer=momentum), "no momentum of a parameter of "),
    "optimizer": (("--resume",), edit(optimizer=lambda _: {}), "its optimizer is not that of this network"),
    "weights": (("--resume",), edit(state_dict=with_nan), "holds nan or infinity"),
    "best weights": (("--resume",), edit(best_state=with_nan), "holds nan or infinity"),
    "another folder's file": (("--resume",), edit(**VICTIM), "names a file outside its folder"),
    "two damaged states": (("--resume",), damage, "remove it, and Tiny_1shot.last.previous, to start anew"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_on_is_one_line_and_changes_nothing(
    toy: Path, interrupted: Path, one_line_error: OneLine, case: str
) -> None:
    more, act, expected = REFUSED[case]
    act(interrupted)
    (interrupted / "models" / "victim.ckpt").write_text("precious")
    before = {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()}
    line = one_line_error(training.main, flags(toy, interrupted, *more))
    assert line.startswith(f"error: {interrupted / LAST}: ")
    assert expected in line
    assert {path: path.read_bytes() for path in interrupted.rglob("*") if path.is_file()} == before


def test_a_damaged_state_falls_back_to_the_previous(
    toy: Path, interrupted: Path, whole: tuple, capsys: pytest.CaptureFixture[str]
) -> None:
    last = interrupted / LAST
    last.write_bytes(last.read_bytes()[:1000])
    training.main(flags(toy, interrupted, "--resume"))
    assert "going on from Tiny_1shot.last.previous" in capsys.readouterr().err
    assert same(results(interrupted), whole)


def test_a_full_disk_keeps_the_state(
    toy: Path, interrupted: Path, whole: tuple, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (interrupted / LAST).read_bytes()

    def full(path: Path) -> object:
        if ".last" in str(path):
            path = Path("/dev/full/x")
        return atomic_write(path)

    with monkeypatch.context() as patch:
        patch.setattr("engine.checkpoint.atomic_write", full)
        assert "cannot write" in one_line_error(training.main, flags(toy, interrupted, "--resume"))
    assert (interrupted / LAST).read_bytes() == before
    training.main(flags(toy, interrupted, "--resume"))
    assert same(results(interrupted), whole)


def test_a_folder_that_vanishes_is_written_again(
    toy: Path, tmp_path: Path, whole: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the second snapshot is trained; the first one's weights stay the best and are written again."""
    keep = run_files.RunFiles.keep_best
    with monkeypatch.context() as patch:
        before_step(3, lambda: shutil.rmtree(tmp_path), patch)
        patch.setattr(run_files.RunFiles, "keep_best", lambda self, *x: self.state.best_name or keep(self, *x))
        training.main(flags(toy, tmp_path))
    assert "had vanished, it is written again" in capsys.readouterr().err
    (last, *_), history = results(tmp_path)
    assert same(([last], history), (whole[0][:1], whole[1]))
    best = load_checkpoint(find_checkpoint((tmp_path / LAST).parent))
    assert best.info["miou"] == load_training(tmp_path / LAST).history[0]["miou"]


def test_a_folder_that_cannot_be_made_again_is_one_line(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_line_error: OneLine
) -> None:
    def replace() -> None:
        shutil.rmtree(tmp_path)
        tmp_path.write_text("a file in its place")

    before_step(1, replace, monkeypatch)
    line = one_line_error(training.main, flags(toy, tmp_path, *SHORT))
    assert f"cannot write {tmp_path / LAST}" in line


def test_a_finished_run_without_its_weights(toy: Path, finished_copy: Path, one_line_error: OneLine) -> None:
    (best,) = finished_copy.rglob("*.ckpt")
    best.unlink()
    line = one_line_error(training.main, flags(toy, finished_copy, "--resume"))
    assert line.startswith(f"error: {best}: is gone, though its run is finished; remove ")


def test_a_finished_run_is_not_trained_again(
    toy: Path, finished_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is anything changed, but for what a kill at the very end has left."""
    before = sorted(finished_copy.rglob("*"))
    for name in ("Tiny_1shot.last.previous", ".Tiny_1shot.last.lock"):
        shutil.copy(finished_copy / LAST, (finished_copy / LAST).with_name(name))
    monkeypatch.setattr(start, "start_network", None)
    (best,) = finished_copy.rglob("*.ckpt")
    assert training.main(flags(toy, finished_copy, "--resume")) == best
    assert f"finished before: {best}" in capsys.readouterr().out
    assert sorted(finished_copy.rglob("*")) == before


SLOW = [pytest.param(more, marks=pytest.mark.slow) for more in ((), ("--test-episodes", "3"))]


@pytest.mark.parametrize("more", [("--lr", "0.01"), *SLOW])
def test_a_new_run_beside_a_finished_one_loses_nothing_of_it(
    toy: Path, tmp_path: Path, more: tuple[str, ...], one_line_error: OneLine
) -> None:
    """Nor of the one before; nor if it goes on from its own state."""
    kept, last = {}, tmp_path / LAST
    for number in (1, 2):
        training.main(flags(toy, tmp_path, *SHORT, *more * (number - 1)))
        kept |= {last.with_name(f"{last.name}.{number}"): last.read_bytes()}
        kept |= {path: path.read_bytes() for path in last.parent.iterdir() if path != last}
    if more:
        line = one_line_error(training.main, flags(toy, tmp_path, *SHORT, "--resume"))
        assert f"{last}: was started with other flags: {more[0]}" in line
    assert load_training(last).name == "Tiny_1shot_2"
    training.main(flags(toy, tmp_path, *SHORT))
    assert {path: path.read_bytes() for path in kept} == kept
    assert load_training(last).name == "Tiny_1shot_3"
    training.main(flags(toy, tmp_path, *SHORT, "--resume"))
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_run_whose_state_is_gone_starts_anew_and_says_so(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.main(flags(toy, tmp_path, "--resume", *SHORT))
    assert "resume" not in capsys.readouterr().out  # of a first run
    (tmp_path / LAST).unlink()
    training.main(flags(toy, tmp_path, "--resume", *SHORT))
    assert f"{tmp_path / LAST}: is gone, so there is no run to resume; starting one" in capsys.readouterr().out


def test_an_interrupted_start_says_whether_something_is_saved(
    toy: Path, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "open_pool", interrupt)
    for out, line in ((tmp_path, "nothing was saved yet"), (finished, "go on with --resume")):
        with pytest.raises(KeyboardInterrupt, match=f"^{line}$"):
            training.main(flags(toy, out))


def started(toy: Path, out: Path) -> subprocess.Popen:
    """A run of 100 snapshots, longer than ten times what it lives until it is killed."""
    more = ("--resume", "--workers", "1", "--episode", "400", *RESNET)
    return subprocess.Popen(
        [sys.executable, "main.py", *flags(toy, out, *more)],
        cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 10), (signal.SIGTERM, 3)])
def test_killed_at_random_moments(toy: Path, tmp_path: Path, number: int, times: int) -> None:
    assert started(toy, tmp_path / "whole").wait(600) == 0
    rng = random.Random(number)
    for _ in range(times):
        process = started(toy, tmp_path / "killed")
        time.sleep(rng.uniform(2, 8))
        assert process.poll() is None
        os.killpg(process.pid, number)
        assert process.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert started(toy, tmp_path / "killed").wait(600) == 0
    assert same(results(tmp_path / "killed"), results(tmp_path / "whole"))


def launch(toy: Path, out: Path, *more: str, script: str = "main.py") -> subprocess.Popen:
    """Two processes of a run."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, script, *flags(toy, out, *more)],
        cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip


FAILING = """
import main
from engine.training.trainer import Trainer
from util.distributed import rank
from util.errors import UserError
from util.launch import command

step, losses = Trainer.step, []

def failing(*arguments):
    if rank() == {rank} and len(losses) == 2:
        raise UserError("image.jpg: damaged")
    losses.append(step(*arguments))
    return losses[-1]

Trainer.step = failing
command(main.main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_what_ends_one_process_is_said_by_it(toy: Path, tmp_path: Path, rank: int) -> None:
    """The first process says besides that it has lost another one."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING.format(rank=rank))
    errors = launch(toy, tmp_path, script=str(script)).communicate(timeout=120)[1]
    messages = [line for line in errors.splitlines() if line.startswith(("error", "interrupted"))]
    assert [line for line in messages if line.startswith("error: image.jpg: damaged")] == messages[:1]
    assert len(messages) <= 1 + rank


def children(process: int) -> list[int]:
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_of_several_is_killed(toy: Path, tmp_path: Path, victim: int) -> None:
    """The first process, unless it is the victim, says more than the launcher does; --resume gives the rest."""
    more = ("--episode", "60", *RESNET)
    process = launch(toy, tmp_path, *more)
    while not list(tmp_path.rglob("*.last")):
        time.sleep(0.1)
    os.kill(children(process.pid)[victim], signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    messages = [line for line in errors.splitlines() if line.startswith(("error", "interrupted"))]
    assert "SIGKILL" in errors
    assert len(messages) == victim
    assert all("on with --resume" in message for message in messages)
    assert not load_training(find_last(tmp_path)).finished
    assert launch(toy, tmp_path, *more, "--resume").wait(300) == 0
    losses = losses_of(tmp_path)
    training.main(flags(toy, tmp_path / "one", *more))
    assert len(losses) == 30
    assert losses == pytest.approx(losses_of(tmp_path / "one"), rel=1e-4)


def test_two_processes_and_accumulation_give_the_losses_of_one(toy: Path, tmp_path: Path) -> None:
    more = ("--batch-size", "4", "--episode", "16", "--snapshot", "16", *RESNET)
    training.main(flags(toy, tmp_path / "one", *more))
    training.main(flags(toy, tmp_path / "parts", *more, "--accumulate", "2"))
    in_two_processes(lambda: training.main(flags(toy, tmp_path / "two", *more)))
    losses = {name: losses_of(tmp_path / name) for name in ("one", "parts", "two")}
    assert len(losses["one"]) == 4
    assert losses["parts"] == pytest.approx(losses["one"], rel=1e-4)
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)
    assert len(list((tmp_path / "two").rglob("*.pth"))) == 1


@pytest.mark.slow
def test_the_released_order_is_the_same_on_any_hardware(toy: Path, tmp_path: Path) -> None:
    more = ("--batch-size", "4", "--episode", "16", "--snapshot", "16", "--shot", "2", *RESNET)
    training.main(flags(toy, tmp_path / "right", *more))
    more = (*more, "--released-order", "2")
    training.main(flags(toy, tmp_path / "one", *more))
    assert launch(toy, tmp_path / "two", *more).wait(300) == 0
    right, one, two = (losses_of(tmp_path / name) for name in ("right", "one", "two"))
    assert two == pytest.approx(one, rel=1e-4)
    assert abs(right[0] / one[0] - 1) > 1e-3
    checkpoint = load_checkpoint(find_checkpoint(find_last(tmp_path / "one").parent))
    assert checkpoint.info["arguments"]["released_order"] == 2


def test_a_batch_that_cannot_be_divided(toy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    line = one_line_error(training.main, flags(toy, tmp_path, "--accumulate", "3"))
    assert "--batch-size 2 cannot be divided among 1 processes x --accumulate 3" in line


COMPILED = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")


@pytest.mark.parametrize(
    ("more", "rel"),
    [
        (["--amp"], 0.3),  # random weights magnify what bfloat16 rounds
        pytest.param(["--compile"], 1e-3, marks=[pytest.mark.slow, COMPILED]),
    ],
)
def test_amp_and_a_compiled_backbone_change_losses_by_rounding(
    toy: Path, tmp_path: Path, more: list[str], rel: float
) -> None:
    for name, flag in (("with", more), ("without", [])):
        training.main(flags(toy, tmp_path / name, *RESNET, *SHORT, *flag))
    one, other = (losses_of(tmp_path / name) for name in ("with", "without"))
    assert one == pytest.approx(other, rel=rel)
    assert one != other or "--compile" in more
