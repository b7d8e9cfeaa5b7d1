"""The labels of a mask's file, by hand: numbers, VOC's colours in any order, and what is ambiguous."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.images import read_binary_mask, read_converted, read_histogram, read_mask
from dataset.labels import VOC_PALETTE, voc_colour
from tests.files import grey_png, write
from util.errors import UserError

LABELS = np.array([[0, 0, 7], [15, 255, 7]], np.uint8)
GREY = [value for label in range(256) for value in (label, label, label)]
COCO = [value for label in range(256) for value in (label * 7 % 256, label * 31 % 256, label * 101 % 256 | 1)]


def paletted(indices: np.ndarray, colours: list[int] | bytes, mode: str = "P") -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(bytes(colours))
    return image.convert(mode)


def reordered(seed: int, cut: bool, labels: np.ndarray = LABELS) -> Image.Image:
    """Labels under VOC's palette in another order, of all 256 colours or of those that occur."""
    order = np.random.RandomState(seed).permutation(np.unique(labels) if cut else 256)
    place = np.zeros(256, np.uint8)
    place[order] = np.arange(len(order))
    return paletted(place[labels], [value for label in order for value in voc_colour(int(label))])


def as_grey_palette() -> Image.Image:
    """As optimisers save a grey mask of few values."""
    indices = np.searchsorted(np.unique(LABELS), LABELS)
    return paletted(indices, [value for label in np.unique(LABELS) for value in (label, label, label)])


def test_voc_s_colours_by_hand() -> None:
    assert [voc_colour(label) for label in (0, 1, 2, 3, 8, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),  # aeroplane
        (0, 128, 0),
        (128, 128, 0),
        (64, 0, 0),
        (192, 128, 128),  # person
        (0, 64, 128),  # tvmonitor
        (224, 224, 192),  # the border
    ]


OPAQUE = np.full(LABELS.shape, 255, np.uint8)
COLOURED = paletted(LABELS, VOC_PALETTE, "RGB")
BY_NUMBER = {
    "grey": Image.fromarray(LABELS),
    "VOC's palette": paletted(LABELS, VOC_PALETTE),
    "grey palette": paletted(LABELS, GREY),
    "black palette": paletted(LABELS, bytes(768)),
    "VOC's palette of 21 colours": paletted(LABELS, VOC_PALETTE[:63]),
    "VOC's palette, then zeros": paletted(LABELS, VOC_PALETTE[:63] + bytes(705)),
    "colours of its own": paletted(LABELS, COCO),
    "white before black": paletted(LABELS, bytes([255] * 3 + [0] * 765)),
}
BY_VALUE = {
    "grey as RGB": Image.fromarray(np.stack([LABELS] * 3, -1)),
    "opaque grey": Image.fromarray(np.stack([LABELS, OPAQUE], -1)),
    "opaque grey as RGB": Image.fromarray(np.stack([LABELS] * 3 + [OPAQUE], -1)),
    "16 bits": Image.fromarray(LABELS.astype(np.uint16)),
    "32 bits": Image.fromarray(LABELS.astype(np.int32)),
    "evenly transparent": Image.fromarray(np.stack([LABELS, OPAQUE // 2], -1)),
    "greys that occur": as_grey_palette(),
}
BACKGROUND_LAST = [value for label in (15, 7, 255, 0) for value in voc_colour(label)]
BY_COLOUR = {
    "RGB": COLOURED,
    "RGBA": COLOURED.convert("RGBA"),
    "all colours in another order": reordered(0, cut=False),
    "the colours that occur in another order": reordered(1, cut=True),
    "Pillow's quantizer": COLOURED.quantize(8),
    "background last": paletted(
        np.array([[3, 3, 1], [0, 2, 1]]), b"".join(map(bytes, map(voc_colour, (15, 7, 255, 0))))
    ),
}


def save(image: Image.Image, path: Path) -> Path:
    image.save(path, "TIFF" if image.mode == "I" else "PNG")
    return path


@pytest.mark.parametrize("voc", [True, False])
@pytest.mark.parametrize("name", [*BY_NUMBER, *BY_VALUE])
def test_numbers_are_labels(name: str, voc: bool, tmp_path: Path) -> None:
    path = save({**BY_NUMBER, **BY_VALUE}[name], tmp_path / "a.png")
    assert np.array_equal(read_mask(path, voc), LABELS)
    assert read_histogram(path, voc_colours=voc)[:2] == ((3, 2), {0: 2, 7: 2, 15: 1, 255: 1})
    assert (read_converted(path) is None) == (name in BY_NUMBER)


@pytest.mark.parametrize("name", BY_COLOUR)
def test_voc_s_colours_are_labels_in_any_order(name: str, tmp_path: Path) -> None:
    path = save(BY_COLOUR[name], tmp_path / "a.png")
    assert np.array_equal(read_mask(path, voc_colours=True), LABELS)
    assert read_histogram(path, voc_colours=True)[:2] == ((3, 2), {0: 2, 7: 2, 15: 1, 255: 1})
    assert np.array_equal(read_converted(path), LABELS)
    if BY_COLOUR[name].mode == "P":  # of another dataset the index is the label
        assert np.array_equal(read_mask(path), np.array(BY_COLOUR[name]))


def test_two_greys_in_a_palette_are_labels(tmp_path: Path) -> None:
    """A mask of one class without a border, as an optimiser saves it; 0 and 255 tell no class, so the index counts."""
    for greys, labels in (((0, 15), [0, 15, 15]), ((0, 255), [0, 1, 1])):
        image = Image.fromarray(np.array([[0, 1, 1]], np.uint8), "P")
        image.putpalette([grey for grey in greys for _ in range(3)])
        image.save(tmp_path / "a.png")
        assert read_mask(tmp_path / "a.png", voc_colours=True).tolist() == [labels]


def test_a_mask_of_background_alone(tmp_path: Path) -> None:
    """Black is background at whatever index, and no other colour is there to tell."""
    path = save(reordered(0, False, np.zeros((2, 3), np.uint8)), tmp_path / "a.png")
    assert np.array(Image.open(path)).any()
    assert read_histogram(path, voc_colours=True)[:2] == ((3, 2), {0: 6})


def test_one_bit_is_the_label_1(tmp_path: Path) -> None:
    path = save(Image.fromarray(LABELS > 0), tmp_path / "a.png")
    assert read_mask(path, True).tolist() == read_mask(path).tolist() == [[0, 0, 1], [1, 1, 1]]
    assert read_binary_mask(path).tolist() == [[0, 0, 1], [1, 1, 1]]


FEW_BITS = np.array([[0, 0, 1], [3, 2, 1]], np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        grey_png(FEW_BITS, 2),
        grey_png(FEW_BITS, 4),
        b"P5 3 2 3 " + FEW_BITS.tobytes(),
        b"P5 3 2 20 " + FEW_BITS.tobytes(),
        b"P5 3 2 1000 " + FEW_BITS.astype(">u2").tobytes(),
    ],
    ids=["2 bits", "4 bits", "PGM of 0 to 3", "PGM of 0 to 20", "PGM of 0 to 1000"],
)
def test_numbers_that_pillow_spreads_are_those_of_the_file(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", content)
    with Image.open(path) as image:
        assert np.array(image).max() > 3
    assert read_mask(path).tolist() == read_converted(path).tolist() == FEW_BITS.tolist()
    assert read_histogram(path)[:2] == ((3, 2), {0: 2, 1: 2, 2: 1, 3: 1})


WAY_OUT = "; save it as a grey PNG of one label a pixel$"
HALF_VOC = [0, 0, 0, 9, 9, 9, *voc_colour(2), *voc_colour(1)]  # 1 is no colour of VOC's, 2 is, 3 is another's


@pytest.mark.parametrize(
    ("image", "voc", "says"),
    [
        (
            paletted(np.array([[0, 1, 2, 3]]), HALF_VOC),
            True,
            "a palette with some of VOC's colours, not in VOC's order",
        ),
        (paletted(np.array([[0, 1, 2]]), HALF_VOC, "RGB"), True, "holds the colour #090909, which is none of VOC's"),
        (COLOURED, False, "a mask in colours"),
        (Image.fromarray(np.stack([LABELS, LABELS], -1)), True, "a mask that is transparent in places"),
        (Image.fromarray(LABELS.astype(np.uint16) * 2), True, "holds 510, a label is 0 to 255"),
        (Image.fromarray(LABELS.astype(np.int32) - 1), True, "holds -1, a label is 0 to 255"),
        (Image.fromarray(np.stack([LABELS, OPAQUE * 0], -1)), True, "a mask that is transparent everywhere"),
        (COLOURED.convert("CMYK"), True, "a mask holds one label a pixel, this one is CMYK"),
    ],
)
def test_what_is_ambiguous_is_refused(image: Image.Image, voc: bool, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image.save(path, "TIFF" if image.mode in ("CMYK", "I") else "PNG")
    for read in (read_mask, lambda path, voc: read_histogram(path, voc_colours=voc)):
        with pytest.raises(UserError, match=f"^{path}: {says}.*{WAY_OUT}"):
            read(path, voc)
