"""The arithmetic of benchmarks.scale, on numbers that can be reckoned in the head."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale_model import (
    Costs,
    Link,
    Load,
    all_reduce,
    assumed_costs,
    evaluation,
    limit,
    loads,
    together,
    training_step,
)
from dataset.episodes import Episode

COSTS = Costs(decode=0.02, encode=0.01, match=0.001, sample=0.08, train=0.3)
LINK = Link(rate=1e9, delay=0.001)


def test_a_ring_carries_what_it_must() -> None:
    assert all_reduce(10**9, 1, LINK) == 0
    assert all_reduce(10**9, 2, LINK) == pytest.approx(1 + 0.001)
    assert all_reduce(10**9, 8, LINK) == pytest.approx(1.75 + 0.007)


def test_loaders_work_ahead() -> None:
    assert together(8, 3, workers=4) == 3
    assert together(8, 1, workers=4) == 2
    assert together(8, 3, workers=0) == 11


def test_loads_are_those_of_the_planned_evaluation() -> None:
    """Each image is in one process; what a process kept of its supports is not passed again."""
    names = [f"image{number}" for number in range(12)]
    episodes = [Episode(names[n], 1, (names[(5 * n + 1) % 12],)) for n in range(10)]
    (alone,) = loads(episodes, 1, kept=0)
    assert alone == Load(supports=10, queries=10, episodes=10)
    both = {e.query for e in episodes} & {e.supports[0] for e in episodes}
    assert loads(episodes, 1, kept=3) == [Load(10, 7, 10)]
    assert loads(episodes, 1, kept=99) == [Load(10, 10 - len(both), 10)]
    shared = loads(episodes, 4, kept=0)
    assert [sum(column) for column in zip(*shared, strict=True)] == [10, 10, 10]


def test_evaluation_waits_for_the_slowest_process_in_each_phase() -> None:
    found = [Load(supports=100, queries=50, episodes=400), Load(supports=50, queries=100, episodes=300)]
    parts = evaluation(found, COSTS, workers=4, prototypes=10**9, link=LINK)
    assert parts["all"] == pytest.approx(100 * 0.01 + 1.001 + (100 * 0.01 + 300 * 0.001))
    assert parts["loading"] == pytest.approx(150 * 0.02 / 4)
    slow = evaluation(found, COSTS, workers=1, prototypes=0, link=LINK._replace(delay=0))
    assert slow["all"] == pytest.approx(100 * 0.02 + 100 * 0.02)
    assert limit(slow) == "loading"


def test_gradients_are_added_up_under_the_backward_pass() -> None:
    small = 4 * 7 * LINK.delay
    hidden = training_step(1, 8, COSTS, workers=4, gradients=10**8, link=LINK)  # 0.182 s of 0.2 s
    assert hidden["all"] == pytest.approx(0.3 + small)
    shown = training_step(1, 8, COSTS, workers=4, gradients=2 * 10**8, link=LINK)  # 0.357 s
    assert shown["all"] == pytest.approx(0.3 + 0.357 - 0.2 + small)
    assert limit(shown) == "gradients added up"
    waited = training_step(1, 8, COSTS._replace(train=0.001), workers=4, gradients=10**6, link=LINK)
    assert waited["of that not hidden"] < waited["gradients added up"] == pytest.approx(0.00875 + small)
    assert limit(waited) == "gradients added up"
    alone = training_step(4, 1, COSTS, workers=0, gradients=10**8, link=LINK)
    assert alone["all"] == pytest.approx(4 * (0.08 + 0.3))


def test_an_assumed_device_loads_as_measured() -> None:
    device = assumed_costs(COSTS, 0.002, None, images=2, pixels=0.75)
    assert device == Costs(COSTS.decode, 0.002, pytest.approx(0.0002), COSTS.sample, pytest.approx(0.009))
    assert assumed_costs(COSTS, 0.002, 0.001, images=2, pixels=0.75).match == 0.001


@pytest.mark.slow
def test_the_check_runs_on_two_processes(toy: Path) -> None:
    """What the first measures alone waits for nobody."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    check = ["-m", "benchmarks.scale_check", "--data-root", str(toy), "--per-image", "1", "--crop-size", "65"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *check], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[0].startswith("2 processes; ms: decode ")
    number = r"reckoned (\d+\.\d\d) s, measured (\d+\.\d\d) s \([+-]\d+ %\)"
    for line, start in zip(lines[1:], ("evaluation of ", "training step, crop 65, batch 2: "), strict=True):
        assert line.startswith(start)
        assert all(float(seconds) > 0 for seconds in re.search(number, line).groups())
