"""Masks in VOC's colours: the same results as from labels, and prepare.py pascal --from-colours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prepare
import test as testing
from dataset.images import read_mask
from dataset.labels import VOC_PALETTE, voc_colour


def reorder_palette(path: Path, seed: int) -> None:
    """Save a mask with the colours that occur in a random order, as an optimiser does."""
    labels = np.array(Image.open(path))
    order = np.random.RandomState(seed).permutation(np.unique(labels))
    place = np.zeros(256, np.uint8)
    place[order] = np.arange(len(order))
    image = Image.fromarray(place[labels])
    image.putpalette(bytes(value for label in order for value in voc_colour(int(label))))
    image.save(path)


def colour_masks(root: Path) -> None:
    """Save the masks with VOC's colours: a third in RGB, the others with their palette in another order."""
    for number, path in enumerate(sorted((root / "SegmentationClassAug").iterdir())):
        if number % 3:
            reorder_palette(path, number)
        else:
            image = Image.open(path)
            image.putpalette(VOC_PALETTE)
            image.convert("RGB").save(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_colours_give_the_same_result_as_labels(toy: Path, toy_copy: Path, calibrated: Path, tmp_path: Path) -> None:
    colour_masks(toy_copy)
    results = []
    for root, out in ((toy, tmp_path / "labels.json"), (toy_copy, tmp_path / "colours.json")):
        few = "--fold 0 --episodes 6 --seeds 1 --device cpu --workers 0".split()
        testing.main(["--data-root", str(root), "--checkpoint", str(calibrated), *few, "--json", str(out)])
        results.append(json.loads(out.read_text()))
    assert 0 < results[0]["miou"] == results[1]["miou"]
    assert results[0]["seeds"][0]["class_iou"] == results[1]["seeds"][0]["class_iou"]


def test_masks_in_colours_are_written_as_labels(toy: Path, toy_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colour_masks(toy_copy)
    masks, kept = toy_copy / "SegmentationClassAug", toy_copy / "SegmentationClassAug_colours"
    plain = masks / "toy_00001.png"
    shutil.copy(toy / "SegmentationClassAug" / plain.name, plain)
    coloured = contents(masks)
    capsys.readouterr()
    prepare.main(["pascal", "--data-root", str(toy_copy), "--workers", "0"])
    assert "99 masks hold their labels as colours or the like, toy_00000.png the first; " in capsys.readouterr().out
    assert contents(masks) == coloured
    prepare.main(["pascal", "--data-root", str(toy_copy), "--workers", "0", "--from-colours"])
    assert f"99 masks written anew as labels; the old files are in {kept}" in capsys.readouterr().out
    assert contents(kept) == {name: data for name, data in coloured.items() if name != plain.name}
    for path in masks.iterdir():
        assert np.array_equal(np.array(Image.open(path)), read_mask(toy / "SegmentationClassAug" / path.name)), path
    written = contents(masks)
    prepare.main(["pascal", "--data-root", str(toy_copy), "--workers", "0", "--from-colours"])
    assert "written anew" not in capsys.readouterr().out
    assert contents(masks) == written
