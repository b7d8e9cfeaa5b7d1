"""A user's masks: PNGs of every kind, and which way round masks belong to their image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prediction.masks import read_support, read_union
from tests.prediction.test_files import SHOWN, STORED, save_oriented
from util.errors import UserError

MASK = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)
FIVE = [[0, 0, 0], [0, 1, 0]]  # where SHOWN is 5


def support(
    folder: Path, mask: Image.Image | dict | str, size: tuple[int, int] | None = None, name: str = "mask.png"
) -> tuple[Path, Path]:
    """A black image and a mask: an image, a LabelMe file's content, or the text of a damaged one."""
    path = folder / (name if isinstance(mask, Image.Image) else "mask.json")
    if isinstance(mask, Image.Image):
        mask.save(path)
    else:
        path.write_text(mask if isinstance(mask, str) else json.dumps(mask))
    Image.new("RGB", size or mask.size).save(folder / "image.png")
    return folder / "image.png", path


def found(
    folder: Path, mask: Image.Image | dict, label: str | None = None, size: tuple[int, int] | None = None
) -> list:
    image, labels = read_support(*support(folder, mask, size), label)
    assert labels.dtype == np.uint8
    assert labels.shape == (image.height, image.width)
    return labels.tolist()


def shape(label: str, kind: str, *points: tuple[float, float]) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def labelme(*shapes: dict[str, Any], size: tuple[int | None, int | None] = (8, 6)) -> dict[str, Any]:
    width, height = size
    return {"version": "5.0", "flags": {}, "shapes": shapes, "imageWidth": width, "imageHeight": height}


# Images


def palette(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette([0, 0, 0] * 256)  # the index counts, not its colour
    return image


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(MASK),
        Image.fromarray(MASK * 255),
        Image.fromarray(MASK.astype(bool)),
        Image.fromarray(MASK.astype(np.uint16) * 256),
        palette(MASK * 3),
        Image.fromarray(np.stack([MASK * 0, MASK * 0, MASK], -1)),
        Image.fromarray(np.stack([MASK, MASK, MASK, MASK * 0 + 255], -1)),
        Image.fromarray(np.stack([MASK * 0 + 9, MASK * 0, MASK * 0, MASK * 255], -1)),
    ],
    ids=["0 and 1", "0 and 255", "1 bit", "16 bits", "palette", "blue alone", "RGBA", "transparent elsewhere"],
)
def test_whatever_is_not_zero_is_the_object(tmp_path: Path, mask: Image.Image) -> None:
    assert found(tmp_path, mask) == MASK.tolist()


VALUES = np.array([[0, 7, 2], [255, 7, 3]], np.uint8)


@pytest.mark.parametrize(
    "mask",
    [Image.fromarray(VALUES), palette(VALUES), Image.fromarray(np.stack([VALUES] * 3, -1))],
    ids=["grey", "palette", "grey as RGB"],
)
def test_a_label_is_a_value_and_255_neither(tmp_path: Path, mask: Image.Image) -> None:
    assert found(tmp_path, mask, label="7") == [[0, 1, 0], [255, 1, 0]]
    assert found(tmp_path, mask, label="255") == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("orientation", "as_stored"),
    [*((number, False) for number in STORED), *((number, True) for number in (5, 6, 7, 8))],  # which change its size
)
def test_masks_turn_with_their_image(tmp_path: Path, orientation: int, as_stored: bool) -> None:
    """The 5 marked in a mask is the 5 of the upright image, be the mask made of the upright or the stored one."""
    stored = np.array(STORED[orientation])
    save_oriented(tmp_path / "image.png", stored, orientation)
    Image.fromarray(((stored if as_stored else np.array(SHOWN)) == 5).astype(np.uint8)).save(tmp_path / "mask.png")
    image, mask = read_support(tmp_path / "image.png", tmp_path / "mask.png")
    assert np.array(image)[..., 0].tolist() == SHOWN
    assert mask.tolist() == FIVE


def test_shapes_turn_with_their_image_and_a_mask_has_its_own_orientation(tmp_path: Path) -> None:
    save_oriented(tmp_path / "image.png", STORED[6], 6)
    drawn = labelme(shape("it", "rectangle", (1, 1), (1, 1)), size=(2, 3))  # the 5 where it is stored
    (tmp_path / "mask.json").write_text(json.dumps(drawn))
    save_oriented(tmp_path / "mask.png", (np.array(STORED[8]) == 5).astype(np.uint8), 8)
    for mask in ("mask.json", "mask.png"):
        assert read_support(tmp_path / "image.png", tmp_path / mask)[1].tolist() == FIVE


# Refusals

COLOURED = Image.fromarray(np.array([[(1, 2, 3)]], np.uint8))


@pytest.mark.parametrize(
    ("mask", "label", "size", "says"),
    [
        (Image.fromarray(MASK), "5", (3, 2), r"png: no pixel has --label 5; it holds 0, 1$"),
        (Image.fromarray(MASK), "cat", (3, 2), r"png: no pixel has --label cat; it holds 0, 1$"),
        (COLOURED, "1", (1, 1), r"png: a mask in colours has no labels; leave --label out"),
        (Image.new("L", (3, 2)), None, (3, 2), r"png: marks no object; mark it, or leave the support out$"),
        (Image.fromarray(MASK), None, (2, 3), r"png: mask of 3x2 pixels for an image of 2x3, .*/image\.png; replace"),
        (Image.fromarray(MASK), None, (30, 20), r"png: mask of 3x2 pixels for an image of 30x20, .*; replace one of"),
    ],
)
def test_masks_that_cannot_be_used(tmp_path: Path, mask: Any, label: str, size: tuple[int, int], says: str) -> None:
    with pytest.raises(UserError, match=rf"^[^\n]*mask\.{says}") as caught:
        read_support(*support(tmp_path, mask, size), label)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mask.jpg", "has the value 255 everywhere, so no background; mark the object alone"),
        ("nothing.png", "no such mask"),
        ("nothing.json", "no such mask"),
        ("text.png", "not an image, or damaged; replace it"),
    ],
)
def test_files_that_are_no_masks(tmp_path: Path, name: str, says: str) -> None:
    image, _ = support(tmp_path, Image.new("L", (3, 2), 255), name="mask.jpg")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(UserError, match=f"/{name}: {says}"):
        read_support(image, tmp_path / name)


def test_several_masks_are_united(tmp_path: Path) -> None:
    """What one marks is the object, whatever the others say of it; what one leaves open and none marks is neither."""
    Image.new("RGB", (7, 1)).save(tmp_path / "a.jpg")
    for name, row in {"a_1.png": [1, 1, 1, 0, 255, 255, 0], "a_2.png": [0, 0, 0, 2, 0, 3, 0]}.items():
        Image.fromarray(np.array([row], np.uint8)).save(tmp_path / name)
    paths = [tmp_path / "a_1.png", tmp_path / "a_2.png"]
    for order in (paths, paths[::-1]):
        _, mask = read_union(tmp_path / "a.jpg", order, [None, None])
        assert mask.dtype == np.uint8
        assert mask.tolist() == [[1, 1, 1, 1, 255, 1, 0]]
    _, mask = read_union(tmp_path / "a.jpg", paths, ["1", "3"])
    assert mask.tolist() == [[1, 1, 1, 0, 255, 1, 0]]


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ([[0, 0, 0]], r"a_2\.png: marks no object; "),
        ([[0, 1, 1]], r"a_1\.png, .*a_2\.png: leaves no background; "),
        ([[0, 1]], r"a_2\.png: mask of 2x1 pixels for an image of 3x1, "),
    ],
)
def test_masks_that_cannot_be_united(tmp_path: Path, second: list[list[int]], says: str) -> None:
    Image.new("RGB", (3, 1)).save(tmp_path / "a.jpg")
    for name, rows in {"a_1.png": [[1, 0, 0]], "a_2.png": second}.items():
        Image.fromarray(np.array(rows, np.uint8)).save(tmp_path / name)
    with pytest.raises(UserError, match=says):
        read_union(tmp_path / "a.jpg", [tmp_path / "a_1.png", tmp_path / "a_2.png"], [None, None])
