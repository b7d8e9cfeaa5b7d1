"""Bring the authors' checkpoints into a folder: from Google Drive, a mirror, or a folder of the user's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from engine.checkpoint import errors_name, read
from engine.recorded import is_recorded, record_file
from model import build_model
from tables.authors import AuthorsWeights, check_weights
from tables.download import fetch
from tables.paper import DRIVE_IMAGENET, drive_download
from util.errors import UserError
from util.files import atomic_write, blocks


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
        raise UserError(f"{source}: holds no {' or '.join(names)}; save {weights.link} there under that name")
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
