"""What is segmented: images, and the frames of videos and animated images."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from prediction.files import check_image, read_image
from prediction.frames import check_film, import_av, read_frames


class Query(NamedTuple):
    """A file that is to be segmented, which can be read."""

    path: Path
    size: tuple[int, int]  # (width, height) of what it shows; of an image not turned
    remarks: tuple[str, ...] = ()  # what is not taken as the file has it
    frames: range | None = None  # the numbers of the frames that are taken, from 0; None: it is an image
    rate: Fraction | None = None  # frames a second of those, in the mean

    @property
    def is_film(self) -> bool:
        """Whether it has frames."""
        return self.frames is not None

    @property
    def count(self) -> int:
        """How many pictures it has for the network."""
        return 1 if self.frames is None else len(self.frames)


def check_query(path: Path, every: int = 1) -> Query:
    """Decode a file that is to be segmented, of a video or an animated image every N-th frame.

    Raises UserError naming the file if it cannot be read as a whole.
    """
    film = check_film(path)
    if film is None:
        return Query(path, *check_image(path))
    import_av(path)  # which writes the overlay of an animated image, too
    return Query(path, film.size, frames=range(0, film.count, every), rate=film.rate / every)


def read_first(query: Query) -> Image.Image:
    """The image, or the first frame."""
    return next(read_frames(query.path)).picture if query.is_film else read_image(query.path)


def describe_count(queries: Sequence[Query]) -> str:
    """How many pictures the network has to look at, for people."""
    images = sum(not query.is_film for query in queries)
    frames = sum(query.count for query in queries) - images
    named = ((images, "image"), (frames, "frame"))
    return " and ".join(f"{count} {what}{'s' if count > 1 else ''}" for count, what in named if count)
