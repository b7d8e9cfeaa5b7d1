"""What a training run is asked for: a field for each flag of main.py, and the smaller records that are made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.setting import Schedule, Setting
from engine.variation import parse_settings

if TYPE_CHECKING:
    import torch

LOGS = ("tensorboard", "wandb")  # packages that show a run as it grows; torchrun takes --log for a flag of its own


@dataclass(frozen=True)
class ComputeOptions:
    """What a run computes with; it changes results by rounding only."""

    device: torch.device
    workers: int = 0  # loader processes
    accumulate: int = 1  # parts that a batch is taken in
    amp: str | None = None  # None, "bf16" or "fp16"
    compiled: bool = False


@dataclass(frozen=True)
class TrainingOptions:
    """The flags of main.py; those of the setting are resolved. A run's files keep them under these names."""

    dataset: str
    data_root: str
    backbone: str
    method: str
    fold: int | None
    class_order: str | None
    splits: str | None
    shot: int
    refine: bool
    seed: int
    seeds: int
    engine: str
    cache_gb: float
    device: torch.device | None  # None: the default one
    workers: int
    pretrained: str | None
    frozen: bool | None
    out: str
    resume: bool
    batch_size: int
    accumulate: int
    lr: float
    crop_size: int
    episode: int
    snapshot: int
    test_episodes: int | None  # None: the protocol's
    amp: str | None
    compile: bool
    released_order: int | None
    log_to: str | None  # names in LOGS with spaces between
    set: str | None = None  # the settings that differ from the paper's, as Variation writes them
    tag: str | None = None

    @property
    def setting(self) -> Setting:
        return replace(Setting.of(vars(self)), variation=parse_settings((self.set or "").split()))

    @property
    def logs(self) -> tuple[str, ...]:
        return tuple((self.log_to or "").split())

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.episode, self.snapshot, self.batch_size, self.lr)

    @property
    def compute(self) -> ComputeOptions:
        return ComputeOptions(self.device, self.workers, self.accumulate, self.amp, self.compile)
