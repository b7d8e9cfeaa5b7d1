"""YOLO's layouts and polygons by hand, what is no mask, what is wrong, and what other packages write and fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dataset.prepare.from_yolo import read_yolo
from tests.dataset.prepare.sources import collect, save
from tests.files import write
from util.errors import UserError

SIZE = (4, 8)
LEFT = "0 0 0 0.5 0 0.5 0.5 0 0.5"  # x from 0 to 4, y from 0 to 2
DRAWN = ["####....", "####....", "........", "........"]
DATA = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def make(root: Path, labels: str | None = LEFT, data: str = "train: images\nnames: [cat, dog]\n") -> Path:
    save(root / "images" / "a.png", SIZE)
    write(root / "data.yaml", data)
    if labels is not None:
        write(root / "labels" / "a.txt", labels)
    return root


@pytest.mark.parametrize(
    ("data", "folders"),
    [
        (DATA, ("images/train", "images/val")),
        ("path: .\n" + DATA, ("images/train", "images/val")),
        ("path: /content/nowhere\n" + DATA, ("images/train", "images/val")),
        ("train: ../train/images\nval: ../val/images\nnames: {0: cat, 1: dog}\n", ("train/images", "val/images")),
        ("train: train/images\nval: [val/images]\nnames: {'0': cat, 1: dog}\n", ("train/images", "val/images")),
        ("train: /old/place/images/train\nval: images/val\nnames:\n- cat\n- dog\n", ("images/train", "images/val")),
        ("train: train.txt\nval: val.txt\nnames: [cat, dog]\n", ("images/train", "images/val")),
        ("path: sub\n" + DATA, ("sub/images/train", "sub/images/val")),
    ],
)
def test_layouts(tmp_path: Path, data: str, folders: tuple[str, str]) -> None:
    write(tmp_path / "data.yaml", data)
    for folder in folders:
        save(tmp_path / folder / "a.jpg", SIZE)
        write(tmp_path / folder.replace("images", "labels") / "a.txt", LEFT)
    write(tmp_path / "train.txt", "data/images/train/a.jpg\n")
    write(tmp_path / "val.txt", "./images/val/a.jpg\n")
    source = read_yolo(tmp_path)
    assert source.classes == ["cat", "dog"]
    assert source.lists == {"train": ["train/a"], "val": ["val/a"]}
    assert collect(source) == ({"train/a": {"cat": DRAWN}, "val/a": {"cat": DRAWN}}, [])
    assert collect(source)[1] == []  # it can be read again
    assert source.notes == []


def test_labels_beside_images_and_a_file_as_the_source(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.jpg", SIZE)
    write(tmp_path / "photos" / "a.txt", LEFT)
    write(tmp_path / "photos" / "classes.txt", "cat\n")
    data = write(tmp_path / "birds.yaml", "train: photos\nnames: {7: dog, 0: cat}\n")
    for place in (data, tmp_path):
        source = read_yolo(place)
        assert source.classes == ["cat", "dog"]
        assert source.lists is None
        assert collect(source) == ({"photos/a": {"cat": DRAWN}}, [])


def test_polygons_of_one_class_are_united_and_classes_overlap(tmp_path: Path) -> None:
    labels = f"{LEFT}\n\n0 0.25 0 0.75 0 0.75 1 0.25 1\n1.0 0 0 1 0 1 1 0 1\n1 0.5 0.5 0.5 0.5 0.5 0.5\n"
    found, faults = collect(read_yolo(make(tmp_path, labels)))
    cat = ["######..", "######..", "..####..", "..####.."]
    assert (found, faults) == ({"a": {"cat": cat, "dog": ["########"] * 4}}, [])


def test_boxes_and_images_without_labels_are_counted(tmp_path: Path) -> None:
    """A box counts for nothing beside a polygon of its class, also one that is partly outside; elsewhere it is left."""
    make(tmp_path, f"0 0.75 0.75 0.5 0.5\n0 1 0 0.25 0.5\n1 0.5 0.5 1 1\n{LEFT}\n")
    save(tmp_path / "images" / "b.png", SIZE)
    save(tmp_path / "images" / "c.png", SIZE)
    write(tmp_path / "labels" / "c.txt", "")
    source = read_yolo(tmp_path)
    ignored = [".......#", "........", "....####", "....####"]
    for _ in range(2):
        assert collect(source) == ({"a": {"cat": DRAWN, "ignored": ignored}, "b": {}, "c": {}}, [])
        assert [note.partition(": ")[2] for note in source.notes] == [
            "2 boxes left out, which are no masks; beside polygons of their class their pixels count for nothing",
            "1 boxes left out, which are no masks, in images without a polygon of their class",
            "1 images without labels, taken for images that show no object",
        ]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("2 0 0 1 0 1 1", "line 1: class 2, which data.yaml does not name; add its name"),
        ("\n0.5 0 0 1 0 1 1", "line 2: class 0.5"),
        ("-1 0 0 1 0 1 1", "line 1: class -1"),
        ("0 0 0 1 0 1", "line 1: 5 coordinates, of a polygon an even number; mend it"),
        ("0 0 0", "line 1: fewer than three points enclose nothing"),
        ("0", "line 1: fewer than three points"),
        ("0 0 0 1 0 nan 1", "line 1: a point outside the image"),
        ("0 0 0 1 0 inf 1", "line 1: a point outside the image"),
        ("0 0 0 1.13 0 1 1", "line 1: a point outside the image"),  # 1.04 pixels of 8
        ("0 0 -0.26 1 0 1 1", "line 1: a point outside the image"),  # 1.04 pixels of 4
        ("0 10 20 30 20 30 40", "line 1: a point outside the image; coordinates are fractions of its sides, 0 to 1"),
        ("cat 0 0 1 0 1 1", "line 1: could not convert string to float: 'cat'; export it again"),
        (b"\xff\xfe", "no labels of YOLO"),
    ],
)
def test_labels_that_are_wrong(tmp_path: Path, labels: str | bytes, said: str) -> None:
    make(tmp_path)
    write(tmp_path / "labels" / "a.txt", labels)
    found, (fault,) = collect(read_yolo(tmp_path))
    assert found == {}
    assert fault.startswith(f"{tmp_path / 'labels' / 'a.txt'}: {said}")


def test_a_point_that_is_up_to_one_pixel_outside_is_moved_to_the_border(tmp_path: Path) -> None:
    labels = "0 -0.12 -0.24 1.12 -0.24 1.12 1.24 -0.12 1.24"
    assert collect(read_yolo(make(tmp_path, labels))) == ({"a": {"cat": ["########"] * 4}}, [])


def test_images_that_are_wrong(tmp_path: Path) -> None:
    make(tmp_path, data="train: [images, more.txt]\nnames: [cat]\n")
    write(tmp_path / "images" / "empty.jpg", "")
    write(tmp_path / "labels" / "alone.txt", LEFT)
    write(tmp_path / "more.txt", "images/gone.jpg\nimages/a.png\n")
    found, faults = collect(read_yolo(tmp_path))
    assert found == {"a": {"cat": DRAWN}}
    assert [fault.removeprefix(f"{tmp_path}/") for fault in faults] == [
        "images/empty.jpg: empty; fetch it again",
        "images/gone.jpg: no such image",
        "labels/alone.txt: labels without an image; add the image, or remove them",
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "no data.yaml"),
        ("names: [cat", "damaged, or no YAML"),
        ("- cat\n", "has no names"),
        ("train: images\n", "has no names"),
        ("train: images\nnames: []\n", "names is empty"),
        ("train: images\nnames: [cat, yes]\n", 'names has True for the class 1; write it in quotes, as "True"'),
        ("train: images\nnames: {cat: 0}\n", "names has the class 'cat'; number the classes"),
        ("train: {a: b}\nnames: [cat]\n", "train is no folder"),
        ("train: nowhere\nnames: [cat]\n", "no image is there that it names"),
        ("names: [cat]\n", "no image is there that it names"),
        ("train: images\nkpt_shape: [17, 3]\nnames: [cat]\n", "labels of poses, not of masks"),
    ],
)
def test_a_data_yaml_that_is_wrong(tmp_path: Path, data: str | None, said: str) -> None:
    make(tmp_path)
    (tmp_path / "data.yaml").unlink()
    if data is not None:
        write(tmp_path / "data.yaml", data)
    with pytest.raises(UserError, match=r"\A[^\n]*\Z") as raised:
        read_yolo(tmp_path)
    assert said in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_no_labels_and_no_yaml_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no such labels, nor those of another image"):
        read_yolo(make(tmp_path, None))
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(UserError, match=r"data\.yaml: to read it, install PyYAML"):
        read_yolo(tmp_path)


def test_what_is_in_train_and_in_val_is_not_trained_on(tmp_path: Path) -> None:
    make(tmp_path, data="train: images\nval: val.txt\ntest: test.txt\nnames: [cat]\n")
    for name in ("b", "c"):
        save(tmp_path / "images" / f"{name}.png", SIZE)
    write(tmp_path / "val.txt", "images/b.png\n")
    write(tmp_path / "test.txt", "images/c.png\n")
    source = read_yolo(tmp_path)
    assert source.lists == {"train": ["a"], "val": ["b", "c"]}
    assert source.notes == ["2 images are in train and in val or test; they are not trained on"]
    write(tmp_path / "data.yaml", "train: images\nval: images\nnames: [cat]\n")
    assert read_yolo(tmp_path).lists is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_are_of_the_image_as_it_is_shown(tmp_path: Path, orientation: int) -> None:
    """As YOLO's own code reads them; here each turn is compared with Pillow's."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    root = make(tmp_path, "0 0 0 0.5 0 0.5 0.25 0 0.25")
    save(root / "images" / "a.png", SIZE, exif=exif)
    found, _ = collect(read_yolo(root))
    stored = Image.fromarray(np.array([[255 * (pixel == "#") for pixel in row] for row in found["a"]["cat"]], np.uint8))
    stored.getexif()[0x0112] = orientation
    shown = np.array(ImageOps.exif_transpose(stored)) > 0
    height, width = shown.shape
    expected = np.zeros_like(shown)
    expected[: height // 4, : width // 2] = True
    assert shown.tolist() == expected.tolist()


def test_what_supervision_writes_is_read_and_what_it_fills(tmp_path: Path) -> None:
    """Its polygons go through the middle of border pixels: filled as COCO fills, a mask comes back thinner."""
    sv = pytest.importorskip("supervision")
    cv2 = pytest.importorskip("cv2")
    mask = np.zeros((60, 80), bool)
    mask[10:31, 20:61] = True
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    image = str(tmp_path / "a.png")
    drawn = sv.Detections(xyxy=np.array([[20.0, 10, 60, 30]]), mask=mask[None], class_id=np.array([1]))
    dataset = sv.DetectionDataset(classes=["cat", "dog"], images=[image], annotations={image: drawn})
    out = tmp_path / "out"
    dataset.as_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))
    write(out / "data.yaml", (out / "data.yaml").read_text() + "train: images\n")
    ((rows,),) = [list(classes.values()) for classes in collect(read_yolo(out))[0].values()]
    ours = np.array([[pixel == "#" for pixel in row] for row in rows])
    assert (ours & ~mask).sum() == 0
    assert int(ours.sum()) == 40 * 20
    theirs = sv.DetectionDataset.from_yolo(
        str(out / "images"), str(out / "labels"), str(out / "data.yaml"), force_masks=True
    )
    (their_mask,) = next(iter(theirs))[2].mask
    assert int(their_mask.sum()) == 41 * 21
