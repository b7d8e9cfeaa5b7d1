"""Supports marked in LabelMe, and files of other labelling tools given as masks. LabelMe's outline belongs to a shape.

The disc of as_found, 20.0 % of the picture, has 20.2 % as LabelMe draws its 24 corners.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.as_found.cases import Case, Inputs, check

EXPORT = "export the mask of this image as PNG, or its polygons as JSON of LabelMe"


def found(mask: str, *more: str) -> Callable[[Inputs], list[str]]:
    """predict.py on as_found's picture with one of its masks."""

    def make(inputs: Inputs) -> list[str]:
        return _segment(inputs, str(inputs.found(f"mask/{mask}")), *more)

    return make


def made(name: str, content: Any, *more: str) -> Callable[[Inputs], list[str]]:
    """The same with a file of a tool, which is made here: a text, or what a JSON holds."""

    def make(inputs: Inputs) -> list[str]:
        path = inputs.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return _segment(inputs, str(path), *more)

    return make


def _segment(inputs: Inputs, mask: str, *more: str) -> list[str]:
    image = str(inputs.found("img/plain.jpg"))
    files = ["--support", image, "--mask", mask, "--query", image, "--out", str(inputs.folder / "out")]
    return ["predict.py", "--checkpoint", str(inputs.checkpoint), *files, *more]


def drawn(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A LabelMe file."""
    return {"version": "5.8.1", "imageWidth": 160, "imageHeight": 120, "shapes": list(shapes), **more}


def shape(kind: str | None, *points: tuple[float, ...], label: str = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points, **more}


BOX = shape("rectangle", (40, 30), (119, 77))  # 80 x 48 of 160 x 120: 20.0 %
LABELME = [
    *(
        Case(name, found(f"{name}.json"), 0, says)
        for name, says in {
            "lm_polygon": r"20\.2% object",
            "lm_mask": r"20\.0% object",
            "lm_mask_bool": r"20\.0% object",
            "lm_oriented": r"11\.7% object",  # as the array of lm_real
            "lm_line": r"4\.2% object",
            "lm_linestrip": r"4\.[34]% object",
            "lm_point": r"0\.5% object",
            "lm_poly_and_point": r"20\.2% object",
            "lm_poly_and_2point_polygon": r"passes over 1 of 2 shapes: a shape of type 'polygon' with .*\[\[3, 3",
            "lm_poly_and_empty": r"passes over 1 of 2 shapes: a shape of type 'polygon' with the points \[\]",
            "lm_shape_type_caps": r"20\.2% object",
            "lm_background_hole": r"17\.9% object",
            "lm_ignore": r"20\.2% object",
            "lm_float_size": r"20\.2% object",
            "lm_null_size": r"20\.2% object",
            "lm_one_null_size": r"20\.2% object",
            "lm_bom": r"20\.2% object",
            "lm_utf16": r"20\.2% object",
            "lm_chinese": r"20\.2% object",
            "lm_windows": r"20\.2% object",
            "lm_flags_null": r"20\.2% object",
            "lm_label_int": r"20\.2% object",
            "lm_label_space": r"20\.2% object",
        }.items()
    ),
    *(
        Case(name, found(f"{name}.json"), 2, rf"{name}\.json: {says}")
        for name, says in {
            "lm_points": r"no shape of the object can be drawn: a shape of type 'points'; draw it in LabelMe as",
            "lm_ellipse": r"no shape of the object can be drawn: a shape of type 'ellipse'; draw it in LabelMe as",
            "lm_zero_circle": r"no shape of the object can be drawn: a shape of type 'circle' with .*\[\[80, 60",
            "lm_nan": r"no shape of the object can be drawn: a shape of type 'polygon' with .*\[\[nan, 1",
            "lm_3d_points": r"no shape of the object can be drawn: .*'polygon' with .*\[\[115\.0, 60\.0, 1",
            "lm_no_shapes": r"marks no object; mark it",
            "lm_half_size": r"mask of 80x60 pixels for an image of 160x120",
            "lm_gbk": r"not text in UTF-8, .* \(from GB18030: iconv",
        }.items()
    ),
    Case("lm_label_int, --label 1", found("lm_label_int.json", "--label", "1"), 0, r"20\.2% object"),
    Case("lm_label_space, --label cat", found("lm_label_space.json", "--label", "cat"), 0, r"20\.2% object"),
    Case("lm_chinese, --label", found("lm_chinese.json", "--label", "人群"), 0, r"20\.2% object"),
    Case("lm_ignore, --label cat", found("lm_ignore.json", "--label", "cat"), 0, r"20\.2% object"),
    Case("lm_background_hole, --label cat", found("lm_background_hole.json", "--label", "cat"), 0, r"17\.9% object"),
    Case(
        "X-AnyLabeling: rotation, difficult",
        made(
            "a.json", drawn(shape("rotation", (40, 30), (119, 30), (119, 77), (40, 77), direction=0.0, difficult=False))
        ),
        0,
        r"20\.0% object",
    ),
    Case(
        "a rectangle of four corners",
        made("a.json", drawn(shape("rectangle", (40, 30), (119, 30), (119, 77), (40, 77)))),
        0,
        r"20\.0% object",
    ),
    Case(
        "a rectangle of four corners, turned: half of its box",
        made("a.json", drawn(shape("rectangle", (80, 20), (120, 60), (80, 100), (40, 60)))),
        0,
        r"17\.1% object",
    ),
    Case(
        "X-AnyLabeling: quadrilateral",
        made("a.json", drawn(shape("quadrilateral", (40, 30), (119, 30), (119, 77), (40, 77)))),
        0,
        r"20\.0% object",
    ),
    Case(
        "a label of macOS, its accent apart",
        made("a.json", drawn({**BOX, "label": "cafe\u0301"}), "--label", "caf\u00e9"),
        0,
        r"20\.0% object",
    ),
    Case(
        "LabelMe 3: no shape_type",
        made("a.json", drawn({"label": "cat", "points": [[40, 30], [119, 30], [119, 77], [40, 77]]})),
        0,
        r"20\.0% object",
    ),
    Case(
        "a cuboid beside a box",
        made("a.json", drawn(BOX, shape("cuboid", (1, 1)))),
        0,
        r"passes over 1 of 2 shapes: a shape of type 'cuboid'",
    ),
    Case(
        "a box with a number of 400 digits",
        made("a.json", drawn(BOX, shape("point", (10**400, 1)))),
        0,
        r"passes over 1 of 2 shapes: .*'point'",
    ),
    Case(
        "heights as whole floats", made("a.json", drawn(BOX, imageHeight=120.0, imageWidth=160.0)), 0, r"20\.0% object"
    ),
    Case(
        "half the height",
        made("a.json", drawn(BOX, imageHeight=60.0, imageWidth=80.0)),
        2,
        r"mask of 80\.0x60\.0 pixels for an image of 160x120",
    ),
    Case(
        "null width, another height",
        made("a.json", drawn(BOX, imageHeight=60, imageWidth=None)),
        2,
        r"mask of 160x60 pixels for",
    ),
    Case(
        "__ignore__ below the object",
        made("a.json", drawn(shape("rectangle", (0, 0), (159, 60), label="__ignore__"), BOX)),
        0,
        r"20\.0% object",
    ),
    Case(
        "__ignore__ everywhere below the object",
        made("a.json", drawn(shape("rectangle", (0, 0), (159, 119), label="__ignore__"), BOX)),
        2,
        r"a\.json: leaves no background",
    ),
    Case(
        "nothing but _background_",
        made("a.json", drawn({**BOX, "label": "_background_"})),
        2,
        r"a\.json: marks no object",
    ),
]

POLYGON = [[1, 1, 5, 1, 5, 5]]
OTHERS = [
    Case("COCO", found("coco.json"), 2, rf"coco\.json: COCO annotations, not a mask; {EXPORT}"),
    Case("ISAT", found("isat.json"), 2, rf"isat\.json: ISAT annotations, not a mask; {EXPORT}"),
    Case(
        "Supervisely", found("supervisely.json"), 2, r"supervisely\.json: Supervisely annotations, not a mask; export"
    ),
    Case("VIA", found("via.json"), 2, r"via\.json: VIA annotations, not a mask; export"),
    Case(
        "Label Studio, polygon", found("label_studio.json"), 2, r'a Label Studio export, not a mask; .*"Brush labels to'
    ),
    Case("CVAT, XML", found("cvat.xml"), 2, r'cvat\.xml: annotations in XML, such as CVAT\'s, .*"Segmentation mask"'),
    Case("NumPy", found("disc.npy"), 2, r"disc\.npy: a NumPy array, .*; save it as PNG: Image\.fromarray"),
    *(
        Case(name, made(file, content), 2, rf"{file}: {says}, not a mask")
        for name, file, content, says in (
            (
                "COCO, results",
                "a.json",
                [{"image_id": 1, "category_id": 1, "segmentation": POLYGON, "score": 1}],
                "COCO results",
            ),
            (
                "COCO, Roboflow",
                "a.json",
                {
                    "info": {"description": "Exported from roboflow.com"},
                    "licenses": [],
                    "categories": [],
                    "images": [],
                    "annotations": [],
                },
                "COCO annotations",
            ),
            (
                "SA-1B",
                "a.json",
                {"image": {"image_id": 1}, "annotations": [{"segmentation": {"size": [1, 1], "counts": "1"}}]},
                "annotations of Segment Anything or CreateML",
            ),
            (
                "SAM's generator",
                "a.json",
                [{"segmentation": {"size": [1, 1], "counts": "1"}, "area": 1, "predicted_iou": 1.0}],
                "masks of Segment Anything",
            ),
            (
                "CreateML",
                "a.json",
                [{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {}}]}],
                "annotations of Segment Anything or CreateML",
            ),
            (
                "Label Studio, brush",
                "a.json",
                [
                    {
                        "id": 1,
                        "annotations": [
                            {"result": [{"type": "brushlabels", "value": {"format": "rle", "rle": [0, 0, 1]}}]}
                        ],
                        "data": {"image": "a.jpg"},
                    }
                ],
                "a Label Studio export",
            ),
            (
                "Label Studio, one task",
                "a.json",
                {"id": 1, "annotations": [], "data": {"image": "a.jpg"}},
                "a Label Studio export",
            ),
            (
                "Label Studio, small",
                "a.json",
                [{"image": "a.jpg", "id": 1, "label": [], "annotator": 1, "annotation_id": 1}],
                "a Label Studio export",
            ),
            (
                "VIA, project",
                "a.json",
                {"_via_settings": {}, "_via_img_metadata": {}, "_via_attributes": {}},
                "a VIA project",
            ),
            (
                "Datumaro",
                "a.json",
                {"info": {}, "categories": {"label": {"labels": []}}, "items": []},
                "a Datumaro dataset",
            ),
            ("Cityscapes", "a.json", {"imgHeight": 120, "imgWidth": 160, "objects": []}, "Cityscapes polygons"),
            (
                "V7 Darwin",
                "a.json",
                {"version": "2.0", "item": {"name": "a.jpg"}, "annotations": []},
                "V7 Darwin annotations",
            ),
            ("Labelbox", "a.json", [{"data_row": {}, "media_attributes": {}, "projects": {}}], "a Labelbox export"),
            (
                "SuperAnnotate",
                "a.json",
                {"metadata": {"name": "a.jpg"}, "instances": [], "tags": []},
                "SuperAnnotate annotations",
            ),
            ("VoTT", "a.json", {"asset": {"name": "a.jpg"}, "regions": []}, "VoTT annotations"),
            ("RLE", "a.json", {"size": [120, 160], "counts": "abc"}, r"a mask packed as COCO does \(RLE\)"),
            ("Roboflow", "a.json", {"predictions": [], "image": {"width": 160}}, "predictions of Roboflow"),
            ("GeoJSON", "a.json", {"type": "FeatureCollection", "features": []}, "GeoJSON"),
            ("QuPath", "a.json", [{"type": "Feature", "geometry": {}}], "GeoJSON"),
            ("EISeg", "a.json", [{"name": "cat", "labelIdx": 1, "points": []}], "polygons of EISeg"),
            ("YOLO", "a.txt", "0 0.5 0.5 0.2 0.3\n", "text, such as YOLO's labels"),
            ("Labelbox, lines", "a.ndjson", '{"data_row": {}}\n', "lines of JSON"),
            ("VIA, table", "a.csv", "filename,region_count\n", "a table, such as VIA's"),
        )
    ),
    Case("a JSON of nobody's", made("a.json", {"a": 1}), 2, r"a\.json: not a LabelMe file, it holds no list of shapes"),
]


def beside(inputs: Inputs) -> list[str]:
    """An image with another tool's file where a mask is looked for."""
    image = inputs.folder / "cat.jpg"
    image.write_bytes(inputs.found("img/plain.jpg").read_bytes())
    image.with_suffix(".json").write_bytes(inputs.found("mask/isat.json").read_bytes())
    files = ["--support", str(image), "--query", str(inputs.found("img/plain.jpg"))]
    return ["predict.py", "--checkpoint", str(inputs.checkpoint), *files, "--out", str(inputs.folder / "out")]


CASES = [
    *LABELME,
    *OTHERS,
    Case("ISAT beside its image", beside, 2, rf"cat\.json: ISAT annotations, not a mask; {EXPORT}"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_labellers(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)
