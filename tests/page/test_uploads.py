"""What is dropped and painted is read within limits, and each refusal is a sentence that names the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from page.examples import paint_layer
from page.uploads import Marked, check_queries, decode_image, read_marked, read_picture
from tests.page.photos import make_support
from util.errors import UserError


def painted(image: Image.Image, *layers: Image.Image) -> dict[str, object]:
    return {"background": image, "layers": layers}


def test_strokes_are_the_mask(tmp_path: Path) -> None:
    """Soft edges count from a quarter on; layers are joined; transparency of the image is white."""
    image, (first, second) = Image.new("RGBA", (40, 40)), (np.zeros((40, 40), bool) for _ in range(2))
    first[:10], second[:, :10] = True, True
    layers = [paint_layer(first, (255, 0, 120, 64)), paint_layer(second, (1, 2, 3, 255))]
    layers.append(paint_layer(~first, (9, 9, 9, 63)))
    support = read_marked(Marked(None, None, painted(image, *layers)), 2, tmp_path)
    assert np.array_equal(support.mask == 1, first | second)
    assert support.image.getpixel((5, 5)) == (255, 255, 255)
    assert support.name == "support 2"
    assert read_marked(Marked(None, None, None), 1, tmp_path) is None


def test_a_mask_that_is_dropped(photos: Path, tmp_path: Path) -> None:
    """By predict.py's rules, on an image of a file or a pasted one; strokes then do not count."""
    with Image.open(photos / "a.png") as image:
        painting = painted(image.convert("RGBA"))
    for file in (photos / "a.png", None):
        support = read_marked(Marked(file, photos / "a_mask.png", painting), 1, tmp_path)
        assert np.array_equal(support.mask, make_support().mask)
    assert not list(tmp_path.iterdir())


def test_what_is_said_of_a_mask_is_kept_for_the_page(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "soft.png"
    with Image.open(photos / "a_mask.png") as image:
        image.convert("L").resize((40, 40)).resize(image.size, Image.Resampling.BILINEAR).save(mask)
    with Image.open(photos / "a.png") as image:
        support = read_marked(Marked(photos / "a.png", mask, painted(image.convert("RGBA"))), 1, tmp_path)
    assert re.fullmatch(r"note: soft\.png: has \d+ shades .* is the object", "".join(support.notes))
    assert not capsys.readouterr().out


def test_large_images_become_smaller(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500)).save(tmp_path / "wide.png")
    assert read_picture(tmp_path / "wide.png", 640).size == (2048, 1024)


PIXELS = "has more than 89.5 million pixels, the most that are read; make the image smaller"
BLANK = Image.new("RGBA", (60, 60))


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda photos: read_picture(photos / "text.jpg", 640), "text.jpg: not an image, or damaged"),
        (lambda photos: read_picture(photos / "small.png", 640), "small.png: 20x20 pixels; at least 32 on either side"),
        (lambda photos: read_picture(photos / "large.png", 640), f"large.png: {PIXELS}"),
        (lambda photos: decode_image((photos / "text.jpg").read_bytes(), "pasted"), "pasted: not an image, or damaged"),
        (lambda photos: decode_image((photos / "large.png").read_bytes(), "the support"), f"the support: {PIXELS}"),
        (lambda _: check_queries([]), "There is no query yet"),
        (lambda photos: check_queries([photos / "new.png"] * 13), "13 queries are too many; drop at most 12"),
        (
            lambda photos: read_marked(Marked(None, photos / "a_mask.png", painted(BLANK)), 1, photos),
            "a_mask.png: mask of 129x129 pixels for an image of 60x60, the image; ",
        ),
        (
            lambda photos: read_marked(Marked(None, photos / "text.jpg", painted(BLANK)), 1, photos),
            "text.jpg: not an image, or damaged",
        ),
        (
            lambda photos: read_marked(Marked(None, photos / "a_mask.png", None), 1, photos),
            "There is a mask for support 1, but no image: ",
        ),
        (
            lambda photos: read_marked(Marked(None, None, painted(BLANK, BLANK.resize((9, 9)))), 1, photos),
            "The strokes on support 1 have another size than its image",
        ),
        (
            lambda photos: read_marked(Marked(None, None, painted(BLANK, BLANK)), 1, photos),
            "Nothing is marked in support 1: paint the object",
        ),
    ],
)
def test_what_cannot_be_used(photos: Path, read: Callable[[Path], object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        read(photos)
    assert str(caught.value).startswith(says)
