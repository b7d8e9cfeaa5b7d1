"""The authors' checkpoints: which there are, how their files are named, and how a file is checked."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from engine.checkpoint import PRETRAINED, load_checkpoint, load_network
from engine.setting import Setting
from model import build_model
from tables.paper import DRIVE, drive_link
from util.errors import UserError

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
