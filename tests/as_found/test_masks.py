"""Masks of a person's own supports and of datasets: what is the object, which label a pixel has.

The truth of as_found's disc is 20.0 %.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dataset.labels import VOC_PALETTE, voc_colour
from tests.as_found.cases import Case, Inputs, check
from tests.files import grey_png

Save = Callable[[np.ndarray, Path], object]  # the true disc (H, W) bool, and where to save a mask of it


def segment(inputs: Inputs, mask: str | Path, *more: str) -> list[str]:
    """predict.py on as_found's picture with one of its masks, or another."""
    image = str(inputs.found("img/plain.jpg"))
    mask = inputs.found(f"mask/{mask}") if isinstance(mask, str) else mask
    files = ["--support", image, "--mask", str(mask), "--query", image]
    return ["predict.py", "--checkpoint", str(inputs.checkpoint), *files, "--out", str(inputs.folder / "out"), *more]


def disc(inputs: Inputs) -> np.ndarray:
    return np.array(Image.open(inputs.found("img/disc.png")).convert("L")) > 0


def own(name: str, save: Save, code: int, says: str, *more: str, file: str = "own.png") -> Case:
    """A mask of the disc that the case saves itself."""

    def make(inputs: Inputs) -> list[str]:
        save(disc(inputs), inputs.folder / file)
        return segment(inputs, inputs.folder / file, *more)

    return Case(name, make, code, says)


def shares(mask: str, what: str, code: int, says: str, *more: str) -> Case:
    return Case(f"{mask}: {what}", lambda inputs: segment(inputs, mask, *more), code, says)


def two(background: int, object_: int) -> Save:
    return lambda true, path: Image.fromarray(np.where(true, object_, background).astype(np.uint8)).save(path)


def coloured(background: str, object_: str, mode: str = "RGB") -> Save:
    def save(true: np.ndarray, path: Path) -> None:
        picture = Image.new("RGB", true.shape[::-1], background)
        picture.paste(object_, mask=Image.fromarray(true))
        picture.convert(mode).save(path)

    return save


def soft(colour: str = "white") -> Save:
    def save(true: np.ndarray, path: Path) -> None:
        edge = Image.fromarray(true.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1))
        picture = Image.new("RGB", edge.size)
        picture.paste(colour, mask=edge)
        picture.save(path)

    return save


def palette(colours: str, background: int, object_: int) -> Save:
    def save(true: np.ndarray, path: Path) -> None:
        picture = Image.fromarray(np.where(true, object_, background).astype(np.uint8))
        picture.putpalette(bytes.fromhex(colours))
        picture.save(path)

    return save


def quantized(true: np.ndarray, path: Path) -> None:
    """A red disc on white with soft edges, as an optimiser saves it."""
    picture = Image.new("RGB", true.shape[::-1], "white")
    edge = Image.fromarray(true.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1))
    picture.paste("red", mask=edge)
    picture.quantize(16).save(path, optimize=True)


def evenly(true: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(true.astype(np.uint8) * 255).convert("RGBA")
    picture.putalpha(100)
    picture.save(path)


def trimap(middle: int) -> Save:
    def save(true: np.ndarray, path: Path) -> None:
        inner, outer = (
            np.array(Image.fromarray(true).convert("L").filter(x(9)))
            for x in (ImageFilter.MinFilter, ImageFilter.MaxFilter)
        )
        Image.fromarray(np.where(inner > 0, 255, np.where(outer > 0, middle, 0)).astype(np.uint8)).save(path)

    return save


def white_is_zero(true: np.ndarray, path: Path) -> None:
    Image.fromarray(np.where(true, 0, 65535).astype(np.uint16)).save(path, "TIFF", tiffinfo={262: 0})


def of_bits(bits: int, channels: int, object_: int) -> Save:
    return lambda true, path: path.write_bytes(grey_png(np.where(true, object_, 0), bits, channels))


def gradient(true: np.ndarray, path: Path) -> None:
    Image.linear_gradient("L").resize(true.shape[::-1]).save(path)


def parts(*values: int) -> Save:
    """The disc in squares of as many labels."""

    def save(true: np.ndarray, path: Path) -> None:
        rows, columns = np.indices(true.shape) // 12
        numbers = np.array(values)[(rows * 7 + columns) % len(values)]
        Image.fromarray(np.where(true, numbers, 0).astype(np.uint16 if max(values) > 255 else np.uint8)).save(path)

    return save


def on_black(true: np.ndarray, path: Path) -> None:
    picture = np.array(Image.linear_gradient("L").resize(true.shape[::-1]).convert("RGB"))
    picture[..., 0] = 90
    Image.fromarray(np.where(true[..., None], picture, 0).astype(np.uint8)).save(path)


def with_labelmap(true: np.ndarray, path: Path) -> None:
    coloured("#000000", "#fa3253")(true, path)
    (path.parent / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n")


RGB_DISC = coloured("#000000", "#800000")  # VOC's aeroplane
TRUTH = r"20\.0 ?%"

SUPPORTS = [
    shares("ones.png", "values 0 and 1", 0, TRUTH),
    shares("bit1.png", "1 bit", 0, TRUTH),
    shares("bw_rgb.png", "black and white", 0, TRUTH),
    shares("ids16.png", "0 and 1000 in 16 bits", 0, TRUTH),
    shares("float.tif", "floats of 0 and 1", 0, TRUTH),
    shares("video_range.png", "values 16 and 235", 0, TRUTH),
    shares("one_is_black.png", "values 1 and 254", 0, TRUTH),
    shares("cvat_coloured_background.png", "green and pink", 0, TRUTH),
    shares("cvat_coloured_background.png", "a note", 0, r"note: .*#008000, the colour of its edge, is taken for"),
    shares("cvat_coloured_background.png", "by colour", 0, TRUTH, "--label", "#fa3253"),
    shares("feathered.png", "soft edges", 0, r"19\.4 ?%"),
    shares("jpeg_then.png", "noise of JPEG", 0, TRUTH),
    shares("jpeg_then.png", "a note", 0, r"note: .*has 146 shades from 0 to 255; what is above 127\.5 is the object"),
    shares("inverted.png", "a note", 0, r"note: .*covers most of the picture's edge; if that is background, invert"),
    shares("inverted.png", "--label 0", 0, TRUTH, "--label", "0"),
    shares("all_ones.png", "no background", 2, r"all_ones\.png: has the value 1 everywhere, so no background; mark"),
    shares("all_ones.png", "no background, by label", 2, r"leaves no background; mark the object", "--label", "1"),
    shares("black_brush.png", "black on transparent", 0, TRUTH),
    shares("labelbox_white_on_transparent.png", "white on transparent", 0, TRUTH),
    shares("cutout.png", "a cut-out photograph", 0, TRUTH),
    shares("voc_255_border.png", "0, 15 and 255", 0, TRUTH),
    own("values 1 and 255", two(1, 255), 0, TRUTH),
    own("values 0 and 255, as JPEG", two(0, 255), 0, r"(19\.9|20\.0|20\.1) ?%", file="own.jpg"),
    own("values 0 and 15, as JPEG", two(0, 15), 2, r"own\.jpg: JPEG blurs a mask's values", file="own.jpg"),
    own("values 1 and 2", two(1, 2), 2, r"holds 1, 2 and no 0, which would be background; name"),
    own("values 1 and 2, by label", two(1, 2), 0, TRUTH, "--label", "2"),
    own("soft edges in red", soft("red"), 0, r"support .*: (19\.\d|20\.\d)% object"),
    own("soft edges in red: a note", soft("red"), 0, r"note: .* shades from 0 to 255; what is above"),
    own("palette of white, black", palette("ffffff000000", 1, 0), 0, TRUTH),
    own("palette of red, black", palette("ff0000000000", 1, 0), 0, TRUTH),
    own("palette of two blacks", palette("000000000000", 0, 1), 0, TRUTH),
    own("a photograph", gradient, 2, "too many of its pixels are neither dark nor bright: labels, or a photograph"),
    Case(
        "the image itself as its mask",
        lambda inputs: segment(inputs, inputs.found("img/plain.jpg")),
        2,
        r"plain\.jpg: holds no black, .*: a photograph\?; name the object with --label '#rrggbb', or another mask$",
    ),
    own("labels 50, 100 and 200", parts(50, 100, 200), 0, TRUTH),
    own("labels 50, 100 and 200: a note", parts(50, 100, 200), 0, r"note: .*: 0, 50, 100, 200 fill areas and are"),
    own("labels 50, 100 and 200, by label", parts(50, 100, 200), 0, r"support .*: [1-9]\.\d% object", "--label", "100"),
    own("labels 85, 170 and 255", parts(85, 170, 255), 2, r"own\.png: too many of its pixels are .* name the object"),
    own("numbers of 40 instances", parts(*range(1, 41)), 0, TRUTH),
    own("numbers of 40 instances in 16 bits", parts(*range(1000, 40001, 1000)), 0, TRUTH),
    own("a cut-out photograph on black", on_black, 2, r"own\.png: too many of its pixels are neither dark nor bright"),
    own("a quantized palette of soft edges", quantized, 0, r"support .*: (19\.\d|20\.\d)% object"),
    own("evenly transparent", evenly, 0, TRUTH),
    own("trimap of 128", trimap(128), 0, r"note: .*own\.png: a trimap; 128, which is all around 255, is"),
    own("trimap of 127", trimap(127), 0, r"support .*: 14\.\d% object"),
    own("white is zero in 16 bits", white_is_zero, 0, TRUTH, file="own.tif"),
    own("4 bits, by label", of_bits(4, 1, 3), 0, TRUTH, "--label", "3"),
    own("colours of 16 bits, 0 and 1", of_bits(16, 3, 1), 2, r"own\.png: colours of 16 bits, .* save it with 8 bits$"),
    own("VOC's colours, by colour", RGB_DISC, 0, TRUTH, "--label", "#800000"),
    own("VOC's colours, by name", RGB_DISC, 0, TRUTH, "--label", "aeroplane"),
    own("VOC's colours, another name", RGB_DISC, 2, "no pixel has --label cat; it holds #000000, #8", "--label", "cat"),
    own("a labelmap.txt", with_labelmap, 0, TRUTH, "--label", "cat"),
    own("a labelmap.txt without the class", with_labelmap, 2, "has no --label dog; it has backg", "--label", "dog"),
]  # fmt: skip


def of_toy(change: Callable[[np.ndarray], Image.Image | PngBytes], *words: str) -> Callable[[Inputs], list[str]]:
    """A command on a copy of the toy dataset whose masks are saved anew. words: script and flags."""

    def make(inputs: Inputs) -> list[str]:
        root = Path(shutil.copytree(inputs.toy, inputs.folder / "VOC2012"))
        for path in (root / "SegmentationClassAug").iterdir():
            change(np.array(Image.open(path))).save(path)
        script, *flags = words
        if script == "test.py":
            flags += ["--checkpoint", str(inputs.checkpoint), "--fold", "0", "--episodes", "4", "--seeds", "1"]
        return [script, *flags, "--data-root", str(root), "--workers", "0"]

    return make


def in_rgb(labels: np.ndarray, mode: str = "RGB") -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(VOC_PALETTE)
    return image.convert(mode)


def as_greys(labels: np.ndarray) -> Image.Image:
    return Image.fromarray(labels).convert("RGB")


def reorder(labels: np.ndarray) -> Image.Image:
    """The labels under a palette of those that occur, the highest first."""
    used = np.unique(labels)[::-1].astype(int)
    image = Image.fromarray(np.searchsorted(-used, -labels.astype(int)).astype(np.uint8))
    image.putpalette(bytes(value for label in used for value in voc_colour(int(label))))
    return image


def foreign(labels: np.ndarray) -> Image.Image:
    pixels = np.array(in_rgb(labels))
    pixels[0, 0] = 1, 2, 3
    return Image.fromarray(pixels)


def optimise(labels: np.ndarray) -> Image.Image:
    """The labels under colours of nobody's, those that occur in order of their number of pixels."""
    used, counts = np.unique(labels, return_counts=True)
    used = used[np.argsort(-counts)]
    image = Image.fromarray(np.argsort(used)[np.searchsorted(np.sort(used), labels)].astype(np.uint8))
    image.putpalette(bytes(value for label in used.tolist() for value in (label, 99, 255 - label)))
    return image


def evenly_transparent(labels: np.ndarray) -> Image.Image:
    return Image.merge("LA", (Image.fromarray(labels), Image.new("L", labels.shape[::-1], 128)))


def in_few_bits(labels: np.ndarray) -> PngBytes:
    return PngBytes(grey_png(np.where(labels == 255, 0, labels % 16), 4))


class PngBytes(NamedTuple):
    """A file that Pillow does not write."""

    content: bytes

    def save(self, path: Path) -> None:
        path.write_bytes(self.content)


TEST, VERIFY, PASCAL = ("test.py", "--device", "cpu"), ("prepare.py", "verify", "--shot", "1"), ("prepare.py", "pascal")
WHOLE = r"nothing is wrong"
DATASETS = [
    Case("a reordered palette: test", of_toy(reorder, *TEST), 0, r"mIoU 25\.6"),
    Case("a reordered palette: verify", of_toy(reorder, *VERIFY), 0, WHOLE),
    Case("a reordered palette: prepare", of_toy(reorder, *PASCAL), 0, r"100 masks hold their labels as colours or the"),
    Case("a reordered palette: convert", of_toy(reorder, *PASCAL, "--from-colours"), 0, r"100 masks written anew"),
    Case("VOC's colours in RGB: verify", of_toy(in_rgb, *VERIFY), 0, WHOLE),
    Case("VOC's colours in RGBA: verify", of_toy(lambda labels: in_rgb(labels, "RGBA"), *VERIFY), 0, WHOLE),
    Case("labels as RGB greys: verify", of_toy(as_greys, *VERIFY), 0, WHOLE),
    Case("labels in 16 bits: verify", of_toy(lambda labels: Image.fromarray(labels.astype("<u2")), *VERIFY), 0, WHOLE),
    Case("palettes of other orders: verify", of_toy(optimise, *VERIFY), 1, r"note: .*: the palettes differ: \d is #"),
    Case("evenly transparent: verify", of_toy(evenly_transparent, *VERIFY), 0, WHOLE),
    Case("4 bits: verify", of_toy(in_few_bits, *VERIFY), 1, r"train +60 +60 +60 +60 +129-129 +0\n"),
    Case("4 bits: prepare", of_toy(in_few_bits, *PASCAL), 0, r"100 masks hold their labels as colours or the"),
    Case("a colour that is not VOC's: test", of_toy(foreign, *TEST), 2, r"holds the colour #010203, which is none"),
    Case("a colour that is not VOC's: prepare", of_toy(foreign, *PASCAL), 0, r"WARNING: 100 of 100 masks cannot be"),
]  # fmt: skip
CASES = [*SUPPORTS, *DATASETS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_masks(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)
