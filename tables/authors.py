"""The authors' checkpoints: which there are, how their files are named, and how they come into a folder, checked."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from engine.checkpoint import errors_name, load_checkpoint, load_network, read
from engine.pretrained import PRETRAINED
from engine.recorded import is_recorded, record_file
from engine.setting import Setting
from model import build_model
from tables.download import fetch
from tables.paper import DRIVE, DRIVE_IMAGENET, drive_download, drive_link
from util.errors import UserError
from util.files import atomic_write, blocks

FOLDER = PRETRAINED / "authors"


class AuthorsWeights(NamedTuple):
    """A checkpoint that the authors published."""

    setting: Setting  # as trained; of coco without a class order, which the authors do not state
    drive: str  # Google Drive's id of the file

    @property
    def name(self) -> str:
        """The file's name below the folder, such as pascal/resnet50_1shot_fold0_ssp.pth."""
        s = self.setting
        return f"{s.dataset}/{s.backbone}_{s.shot}shot_fold{s.fold}_{s.method}.pth"


ALL = tuple(
    AuthorsWeights(Setting(dataset, None, fold, shot, backbone, method, refine=method == "ssp"), drive)
    for (dataset, method, shot, backbone), files in DRIVE.items()
    for fold, drive in enumerate(files)
)


def choose(folds: Collection[int | None] | None = None, **wanted: Any) -> list[AuthorsWeights]:
    """The authors' checkpoints of some folds (None: all), and of wanted values of a Setting's fields (None: any)."""
    chosen = [weights for weights in ALL if weights.setting.matches(**wanted)]
    return [weights for weights in chosen if folds is None or weights.setting.fold in folds]


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


def provide(folder: Path, weights: AuthorsWeights, mirror: str | None = None, source: Path | None = None) -> str:
    """Make sure that a checkpoint is in the folder, checked and recorded.

    Arguments:
        folder: where the checkpoints go, such as pretrained/authors.
        weights: the checkpoint.
        mirror: the address of a server that has the files under the same names; None for Google Drive.
        source: a folder of the user's that may hold the file, instead of the network.
    Returns:
        What was done, for people.
    Raises:
        UserError: names the file and the way out; nothing is changed then.
    """
    path = folder / weights.name
    if is_recorded(folder, weights.name):
        return "is there"
    if path.is_file():
        check_weights(path, weights)
        done = "was there, checked"
    elif source is not None:
        _take(source, path, weights)
        done = f"taken from {source}"
    else:
        url = f"{mirror.rstrip('/')}/{weights.name}" if mirror else drive_download(weights.drive)
        fetch(path, partial(check_weights, weights=weights), url)
        done = "fetched"
    record_file(folder, weights.name, weights.drive)
    return done


def _take(source: Path, path: Path, weights: AuthorsWeights) -> None:
    """Copy a checkpoint out of a folder of the user's, where it is pascal/NAME.pth or pascal_NAME.pth."""
    names = weights.name, weights.name.replace("/", "_")
    found = next((source / name for name in names if (source / name).is_file()), None)
    if found is None:
        link = drive_link(weights.drive)
        raise UserError(f"{source}: holds no {' or '.join(names)}; save {link} there under that name")
    check_weights(found, weights)
    with atomic_write(path) as file:
        for block in blocks(found):
            file.write(block)


def fetch_imagenet(backbone: str, path: Path) -> None:
    """Download the authors' ImageNet weights of a backbone. Raises UserError naming the file and the way out."""
    from model.weights import adapt_pretrained  # which imports torch

    def check(file: Path) -> None:
        with errors_name(file):
            adapt_pretrained(build_model("ssp", backbone), read(file))

    fetch(path, check, drive_download(DRIVE_IMAGENET[backbone]))
