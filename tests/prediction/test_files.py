"""Files as they are named, and images as people see them: upright, RGB, on white."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dataset.turns import TURNS
from prediction.files import (
    check_image,
    find_images,
    find_supports,
    name_outputs,
    read_image,
    read_with_turn,
    to_rgb,
)
from util.errors import UserError

SHOWN = [[1, 2, 3], [4, 5, 6]]
STORED = {  # how a file of each EXIF orientation stores SHOWN, from the standard's "0th row" and "0th column"
    1: [[1, 2, 3], [4, 5, 6]],  # top, left
    2: [[3, 2, 1], [6, 5, 4]],  # top, right
    3: [[6, 5, 4], [3, 2, 1]],  # bottom, right
    4: [[4, 5, 6], [1, 2, 3]],  # bottom, left
    5: [[1, 4], [2, 5], [3, 6]],  # left, top
    6: [[3, 6], [2, 5], [1, 4]],  # right, top
    7: [[6, 3], [5, 2], [4, 1]],  # right, bottom
    8: [[4, 1], [5, 2], [6, 3]],  # left, bottom
}


def save_oriented(path: Path, grey: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.array(grey, np.uint8)).save(path, exif=exif)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".json", ".txt"):
            path.write_text("{}")
        else:
            Image.new("RGB", (8, 6)).save(path)
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


# Which files


def test_files_folders_and_patterns_each_file_once(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.JPEG", "c.png", "notes.txt", ".hidden.jpg", "in/d.jpg", "x[1].jpg")
    assert names(find_images([str(tmp_path)], "--query")) == ["a.JPEG", "b.jpg", "c.png", "x[1].jpg"]
    found = find_images([str(tmp_path / "c.png"), f"{tmp_path}/*.jpg", str(tmp_path), f"{tmp_path}/./c.png"], "--query")
    assert names(found) == ["c.png", "b.jpg", "x[1].jpg", "a.JPEG"]
    assert names(find_images([f"{tmp_path}/**/*.jpg"], "--query")) == ["b.jpg", "d.jpg", "x[1].jpg"]
    assert names(find_images([str(tmp_path / "x[1].jpg")], "--query")) == ["x[1].jpg"]


def test_left_out_files_are_meant_by_their_own_name_only(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.png")
    left_out = [tmp_path / "a.png"]
    assert names(find_images([str(tmp_path)], "--query", left_out)) == ["a.jpg"]
    assert names(find_images([str(tmp_path / "a.png")], "--query", left_out)) == ["a.png"]
    with pytest.raises(UserError, match=r"--query .*/\*\.png: holds nothing but masks; name other images$"):
        find_images([f"{tmp_path}/*.png"], "--query", left_out)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing.jpg", r"nothing\.jpg: no such file or folder$"),
        ("*.gif", r"\*\.gif: matches no image"),
        ("empty", r"empty: a folder without images \(JPEG, PNG, "),
    ],
)
def test_names_that_mean_no_image(tmp_path: Path, name: str, says: str) -> None:
    make(tmp_path, "a.jpg", "empty/notes.txt")
    with pytest.raises(UserError, match=f"^--query .*{says}"):
        find_images([str(tmp_path / name)], "--query")


def test_masks_are_found_beside_images(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.png", "b.png", "b_mask.png", "c.jpg", "c.json")
    expected = [("a.jpg", "a.png"), ("b.png", "b_mask.png"), ("c.jpg", "c.json")]
    for given in ([str(tmp_path)], [f"{tmp_path}/*"], [str(path) for path in sorted(tmp_path.iterdir())[:-1]]):
        assert [(image.name, mask.name) for image, (mask,) in find_supports(given)] == expected


def test_masks_as_given_go_with_the_supports_in_order(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.png", "other.png")
    image, *masks = (str(tmp_path / name) for name in ("a.jpg", "other.png", "a.png"))
    found = find_supports([image, image], masks)  # two objects of one image
    assert found == [(Path(image), (Path(mask),)) for mask in masks]


@pytest.mark.parametrize(
    ("there", "masks"),
    [
        ("a.jpg a_1.png a_2.png", "a_1.png a_2.png"),
        ("a.jpg a_0.PNG A_1.png", "a_0.PNG A_1.png"),
        ("a.jpg a_03.png a_2.png a_01.png", "a_01.png a_2.png a_03.png"),  # in the order of the numbers
        ("a.jpg a_001.png", "a_001.png"),
        ("a.png a_mask_1.png a_mask_2.jpg", "a_mask_1.png a_mask_2.jpg"),
        ("a.jpg a.png a_1.png", "a.png"),  # the usual name comes first
        ("a.png a_1.png a_2.png", ""),  # a series of images
        ("a.jpg a_2.png a_3.png", ""),
        ("a.jpg a_1.png a_3.png", ""),
        ("a.jpg a_2024.png", ""),
        ("a.jpg a_1.png a_mask_1.png", ""),  # of two kinds
        ("a.jpg a_1.jpg a_1.png a_2.png", ""),  # one is another image's
        ("a.jpg a_1.png a_1_mask.png a_2.png", ""),  # one is an image that has a mask
        ("a.jpg a_1.png a_1.json", ""),
        ("a.jpg b_1.png ab_1.png", ""),
        ("a.jpg a_1.jpg a_1_1.png", ""),  # the mask of a_1.jpg
    ],
)
def test_numbered_masks(tmp_path: Path, there: str, masks: str) -> None:
    """United if they are surely of this image; of a folder none of them is a support of its own."""
    make(tmp_path, *there.split())
    image = there.split()[0]
    expected = masks.split()
    if not expected:
        with pytest.raises(UserError, match=rf"^no mask beside .*/{image}: .*NAME_1\.png, NAME_2\.png \.\.\.; or"):
            find_supports([str(tmp_path / image)])
        return
    for given in (tmp_path / image, *([tmp_path] if len(expected) == len(there.split()) - 1 else [])):
        ((found, paths),) = find_supports([str(given)])
        assert (found.name, names(paths)) == (image, expected)


def test_numbered_files_are_queries(tmp_path: Path) -> None:
    """A series of images is not taken for masks, unless they are those of the supports."""
    make(tmp_path, "a.jpg", "a_1.png", "a_2.png")
    assert names(find_images([str(tmp_path)], "--query")) == ["a.jpg", "a_1.png", "a_2.png"]
    ((_, masks),) = find_supports([str(tmp_path / "a.jpg")])
    assert names(find_images([str(tmp_path)], "--query", masks)) == ["a.jpg"]


def test_several_masks_as_given(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "x1.png", "x2.png", "y.png")
    a, b, x1, x2, y = (str(tmp_path / name) for name in ("a.jpg", "b.jpg", "x1.png", "x2.png", "y.png"))
    assert find_supports([a], [x2, x1, y]) == [(Path(a), (Path(x2), Path(x1), Path(y)))]
    pattern = str(tmp_path / "x*.png")
    assert find_supports([a, b], [pattern, y]) == [(Path(a), (Path(x1), Path(x2))), (Path(b), (Path(y),))]


def test_videos_are_queries_by_name_and_by_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "a.jpg", "b.txt")
    for name in ("c.mp4", "d.MOV"):
        (tmp_path / name).write_bytes(b"")
    assert names(find_images([f"{tmp_path}/*"], "--query")) == ["a.jpg", "c.mp4", "d.MOV"]
    assert names(find_images([str(tmp_path / "c.mp4")], "--query")) == ["c.mp4"]
    capsys.readouterr()
    assert names(find_images([str(tmp_path)], "--query")) == ["a.jpg"]
    assert "2 files passed over: 1 .mov (name them: '*.mov'), 1 .mp4 (name them: '*.mp4')" in capsys.readouterr().out
    assert names(find_images([f"{tmp_path}/*"], "--support")) == ["a.jpg"]
    assert capsys.readouterr().out.endswith("2 files passed over: 1 .mov, 1 .mp4\n")


@pytest.mark.parametrize(
    ("given", "masks", "says"),
    [
        (["."], None, r"^no mask beside .*/d\.jpg, .*/e\.jpg: it is looked for as NAME\.png, NAME_mask\.png, "),
        (["a.jpg"], None, r"a\.jpg: 2 masks beside it: .*/a\.png, .*/a\.json; name the right one with --mask$"),
        (
            ["a.jpg", "d.jpg"],
            ["a.png"],
            r"^--mask names 1 files for 2 of --support; name one mask for each, or in quotes",
        ),
        (["a.jpg"], ["b_*.png"], r"^--mask .*/b_\*\.png: matches no file$"),
        (["."], ["a.png"], r"^--support .*: no such file; with --mask, name every image by itself$"),
    ],
)
def test_supports_that_lack_a_mask_or_have_two(
    tmp_path: Path, given: list[str], masks: list[str] | None, says: str
) -> None:
    make(tmp_path, "a.jpg", "a.png", "a.json", "d.jpg", "e.jpg")
    with pytest.raises(UserError, match=says):
        find_supports([str(tmp_path / name) for name in given], masks and [str(tmp_path / name) for name in masks])


def test_names_that_are_numbered_already() -> None:
    paths = [Path(x) for x in ("a/x.jpg", "a/x_2.jpg", "b/x.jpg", "c/X.png", "b/x_2.jpg")]
    assert name_outputs(paths) == ["x", "x_2", "x_3", "X_4", "x_2_2"]


# What is in them


@pytest.mark.parametrize("orientation", STORED)
def test_images_are_upright(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.png"
    save_oriented(path, STORED[orientation], orientation)
    picture, turn = read_with_turn(path)
    assert np.array(picture)[..., 0].tolist() == SHOWN
    assert turn == TURNS.get(orientation)
    with Image.open(path) as image:
        assert np.array(ImageOps.exif_transpose(image)).tolist() == SHOWN
    assert sorted(check_image(path).size) == [2, 3]


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_is_no_hindrance(tmp_path: Path, exif: bytes) -> None:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").size == (4, 3)


@pytest.mark.parametrize("suffix", [".heic", ".jpg"])  # whatever it is called
def test_heic_is_upright(suffix: str, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    shown = np.zeros((48, 64, 3), np.uint8)
    shown[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(shown)).save(tmp_path / "a", "HEIF", exif=exif.tobytes(), quality=95)
    path = (tmp_path / "a").rename(tmp_path / f"a{suffix}")
    assert np.abs(np.array(read_image(path), int) - shown).mean() < 10
    assert find_images([str(tmp_path)], "--query") == [path]


def test_heic_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for read in (check_image, read_image):
        with pytest.raises(
            UserError, match=r"a\.jpg: not read, it is HEIC; pip install pillow-heif, or save it as JPEG$"
        ):
            read(path)


def test_only_what_is_stretched_or_cut_is_remarked(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    for name in ("a.gif", "b.tif", "c.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert check_image(tmp_path / name).remarks == ("several pictures in one file, of which the first is taken",)
        assert read_image(tmp_path / name).getpixel((4, 3))[2] < 100  # the red one
    frames[0].save(tmp_path / "d.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert check_image(tmp_path / "d.jpg").remarks == ()  # what follows is a preview


def rgb(image: Image.Image) -> list[tuple[int, ...]]:
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    return [tuple(pixel) for pixel in np.array(converted).reshape(-1, 3).tolist()]


def palette() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    return image


CLEAR = np.array([[[255, 0, 0, 255], [255, 0, 0, 128], [7, 7, 7, 0]]], np.uint8)
DEEP = np.array([[0, 128, 129, 2570, 65535]], np.uint16)
EIGHT_BITS = [(value, value, value) for value in (0, 0, 1, 10, 255)]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(CLEAR), [(255, 0, 0), (255, 127, 127), (255, 255, 255)]),
        (Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA"), [(9, 9, 9), (255, 255, 255)]),
        (palette(), [(10, 20, 30), (40, 50, 60)]),
        (Image.fromarray(DEEP), EIGHT_BITS),
        (Image.fromarray(DEEP.astype(np.int32)), EIGHT_BITS),  # as older Pillows open them
        (Image.new("1", (1, 1), 1), [(255, 255, 255)]),
        (Image.new("L", (1, 1), 7), [(7, 7, 7)]),
        (Image.new("CMYK", (1, 1), (0, 255, 255, 0)), [(255, 0, 0)]),
    ],
    ids=["RGBA", "LA", "palette", "16 bits", "32 bits", "1 bit", "grey", "CMYK"],
)
def test_every_mode_becomes_rgb_on_white(image: Image.Image, expected: list[tuple[int, ...]]) -> None:
    assert rgb(image) == expected


def test_files_of_other_modes(tmp_path: Path) -> None:
    palette().save(tmp_path / "a.png", transparency=1)
    assert rgb(read_image(tmp_path / "a.png")) == [(10, 20, 30), (255, 255, 255)]
    Image.fromarray(DEEP).save(tmp_path / "b.png")
    assert rgb(read_image(tmp_path / "b.png")) == EIGHT_BITS


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "folder.jpg").mkdir()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ("jpg", "png"):
        whole = tmp_path / f"whole.{suffix}"
        noise.save(whole)
        (tmp_path / f"half.{suffix}").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        assert check_image(whole) == ((64, 64), ())
    Image.new("F", (40, 40)).save(tmp_path / "float.tiff")
    says = {
        "text.jpg": r"not an image, or damaged; replace it",
        "half.jpg": r"not an image, or damaged \(.*truncated.*\); replace it",
        "half.png": r"not an image, or damaged \(.*\); replace it",
        "folder.jpg": r"cannot be read: ",
        "missing.jpg": r"no such image$",
        "float.tiff": r"floating-point pixels; save it with",
    }
    for name, problem in says.items():
        for read in (check_image, read_image):
            with pytest.raises(UserError, match=f"^{tmp_path}/{name}: {problem}"):
                read(tmp_path / name)


@pytest.mark.parametrize("limit", [1000, 1500])  # an error of Pillow's, and a warning
def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    Image.new("L", (100, 25)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"a\.png: has more than 0\.001\d* million pixels, .*; make the image smaller$"):
        check_image(tmp_path / "a.png")
