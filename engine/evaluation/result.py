"""The results of main.py and test.py as JSON files: written, named, read back and checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset import DATASETS, Provenance
from dataset.provenance import PROVENANCE_RULES, from_dict
from engine.custom import method_digest
from engine.evaluation.protocol import MOST_CLASSES, PROTOCOLS, Protocol
from engine.made_by import describe_run
from engine.setting import ENGINES, OWN, WEIGHTS_FROM, Setting
from engine.variation import is_settings, is_tag
from model.names import is_backbone, is_method
from util.distributed import say
from util.errors import UserError, one_line, refusal
from util.fields import Rule, check_fields, dict_of, list_of, number, one_of, optional, scalar, text, whole, with_fields
from util.files import TooLarge, atomic_write, blocks, read_json

RESULT_BYTES = 2**28  # results hold the IoU of each episode
RESULT_MARK = '"refine": '  # in the first lines of a result
# Flags of main.py that a result keeps.
TRAINED_WITH = tuple("episode batch_size lr crop_size pretrained frozen seed amp released_order set".split())
# A JSON with all of these is a result; older ones lack others.
NEEDED = "dataset fold shot backbone method refine protocol episodes seeds miou miou_std fb_iou".split()
# What evaluate returns.
MEASURED = ("seeds", "miou", "miou_std", "fb_iou", "seconds", "images", "trunk_passes", "peak_memory_gb", "queries")
PERCENT = number(0, 100)
MOST_PIXELS = 2**40  # of an image, so that those of all episodes can be added up
SEED = with_fields(
    {
        "seed": whole(0),
        "miou": PERCENT,
        "episode_counts": optional(list_of(whole(0, MOST_PIXELS))),
        "episode_class": optional(list_of(whole(1, MOST_CLASSES))),
        "episode_query": optional(list_of(whole(0))),
        "episode_digest": optional(text),
    }
)
# Spread over lines by indented JSON: numbers, or single words; no text holds a bare line break.
SHORT_LISTS = re.compile(r'\[\n(?:[-\d.,\s]+|(?: *"[^"\\\s]+",?\n)+ *)\]')


def is_name_of(is_known: Callable[[str], bool]) -> Rule:
    """A method or backbone that is known and can be printed."""
    return lambda value: text(value) and is_known(value)


RESULT_RULES: dict[str, Rule] = {
    "shot": whole(1, 100),
    "engine": one_of(None, *ENGINES),
    "backbone": is_name_of(is_backbone),
    "protocol": one_of(*PROTOCOLS),
    "seeds": lambda value: list_of(SEED)(value) and 0 < len(value) == len({seed["seed"] for seed in value}),
    "miou": PERCENT,
    "miou_std": PERCENT,
    "fb_iou": PERCENT,
    "episodes": whole(1),
    "warnings": optional(list_of(lambda line: type(line) is str)),
    "trained_with": optional(dict_of(scalar)),
    "trained_on": optional(dict_of(scalar)),
    "weights": one_of(None, *WEIGHTS_FROM),
    "missing_classes": optional(dict_of(scalar)),
    "settings": optional(is_settings),
    "tag": optional(is_tag),
    "queries": optional(list_of(lambda name: type(name) is str)),
    **dict.fromkeys(("data", "training_data"), optional(with_fields(PROVENANCE_RULES))),
}


@dataclass(frozen=True)
class EvaluationResult:
    """One evaluation, as its JSON holds it (docs/results-format.md); IoUs in percent."""

    setting: Setting  # what was evaluated
    protocol: Protocol
    measured: Mapping[str, Any]  # what evaluate returned
    checkpoint: str  # the file of the weights
    episodes: int  # how many a seed has
    training: Mapping[str, Any] = field(default_factory=dict)  # what is known of it, as a checkpoint's info
    engine: str = "planned"
    amp: bool = False
    warnings: Sequence[str] = ()  # why the numbers may mean nothing
    data: Provenance | None = None  # what it was evaluated on; None: unknown
    missing_classes: Mapping[Any, str] = field(default_factory=dict)  # those without an episode, with their names
    episodes_from: str | None = None  # the file of the episodes, if they were saved
    code: str = ""  # the digest of the method's code; "": not recorded
    file: Path = Path()  # the one it was read from
    written: float = 0.0  # when that was written, in seconds since the epoch

    @property
    def miou(self) -> float:
        return float(self.measured["miou"])

    @property
    def std(self) -> float:
        """The standard deviation of the mIoU over the seeds."""
        return float(self.measured["miou_std"])

    @property
    def fb_iou(self) -> float:
        return float(self.measured["fb_iou"])

    @property
    def seeds(self) -> dict[int, float]:
        """The mIoU of each seed."""
        return {seed["seed"]: float(seed["miou"]) for seed in self.measured["seeds"]}

    @property
    def trained(self) -> dict[str, Any]:
        """The flags of the training, as far as they are known."""
        flags = self.training.get("arguments", {})
        return {name: flags[name] for name in TRAINED_WITH if name in flags}

    @property
    def weights(self) -> str:
        """Who trained the weights: one of WEIGHTS_FROM."""
        return self.training.get("weights", OWN)

    @property
    def training_data(self) -> Provenance | None:
        """What the weights were trained on; None: nobody knows."""
        return from_dict(self.training.get("data"))

    @property
    def declared(self) -> bool:
        """Tell whether --trained-on said what the weights were trained on."""
        return self.training.get("declared") is True

    @property
    def missing(self) -> tuple[str, ...]:
        """The test classes without an episode, for people."""
        return tuple(f"{one_line(cls)} {one_line(name)}".strip() for cls, name in self.missing_classes.items())

    def write(self, path: str | Path) -> None:
        """Write the result as JSON, atomically."""
        trained_on = {name: self.training.get(name) for name in ("dataset", "class_order", "fold")}
        content = {
            **self.setting.as_dict(),
            "protocol": self.protocol.name,
            "engine": self.engine,
            "amp": self.amp,
            "checkpoint": self.checkpoint,
            "episodes": self.episodes,
            "warnings": list(self.warnings),
            "trained_with": self.trained,
            **{name: value for name, value in self.measured.items() if name not in ("queries", "device")},
            "weights": self.weights,
            "data": self.data and self.data.as_dict(),
            "missing_classes": dict(self.missing_classes),
            "episodes_from": self.episodes_from,
            "trained_on": {**trained_on, "declared": self.declared} if trained_on["dataset"] else None,
            "training_data": self.training.get("data"),
            "code": method_digest(),
            "made_by": describe_run(self.measured.get("device")),
            **self.setting.added(),
            "queries": self.measured.get("queries"),  # last, since it is long
        }
        lines = SHORT_LISTS.sub(lambda found: " ".join(found[0].split()), json.dumps(content, indent=2))
        with atomic_write(path) as file:
            file.write(lines.encode())

    @classmethod
    def read(cls, path: Path) -> EvaluationResult | None:
        """Read a result; None where the JSON is something else. Raises ValueError saying what is wrong with it."""
        try:
            content = read_json(path, RESULT_BYTES)
            written = path.stat().st_mtime
        except OSError as error:
            raise ValueError(f"cannot be read: {refusal(error)}") from error
        except TooLarge:
            return None
        except ValueError as error:
            raise ValueError("damaged, or not JSON") from error
        if not isinstance(content, dict) or not content.keys() >= set(NEEDED):
            return None
        check_result(content)
        training = {
            **(content.get("trained_on") or {}),
            "arguments": content.get("trained_with") or {},
            "weights": content.get("weights") or OWN,
            "data": content.get("training_data"),
        }
        return cls(
            Setting.of({"class_order": None, **content}),
            PROTOCOLS[content["protocol"]],
            {name: content[name] for name in MEASURED if name in content},
            checkpoint=one_line(content.get("checkpoint", "")),
            episodes=content["episodes"],
            training=training,
            engine=content.get("engine") or "planned",
            amp=content.get("amp") is True,
            warnings=tuple(map(one_line, content.get("warnings") or ())),
            data=from_dict(content.get("data")),
            missing_classes=content.get("missing_classes") or {},
            episodes_from=one_line(source) if (source := content.get("episodes_from")) else None,
            code=one_line(content.get("code") or ""),
            file=path,
            written=written,
        )


def check_result(content: Mapping[str, Any]) -> None:
    """Raise ValueError unless the fields of a result are what they can be."""
    check_fields(content, {"dataset": one_of(*DATASETS), "method": is_name_of(is_method)})
    benchmark = DATASETS[content["dataset"]]
    of_setting = {
        "class_order": one_of(*benchmark.class_orders),
        "fold": one_of(*benchmark.folds),
        "refine": one_of(False, content["method"] != "baseline"),
    }
    check_fields(content, {**of_setting, **RESULT_RULES})


def digest_inputs(inputs: Any, files: Sequence[str | Path]) -> str:
    """The sha256 of all that a result depends on: plain values, and the content of files."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for path in files:
        for block in blocks(path):
            digest.update(block)
    return digest.hexdigest()


def result_path(
    folder: str | Path, setting: Setting, protocol: Protocol, choices: Mapping[str, Any], files: Sequence[str | Path]
) -> Path:
    """Name the file that keeps a result by all that could give another one: choices, and the content of files too."""
    inputs = {**setting.as_dict(), "protocol": protocol.name, **choices}
    order = f"_{setting.class_order}" if setting.class_order else ""
    fold = "" if setting.fold is None else f"_fold_{setting.fold}"
    refine = "_refine" if setting.refine else ""
    stem = f"{setting.dataset}{order}{fold}_{setting.name}{refine}_{protocol.name}"
    return Path(folder) / f"{stem}_{digest_inputs(inputs, files)[:8]}.json"


def find_results(paths: Sequence[str | Path]) -> list[EvaluationResult]:
    """The results among the files given and in all .json files below the folders given.

    In a folder, JSONs that are no results are skipped, and damaged ones with a warning on stderr. Raises UserError
    for a path that is not there, and for a file given by name that is no result.
    """
    found: dict[Path, EvaluationResult] = {}
    for path in map(Path, paths):
        if not (os.access(path, os.R_OK) and (path.is_dir() or path.is_file())):
            raise UserError(f"{path}: does not exist or cannot be read; name result files or their folder")
        for file in filter(os.path.isfile, sorted(path.rglob("*.json"))) if path.is_dir() else (path,):
            try:
                result = EvaluationResult.read(file)
            except ValueError as error:
                if file == path:
                    raise UserError(f"{path}: {error}; write it again with test.py --json") from error
                say(f"WARNING: {file}: {error}; passed over", file=sys.stderr)
                continue
            if result:
                found.setdefault(file.resolve(), result)
            elif file == path:
                raise UserError(f"{path}: not a result of main.py or test.py --json; name one that is, or a folder")
    return list(found.values())


def finished_result(path: Path) -> EvaluationResult | None:
    """The result that test.py --results kept; None if there is none that is whole."""
    if not path.is_file():
        return None
    try:
        return EvaluationResult.read(path)
    except ValueError as error:
        say(f"note: {path}: {error}; tested again", file=sys.stderr)
        return None
