"""COCO's masks: every segmentation pixel for pixel, who is painted over whom, and annotations that are damaged."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coding

import dataset.run_lengths
from dataset.prepare.coco_masks import make_masks, paint, read_instances
from dataset.prepare.toy import COCO_CATEGORY_IDS, annotate, coco_class, paint_labels, run_lengths, scene
from tests.files import COCO_SEED
from util.errors import UserError

CLASSES = {2: 1, 5: 2, 9: 3}  # category id -> class
SIZE = (4, 6)


def picture(*rows: str) -> np.ndarray:
    """Labels drawn by hand, a dot for background."""
    return np.array([[0 if label == "." else int(label) for label in row] for row in rows], np.uint8)


def annotation(segmentation: Any, category: int = 2, id_: int = 1, crowd: int = 0) -> dict[str, Any]:
    return {"id": id_, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """A polygon that covers the pixels left <= x < right, top <= y < bottom."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def compressed(drawn: np.ndarray) -> dict[str, Any]:
    return {"size": list(drawn.shape), "counts": coding.encode(np.asfortranarray(drawn))["counts"].decode()}


RING = picture(
    "......",
    ".111..",
    ".1.1..",
    ".111..",
)  # fmt: skip
RING_COUNTS = [5, 3, 1, 1, 1, 1, 1, 3, 8]  # down the columns, in turn of 0 and of 1


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        (
            [[1, 0, 3, 0, 3, 2, 5, 2, 5, 3, 1, 3]],
            (
                ".11...",
                ".11...",
                ".1111.",
                "......",
            ),
        ),
        (
            [*box(0, 0, 2, 2), *box(3, 1, 6, 4), *box(0, 3, 1, 4)],
            (
                "11....",
                "11.111",
                "...111",
                "1..111",
            ),
        ),
        (box(-3, 2, 100, 100), ("......", "......", "111111", "111111")),
        ([*box(0, 0, 1, 1), [3.0, 1.0, 5.0, 3.0], [2.0, 2.0]], ("1.....", "......", "......", "......")),
        ({"size": [4, 6], "counts": RING_COUNTS}, ("......", ".111..", ".1.1..", ".111..")),
        ({"size": [4, 6], "counts": [0, 1, 23]}, ("1.....", "......", "......", "......")),
        (compressed(RING), ("......", ".111..", ".1.1..", ".111..")),
        (compressed(1 - RING), ("111111", "1...11", "1.1.11", "1...11")),
        ([], ("......",) * 4),
        ([[]], ("......",) * 4),
        ([[1.0, 1.0, 4.0, 1.0]], ("......",) * 4),
        (compressed(0 * RING), ("......",) * 4),
    ],
    ids=[
        "one polygon", "polygon of several parts", "polygon beyond the image", "parts of two points and of one",
        "run lengths with a hole", "run lengths from the first pixel", "compressed with a hole",
        "compressed from the first pixel", "no part", "an empty part", "only a part of two points", "no pixel",
    ],
)  # fmt: skip
def test_one_object(segmentation: Any, expected: tuple[str, ...]) -> None:
    labels = paint([annotation(segmentation)], SIZE, CLASSES)
    assert labels.dtype == np.uint8
    assert labels.tolist() == picture(*expected).tolist()


def assert_painted(annotations: list[dict[str, Any]], *expected: str) -> None:
    """Whatever order the annotations come in."""
    for order in permutations(annotations):
        assert paint(order, SIZE, CLASSES).tolist() == picture(*expected).tolist()


def test_the_smaller_object_is_over_the_larger() -> None:
    large, middle, small = box(0, 0, 6, 4), box(1, 0, 5, 3), box(2, 1, 4, 2)
    expected = ("122221", "123321", "122221", "111111")
    assert_painted([annotation(large, 2, 1), annotation(middle, 5, 2), annotation(small, 9, 3)], *expected)
    assert_painted([annotation(large, 2, 3), annotation(middle, 5, 2), annotation(small, 9, 1)], *expected)


def test_of_equal_objects_the_higher_id_is_on_top() -> None:
    left, right = box(0, 0, 4, 2), box(2, 0, 6, 2)
    assert_painted([annotation(left, 2, 9), annotation(right, 5, 10)], "112222", "112222", "......", "......")
    assert_painted([annotation(left, 2, 10), annotation(right, 5, 9)], "111122", "111122", "......", "......")


def test_areas_are_of_pixels_and_not_what_the_file_says() -> None:
    large, small = annotation(box(0, 0, 6, 2), 2, 1), annotation(box(0, 0, 2, 2), 5, 2)
    assert_painted([{**large, "area": 1}, {**small, "area": 99}], "221111", "221111", "......", "......")


def test_a_crowd_is_under_the_objects_even_where_it_is_smaller() -> None:
    crowd = {"size": [4, 6], "counts": RING_COUNTS}
    for id_ in (1, 3):
        annotations = [annotation(crowd, 9, id_, crowd=1), annotation(box(2, 0, 6, 4), 5, 2)]
        assert_painted(annotations, "..2222", ".32222", ".32222", ".32222")


def test_of_two_crowds_the_smaller_is_over_the_larger() -> None:
    annotations = [annotation(box(0, 0, 6, 4), 2, 2, crowd=1), annotation(box(1, 1, 3, 3), 5, 1, crowd=1)]
    assert_painted(annotations, "111111", "122111", "122111", "111111")


DAMAGED: dict[str, Any] = {
    "runs that do not fill": {"size": [4, 6], "counts": [5, 3]},
    "runs that overflow": {"size": [4, 6], "counts": [5, 30]},
    "a negative run": {"size": [4, 6], "counts": [29, -5]},
    "compressed, of another size": compressed(RING.T),
    "compressed, overflowing": {"size": [4, 6], "counts": "garbage!!!"},
    "compressed, empty": {"size": [4, 6], "counts": ""},
    "lengths that are no whole numbers": {"size": [4, 6], "counts": [10.5, 13.5]},
    "a point nowhere": [[1.0, 1.0, 4.0, 1.0, float("nan"), 3.0]],
    "a point far away": [[1.0, 1.0, 4.0, 1.0, 1e9, 3.0]],
    "an odd number of coordinates": [[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 2.0]],
    "a flat list": [1.0, 1.0, 3.0, 1.0, 3.0, 3.0],
    "a flat list of two points": [1.0, 1.0, 3.0, 1.0],
    "points in pairs": [[[1, 1], [3, 1], [3, 3]]],
    "no counts": {"size": [4, 6]},
    "text": "polygon",
    "nothing": None,
    "a part of text": [*box(0, 0, 2, 2), ["a"] * 6],
}


@pytest.mark.parametrize("segmentation", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_segmentation_is_named(segmentation: Any) -> None:
    whole = annotation(box(0, 0, 2, 2), 5, 16)
    with pytest.raises(ValueError, match=r"^annotation 17: [^\n]+$"):
        paint([whole, annotation(segmentation, 2, 17)], SIZE, CLASSES)


# The file


def content(**changed: Any) -> dict[str, Any]:
    """Two images, three annotations, and COCO's category ids, which have gaps."""
    return {
        "images": [
            {"id": 70, "file_name": "COCO_val2014_000000000070.jpg", "height": 4, "width": 6},
            {"id": 8, "file_name": "COCO_val2014_000000000008.jpg", "height": 2, "width": 3},
        ],
        "annotations": [
            {"id": 1, "image_id": 70, "category_id": 90, "segmentation": box(0, 0, 2, 2), "iscrowd": 0},
            {"id": 2, "image_id": 70, "category_id": 13, "segmentation": box(3, 0, 6, 1)},
        ],
        "categories": [{"id": id_, "name": "thing"} for id_ in reversed(COCO_CATEGORY_IDS)],
        **changed,
    }


def write(path: Path, what: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


def test_read_instances(tmp_path: Path) -> None:
    instances = read_instances(write(tmp_path / "instances.json", content()))
    first, second = "COCO_val2014_000000000008", "COCO_val2014_000000000070"
    assert list(instances.sizes.items()) == [(first, (2, 3)), (second, (4, 6))]
    assert instances.annotations.keys() == {second}
    assert [(each["id"], each["iscrowd"]) for each in instances.annotations[second]] == [(1, 0), (2, 0)]


def test_category_ids_with_gaps_are_classes_1_to_80_in_order(tmp_path: Path) -> None:
    classes = read_instances(write(tmp_path / "instances.json", content())).classes
    assert sorted(classes.values()) == list(range(1, 81))
    by_hand = {1: 1, 2: 2, 11: 11, 13: 12, 25: 24, 27: 25, 28: 26, 31: 27, 44: 40, 46: 41, 65: 60, 67: 61, 70: 62}
    by_hand |= {72: 63, 82: 73, 84: 74, 90: 80}
    assert {id_: classes[id_] for id_ in by_hand} == by_hand


def changed(where: str, number: int, **values: Any) -> dict[str, Any]:
    """The content with other values in one of its entries."""
    whole = content()
    whole[where][number].update(values)
    return whole


def without(where: str, key: str) -> dict[str, Any]:
    whole = content()
    del whole[where][0][key]
    return whole


def content_without(name: str) -> dict[str, Any]:
    return {key: value for key, value in content().items() if key != name}


def test_ids_that_are_texts_are_sorted_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "instances_val2014.json"
    categories = [{"id": str(id_)} for id_ in sorted(COCO_CATEGORY_IDS)]
    images = [{"id": "1", "file_name": "a.jpg", "height": 4, "width": 6}]
    objects = [{"id": "3", "image_id": 1, "category_id": "90", "segmentation": box(0, 0, 2, 2)}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": objects}))
    instances = read_instances(path)
    assert instances.classes == {id_: cls for cls, id_ in enumerate(sorted(COCO_CATEGORY_IDS), 1)}
    assert [each["category_id"] for each in instances.annotations["a"]] == [90]


def test_annotations_that_are_left_out_are_counted(tmp_path: Path) -> None:
    whole = content()
    whole["annotations"] += [
        {"id": 3, "image_id": 71, "category_id": 90, "segmentation": box(0, 0, 1, 1)},
        {"id": 4, "image_id": 70, "category_id": 90, "segmentation": [[1, 1, 4, 1]]},
        {"id": 5, "image_id": 70, "category_id": 90, "segmentation": []},
    ]
    path = write(tmp_path / "instances.json", whole)
    instances = read_instances(path)
    assert instances.notes == [
        f"{path}: 1 annotations left out, of images that it does not list: annotation 3 of image 71",
        f"{path}: 2 annotations left out, of fewer than three points, which enclose nothing: annotation 4, ...",
    ]
    assert read_instances(write(tmp_path / "whole.json", content())).notes == []
    first, second = (paint(made.annotations["COCO_val2014_000000000070"], (4, 6), made.classes) for made in (
        instances, read_instances(tmp_path / "whole.json"),
    ))  # fmt: skip
    assert first.tolist() == second.tolist()


WRONG: dict[str, tuple[Any, str]] = {
    "missing": (None, "no such file; unpack COCO's annotations_trainval2014.zip there"),
    "truncated": (json.dumps(content())[:-40], "damaged or not COCO's instances, unpack it again"),
    "empty": ("", "damaged or not COCO's instances"),
    "a list": ([], "a list, not annotations of COCO; COCO's instances are wanted"),
    "text alone": ('"instances"', "not annotations of COCO"),
    "no categories": ({"images": [], "annotations": []}, "has no categories; COCO's instances are wanted"),
    "images of the test": (content_without("annotations"), "has no annotations, as a list of test images"),
    "annotations that are no list": (content(annotations={}), "one of images, annotations, categories is no list"),
    "results": ([{"image_id": 70, "category_id": 1, "score": 0.5}], "a list of results, which a detector wrote"),
    "captions": (
        {**content_without("categories"), "annotations": [{"id": 1, "image_id": 70, "caption": "A cat."}]},
        "COCO's captions, not instances",
    ),
    "panoptic": (
        content(annotations=[{"image_id": 70, "segments_info": [], "file_name": "70.png"}]),
        "COCO's panoptic annotations, not instances",
    ),
    "keypoints": (content(categories=[{"id": 1, "keypoints": ["nose"]}]), "COCO's keypoints of persons"),
    "stuff": (
        content(categories=[{"id": id_, "supercategory": "sky-stuff"} for id_ in range(92, 184)]),
        "92 categories, COCO has 80; COCO's stuff",
    ),
    "boxes": (content(annotations=[{"id": 1, "image_id": 70, "category_id": 1, "bbox": [0, 0, 1, 1]}]), "boxes alone"),
    "twenty categories": (content(categories=[{"id": id_} for id_ in range(1, 91)]), "90 categories, COCO has 80"),
    "unknown images alone": (
        content(images=[{"id": 71, "file_name": "a.jpg", "height": 4, "width": 6}]),
        "no annotation is of an image that the file lists, the first is annotation 1 of image 70",
    ),
    "an id that is a text": (changed("annotations", 0, id="text"), "annotation number 1: its id is 'text', no whole"),
    "a height that is none": (
        changed("images", 0, height=float("nan")),
        "image number 1: its height is 'nan', no whole",
    ),
    "an unknown category": (changed("annotations", 1, category_id=12), "annotation 2 is of category 12"),
    "no segmentation": (without("annotations", "segmentation"), "damaged .*: annotation 1 has no segmentation"),
    "null for a segmentation": (changed("annotations", 1, segmentation=None), "annotation 2 has no segmentation"),
    "no id": (without("annotations", "id"), "annotation number 1 has no id"),
    "no image_id": (without("annotations", "image_id"), "annotation 1 has no image_id"),
    "no category_id": (without("annotations", "category_id"), "annotation 1 has no category_id"),
    "an annotation of text": (
        content(annotations=[content()["annotations"][0], "b"]),
        "annotation number 2 is no entry",
    ),
    "an image without an id": (without("images", "id"), "image number 1 has no id"),
    "an image without a name": (without("images", "file_name"), "image 70 has no file_name"),
    "a category without an id": (without("categories", "id"), "category number 1 has no id"),
    "a category twice": (changed("categories", 1, id=90), "only 79 categories have an id of their own"),
    "no height": (without("images", "height"), "damaged .*height"),
    "height of text": (changed("images", 0, height="tall"), "damaged .*tall"),
    "a path for a name": (
        changed("images", 0, file_name=".."),
        "damaged .*image 70: its file_name leads out of its folder",
    ),
    "endless height": (changed("images", 0, height=float("inf")), "damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_line(tmp_path: Path, name: str) -> None:
    what, says = WRONG[name]
    path = tmp_path / "instances_val2014.json"
    if what is not None:
        write(path, what)
    with pytest.raises(UserError, match=says) as caught:
        read_instances(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


# The masks


def test_masks_of_a_small_file_by_hand(tmp_path: Path) -> None:
    instances = read_instances(write(tmp_path / "instances.json", content()))
    assert make_masks(instances, tmp_path / "masks", workers=0) == (2, 0)
    masks = {path.name: np.asarray(Image.open(path)).tolist() for path in (tmp_path / "masks").iterdir()}
    assert masks == {
        "COCO_val2014_000000000008.png": [[0, 0, 0], [0, 0, 0]],
        "COCO_val2014_000000000070.png": [[80, 80, 0, 12, 12, 12], [80, 80, 0, 0, 0, 0], [0] * 6, [0] * 6],
    }
    assert make_masks(instances, tmp_path / "masks", workers=0) == (0, 2)


@pytest.mark.parametrize(
    ("where", "values"),
    [
        ("annotations", {"segmentation": {"size": [4, 6], "counts": [1, 2]}}),
        ("annotations", {"segmentation": {"size": [6, 4], "counts": [24]}}),
        ("annotations", {"segmentation": "text"}),
        ("images", {"height": -4}),
        ("images", {"height": 0}),
        ("images", {"height": 10**9, "width": 10**9}),
    ],
)
def test_a_mask_that_cannot_be_made_is_named(tmp_path: Path, where: str, values: dict[str, Any]) -> None:
    folder = tmp_path / "masks"
    instances = read_instances(write(tmp_path / "instances.json", changed(where, 0, **values)))
    with pytest.raises(UserError) as caught:
        make_masks(instances, folder, workers=0)
    expected = f"{folder / 'COCO_val2014_000000000070.png'}: cannot be made, the instances JSON is damaged: "
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert {path.name for path in folder.iterdir()} <= {"COCO_val2014_000000000008.png"}


def scene_labels(number: int) -> np.ndarray:
    """What a scene of the toy dataset shows, from its regions and not from its annotations."""
    objects = scene(number, COCO_SEED, holes=True).objects
    return paint_labels([(coco_class(cls), region) for cls, region in objects], edges=False)


def test_masks_of_the_toy_dataset_are_what_its_images_show(toy_coco: Path) -> None:
    for split, numbers in (("train", range(40)), ("val", range(40, 80))):
        folder = toy_coco / "annotations" / f"{split}2014"
        names = [f"COCO_{split}2014_{number:012d}.png" for number in numbers]
        assert sorted(path.name for path in folder.iterdir()) == names
        for number, name in zip(numbers, names, strict=True):
            with Image.open(folder / name) as mask:
                assert mask.mode in ("L", "P")
                assert np.array_equal(np.asarray(mask), scene_labels(number)), name


def test_the_toy_dataset_has_annotations_of_every_kind() -> None:
    """So that the test above is one of every kind: the same scenes."""
    kinds = dict.fromkeys(("several parts", "a hole", "a crowd", "overlap", "a crowd under an object"), 0)
    for number in range(80):
        objects = scene(number, COCO_SEED, holes=True).objects
        annotations = annotate(objects, number, crowded=number % 10 == 0)
        for id_, each in enumerate(annotations):
            each["id"] = id_
        regions = [paint([each], (129, 129), dict.fromkeys(COCO_CATEGORY_IDS, 1)) > 0 for each in annotations]
        crowds = [each["iscrowd"] == 1 for each in annotations]
        covered = sum(region.astype(int) for region in regions)
        kinds["overlap"] += bool((covered > 1).any())
        for each, region, crowd in zip(annotations, regions, crowds, strict=True):
            form = each["segmentation"]
            assert each["area"] == region.sum()
            assert crowd == (isinstance(form, dict) and isinstance(form["counts"], list))
            kinds["several parts"] += isinstance(form, list) and len(form) > 1
            kinds["a hole"] += isinstance(form, dict) and isinstance(form["counts"], str)
            kinds["a crowd"] += crowd
            kinds["a crowd under an object"] += crowd and bool((covered[region] > 1).any())
        labels = paint(annotations, (129, 129), {id_: cls for cls, id_ in enumerate(COCO_CATEGORY_IDS, start=1)})
        assert np.array_equal(labels, scene_labels(number)), number
    assert min(kinds.values()) >= 2, kinds


@pytest.mark.parametrize("seed", [0, 7, 19])
def test_lengths_of_a_compressed_code(seed: int) -> None:
    rng = np.random.RandomState(seed)
    region = np.kron(rng.rand(6, 5) < 0.4, np.ones((1 + seed, 7))) > 0
    compressed = coding.encode(np.asfortranarray(region.astype(np.uint8)))["counts"]
    assert dataset.run_lengths.run_lengths(compressed).tolist() == run_lengths(region)
