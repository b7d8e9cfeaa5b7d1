"""Masks of one's own: PNGs of every kind, LabelMe's shapes, and which way round they belong to their image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prediction.masks import read_support
from tests.prediction.test_files import SHOWN, STORED, save_oriented
from util.errors import UserError

MASK = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)


def support(folder: Path, mask: Image.Image | dict | str, size: tuple[int, int] | None = None) -> tuple[Path, Path]:
    """A black image and a mask: an image, a LabelMe file's content, or the text of a damaged one."""
    if isinstance(mask, Image.Image):
        path = folder / "mask.png"
        mask.save(path)
    else:
        path = folder / "mask.json"
        path.write_text(mask if isinstance(mask, str) else json.dumps(mask), encoding="utf-8")
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


def rgba(*pixels: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.array([pixels], np.uint8))


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
    ],
    ids=["0 and 1", "0 and 255", "1 bit", "16 bits", "palette", "blue alone", "RGBA"],
)
def test_whatever_is_not_zero_is_the_object(tmp_path: Path, mask: Image.Image) -> None:
    assert found(tmp_path, mask) == MASK.tolist()


def test_what_is_transparent_is_not_the_object(tmp_path: Path) -> None:
    assert found(tmp_path, rgba((9, 0, 0, 255), (9, 0, 0, 0), (0, 0, 0, 255))) == [[1, 0, 0]]


@pytest.mark.parametrize("kind", ["grey", "palette", "grey as RGB"])
def test_a_label_is_a_value_and_255_neither(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 7, 2], [255, 7, 3]], np.uint8)
    masks = {
        "grey": Image.fromarray(values),
        "palette": palette(values),
        "grey as RGB": Image.fromarray(np.stack([values] * 3, -1)),
    }
    assert found(tmp_path, masks[kind], label="7") == [[0, 1, 0], [255, 1, 0]]
    assert found(tmp_path, masks[kind], label="255") == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("label", ["5", "cat", "-1", "07"])
def test_a_label_that_is_not_there(tmp_path: Path, label: str) -> None:
    with pytest.raises(UserError, match=rf"mask\.png: no pixel has --label {label}; it holds 0, 1$"):
        found(tmp_path, Image.fromarray(MASK), label)


def test_images_that_are_no_masks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mask\.png: a mask in colours has no labels; leave --label out"):
        found(tmp_path, rgba((1, 2, 3)), "1")
    with pytest.raises(UserError, match=r"mask\.png: marks no object; mark it, or leave the support out$"):
        found(tmp_path, Image.new("L", (3, 2)))
    image, mask = support(tmp_path, Image.fromarray(MASK))
    Image.new("L", (3, 2), 255).save(mask.with_suffix(".jpg"))
    with pytest.raises(UserError, match=r"mask\.jpg: JPEG blurs a mask's values; save the mask as PNG$"):
        read_support(image, mask.with_suffix(".jpg"))
    with pytest.raises(UserError, match=r"nothing\.png: no such mask$"):
        read_support(image, tmp_path / "nothing.png")
    mask.write_text("text")
    with pytest.raises(UserError, match=r"mask\.png: not an image, or damaged; replace it"):
        read_support(image, mask)


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
    assert mask.tolist() == [[0, 0, 0], [0, 1, 0]]


def test_shapes_turn_with_their_image_and_a_mask_has_its_own_orientation(tmp_path: Path) -> None:
    save_oriented(tmp_path / "image.png", STORED[6], 6)
    drawn = labelme(shape("it", "rectangle", (1, 1), (1, 1)), size=(2, 3))  # the 5 where it is stored
    (tmp_path / "mask.json").write_text(json.dumps(drawn))
    save_oriented(tmp_path / "mask.png", (np.array(STORED[8]) == 5).astype(np.uint8), 8)
    for mask in ("mask.json", "mask.png"):
        assert read_support(tmp_path / "image.png", tmp_path / mask)[1].tolist() == [[0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("size", [(2, 3), (3, 3), (30, 20)])
def test_masks_of_another_size(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    says = rf"mask\.png: mask of 3x2 pixels for an image of {width}x{height}, .*/image\.png; replace one of the two$"
    with pytest.raises(UserError, match=says):
        found(tmp_path, Image.fromarray(MASK), size=size)


# LabelMe


def test_a_polygon_by_hand(tmp_path: Path) -> None:
    triangle = shape("a", "polygon", (1, 1), (5, 1), (1, 5))
    assert found(tmp_path, labelme(triangle), size=(8, 6)) == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0, 0],
    ]


def test_rectangles_and_circles_by_hand(tmp_path: Path) -> None:
    wide, high = shape("a", "rectangle", (4, 2), (1, 1)), shape("a", "rectangle", (6, 3), (7, 3), (7, 5), (6, 5))
    assert found(tmp_path, labelme(wide, high), size=(8, 6)) == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0, 1, 1],
    ]
    circle = np.array(found(tmp_path, labelme(shape("a", "circle", (3, 3), (3, 5))), size=(8, 6)))
    rows, columns = np.nonzero(circle)
    assert circle[3, 1:6].all()
    assert circle[1:6, 3].all()
    assert ((rows - 3) ** 2 + (columns - 3) ** 2).max() <= 2.5**2


def test_a_label_is_a_shape_s_name(tmp_path: Path) -> None:
    cat, dog = shape("cat", "rectangle", (0, 0), (0, 0)), shape("dog", "rectangle", (2, 0), (2, 0))
    line = shape("leash", "line", (0, 0), (2, 0))
    assert found(tmp_path, labelme(cat, dog, size=(3, 1)), size=(3, 1)) == [[1, 0, 1]]
    assert found(tmp_path, labelme(cat, dog, line, size=(3, 1)), "dog", size=(3, 1)) == [[0, 0, 1]]
    with pytest.raises(UserError, match=r"mask\.json: no shape has --label cow; it holds cat, dog$"):
        found(tmp_path, labelme(cat, dog, cat, size=(3, 1)), "cow", size=(3, 1))
    with pytest.raises(UserError, match=r"mask\.json: holds a shape of type 'line'; polygons, rectangles and circles"):
        found(tmp_path, labelme(cat, line, size=(3, 1)), size=(3, 1))


def test_old_files_state_no_size_and_no_type(tmp_path: Path) -> None:
    old = {"shapes": [{"label": "a", "points": [[0, 0], [1, 0], [0, 1]]}]}
    assert found(tmp_path, old, size=(3, 2)) == [[1, 1, 0], [1, 0, 0]]


INSIDE = shape("a", "rectangle", (1, 1), (2, 2))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"shapes": [', r"not JSON, or damaged \(.*\); save it again in LabelMe$"),
        ("\udcff", r"not JSON, or damaged"),
        ("[" * 100_000, r"not JSON, or damaged"),
        ([1, 2], r"not a LabelMe file, it holds no list of shapes; save it in LabelMe$"),
        ({"images": [], "annotations": []}, r"not a LabelMe file"),
        ({"shapes": ["a"]}, r"not a LabelMe file"),
        (labelme(), r"marks no object; mark it, or leave the support out$"),
        (labelme(INSIDE, size=(80, 60)), r"mask of 80x60 pixels for an image of 8x6"),
        (labelme(INSIDE, size=(10**12, 10**12)), r"mask of 1000000000000x1000000000000 pixels"),
        (
            labelme(INSIDE, size=(8, None)),
            r"its imageWidth and imageHeight are 8 and None, not numbers of pixels; save it again in LabelMe$",
        ),
        ({**labelme(INSIDE), "imageWidth": "8"}, r"its imageWidth and imageHeight are '8' and 6"),
        (
            labelme(shape("a", "polygon", (1, 1), (2, 2))),
            r"damaged: a polygon with the points \[\[1, 1\], \[2, 2\]\]; draw it again in LabelMe$",
        ),
        (labelme(shape("a", "circle", (1, 1))), r"damaged: a circle with the points"),
        (labelme({**INSIDE, "points": None}), r"damaged: a rectangle with the points None; draw it again in LabelMe$"),
        (labelme({**INSIDE, "points": [[1], [2]]}), r"damaged: a rectangle"),
        (labelme(shape("a", "rectangle", (1, float("nan")), (2, 2))), r"damaged: a rectangle"),
        (labelme(shape("a", "rectangle", (1, 1), (1e300, 2))), r"damaged: a rectangle"),
        (labelme(shape("a", "rectangle", (20, 20), (30, 30))), r"marks no object"),
        (labelme({**INSIDE, "shape_type": ["x"]}), r"holds a shape of type \['x'\]; polygons"),
    ],
)
def test_damaged_labelme_files(tmp_path: Path, content: Any, says: str) -> None:
    image, mask = support(tmp_path, "", size=(8, 6))
    text = content if isinstance(content, str) else json.dumps(content)
    mask.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=rf"mask\.json: {says}") as excinfo:
        read_support(image, mask)
    assert "\n" not in str(excinfo.value)


def test_a_labelme_file_that_is_missing(tmp_path: Path) -> None:
    image, mask = support(tmp_path, "", size=(8, 6))
    mask.unlink()
    with pytest.raises(UserError, match=r"mask\.json: no such mask$"):
        read_support(image, mask)
