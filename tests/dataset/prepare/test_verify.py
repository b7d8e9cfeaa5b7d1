"""Everything that can be wrong with a dataset's files is found and named, and nothing where nothing is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import prepare
from dataset.images import read_mask
from tests.dataset.layouts import save_labels
from tests.files import write

Damage = Callable[[Path], object]


def verify(root: Path, dataset: str, *flags: str) -> int:
    """prepare.py verify's exit code."""
    code: object = 0
    try:
        prepare.main(["verify", "--data-root", str(root), "--dataset", dataset, "--workers", "0", *flags])
    except SystemExit as exit_:
        code = exit_.code
    assert isinstance(code, int)
    return code


def lines(path: Path) -> list[str]:
    return path.read_text().split()


def rewrite(path: Path, names: list[str]) -> None:
    path.write_text("".join(f"{name}\n" for name in names))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def relabel(path: Path, old: int, new: int) -> None:
    labels = read_mask(path).copy()
    labels[labels == old] = new
    Image.fromarray(labels).save(path)


def binarise(path: Path, value: int = 255) -> None:
    Image.fromarray((read_mask(path) > 0).astype("uint8") * value).save(path)


def remove_class(folder: Path, cls: int) -> None:
    for path in folder.iterdir():
        relabel(path, cls, 0)


# Whole datasets


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("dataset", ["pascal", "coco", "fss"])
def test_a_whole_dataset(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], dataset: str, above: bool
) -> None:
    toy: Path = request.getfixturevalue({"pascal": "toy", "coco": "toy_coco", "fss": "toy_fss"}[dataset])
    root = toy.parent if above and dataset != "coco" else toy
    capsys.readouterr()
    assert verify(root, dataset, "--shot", "1") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"{toy}: nothing is wrong"
    rows = [line.split() for line in printed]
    splits = [["train", "60"], ["val", "40"]] if dataset == "pascal" else [["train", "40"], ["val", "40"]]
    heads = ["split", "listed", "images", "masks", "pairs", "sides", "faults"]
    if dataset == "fss":
        assert rows[0] == ["split", "classes", *heads[1:]]
        assert rows[1] == ["train", "10", "100", "100", "100", "100", "129-129", "0"]
        counts = [["train", "10", "100", "10"], ["val", "5", "50", "10"], ["test", "5", "50", "10"]]
        assert [row[:5] for row in rows if row[:1] == ["fss"]] == [["fss", *some] for some in counts]
        return
    assert rows[:3] == [heads, *([split, *[count] * 4, "129-129", "0"] for split, count in splits)]
    orders = [["contiguous"], ["interleaved"]] if dataset == "coco" else [[]]
    assert [row[: 4 + len(orders[0])] for row in rows if row and row[0].isdigit()] == [
        [str(fold), *order, dataset, split, classes]
        for order in orders
        for fold in range(4)
        for split, classes in (("train", "15"), ("val", "5"))
    ]


def test_workers_find_the_same(toy_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("util.processes.CHUNK", 8)  # else there are too few images for two
    truncate(toy_copy / "JPEGImages" / "toy_00003.jpg")
    relabel(toy_copy / "SegmentationClassAug" / "toy_00070.png", 0, 77)
    found = []
    for workers in ("0", "2"):
        assert verify(toy_copy, "pascal", "--json", str(tmp_path / "found.json"), "--workers", workers) == 1
        found.append(json.loads((tmp_path / "found.json").read_text()))
    assert found[0] == found[1]
    files = {Path(finding["text"].split(":")[0]).name for finding in found[0]["findings"]}
    assert files >= {"toy_00003.jpg", "toy_00070.png"}


# What is wrong

LAST = "toy_00099"
VAL = "COCO_val2014_000000000079"


def jpeg(root: Path, name: str = LAST) -> Path:
    return root / "JPEGImages" / f"{name}.jpg"


def mask(root: Path, name: str = LAST) -> Path:
    return root / "SegmentationClassAug" / f"{name}.png"


def listed(root: Path, split: str = "val") -> Path:
    return root / "ImageSets" / f"{split}.txt"


PASCAL: dict[str, tuple[Damage, list[str]]] = {
    "missing image": (lambda root: jpeg(root).unlink(), [rf"image: .*/{LAST}\.jpg: no such image$"]),
    "missing mask": (lambda root: mask(root).unlink(), [rf"mask: .*/{LAST}\.png: no such mask$"]),
    "truncated image": (lambda root: truncate(jpeg(root)), [rf"image: .*/{LAST}\.jpg: damaged or not an image"]),
    "truncated mask": (lambda root: truncate(mask(root)), [rf"mask: .*/{LAST}\.png: damaged or not an image"]),
    "another size": (
        lambda root: Image.new("RGB", (100, 90)).save(jpeg(root)),
        [rf"size: .*/{LAST}\.png: mask of 129x129 pixels, image of 100x90$"],
    ),
    "unknown label": (
        lambda root: relabel(mask(root), 0, 21),
        [rf"labels: .*/{LAST}\.png: holds \[21\], which is no class, background or 255$"],
    ),
    "binary masks": (
        lambda root: [binarise(path) for path in (root / "SegmentationClassAug").iterdir()],
        [r"labels: .*/SegmentationClassAug: no mask of the list holds another value than 0 and 255: these tell an "],
    ),
    "binary masks of another value": (
        lambda root: [binarise(path, 128) for path in (root / "SegmentationClassAug").iterdir()],
        [r"labels: .*/SegmentationClassAug: no mask of the list holds another value than 0 and 128: these tell an "],
    ),
    "empty masks": (
        lambda root: [binarise(path, 0) for path in (root / "SegmentationClassAug").iterdir()],
        [r"labels: .*/SegmentationClassAug: no mask of the list holds another value than 0: these tell an "],
    ),
    "empty list": (lambda root: rewrite(listed(root), []), [r"list or folder: .*/val\.txt: the list is empty$"]),
    "listed twice": (
        lambda root: rewrite(listed(root), [*lines(listed(root))[:-1], LAST, LAST]),
        [rf"list or folder: .*/val\.txt: lists {LAST} twice$"],
    ),
    "in both lists": (
        lambda root: rewrite(listed(root), [*lines(listed(root))[:-1], "toy_00005"]),
        [r"lists overlap: toy_00005 is in the lists of both train and val$"],
    ),
    "unknown image": (
        lambda root: rewrite(listed(root), [*lines(listed(root))[:-1], "nobody"]),
        [r"image: .*/nobody\.jpg: no such image$", r"mask: .*/nobody\.png: no such mask$"],
    ),
    "one listed too few": (
        lambda root: rewrite(listed(root), lines(listed(root))[:-1]),
        [r"count: pascal val: 39 images listed, expected 40$"],
    ),
    "no images": (
        lambda root: shutil.rmtree(root / "JPEGImages"),
        [r"list or folder: .*: no folder JPEGImages; .*; it holds ImageSets/, "],
    ),
    "no masks": (
        lambda root: shutil.rmtree(root / "SegmentationClassAug"),
        [r"list or folder: .*: no folder SegmentationClassAug \(or SegmentationClass\) with the masks; it holds "],
    ),
    "no lists": (lambda root: shutil.rmtree(root / "ImageSets"), [r"list or folder: .*/val\.txt: no such list, "]),
    "no image of a class": (
        lambda root: remove_class(root / "SegmentationClassAug", 7),
        [
            r"class: pascal train, fold 0: class 7 \(yellow dots\) has 0 images large enough, 1-shot episodes need 2$",
            r"class: pascal val, fold 1: class 7 \(yellow dots\) has 0 images large enough, 1-shot episodes need 2$",
        ],
    ),
    "class names too few": (
        lambda root: rewrite(root / "ImageSets" / "classes.txt", ["one", "two"]),
        [r"list or folder: .*/classes\.txt: 2 lines, expected the names of 20 classes"],
    ),
    "other counts": (
        lambda root: (root / "expected.json").write_text('{"val": 41}'),
        [
            r"count: pascal train: 60 images listed, expected 10582$",
            r"count: pascal val: 40 images listed, expected 41$",
        ],
    ),
    "damaged counts": (
        lambda root: (root / "expected.json").write_text("[1"),
        [r"count: .*/expected\.json: cannot be read as counts \(.*\); remove it$", "count: ", "count: "],
    ),
}

COCO: dict[str, tuple[Damage, list[str]]] = {
    "missing mask, no list": (
        lambda root: (listed(root).unlink(), (root / "annotations" / "val2014" / f"{VAL}.png").unlink()),
        [r"list or folder: .*/annotations/val2014: 1 of the 40 images in val2014 have no mask there; "],
    ),
    "category ids for classes": (
        lambda root: relabel(root / "annotations" / "val2014" / f"{VAL}.png", 0, 90),
        [rf"labels: .*/annotations/val2014/{VAL}\.png: holds \[90\], which is no class"],
    ),
    "ignored pixels": (lambda root: relabel(root / "annotations" / "val2014" / f"{VAL}.png", 0, 255), []),
    "no masks": (
        lambda root: shutil.rmtree(root / "annotations" / "val2014"),
        [r"list or folder: .*: no masks in annotations/val2014; make them: python prepare\.py coco"],
    ),
    "no images": (
        lambda root: shutil.rmtree(root / "val2014"),
        [r"list or folder: .*: no folder val2014 \(nor val_coco\); "],
    ),
    "no image of a class": (
        lambda root: remove_class(root / "annotations" / "val2014", 1),
        [r"class: coco val, fold 0 contiguous: class 1 \(red stripes\) has 0 images large enough, 1-shot "],
    ),
}

CLASS = "blue_dots"  # the first of fss test


def empty(path: Path) -> None:
    Image.new("RGB", (129, 129), (127, 127, 127)).save(path)


FSS: dict[str, tuple[Damage, list[str]]] = {
    "truncated image": (lambda root: truncate(root / CLASS / "2.jpg"), [rf"image: .*/{CLASS}/2\.jpg: damaged or not"]),
    "no object": (
        lambda root: empty(root / CLASS / "4.png"),
        [rf"labels: .*/{CLASS}/4\.png: shows no object, no value is 128 or more$"],
    ),
    "no object in five": (
        lambda root: [empty(root / CLASS / f"{number}.png") for number in range(1, 6)],
        [
            *[rf"labels: .*/{CLASS}/\d\.png: shows no object"] * 5,
            rf"class: fss test: class 761 \({CLASS}\) has 5 images large enough, 5-shot episodes need 6$",
        ],
    ),
    "no folder of a class": (
        lambda root: shutil.rmtree(root / CLASS),
        [
            rf"class folder: .*/{CLASS}: no such folder of a class$",
            rf"class: fss test: class 761 \({CLASS}\) has 0 images large enough, 5-shot episodes need 6$",
        ],
    ),
    "class listed twice": (
        lambda root: rewrite(root / "splits" / "test.txt", [CLASS, *lines(root / "splits" / "test.txt")]),
        [rf"list or folder: .*/test\.txt: lists {CLASS} twice$"],
    ),
    "class in two lists": (
        lambda root: rewrite(root / "splits" / "val.txt", [CLASS, *lines(root / "splits" / "val.txt")[1:]]),
        [rf"lists overlap: {CLASS}/\d+ is in the lists of both val and test$"] * 10,
    ),
    "class not listed": (
        lambda root: rewrite(root / "splits" / "test.txt", lines(root / "splits" / "test.txt")[1:]),
        [r"count: fss test: 4 classes listed, expected 5$"],
    ),
    "no list": (lambda root: (root / "splits" / "val.txt").unlink(), [r"list or folder: .*/val\.txt: no such list; "]),
}


DAMAGES = {"pascal": PASCAL, "coco": COCO, "fss": FSS}


def assert_found(root: Path, dataset: str, says: list[str], capsys: pytest.CaptureFixture[str], *flags: str) -> None:
    """Exactly these findings, in the JSON and (five of a kind) on the screen, and the exit code that fits."""
    out = root.parent / "found.json"
    assert verify(root, dataset, "--json", str(out), *flags) == (1 if says else 0)
    found = [f"{finding['kind']}: {finding['text']}" for finding in json.loads(out.read_text())["findings"]]
    left = list(found)
    for pattern in says:
        match = next((line for line in left if re.match(pattern, line)), None)
        assert match is not None, (pattern, left)
        left.remove(match)
    assert left == []
    printed = capsys.readouterr().out.splitlines()
    for kind in {line.partition(": ")[0] for line in found}:
        of_kind = [line for line in found if line.startswith(f"{kind}: ")]
        assert [line for line in printed if line in of_kind] == of_kind[:5]
    assert printed[-1] == (f"{root}: {len(found)} findings" if says else f"{root}: nothing is wrong")


CASES = [(dataset, name) for dataset, damages in DAMAGES.items() for name in damages]


@pytest.mark.parametrize(("dataset", "name"), CASES)
def test_a_damaged_dataset(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], dataset: str, name: str
) -> None:
    copies = {"pascal": "toy_copy", "coco": "toy_coco_copy", "fss": "toy_fss_copy"}
    root: Path = request.getfixturevalue(copies[dataset])
    damage, says = DAMAGES[dataset][name]
    damage(root)
    assert_found(root, dataset, says, capsys, *(() if dataset == "fss" else ("--shot", "1")))


def test_vocs_own_masks_are_told_from_the_augmented_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list of 1,464 that VOC itself trains segmentation on; here without any file."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets"):
        (tmp_path / folder).mkdir()
    rewrite(listed(tmp_path, "train"), [f"2007_{number:06d}" for number in range(1464)])
    rewrite(listed(tmp_path), [f"2008_{number:06d}" for number in range(1449)])
    assert verify(tmp_path, "pascal") == 1
    printed = capsys.readouterr().out
    assert "count: pascal train: 1464 images listed, expected 10582\n" in printed
    assert f"count: {tmp_path / 'SegmentationClass'}: VOC's own 2,913 masks only, not the 12,031 augmented\n" in printed
    assert "image: 2908 more like it (--json FILE writes them all)\n" in printed


def test_more_than_five_of_a_kind_are_summarised(
    toy_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(7):
        jpeg(toy_copy, f"toy_{number:05d}").unlink()
    mask(toy_copy, "toy_00050").unlink()
    assert verify(toy_copy, "pascal", "--shot", "1") == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("image: ")] == [
        *(f"image: {jpeg(toy_copy, f'toy_{number:05d}')}: no such image" for number in range(5)),
        "image: 2 more like it (--json FILE writes them all)",
    ]
    assert len([line for line in printed if line.startswith("mask: ")]) == 1
    assert printed[-1] == f"{toy_copy}: 8 findings"
    row = next(line.split() for line in printed if line.startswith("train"))
    assert row == ["train", "60", "53", "59", "52", "129-129", "8"]


def test_headers_alone_miss_a_truncated_image(
    toy_copy: Path, toy_fss_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(jpeg(toy_copy))
    assert_found(toy_copy, "pascal", [], capsys, "--shot", "1", "--quick")
    jpeg(toy_copy).unlink()
    jpeg(toy_copy, "toy_00001").write_text("<html>")
    says = [rf"image: .*/{LAST}\.jpg: no such image$", r"image: .*/toy_00001\.jpg: not read, it is a web page"]
    assert_found(toy_copy, "pascal", says, capsys, "--shot", "1", "--quick")
    truncate(toy_fss_copy / CLASS / "1.jpg")
    truncate(toy_fss_copy / CLASS / "2.png")
    assert_found(toy_fss_copy, "fss", [rf"mask: .*/{CLASS}/2\.png: damaged"], capsys, "--quick")


def test_the_json(toy_copy: Path, tmp_path: Path) -> None:
    relabel(mask(toy_copy), 0, 33)
    out = tmp_path / "new folder" / "found.json"
    assert verify(toy_copy, "pascal", "--shot", "1", "--json", str(out)) == 1
    found = json.loads(out.read_text())
    assert found.keys() == {"root", "splits", "folds", "findings", "notes"}
    assert found["root"] == str(toy_copy.resolve())
    assert found["splits"][1] == {
        "split": "val", "listed": 40, "images": 40, "masks": 40, "pairs": 40, "sides": "129-129", "faults": 1,
    }  # fmt: skip
    assert [(row["fold"], row["part"], row["classes"]) for row in found["folds"][:2]] == [
        ("0", "pascal train", 15),
        ("0", "pascal val", 5),
    ]
    assert found["findings"] == [
        {"kind": "labels", "text": f"{mask(toy_copy)}: holds [33], which is no class, background or 255"}
    ]


def by_hand(root: Path, areas: dict[str, dict[str, list[tuple[int, int]]]]) -> None:
    """VOC's layout, of each image of each split the pixels of each class."""
    for split, images in areas.items():
        write(listed(root, split), "\n".join(images))
        for name, classes in images.items():
            save_labels(mask(root, name), *classes)
            jpeg(root, name).parent.mkdir(exist_ok=True)
            Image.new("RGB", (128, 64)).save(jpeg(root, name))
    (root / "expected.json").write_text(json.dumps({split: len(images) for split, images in areas.items()}))


def test_the_table_of_folds_by_hand(tmp_path: Path) -> None:
    """An image counts where a class of the fold is large in it, a class only where it itself is."""
    root, out = tmp_path / "VOC2012", tmp_path / "found.json"
    val = {"a": [(1, 2048), (2, 2047)], "b": [(1, 4000), (2, 2048)], "c": [(3, 2047)], "d": [(6, 2048)]}
    by_hand(root, {"train": {"e": [(1, 3000), (7, 3000)]}, "val": val})
    assert verify(root, "pascal", "--shot", "1", "--json", str(out)) == 1
    fold = [row for row in json.loads(out.read_text())["folds"] if row["fold"] == "0"]
    assert fold == [
        {"fold": "0", "part": "pascal train", "classes": 15, "images": 1, "fewest": "0 (6 bus)"},
        {"fold": "0", "part": "pascal val", "classes": 5, "images": 2, "fewest": "0 (3 bird)"},
    ]
    texts = [finding["text"] for finding in json.loads(out.read_text())["findings"]]
    assert "pascal val, fold 0: class 2 (bicycle) has 1 images large enough, 1-shot episodes need 2" in texts
    assert not any("class 1 (aeroplane)" in text and "val" in text for text in texts)


def test_lists_of_classes_from_an_hsnet_checkout(
    toy_fss_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(toy_fss_copy / "splits", tmp_path / "splits" / "fss")
    assert verify(toy_fss_copy, "fss", "--splits", str(tmp_path / "splits")) == 0
    assert verify(toy_fss_copy, "fss") == 1
    assert capsys.readouterr().out.count("list or folder: ") == 3


@pytest.mark.parametrize("dataset", ["pascal", "coco", "fss"])
def test_an_empty_folder(tmp_path: Path, dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No table, the findings alone, each once: the lists lack the same folder."""
    assert verify(tmp_path, dataset) == 1
    printed = capsys.readouterr().out.splitlines()
    assert all(line.startswith("list or folder: ") for line in printed[:-1])
    assert len({*printed}) == len(printed) > 1
    assert printed[-1] == f"{tmp_path}: {len(printed) - 1} findings"
