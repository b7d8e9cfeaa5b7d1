"""LabelMe's files: which shapes mark the object, their pixels as LabelMe draws them, and what is passed over."""

from __future__ import annotations

import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prediction.labelme import draw_shapes, read_labelme
from prediction.masks import read_support
from tests.prediction.test_masks import found, labelme, shape, support
from tests.real_data import REAL_DATA
from util.errors import UserError

CAT, DOG = shape("cat", "rectangle", (0, 0), (0, 0)), shape("dog", "rectangle", (2, 0), (2, 0))
LINE = shape("leash", "line", (0, 0), (2, 0))
INSIDE = shape("a", "rectangle", (1, 1), (2, 2))
NOTHING = shape("a", "polygon", (1, 1), (2, 2))


def png(values: list[list[int]] | Image.Image, kind: str = "PNG") -> str:
    """A picture as LabelMe keeps a mask."""
    file = BytesIO()
    (values if isinstance(values, Image.Image) else Image.fromarray(np.array(values, np.uint8))).save(file, kind)
    return b64encode(file.getvalue()).decode()


def mask(text: Any, *corners: tuple[float, float], label: str = "a") -> dict[str, Any]:
    return {**shape(label, "mask", *corners), "mask": text}


# Pixels


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


CORNER = png([[1, 0], [1, 255]])  # one of LabelMe's has 0 and 1


@pytest.mark.parametrize(
    ("shapes", "label", "expected"),
    [
        ([CAT, DOG], None, [1, 0, 1, 0, 0]),
        ([CAT, DOG, LINE], "dog", [0, 0, 1, 0, 0]),
        ([CAT, {**DOG, "label": " dog "}], "dog", [0, 0, 1, 0, 0]),
        ([{**DOG, "label": 7}], "7", [0, 0, 1, 0, 0]),
        ([{**CAT, "shape_type": "Rectangle"}], None, [1, 0, 0, 0, 0]),
        ([LINE], None, [1, 1, 1, 0, 0]),
        ([LINE, shape("_background_", "rectangle", (1, 0), (1, 0))], None, [1, 0, 1, 0, 0]),
        ([LINE, shape("__ignore__", "rectangle", (1, 0), (1, 0))], None, [1, 255, 1, 0, 0]),
        ([shape("__ignore__", "rectangle", (1, 0), (3, 0)), LINE], None, [1, 1, 1, 255, 0]),
        ([DOG, CAT, shape("__ignore__", "rectangle", (1, 0), (1, 0))], "dog", [0, 255, 1, 0, 0]),
        ([LINE, shape("_background_", "rectangle", (1, 0), (1, 0))], "_background_", [0, 1, 0, 0, 0]),
        ([mask(CORNER, (1, 0), (2, 1))], None, [0, 1, 0, 0, 0]),
        ([mask(CORNER, (0.9, -1.0), (1.9, 0.0))], None, [1, 1, 0, 0, 0]),
        ([mask(CORNER, (4, -1), (5, 0))], None, [0, 0, 0, 0, 1]),
        ([LINE, mask(CORNER, (1, 0), (2, 1), label="_background_")], None, [1, 0, 1, 0, 0]),
        ([LINE, shape("_Background_", "rectangle", (1, 0), (1, 0))], None, [1, 0, 1, 0, 0]),
        ([mask(png(Image.new("1", (2, 1), 1)), (1, 0), (2, 0))], None, [0, 1, 1, 0, 0]),
        ([mask(CORNER, (1, 0), (3, 2))], None, [0, 1, 0, 0, 0]),
    ],
    ids=str,
)
def test_a_row_by_hand(tmp_path: Path, shapes: list[dict[str, Any]], label: str | None, expected: list[int]) -> None:
    """Of five pixels: labels in the order of the file, and masks in their boxes, cut by the image."""
    assert found(tmp_path, labelme(*shapes, size=(5, 1)), label, size=(5, 1)) == [expected]


KINDS = ("circle", "line", "linestrip", "mask", "oriented_rectangle", "point", "polygon", "rectangle")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_as_labelme_drew_it(kind: str) -> None:
    """Each file was drawn in LabelMe 6.3.1, and the array is what its own function makes of it."""
    path = REAL_DATA / "as_found" / "lm_real" / f"{kind}.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    _, labels = read_support(path.with_suffix(".jpg"), path)
    assert np.array_equal(labels, np.load(path.with_suffix(".npy")))


def test_files_of_the_real_labelme(tmp_path: Path) -> None:
    """Shapes over each other, of all kinds, with names of LabelMe's own: its own function makes the same of them."""
    package = pytest.importorskip("labelme")
    draw = np.random.RandomState(0)
    counts = {"polygon": 5, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 4, "point": 1}
    Image.new("RGB", (90, 70)).save(tmp_path / "a.png")
    for _ in range(20):
        shapes: list[dict[str, Any]] = []
        for kind, count in counts.items():
            points = (draw.rand(count, 2) * (90, 70)).round(2).tolist()
            name = ("cat", "_background_", "__ignore__")[draw.choice(3, p=(0.6, 0.2, 0.2))]
            shapes.append({**shape(name, kind, *points), "description": "", "mask": None})
        values = draw.rand(21, 31) < 0.5
        picture = package.utils.img_arr_to_b64(values.astype(np.uint8))
        shapes.append({**mask(picture, (20.0, 30.0), (50.0, 50.0), label="cat"), "description": ""})
        draw.shuffle(shapes)
        package.LabelFile().save(str(tmp_path / "a.json"), shapes, "a.png", 70, 90)
        decoded = [{**x, "mask": values if x["shape_type"] == "mask" else None} for x in shapes]
        numbers = {"cat": 1, "_background_": 0, "__ignore__": 255}
        expected, _ = package.utils.shapes_to_label((70, 90), decoded, numbers)
        assert np.array_equal(read_support(tmp_path / "a.png", tmp_path / "a.json")[1], expected)


@pytest.mark.parametrize(
    "size",
    [
        {},
        {"imageWidth": 3, "imageHeight": None},
        {"imageWidth": "3", "imageHeight": 2},
        {"imageWidth": 3.0, "imageHeight": 2.0},
    ],
)
def test_sizes_that_are_whole_floats_or_absent(tmp_path: Path, size: dict[str, Any]) -> None:
    old = {"shapes": [{"label": "a", "points": [[0, 0], [1, 0], [0, 1]]}], **size}
    assert found(tmp_path, old, size=(3, 2)) == [[1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_that_json_tells_apart(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(labelme({**INSIDE, "label": "人群"}), ensure_ascii=False).encode(encoding))
    assert len(read_labelme(path, "人群")[1]) == 1


# Shapes that cannot be drawn

DAMAGED: list[tuple[dict[str, Any], str]] = [
    (NOTHING, "a shape of type 'polygon' with the points [[1, 1], [2, 2]]"),
    (shape("a", "polygon"), "a shape of type 'polygon' with the points []"),
    (
        {**NOTHING, "points": [[1, 1, 1], [2, 1, 1], [2, 2, 1]]},
        "a shape of type 'polygon' with the points [[1, 1, 1], [2, 1",
    ),
    ({**INSIDE, "points": None}, "a shape of type 'rectangle' with the points None"),
    (
        shape("a", "rectangle", (1, float("nan")), (2, 2)),
        "a shape of type 'rectangle' with the points [[1, nan], [2, 2]]",
    ),
    (shape("a", "point", (10**400, 1)), "a shape of type 'point' with the points [[1000"),
    (shape("a", "circle", (1, 1)), "a shape of type 'circle' with the points [[1, 1]]"),
    (shape("a", "circle", (1, 1), (1, 1)), "a shape of type 'circle' with the points [[1, 1], [1, 1]]"),
    (
        shape("a", "oriented_rectangle", (1, 1), (2, 1), (2, 2)),
        "a shape of type 'oriented_rectangle' with the points [[1, 1]",
    ),
    (shape("a", "points", (1, 1), (2, 2)), "a shape of type 'points'"),
    (shape("a", "ellipse", (1, 1), (2, 2)), "a shape of type 'ellipse'"),
    (shape("a", "polygon", (0.1, 0.2), (0.9, 0.2), (0.5, 1)), "a shape whose points are fractions of the image"),
    (shape("a", "rectangle", (0, 0.25), (0.5, 1)), "a shape whose points are fractions of the image, not pixels"),
    (shape("a", "rectangle", (9, 1), (12, 4)), "a shape beyond the image"),
    (shape("a", "circle", (-5, -5), (-4, -5)), "a shape beyond the image"),
    (mask(None, (1, 1), (2, 2)), "a mask without a PNG"),
    (mask("no base64!", (1, 1), (2, 2)), "a mask whose PNG is damaged"),
    (mask(CORNER[:60], (1, 1), (2, 2)), "a mask whose PNG is damaged"),
    (mask(CORNER, (1, 1), (4, 2)), "a mask of 2x2 pixels in a box of 4x2"),
    (mask(CORNER, (2, 2), (1, 1)), "a mask of 2x2 pixels in a box of 0x0"),
    (mask(CORNER, (1, 1)), "a shape of type 'mask' with the points [[1, 1]]"),
    (mask(png(Image.new("RGB", (2, 2), "white")), (1, 1), (2, 2)), "a mask whose picture is no PNG of one channel"),
    (mask(png([[1]], "BMP"), (1, 1), (1, 1)), "a mask whose picture is no PNG of one channel"),
]


@pytest.mark.parametrize(("damaged", "says"), DAMAGED, ids=lambda x: str(x)[:30])
def test_a_shape_that_cannot_be_drawn(
    tmp_path: Path, damaged: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is passed over among good ones; alone it is an error."""
    drawn = found(tmp_path, labelme(INSIDE, damaged, CAT), size=(8, 6))
    assert np.argwhere(drawn).tolist() == [[0, 0], [1, 1], [1, 2], [2, 1], [2, 2]]
    assert f"mask.json: passes over 1 of 3 shapes: {says}" in capsys.readouterr().out
    background = {**INSIDE, "label": "_background_"}
    with pytest.raises(UserError) as raised:
        found(tmp_path, labelme(damaged, background), size=(8, 6))
    assert f"mask.json: no shape of the object can be drawn: {says}" in str(raised.value)
    assert str(raised.value).endswith("; draw it in LabelMe as polygon, rectangle, circle, line, point or mask")


def test_many_shapes_that_cannot_be_drawn_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ["ellipse", "ellipse", "cube", "cloud", "star"]
    draw_shapes("a.json", (8, 6), [(1, INSIDE), *((1, shape("a", kind)) for kind in kinds)])
    listed = "a shape of type 'ellipse' (2 times), a shape of type 'cube', a shape of type 'cloud', ..."
    assert capsys.readouterr().out == f"note: a.json: passes over 5 of 6 shapes: {listed}\n"


# Refusals


@pytest.mark.parametrize(
    ("content", "label", "says"),
    [
        ('{"shapes": [', None, r"not JSON, or damaged \(.*\); save it again in LabelMe$"),
        ([1, 2], None, r"not a LabelMe file, it holds no list of shapes; save it in LabelMe$"),
        (labelme(), None, r"marks no object; mark it, or leave the support out$"),
        (labelme({**INSIDE, "label": "_background_"}), None, r"marks no object"),
        (labelme(CAT, DOG, CAT), "cow", r"no shape has --label cow; it holds cat, dog$"),
        (labelme(CAT, DOG, CAT), "Cat", r"no shape has --label Cat; it holds cat, dog$"),
        (labelme(INSIDE, size=(80, 60)), None, r"mask of 80x60 pixels for an image of 8x6"),
        (labelme(INSIDE, size=(4.0, 3.0)), None, r"mask of 4\.0x3\.0 pixels for an image of 8x6"),
        (labelme(INSIDE, size=(8.5, 6)), None, r"mask of 8\.5x6 pixels for an image of 8x6"),
        (labelme(INSIDE, size=(None, 12)), None, r"mask of 8x12 pixels for an image of 8x6"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: Any, label: str | None, says: str) -> None:
    with pytest.raises(UserError, match=rf"^[^\n]*mask\.json: {says}") as caught:
        read_support(*support(tmp_path, content, (8, 6)), label)
    assert "\n" not in str(caught.value)


def test_text_of_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(labelme({**INSIDE, "label": "人群"}), ensure_ascii=False).encode("gb18030"))
    with pytest.raises(UserError, match=r"a\.json: not text in UTF-8, .*from GB18030: iconv -f GB18030 -t UTF-8"):
        read_labelme(path, None)
