"""LabelMe's JSONs as a source: the masks by hand and as LabelMe draws them, images in JSONs, turned images, damage."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as coding

import prepare
from dataset.images import ImageSet
from dataset.prepare.from_labelme import read_labelme
from dataset.prepare.own import Choices, Fault, Labelled, write_own
from tests.dataset.prepare.test_own import read_folder, read_masks, save_image
from tests.files import OneLine, write
from util.errors import UserError

WIDTH, HEIGHT = 6, 4
INSIDE = [(1, 1), (2, 2)]  # corners of a rectangle, whose outline is drawn too
SQUARE_MASK = [[0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]


def shape(label: Any, kind: Any, points: Any, **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points, "group_id": None, "flags": {}, **more}


def png(values: Any) -> str:
    with BytesIO() as file:
        Image.fromarray(np.array(values, np.uint8)).save(file, "PNG")
        return b64encode(file.getvalue()).decode()


def lay(path: Path, *shapes: Any, name: str | None = None, has_image: bool = True, **fields: Any) -> Path:
    """A JSON, and beside it the image of its name."""
    name = f"{path.stem}.jpg" if name is None else name
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
    if has_image:
        save_image(path.parent / name, (WIDTH, HEIGHT))
    return write(path, json.dumps({**content, "imageHeight": HEIGHT, "imageWidth": WIDTH, **fields}))


def make(folder: Path, images: Path | None = None) -> tuple[dict[str, dict[str, list[list[int]]]], list[str]]:
    """The masks that are written from a folder, and the lines that are printed."""
    out = folder.parent / "out"
    lines = write_own(out, read_labelme(folder, images), Choices())
    return read_masks(out), lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "labels"


def test_shapes_by_hand(folder: Path) -> None:
    lay(folder / "a.json", shape(" cat ", "rectangle", INSIDE), shape("dog", None, [(4, 0), (5, 0), (5, 1), (4, 1)]))
    lay(folder / "b" / "a.json", shape("cat", "circle", [(2, 2), (3, 2)]))
    lay(folder / "c.json", shape("cat", "mask", [(1, 1), (2, 2)], mask=png([[1, 0], [0, 1]])))
    lay(folder / "none.json")
    masks, _ = make(folder)
    assert masks == {
        "a": {
            "cat": SQUARE_MASK,
            "dog": [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [0] * 6, [0] * 6],
        },
        "b/a": {"cat": [[0] * 6, [0, 0, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0]]},
        "c": {"cat": [[0] * 6, [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0] * 6]},
        "none": {},
    }
    assert read_folder(folder.parent / "out")[0]["classes"] == ["cat", "dog"]


def test_the_objects_of_a_class_are_one_and_classes_overlap(folder: Path) -> None:
    lay(
        folder / "a.json",
        shape("cat", "rectangle", INSIDE),
        shape("cat", "rectangle", [(2, 2), (3, 2)]),
        shape("dog", "rectangle", INSIDE),
    )
    masks, _ = make(folder)
    assert masks["a"] == {"cat": [*SQUARE_MASK[:2], [0, 1, 1, 1, 0, 0], [0] * 6], "dog": SQUARE_MASK}


def test_background_and_ignored_take_pixels_of_what_was_drawn_before(folder: Path) -> None:
    lay(
        folder / "a.json",
        shape("cat", "rectangle", [(0, 0), (5, 0)]),
        shape("_background_", "rectangle", [(0, 0), (1, 0)]),
        shape("__ignore__", "rectangle", [(2, 0), (3, 0)]),
        shape("dog", "rectangle", [(3, 0), (3, 0)]),
    )
    masks, _ = make(folder)
    assert masks["a"] == {
        "cat": [[0, 0, 0, 0, 1, 1], [0] * 6, [0] * 6, [0] * 6],
        "dog": [[0, 0, 0, 1, 0, 0], [0] * 6, [0] * 6, [0] * 6],
    }
    (line,) = read_folder(folder.parent / "out")[1]
    ignored = coding.decode({"counts": line["ignored"].encode(), "size": line["size"]})
    assert ignored.tolist() == [[0, 0, 1, 1, 0, 0], [0] * 6, [0] * 6, [0] * 6]


def test_shapes_without_an_area_are_counted(folder: Path) -> None:
    lay(
        folder / "a.json",
        shape("cat", "rectangle", INSIDE),
        shape("eye", "point", [(1, 1)]),
        shape("eye", "points", [(1, 1), (2, 2)]),
        *[shape("tail", "line", [(1, 1), (2, 2)])] * 2,
        shape("tail", "linestrip", [(1, 1), (2, 2), (3, 1)]),
        shape("cat", "polygon", [(1, 1), (2, 2)]),
    )
    masks, lines = make(folder)
    assert masks == {"a": {"cat": SQUARE_MASK}}
    assert [line for line in lines if line.startswith("note")] == [
        "note: 1 shapes left out, of type point, which has no area",
        "note: 1 shapes left out, of type points, which has no area",
        "note: 2 shapes left out, of type line, which has no area",
        "note: 1 shapes left out, of type linestrip, which has no area",
        "note: 1 shapes left out, of type polygon with too few points",
    ]


# Where the image is


@pytest.mark.parametrize("said", ["../photos/a.jpg", "..\\photos\\a.jpg", "/somewhere/else/a.jpg"])
def test_an_image_in_another_folder(folder: Path, said: str) -> None:
    photos = folder.parent / "photos"
    save_image(photos / "a.jpg", (WIDTH, HEIGHT))
    lay(folder / "a.json", shape("cat", "rectangle", INSIDE), name=said, has_image=False)
    lay(folder / "b.json", shape("cat", "rectangle", INSIDE))
    fault, _ = read_labelme(folder).images()
    what = "its image 'a.jpg' is not beside it; add it, or name its folder with --images"
    assert fault == Fault(f"{folder / 'a.json'}: {what}", "no such image")
    assert make(folder, photos)[0] == {"a": {"cat": SQUARE_MASK}, "b": {"cat": SQUARE_MASK}}


def embed(image: Image.Image, kind: str) -> tuple[bytes, str]:
    with BytesIO() as file:
        image.save(file, kind)
        return file.getvalue(), b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg")])
@pytest.mark.parametrize("copy", [False, True])
def test_an_image_in_its_json(folder: Path, kind: str, suffix: str, copy: bool) -> None:
    content, text = embed(Image.new("RGB", (WIDTH, HEIGHT), "red"), kind)
    lay(folder / "x" / "a.json", shape("cat", "rectangle", INSIDE), has_image=False, imageData=text)
    out = folder.parent / "out"
    write_own(out, read_labelme(folder), Choices(), copy=copy)
    assert read_masks(out) == {"x/a": {"cat": SQUARE_MASK}}
    assert (out / "images" / "x" / f"a{suffix}").read_bytes() == content


def test_an_image_of_another_kind_in_its_json_becomes_png(folder: Path) -> None:
    image = Image.fromarray(np.arange(WIDTH * HEIGHT * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3))
    _, text = embed(image, "BMP")
    lay(folder / "a.json", shape("cat", "rectangle", INSIDE), has_image=False, imageData=text)
    make(folder)
    with Image.open(folder.parent / "out" / "images" / "a.png") as found:
        assert found.format == "PNG"
        assert np.array_equal(np.array(found), np.array(image))


TURNED_FAULT = "LabelMe drew on it as its EXIF turns it; save the image upright, without EXIF"


@pytest.mark.parametrize("turn", [3, 6])
def test_a_turned_image_is_a_fault(folder: Path, turn: int) -> None:
    lay(folder / "b.json", shape("cat", "rectangle", INSIDE))
    lay(folder / "a.json", shape("cat", "rectangle", INSIDE), has_image=False)
    save_image(folder / "a.jpg", (WIDTH, HEIGHT) if turn == 3 else (HEIGHT, WIDTH), turn)
    masks, lines = make(folder)
    assert list(masks) == ["b"]
    assert f"  {folder / 'a.jpg'}: {TURNED_FAULT}" in lines


def test_of_a_turned_image_the_one_in_the_json_is_taken(folder: Path) -> None:
    """It is the upright one that LabelMe showed."""
    shown = Image.fromarray(np.arange(WIDTH * HEIGHT * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3))
    content, text = embed(shown, "PNG")
    lay(folder / "a.json", shape("cat", "rectangle", INSIDE), has_image=False, imageData=text)
    save_image(folder / "a.jpg", (HEIGHT, WIDTH), turn=6)
    masks, _ = make(folder)
    assert masks == {"a": {"cat": SQUARE_MASK}}
    out = folder.parent / "out"
    assert (out / "images" / "a.png").read_bytes() == content
    assert Path(ImageSet("own", ("a",), out / "images", out, {}).image_path("a")) == out / "images" / "a.png"


# Damage


GOOD = shape("cat", "rectangle", INSIDE)
FAULTS: dict[str, tuple[Any, str]] = {
    "truncated": ('{"shapes": [', "a.json: not JSON, or damaged ("),
    "empty": ("", "a.json: not JSON, or damaged ("),
    "another JSON": ('{"images": []}', "a.json: not a LabelMe file, it holds no list of shapes; move it away"),
    "nan": (
        [shape("cat", "polygon", [(float("nan"), 0), (1, 1), (2, 0)])],
        "a shape of type 'polygon' with the points",
    ),
    "fractions": ([shape("cat", "polygon", [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)])], "are fractions of the image"),
    "beyond": ([shape("cat", "polygon", [(50, 50), (60, 50), (60, 60)])], "a shape beyond the image"),
    "kind": ([shape("cat", "cuboid", [(1, 1), (2, 2)])], "a shape of type 'cuboid'"),
    "mask": ([shape("cat", "mask", [(1, 1), (2, 2)], mask="xx")], "a mask whose PNG is damaged"),
    "size": ({"imageHeight": 5}, "a.jpg: 6x4 pixels, its labels are of 6x5; replace one of the two"),
    "huge": ({"imageHeight": 10**6, "imageWidth": 10**6}, "states an image of 1000000x1000000 pixels"),
    "image data": ({"imageData": "x", "imagePath": "no.jpg"}, "a.json: its imageData is damaged ("),
    "no image in it": (
        {"imageData": b64encode(b"no image").decode()},
        "a.json: the image in it: damaged or not an image",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_damage_leaves_that_image_out(folder: Path, one_line_error: OneLine, case: str) -> None:
    content, said = FAULTS[case]
    lay(folder / "b.json", GOOD)
    if isinstance(content, str):
        write(folder / "a.json", content)
    elif isinstance(content, list):
        lay(folder / "a.json", *content, GOOD)
    else:
        lay(folder / "a.json", GOOD, has_image="imageData" not in content, **content)
    masks, lines = make(folder)
    assert masks == {"b": {"cat": SQUARE_MASK}}
    (line,) = (line for line in lines if line.startswith("  "))
    assert said in line
    strict = folder.parent / "strict"
    flags = ["own", "--labelme", str(folder), "--out", str(strict), "--strict"]
    assert one_line_error(prepare.main, flags) == f"error: {line.strip()}"
    assert not strict.exists()


def test_points_beyond_the_image_are_cut(folder: Path) -> None:
    lay(folder / "a.json", shape("cat", "rectangle", [(-5, -5), (1, 1)]))
    assert make(folder)[0]["a"]["cat"] == [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0] * 6, [0] * 6]


def test_an_empty_image(folder: Path) -> None:
    lay(folder / "b.json", GOOD)
    lay(folder / "a.json", GOOD)
    write(folder / "a.jpg", "")
    masks, lines = make(folder)
    assert list(masks) == ["b"]
    assert f"  {folder / 'a.jpg'}: empty; fetch it again" in lines


def test_two_labels_of_one_image(folder: Path) -> None:
    lay(folder / "a.json", GOOD)
    lay(folder / "b.json", GOOD, name="a.jpg")
    masks, lines = make(folder)
    assert list(masks) == ["a"]
    assert f"  {folder / 'a.jpg'}: is listed twice; list it once" in lines


def test_a_folder_without_labels(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; name the one that LabelMe wrote to"):
        read_labelme(tmp_path / "no")
    with pytest.raises(UserError, match="holds no JSON; name the folder that LabelMe wrote to"):
        read_labelme(tmp_path)
    lay(tmp_path / "a.json", shape("eye", "point", [(1, 1)]))
    with pytest.raises(UserError, match="no JSON there holds a shape with an area"):
        read_labelme(tmp_path)


# LabelMe itself


def test_masks_are_those_of_labelme(tmp_path: Path) -> None:
    """Files that LabelMe wrote, and its own shape_to_mask."""
    package = pytest.importorskip("labelme")
    label_file = package.LabelFile()
    draw = np.random.RandomState(0)
    size = (41, 53)
    numbers = {
        "polygon": 7,
        "rectangle": 2,
        "circle": 2,
        "oriented_rectangle": 4,
        "line": 2,
        "point": 1,
        "linestrip": 3,
    }
    expected: dict[str, dict[str, Any]] = {}
    for number in range(12):
        name, shapes, masks = f"{number:02d}", [], {}
        for kind, points in numbers.items():
            corners = (draw.rand(points, 2) * (60, 50) - 4).round(2).tolist()
            corners[0] = [20.5, 20.0]  # not beyond the image as a whole
            label = f"class {draw.randint(3)}"
            shapes.append(shape(label, kind, corners, description="", mask=None))
            if kind not in ("line", "point", "linestrip"):
                drawn = package.utils.shape_to_mask(size, corners, kind)
                masks[label] = np.maximum(masks.get(label, 0), drawn.astype(int))
        values = draw.rand(11, 21) < 0.5
        whole = np.zeros(size, int)
        whole[5:16, 9:30] = values
        masks["class 0"] = np.maximum(masks.get("class 0", 0), whole)
        corners = [[9.0, 5.0], [29.0, 15.0]]
        text = package.utils.img_arr_to_b64(values.astype(np.uint8))
        shapes.append(shape("class 0", "mask", corners, description="", mask=text))
        save_image(tmp_path / "labels" / f"{name}.png", size[::-1])
        label_file.save(str(tmp_path / "labels" / f"{name}.json"), shapes, f"{name}.png", *size)
        expected[name] = {label: mask.tolist() for label, mask in masks.items() if mask.any()}
    assert make(tmp_path / "labels")[0] == expected


@pytest.mark.parametrize("turn", [1, 3, 6])
@pytest.mark.parametrize("embeds", [False, True])
def test_what_labelme_saves_of_a_turned_image(tmp_path: Path, turn: int, embeds: bool) -> None:
    """LabelMe shows it upright, states the upright size and keeps the upright pixels."""
    package = pytest.importorskip("labelme")
    path = tmp_path / "labels" / "a.jpg"
    save_image(path, (WIDTH, HEIGHT), turn)
    data = package.LabelFile.load_image_file(str(path))
    with Image.open(BytesIO(data)) as stored, Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).size
        assert ImageOps.exif_transpose(stored).size == upright
    shapes = [shape("cat", "rectangle", INSIDE, description="", mask=None)]
    package.LabelFile().save(str(path.with_suffix(".json")), shapes, "a.jpg", *upright[::-1], data if embeds else None)
    (found,) = read_labelme(path.parent).images()
    if turn != 1 and not embeds:
        assert isinstance(found, Fault)
        assert found.what == f"{path}: {TURNED_FAULT}"
        return
    assert isinstance(found, Labelled)
    write_own(tmp_path / "out", read_labelme(path.parent), Choices())
    (line,) = read_folder(tmp_path / "out")[1]
    assert tuple(line["size"]) == upright[::-1]
