"""The small form of benchmarks.coverage: the interval covers, and would not if it took episodes for independent."""

from __future__ import annotations

from benchmarks.coverage import Kind, simulate

PAIRS = 200  # of which 95 % are 190, with a deviation of 3


def test_the_interval_covers_the_true_difference() -> None:
    covers, width = simulate(Kind(queries=60, classes=5), PAIRS)
    assert 0.91 <= covers <= 0.99
    covers_less, narrow = simulate(Kind(queries=60, classes=5), PAIRS // 2, independent=True)
    assert covers_less < 0.8
    assert narrow < width / 1.5
