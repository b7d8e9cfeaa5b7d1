"""The record of fetched weights, checkpoints.json beside them: that a file was checked, and what its name tells."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from dataset import DATASETS
from engine.setting import AUTHORS
from model.names import BACKBONES, METHODS
from util.errors import UserError, refusal
from util.fields import check_fields, dict_of, one_of, text, whole, with_fields
from util.files import atomic_write, blocks, read_json
from util.locks import only_one

RECORD, RECORD_FORMAT = "checkpoints.json", "ssp-authors-1"
RECORDED_NAME = re.compile(  # in the folder of the record, such as pascal/resnet50_1shot_fold0_ssp.pth
    rf"(?P<dataset>{'|'.join(DATASETS)})/(?P<backbone>{'|'.join(BACKBONES)})_(?P<shot>[1-9]\d?)shot"
    rf"_fold(?P<fold>[0-3])_(?P<method>{'|'.join(METHODS)})\.pth",
    re.ASCII,
)


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
        file = with_fields({"size": whole(0), "sha256": text})
        check_fields(content, {"format": one_of(RECORD_FORMAT), "files": dict_of(file)})
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged; remove it, then prepare.py checkpoints checks all files again") from error
    return content["files"]


def record_file(folder: Path, name: str, drive: str) -> None:
    """Record a file that was checked: its name in the folder, size, sha256 and Google Drive's id."""
    known = {"drive": drive, **fingerprint(folder / name)}
    with only_one(folder / RECORD, "the recording of weights", waits=True):  # another process may add files too
        files = read_record(folder) | {name: known}
        with atomic_write(folder / RECORD) as file:
            file.write(json.dumps({"format": RECORD_FORMAT, "files": dict(sorted(files.items()))}, indent=1).encode())


def is_recorded(folder: Path, name: str) -> bool:
    """Tell whether a file is there and was checked. Raises UserError if it has changed since."""
    path, known = folder / name, read_record(folder).get(name)
    if known is None or not path.is_file():
        return False
    found = fingerprint(path)
    if found != {field: known[field] for field in found}:
        changed = f"has changed since it was fetched and checked ({folder / RECORD})"
        raise UserError(f"{path}: {changed}; remove it and fetch it again with prepare.py checkpoints")
    return True


def recorded_info(path: Path) -> dict[str, Any]:
    """What the name of a recorded file tells of its training, as a checkpoint's info; nothing of any other file.

    The class order of coco is not known. Raises UserError if the file has changed since it was recorded.
    """
    path = path.resolve()
    told = RECORDED_NAME.fullmatch(f"{path.parent.name}/{path.name}")
    if told is None or not is_recorded(path.parents[1], told[0]):
        return {}
    numbers = {name: int(told[name]) for name in ("shot", "fold")}
    return {**told.groupdict(), **numbers, "refine": told["method"] == "ssp", "weights": AUTHORS}
