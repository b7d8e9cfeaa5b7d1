"""COCO's JSON as a source: the masks by hand and as pycocotools decodes them, the layouts of several tools, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coding
from pycocotools.coco import COCO

import prepare
from dataset.own import Own
from dataset.prepare.from_coco import read_coco, split_name
from dataset.prepare.own import Choices, Fault, Labelled, write_own
from tests.dataset.prepare.test_own import decode, encode, read_folder, read_masks, save_image
from tests.files import OneLine, write
from util.errors import UserError

WIDTH, HEIGHT = 6, 4
SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]  # corners on the grid: the pixels 1 and 2 of rows 1 and 2
SQUARE_MASK = [[0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
FAR = [4, 0, 6, 0, 6, 2, 4, 2]
BOTH_MASK = [[0, 0, 0, 0, 1, 1], [0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
RUNS = {"size": [HEIGHT, WIDTH], "counts": [5, 2, 2, 2, 13]}  # SQUARE, down the columns
PACKED = {"size": [HEIGHT, WIDTH], "counts": encode(SQUARE_MASK).decode()}


def image(id_: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "file_name": name, "height": HEIGHT, "width": WIDTH, **more}


def mark(image_id: int, category: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image_id, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def lay(folder: Path, images: list[Any], annotations: list[Any], categories: Any = None, names: Any = None) -> Path:
    """A JSON, its images in photos/ under their own names, or under others."""
    for name in [x["file_name"] for x in images] if names is None else names:
        save_image(folder / "photos" / name, (WIDTH, HEIGHT))
    categories = [{"id": 3, "name": "dog"}, {"id": 0, "name": "cat"}] if categories is None else categories
    content = {"images": images, "annotations": annotations, "categories": categories}
    return write(folder / "coco.json", json.dumps(content))


def make(folder: Path, *parts: Any, **named: Any) -> tuple[dict[str, dict[str, list[list[int]]]], list[str]]:
    """The masks that are written from such a JSON, and the lines that are printed."""
    source = read_coco(lay(folder, *parts, **named), folder / "photos")
    lines = write_own(folder / "out", source, Choices())
    return read_masks(folder / "out"), lines


@pytest.mark.parametrize("segmentation", [[SQUARE], RUNS, PACKED])
@pytest.mark.parametrize("crowd", [0, 1])
def test_each_kind_of_segmentation_by_hand(tmp_path: Path, segmentation: Any, crowd: int) -> None:
    masks, _ = make(tmp_path, [image(9, "a.jpg")], [mark(9, 0, segmentation, iscrowd=crowd)])
    assert masks == {"a": {"cat": SQUARE_MASK}}


def test_the_objects_of_a_class_are_one_and_classes_overlap(tmp_path: Path) -> None:
    marks = [mark(1, 3, [SQUARE]), mark(1, 3, [FAR]), mark(1, 0, [SQUARE, FAR])]
    masks, _ = make(tmp_path, [image(1, "a.jpg"), image(0, "b.jpg")], marks)
    assert masks == {"a": {"dog": BOTH_MASK, "cat": BOTH_MASK}, "b": {}}
    assert read_folder(tmp_path / "out")[0]["classes"] == ["cat", "dog"]  # by id, not in the order of the file


def test_points_beyond_the_image_are_cut(tmp_path: Path) -> None:
    masks, _ = make(tmp_path, [image(1, "a.jpg")], [mark(1, 0, [[-3, -3, 2, -3, 2, 2, -3, 2]])])
    assert masks["a"]["cat"] == [[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0] * 6, [0] * 6]


def test_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    """Roboflow writes a category 0 of the project's name; here it is a class's too."""
    categories = [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 1, "name": "cat"}]
    masks, _ = make(tmp_path, [image(1, "a.jpg")], [mark(1, 1, [SQUARE])], categories)
    assert masks == {"a": {"cat": SQUARE_MASK}}


def test_a_name_keeps_its_dots(tmp_path: Path) -> None:
    names = ["cat_jpg.rf.abc123.jpg", "cat_jpg.rf.abc124.jpg"]
    masks, _ = make(tmp_path, [image(n, name) for n, name in enumerate(names)], [mark(0, 0, [SQUARE])])
    assert masks == {"cat_jpg.rf.abc123": {"cat": SQUARE_MASK}, "cat_jpg.rf.abc124": {}}


LVIS = {"id": 5, "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg", "height": 4, "width": 6}
PLACES = {  # what the JSON says; the file; its id
    "folders": ("a/b/c.jpg", "a/b/c.jpg", "a/b/c"),
    "Windows": ("a\\c.jpg", "a/c.jpg", "a/c"),
    "folder above": ("c.jpg", "train/deep/c.jpg", "train/deep/c"),
    "folder left out": ("images/train/c.jpg", "c.jpg", "c"),
    "some folders left out": ("images/train/c.jpg", "train/c.jpg", "train/c"),
    "another machine": ("/home/me/photos/c.jpg", "c.jpg", "c"),
    "above": ("../../media/upload/1/c.jpg", "c.jpg", "c"),
    "Label Studio": ("/data/local-files/?d=photos/c.jpg", "c.jpg", "c"),
    "drive": ("C:\\photos\\c.jpg", "c.jpg", "c"),
}


@pytest.mark.parametrize("case", PLACES)
def test_where_images_lie(tmp_path: Path, case: str) -> None:
    said, name, id_ = PLACES[case]
    masks, _ = make(tmp_path, [image(1, said)], [mark(1, 0, [SQUARE])], names=[name])
    assert masks == {id_: {"cat": SQUARE_MASK}}


@pytest.mark.parametrize("name", ["000000391895.jpg", "train2017/000000391895.jpg"])
def test_lvis(tmp_path: Path, name: str) -> None:
    lvis = {**LVIS, "neg_category_ids": [3], "not_exhaustive_category_ids": []}
    masks, _ = make(tmp_path, [lvis], [mark(5, 0, [SQUARE])], names=[name])
    assert masks == {name.removesuffix(".jpg"): {"cat": SQUARE_MASK}}


def test_of_two_folders_the_one_that_is_named(tmp_path: Path) -> None:
    names = ["train/c.jpg", "val/c.jpg"]
    masks, _ = make(tmp_path, [image(1, "val/c.jpg")], [mark(1, 0, [SQUARE])], names=names)
    assert list(masks) == ["val/c"]


@pytest.mark.parametrize("layout", ["annotations/instances_NAME.json", "photos/NAME/_annotations.coco.json"])
def test_a_json_of_training_and_one_of_validation(tmp_path: Path, layout: str) -> None:
    """Both may have an image of one name, which is in the folder that the JSON is called by, or lies in."""
    jsons = []
    for n, name in enumerate(("train", "valid")):
        for one in ("c", "sub/c", name):
            save_image(tmp_path / "photos" / name / f"{one}.jpg", (WIDTH, HEIGHT))
        images = [image(1, "c.jpg"), image(2, f"{name}.jpg")]
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": ("dog", "cow")[n]}]
        content = {"images": images, "annotations": [mark(2, n + 1, [SQUARE])], "categories": categories}
        jsons.append(write(tmp_path / layout.replace("NAME", name), json.dumps(content)))
    out = tmp_path / "out"
    flags = ("--val", str(jsons[1]), "--images", str(tmp_path / "photos"), "--out", str(out))
    prepare.main(["own", "--coco", str(jsons[0]), *flags])
    found = read_folder(out)[0]
    assert found["lists"] == {"train": ["train/c", "train/train"], "val": ["valid/c", "valid/valid"]}
    assert found["classes"] == ["cat", "cow"]
    assert read_masks(out)["valid/valid"] == {"cow": SQUARE_MASK}


def test_what_a_json_says_leads_nowhere(tmp_path: Path) -> None:
    assert split_name("a/../../b/c.jpg") == ("b", "c.jpg")
    assert split_name("a/..") == ()
    assert split_name("http://x.org/c.jpg") == ("x.org", "c.jpg")
    outside = save_image(tmp_path / "secret.jpg", (WIDTH, HEIGHT))
    for said in (str(outside), "../secret.jpg"):
        source = read_coco(
            lay(tmp_path, [image(1, said)], [mark(1, 0, [SQUARE])], names=["a.jpg"]), tmp_path / "photos"
        )
        (found,) = source.images()
        assert isinstance(found, Fault)


def test_a_size_that_is_not_stated_is_the_images(tmp_path: Path) -> None:
    masks, _ = make(tmp_path, [image(1, "a.jpg", height=None)], [mark(1, 0, [SQUARE])])
    assert masks == {"a": {"cat": SQUARE_MASK}}


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    box = {"bbox": [0, 0, 2, 2]}
    marks = [
        mark(1, 0, [SQUARE]),
        *(mark(1, 3, empty, **box) for empty in ([], None, [])),
        mark(1, 3, []),
        mark(1, 3, [[0, 0, 1, 1]], **box),
        mark(77, 0, [SQUARE]),
    ]
    masks, lines = make(tmp_path, [image(1, "a.jpg")], marks)
    assert masks == {"a": {"cat": SQUARE_MASK}}
    assert "ignored" not in read_folder(tmp_path / "out")[1][0]  # the boxes are a dog's
    left_out = "annotations left out,"
    assert [line for line in lines if line.startswith("note")] == [
        f"note: {tmp_path / 'coco.json'}: 1 {left_out} without a segmentation",
        f"note: {tmp_path / 'coco.json'}: 1 {left_out} of fewer than three points, which enclose nothing",
        f"note: {tmp_path / 'coco.json'}: 3 {left_out} with a box alone, in images without an outline of their class",
        f"note: {tmp_path / 'coco.json'}: 1 {left_out} of images that it does not list",
        "note: 1 classes that no image shows are left out: dog",
    ]


def test_a_box_beside_an_outline_of_its_class_counts_for_nothing(tmp_path: Path) -> None:
    """So a cat that nobody outlined is no background in an episode of cats."""
    marks = [mark(1, 0, [SQUARE]), mark(1, 0, [], bbox=[2, 0, 2, 3]), mark(1, 3, None, bbox=[4, 2, 2, 2])]
    masks, lines = make(tmp_path, [image(1, "a.jpg")], marks)
    assert masks == {"a": {"cat": SQUARE_MASK}}
    assert decode(read_folder(tmp_path / "out")[1][0]["ignored"], [HEIGHT, WIDTH]) == [
        [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0], [0] * 6,
    ]  # fmt: skip
    own = Own(tmp_path / "out").annotations
    assert own.mask(own.read("a"), 1).tolist() == [
        [0, 0, 255, 255, 0, 0], [0, 1, 1, 255, 0, 0], [0, 1, 1, 255, 0, 0], [0] * 6,
    ]  # fmt: skip
    why = "with a box alone, whose pixels count for nothing beside outlines of their class"
    assert f"note: {tmp_path / 'coco.json'}: 1 annotations left out, {why}" in lines


def test_a_category_called_background_is_no_class(tmp_path: Path) -> None:
    """labelme2coco writes one."""
    categories = [{"id": 0, "name": "_background_"}, {"id": 1, "name": "cat"}]
    marks = [mark(1, 0, [FAR]), mark(1, 1, [SQUARE])]
    masks, lines = make(tmp_path, [image(1, "a.jpg")], marks, categories)
    assert masks == {"a": {"cat": SQUARE_MASK}}
    what = "1 annotations left out, of the category _background_"
    assert [line for line in lines if line.startswith("note")] == [f"note: {tmp_path / 'coco.json'}: {what}"]


def test_masks_are_those_of_pycocotools(tmp_path: Path) -> None:
    """COCO's own annToMask draws each annotation; the union of each class is written."""
    draw = np.random.RandomState(0)
    marks, size = [], (37, 53)
    for number in range(60):
        kind = number % 3
        region = np.kron(draw.rand(5, 6) < 0.4, np.ones((8, 9)))[: size[0], : size[1]].astype(np.uint8)
        packed = coding.encode(np.asfortranarray(region))
        segmentation: Any = [(draw.rand(2 * draw.randint(3, 9)) * 60 - 4).tolist() for _ in range(draw.randint(1, 4))]
        if kind:
            pixels = region.T.ravel()
            ends = [*np.flatnonzero(np.diff(pixels)) + 1, pixels.size]
            counts = np.diff([0, *([0] if pixels[0] else []), *ends]).tolist()
            segmentation = {"size": list(size), "counts": counts if kind == 1 else packed["counts"].decode()}
        marks.append({**mark(number % 4, number % 5, segmentation, iscrowd=int(kind == 1)), "id": number + 1})
    images = [image(n, f"{n}.png", height=size[0], width=size[1]) for n in range(4)]
    for entry in images:
        save_image(tmp_path / "photos" / entry["file_name"], size[::-1])
    categories = [{"id": n, "name": f"class {n}"} for n in range(5)]
    masks, _ = make(tmp_path, images, marks, categories, names=[])
    coco = COCO(tmp_path / "coco.json")
    for n in range(4):
        expected: dict[str, Any] = {}
        for entry in coco.imgToAnns[n]:
            name = f"class {entry['category_id']}"
            expected[name] = np.maximum(expected.get(name, 0), coco.annToMask(entry))
        assert {name: found.tolist() for name, found in expected.items() if found.any()} == masks[f"{n}"]


# Damage


def wrong(images: Any = None, annotations: Any = None, categories: Any = None) -> str:
    content = {
        "images": [image(1, "a.jpg")] if images is None else images,
        "annotations": [mark(1, 0, [SQUARE])] if annotations is None else annotations,
        "categories": [{"id": 0, "name": "cat"}] if categories is None else categories,
    }
    return json.dumps(content)


DAMAGED = {
    "truncated": (wrong()[:80], "damaged, or not JSON ("),
    "empty": ("", "damaged, or not JSON ("),
    "list": ("[]", "not annotations in COCO's form, which has lists of images, annotations, categories"),
    "captions": ('{"images": [], "annotations": []}', "not annotations in COCO's form"),
    "no id": (wrong(images=[{"file_name": "a.jpg"}]), "image number 1 has no id; export"),
    "no name": (wrong(images=[{"id": 1}]), "image 1 has no file_name; export"),
    "no entry": (wrong(images=[7]), "image number 1 is no entry of COCO's"),
    "same id": (wrong(images=[image(1, "a.jpg"), image(1, "b.jpg")]), "two images have the id 1"),
    "id of a category": (wrong(categories=[{"id": "x", "name": "cat"}]), "its id is 'x', no whole number"),
    "categories": (
        wrong(categories=[{"id": 0, "name": "cat"}, {"id": 0, "name": "dog"}]),
        "two categories have the id 0, cat and dog",
    ),
    "annotation": (wrong(annotations=[None]), "annotation number 1 is no entry of COCO's"),
    "boxes": (wrong(annotations=[mark(1, 0, [], bbox=[0, 0, 1, 1])]), "boxes alone, without a segmentation"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_of_the_whole_is_one_line(tmp_path: Path, one_line_error: OneLine, case: str) -> None:
    text, said = DAMAGED[case]
    save_image(tmp_path / "photos" / "a.jpg", (WIDTH, HEIGHT))
    file = write(tmp_path / "coco.json", text)
    out = tmp_path / "out"
    flags = ["own", "--coco", str(file), "--images", str(tmp_path / "photos"), "--out", str(out)]
    line = one_line_error(prepare.main, flags)
    assert line.startswith(f"error: {file}: ")
    assert said in line
    assert not out.exists()


FAULTS = {
    "nan": ([mark(1, 0, [[float("nan"), 0, 2, 0, 2, 2]])], "annotation 1: no polygons or run lengths ("),
    "far": ([mark(1, 0, [[1e9, 0, 2, 0, 2, 2]])], "annotation 1: no polygons or run lengths ("),
    "odd": ([mark(1, 0, [[0, 0, 2, 0, 2, 2, 1]])], "annotation 1: no polygons or run lengths ("),
    "flat": ([mark(1, 0, [0, 0, 2, 0, 2, 2])], "one flat list; a polygon is a list in a list of parts"),
    "words": ([mark(1, 0, "polygon")], "annotation 1: no polygons or run lengths ("),
    "runs": ([mark(1, 0, {**RUNS, "counts": [5, 2]})], "the run lengths do not fill the image"),
    "size of runs": ([mark(1, 0, {**RUNS, "size": [6, 4]})], "its size is not the image's"),
    "box": ([mark(1, 0, [], bbox=[1, 2, 3])], "annotation 1: no box ("),
    "box of words": ([mark(1, 0, [], bbox=[1, 2, 3, "x"])], "annotation 1: no box ("),
    "category": ([mark(1, 5, [SQUARE])], "annotation 1 is of category 5, which is not listed"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_damage_of_an_image_leaves_that_image_out(tmp_path: Path, case: str) -> None:
    marks, said = FAULTS[case]
    images = [image(1, "a.jpg"), image(2, "b.jpg")]
    masks, lines = make(tmp_path, images, [*marks, mark(1, 0, [SQUARE]), mark(2, 0, [SQUARE])])
    assert masks == {"b": {"cat": SQUARE_MASK}}
    assert "left out, annotation: 1 of 2 images" in lines
    (line,) = (line for line in lines if line.startswith("  "))
    assert line.startswith(f"  {tmp_path / 'coco.json'}: ")
    assert said in line
    assert line.endswith(", of a.jpg; mend it, or leave the image out")
    with pytest.raises(UserError, match=r"of a\.jpg; mend it"):
        write_own(tmp_path / "strict", read_coco(tmp_path / "coco.json", tmp_path / "photos"), Choices(), strict=True)
    assert not (tmp_path / "strict").exists()


FILES = {  # what the JSON lists beside b.jpg; the files; what is said
    "missing": ("no.jpg", [], "photos/no.jpg: no such image, which "),
    "two": ("c.jpg", ["x/c.jpg", "y/c.jpg"], "photos/c.jpg: may be "),
    "twice": ("b.jpg", [], "photos/b.jpg: is listed twice; list it once"),
    "suffix": ("b.png", ["b.png"], "photos/b.jpg; rename one"),
    "no name": ("x/..", [], "no such image, which "),
}


@pytest.mark.parametrize("case", FILES)
def test_images_that_cannot_be_found(tmp_path: Path, case: str) -> None:
    name, files, said = FILES[case]
    marks = [mark(1, 0, [SQUARE]), mark(2, 0, [SQUARE])]
    masks, lines = make(tmp_path, [image(1, "b.jpg"), image(2, name)], marks, names=["b.jpg", *files])
    assert masks == {"b": {"cat": SQUARE_MASK}}
    (line,) = (line for line in lines if line.startswith("  "))
    assert said in line


def test_without_a_folder_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name with --coco the JSON of the annotations"):
        read_coco(tmp_path / "no.json", tmp_path)
    file = lay(tmp_path, [image(1, "a.jpg")], [mark(1, 0, [SQUARE])])
    with pytest.raises(UserError, match="no such folder; name with --images the folder of the images"):
        read_coco(file, tmp_path / "no")


def test_images_are_given_again(tmp_path: Path) -> None:
    source = read_coco(lay(tmp_path, [image(1, "a.jpg")], [mark(1, 0, [SQUARE]), mark(1, 0, [])]), tmp_path / "photos")
    assert list(source.images()) == list(source.images())
    assert len(source.notes) == 1


# Files of other tools


def test_label_studio(tmp_path: Path) -> None:
    """The COCO export of Label Studio's own converter: a polygon in percent, and a rectangle, which is a box alone."""
    converter = pytest.importorskip("label_studio_sdk.converter.converter")
    config = """<View><Image name="image" value="$image"/>
        <PolygonLabels name="label" toName="image"><Label value="cat"/><Label value="dog"/></PolygonLabels>
        <RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels></View>"""
    save_image(tmp_path / "upload" / "1" / "a.jpg", (WIDTH, HEIGHT))
    corners = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in ((1, 1), (3, 1), (3, 3), (1, 3))]
    common = {"to_name": "image", "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    polygon = {"type": "polygonlabels", "from_name": "label", "value": {"points": corners, "polygonlabels": ["dog"]}}
    sides = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    box = {"type": "rectanglelabels", "from_name": "box", "value": sides}
    results = [{"id": str(n), **common, **each} for n, each in enumerate((polygon, box))]
    task = {
        "id": 1,
        "data": {"image": str(tmp_path / "upload" / "1" / "a.jpg")},
        "annotations": [{"id": 1, "result": results}],
    }
    write(tmp_path / "tasks.json", json.dumps([task]))
    made = converter.Converter(config, str(tmp_path), download_resources=False)
    made.convert_to_coco(str(tmp_path / "tasks.json"), str(tmp_path / "export"), is_dir=False)
    source = read_coco(tmp_path / "export" / "result.json", tmp_path / "upload")
    (found,) = source.images()
    assert isinstance(found, Labelled)
    assert found.image == "1/a"
    assert {name: coding.decode({"counts": x, "size": found.size}).tolist() for name, x in found.classes.items()} == {
        "dog": SQUARE_MASK
    }
    what = "1 annotations left out, with a box alone, in images without an outline of their class"
    assert source.notes == [f"{tmp_path / 'export' / 'result.json'}: {what}"]


def test_an_image_of_another_size(tmp_path: Path) -> None:
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "b.png")
    images = [image(1, "a.jpg"), image(2, "b.png")]
    (tmp_path / "photos").mkdir()
    (tmp_path / "b.png").rename(tmp_path / "photos" / "b.png")
    masks, lines = make(tmp_path, images, [mark(1, 0, [SQUARE]), mark(2, 0, [SQUARE])], names=["a.jpg"])
    assert masks == {"a": {"cat": SQUARE_MASK}}
    assert f"  {tmp_path / 'photos/b.png'}: 4x6 pixels, its labels are of 6x4; replace one of the two" in lines
