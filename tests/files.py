"""What tests share: where the project lies, the type of the one-line fixture, and writers of small files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

TOY_SEED = 1  # of the toy Pascal: its novel classes of fold 0 have images enough for two shots
COCO_SEED = 4  # of the toy COCO: its 80 scenes have annotations of every kind
CHECKOUT = Path(__file__).resolve().parents[1]
GOLDEN = CHECKOUT / "tests" / "golden"
PIXELS = 0.5  # points of mIoU that some pixels of small episodes weigh, which rounding may put on either side
OneLine = Callable[[Callable[[list[str]], object], list[str]], str]  # the fixture one_line_error


def write(path: Path, content: str | bytes = "") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def grey_png(numbers: np.ndarray, bits: int, channels: int = 1) -> bytes:
    """A PNG of numbers (H, W), as grey of 1 to 16 bits, or in three equal channels; Pillow writes 8 and 16 only."""
    wide = np.repeat(numbers[..., None], channels, -1).reshape(len(numbers), -1)
    packed = np.packbits((wide[..., None] >> np.arange(bits)[::-1]).reshape(len(wide), -1).astype(np.uint8) & 1, axis=1)
    header = struct.pack(">IIBBBBB", numbers.shape[1], len(numbers), bits, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))),
        (b"IEND", b""),
    )
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)
