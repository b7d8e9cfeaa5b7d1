"""Which files are opened as images, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.images import FORMATS, read_mask, read_rgb
from prediction.files import read_image
from util.errors import UserError

PIXELS = np.arange(16 * 12, dtype=np.uint8).reshape(12, 16)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "PCX", "TGA"])
def test_formats_that_are_not_meant_are_not_opened(kind: str, tmp_path: Path) -> None:
    """By content: Pillow would start Ghostscript for an EPS that is called .jpg."""
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, kind)
    for read in (read_rgb, read_mask, read_image):
        with pytest.raises(UserError, match=r"a\.jpg: .*(not an image|damaged)"):
            read(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_that_are_meant(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.stack([PIXELS] * 3, 2)).save(path, kind)
    assert read_rgb(path).size == read_image(path).size == (16, 12)


@pytest.mark.parametrize("error", [ImportError("GIF"), KeyError("GIF"), AttributeError("GIF")])
def test_what_fails_in_pillow_itself_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As when another Pillow is installed below a program that runs."""

    def fail(*_: object, **__: object) -> None:
        raise error

    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    monkeypatch.setattr("dataset.images.Image.open", fail)
    with pytest.raises(type(error)):
        read_rgb(path)
