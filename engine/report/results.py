"""The results that main.py and `test.py --json` wrote, read back and checked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset import DATASETS, FOLDS
from dataset.coco import CLASS_ORDERS
from engine.training.best import PROTOCOLS
from model import BACKBONES, METHODS
from util.errors import UserError

# A JSON with all of these is a result; older ones lack others.
FIELDS = "dataset fold shot backbone method refine protocol episodes seeds miou miou_std fb_iou".split()


class Setting(NamedTuple):
    """What a row of a table is about; the fields are those that engine.report.paper.Published starts with."""

    dataset: str
    protocol: str
    class_order: str | None
    method: str
    refine: bool
    shot: int
    backbone: str | None


class Result(NamedTuple):
    """One evaluation; IoUs in percent."""

    setting: Setting
    fold: int | None  # None: of fss
    miou: float
    std: float  # of the mIoU, over the seeds
    fb_iou: float
    seeds: dict[int, float]  # the mIoU of each
    episodes: int  # of a seed
    amp: bool
    checkpoint: str
    warnings: tuple[str, ...]  # of the evaluation: why the numbers may mean nothing
    trained: dict[str, Any]  # flags of the training, as far as they are known
    file: Path
    written: float  # seconds since the epoch


def find_results(paths: Sequence[str | Path]) -> list[Result]:
    """The results among the files given and in all .json files below the folders given.

    Of a folder, other JSONs are passed over, and damaged ones with a line on stderr. Raises UserError for a path
    that is not there, and for a file given by name that is no result.
    """
    found: dict[Path, Result] = {}
    for path in map(Path, paths):
        if not os.access(path, os.R_OK):
            raise UserError(f"{path}: no such file or folder, or none to read; name results, or their folder")
        for file in _jsons_below(path) if path.is_dir() else (path,):
            try:
                result = read_result(file)
            except ValueError as error:
                if file == path:
                    raise UserError(f"{path}: {error}; write it again with test.py --json") from error
                print(f"WARNING: {file}: {error}; passed over", file=sys.stderr)
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
        content = json.loads(path.read_text(encoding="utf-8"))
        written = path.stat().st_mtime
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("damaged, or not JSON") from error
    if not isinstance(content, dict) or not content.keys() >= set(FIELDS):
        return None
    dataset = _one_of(content, "dataset", tuple(DATASETS))
    method = _one_of(content, "method", METHODS)
    setting = Setting(
        dataset,
        _one_of(content, "protocol", PROTOCOLS),
        _one_of(content, "class_order", CLASS_ORDERS if dataset == "coco" else (None,)),
        method,
        bool(_one_of(content, "refine", (False, True) if method == "ssp" else (False,))),
        _whole(content, "shot", 1, 100),
        _one_of(content, "backbone", BACKBONES),
    )
    seeds = content["seeds"]
    if not (isinstance(seeds, list) and seeds and all(isinstance(seed, dict) for seed in seeds)):
        raise ValueError("its seeds are not a list of results")
    of_seed = {_whole(seed, "seed", 0): _percent(seed, "miou") for seed in seeds}
    if len(of_seed) < len(seeds):
        raise ValueError("it has a seed twice")
    warnings = content.get("warnings") or []
    if not (isinstance(warnings, list) and all(isinstance(line, str) for line in warnings)):
        raise ValueError("its warnings are not a list of lines")
    trained = content.get("trained_with") or {}
    if not isinstance(trained, dict):
        raise _absurd(content, "trained_with")
    return Result(
        setting,
        _one_of(content, "fold", (None,)) if dataset == "fss" else _whole(content, "fold", FOLDS[0], FOLDS[-1]),
        _percent(content, "miou"),
        _percent(content, "miou_std"),
        _percent(content, "fb_iou"),
        of_seed,
        _whole(content, "episodes", 1),
        content.get("amp") is True,
        str(content.get("checkpoint", "")),
        tuple(" ".join(line.split()) for line in warnings),
        trained,
        path,
        written,
    )


def _one_of(content: Mapping[str, Any], name: str, allowed: Sequence[Any]) -> Any:
    if content.get(name) not in allowed:
        raise _absurd(content, name)
    return content.get(name)


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
    return ValueError(f"its {name} cannot be {content.get(name)!r:.40}")
