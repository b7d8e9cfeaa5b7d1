"""Which files are opened as images, whatever they are called."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset.formats import FORMATS
from dataset.images import read_mask, read_rgb
from prediction.files import Checked, check_image, read_image
from tests.real_data import REAL_DATA
from util.errors import UserError

PIXELS = np.arange(16 * 12, dtype=np.uint8).reshape(12, 16)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PCX", "PDF", "TGA"])
def test_formats_that_are_not_meant_are_not_opened(kind: str, tmp_path: Path) -> None:
    """By content: Pillow would start Ghostscript for an EPS that is called .jpg."""
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, kind)
    for read in (read_rgb, read_mask, read_image):
        with pytest.raises(UserError, match=r"a\.jpg: .*(not an image|damaged|not read)"):
            read(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_that_are_meant(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.stack([PIXELS] * 3, 2)).save(path, kind)
    assert read_rgb(path).size == read_image(path).size == (16, 12)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ((0, 100, 255), (0, 100, 255)),  # 8 bits in 16
        ((0, 512, 1023), (0, 128, 255)),  # 10: 512 / 1023 x 255 = 127.6
        ((0, 819, 4095), (0, 51, 255)),  # 12: 4095 = 5 x 819
        ((0, 3277, 2**12), (0, 51, 64)),  # 14: 3277 / 16383 x 255 = 51.006
        ((0, 13107, 2**14), (0, 51, 64)),  # 16: 13107 = 51 x 257, and 16384 / 257 = 63.8
        ((0, 13107, 65535), (0, 51, 255)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_bits_that_grey_values_need_are_the_range(
    kind: str, values: tuple[int, ...], grey: tuple[int, ...], tmp_path: Path
) -> None:
    Image.fromarray(np.array([values], np.uint16)).save(tmp_path / "a.png", kind)
    for read in (read_rgb, read_image):
        assert np.array(read(tmp_path / "a.png")).tolist() == [[[each] * 3 for each in grey]]


def test_white_is_zero_in_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0, 13107, 65535]], np.uint16)).save(path)
    content = path.read_bytes()
    black_is_zero = b"\x06\x01\x03\0\x01\0\0\0\x01\0"  # the tag of one short, 1
    assert content.count(black_is_zero) == 1
    path.write_bytes(content.replace(black_is_zero, black_is_zero[:8] + b"\0\0"))
    for read in (read_rgb, read_image):
        assert np.array(read(path))[0, :, 0].tolist() == [255, 204, 0]


def test_colours_of_16_bits_keep_their_upper_8(tmp_path: Path) -> None:
    """And stay as they are when they are converted once more, or made smaller."""
    values = np.array([[[0, 0x4010, 0x80FF], [0xFF00, 0, 0]]], ">u2")
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + values.tobytes())), (b"IEND", b""))
    parts = [struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x)) for kind, x in chunks]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    for read in (read_rgb, read_image):
        assert np.array(read(tmp_path / "a.png")).tolist() == [[[0, 0x40, 0x80], [0xFF, 0, 0]]]
    assert check_image(tmp_path / "a.png") == Checked((2, 1), ())


ALIKE = (
    "UPPER.JPG", "anim.gif", "big.tif", "cmyk.jpg", "jpeg.tif", "lab.tif", "mpo.jpg", "mpo_turned.jpg", "packbits.tif",
    "pages.tif", "plain.jp2", "plain.png", "plain.ppm", "planar.tif", "rgb16.png", "rgb16.tif",
    "tiff_adobe_deflate.tif", "tiff_lzw.tif", "ycc.tif",
)  # fmt: skip
GREY = ("g16_full.png", "g16_of10.tif", "g16_of12.png", "gray16_of12_rgblike.tif", "white_is_zero.tif")


@pytest.mark.parametrize("name", [*ALIKE, *GREY])
def test_one_picture_in_all_formats(name: str) -> None:
    """As read, it differs from the JPEG by what compression loses, and from its grey by less than a grey value."""
    folder = REAL_DATA / "as_found" / "img"
    if not folder.exists():
        pytest.skip(f"no {folder}")
    truth = read_rgb(folder / ("plain.jpg" if name in ALIKE else "plain.png"))
    truth = truth if name in ALIKE else truth.convert("L").convert("RGB")
    found = read_image(folder / name)
    assert found.size == truth.size
    difference = np.abs(np.array(found, np.float64) - np.array(truth))
    assert difference.mean() < (6 if name in ALIKE else 1)


@pytest.mark.parametrize("error", [ImportError("GIF"), KeyError("GIF"), AttributeError("GIF")])
def test_what_fails_in_pillow_itself_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """As when another Pillow is installed below a program that runs."""

    def fail(*_: object, **__: object) -> None:
        raise error

    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    monkeypatch.setattr("dataset.images.Image.open", fail)
    with pytest.raises(type(error)):
        read_rgb(path)
