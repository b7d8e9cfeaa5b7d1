"""The parts of several GPUs come back in the order of one process."""

from __future__ import annotations

import pytest
import torch

from engine.training.parallel import k_major


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
