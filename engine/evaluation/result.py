"""The results of main.py and test.py as JSON files: written, named, read back and checked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset import DATASETS, Provenance
from dataset.provenance import from_dict
from engine.evaluation.protocol import PAPER, PROTOCOLS, Protocol
from engine.setting import OWN, WEIGHTS, Setting
from model.names import is_backbone, is_method
from util.distributed import say
from util.errors import UserError, one_line, refusal
from util.files import TooLarge, atomic_write, blocks, read_json

RESULT_BYTES = 2**28  # which hold the IoU of each episode
# Flags of main.py.
TRAINED = ("episode", "batch_size", "lr", "crop_size", "pretrained", "frozen", "seed", "amp", "released_order")
# A JSON with all of these is a result; older ones lack others.
FIELDS = "dataset fold shot backbone method refine protocol episodes seeds miou miou_std fb_iou".split()


class Result(NamedTuple):
    """One evaluation; IoUs in percent."""

    protocol: Protocol
    setting: Setting
    miou: float
    std: float  # of the mIoU, over the seeds
    fb_iou: float
    seeds: dict[int, float]  # the mIoU of each
    episodes: int  # of a seed
    amp: bool
    checkpoint: str
    warnings: tuple[str, ...]  # of the evaluation: why the numbers may mean nothing
    trained: dict[str, Any]  # flags of the training, as far as they are known
    weights: str  # whose they are: one of WEIGHTS
    file: Path
    written: float  # seconds since the epoch
    data: Provenance | None = None  # what it was evaluated on; None: it does not say
    training_data: Provenance | None = None  # what the weights were trained on; None: nobody knows
    declared: bool = False  # whether its user said what the weights were trained on
    missing: tuple[str, ...] = ()  # test classes without an episode
    episodes_from: str = ""  # the file of the episodes, if they were saved


def save_result(
    path: str | Path,
    setting: Setting,
    result: Mapping[str, Any],
    checkpoint: str | Path,
    episodes: int,
    info: Mapping[str, Any],
    protocol: Protocol = PAPER,
    engine: str = "planned",
    amp: bool = False,
    warnings: Sequence[str] = (),
    data: Provenance | None = None,
    missing: Mapping[int, str] | None = None,
    episodes_from: str | None = None,
) -> None:
    """Write an evaluation as JSON (docs/results-format.md), atomically.

    Arguments:
        path: the file.
        setting: what was evaluated.
        result: what evaluate returned, IoUs in percent.
        checkpoint: the file of the weights.
        episodes: of a seed.
        info: what is known of the weights' training, as a checkpoint holds it.
        protocol, engine, amp: how it was evaluated.
        warnings: why the result may mean nothing, such as test classes that were trained on.
        data: what it was evaluated on; None: unknown.
        missing: test classes without an episode, with their names.
        episodes_from: the file of the episodes, if they were saved.
    """
    trained = info.get("arguments", {})
    trained_on = {name: info.get(name) for name in ("dataset", "class_order", "fold")}
    summary = {
        **setting.as_dict(), "protocol": protocol.name, "engine": engine, "amp": amp, "checkpoint": str(checkpoint),
        "episodes": episodes, "warnings": list(warnings),
        "trained_with": {name: trained[name] for name in TRAINED if name in trained},
        **result, "weights": info.get("weights", OWN),
        "data": data and data._asdict(), "missing_classes": dict(missing or {}), "episodes_from": episodes_from,
        "trained_on": {**trained_on, "declared": bool(info.get("declared"))} if trained_on["dataset"] else None,
        "training_data": info.get("data"),
    }  # fmt: skip
    lists = re.compile(r"\[\n[-\d.,\s]+\]")  # of numbers; no string holds a bare line break
    text = lists.sub(lambda numbers: " ".join(numbers[0].split()), json.dumps(summary, indent=2))
    with atomic_write(path) as file:
        file.write(text.encode())


def result_path(
    folder: str | Path, setting: Setting, protocol: Protocol, choices: Mapping[str, Any], files: Sequence[str | Path]
) -> Path:
    """Name the file that keeps a result: another name for whatever could give another result.

    Arguments:
        folder: where results are kept.
        setting, protocol: what is evaluated, and how.
        choices: further values that the result depends on.
        files: whose content the result depends on.
    """
    inputs = {**setting.as_dict(), "protocol": protocol.name, **choices}
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for path in files:
        for block in blocks(path):
            digest.update(block)
    order = f"_{setting.class_order}" if setting.class_order else ""
    fold = "" if setting.fold is None else f"_fold_{setting.fold}"
    refine = "_refine" if setting.refine else ""
    stem = f"{setting.dataset}{order}{fold}_{setting.name}{refine}_{protocol.name}"
    return Path(folder) / f"{stem}_{digest.hexdigest()[:8]}.json"


def find_results(paths: Sequence[str | Path]) -> list[Result]:
    """The results among the files given and in all .json files below the folders given.

    In a folder, JSONs that are no results are skipped, and damaged ones with a warning on stderr. Raises UserError
    for a path that is not there, and for a file given by name that is no result.
    """
    found: dict[Path, Result] = {}
    for path in map(Path, paths):
        if not (os.access(path, os.R_OK) and (path.is_dir() or path.is_file())):
            raise UserError(f"{path}: does not exist or cannot be read; name result files or their folder")
        for file in _jsons_below(path) if path.is_dir() else (path,):
            try:
                result = read_result(file)
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


def _jsons_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.json")) if os.path.isfile(path))


def read_result(path: Path) -> Result | None:
    """A result; None where the JSON is something else. Raises ValueError saying what is wrong with it."""
    try:
        content = read_json(path, RESULT_BYTES)
        written = path.stat().st_mtime
    except OSError as error:
        raise ValueError(f"cannot be read: {refusal(error)}") from error
    except TooLarge:
        return None
    except ValueError as error:
        raise ValueError("damaged, or not JSON") from error
    if not isinstance(content, dict) or not content.keys() >= set(FIELDS):
        return None
    benchmark = DATASETS[_one_of(content, "dataset", tuple(DATASETS))]
    method = _named(content, "method", is_method)
    setting = Setting(
        dataset=benchmark.name,
        class_order=_one_of(content, "class_order", benchmark.class_orders),
        fold=_fold(content, benchmark.folds),
        shot=_whole(content, "shot", 1, 100),
        backbone=_named(content, "backbone", is_backbone),
        method=method,
        refine=bool(_one_of(content, "refine", (False,) if method == "baseline" else (False, True))),
    )
    protocol = PROTOCOLS[_one_of(content, "protocol", tuple(PROTOCOLS))]
    seeds = content["seeds"]
    if not (isinstance(seeds, list) and seeds and all(isinstance(seed, dict) for seed in seeds)):
        raise ValueError("its seeds are not a list of results")
    of_seed = {_whole(seed, "seed", 0): _percent(seed, "miou") for seed in seeds}
    if len(of_seed) < len(seeds):
        raise ValueError("it has a seed twice")
    warnings = content.get("warnings") or []
    if not (isinstance(warnings, list) and all(isinstance(line, str) for line in warnings)):
        raise ValueError("its warnings are not a list of lines")
    trained = _mapping(content, "trained_with")
    return Result(
        protocol,
        setting,
        _percent(content, "miou"),
        _percent(content, "miou_std"),
        _percent(content, "fb_iou"),
        of_seed,
        _whole(content, "episodes", 1),
        content.get("amp") is True,
        one_line(content.get("checkpoint", "")),
        tuple(map(one_line, warnings)),
        trained,
        _one_of(content, "weights", WEIGHTS) if "weights" in content else OWN,
        path,
        written,
        _held(content, "data"),
        _held(content, "training_data"),
        isinstance(on := content.get("trained_on"), dict) and on.get("declared") is True,
        tuple(
            f"{one_line(cls)} {one_line(name)}".strip() for cls, name in _mapping(content, "missing_classes").items()
        ),
        one_line(content.get("episodes_from") or ""),
    )


def finished_result(path: Path) -> dict[str, Any] | None:
    """The content of a result that test.py --results kept; None if there is none that is whole and says all."""
    if not path.is_file():
        return None
    try:
        is_result = read_result(path) is not None
    except ValueError as error:
        say(f"note: {path}: {error}; tested again", file=sys.stderr)
        return None
    content = read_json(path, RESULT_BYTES) if is_result else {}
    return content if "data" in content else None


def _mapping(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name) or {}
    if not isinstance(value, dict):
        raise _absurd(content, name)
    return value


def _held(content: Mapping[str, Any], name: str) -> Provenance | None:
    try:
        return from_dict(content.get(name))
    except ValueError as error:
        raise _absurd(content, name) from error


def _one_of(content: Mapping[str, Any], name: str, allowed: Sequence[Any]) -> Any:
    if content.get(name) not in allowed:
        raise _absurd(content, name)
    return content.get(name)


def _named(content: Mapping[str, Any], name: str, is_known: Callable[[str], bool]) -> str:
    """A method or backbone; one that cannot be printed is refused."""
    value = content.get(name)
    if not (isinstance(value, str) and value.isprintable() and is_known(value)):
        raise _absurd(content, name)
    return value


def _fold(content: Mapping[str, Any], folds: Sequence[int | None]) -> int | None:
    return _one_of(content, "fold", folds) if None in folds else _whole(content, "fold", folds[0], folds[-1])


def _whole(content: Mapping[str, Any], name: str, low: int, high: float = float("inf")) -> int:
    value = content.get(name)
    if type(value) is not int or not low <= value <= high:
        raise _absurd(content, name)
    return value


def _percent(content: Mapping[str, Any], name: str) -> float:
    value = content.get(name)
    if type(value) not in (int, float) or not 0 <= value <= 100:  # nan is not in between either
        raise _absurd(content, name)
    return float(value)


def _absurd(content: Mapping[str, Any], name: str) -> ValueError:
    return ValueError(f"its {name} cannot be {reprlib.repr(content.get(name)):.40}")
