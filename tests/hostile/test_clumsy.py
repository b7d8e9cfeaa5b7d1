"""What clumsy hands make of lists, images, masks and names: each works, or one line says what is wrong.

And prepare.py verify finds a fault exactly where the programs would refuse a file.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import prepare
from dataset import Coco, Fss, Pascal, open_fold, open_split
from dataset.check import Finding, find_faults
from dataset.episodes import Episode
from dataset.hsnet import read_class_lists, read_pairs
from dataset.images import FLOATS, ImageSet, list_stems, read_binary_mask, read_histogram, read_mask, read_rgb
from dataset.index import make_pair, mask_reader, read_object
from dataset.labels import BLURRED
from dataset.lists import read_ids
from dataset.prepare.verify import examine, survey
from dataset.prepare.write_lists import read_official_list
from engine.drawing import Tile
from engine.evaluation.protocol import PAPER, load_episodes, save_episodes
from engine.setting import Setting
from prediction.files import check_image, find_images, find_supports, name_outputs, read_image
from prediction.masks import read_support
from prediction.sheet import draw_sheet
from tests.files import OneLine, write
from util.errors import UserError, printable


def line_of(work: Callable[..., Any], *args: Any) -> str:
    """The one line with which a function refuses; "" if it does not. Any other error fails the test."""
    try:
        work(*args)
    except UserError as error:
        return printable(str(error))
    return ""


# Images and masks

OBJECT = np.zeros((12, 16), np.uint8)
OBJECT[2:8, 3:9] = 1
GREY = OBJECT * 200
RGB = Image.fromarray(np.stack([GREY, OBJECT * 220, OBJECT * 240], 2))
WIDE = OBJECT.astype(np.uint16) * 40000
TURNED = Image.Exif()
TURNED[0x112] = 6


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def palette(values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values)
    image.putpalette([value for number in range(256) for value in (number, number, number)])
    return image


def raw_png(bits: int, colours: int, rows: Sequence[bytes]) -> bytes:
    """A PNG of a kind that Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 16, 12, bits, colours, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


PNG = saved(Image.fromarray(GREY), "PNG")
NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 255, (12, 16, 3), np.uint8))
COLOUR, LABELS, OBJECTS, QUERY, SUPPORT = READERS = "image", "label mask", "object mask", "query", "support's mask"
MODES = (LABELS,)  # what has colours or 16 bits is no label mask, but anything else

# Each file, and who refuses it
FILES: dict[str, tuple[bytes, Sequence[str]]] = {
    "grey": (PNG, ()),
    "palette": (saved(palette(GREY), "PNG"), ()),
    "GIF of two pictures": (saved(palette(GREY), "GIF", save_all=True, append_images=[palette(OBJECT)]), ()),
    "TIFF of two pictures": (
        saved(Image.fromarray(GREY), "TIFF", save_all=True, append_images=[Image.fromarray(OBJECT)]),
        (),
    ),
    "BMP": (saved(Image.fromarray(GREY), "BMP"), ()),
    "1 bit": (saved(Image.fromarray(GREY).convert("1"), "PNG"), ()),
    "RGB": (saved(RGB, "PNG"), MODES),
    "16 bits of RGB": (raw_png(16, 2, [struct.pack(">48H", *np.repeat(row, 3)) for row in WIDE]), MODES),
    "RGBA": (saved(RGB.convert("RGBA"), "PNG"), MODES),
    "WebP": (saved(RGB, "WEBP", lossless=True), MODES),
    "CMYK TIFF": (saved(RGB.convert("CMYK"), "TIFF"), MODES),
    "LAB TIFF": (saved(Image.frombytes("LAB", (16, 12), RGB.tobytes()), "TIFF"), (LABELS, OBJECTS)),
    "16 bits": (saved(Image.fromarray(WIDE), "PNG"), MODES),
    "16 bits, up to 255": (saved(Image.fromarray(GREY.astype(np.uint16)), "PNG"), ()),
    "16 bits of a TIFF": (saved(Image.fromarray(WIDE), "TIFF"), MODES),
    "16 bits, highest first": (
        saved(Image.frombytes("I;16B", (16, 12), WIDE.astype(">u2").tobytes()), "TIFF"),
        MODES,
    ),
    "floats": (saved(Image.fromarray(OBJECT.astype(np.float32)), "TIFF"), READERS[:-1]),
    "JPEG": (saved(RGB, "JPEG"), (LABELS,)),
    "grey JPEG": (saved(Image.fromarray(GREY), "JPEG"), (LABELS,)),
    "turned JPEG": (saved(RGB, "JPEG", exif=TURNED), (LABELS, SUPPORT)),
    "turned PNG": (saved(Image.fromarray(GREY), "PNG", exif=TURNED), (SUPPORT,)),
    "another size": (saved(Image.new("L", (15, 12), 200), "PNG"), (SUPPORT,)),
    "cut PNG": (PNG[:-30], READERS),
    "cut JPEG": (saved(NOISE, "JPEG", quality=95)[:700], READERS),
    "PNG with a changed byte": (PNG[:45] + bytes([PNG[45] ^ 255]) + PNG[46:], READERS),
    "empty": (b"", READERS),
    "a page": (b"<!DOCTYPE html><html>", READERS),
}
DAMAGED_PIXELS = ("cut PNG", "cut JPEG", "PNG with a changed byte")  # but a whole header
GREY_BY_16_BITS = {"16 bits": 156, "16 bits, up to 255": 200, "16 bits of a TIFF": 156, "16 bits, highest first": 156}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("error")
def test_images_and_masks(name: str, tmp_path: Path) -> None:
    content, refused = FILES[name]
    path, good, image = (tmp_path / name for name in ("a.png", "good.png", "good.jpg"))
    path.write_bytes(content)
    Image.fromarray(GREY).save(good)
    RGB.save(image)
    lines = {
        COLOUR: line_of(read_rgb, path),
        LABELS: line_of(read_mask, path),
        OBJECTS: line_of(read_binary_mask, path),
        QUERY: line_of(read_image, path),
        SUPPORT: line_of(read_support, image, path),
    }
    assert {reader for reader, line in lines.items() if line} == set(refused), lines
    assert all(line.startswith(f"{path}: ") for line in lines.values() if line)
    assert lines[QUERY] == line_of(check_image, path)
    assert lines[LABELS] == line_of(read_histogram, path)
    assert lines[OBJECTS] == line_of(read_object, path)
    if name == "floats":
        assert lines[COLOUR] == lines[OBJECTS] == lines[QUERY] == f"{path}: {FLOATS}"
    if name == "grey JPEG":
        assert lines[LABELS] == f"{path}: {BLURRED}"
    if name in GREY_BY_16_BITS:
        assert read_rgb(path).getpixel((5, 5)) == (GREY_BY_16_BITS[name],) * 3 == read_image(path).getpixel((5, 5))


def faults(images: ImageSet, quick: bool) -> list[Finding]:
    """What verify finds of the one pair of a list."""
    size, mask, found = examine(images.image_path("a"), images.mask_path("a"), mask_reader(images), quick)
    return [*found, *find_faults(images, [make_pair(images, "a", size, mask)])]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("error")
def test_verify_and_the_programs_agree(name: str, binary: bool, tmp_path: Path) -> None:
    """Verify finds a fault of the image, the mask or their sizes exactly where ImageSet.load refuses the two."""
    images = ImageSet("some", ("a",), tmp_path, tmp_path, {}, binary)
    paths = images.image_path("a"), images.mask_path("a")
    for bad in paths:
        RGB.save(paths[0])
        Image.fromarray(GREY).save(paths[1])
        Path(bad).write_bytes(FILES[name][0])
        found, by_header = (faults(images, quick) for quick in (False, True))
        refusal = line_of(images.load, "a")
        assert bool(refusal) == any(finding.kind != "labels" for finding in found), (refusal, found)
        if bad == paths[1] or name not in DAMAGED_PIXELS:
            assert by_header == found


# Lists of images

BY_NAME = "is not the name of a file or folder; mend the list"
NO_PRINT = "cannot be printed; save the list as plain text in UTF-8"
NO_TEXT = "cannot be read as a list (it is not text in UTF-8; save it so)"
LISTS: dict[str, tuple[bytes, str]] = {  # what a list holds; the ids, or the line
    "plain": (b"a\nb\n", "a b"),
    "mark of UTF-8": (b"\xef\xbb\xbfa\nb\n", "a b"),
    "mark and comment": (b"\xef\xbb\xbf# mine\na\n", "a"),
    "UTF-16": ("a\nb\n".encode("utf-16"), NO_TEXT),
    "Latin-1": ("é\n".encode("latin-1"), NO_TEXT),
    "Windows": (b"a\r\nb\r\n", "a b"),
    "comments": (b"# of mine\na\n  # b\n", "a"),
    "empty": (b"", "the list is empty"),
    "suffixes": (b"a.jpg\nb.JPG\nc.jpeg\nd.PNG\nimg.001.jpg\n", "a b c d img.001"),
    "pairs": (b"JPEGImages/a.jpg SegmentationClassAug/a.png\nJPEGImages/b.b.jpg\tMasks/b.b.png\n", "a b.b"),
    "Windows paths": (b"JPEGImages\\a.jpg\nC:\\VOC2012\\JPEGImages\\b.jpg\n", "a b"),
    "paths that lead out": (b"../../a.jpg\n/etc/b\n./c\n", "a b c"),
    "twice": (b"a\nb\na\n", "lists a twice"),
    "the folder above": (b"a\n..\n", f"'..' {BY_NAME}"),
    "Unicode": ("ä\n猫\n".encode(), "ä 猫"),
    "an escape": (b"a\x1b[2J\n", rf"'a\x1b[2J' {NO_PRINT}"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_images(name: str, tmp_path: Path) -> None:
    content, says = LISTS[name]
    path = write(tmp_path / "val.txt", content)
    if line := line_of(read_ids, path):
        assert line == f"{path}: {says}"
    else:
        assert read_ids(path) == tuple(says.split())


def test_a_space_in_an_id(tmp_path: Path) -> None:
    path = write(tmp_path / "val.txt", b"my cat\nJPEGImages/my dog.jpg SegmentationClassAug/my dog.png\n")
    assert read_ids(path) == ("my cat", "my dog")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder as of Pascal VOC with two images whose names are odd, and no lists but VOC's own."""
    root = tmp_path / "VOC [2012]"
    for name in ("img.001", "my cat"):
        for folder, suffix, image in (("JPEGImages", "jpg", RGB), ("SegmentationClassAug", "png", OBJECT)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
                root / folder / f"{name}.{suffix}"
            )
    write(root / "ImageSets/Segmentation/val.txt", b"\xef\xbb\xbfimg.001\r\n")
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClassAug", "png")):
        write(root / folder / f"._img.001.{suffix}", "what macOS leaves")
    return root


def test_odd_names_of_images(root: Path, tmp_path: Path) -> None:
    """Derived, written and read again, the lists are the same, and verify has no fault of an image or a mask."""
    for _ in range(2):
        assert open_split("pascal", root, "train", 0).images.ids == ("my cat",)
        assert open_split("pascal", root, "test", 0).images.ids == ("img.001",)
        found = survey(Pascal(root), 1, workers=0).findings
        assert {finding.kind for finding in found} == {"count", "class"}
        prepare.main(["pascal", "--data-root", str(root)])


@pytest.mark.parametrize("name", LISTS)
def test_verify_reads_lists_as_the_programs_do(name: str, root: Path) -> None:
    write(root / "ImageSets" / "val.txt", LISTS[name][0])
    refusal = line_of(open_split, "pascal", root, "test", 0)
    assert refusal  # these images are not there
    found = survey(Pascal(root), 1, workers=0).findings
    if "no such image" in refusal:
        refusal = refusal.partition(", but the list")[0]
    assert refusal in [finding.text for finding in found]


def test_names_that_no_list_can_hold(tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", b"a\nb.jpg"):
        path = os.fsencode(tmp_path) + b"/" + name
        open(path, "wb").close()
        assert line_of(list_stems, tmp_path, ".jpg") == (
            f"{tmp_path}: the name {os.fsdecode(name)!r} cannot stand in a list; rename the file"
        )
        os.unlink(path)


@pytest.mark.parametrize("image", ["../a", "/etc/a", "a\\b", "", "a\nb"])
def test_saved_episodes_stay_in_the_folder(image: str, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    for query, support in ((image, "a"), ("a", image)):
        save_episodes(path, Setting(fold=0), PAPER, {0: [Episode(query, 1, (support,))]})
        assert line_of(load_episodes, path) == f"{path}: not a list of episodes that --save-episodes wrote"


# Lists of classes

CLASSES: dict[str, tuple[str, str]] = {  # the list of FSS-1000's classes, and the line; "" where it is taken
    "spaces and dots": ("polar bear\nst. bernard\n", ""),
    "mark and Windows": ("\ufeffabacus\r\nbus\r\n", ""),
    "above": ("abacus\n..\n", f"'..' {BY_NAME}"),
    "a slash": ("abacus/\n", f"'abacus/' {BY_NAME}"),
    "from the root": ("/etc\n", f"'/etc' {BY_NAME}"),
    "a backslash": ("a\\b\n", rf"'a\\b' {BY_NAME}"),
    "twice": ("abacus\nabacus\n", "lists abacus twice"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_lists_of_classes(name: str, tmp_path: Path) -> None:
    content, says = CLASSES[name]
    path = write(tmp_path / "fss" / "test.txt", content)
    expected = f"{path}: {says}" if says else ""
    assert line_of(Fss(tmp_path, tmp_path).read_class_list, "test") == expected
    assert line_of(read_official_list, path) == expected
    assert line_of(Fss.plan_hsnet, tmp_path, None, 1) == expected


def test_an_official_list_that_leads_out(toy_fss_copy: Path, one_line_error: OneLine) -> None:
    path = write(toy_fss_copy / "test.csv", "'..', '../elsewhere'\n")
    line = one_line_error(prepare.main, ["fss", "--data-root", str(toy_fss_copy), "--test-list", str(path)])
    assert line == f"error: {path}: '..' {BY_NAME}"


def replaced(path: Path, by: Callable[[Path], object]) -> None:
    path.unlink()
    by(path)


LEFT = ("Thumbs.db", ".DS_Store", "._1.jpg", "desktop.ini")
FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {  # what happens to a class's folder, and the line
    "what systems leave": (lambda cls: [write(cls / name) for name in LEFT], ""),
    "nine images": (lambda cls: (cls / "10.jpg").unlink(), "10.jpg: no such image"),
    "capitals": (lambda cls: (cls / "1.jpg").rename(cls / "1.JPG"), ""),
    "an image that is a pipe": (lambda cls: replaced(cls / "1.jpg", os.mkfifo), "1.jpg: no such image"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_classes(name: str, toy_fss_copy: Path) -> None:
    damage, says = FOLDERS[name]
    cls = toy_fss_copy / Fss(toy_fss_copy).read_class_list("test")[0]
    damage(cls)
    found = survey(Fss(toy_fss_copy), 1, quick=True, workers=0).findings
    assert len(found) == bool(says)
    assert all(finding.text.startswith(f"{cls}/{says}") for finding in found)
    line = line_of(open_fold, "fss", toy_fss_copy)
    assert line.startswith(f"{cls}/{says.partition(' ')[0]} no such image, but " if says else "")
    assert bool(line) == bool(says)


# HSNet's lists

PAIRS: dict[str, Any] = {  # lines of Pascal's, and what is read
    "a__01": ("a", 1),
    "img.001__20": ("img.001", 20),
    "my__cat__3": ("my__cat", 3),
    "a__1\t": ("a", 1),
    "a__\u0663": None,
    "a__0": None,
    "a__21": None,
    "a": None,
    "__1": None,
    "../a__1": None,
}


@pytest.mark.parametrize("text", PAIRS, ids=lambda text: text[:12])
def test_pairs(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "fold0.txt", f"\ufeff{text}\r\n")
    if PAIRS[text]:
        assert read_pairs(path) == [PAIRS[text]]
    else:
        says = f"{path}: {text!r:.80} is not IMAGE__CLASS, as in 2007_000033__01; import the list again"
        assert line_of(read_pairs, path) == says


NO_LIST = "damaged, or not a list that prepare.py splits made; import it again"
ABSURD = "not HSNet's lists of images by class; import the file again"
OUTSIDE = "names an image by a path that is none; import the file again"
BY_CLASS: dict[str, tuple[Any, Any]] = {  # the JSON's classes, and what is read or the line
    "paths": ({"0": ["val2014/a.1.jpg", "b"]}, {1: ["a.1", "b"]}),
    "Arabic": ({"\u0663": ["a"]}, NO_LIST),
    "huge": ({"1000": ["a"]}, ABSURD),
    "a list": ([["a"]], NO_LIST),
    "no text": ({"0": [1]}, ABSURD),
    "above": ({"0": ["a", ".."]}, OUTSIDE),
}


@pytest.mark.parametrize("name", BY_CLASS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_lists_by_class(name: str, encoding: str, tmp_path: Path) -> None:
    classes, says = BY_CLASS[name]
    path = Coco.hsnet_list(tmp_path, 0).with_suffix(".json")
    write(path, json.dumps({"classes": classes}, ensure_ascii=False).encode(encoding))
    line = line_of(read_class_lists, path)
    if isinstance(says, str):
        assert line == f"{path}: {says}"
    else:
        assert read_class_lists(path) == says


# What a dataset says of itself

OF_20 = "expected the names of 20 classes; or remove it"
LISTED = "ImageSets/classes.txt"
NAMES = [f"class {number}" for number in range(20)]
OF_ITSELF: dict[str, tuple[str, str, str]] = {  # a file, what it holds, the line
    "Notepad's": (LISTED, "\ufeff" + "\r\n".join(NAMES), ""),
    "odd names": (LISTED, "\n".join(["a|b", "<script>", "-", "-", *NAMES[4:]]), ""),
    "a blank": (LISTED, "\n".join(["", *NAMES[1:]]), f"19 lines, {OF_20}"),
    "twice": (LISTED, "\n".join(["cat", "cat", *NAMES[2:]]), "lists cat twice"),
    "an escape": (
        LISTED,
        "\n".join(["a\x07", *NAMES[1:]]),
        rf"'a\x07' {NO_PRINT}",
    ),
    "counts by Notepad": ("expected.json", '\ufeff{"train": 60, "val": 40, "name": "toy"}', ""),
    "counts in words": (
        "expected.json",
        '{"val": "40"}',
        "cannot be read as counts (its val cannot be '40'); remove it",
    ),
    "a list": ("expected.json", '[["val", 40]]', "cannot be read as counts (it has no fields); remove it"),
}


@pytest.mark.parametrize("name", OF_ITSELF)
def test_what_a_dataset_says_of_itself(name: str, toy_copy: Path) -> None:
    file, content, says = OF_ITSELF[name]
    path = write(toy_copy / file, content)
    line = line_of(open_split, "pascal", toy_copy, "test", 0)
    assert line == (f"{path}: {says}" if says else "")
    found = {finding.text for finding in survey(Pascal(toy_copy), 1, quick=True, workers=0).findings}
    assert (line in found) == bool(says)


# Names of folders


@pytest.mark.parametrize("name", ["my data", "[a]", "dätä", "new\nline"])
def test_names_of_folders(name: str, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).symlink_to(toy)
    prepare.main(["pascal", "--data-root", f"{tmp_path / name}//"])
    assert open_split("pascal", tmp_path / name, "test", 0).images.ids
    capsys.readouterr()


@pytest.mark.parametrize("letters", ["a b", "[a]", "a\nb"])
def test_names_of_ones_own_images(letters: str, tmp_path: Path) -> None:
    """Folders and files of any letters are found, also by a pattern, and a sheet has them in one line."""
    paths = [write(tmp_path / letters / f"{name}.{letters}.png", PNG) for name in ("x", "y")]
    assert find_images([str(paths[0].parent / "*.png")], "--query") == paths
    assert find_images([str(paths[0]), str(paths[0].parent)], "--query") == paths
    assert name_outputs(paths) == [f"x.{letters}", f"y.{letters}"]
    write(paths[0].with_suffix(".jpg"), "")
    assert find_supports([str(paths[0].with_suffix(".jpg"))]) == [(paths[0].with_suffix(".jpg"), (paths[0],))]
    assert draw_sheet([("", [Tile(paths[0].name, RGB)])]).size


def test_a_mask_that_is_no_file(tmp_path: Path) -> None:
    image, pipe = write(tmp_path / "a.jpg", saved(RGB, "JPEG")), tmp_path / "a.png"
    os.mkfifo(pipe)
    for mask in (pipe, tmp_path):
        line = f"--mask {mask}: is no file; name a PNG, or a JSON of LabelMe"
        assert line_of(find_supports, [str(image)], [str(mask)]) == line


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_black_is_no_object_in_any_mode(mode: str, tmp_path: Path) -> None:
    image, mask = write(tmp_path / "a.jpg", saved(RGB, "JPEG")), tmp_path / "mask.tif"
    write(mask, saved(Image.fromarray(OBJECT * 255).convert("RGB").convert(mode), "TIFF"))
    assert np.array_equal(read_support(image, mask)[1], OBJECT)
