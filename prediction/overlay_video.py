"""Write a video frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from PIL import Image

from prediction.frames import import_av
from util.files import atomic_write

# What is encoded with, the first that this PyAV has: H.264 plays everywhere, MPEG-4 every PyAV has
CODECS = {"libx264": {"crf": "20"}, "mpeg4": {"qmin": "2", "qmax": "5"}}
TICK = Fraction(1, 60000)  # seconds, in which times are kept: exact at 25, 30000/1001 and 50 a second; MPEG-4's finest
BT_709, TV_RANGE = 1, 1  # in FFmpeg's numbers: how colours are coded, as players expect of a video today

AddPicture = Callable[[Image.Image, Fraction], None]  # a picture, and the seconds at which it is shown


@contextmanager
def write_video(path: Path, rate: Fraction, mark: str) -> Iterator[AddPicture]:
    """Give what adds a picture to an MP4, which is there as a whole when the block has ended, else not at all.

    All pictures get the size of the first, less a last row or column that would make a side odd.

    Arguments:
        path: the file.
        rate: pictures a second, in the mean; each is shown at its own time.
        mark: a text that the file keeps as its comment.
    """
    av = import_av(path)
    with atomic_write(path) as file, av.open(file, "w", format="mp4") as container:
        container.metadata["comment"] = mark
        codec = next(name for name in CODECS if name in av.codecs_available)
        video = container.add_stream(codec, rate=rate, options=dict(CODECS[codec]))
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = TICK
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT_709
        context.color_range = TV_RANGE
        last = -1

        def add(picture: Image.Image, seconds: Fraction) -> None:
            nonlocal last
            if last < 0:
                video.width, video.height = (side - side % 2 for side in picture.size)
            frame = av.VideoFrame.from_image(picture.crop((0, 0, video.width, video.height)))
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            last = max(last + 1, round(seconds / TICK))  # players need times that grow
            frame.pts, frame.time_base = last, TICK
            container.mux(video.encode(frame))

        yield add
        container.mux(video.encode())
