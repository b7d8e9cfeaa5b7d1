"""What a row of the tables is about: protocol, setting, whose weights, which data; and its names for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dataset.provenance import label_of
from engine.evaluation.protocol import Protocol
from engine.evaluation.result import EvaluationResult
from engine.setting import FROM_TIMM, OWN, RECIPE, Setting
from model.names import BACKBONES
from util.errors import one_line

FROZEN, UNTRAINED = "frozen", "untrained"  # weights of main.py --frozen, and of its --episode 0
UNKNOWN_DATA = "data not recorded"
METHOD_NAMES = {"baseline": "Baseline", "ssp": "SSP"}


class Experiment(NamedTuple):
    """One evaluation of a network on a fold, or as a row of a table (the setting's fold is None) on all folds."""

    protocol: Protocol
    setting: Setting
    weights: str = OWN  # who trained them: one of WEIGHTS_FROM; FROZEN or UNTRAINED if not all was trained
    data: str = ""  # other data than the benchmark's, in words
    trained: str = ""  # the settings of the training where it was tested with others, in words

    def on_fold(self, fold: int | None) -> Experiment:
        return self._replace(setting=replace(self.setting, fold=fold))

    @property
    def benchmark(self) -> tuple:
        """Dataset, protocol and order of classes, within which rows are compared."""
        return self.setting.dataset, self.protocol, self.setting.class_order

    @property
    def is_other(self) -> bool:
        """Whether the network is not the paper's: by its backbone or head, or as its backbone was not trained."""
        return not self.setting.is_papers or self.weights in (FROZEN, UNTRAINED)

    @property
    def changes(self) -> list[str]:
        """What its user has changed or called it, in words; none in the paper's rows."""
        tag = self.setting.tag
        return list(filter(None, (str(self.setting.variation), self.trained, f"tag {tag}" if tag else "")))

    @property
    def title(self) -> str:
        """The title of the table that it is in."""
        order = f", {self.setting.class_order} class order" if self.setting.class_order else ""
        data = f": {self.data}" if self.data else ""
        others = ": other networks" if self.is_other else ""
        return f"{self.setting.benchmark.title}, {self.protocol.title}{order}{data}{others}"

    @property
    def name(self) -> str:
        """Its table, row and fold: Pascal-5i, the paper's own protocol: SSP 1-shot ResNet-50 refine, fold 0."""
        fold = "" if self.setting.fold is None else f", fold {self.setting.fold}"
        return f"{self.title}: {row_name(self.setting)}{fold}"


def experiment_of(result: EvaluationResult) -> Experiment:
    """What a result was measured on."""
    return Experiment(result.protocol, result.setting, weights_of(result), data_of(result), trained_of(result))


def weights_of(result: EvaluationResult) -> str:
    """Who trained a result's weights, or FROZEN or UNTRAINED."""
    if result.weights == OWN and result.trained.get("episode") == 0:
        return UNTRAINED
    if result.weights == OWN and result.trained.get("frozen") is True:
        return FROZEN
    return result.weights


def trained_of(result: EvaluationResult) -> str:
    """The settings that a result's weights were trained with, in words, "" where it was tested with the same."""
    trained = one_line(result.trained.get("set") or "")
    if trained == str(result.setting.variation) or not result.trained or weights_of(result) == UNTRAINED:
        return ""
    return f"trained with {trained or 'the settings of the paper'}"


def data_of(result: EvaluationResult) -> str:
    """Which other data than the benchmark's a result is of, in words, "" for the benchmark's own."""
    if result.data is None:
        return UNKNOWN_DATA
    tested, trained = label_of(result.data), label_of(result.training_data)
    if trained in ("", tested):
        return tested
    return f"{tested}, trained on {trained}" if tested else f"trained on {trained}"


def training_flags(result: EvaluationResult) -> dict[str, str]:
    """The flags of a result's training that are not the usual ones, by name, each as it is typed."""
    usual = {
        "episode": RECIPE.episodes, "batch_size": RECIPE.batch_size, "lr": RECIPE.lr, "seed": 0,
        "crop_size": result.setting.benchmark.crop_size, "pretrained": FROM_TIMM,
    }  # fmt: skip
    given = {name: value for name, value in result.trained.items() if value not in (None, usual.get(name))}
    if Path(str(given.get("pretrained"))).stem == result.setting.backbone:
        del given["pretrained"]
    return {
        name: f"--{name.replace('_', '-')}{'' if value is True else f' {one_line(value)}'}"
        for name, value in given.items()
    }


def variation_of(result: EvaluationResult) -> tuple[str, ...]:
    """What tells results of one experiment apart: flags of training and test, and the method's code, in words."""
    seeds = "1 seed" if len(result.seeds) == 1 else f"{len(result.seeds)} seeds"
    words = [*training_flags(result).values(), f"{result.episodes} episodes", seeds]
    if result.amp:
        words.append("tested with --amp")
    if result.episodes_from:
        words.append(f"episodes of {result.episodes_from}")
    if result.code:
        words.append(f"code {result.code[:8]}")
    return tuple(words)


def labels(setting: Setting) -> tuple[str, str, str, str]:
    """A row's Method, Setting, Backbone and Refine."""
    backbone = setting.backbone or "not stated"
    if backbone in BACKBONES:
        backbone = f"ResNet-{backbone.removeprefix('resnet')}"
    method = METHOD_NAMES.get(setting.method, setting.method)
    return method, f"{setting.shot}-shot", backbone, "Yes" if setting.refine else "No"


def row_name(setting: Setting) -> str:
    """A row in words: SSP 1-shot ResNet-50 refine."""
    method, shot, backbone, _ = labels(setting)
    return " ".join([method, shot, *([backbone] if setting.backbone else []), *(["refine"] if setting.refine else [])])
