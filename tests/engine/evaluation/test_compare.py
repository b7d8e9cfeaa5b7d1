"""Two results on the same episodes: differences worked by hand, and what an interval depends on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.evaluation.compare import compare_miou
from engine.evaluation.metric import metrics, sum_by_class


def counts(*hits_and_unions: tuple[int, int]) -> Tensor:
    """Pixel counts (E, 4) of so many hits in so large unions."""
    return torch.tensor([(hits, union - hits, 0, 7) for hits, union in hits_and_unions])


# Seed 0: class 1 on queries p and q, class 2 on q. Seed 1: class 1 on p alone.
CLASSES, QUERIES, SEEDS = [1, 1, 2, 1], ["p", "q", "q", "p"], [0, 0, 0, 1]
A = counts((10, 20), (0, 20), (5, 10), (10, 20))
B = counts((10, 20), (10, 20), (6, 10), (15, 20))


def test_a_difference_by_hand() -> None:
    """Seed 0: (10/40 + 5/10) / 2 = 37.5 and (20/40 + 6/10) / 2 = 55; seed 1: 50 and 75; so 43.75 and 65."""
    found = compare_miou(A, B, CLASSES, QUERIES, SEEDS)
    assert found.difference == pytest.approx(65 - 43.75)
    assert found.low < found.difference < found.high
    assert compare_miou(B, A, CLASSES, QUERIES, SEEDS).difference == pytest.approx(43.75 - 65)
    # Over classes 1, 2, 3: seed 0: (25 + 50) / 3 and (50 + 60) / 3; seed 1: 50 / 3 and 75 / 3.
    found = compare_miou(A, B, CLASSES, QUERIES, SEEDS, over_classes=[1, 2, 3])
    assert found.difference == pytest.approx((110 + 75 - 75 - 50) / 3 / 2)


def drawn(episodes: int = 400, queries: int = 60) -> tuple[Tensor, Tensor, list[int], list[str], list[int]]:
    """Random pairs: two classes a query, three seeds."""
    generator = torch.Generator().manual_seed(0)
    query, cls, seed = (torch.randint(high, (episodes,), generator=generator) for high in (queries, 2, 3))
    a, b = (torch.randint(1, 900, (episodes, 4), generator=generator) for _ in range(2))
    return a, b, (query % 3 + cls + 1).tolist(), [f"image {number}" for number in query], seed.sort()[0].tolist()


@pytest.mark.parametrize("over_classes", [None, [1, 2, 3, 4, 9]])
def test_the_difference_is_that_of_the_metric(over_classes: list[int] | None) -> None:
    a, b, classes, queries, seeds = drawn()

    def miou(each: Tensor) -> float:
        rows = [[(classes[i], each[i]) for i in range(len(seeds)) if seeds[i] == seed] for seed in range(3)]
        return sum(metrics(sum_by_class(of_seed), over_classes)["miou"] for of_seed in rows) / 3

    found = compare_miou(a, b, classes, queries, seeds, over_classes)
    assert found.difference == pytest.approx(miou(b) - miou(a), abs=1e-9)
    assert found == compare_miou(a, b, classes, queries, seeds, over_classes)


def test_equal_results_differ_by_nothing() -> None:
    a, _, classes, queries, seeds = drawn()
    assert compare_miou(a, a, classes, queries, seeds) == (0, 0, 0)


def test_one_query_tells_nothing_of_the_spread() -> None:
    found = compare_miou(A[:1], B[3:], [1], ["p"], [0])
    assert found == pytest.approx((25, -100, 100))
