"""What tests of sources share: small images, and what a source gives, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coding

from dataset.prepare.own import Fault, Labelled, Source


def save(path: Path, pixels: np.ndarray | list | tuple[int, int], **options: object) -> Path:
    """Save an image of grey numbers (H, W) or colours (H, W, 3), or a black one of a (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(pixels, np.uint8) if isinstance(pixels, tuple) else np.array(pixels, np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def draw(code: bytes, size: tuple[int, int]) -> list[str]:
    """A run-length code as rows, # for its pixels."""
    drawn = coding.decode({"size": list(size), "counts": code})
    return ["".join(".#"[pixel] for pixel in row) for row in drawn]


def collect(source: Source) -> tuple[dict[str, dict[str, list[str]]], list[str]]:
    """The masks of each image by class, "ignored" among them, drawn; and the faults."""
    found, faults = {}, []
    for item in source.images():
        if isinstance(item, Fault):
            faults.append(item.what)
            continue
        assert isinstance(item, Labelled)
        ignored = {} if item.ignored is None else {"ignored": item.ignored}
        assert item.image not in found
        found[item.image] = {name: draw(code, item.size) for name, code in {**item.classes, **ignored}.items()}
    assert len(found) + len(faults) <= source.count
    assert all("\n" not in fault for fault in faults)
    return found, faults
