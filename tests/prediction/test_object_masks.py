"""What is the object in a mask image, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.labels import VOC_PALETTE
from prediction.masks import read_object
from tests.files import grey_png, write
from util.errors import UserError


def read(image: Image.Image, folder: Path, label: str | None = None, name: str = "a.png") -> list[list[int]]:
    image.save(folder / name)
    return np.array(read_object(folder / name, label)).tolist()


def grey(*rows: list[float], dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype))


def colours(*rows: list[str]) -> Image.Image:
    """Pixels as rrggbb or rrggbbaa."""
    return Image.fromarray(np.array([[list(bytes.fromhex(pixel)) for pixel in row] for row in rows], np.uint8))


def paletted(palette: str | bytes, *rows: list[int], **info: int) -> Image.Image:
    image = grey(*rows)
    image.putpalette(bytes.fromhex(palette) if isinstance(palette, str) else palette)
    image.info.update(info)
    return image


K, W, R, G, B = "000000", "ffffff", "ff0000", "008000", "0000ff"


THE_OBJECT: dict[str, tuple[Image.Image, list[list[int]]]] = {
    "labels": (grey([0, 1, 20]), [[0, 1, 1]]),
    "labels beside 255": (grey([0, 1, 20, 255]), [[0, 1, 1, 255]]),
    "0 and 255": (grey([0, 0, 255]), [[0, 0, 1]]),
    "shades": (grey([0, 0, 127, 128, 255, 255]), [[0, 0, 0, 1, 1, 1]]),
    "video range": (grey([16, 16, 235]), [[0, 0, 1]]),
    "video range, shades": (grey([16, 16, 125, 126, 235, 235]), [[0, 0, 0, 1, 1, 1]]),
    "numbers of instances": (grey([0, 1, 300, 1000], dtype=np.uint16), [[0, 1, 1, 1]]),
    "8 bits in 16": (grey([0, 15 * 257, 15 * 257, 255 * 257], dtype=np.uint16), [[0, 1, 1, 255]]),
    "probabilities": (grey([0, 0, 0.4, 0.6, 1, 1], dtype=np.float32), [[0, 0, 0, 1, 1, 1]]),
    "colours": (colours([K, R, G, B]), [[0, 1, 1, 1]]),
    "VOC's border": (colours([K, G, G, "e0e0c0"]), [[0, 1, 1, 255]]),
    "no black": (colours([G, G, G], [G, R, G], [G, G, G]), [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "shades of a colour": (colours([K, "3f0000", "c00000", R]), [[0, 0, 1, 1]]),
    "strokes": (colours([K + "00", K + "ff"]), [[0, 1]]),
    "faint strokes": (colours([K + "00", R + "64"]), [[0, 1]]),
    "evenly transparent": (colours([K + "40", R + "40"]), [[0, 1]]),
    "a trimap": (grey([0, 0, 127, 255]), [[0, 0, 255, 1]]),
    "a trimap of 128": (grey([0, 128, 128, 255]), [[0, 255, 255, 1]]),
    "no trimap": (grey([0, 0, 128, 255, 0]), [[0, 0, 1, 1, 0]]),
    "nearly opaque": (colours([K + "ff", W + "fe"]), [[0, 1]]),
    "black, white, transparent": (colours([K + "ff", W + "ff", W + "00"]), [[0, 1, 0]]),
    "VOC's palette": (paletted(VOC_PALETTE, [0, 15, 15, 255]), [[0, 1, 1, 255]]),
    "a palette whose 0 is grey": (paletted("787878" + R + G, [0, 1, 2]), [[0, 1, 1]]),
    "black at another index": (paletted(R + K, [0, 1]), [[1, 0]]),
    "a grey palette": (paletted("ffffff" + "101010", [0, 1]), [[1, 0]]),
    "a packed palette whose 0 is within": (
        paletted(R + W, [1, 1, 1], [1, 0, 1], [1, 1, 1]),
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    ),
    "0 within, of a longer palette": (
        paletted(R + W + G, [1, 1, 1], [1, 0, 1], [1, 1, 1]),
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]],
    ),
    "a palette of soft edges": (
        paletted(W + "ff4040" + "ffc0c0" + R, [0, 0, 0, 0], [0, 2, 1, 3]),
        [[0] * 4, [0, 0, 1, 1]],
    ),
    "a palette of VOC's reds": (paletted(VOC_PALETTE, [0, 8, 1, 9]), [[0, 1, 1, 1]]),
    "a transparent palette": (paletted(K + K, [0, 1], transparency=0), [[0, 1]]),
    "a palette's transparent 1": (paletted(R + K, [0, 1], transparency=1), [[1, 0]]),
}


@pytest.mark.parametrize(
    ("image", "mask"),
    THE_OBJECT.values(),
    ids=THE_OBJECT,
)
def test_the_object(image: Image.Image, mask: list[list[int]], tmp_path: Path) -> None:
    assert read(image, tmp_path, name="a.tif" if image.mode == "F" else "a.png") == mask


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (grey([7, 7]), "has the value 7 everywhere, so no background; mark the object alone"),
        (grey([1, 2, 3]), "holds 1, 2, 3 and no 0, which would be background; name the object with --label NUMBER"),
        (grey([0, 255, 127, 255]), "holds more of 255, which beside other labels is neither object nor background"),
        (colours([R, G, B]), "holds no black, and its edge has several colours, .*; name the object with --label '#rr"),
        (grey(list(range(60, 160))), "too many of its pixels are neither dark nor bright: labels, or a photograph"),
        (grey([0, float("nan")], dtype=np.float32), "holds values that are no numbers"),
    ],
)
def test_what_does_not_tell_the_object(image: Image.Image, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^[^\n]*a\.(png|tif): {says}"):
        read(image, tmp_path, name="a.tif" if image.mode == "F" else "a.png")


# Labels

LABELMAP = (
    "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:255,0,0::\nthe dog: 0, 128, 0::head,tail\nnone:::\n"
)
VOC = paletted(VOC_PALETTE, [0, 1, 15, 255])


@pytest.mark.parametrize(
    ("image", "label", "mask"),
    [
        (grey([0, 255, 255]), "0", [[1, 0, 0]]),
        (grey([0, 7, 255]), "7", [[0, 1, 255]]),
        (grey([0, 1, 2], dtype=np.float32), "2", [[0, 0, 1]]),
        (VOC, "15", [[0, 0, 1, 255]]),
        (VOC, "#800000", [[0, 1, 0, 255]]),
        (VOC, "person", [[0, 0, 1, 255]]),
        (VOC.convert("RGB"), "person", [[0, 0, 1, 255]]),
        (VOC.convert("RGBA"), "#C08080", [[0, 0, 1, 255]]),
    ],
)
def test_a_label_is_a_number_a_colour_or_a_name_of_voc(
    image: Image.Image, label: str, mask: list[list[int]], tmp_path: Path
) -> None:
    assert read(image, tmp_path, label, "a.tif" if image.mode == "F" else "a.png") == mask


def test_a_label_of_few_bits_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", grey_png(np.array([[0, 3, 15]]), 4))
    assert np.array(read_object(path, "3")).tolist() == [[0, 1, 0]]


def test_colours_of_16_bits_that_fill_8_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", grey_png(np.array([[0, 15]]), 16, channels=3))
    for label in (None, "15"):
        with pytest.raises(UserError, match=r"a\.png: colours of 16 bits, .* alike everywhere; save it with 8 bits"):
            read_object(path, label)


def test_white_is_zero_in_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[65535, 0]], np.uint16)).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert np.array(read_object(tmp_path / "a.tif", None)).tolist() == [[0, 1]]


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    ("image", "label", "mask"),
    [
        (colours([K, R, G]), "cat", [[0, 1, 0]]),
        (colours([K, R, G]), "the dog", [[0, 0, 1]]),
        (paletted(G + K + R, [1, 2, 0]), "cat", [[0, 1, 0]]),
        (colours([K, R, "808000"]), "none", [[0, 0, 1]]),  # the fourth colour of VOC's map
        (grey([0, 1, 2]), "the dog", [[0, 0, 1]]),
    ],
)
def test_a_label_is_a_name_of_the_labelmap(
    image: Image.Image, label: str, mask: list[list[int]], above: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    (tmp_path / "labelmap.txt" if above else folder / "labelmap.txt").write_text(LABELMAP)
    assert read(image, folder, label) == mask


@pytest.mark.parametrize(
    ("labelmap", "label", "says"),
    [
        (LABELMAP, "cow", "labelmap.txt has no --label cow; it has background, cat, the dog, none"),
        (LABELMAP, "#000001", "no pixel has --label #000001; it holds #000000, #ff0000"),
        ("cat 255\n", "cat", r"'cat 255' is not name:red,green,blue:parts:actions"),
        ("cat:1,2\n", "cat", r"'cat:1,2' is not name:red,green,blue:parts:actions"),
        ("", "cat", "labelmap.txt: the list is empty"),
    ],
)
def test_labels_that_are_not_there(labelmap: str, label: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(labelmap)
    with pytest.raises(UserError, match=says):
        read(colours([K, R]), tmp_path, label)
