"""The authors' checkpoints: which there are, how their files are named, and how a file is checked and remembered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from engine.checkpoint import PRETRAINED, Checkpoint, load_checkpoint, load_network
from engine.setting import AUTHORS, Setting
from model import build_model
from tables.paper import DRIVE, drive_link
from util.errors import UserError, refusal
from util.files import atomic_write, blocks, read_json
from util.locks import only_one

FOLDER = PRETRAINED / "authors"
RECORD, FORMAT = "checkpoints.json", "ssp-authors-1"  # size and sha256 of each file, in the folder


class AuthorsWeights(NamedTuple):
    """A checkpoint that the authors published."""

    setting: Setting  # as trained; of coco without a class order, which the authors do not state
    drive: str  # Google Drive's id of the file

    @property
    def name(self) -> str:
        """The file's name below the folder, such as pascal/resnet50_1shot_fold0_ssp.pth."""
        s = self.setting
        return f"{s.dataset}/{s.backbone}_{s.shot}shot_fold{s.fold}_{s.method}.pth"

    @property
    def link(self) -> str:
        """Where a browser downloads it."""
        return drive_link(self.drive)


ALL = tuple(
    AuthorsWeights(Setting(dataset, None, fold, shot, backbone, method, refine=method == "ssp"), drive)
    for (dataset, method, shot, backbone), files in DRIVE.items()
    for fold, drive in enumerate(files)
)


def choose(folds: Collection[int] | None = None, **wanted: Any) -> list[AuthorsWeights]:
    """The authors' checkpoints of some folds and settings.

    Arguments:
        folds: None for all.
        wanted: values of a Setting's fields; None for any.
    """
    return [
        weights
        for weights in ALL
        if (folds is None or weights.setting.fold in folds) and weights.setting.matches(**wanted)
    ]


def check_weights(path: Path, weights: AuthorsWeights) -> None:
    """Raise UserError unless a file holds plain tensors, under the exact keys of the cell's method and backbone."""
    with path.open("rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(f"{path}: a web page, not weights (Google Drive sends one if too many have fetched a file)")
    checkpoint = load_checkpoint(path)
    for name in ("method", "backbone"):
        found, expected = checkpoint.info[name], getattr(weights.setting, name)
        if found != expected:
            raise UserError(f"{path}: holds a {found} network, not {expected}")
    load_network(build_model(weights.setting.method, weights.setting.backbone), checkpoint.state_dict, path)


def fingerprint(path: Path) -> dict[str, Any]:
    """The size in bytes and the sha256 of a file."""
    digest = hashlib.sha256()
    for block in blocks(path):
        digest.update(block)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of the files in a folder, by name. Raises UserError if the record is damaged."""
    path = folder / RECORD
    try:
        content = read_json(path)
        files = content["files"]
        are_known = all(type(x["size"]) is int and type(x["sha256"]) is str for x in files.values())
        if content["format"] != FORMAT or not are_known:
            raise ValueError("format")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged; remove it, then prepare.py checkpoints checks all files again") from error
    return files


def record(folder: Path, weights: AuthorsWeights) -> None:
    """Remember the size and the sha256 of a file that was checked."""
    known = {"drive": weights.drive, **fingerprint(folder / weights.name)}
    with only_one(folder / RECORD, "the recording of weights", waits=True):  # another process may add files too
        files = read_record(folder) | {weights.name: known}
        with atomic_write(folder / RECORD) as file:
            file.write(json.dumps({"format": FORMAT, "files": dict(sorted(files.items()))}, indent=1).encode())


def is_recorded(folder: Path, weights: AuthorsWeights) -> bool:
    """Whether a file is there and was checked. Raises UserError if it has changed since."""
    path, known = folder / weights.name, read_record(folder).get(weights.name)
    if known is None or not path.is_file():
        return False
    found = fingerprint(path)
    if found != {name: known[name] for name in found}:
        raise UserError(
            f"{path}: has changed since it was fetched and checked ({folder / RECORD}); remove it and fetch it again "
            f"with prepare.py checkpoints"
        )
    return True


def load_known(path: Path) -> Checkpoint:
    """Read a trained network's file; of one that is recorded as the authors' it tells the setting too.

    Its info then has "weights": "authors", the dataset, the fold, and of ssp the refinement; the class order of coco
    is not known. Raises UserError if the file cannot be used, or has changed since it was recorded.
    """
    checkpoint = load_checkpoint(path)
    folder = path.resolve().parent.parent
    for weights in ALL:
        if path.resolve() == folder / weights.name and is_recorded(folder, weights):
            told = weights.setting.as_dict()
            del told["class_order"]
            return checkpoint._replace(info={**told, "weights": AUTHORS, **checkpoint.info})
    return checkpoint
