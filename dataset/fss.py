"""FSS-1000's folder: a folder for each class with ten images and ten object masks (design, section 7)."""

from __future__ import annotations

from pathlib import Path

from dataset.images import ImageSet

FOLDER = "FSS-1000"  # inside a folder that holds several datasets


def any_image(root: Path) -> ImageSet:
    """Every image by its name with folder, such as abacus/1; ids are left empty."""
    return ImageSet("fss", (), root, root, {}, binary=True)
