"""Which image files are read, and what any other file is: by its content, and how to have it read."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

from PIL import Image, TiffImagePlugin, features

from util.errors import UserError
from util.files import check_regular

# What is opened, whatever a file is called: those that Pillow decodes by itself. An EPS would start another program.
AVIF = ("AVIF",) if "avif" in features.modules else ()  # since Pillow 11.3
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "JPEG2000", "PPM", *AVIF)
NAMES = "JPEG, PNG, TIFF, WebP, AVIF, BMP, GIF, JPEG 2000, PPM"
SUFFIXES = (
    ".apng", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm",
    ".pjpeg", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw",
)  # fmt: skip
VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm",
    ".wmv",
)  # fmt: skip
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
INSTALL_HEIF = "pip install pillow-heif"
HEAD = 512  # bytes that tell a file's kind
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CHANNELS, BITS, COMPRESSION, SAMPLE_FORMAT = 277, 258, 259, 339  # a TIFF's tags
SUBFILE, DNG_VERSION = 254, 50706
FLOATS = 3  # a TIFF's SAMPLE_FORMAT

SAVE, FRAME = "save it as PNG or JPEG", "save a frame of it as PNG or JPEG"
RAW = "raw data of a camera", "develop it, and save it as TIFF or JPEG"
FETCH = "fetch the image itself"
VIDEO = "a video", FRAME
VIDEO_MARKS = ((4, b"ftyp"), (8, b"avi "), (0, b"\x1ae\xdf\xa3"))  # MP4 and MOV, AVI, Matroska and WebM
# What a file is, and the way out, by bytes that it has at a place
KINDS = (
    (0, b"version https://git-lfs", "a pointer of Git LFS", "run git lfs pull in its repository"),
    (0, b"<!doctype html", "a web page", FETCH),
    (0, b"<html", "a web page", FETCH),
    (0, b"<?xml", "XML", FETCH),
    (0, b"{", "JSON", FETCH),
    (0, b"%pdf", "a PDF", "save its page as PNG or JPEG"),
    (0, b"%!ps", "PostScript", SAVE),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript", SAVE),
    (0, b"8bps", "a file of Photoshop", SAVE),
    (0, b"gimp xcf", "a file of GIMP", SAVE),
    (0, b"\xff\x0a", "JPEG XL", SAVE),
    (0, b"\0\0\0\x0cjxl ", "JPEG XL", SAVE),
    (0, b"v/1\x01", "OpenEXR", SAVE),
    (0, b"#?radiance", "Radiance HDR", SAVE),
    (0, b"simple  =", "FITS", SAVE),
    (128, b"dicm", "DICOM", SAVE),
    (0, b"\x89hdf", "HDF5", SAVE),
    (0, b"\x93numpy", "an array of numpy", SAVE),
    (0, b"dds ", "a texture (DDS)", SAVE),
    (0, b"\0\0\x01\0", "an icon", SAVE),
    (0, b"fujifilmccd-raw", *RAW),
    (0, b"iiu\0", *RAW),
    (0, b"iiro", *RAW),
    (8, b"cr\x02", *RAW),
    (4, b"ftypcrx", *RAW),
    *((place, mark, *VIDEO) for place, mark in VIDEO_MARKS),
    (0, b"pk\x03\x04", "a ZIP archive", "unpack it"),
    (0, b"\x1f\x8b", "packed by gzip", "unpack it"),
)  # fmt: skip


def list_suffixes() -> tuple[str, ...]:
    """The suffixes of images that are read here."""
    heif = HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else ()
    return (*SUFFIXES, *((".avif",) if _reads_avif() else ()), *heif)


def is_video(path: str | Path) -> bool:
    """Whether a file is a video, by its first bytes, or else by its name. Raises OSError if it cannot be read."""
    check_regular(path)
    head = _read_head(path)
    if head[4:8] == b"ftyp" and (head[4:12] == b"ftypcrx " or _is_heif(head) or b"avif" in head[8:64]):
        return False
    marked = any(head.lower().startswith(mark, place) for place, mark in VIDEO_MARKS)
    return marked or Path(path).suffix.lower() in VIDEO_SUFFIXES


def _reads_avif() -> bool:
    return bool(AVIF) and features.check("avif")


def open_known(path: str | Path | BytesIO) -> Image.Image:
    """Image.open for FORMATS, and for HEIC where pillow-heif is installed.

    Raises UserError if the file is known to be something else, else what Image.open raises.
    """
    suffix = "" if isinstance(path, BytesIO) else Path(path).suffix.lower()
    try:
        image = Image.open(path, formats=FORMATS)
    except (Image.UnidentifiedImageError, KeyError) as error:  # KeyError: a TIFF's compression
        head = _read_head(path)
        if _is_heif(head):
            return _open_heif(path)
        if reason := describe_kind(path, head):
            raise UserError(f"{path}: {reason}") from error
        raise
    # Of raw data, most of which is TIFF, Pillow would show a thumbnail.
    tags = getattr(image, "tag_v2", {})
    if tags and (suffix in RAW_SUFFIXES or DNG_VERSION in tags or tags.get(SUBFILE, 0) & 1):
        image.close()
        raise UserError(f"{path}: {_say(*RAW)}")
    return image


def describe_kind(path: str | Path | BytesIO, head: bytes) -> str:
    """What a file is that was not opened, by its first HEAD bytes, else its suffix, and the way out; "" if unknown."""
    suffix = "" if isinstance(path, BytesIO) else Path(path).suffix.lower()
    if not head:
        return "empty; fetch it again"
    if suffix in RAW_SUFFIXES:
        return _say(*RAW)
    if head[4:8] == b"ftyp" and b"avif" in head[8:64]:
        return "" if _reads_avif() else _say("AVIF", f"pip install --upgrade pillow, or {SAVE}")
    lower = head.removeprefix(b"\xef\xbb\xbf").lower()
    if b"<svg" in lower:
        return _say("an SVG drawing", SAVE)
    for place, mark, what, way_out in KINDS:
        if lower.startswith(mark, place) or (place == 0 and lower.lstrip().startswith(mark)):
            return _say(what, way_out)
    if head.startswith(TIFF_HEADS):
        return _describe_tiff(path)
    return _say(f"a {suffix} file", SAVE) if suffix and suffix not in (*SUFFIXES, ".avif", *HEIF_SUFFIXES) else ""


def _say(what: str, way_out: str) -> str:
    return f"not read, it is {what}; {way_out}"


def _describe_tiff(path: str | Path | BytesIO) -> str:
    """What pixels a TIFF has that Pillow does not know; "" if it is damaged."""
    try:
        with nullcontext(path) if isinstance(path, BytesIO) else open(path, "rb") as file:
            file.seek(0)
            header = file.read(8)
            header += file.read(8) if header[2:3] == b"+" or header[3:4] == b"+" else b""
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
            channels, bits, kinds = tags.get(CHANNELS, 1), max(tags[BITS]), tags.get(SAMPLE_FORMAT, ())
            packed = tags.get(COMPRESSION, 1)
    except Exception:  # damage, which is said elsewhere
        return ""
    if packed not in TiffImagePlugin.COMPRESSION_INFO:
        return _say(f"a TIFF of compression {packed}", "save it without compression")
    floats = ", floating-point" if FLOATS in kinds else ""
    what = f"a TIFF with {channels} channel{'s' * (channels != 1)} of {bits} bits{floats}"
    return _say(what, "save it as RGB or grey of 8 bits")


def _read_head(path: str | Path | BytesIO) -> bytes:
    if isinstance(path, BytesIO):
        return path.getvalue()[:HEAD]
    with open(path, "rb") as file:
        return file.read(HEAD)


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS and b"avif" not in head[8:64]


def _open_heif(path: str | Path | BytesIO) -> Image.Image:
    """An image of HEIC through pillow-heif, which shows it upright."""
    try:
        import pillow_heif
    except ImportError as error:
        raise UserError(f"{path}: {_say('HEIC', f'{INSTALL_HEIF}, or save it as JPEG')}") from error
    pillow_heif.register_heif_opener()
    return Image.open(path, formats=("HEIF",))
