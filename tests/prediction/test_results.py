"""What was found as numbers: by hand, and as pycocotools reads it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from prediction.frames import Frame
from prediction.results import Found, describe_found, write_coco, write_results

MASK = np.array([[0, 0, 1], [0, 1, 1]], bool)
PROBABILITY = np.array([[0.1, 0.2, 0.75], [0.3, 0.5, 1.0]], np.float32)


def test_numbers_by_hand() -> None:
    """Down the columns there are three pixels of background, then three of the object."""
    expected = {
        "image": "a.jpg",
        "size": [3, 2],
        "share": 0.5,
        "box": [1, 0, 2, 2],
        "score": 0.75,
        "segmentation": {"size": [2, 3], "counts": "33"},
    }
    assert describe_found(Path("a.jpg"), None, MASK, PROBABILITY) == expected
    frame = Frame(12, Fraction(1, 3), Image.new("RGB", (3, 2)))
    of_film = {**expected, "frame": 12, "seconds": 0.333333}
    assert describe_found(Path("a.jpg"), frame, MASK, PROBABILITY) == of_film


def test_nothing_was_found() -> None:
    found = describe_found(Path("a.jpg"), None, np.zeros((2, 3), bool), PROBABILITY)
    assert (found["share"], found["box"], found["score"]) == (0, [0, 0, 0, 0], 0)


def make_found(tmp_path: Path, masks: dict[str, np.ndarray]) -> list[Found]:
    return [
        Found(tmp_path / name, describe_found(tmp_path / name, None, mask, mask.astype(np.float32)))
        for name, mask in masks.items()
    ]


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """Random ones, one empty, of images in two folders, one above the other."""
    draw = np.random.default_rng(0)
    sizes = {"in/b.jpg": (7, 5), "a.jpg": (33, 40), "in/a.jpg": (16, 64)}
    return {**{name: draw.random(size) > 0.6 for name, size in sizes.items()}, "c.png": np.zeros((8, 8), bool)}


def test_pycocotools_reads_both(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    found = make_found(tmp_path, masks)
    assert write_coco(tmp_path / "all.json", "a test", "cat", found) == tmp_path
    made = {"made_by": {"program": "a test"}, "settings": {"threshold": 0.5}}
    write_results(tmp_path / "results.json", made, found)
    content = json.loads((tmp_path / "results.json").read_text())
    assert {name: content[name] for name in made} == made
    truth = COCO(tmp_path / "all.json")
    assert [x["name"] for x in truth.cats.values()] == ["cat"]
    assert {x["file_name"]: (x["height"], x["width"]) for x in truth.imgs.values()} == {
        name: mask.shape for name, mask in masks.items()
    }
    results = truth.loadRes(content["results"])
    for id_, mask in zip(truth.getImgIds(), masks.values(), strict=True):
        annotations = truth.loadAnns(truth.getAnnIds(id_))
        assert len(annotations) == mask.any()
        (result,) = results.loadAnns(results.getAnnIds(id_))
        assert np.array_equal(results.annToMask(result), mask)
        assert result["area"] == mask.sum()  # not the box's
        for annotation in annotations:
            assert np.array_equal(truth.annToMask(annotation), mask)
            assert (annotation["area"], annotation["iscrowd"]) == (mask.sum(), 0)
            assert annotation["bbox"] == list(result["bbox"]) == result["box"]


def test_a_single_image(tmp_path: Path) -> None:
    write_coco(tmp_path / "all.json", "a test", "object", make_found(tmp_path, {"in/a.jpg": MASK}))
    assert json.loads((tmp_path / "all.json").read_text())["images"][0]["file_name"] == "a.jpg"
    write_results(tmp_path / "none.json", {"made_by": {}}, [])
    assert json.loads((tmp_path / "none.json").read_text()) == {"made_by": {}, "results": []}
