"""prepare.py own: the folder that it writes, what is left out, that nothing of others is touched, kills."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coding

import prepare
from dataset.own import Own
from dataset.prepare.own import Choices, Fault, Labelled, Source, cut_folds, join_sources, lists_of_folders, write_own
from dataset.prepare.verify import survey
from tests.files import OneLine, write
from tests.hostile.children import in_child
from tests.hostile.test_kills import ALL_POINTS, killed_at
from util.errors import UserError

CAT = [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
DOG = [[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]


def encode(rows: list[list[int]]) -> bytes:
    return coding.encode(np.asfortranarray(rows, np.uint8))["counts"]


def decode(counts: str, size: list[int]) -> list[list[int]]:
    return coding.decode({"counts": counts.encode(), "size": size}).tolist()


def save_image(path: Path, size: tuple[int, int] = (4, 3), turn: int | None = None, shade: int = 90) -> Path:
    """An image of (width, height), with an EXIF orientation if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turn:
        exif[0x0112] = turn
    Image.new("RGB", size, (shade, 20, 30)).save(path, exif=exif)
    return path


def read_folder(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """dataset.json, and the lines of annotations.jsonl."""
    lines = (out / "annotations.jsonl").read_text().splitlines()
    return json.loads((out / "dataset.json").read_text()), [json.loads(line) for line in lines]


def read_masks(out: Path) -> dict[str, dict[str, list[list[int]]]]:
    """The mask of each class of each image."""
    return {
        line["image"]: {name: decode(counts, line["size"]) for name, counts in line["classes"].items()}
        for line in read_folder(out)[1]
    }


def contents(folder: Path) -> dict[str, Any]:
    """Everything below a folder: links by where they lead, files by their bytes, folders."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def make_source(folder: Path, *more: Labelled | Fault, **fields: Any) -> Source:
    """Three images: two classes that overlap, one class, none; a third class is shown nowhere."""
    images = [
        Labelled("b/two", save_image(folder / "b" / "two.jpg"), (3, 4), {"cat": encode(CAT), "dog": encode(DOG)}),
        Labelled("a", save_image(folder / "a.PNG", shade=1), (3, 4), {"dog": encode(DOG)}, encode(CAT)),
        Labelled("none", save_image(folder / "none.jpeg", shade=2), (3, 4), {}),
        *more,
    ]

    def give() -> Iterator[Labelled | Fault]:
        yield from images

    return Source(["cow", "dog", "cat"], len(images), give, **fields)


def write_toy(tmp_path: Path, **options: Any) -> list[str]:
    return write_own(tmp_path / "out", make_source(tmp_path / "from"), Choices(), **options)


def test_the_folder_by_hand(tmp_path: Path) -> None:
    lines = write_toy(tmp_path)
    out, source = tmp_path / "out", tmp_path / "from"
    assert (out / "annotations.jsonl").read_text() == (
        f'{{"classes":{{"dog":"{encode(DOG).decode()}"}},"ignored":"{encode(CAT).decode()}","image":"a","size":[3,4]}}\n'
        f'{{"classes":{{"cat":"{encode(CAT).decode()}","dog":"{encode(DOG).decode()}"}},"image":"b/two","size":[3,4]}}\n'
        '{"classes":{},"image":"none","size":[3,4]}\n'
    )
    assert read_folder(out)[0] == {"format": "ssp-own-1", "name": "out", "classes": ["dog", "cat"]}
    assert read_masks(out) == {"a": {"dog": DOG}, "b/two": {"cat": CAT, "dog": DOG}, "none": {}}
    links = {path: os.readlink(out / "images" / path) for path in ("a.PNG", "b/two.jpg", "none.jpeg")}
    assert links == {name: str(source / name) for name in links}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "out"]  # no lock is left
    assert lines == [
        f"{out}: 3 images, 2 of them with objects, 2 classes, linked",
        "class  images  pixels",
        "dog         2       6",
        "cat         1       3",
        "note: 1 classes that no image shows are left out: cow",
    ]


def test_copies_are_the_files(tmp_path: Path) -> None:
    assert ", copied" in write_toy(tmp_path, copy=True)[0]
    for name in ("a.PNG", "b/two.jpg", "none.jpeg"):
        copied = tmp_path / "out" / "images" / name
        assert not copied.is_symlink()
        assert copied.read_bytes() == (tmp_path / "from" / name).read_bytes()


def test_without_links_they_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    lines = write_toy(tmp_path)
    assert lines[0].endswith(", copied")
    assert f"note: {tmp_path / 'out'}: takes no links, so 3 images are copied" in lines
    assert (tmp_path / "out" / "images" / "b" / "two.jpg").read_bytes() == (tmp_path / "from/b/two.jpg").read_bytes()


def test_a_copy_never_writes_through_a_link(tmp_path: Path) -> None:
    write_toy(tmp_path)
    before = contents(tmp_path / "from")
    (tmp_path / "out" / "images" / "a.PNG").unlink()
    (tmp_path / "out" / "images" / "a.PNG").symlink_to(tmp_path / "from" / "none.jpeg")
    write_toy(tmp_path, copy=True)
    assert contents(tmp_path / "from") == before


def test_only_some_classes_in_an_order(tmp_path: Path) -> None:
    write_toy(tmp_path, classes=["cat"])
    assert read_folder(tmp_path / "out")[0]["classes"] == ["cat"]
    assert read_masks(tmp_path / "out") == {"a": {}, "b/two": {"cat": CAT}, "none": {}}
    write_toy(tmp_path, classes=["cat", "dog"], again=True)
    assert read_folder(tmp_path / "out")[0]["classes"] == ["cat", "dog"]


def test_lists_name_what_was_taken(tmp_path: Path) -> None:
    lists = {"train": ["a", "gone"], "val": ["none"]}
    write_own(tmp_path / "out", make_source(tmp_path, lists=lists), Choices())
    assert read_folder(tmp_path / "out")[0]["lists"] == {"train": ["a"], "val": ["none"]}


@pytest.mark.parametrize(
    ("images", "lists"),
    [
        (["train/a", "val/b"], {"train": ["train/a"], "val": ["val/b"]}),
        (["Train/a", "TEST/cats/b", "valid/c"], {"train": ["Train/a"], "val": ["TEST/cats/b", "valid/c"]}),
        (["cats/training/val/a", "validation/b"], {"train": ["cats/training/val/a"], "val": ["validation/b"]}),
        (["train/a", "val/b", "c"], None),
        (["train/a", "train/val"], None),
        (["val/a", "test/b"], None),
        (["trains/a", "train2017/b", "val/c"], None),
        ([], None),
    ],
)
def test_lists_of_folders(images: list[str], lists: dict[str, list[str]] | None) -> None:
    assert lists_of_folders(images) == lists


def test_folders_tell_the_lists(tmp_path: Path) -> None:
    """And what a source says of them counts more."""
    images = [make_source(tmp_path / name).images for name in ("train", "val")]
    items = [
        item._replace(image=f"{name}/{item.image}")
        for name, give in zip(("train", "val"), images, strict=True)
        for item in give()
    ]
    source = make_source(tmp_path)._replace(count=len(items), images=lambda: iter(items))
    lines = write_own(tmp_path / "out", source, Choices())
    lists = {name: [item.image for item in items if item.image.startswith(name)] for name in ("train", "val")}
    counts = [len(lists[name]) for name in lists]
    assert read_folder(tmp_path / "out")[0]["lists"] == lists
    says = f"note: the folders tell the lists: train has {counts[0]} images, val has {counts[1]} images"
    assert f"{says}; --test-all tests all" in lines
    said = {"train": [], "val": [items[0].image]}
    lines = write_own(tmp_path / "other", source._replace(lists=said), Choices())
    assert read_folder(tmp_path / "other")[0]["lists"] == said
    assert not any("the folders tell" in line for line in lines)


def test_other_formats_become_png(tmp_path: Path) -> None:
    bmp = save_image(tmp_path / "c.bmp")
    more = Labelled("c", bmp, (3, 4), {"cat": encode(CAT)})
    lines = write_own(tmp_path / "out", make_source(tmp_path, more), Choices())
    assert f"note: 1 images are written anew as PNG, such as {bmp}" in lines
    with Image.open(tmp_path / "out" / "images" / "c.png") as found, Image.open(bmp) as stored:
        assert found.format == "PNG"
        assert np.array_equal(np.array(found), np.array(stored))


# Folds


@pytest.mark.parametrize(
    ("classes", "number", "interleaved", "folds"),
    [
        ("abcdef", 3, False, ["ab", "cd", "ef"]),
        ("abcdefgh", 3, False, ["abc", "def", "gh"]),
        ("abcdefgh", 3, True, ["adg", "beh", "cf"]),
        ("ab", 2, True, ["a", "b"]),
    ],
)
def test_folds(classes: str, number: int, interleaved: bool, folds: list[str]) -> None:
    assert cut_folds(list(classes), number, interleaved) == [list(fold) for fold in folds]


def coco_flags(tmp_path: Path) -> list[str]:
    """A COCO JSON of two classes, and the flags that read it."""
    save_image(tmp_path / "photos" / "a.jpg")
    categories = [{"id": 0, "name": "cat"}, {"id": 7, "name": "dog"}]
    annotations = [
        {"id": n, "image_id": 1, "category_id": n, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]} for n in (0, 7)
    ]
    images = [{"id": 1, "file_name": "a.jpg", "height": 3, "width": 4}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    write(tmp_path / "coco.json", text)
    return ["own", "--coco", str(tmp_path / "coco.json"), "--images", str(tmp_path / "photos")]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    flags = [*coco_flags(tmp_path), "--out", str(out)]
    prepare.main([*flags, "--name", "pets", "--folds", "2", "--min-pixels", "2", "--episodes", "10"])
    assert read_folder(out)[0] == {
        "format": "ssp-own-1", "name": "pets", "classes": ["cat", "dog"], "folds": [["cat"], ["dog"]],
        "min_pixels": 2, "episodes": 10,
    }  # fmt: skip
    lines = (out / "annotations.jsonl").read_bytes()
    capsys.readouterr()
    prepare.main(["own", "--out", str(out), "--novel", "dog", "--crop-size", "65"])
    assert capsys.readouterr().out.splitlines()[0] == f"{out}: described anew"
    assert read_folder(out)[0] == {
        "format": "ssp-own-1", "name": "pets", "classes": ["cat", "dog"], "folds": [["dog"]],
        "min_pixels": 2, "episodes": 10, "crop_size": 65,
    }  # fmt: skip
    assert (out / "annotations.jsonl").read_bytes() == lines
    prepare.main(["own", "--out", str(out), "--folds", "0", "--draw", "classes"])
    assert read_folder(out)[0] == {
        "format": "ssp-own-1", "name": "pets", "classes": ["cat", "dog"], "min_pixels": 2, "episodes": 10,
        "crop_size": 65, "draw": "classes",
    }  # fmt: skip


def test_every_image_may_be_tested(tmp_path: Path) -> None:
    """With folds one of five would be, which the rarest classes of a benchmark need not survive."""
    flags = [*coco_flags(tmp_path), "--folds", "2", "--min-pixels", "1", "--out"]
    prepare.main([*flags, str(tmp_path / "out"), "--test-all", "--min-images", "1"])
    assert read_folder(tmp_path / "out")[0]["lists"] == {"train": [], "val": ["a"]}
    own = Own(tmp_path / "out")
    assert list(own.open_split("test", 0).images.ids) == ["a"]
    with pytest.raises(UserError, match="its list train is empty, so there is nothing to train on"):
        own.open_fold(0)
    assert [row["split"] for row in survey(own, shot=1, workers=0).splits] == ["val"]


def test_sources_as_lists(tmp_path: Path) -> None:
    parts = [Labelled(name, save_image(tmp_path / f"{name}.png"), (3, 4), {"cat": encode(CAT)}) for name in "pq"]
    sources = [
        Source(classes, 1, lambda part=part: iter([part]), notes=[f"of {part.image}"])
        for classes, part in zip((["cow", "cat"], ["cat", "ant"]), parts, strict=True)
    ]
    joined = join_sources({"train": sources[0], "val": sources[1]})
    for _ in range(2):
        assert list(joined.images()) == parts
        assert joined.lists == {"train": ["p"], "val": ["q"]}
        assert joined.notes == ["of p", "of q"]
    assert (joined.classes, joined.count) == (["cow", "cat", "ant"], 2)


WRONG_FLAGS = {
    "--folds 2 --novel cat": "error: --folds and --novel: pass one of the two",
    "--interleaved": "error: --interleaved: is about --folds; pass that too",
    "--folds 3": "error: --folds 3: there are 2 classes; pass at most so many",
    "--novel cow": "error: --novel: no class 'cow'; there are cat, dog",
    "--novel cat,dog": "error: --novel names every class; leave some to train on",
    "--novel cat,cat": "error: --novel: names a class twice",
    "--classes cow": "error: --classes: no class 'cow'; there are cat, dog",
    "--classes cat,cat": "error: --classes: the class cat is there 2 times; rename one",
    f"--name {'x' * 61}": f"error: --name '{'x' * 61}': pass 1 to 60 letters that can be printed",
    "--test-all --val x.json": "error: --test-all and --val: pass one of the two",
    "--labelme .": "error: --coco and --labelme: pass one of them",
}


@pytest.mark.parametrize("flags", WRONG_FLAGS)
def test_wrong_flags_write_nothing(tmp_path: Path, one_line_error: OneLine, flags: str) -> None:
    argv = [*coco_flags(tmp_path), "--out", str(tmp_path / "out"), *flags.split()]
    assert one_line_error(prepare.main, argv) == WRONG_FLAGS[flags]
    assert not (tmp_path / "out").exists()


def test_without_a_source(tmp_path: Path, one_line_error: OneLine) -> None:
    out = ["own", "--out", str(tmp_path / "out")]
    sources = "--coco, --labelme, --yolo, --voc, --masks"
    assert one_line_error(prepare.main, out) == f"error: {out[2]}: pass what to make it from, one of {sources}"
    line = one_line_error(prepare.main, [*out, "--copy"])
    assert line == f"error: --copy: needs what to make the folder from; pass one of {sources}"
    line = one_line_error(prepare.main, [*out, "--folds", "2"])
    assert line.startswith(f"error: {out[2]}/dataset.json: no such file; name what to make it from")
    write(tmp_path / "out" / "dataset.json", '{"format": "other"}')
    line = one_line_error(prepare.main, [*out, "--folds", "2"])
    assert line.startswith(f"error: {out[2]}/dataset.json: damaged, or not written by prepare.py own (its format ")
    line = one_line_error(prepare.main, [*out, "--coco", "x.json"])
    assert line == "error: --coco: needs --images, the folder of the images"
    line = one_line_error(prepare.main, [*out, "--yolo", "x", "--val", "y.json"])
    assert line == "error: --val: is the second JSON of --coco; pass that too"


# Images that cannot be taken


def faults(folder: Path) -> dict[str, tuple[Labelled | Fault, str]]:
    """Images that cannot be taken, and the end of what is said of them."""
    empty = write(folder / "empty.jpg")
    turned = save_image(folder / "turned.jpg", (4, 3), turn=6)
    a = folder / "a.PNG"
    cut = save_image(folder / "cut.png", (400, 300))
    cut.write_bytes(cut.read_bytes()[:-30])
    with Image.open(cut) as image, pytest.raises(OSError, match=r"image|PNG") as error:
        image.load()
    return {
        "of the source": (Fault("x: mend it"), "x: mend it"),
        "empty": (Labelled("empty", empty, (3, 4), {}), f"{empty}: empty; fetch it again"),
        "cut": (
            Labelled("cut", cut, (300, 400), {}),
            f"{cut}: damaged or not an image, fetch it again ({error.value})",
        ),
        "missing": (Labelled("no", folder / "no.jpg", (3, 4), {}), f"{folder / 'no.jpg'}: no such image"),
        "size": (
            Labelled("s", save_image(folder / "s.jpg", (5, 3)), (3, 4), {}),
            "s.jpg: 5x3 pixels, its labels are of 4x3; replace one of the two",
        ),
        "turned": (
            Labelled("turned", turned, (4, 3), {}),
            "they were drawn on the image as its EXIF turns it; save the image upright, without EXIF",
        ),
        "twice": (Labelled("a", a, (3, 4), {}), f"{a}: is listed twice; list it once"),
        "same name": (
            Labelled("a", save_image(folder / "a.jpg"), (3, 4), {}),
            f"{folder / 'a.jpg'}: has the name of {a}; rename one",
        ),
        "path": (Labelled("../a", a, (3, 4), {}), "its name cannot be printed, or leads elsewhere; rename it"),
        "class": (
            Labelled("c", a, (3, 4), {"bird": encode(CAT)}),
            "of a class 'bird' that the source does not list",
        ),
    }


KINDS = ("of the source", "empty", "cut", "missing", "size", "turned", "twice", "same name", "path", "class")


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_cannot_be_taken(tmp_path: Path, kind: str) -> None:
    source = make_source(tmp_path / "from")
    fault, said = faults(tmp_path / "from")[kind]
    write_own(tmp_path / "out", source, Choices())
    worse = make_source(tmp_path / "from", fault)
    with pytest.raises(UserError) as error:
        write_own(tmp_path / "strict", worse, Choices(), strict=True)
    assert str(error.value).endswith(said)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "strict").exists()
    expected = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    lines = write_own(tmp_path / "out", worse, Choices())
    assert contents(tmp_path / "out") == expected
    assert next(line for line in lines if line.startswith("left out, ")).endswith(": 1 of 4 images")
    assert next(line for line in lines if line.startswith("  ")).endswith(said)


def test_the_first_five_faults_of_a_kind_are_named(tmp_path: Path) -> None:
    some = [Fault(f"{number}: x", kind) for kind in ("size", "image") for number in range(6)]
    lines = write_own(tmp_path / "out", make_source(tmp_path / "from", *some), Choices())
    assert lines[4:] == [
        *("left out, size: 6 of 15 images", *(f"  {n}: x" for n in range(5)), "  and 1 more"),
        *("left out, image: 6 of 15 images", *(f"  {n}: x" for n in range(5)), "  and 1 more"),
        "note: 1 classes that no image shows are left out: cow",
    ]


def test_a_turn_that_keeps_the_size_is_said(tmp_path: Path) -> None:
    file = save_image(tmp_path / "from" / "t.jpg", turn=3)
    lines = write_own(tmp_path / "out", make_source(tmp_path, Labelled("t", file, (3, 4), {})), Choices())
    what = "have an EXIF turn; their labels are taken as drawn on the pixels as they are stored"
    assert f"note: 1 images {what}, such as {file}" in lines


def test_a_source_of_which_nothing_can_be_taken(tmp_path: Path) -> None:
    source = Source(["cat"], 2, lambda: iter([Fault("a: broken"), Fault("b: broken")]))
    with pytest.raises(UserError, match=r"no image of the source can be taken, of 2; the first: a: broken$"):
        write_own(tmp_path / "out", source, Choices())
    bare = Labelled("a", save_image(tmp_path / "a.jpg"), (3, 4), {})
    with pytest.raises(UserError, match="no image shows an object of any class"):
        write_own(tmp_path / "out", Source(["cat"], 1, lambda: iter([bare])), Choices())
    with pytest.raises(UserError, match="--classes: no image shows cow; leave it out"):
        write_toy(tmp_path, classes=["cow", "cat"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", " cat", "c\nt", "dog"])
def test_names_that_cannot_be_classes(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"out: (the class dog is there 2 times|.* cannot be the name of a class); "):
        write_own(tmp_path / "out", make_source(tmp_path)._replace(classes=["dog", name]), Choices())
    assert not (tmp_path / "out").exists()


# The folder


def test_a_finished_folder_stays(tmp_path: Path) -> None:
    write_toy(tmp_path)
    out = tmp_path / "out"
    before = contents(out), (out / "dataset.json").stat().st_ino
    write_toy(tmp_path)
    assert (contents(out), (out / "dataset.json").stat().st_ino) == before
    with pytest.raises(UserError, match="holds another dataset; --again replaces it, or name another --out"):
        write_toy(tmp_path, classes=["cat"])
    assert (contents(out), (out / "dataset.json").stat().st_ino) == before
    (out / "images" / "a.PNG").unlink()
    write_toy(tmp_path)
    assert contents(out) == before[0]


def other_source(folder: Path) -> Source:
    image = Labelled("b/new", save_image(folder / "new.png"), (3, 4), {"dog": encode(CAT)})
    return Source(["dog"], 1, lambda: iter([image]))


def test_again_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_own(out, other_source(tmp_path), Choices())
    expected = contents(out)
    write_toy(tmp_path, copy=True, again=True)
    write_own(out, other_source(tmp_path), Choices(), again=True)
    assert contents(out) == expected
    assert sorted(expected) == ["annotations.jsonl", "dataset.json", "images", "images/b", "images/b/new.png"]


def foreign_top(out: Path) -> None:
    write(out / "notes.txt", "mine")


def foreign_images(out: Path) -> None:
    save_image(out / "images" / "mine.jpg")


def foreign_image(out: Path) -> None:
    write_toy(out.parent)
    save_image(out / "images" / "mine.jpg")


def foreign_annotations(out: Path) -> None:
    write(out / "annotations.jsonl", "mine")


def foreign_file(out: Path) -> None:
    write(out, "mine")


@pytest.mark.parametrize("lay", [foreign_top, foreign_images, foreign_image, foreign_annotations, foreign_file])
@pytest.mark.parametrize("again", [False, True])
def test_files_of_others_are_left_alone(tmp_path: Path, lay: Any, again: bool) -> None:
    out = tmp_path / "out"
    lay(out)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"is not written here|is a file; name a folder to write") as error:
        write_own(out, make_source(tmp_path / "from"), Choices(), again=again)
    assert "\n" not in str(error.value)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_the_source_beside_the_images_is_no_place(tmp_path: Path, one_line_error: OneLine) -> None:
    flags = coco_flags(tmp_path)
    line = one_line_error(prepare.main, [*flags, "--out", str(tmp_path)])
    assert (
        line == f"error: {tmp_path}: holds coco.json, photos, which is not written here; name a new folder with --out"
    )


# Kills


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_kill_at_every_change_of_a_file(tmp_path: Path, copy: bool, replaces: bool) -> None:
    """Killed at any change of a file and run again, the folder is the same, byte for byte."""
    write_toy(tmp_path, copy=copy)
    expected = contents(tmp_path / "out")

    def run(place: Path) -> list[str]:
        return write_own(place, make_source(tmp_path / "from"), Choices(name="out"), copy=copy, again=replaces)

    number = 0
    for number in count(1):
        place = tmp_path / str(number) / "out"
        if replaces:
            write_own(place, other_source(tmp_path), Choices())
        if not killed_at(number, lambda place=place: run(place), ALL_POINTS):
            break
        assert in_child(lambda place=place: run(place)) == 0, number
        assert contents(place) == expected, number
        assert [path.name for path in place.parent.iterdir()] == ["out"], number
    assert number > 8


@pytest.mark.parametrize(
    ("choices", "lists", "kept"),
    [
        (Choices(min_pixels=1), None, ["dog"]),
        (Choices(), None, []),  # no object covers 2,048 pixels
        (Choices(min_pixels=1), {"val": ["a"]}, []),
    ],
)
def test_classes_in_few_images_are_left_out(
    tmp_path: Path, choices: Choices, lists: dict[str, list[str]] | None, kept: list[str]
) -> None:
    source, out = make_source(tmp_path / "from", lists=lists), tmp_path / "out"
    if not kept:
        with pytest.raises(UserError, match="--min-images 2: no class is in so many images"):
            write_own(out, source, choices, min_images=2)
        return
    lines = write_own(out, source, choices, min_images=2)
    assert read_folder(out)[0]["classes"] == kept
    assert "note: 1 classes that fewer than 2 images show are left out: cat" in lines
