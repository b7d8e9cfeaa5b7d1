"""Two machines: the numbers of one process; a network that is cut, or a machine that is lost, costs no finished work.

The machines are network namespaces of this one, which only root may make.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import main as training
import test as testing
from engine.training.state import load_training
from tests.cluster.hosts import Hosts, two_hosts
from tests.files import PIXELS
from tests.test_resume import RESNET, find_last, flags, losses_of, results, same

pytestmark = pytest.mark.slow

# twelve steps of four processes, with a network of the paper: a custom one has its gradients added otherwise
RUN = (*RESNET, "--batch-size", "4", "--episode", "48", "--snapshot", "8")
WITHIN = 60  # seconds in which the others end
Started = list[list[subprocess.Popen]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    try:
        with two_hosts() as hosts:
            yield hosts
    except FileNotFoundError:
        pytest.skip("needs the command ip (iproute2)")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"may not make network namespaces here: {error.stderr.strip()}")


def ends(started: Started, within: float) -> list[tuple[list[int], str]]:
    """The exit codes of each host's processes and all that they printed on stderr."""
    deadline = time.monotonic() + within
    printed = [[each.communicate(timeout=max(deadline - time.monotonic(), 0))[1] for each in host] for host in started]
    return [([each.returncode for each in host], "".join(texts)) for host, texts in zip(started, printed, strict=True)]


def completed(started: Started) -> None:
    for codes, printed in ends(started, within=300):
        assert set(codes) == {0}, printed


@pytest.fixture(scope="module")
def whole(hosts: Hosts, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on two hosts without interruption."""
    out = tmp_path_factory.mktemp("whole")
    completed(hosts.torchrun("main.py", *flags(toy, out, *RUN)))
    return out


def test_two_hosts_give_the_losses_of_one_process(whole: Path, toy: Path, tmp_path: Path) -> None:
    training.main(flags(toy, tmp_path, *RUN))
    losses = losses_of(whole)
    assert len(losses) == 12
    assert losses == pytest.approx(losses_of(tmp_path), rel=1e-4)


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
def test_two_hosts_count_the_pixels_of_one_process(
    launcher: str, hosts: Hosts, whole: Path, toy: Path, tmp_path: Path
) -> None:
    few = "--episodes 8 --seeds 2 --workers 0 --device cpu --json".split()
    argv = ["--data-root", str(toy), "--checkpoint", str(find_last(whole).parent), *few]
    alone = testing.main([*argv, str(tmp_path / "alone.json")])
    completed(getattr(hosts, launcher)("test.py", *argv, str(tmp_path / "shared.json")))
    shared = json.loads((tmp_path / "shared.json").read_text())
    assert shared["miou"] == pytest.approx(alone["miou"], abs=PIXELS)
    assert shared["trunk_passes"] == alone["trunk_passes"]


@pytest.mark.parametrize("launcher", ["torchrun", "srun"])
@pytest.mark.parametrize("lost", ["network", "first host", "second host"])
def test_what_is_lost_is_said_and_the_rest_is_kept(
    launcher: str, lost: str, hosts: Hosts, whole: Path, toy: Path, tmp_path: Path
) -> None:
    """In the middle of a training; --resume on both then gives the same, bit for bit."""
    start = getattr(hosts, launcher)
    run = start("main.py", *flags(toy, tmp_path, *RUN))
    while not list(tmp_path.rglob("*.last")):
        assert all(process.poll() is None for host in run for process in host)
        time.sleep(0.05)
    if lost == "network":
        hosts.cut(1)
    else:
        hosts.kill(0 if lost == "first host" else 1)
    ended = ends(run, WITHIN)
    hosts.mend(1)
    assert all(0 not in codes for codes, _ in ended)
    survivors = {"network": ended, "first host": ended[1:], "second host": ended[:1]}[lost]
    reason = "nothing was heard of " if lost == "network" else "another process of this run has ended"
    for _, printed in survivors:
        (line,) = (line for line in printed.splitlines() if line.startswith(("error", "interrupted")))
        assert line.startswith(f"error: {reason}")
        assert "a training goes on with --resume" in line
        assert launcher == "torchrun" or printed == f"{line}\n"  # torchrun reports besides

    state = load_training(find_last(tmp_path))
    assert not state.finished
    assert losses_of(whole)[: len(losses_of(tmp_path))] == losses_of(tmp_path)
    completed(start("main.py", *flags(toy, tmp_path, *RUN, "--resume")))
    assert same(results(tmp_path), results(whole))


def test_a_folder_of_each_host_is_not_one_for_both(hosts: Hosts, toy: Path, tmp_path: Path) -> None:
    """Where --out is not shared, only the first host finds a state to go on from."""
    more = ("--batch-size", "4", "--episode", "4", "--snapshot", "4")
    training.main(flags(toy, tmp_path / "0", *more))
    run = hosts.srun("main.py", *flags(toy, tmp_path / "{host}", *more, "--resume"))
    for codes, printed in ends(run, within=120):
        assert set(codes) == {2}, printed
        assert "not all machines see the same state there; --out must be one folder that all share" in printed
