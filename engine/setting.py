"""What a run is about: its setting, its schedule, and the one recipe of the paper's training values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dataset import DATASETS, Benchmark
from dataset.coco import INTERLEAVED
from engine.variation import PAPERS, Variation
from model import check_refine
from model.names import custom_class, in_file_names, is_papers

WEIGHTS_FROM = OWN, AUTHORS = ("own", "authors")  # who trained a network
SUFFIX = ".ckpt"  # our own files of weights; plain state dicts are .pth
ENGINES = ("planned", "plain")  # the ways to evaluate
CACHE_GB = 1.0  # holds the features of about 80 images of VOC's size
# Sides in pixels of a user's own images: the longer one at most (16,384 features, each of which is compared with each
# confident one; 0 would be the image's own size), the shorter one at least (4 x 4 features, about what the matching's
# fallback of 12 pixels needs).
MAX_SIDE, MIN_SIDE = 1024, 32


@dataclass(frozen=True)
class Setting:
    """A row and column of the paper's tables, and what differs from it. Raises ValueError if the baseline refines."""

    dataset: str = "pascal"
    class_order: str | None = None  # None: the dataset has only one
    fold: int | None = 0  # None: the dataset has none, or a row of all folds is meant
    shot: int = 1
    backbone: str | None = "resnet50"  # named as in model.names; None: the paper does not state it
    method: str = "ssp"  # named as in model.names
    refine: bool = False
    variation: Variation = PAPERS
    tag: str | None = None  # a name of the user's

    def __post_init__(self) -> None:
        check_refine(self.method, self.refine)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Setting:
        """The setting among other values, such as the fields of a result; files before settings and tags lack these."""
        variation = Variation.of(values.get("settings") or {})
        return cls(**{name: values[name] for name in ROW}, variation=variation, tag=values.get("tag"))

    def as_dict(self) -> dict[str, Any]:
        """The row and the column."""
        return {name: getattr(self, name) for name in ROW}

    def added(self) -> dict[str, Any]:
        """What is added to a row and column, as files have it."""
        return {"settings": self.variation.as_dict(), "tag": self.tag}

    def matches(self, **wanted: Any) -> bool:
        """Tell whether fields have the values that are wanted; None: any."""
        return all(value in (None, getattr(self, name)) for name, value in wanted.items())

    @property
    def benchmark(self) -> type[Benchmark]:
        return DATASETS[self.dataset]

    @property
    def is_papers(self) -> bool:
        """Tell whether the release has weights of the network too."""
        return is_papers(self.method, self.backbone)

    @property
    def is_custom(self) -> bool:
        """Tell whether the method or the backbone is custom code."""
        return bool(custom_class(self.method) or custom_class(self.backbone or ""))

    @property
    def name(self) -> str:
        """The start of a run's file names; for SSP it is the one that the authors' release gives.

        A tag or settings of a run's own come before a +, so that no pattern of the paper's names finds its files.
        """
        own = self.tag or self.variation.for_files
        method = "" if self.method == "ssp" else f"{in_file_names(self.method)}_"
        return f"{own and f'{own}+'}{method}{in_file_names(self.backbone or 'any')}_{self.shot}shot"

    def folder(self, out: str | Path) -> Path:
        """OUT/models/DATASET/fold_K, with DATASET coco_interleaved for that order, and no fold_K without folds."""
        order = f"_{INTERLEAVED}" if self.class_order == INTERLEAVED else ""
        folder = Path(out) / "models" / f"{self.dataset}{order}"
        return folder if self.fold is None else folder / f"fold_{self.fold}"

    def describe(self) -> str:
        """What is trained or tested on, for people: pascal fold 0; coco fold 2 (interleaved); fss."""
        fold = "" if self.fold is None else f" fold {self.fold}"
        return f"{self.dataset}{fold}{f' ({self.class_order})' if self.class_order else ''}"


ROW = tuple(field.name for field in fields(Setting) if field.name not in ("variation", "tag"))


@dataclass(frozen=True)
class Schedule:
    """How long a run trains, in episodes, and at which rate (docs/method.md, section 4)."""

    episodes: int  # in all
    snapshot: int  # episodes between two evaluations
    batch_size: int  # episodes of a step
    lr: float  # initial learning rate

    @property
    def snapshots(self) -> int:
        return self.episodes // self.snapshot

    @property
    def steps(self) -> int:
        """Steps of a snapshot; the last short batch is dropped."""
        return self.snapshot // self.batch_size

    @property
    def iterations(self) -> int:
        """The steps that the learning rate's thirds are counted in."""
        return self.episodes // self.batch_size

    @property
    def drops(self) -> list[int]:
        """The steps from which on the learning rate is a tenth of what it was."""
        return [step for step in (self.iterations // 3, self.iterations * 2 // 3) if step]

    def learning_rate(self, iteration: int) -> float:
        """The rate of a step, counted from 0: divided by ten after one third and after two thirds."""
        return self.lr * 0.1 ** sum(iteration >= step for step in self.drops)


RANDOM = "none"  # --pretrained none: random weights instead of a file of ImageNet weights
FROM_TIMM = "timm"  # --pretrained timm: timm's own weights of a network of timm
RELEASED_ORDER = 2  # the GPUs of the published trainings of several supports (docs/reproduce.md)
RECIPE = Schedule(episodes=24000, snapshot=1200, batch_size=4, lr=1e-3)  # the paper's; crop sizes are the datasets'


def spans(classes: Sequence[int]) -> str:
    """Sorted class numbers for people, three and more in a row as one span: classes 1-5, 7, 8."""
    runs: list[list[int]] = []
    for cls in classes:
        if runs and cls == runs[-1][-1] + 1:
            runs[-1].append(cls)
        else:
            runs.append([cls])
    shown = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"classes {', '.join(shown)}"
