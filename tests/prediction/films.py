"""Small videos for the tests of those who read them; they need the package av."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np

RATE = Fraction(10)  # frames a second


def paint_frames(count: int, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Frames (H, W, 3) in which a bright square wanders over noise, which a video cannot pack small."""
    frames = np.random.default_rng(0).integers(0, 60, (count, size[1], size[0], 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        frame[8:24, 2 * number : 2 * number + 16] = 250
    return list(frames)


def write_film(
    path: Path, frames: list[np.ndarray], matrix: tuple[int, int, int, int] | None = None, **options: str
) -> Path:
    """A video of frames in H.264; matrix: a, b, c and d of an MP4's display matrix, x' = a x + c y, y' = b x + d y."""
    import av

    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "1"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
    if matrix:
        a, b, c, d = (value << 16 for value in matrix)
        content = bytearray(path.read_bytes())
        place = content.index(b"tkhd") + 44  # of the matrix in this box, version 0
        content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(content)
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    """The beginning of a file, as a download that broke off."""
    content = path.read_bytes()
    half = path.with_stem(f"{path.stem}_cut")
    half.write_bytes(content[: int(share * len(content))])
    return half
