"""A procedural dataset in VOC layout: 20 classes, each a colour with a texture, nothing to download.

    python -m dataset.toy --out data/toy

Every colour and every texture occurs in base and in novel classes of every fold, only their pairs are
new: what can be learnt from the base classes (to look at colour and texture together, and not at the
cluttered background) is what novel classes need.
"""

from __future__ import annotations

import colorsys
import math
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dataset.episodes import MIN_PIXELS
from dataset.images import IGNORE
from util.errors import UserError, command
from util.files import atomic_write, check_writable
from util.options import OneLineParser, whole
from util.progress import progress

SIDE = 129  # of an image, pixels
COLOURS = {0.0: "red", 0.13: "yellow", 0.33: "green", 0.58: "blue", 0.83: "magenta"}  # by hue
TEXTURES = ("stripes", "checks", "dots", "rings")


def class_look(cls: int) -> tuple[float, str]:
    """Hue and texture of a class 1..20; the five classes of a fold have five hues and all textures."""
    column, row = (cls - 1) % 5, (cls - 1) // 5
    return list(COLOURS)[column], TEXTURES[(column + row) % 4]


def texture(kind: str, rng: random.Random) -> np.ndarray:
    """A boolean pattern (SIDE, SIDE) at a random angle, scale and offset."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(9, 13)
    y, x = np.mgrid[:SIDE, :SIDE]
    u = (x * math.cos(angle) + y * math.sin(angle)) / period + rng.random()
    v = (y * math.cos(angle) - x * math.sin(angle)) / period + rng.random()
    if kind == "stripes":
        return u % 1 < 0.5
    if kind == "checks":
        return (u % 1 < 0.5) ^ (v % 1 < 0.5)
    if kind == "dots":
        return (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.09
    return np.hypot((u + 2) % 4 - 2, (v + 2) % 4 - 2) % 1 < 0.5  # rings


def shape(centre: tuple[float, float], rng: random.Random) -> np.ndarray:
    """A random region (SIDE, SIDE), boolean: an ellipse, a polygon or a star."""
    picture = Image.new("L", (SIDE, SIDE))
    radius, stretch, turn = rng.uniform(30, 44), rng.uniform(0.7, 1.0), rng.uniform(0, 2 * math.pi)
    corners = rng.choice((3, 4, 5, 6, 40))
    star = rng.choice((1.0, 1.0, 0.6)) if corners < 40 else 1.0
    points = []
    for number in range(2 * corners):
        length = radius * (star if number % 2 else 1.0) * (1.0 if star < 1 or corners == 40 else rng.uniform(0.85, 1.1))
        along = math.pi * number / corners
        dx, dy = length * math.cos(along), stretch * length * math.sin(along)
        x, y = dx * math.cos(turn) - dy * math.sin(turn), dx * math.sin(turn) + dy * math.cos(turn)
        points.append((centre[0] + x, centre[1] + y))
    ImageDraw.Draw(picture).polygon(points, fill=255)
    return np.asarray(picture) > 0


def colours(hue: float, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """A bright and a dark shade of a hue, RGB in 0..255."""
    hue = (hue + rng.uniform(-0.025, 0.025)) % 1
    bright = colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.95), rng.uniform(0.75, 1.0))
    dark = colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.95), rng.uniform(0.2, 0.35))
    return 255 * np.array(bright), 255 * np.array(dark)


def background(rng: random.Random, noise: np.random.RandomState) -> np.ndarray:
    """Blurred patches of dull colours with texture of their own, (SIDE, SIDE, 3) in 0..255."""
    patches = noise.uniform(40, 215, (4, 4, 3)).astype(np.uint8)
    canvas = np.asarray(Image.fromarray(patches).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    grey = canvas.mean(2, keepdims=True)
    canvas = grey + 0.6 * (canvas - grey)
    pattern = texture(rng.choice(TEXTURES), rng)
    return canvas * np.where(pattern, rng.uniform(0.55, 0.8), 1.0)[..., None]


def scene(number: int, seed: int) -> tuple[Image.Image, Image.Image]:
    """One image with one to three objects of different classes, and its labels with 255 outlines as VOC has.

    The nearest object is of class number % 20 + 1 and large enough to be a support, so that every class
    has its share of any twenty images.
    """
    rng = random.Random(f"{seed}/{number}")
    noise = np.random.RandomState(rng.randrange(2**32))
    canvas = background(rng, noise)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    centres: list[tuple[float, float]] = []
    nearest = number % 20 + 1
    others = rng.sample([cls for cls in range(1, 21) if cls != nearest], rng.choice((0, 1, 1, 2)))
    for cls in (*others, nearest):
        hue, kind = class_look(cls)
        places = [(rng.uniform(25, SIDE - 25), rng.uniform(25, SIDE - 25)) for _ in range(8)]
        centres.append(max(places, key=lambda place: min((math.dist(place, other) for other in centres), default=0)))
        inside = shape(centres[-1], rng)
        while cls == nearest and inside.sum() < 1.2 * MIN_PIXELS:
            inside = shape(centres[-1], rng)
        bright, dark = colours(hue, rng)
        paint = np.where(texture(kind, rng)[..., None], dark, bright)
        canvas = np.where(inside[..., None], paint * rng.uniform(0.85, 1.0), canvas)
        labels[inside] = cls
        labels[inside & ~_eroded(inside)] = IGNORE
    canvas = canvas + noise.normal(0, 12, canvas.shape)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), Image.fromarray(labels)


def _eroded(inside: np.ndarray) -> np.ndarray:
    """The region without its outermost pixels."""
    padded = np.pad(inside, 1)
    return padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def make_pascal(out: Path, train: int, val: int, seed: int) -> None:
    """Write images, masks and lists."""
    names = [f"toy_{number:05d}" for number in range(train + val)]
    for number, name in enumerate(progress(names, "painting", len(names), "image")):
        image, labels = scene(number, seed)
        with atomic_write(out / "JPEGImages" / f"{name}.jpg") as file:
            image.save(file, "JPEG", quality=95)
        with atomic_write(out / "SegmentationClassAug" / f"{name}.png") as file:
            labels.save(file, "PNG")
    looks = [class_look(cls) for cls in range(1, 21)]
    lists = {
        "classes": [f"{COLOURS[hue]} {kind}" for hue, kind in looks],
        "train": names[:train],
        "val": names[train:],
    }
    for name, lines in lists.items():
        with atomic_write(out / "ImageSets" / f"{name}.txt") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(__doc__)
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder for the dataset")
    parser.add_argument("--train", type=whole(1), default=400, help="training images (default %(default)s)")
    parser.add_argument("--val", type=whole(1), default=200, help="validation images (default %(default)s)")
    parser.add_argument("--seed", type=whole(0), default=0, help="another seed, other images (default 0)")
    args = parser.parse_args(argv)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is not an empty folder; --out must name a new one")
    check_writable(out.parent)
    partial = out.with_name(f".{out.name}.partial")  # out itself is whole or absent
    shutil.rmtree(partial, ignore_errors=True)
    make_pascal(partial, args.train, args.val, args.seed)
    partial.replace(out)
    print(f"{out}: {args.train} training and {args.val} validation images, 20 classes")


if __name__ == "__main__":
    command(main)
