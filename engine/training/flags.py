"""What a training run computes with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ComputeOptions:
    """What a run computes with; it changes results by rounding only."""

    device: torch.device
    workers: int = 0  # loader processes
    accumulate: int = 1  # parts that a batch is taken in
    amp: str | None = None  # None, "bf16" or "fp16"
    compiled: bool = False
