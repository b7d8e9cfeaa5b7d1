"""The frames of a video or an animated image, one after the other, each as people see it: upright and in RGB.

Never more than one is in memory. Videos are read by PyAV, animated images by Pillow, as other images are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from dataset.formats import is_video
from dataset.images import most_pixels, to_rgb
from dataset.turns import SIDEWAYS, Turn, find_turn
from prediction.files import open_picture
from util.errors import UserError, first_line

if TYPE_CHECKING:
    import av

ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")  # formats whose pictures are frames; those of a TIFF are pages
PAUSE = Fraction(1, 10)  # seconds of a frame that states none, as browsers show it
USUAL_RATE = Fraction(25)  # frames a second of a video that states none
CUT_SECONDS = 1  # a video that ends so long before its stated end was cut
# What FFmpeg may take a file for: containers of one file. A playlist would open others.
CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,m4v,mpegvideo,h264,hevc"
TURNS = {  # what makes a frame upright, by the signs of a, b, c and d of x' = a x + c y, y' = b x + d y
    (1, 0, 0, 1): None, (0, 1, -1, 0): Turn.ROTATE_270, (-1, 0, 0, -1): Turn.ROTATE_180, (0, -1, 1, 0): Turn.ROTATE_90,
    (-1, 0, 0, 1): Turn.FLIP_LEFT_RIGHT, (1, 0, 0, -1): Turn.FLIP_TOP_BOTTOM, (0, 1, 1, 0): Turn.TRANSPOSE,
    (0, -1, -1, 0): Turn.TRANSVERSE,
}  # fmt: skip


class Film(NamedTuple):
    """What is known of a video or an animated image that can be read."""

    size: tuple[int, int]  # (width, height), upright
    count: int  # frames
    rate: Fraction  # frames a second, in the mean


class Frame(NamedTuple):
    """A frame that was decoded."""

    number: int  # from 0
    seconds: Fraction  # when it is shown
    picture: Image.Image  # RGB, upright


class _Step(NamedTuple):
    """A frame that can be shown before the next is asked for."""

    seconds: Fraction
    duration: Fraction  # seconds
    size: tuple[int, int]  # upright
    show: Callable[[], Image.Image]


def read_frames(path: Path, every: int = 1) -> Iterator[Frame]:
    """Frames 0, N, 2N, ... of a video or an animated image. Errors as of :func:`check_film`."""
    for number, step in enumerate(_list_steps(path)):
        if number % every == 0:
            yield Frame(number, step.seconds, step.show())


def check_film(path: Path) -> Film | None:
    """Decode all frames of a video or an animated image, and tell what it is; None for an image of one picture.

    Raises UserError naming the file if it is missing, damaged, cut short or without frames, or if PyAV is missing.
    """
    try:
        if not is_video(path) and not _is_animated(path):
            return None
    except OSError:  # read_image says why
        return None
    count, first, last = 0, None, None
    for step in _list_steps(path):
        first, last, count = first or step, step, count + 1
    if last is None:
        raise UserError(f"{path}: a video without frames; replace it or leave it out")
    seconds = last.seconds + last.duration - first.seconds
    return Film(first.size, count, Fraction(count / seconds).limit_denominator(1001) if seconds > 0 else USUAL_RATE)


def import_av(path: Path) -> av:
    """PyAV, for a file. Raises UserError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError(f"{path}: videos are read and written by the package av; pip install av") from error
    return av


def _list_steps(path: Path) -> Iterator[_Step]:
    return _list_video(path) if is_video(path) else _list_animation(path)


# Animated images


def _is_animated(path: Path) -> bool:
    with open_picture(path) as image:
        return image.format in ANIMATED and len(_list_numbers(image)) > 1


def _list_numbers(image: Image.Image) -> range:
    """The pictures that are frames: the default image of an APNG may be for those alone who show no animation."""
    return range(int(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))


def _list_animation(path: Path) -> Iterator[_Step]:
    seconds = Fraction(0)
    with open_picture(path) as image:
        turn = find_turn(image)
        for number in _list_numbers(image):
            image.seek(number)
            image.load()
            duration = Fraction(round(image.info.get("duration", 0)), 1000) or PAUSE
            size = image.size[::-1] if turn in SIDEWAYS else image.size
            yield _Step(seconds, duration, size, lambda: _turn(to_rgb(image.copy()), turn))
            seconds += duration


def _turn(picture: Image.Image, turn: Turn | None) -> Image.Image:
    return picture if turn is None else picture.transpose(turn)


# Videos


def _list_video(path: Path) -> Iterator[_Step]:
    with _open_video(path) as video:
        usual = 1 / (video.average_rate or USUAL_RATE)
        is_untimed = video.container.format.name == "avi"  # whose times are those of decoding
        start, end = None, Fraction(0)
        for number, frame in enumerate(video.container.decode(video)):
            seconds = number * usual if is_untimed or frame.pts is None else frame.pts * frame.time_base
            duration = frame.duration * frame.time_base if frame.duration and frame.time_base else usual
            start = seconds if start is None else start
            end = max(end, seconds - start + duration)
            turn = _find_matrix(frame)
            size = (frame.height, frame.width) if turn in SIDEWAYS else (frame.width, frame.height)
            yield _Step(seconds - start, duration, size, lambda f=frame, t=turn: _turn(f.to_image(), t))
        # A Matroska file that was cut ends without an error.
        if (stated := _state_length(video)) - end > CUT_SECONDS:
            raise UserError(f"{path}: holds {float(end):.1f} of its {float(stated):.1f} seconds; fetch it again")


@contextmanager
def _open_video(path: Path) -> Iterator[av.VideoStream]:
    """The video in a file; what fails in the block is the file's fault, and a UserError naming it."""
    av = import_av(path)
    try:
        with open(path, "rb") as file, av.open(file, options={"format_whitelist": CONTAINERS}) as container:
            if not container.streams.video:
                raise UserError(f"{path}: holds no video; replace it or leave it out")
            video = container.streams.video[0]
            if video.width * video.height > most_pixels():
                limit = f"{most_pixels() / 1e6:.3g} million pixels"
                raise UserError(f"{path}: its frames have more than {limit}, the most that are read; make them smaller")
            yield video
    except (av.FFmpegError, OSError) as error:
        what = error.strerror or first_line(error)
        raise UserError(f"{path}: not a video, or damaged ({what}); replace it or leave it out") from error


def _state_length(video: av.VideoStream) -> Fraction:
    """The seconds that a file says its video has, 0 if it does not."""
    if video.duration:
        return video.duration * video.time_base
    hours, _, rest = video.metadata.get("DURATION", "").partition(":")  # of Matroska, 00:00:03.000000000
    minutes, _, seconds = rest.partition(":")
    try:
        return 3600 * Fraction(hours) + 60 * Fraction(minutes) + Fraction(seconds)
    except ValueError:
        return Fraction(0)


def _find_matrix(frame: av.VideoFrame) -> Turn | None:
    """What makes a frame upright, by its display matrix, which says how a phone was held."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))  # 16.16
    return TURNS.get(tuple((x > 2**15) - (x < -(2**15)) for x in (a, b, c, d)))
