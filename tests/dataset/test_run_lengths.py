"""Run lengths are those of pycocotools, overlap, are indexed without decoding, and are never trusted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coding

import dataset.run_lengths
from dataset.cache import cache_path
from dataset.run_lengths import ANNOTATIONS, Regions, decode, open_annotations, run_lengths, scan
from tests.files import write
from util.errors import UserError

CLASSES = {1: "cat", 2: "dog", 300: "tail"}
SHAPES = {  # height x width, the pixels of each class
    "a": {"cat": [[1, 1, 0], [1, 1, 0]], "tail": [[0, 1, 1], [0, 0, 0]]},
    "b/c": {"dog": [[0, 0], [0, 1]]},
    "d": {},
}


def encode(mask: object) -> str:
    return coding.encode(np.asfortranarray(np.array(mask, np.uint8)))["counts"].decode()


def line_of(image: str, size: tuple[int, int], classes: dict[str, str], **more: object) -> str:
    return json.dumps({"image": image, "size": size, "classes": classes, **more}) + "\n"


def lines() -> list[str]:
    ignored = encode([[0, 1, 0], [0, 0, 1]])
    return [
        line_of("a", (2, 3), {name: encode(mask) for name, mask in SHAPES["a"].items()}, ignored=ignored),
        line_of("b/c", (2, 2), {"dog": encode(SHAPES["b/c"]["dog"])}),
        line_of("d", (5, 4), {}),
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / ANNOTATIONS, "".join(lines()))


def test_an_index_without_a_mask_decoded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "decode", None)
    found = open_annotations(path, CLASSES)
    assert {image: found.pixels(image) for image in found.lines} == {"a": {1: 4, 300: 2}, "b/c": {2: 1}, "d": {}}
    assert [found.shown(image).size for image in found.lines] == [(3, 2), (2, 2), (4, 5)]  # width, height
    assert open_annotations(path, {5: "tail"}).pixels("a") == {5: 2}  # a class that is not named does not count


def test_masks_overlap_and_win_over_ignored_pixels(path: Path) -> None:
    found = open_annotations(path, CLASSES)
    regions = found.read("a")
    assert found.mask(regions, 1).tolist() == [[1, 1, 0], [1, 1, 255]]
    assert found.mask(regions, 300).tolist() == [[0, 1, 1], [0, 0, 255]]
    assert found.mask(regions, 2).tolist() == [[0, 255, 0], [0, 0, 255]]  # which the image does not show
    assert found.read("d") == Regions((5, 4), {}, None)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (40, 61), (300, 200)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_lengths_and_pixels_are_those_of_pycocotools(size: tuple[int, int], share: float) -> None:
    mask = np.random.RandomState(0).rand(*size) < share
    code = encode(mask)
    lengths = run_lengths(code.encode())
    assert coding.frPyObjects({"size": list(size), "counts": lengths.tolist()}, *size)["counts"].decode() == code
    assert lengths[1::2].sum() == mask.sum()
    assert np.array_equal(decode(code, size), mask)


def test_the_cache_holds_as_long_as_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset.run_lengths, "SETTLED_NS", 0)
    time.sleep(0.02)
    first = open_annotations(path, CLASSES)
    monkeypatch.setattr(dataset.run_lengths, "scan", None)
    assert open_annotations(path, CLASSES) == first
    monkeypatch.undo()
    path.write_text("".join(lines()[1:]))
    assert list(open_annotations(path, CLASSES).lines) == ["b/c", "d"]
    cache_path(path, "runs").write_bytes(b"PK")  # damaged: built again
    assert list(open_annotations(path, CLASSES).lines) == ["b/c", "d"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "Expecting value"),
        ('{"image": "a"', "Expecting"),
        ("[1]", "it has no fields"),
        (line_of("../a", (2, 2), {}), "its image cannot be '../a'"),
        (line_of("a", (2,), {}), "its size cannot be"),
        (line_of("a", (0, 2), {}), "its size cannot be"),
        (line_of("a", (2, 2), {"cat": 5}), "its classes cannot be"),
        (line_of("a", (2, 2), {}, ignored=[1]), "ignored is no run lengths"),
        (line_of("a", (1, 1), {"cat": encode([[0, 1], [1, 1]])}), "has run lengths that do not fit its image"),
        (line_of("a", (2, 2), {"cat": encode([[0, 0], [0, 0]])}), "has run lengths that do not fit its image"),
        (line_of("b/c", (2, 2), {}), "names the image b/c a second time"),
    ],
)
def test_a_line_that_is_no_good(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / ANNOTATIONS, lines()[1] + (line or "\n"))
    with pytest.raises(UserError) as excinfo:
        dict(scan(path))
    assert str(excinfo.value).startswith(f"{path}: line 2: {says}")
    assert "\n" not in str(excinfo.value)


@pytest.mark.parametrize("code", ["", "5", "~", "oooooooooo0", "P0"])
def test_run_lengths_that_do_not_fill_their_image(code: str) -> None:
    with pytest.raises(ValueError, match="run length"):
        decode(code, (2, 2))
