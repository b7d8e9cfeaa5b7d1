"""The parts of several GPUs come back in the order of one process."""

from __future__ import annotations

import pytest
import torch

from engine.training.parallel import k_major, released_masks


@pytest.mark.parametrize(
    ("shot", "batches"), [(1, [2, 2]), (2, [2, 2]), (3, [3, 2]), (2, [2, 1, 1]), (5, [4]), (1, [1])]
)
def test_k_major_of_unequal_parts(shot: int, batches: list[int]) -> None:
    starts = [sum(batches[:replica]) for replica in range(len(batches))]
    # what each replica returns, k-major over its own images; values say shot and image
    gathered = torch.tensor(
        [
            [100 * k + start + image, -k]
            for start, batch in zip(starts, batches, strict=True)
            for k in range(shot)
            for image in range(batch)
        ]
    )
    expected = [[100 * k + image, -k] for k in range(shot) for image in range(sum(batches))]
    assert k_major(gathered, batches).tolist() == expected


def test_k_major_by_hand() -> None:
    # two images a, b on the first device, one image c on the second; shots 1 and 2
    order = ["a1", "b1", "a2", "b2", "c1", "c2"]
    moved = k_major(torch.arange(6), [2, 1]).tolist()
    assert [order[i] for i in moved] == ["a1", "b1", "c1", "a2", "b2", "c2"]


def test_released_masks_by_hand() -> None:
    """Two supports of images a, b, c, d on two devices: a, b on the first.

    Gathered scores: a1 b1 a2 b2 | c1 d1 c2 d2; the masks beside them: A1 B1 C1 D1 A2 B2 C2 D2.
    """
    masks = [torch.tensor([11, 12, 13, 14]), torch.tensor([21, 22, 23, 24])]  # A1 B1 C1 D1, A2 B2 C2 D2
    beside = {"a1": 11, "b1": 12, "a2": 13, "b2": 14, "c1": 21, "d1": 22, "c2": 23, "d2": 24}
    first, second = released_masks(masks, 2)
    assert first.tolist() == [beside[name] for name in ("a1", "b1", "c1", "d1")]
    assert second.tolist() == [beside[name] for name in ("a2", "b2", "c2", "d2")]
    assert [mask.tolist() for mask in released_masks(masks, 1)] == [mask.tolist() for mask in masks]
    assert released_masks(masks[:1], 4)[0].tolist() == masks[0].tolist()  # one support: nothing moves


@pytest.mark.parametrize(("batch", "replicas"), [(4, 2), (4, 4), (5, 2), (3, 2), (2, 8)])
def test_released_masks_are_what_gathered_scores_meet(batch: int, replicas: int) -> None:
    shot = 3
    scores = torch.arange(shot * batch).view(shot, batch)
    gathered = torch.cat([part.flatten() for part in scores.chunk(replicas, 1)])
    met = {int(score): mask for mask, score in enumerate(gathered)}  # masks in the order of k, then image
    found = torch.stack(released_masks(list(torch.arange(shot * batch).view(shot, batch)), replicas))
    assert found.flatten().tolist() == [met[int(score)] for score in scores.flatten()]
