"""Images that a person names: formats, depths of pixels, and which files of a folder are meant."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from tests.as_found.cases import Case, Inputs, check

FORMATS = r"JPEG, PNG, TIFF, WebP, AVIF, BMP, GIF, JPEG 2000, PPM"
DEVELOP = r"raw data of a camera; develop it, and save it as TIFF or JPEG"


def find_object(inputs: Inputs, *query: str, support: Path | None = None) -> list[str]:
    """predict.py on queries; the support is as_found's picture, with its mask, or one with its mask beside it."""
    words = ["--support", str(support or inputs.found("img/plain.jpg"))]
    words += [] if support else ["--mask", str(inputs.found("img/disc.png"))]
    out = ["--out", str(inputs.folder / "out")]
    return ["predict.py", "--checkpoint", str(inputs.checkpoint), *words, "--query", *query, *out]


def picture(name: str) -> Callable[[Inputs], list[str]]:
    """A file of as_found as the query."""
    return lambda inputs: find_object(inputs, str(inputs.found(f"img/{name}")))


def folder(*names: str, pattern: str = "") -> Callable[[Inputs], list[str]]:
    """Files of as_found, or copies "OLD > NEW", in a folder that is the query, or a pattern in it."""

    def make(inputs: Inputs) -> list[str]:
        place = copy(inputs, *names)
        return find_object(inputs, str(place / pattern) if pattern else str(place))

    return make


def nested(*names: str) -> Callable[[Inputs], list[str]]:
    """Files in a folder that holds another one, with an image."""

    def make(inputs: Inputs) -> list[str]:
        place = copy(inputs, *names)
        (place / "100APPLE").mkdir()
        shutil.copyfile(inputs.found("img/plain.jpg"), place / "100APPLE" / "IMG_0001.JPG")
        return find_object(inputs, str(place))

    return make


def copy(inputs: Inputs, *names: str) -> Path:
    place = inputs.folder / "photos"
    place.mkdir()
    for name in names:
        old, _, new = name.partition(" > ")
        if old:
            shutil.copyfile(inputs.found(f"img/{old}"), place / (new or old))
        else:
            (place / new).write_text("{}")
    return place


def supports(*names: str) -> Callable[[Inputs], list[str]]:
    """Files in a folder of which cat.jpg is the support, and the whole folder the query."""

    def make(inputs: Inputs) -> list[str]:
        place = copy(inputs, "plain.jpg > cat.jpg", *names)
        return find_object(inputs, str(place), support=place / "cat.jpg")

    return make


def named(*names: str) -> Callable[[Inputs], list[str]]:
    """Files of a folder, all named, as a shell makes of a pattern without quotes."""

    def make(inputs: Inputs) -> list[str]:
        place = copy(inputs, *names)
        return find_object(inputs, *(str(path) for path in sorted(place.iterdir())))

    return make


def made(name: str, write: Callable[[Path], object]) -> Callable[[Inputs], list[str]]:
    """A file of the case's own as the query."""

    def make(inputs: Inputs) -> list[str]:
        write(inputs.folder / name)
        return find_object(inputs, str(inputs.folder / name))

    return make


def saved(values: np.ndarray, kind: str, **how: object) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(values).save(path, kind, **how)


def without_heif(make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    return _where(not importlib.util.find_spec("pillow_heif"), "pillow-heif is here", make)


def with_heif(make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    return _where(bool(importlib.util.find_spec("pillow_heif")), "no pillow-heif", make)


def with_avif(make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    return _where("avif" in features.modules and features.check("avif"), "this Pillow has no AVIF", make)


def with_av(make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    return _where(bool(importlib.util.find_spec("av")), "no av", make)


def with_zstd(make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    def checked(inputs: Inputs) -> list[str]:
        try:
            with Image.open(inputs.found("img/zstd.tif")) as image:
                image.load()
        except OSError:
            pytest.skip("this Pillow has no zstd")
        return make(inputs)

    return checked


def _where(is_so: bool, why: str, make: Callable[[Inputs], list[str]]) -> Callable[[Inputs], list[str]]:
    def checked(inputs: Inputs) -> list[str]:
        if not is_so:
            pytest.skip(why)
        return make(inputs)

    return checked


def tiff(bits: tuple[int, ...], samples: int, sample_format: int = 1, photometric: int = 1, **more: int) -> bytes:
    """A TIFF of 64x48 pixels of any kind, uncompressed and grey."""
    pixels = b"\x40" * (64 * 48 * samples * bits[0] // 8)
    tags = {256: 64, 257: 48, 259: 1, 262: photometric, 277: samples, 278: 48, 279: len(pixels), 339: sample_format}
    tags |= {int(tag.removeprefix("tag_")): value for tag, value in more.items()}
    tags |= {258: bits[0], 273: 8 + 2 + 12 * (len(tags) + 2) + 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + pixels


GREY = np.linspace(200, 3900, 64 * 48).reshape(48, 64).astype(np.uint16)
COLOURS = np.stack([GREY // 16] * 3, -1).astype(np.uint8)
PHONE = ("plain.jpg", "IMG_0001.HEIC", "raw.dng", "raw.CR2", "slice.dcm", "plain.jpg > clip.MOV", "plain.jpg > a.pdf")
SUM = r"1 image, .*all on"
OBJECT = r"%s: \d+\.\d%% object"
BITS = r"note: %s bits in files of 16, stretched to the whole range: %s"
FIRST = r"note: several pictures in one file, of which the first is taken: %s"

CASES = [
    # Formats
    *(
        Case(f"{name}: read", picture(name), 0, OBJECT % name)
        for name in (
            "UPPER.JPG",
            "big.tif",
            "cmyk.jpg",
            "jpeg.tif",
            "lab.tif",
            "mpo.jpg",
            "mpo_turned.jpg",
            "packbits.tif",
            "plain.jp2",
            "plain.jpg",
            "plain.png",
            "plain.ppm",
            "planar.tif",
            "rgb16.png",
            "rgb16.tif",
            "tiff_adobe_deflate.tif",
            "tiff_lzw.tif",
            "white_is_zero.tif",
            "ycc.tif",
            "g16_full.png",
            "ccitt.tif",
        )
    ),
    Case("plain.avif: read where Pillow can", with_avif(picture("plain.avif")), 0, OBJECT % "plain.avif"),
    Case(
        "IMG_0001.HEIC: without pillow-heif",
        without_heif(picture("IMG_0001.HEIC")),
        2,
        r"IMG_0001\.HEIC: not read, it is HEIC; pip install pillow-heif, or save it as JPEG$",
    ),
    Case("IMG_0001.HEIC: with pillow-heif", with_heif(picture("IMG_0001.HEIC")), 0, OBJECT % "IMG_0001.HEIC"),
    Case("IMG_0002.jpg.heic: two suffixes", without_heif(picture("IMG_0002.jpg.heic")), 2, r"heic: .*pillow-heif"),
    Case("really_heic.jpg: HEIC called .jpg", without_heif(picture("really_heic.jpg")), 2, r"jpg: .*it is HEIC; pip"),
    Case("really_heic.jpg: with pillow-heif", with_heif(picture("really_heic.jpg")), 0, OBJECT % "really_heic.jpg"),
    Case("html_as.jpg: a web page", picture("html_as.jpg"), 2, r"html_as\.jpg: not read, it is a web page; fetch"),
    Case(
        "lfs.jpg: Git LFS", picture("lfs.jpg"), 2, r"lfs\.jpg: not read, it is a pointer of Git LFS; run git lfs pull"
    ),
    Case("raw.dng: raw", picture("raw.dng"), 2, rf"raw\.dng: not read, it is {DEVELOP}$"),
    Case("raw.CR2: raw", picture("raw.CR2"), 2, rf"raw\.CR2: not read, it is {DEVELOP}$"),
    Case("slice.dcm: DICOM", picture("slice.dcm"), 2, r"slice\.dcm: not read, it is DICOM; save it as PNG or JPEG$"),
    Case(
        "plain.ico: an icon", picture("plain.ico"), 2, r"plain\.ico: not read, it is an icon; save it as PNG or JPEG$"
    ),
    Case("plain.pcx: PCX", picture("plain.pcx"), 2, r"plain\.pcx: not read, it is a \.pcx file; save it as PNG"),
    Case("plain.tga: TGA", picture("plain.tga"), 2, r"plain\.tga: not read, it is a \.tga file; save it as PNG"),
    Case(
        "thumb.dng: a TIFF's thumbnail before raw data",
        made("thumb.dng", saved(COLOURS, "TIFF")),
        2,
        rf"thumb\.dng: not read, it is {DEVELOP}$",
    ),
    Case(
        "thumb.tif: a DNG called .tif",
        made("thumb.tif", lambda path: path.write_bytes(tiff((8,), 1, tag_50706=257))),
        2,
        rf"thumb\.tif: not read, it is {DEVELOP}$",
    ),
    Case(
        "logo.svg.jpg: SVG called .jpg",
        made(
            "logo.jpg", lambda path: path.write_text('<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>')
        ),
        2,
        r"logo\.jpg: not read, it is an SVG drawing; save it as PNG or JPEG$",
    ),
    Case("eps.jpg: would start Ghostscript", made("eps.jpg", saved(COLOURS, "EPS")), 2, r"not read, it is PostScript;"),
    Case(
        "a.psd", made("a.psd", lambda path: path.write_bytes(b"8BPS\0\1")), 2, r"not read, it is a file of Photoshop;"
    ),
    Case(
        "clip.mov",
        made("clip.mov", lambda path: path.write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")),
        2,
        r"clip\.mov: (not a video, or damaged|videos are read and written by the package av; pip)",
    ),
    Case("empty.jpg", made("empty.jpg", Path.touch), 2, r"empty\.jpg: empty; fetch it again$"),
    # Depths and channels
    Case("g16_of12.png: 12 bits in 16", picture("g16_of12.png"), 0, BITS % (12, "g16_of12.png")),
    Case("g16_of10.tif: 10 bits in 16", picture("g16_of10.tif"), 0, BITS % (10, "g16_of10.tif")),
    Case("gray16_of12_rgblike.tif", picture("gray16_of12_rgblike.tif"), 0, BITS % (12, "gray16_of12_rgblike.tif")),
    Case("14 bits in 16", made("x.png", saved(GREY * 4, "PNG")), 0, BITS % (14, "x.png")),
    Case(
        "i16.tif: negative values",
        picture("i16.tif"),
        2,
        r"i16\.tif: grey values from -300 to 8900; save it with 8 or 16 bits$",
    ),
    Case(
        "rgb16_of12.tif: colours of 12 bits in 16",
        made(
            "rgb16_of12.tif",
            lambda path: path.write_bytes(tiff((16, 16, 16), 3, photometric=2).replace(b"@@", b"@\x0c")),
        ),
        2,
        r"rgb16_of12\.tif: colours of 16 bits that fill at most 12; save it with 8 bits$",
    ),
    Case(
        "bands4_u16.tif: four channels",
        picture("bands4_u16.tif"),
        2,
        r"bands4_u16\.tif: not read, it is a TIFF with 4 channels of 16 bits; save it as RGB or grey of 8 bits$",
    ),
    Case(
        "bands5.tif: five channels", picture("bands5.tif"), 2, r"bands5\.tif: not read, .* 5 channels of 8 bits; save"
    ),
    Case("f32.tif: floats", picture("f32.tif"), 2, r"f32\.tif: floating-point pixels; save it with 8 or 16 bits$"),
    Case(
        "f32_rgb.tif: floats of three channels",
        picture("f32_rgb.tif"),
        2,
        r"f32_rgb\.tif: not read, it is a TIFF with 3 channels of 32 bits, floating-point; save it as RGB or grey of 8",
    ),
    Case(
        "packed.tif: a compression that Pillow does not know",
        made("packed.tif", lambda path: path.write_bytes(tiff((8,), 1, tag_259=50002))),
        2,
        r"packed\.tif: not read, it is a TIFF of compression 50002; save it without compression$",
    ),
    Case("zstd.tif: read where Pillow can", with_zstd(picture("zstd.tif")), 0, OBJECT % "zstd.tif"),
    Case(
        "packed.tif: damaged",
        made("packed.tif", lambda path: path.write_bytes(tiff((8,), 1, tag_259=5))),
        2,
        r"packed\.tif: damaged, or packed in a way that this Pillow does not read; save it without compression$",
    ),
    Case(
        "cut.avif: damaged",
        with_avif(made("cut.avif", lambda path: path.write_bytes(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1"))),
        2,
        r"cut\.avif: not an image, or damaged; replace it or leave it out$",
    ),
    Case(
        "clear.png: alpha 0 everywhere, as GDI leaves it",
        made("clear.png", saved(np.dstack([COLOURS, COLOURS[..., :1] * 0]), "PNG")),
        0,
        r"note: transparent everywhere, so that its colours alone are taken: clear\.png",
    ),
    # Several pictures in a file
    *(
        Case(f"{name}: two frames", with_av(picture(name)), 0, rf"{name}: 2 frames, ")
        for name in ("anim.gif", "anim.png", "alpha_anim.webp")
    ),
    Case("pages.tif: two pictures", picture("pages.tif"), 0, FIRST % "pages.tif"),
    # Which files
    Case(
        "a phone's folder: what is passed over",
        without_heif(folder(*PHONE, " > IMG_0001.AAE", " > notes.txt", " > .hidden")),
        0,
        r"(?m)note: .*photos: 6 files passed over: 1 \.cr2, 1 \.dcm, 1 \.dng, 1 \.heic \(pip install pillow-heif\), "
        r"1 \.mov \(name them: '\*\.mov'\), 1 \.pdf$",
    ),
    Case("a phone's folder: with pillow-heif", with_heif(folder(*PHONE)), 0, r"note: .*photos: 5 files passed over: "),
    Case(
        "a folder of HEIC alone",
        without_heif(folder("IMG_0001.HEIC", "IMG_0001.HEIC > b.heif")),
        2,
        r"--query .*photos: a folder without images \(1 \.heic \(pip install pillow-heif\), 1 \.heif \(pip",
    ),
    Case("a pattern of raw data", folder("raw.dng", pattern="*.dng"), 2, r"\*\.dng: matches no image \(1 \.dng\)$"),
    Case("a folder of texts", folder(" > a.json", " > b.txt"), 2, rf"photos: a folder without images \({FORMATS}\)$"),
    Case("a folder of folders", nested(), 2, r"photos: a folder without images \(.*\); name a folder in it: 100APPLE$"),
    Case(
        "an image beside a folder",
        nested("plain.jpg"),
        0,
        r"(?m)note: .*photos: images of folders in it are not taken: 100APPLE$",
    ),
    Case("AVIF in a folder", with_avif(folder("plain.avif")), 0, OBJECT % "plain.avif"),
    Case(
        "suffixes .jfif .jpe .pjpeg .JPEG .tif .ppm .jp2",
        folder(
            "plain.jpg > a.jfif",
            "plain.jpg > b.jpe",
            "plain.jpg > c.pjpeg",
            "plain.jpg > d.JPEG",
            "plain.ppm",
            "plain.jp2",
            "big.tif",
        ),
        0,
        r"(?m)^7 images, ",
    ),
    # Masks beside images, which are found, and are no queries
    *(
        Case(
            f"cat.jpg and {name}",
            supports(f"disc.png > {name}"),
            0,
            rf"(?m)support .*cat\.jpg: 20\.0% object, by {name}$",
        )
        for name in ("cat.png", "cat.PNG", "CAT.png", "cat_mask.png", "cat_MASK.PNG", "cat.jpg.png", "cat_mask.tif")
    ),
    *(
        Case(f"cat.jpg and {name}: one query", supports(f"disc.png > {name}"), 0, rf"(?m)^{SUM}")
        for name in ("cat.PNG", "cat_MASK.png", "cat.jpg.png", "cat_mask.bmp")
    ),
    *(
        Case(f"cat.jpg and {name}: looked for", supports(f" > {name}"), 2, rf"{name}: ")
        for name in ("cat.JSON", "cat.jpg.json")
    ),
    Case(
        "cat.jpg with cat.png and cat_mask.PNG",
        supports("disc.png > cat.png", "disc.png > cat_mask.PNG"),
        2,
        r"cat\.jpg: 2 masks beside it: .*cat\.png, .*cat_mask\.PNG; name the right one with --mask$",
    ),
    Case(
        "masks beside images that are no supports",
        folder("plain.jpg > a.jpg", "disc.png > a_mask.png", "plain.jpg > b.JPG", "disc.png > B.PNG"),
        0,
        r"(?m)note: 2 files are masks of an image beside it, by name, and no query: .*B\.PNG, .*a_mask\.png$",
    ),
    Case(
        "masks beside images, all named by the shell",
        named("plain.jpg > a.jpg", "disc.png > a_mask.png"),
        0,
        r"(?m)note: 1 file is the mask of an image beside it, by name, and no query: .*a_mask\.png$",
    ),
    Case(
        "a pattern that means masks alone",
        folder("plain.jpg > a.jpg", "disc.png > a.png", pattern="*.png"),
        2,
        r"\*\.png: holds nothing but masks; name other images$",
    ),
    Case("a mask that is named by itself", picture("disc.png"), 0, OBJECT % "disc.png"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(os.sep, " "))
def test_pictures(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)
