"""Toy photos for the tests of the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dataset.prepare.toy import scene
from page.uploads import Support


def make_support(number: int = 3) -> Support:
    """A scene with one of its objects marked."""
    image, objects = scene(number, 0)
    return Support(image, objects[-1][1].astype(np.uint8), f"support {number}")


def make_photos(folder: Path) -> Path:
    """Supports a and b, queries new and other, the mask of a, and files that cannot be used."""
    for name, number in (("a", 3), ("b", 7), ("new", 23), ("other", 27)):
        scene(number, 0).image.save(folder / f"{name}.png")
    Image.fromarray(scene(3, 0).objects[-1][1]).save(folder / "a_mask.png")
    (folder / "text.jpg").write_text("not an image")
    Image.new("RGB", (20, 20)).save(folder / "small.png")
    Image.new("L", (12000, 9000)).save(folder / "large.png")
    return folder
