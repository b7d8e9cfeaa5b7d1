"""The turn that makes a stored image upright, as its EXIF orientation says."""

from __future__ import annotations

from PIL import ExifTags, Image

Turn = Image.Transpose
TURNS = {  # what makes an image upright, by its EXIF orientation
    2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)


def find_turn(image: Image.Image) -> Turn | None:
    """What makes an image upright, by its EXIF orientation."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged EXIF: viewers show the pixels as they are stored
        return None
