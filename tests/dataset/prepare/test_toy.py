"""The toy dataset is reproducible, in the layouts of all three, and asks of a network what its docstring says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coding

import dataset.prepare.toy
import prepare
from dataset import Coco, Pascal, class_index, open_fold
from dataset.episodes import MIN_PIXELS
from dataset.prepare.toy import (
    COCO_CATEGORY_IDS,
    IMAGE_SIDE,
    LAYOUTS,
    TEXTURES,
    _signed_area,
    class_look,
    coco_class,
    coco_name,
    light,
    make_coco,
    make_fss,
    make_pascal,
    outlines,
    paint_labels,
    run_lengths,
    scene,
    texture,
)
from tests.files import TOY_SEED
from util.errors import UserError


def main(flags: list[str]) -> None:
    """The command that paints a dataset."""
    prepare.main(["toy", *flags])


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def make_small_fss(root: Path, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset.prepare.toy, "IMAGES", 2)
        make_fss(root, seed)


LOOKS = {coco_name(coco_class(cls)).replace(" ", "_"): cls for cls in range(1, 21)}  # the folders of fss's classes


@pytest.mark.parametrize(
    ("make", "folders", "counts"),
    [
        (partial(make_pascal, train=3, val=2), {"JPEGImages", "SegmentationClassAug", "ImageSets", ""}, [3, 2]),
        (partial(make_coco, train=3, val=2), {"train2014", "val2014", "annotations", "ImageSets", ""}, [3, 2]),
        (make_small_fss, {"splits", "", *LOOKS}, [10, 5, 5]),
    ],
    ids=LAYOUTS,
)
def test_the_same_seed_gives_the_same_bytes(
    tmp_path: Path, make: Callable[..., None], folders: set[str], counts: list[int]
) -> None:
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        make(tmp_path / name, seed=seed)
    one, same, other = (contents(tmp_path / name) for name in ("one", "same", "other"))
    assert {Path(name).parent.name for name in one} == folders
    assert one == same
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] == other[name]} == {name for name in one if name.endswith(".txt")}
    lists = dict(zip(("train", "val", "test"), counts, strict=False))
    assert json.loads(one["expected.json"]) == {"name": "toy", "seed": 5, **lists}


def test_a_larger_dataset_begins_with_the_same_images(toy: Path, tmp_path: Path) -> None:
    make_pascal(tmp_path, train=1, val=1, seed=TOY_SEED)
    whole = contents(toy)
    images = {name: data for name, data in contents(tmp_path).items() if name.endswith((".jpg", ".png"))}
    assert len(images) == 4
    assert all(whole[name] == data for name, data in images.items())


def test_labels_are_classes_and_outlines(toy: Path) -> None:
    found: set[int] = set()
    for path in (toy / "SegmentationClassAug").iterdir():
        labels = np.asarray(Image.open(path))
        assert labels.shape == (IMAGE_SIDE, IMAGE_SIDE)
        assert Image.open(toy / "JPEGImages" / f"{path.stem}.jpg").size == (IMAGE_SIDE, IMAGE_SIDE)
        here = set(np.unique(labels).tolist())
        assert {0, 255} < here
        assert 1 <= len(here - {0, 255}) <= 3
        found |= here
    assert found == {0, *range(1, 21), 255}


def test_every_twenty_images_hold_every_class_large_enough(toy: Path) -> None:
    index = class_index(open_fold("pascal", toy, 0).train.images)
    names = list(index)
    for start in range(0, 60, 20):
        large = {cls for name in names[start : start + 20] for cls, n in index[name].items() if n >= MIN_PIXELS}
        assert large == set(range(1, 21))


def looks(classes: Iterable[int]) -> tuple[set[float], set[str], set[tuple[float, str]]]:
    """The hues, the textures and the pairs of both that some classes have."""
    pairs = [class_look(cls) for cls in classes]
    return {hue for hue, _ in pairs}, {kind for _, kind in pairs}, set(pairs)


@pytest.mark.parametrize("fold", range(4))
def test_every_colour_and_texture_is_in_base_and_novel_classes(fold: int) -> None:
    novel = set(Pascal.novel_classes(fold))
    assert [len(some) for some in looks(range(1, 21))] == [5, len(TEXTURES), 20]  # no two classes look the same
    everything, new, known = looks(range(1, 21)), looks(novel), looks(set(range(1, 21)) - novel)
    assert new[:2] == known[:2] == everything[:2]
    assert not new[2] & known[2]


class Middle:
    """Every random number is the middle of its range."""

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def random(self) -> float:
        return 0.5


def test_textures_differ() -> None:
    patterns = [texture(kind, (9, 13), Middle()) for kind in TEXTURES]
    for number, pattern in enumerate(patterns):
        assert pattern.shape == (IMAGE_SIDE, IMAGE_SIDE)
        assert 0.2 < pattern.mean() < 0.8
        assert all((pattern != other).mean() > 0.1 for other in patterns[:number])


def test_light_falls_over_an_object_from_one_side() -> None:
    bright = light(Middle())  # the side at angle pi is the left one
    assert np.allclose(bright, bright[:1])
    assert bright[0, 0] == pytest.approx(0.825 * (1 - 0.15))
    assert bright[0, IMAGE_SIDE // 2] == pytest.approx(0.825 * (1 - 0.15 / 2), abs=1e-3)
    assert bright[0, -1] == pytest.approx(0.825, abs=1e-3)


def test_parts_of_an_object_resemble_each_other_more_than_objects_of_a_class() -> None:
    own, others = [], []
    for cls in range(1, 21):
        halves = []  # mean colours of the left and the right half of each object
        for number in range(cls - 1, cls + 79, 20):
            image, objects = scene(number, seed=0)
            pixels, region = np.asarray(image, float), objects[-1][1]
            middle = np.median(np.nonzero(region)[1])
            left = np.arange(IMAGE_SIDE) < middle
            halves.append([pixels[region & side].mean(0) for side in (left, ~left)])
        own += [np.linalg.norm(left - right) for left, right in halves]
        others += [np.linalg.norm(halves[0][0] - right) for _, right in halves[1:]]
    assert np.mean(others) > 2 * np.mean(own)


@pytest.mark.parametrize("kind", ["folder with a file", "file"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    kept = out if kind == "file" else out / "kept.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(UserError, match=r"exists and is not an empty folder; name a new one$"):
        main(["--out", str(out), "--train", "1", "--val", "1"])
    assert contents(tmp_path) == {str(kept.relative_to(tmp_path)): b"mine"}


@pytest.mark.parametrize("layout", ["pascal", "coco", "fss"])
def test_the_same_dataset_is_not_painted_again(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset.prepare.toy, "IMAGES", 1)
    out, counts = tmp_path / "out", [] if layout == "fss" else ["--train", "2", "--val", "1"]
    flags = ["--out", str(out), "--layout", layout, *counts]
    main(flags)
    before = contents(out)
    capsys.readouterr()
    main(flags)
    assert capsys.readouterr().out.splitlines()[0].endswith(" images, 20 classes, painted before")
    assert contents(out) == before
    for other in (["--seed", "1"], ["--layout", "coco" if layout == "pascal" else "pascal"], ["--train", "3"]):
        if counts or other[0] == "--seed":
            with pytest.raises(UserError, match=r"exists and is not an empty folder; name a new one$"):
                main([*flags, *other])


def test_an_interrupted_painting_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has the dataset's name is whole."""
    out = tmp_path / "toy"
    whole = dataset.prepare.toy.scene
    monkeypatch.setattr("dataset.prepare.toy.scene", lambda number, seed: whole(number, seed) if number < 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["--out", str(out), "--train", "2", "--val", "2"])
    assert not out.exists()
    monkeypatch.undo()
    main(["--out", str(out), "--train", "2", "--val", "2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]
    assert len(list((out / "JPEGImages").iterdir())) == 4


@pytest.mark.parametrize("flags", [["--train", "5"], ["--val", "5"]])
def test_fss_has_no_numbers_of_images(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(UserError, match=r"^--train and --val belong to --layout pascal and coco, fss has ten "):
        main(["--out", str(tmp_path / "out"), "--layout", "fss", *flags])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_command(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], toy_fss: Path) -> None:
    out, expected = tmp_path / "new" / "toy", tmp_path / "expected"
    counts = [] if layout == "fss" else ["--train", "2", "--val", "1", "--seed", "3"]
    out.mkdir(parents=True)  # an empty folder is filled
    main(["--out", str(out), "--layout", layout, *counts])
    printed = capsys.readouterr().out.splitlines()
    images = "200 images" if layout == "fss" else "2 training and 1 validation images"
    assert printed[0] == f"{out}: {images}, 20 classes"
    assert printed[1:] == [f"now make its masks: python prepare.py coco --data-root {out}"] * (layout == "coco")
    if layout != "fss":
        {"pascal": make_pascal, "coco": make_coco}[layout](expected, 2, 1, seed=3)
    assert contents(out) == contents(toy_fss if layout == "fss" else expected)


# In COCO's layout


def test_each_fold_of_either_order_has_five_classes() -> None:
    classes = [coco_class(cls) for cls in range(1, 21)]
    assert len(set(classes)) == 20
    for order in Coco.class_orders:
        for fold in range(4):
            own = {cls for cls in range(1, 21) if coco_class(cls) in Coco.novel_classes(fold, order)}
            assert len(own) == 5
            assert order == "interleaved" or own == set(Pascal.novel_classes(fold))
    assert [coco_class(cls) for cls in (1, 2, 6, 20)] == [1, 6, 24, 78]
    names = [coco_name(cls) for cls in range(1, 81)]
    assert (names.count("-"), len(set(names))) == (60, 21)
    assert (names[0], names[5], names[1]) == ("red stripes", "yellow checks", "-")
    assert len(COCO_CATEGORY_IDS) == len(set(COCO_CATEGORY_IDS)) == 80
    assert (COCO_CATEGORY_IDS[0], COCO_CATEGORY_IDS[11], COCO_CATEGORY_IDS[-1]) == (1, 13, 90)


def region(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def rotated(loop: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same loop from its smallest corner on."""
    start = loop.index(min(loop))
    return loop[start:] + loop[:start]


@pytest.mark.parametrize(
    ("drawn", "areas", "corners"),
    [
        (("....", ".##.", ".##."), [4], [(1, 1), (3, 1), (3, 3), (1, 3)]),
        (("#..", "#..", "###"), [5], [(0, 0), (1, 0), (1, 2), (3, 2), (3, 3), (0, 3)]),
        (("####", "#..#", "####"), [-2, 12], [(1, 1), (1, 2), (3, 2), (3, 1)]),  # a hole runs the other way
    ],
)
def test_outlines_by_hand(drawn: tuple[str, ...], areas: list[int], corners: list[tuple[int, int]]) -> None:
    loops = sorted(outlines(region(*drawn)), key=_signed_area)
    assert [_signed_area(loop) for loop in loops] == areas
    assert rotated(loops[0]) == corners


@pytest.mark.parametrize(
    ("drawn", "total"), [(("##..", "##.#"), 5), (("#.", ".#"), 2), (("...", "..."), 0)], ids=["two", "touching", "none"]
)
def test_outlines_of_several_parts(drawn: tuple[str, ...], total: int) -> None:
    assert sum(map(_signed_area, outlines(region(*drawn)))) == total


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (("..", ".."), [4]),
        (("##", "##"), [0, 4]),
        (("#.", ".."), [0, 1, 3]),
        (("..", ".#"), [3, 1]),
        ((".#.", "###", ".#."), [1, 1, 1, 3, 1, 1, 1]),
        (("###", "#.#"), [0, 3, 1, 2]),
    ],
)
def test_run_lengths_by_hand(drawn: tuple[str, ...], expected: list[int]) -> None:
    inside = region(*drawn)
    found = run_lengths(inside)
    assert found == expected
    code = coding.frPyObjects({"size": list(inside.shape), "counts": found}, *inside.shape)
    assert np.array_equal(coding.decode(code), inside)
    encoded = coding.encode(np.asfortranarray(inside.astype(np.uint8)))
    assert code["counts"] == encoded["counts"]


def test_annotations_of_the_toy_dataset(toy_coco: Path) -> None:
    for split, images in (("train", range(40)), ("val", range(40, 80))):
        content = json.loads((toy_coco / "annotations" / f"instances_{split}2014.json").read_text())
        assert [image["id"] for image in content["images"]] == list(images)
        assert [each["id"] for each in content["annotations"]] == list(range(1, len(content["annotations"]) + 1))
        assert {each["image_id"] for each in content["annotations"]} == set(images)
        known = {COCO_CATEGORY_IDS[coco_class(cls) - 1] for cls in range(1, 21)}
        assert {each["category_id"] for each in content["annotations"]} == known
        assert len(content["categories"]) == 80
        for image in content["images"]:
            with Image.open(toy_coco / f"{split}2014" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"]) == (IMAGE_SIDE, IMAGE_SIDE)


def test_holes_change_nothing_but_themselves() -> None:
    """So that the datasets of the other layouts are as they were before there were holes."""
    changed = 0
    for number in range(12):
        without, holed = scene(number, 0), scene(number, 0, holes=True)
        assert [cls for cls, _ in without.objects] == [cls for cls, _ in holed.objects]
        for (_, full), (_, pierced) in zip(without.objects, holed.objects, strict=True):
            assert not (pierced & ~full).any()
            changed += bool((full & ~pierced).any())
    assert 0 < changed < 12


# In FSS-1000's layout


def test_fss_masks_show_the_nearest_object(toy_fss: Path) -> None:
    fold = open_fold("fss", toy_fss)
    assert [len(split.classes) for split in fold] == [10, 5, 5]
    assert len({name for split in fold for name in split.names()}) == 20
    names = [f"{cls}" for cls in fold.test.names()]
    assert all(len(list((toy_fss / name).iterdir())) == 20 for name in names)
    for name in names:
        cls = LOOKS[name]
        objects = scene(20 * 3 + cls - 1, seed=0).objects
        picture, labels = fold.test.images.load(f"{name}/3")
        assert picture.size == (IMAGE_SIDE, IMAGE_SIDE)
        assert np.array_equal(labels == 1, objects[-1][1])
        assert np.array_equal(labels == 1, paint_labels(objects, edges=False) == cls)
        with Image.open(toy_fss / name / "3.png") as mask:
            assert mask.mode == "RGB"
