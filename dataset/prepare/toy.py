"""A procedural dataset in any of the three layouts: 20 classes, each a colour with a texture, nothing to download.

    python prepare.py toy --out data/toy
    python prepare.py toy --out data/toy_coco --layout coco    then: python prepare.py coco --data-root data/toy_coco
    python prepare.py toy --out data/toy_fss --layout fss

Every colour and every texture occurs in base and in novel classes of every fold, only their pairs are new: what can be
learnt from the base classes (to look at colour and texture together, and not at the cluttered background) is what novel
classes need.

Every object has an appearance of its own within its class: tone, shade, how the light falls over it, scale and angle of
the texture. So two objects of a class resemble each other less than the parts of one object do. This is the paper's
premise (docs/method.md, section 1): a support's prototype fits another object only roughly, the query's own fits well.
"""

from __future__ import annotations

import colorsys
import json
import math
import os
import random
import shutil
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as mask_coding

from dataset.episodes import MIN_PIXELS
from dataset.fss import CLASS_LISTS, IMAGES, Fss
from dataset.labels import IGNORE
from dataset.lists import write_lines
from dataset.provenance import EXPECTED, read_counts
from util.errors import UserError
from util.files import atomic_write, check_writable
from util.locks import only_one
from util.progress import progress

LAYOUTS = ("pascal", "coco", "fss")
TOY_NAME = "toy"  # which its results bear
IMAGE_SIDE = 129  # pixels
FSS_CLASSES = {"train": range(1, 11), "val": range(11, 16), "test": range(16, 21)}
COLOURS = {0.0: "red", 0.13: "yellow", 0.33: "green", 0.58: "blue", 0.83: "magenta"}  # by hue
TEXTURES = ("stripes", "checks", "dots", "rings")


def class_look(cls: int) -> tuple[float, str]:
    """Hue and texture of a class 1..20; the five classes of a fold have five hues and all textures."""
    column, row = (cls - 1) % 5, (cls - 1) // 5
    return list(COLOURS)[column], TEXTURES[(column + row) % 4]


def texture(kind: str, periods: tuple[float, float], rng: random.Random) -> np.ndarray:
    """A boolean pattern (H, W) at a random angle, offset and scale, whose period lies between two, in pixels."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(*periods)
    y, x = np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE]
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
    """A random region (H, W), boolean: an ellipse, a polygon or a star."""
    picture = Image.new("L", (IMAGE_SIDE, IMAGE_SIDE))
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
    """A bright and a dark tone of about this hue, RGB in 0..255."""
    hue = (hue + rng.uniform(-0.035, 0.035)) % 1
    bright = colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.95), rng.uniform(0.75, 1.0))
    dark = colorsys.hsv_to_rgb(hue, rng.uniform(0.65, 0.95), rng.uniform(0.2, 0.35))
    return 255 * np.array(bright), 255 * np.array(dark)


def light(rng: random.Random) -> np.ndarray:
    """How bright an object is, (H, W): a shade, darker towards a random side."""
    angle, loss = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.3)
    y, x = np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE] / IMAGE_SIDE - 0.5
    along = (0.5 + x * math.cos(angle) + y * math.sin(angle)).clip(0, 1)
    return rng.uniform(0.65, 1.0) * (1 - loss * along)


def background(rng: random.Random, noise: np.random.RandomState) -> np.ndarray:
    """Blurred patches of dull colours with texture of their own, (H, W, 3) in 0..255."""
    patches = noise.uniform(40, 215, (4, 4, 3)).astype(np.uint8)
    canvas = np.asarray(Image.fromarray(patches).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC), np.float32)
    grey = canvas.mean(2, keepdims=True)
    canvas = grey + 0.6 * (canvas - grey)
    pattern = texture(rng.choice(TEXTURES), (9, 13), rng)
    return canvas * np.where(pattern, rng.uniform(0.55, 0.8), 1.0)[..., None]


class Scene(NamedTuple):
    """One image, and its objects from the farthest to the nearest: class and region (H, W), hidden parts too."""

    image: Image.Image
    objects: list[tuple[int, np.ndarray]]


def scene(number: int, seed: int, holes: bool = False) -> Scene:
    """One to three objects of different classes, with holes in every fourth if asked for.

    The nearest object is of class number % 20 + 1 and large enough to be a support, so that every class
    has its share of any twenty images.
    """
    rng, rng_holes = random.Random(f"{seed}/{number}"), random.Random(f"{seed}/{number}/holes")
    noise = np.random.RandomState(rng.randrange(2**32))
    canvas = background(rng, noise)
    objects: list[tuple[int, np.ndarray]] = []
    centres: list[tuple[float, float]] = []
    nearest = number % 20 + 1
    others = rng.sample([cls for cls in range(1, 21) if cls != nearest], rng.choice((0, 1, 1, 2)))
    for cls in (*others, nearest):
        hue, kind = class_look(cls)
        places = [(rng.uniform(25, IMAGE_SIDE - 25), rng.uniform(25, IMAGE_SIDE - 25)) for _ in range(8)]
        centres.append(max(places, key=lambda place: min((math.dist(place, other) for other in centres), default=0)))
        inside = shape(centres[-1], rng)
        while cls == nearest and inside.sum() < 1.2 * MIN_PIXELS:
            inside = shape(centres[-1], rng)
        if holes and rng_holes.random() < 0.25:
            y, x = np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE]
            inside = inside & (np.hypot(x - centres[-1][0], y - centres[-1][1]) >= 8)
        bright, dark = colours(hue, rng)
        paint = np.where(texture(kind, (7, 15), rng)[..., None], dark, bright)
        canvas = np.where(inside[..., None], paint * light(rng)[..., None], canvas)
        objects.append((cls, inside))
    canvas = canvas + noise.normal(0, 12, canvas.shape)
    return Scene(Image.fromarray(canvas.clip(0, 255).astype(np.uint8)), objects)


def paint_labels(objects: list[tuple[int, np.ndarray]], edges: bool) -> np.ndarray:
    """The labels (H, W) uint8 of a scene, nearer objects over farther ones; 255 on outlines as VOC has."""
    labels = np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.uint8)
    for cls, inside in objects:
        labels[inside] = cls
        if edges:
            labels[inside & ~_eroded(inside)] = IGNORE
    return labels


def _eroded(inside: np.ndarray) -> np.ndarray:
    """The region without its outermost pixels."""
    padded = np.pad(inside, 1)
    return padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def describe_toy(seed: int, counts: dict[str, int] | None = None) -> dict[str, Any]:
    """What a toy dataset states of itself; counts: images of each list, None for fss's classes."""
    return {"name": TOY_NAME, "seed": seed, **(counts or {split: len(some) for split, some in FSS_CLASSES.items()})}


def make_pascal(out: Path, train: int, val: int, seed: int) -> None:
    """Write images, masks and lists in VOC2012's layout. Arguments as make_toy's."""
    names = [f"toy_{number:05d}" for number in range(train + val)]
    for number, name in enumerate(progress(names, "painting", len(names), "image")):
        image, objects = scene(number, seed)
        _save_jpeg(image, out / "JPEGImages" / f"{name}.jpg")
        _save_png(paint_labels(objects, edges=True), out / "SegmentationClassAug" / f"{name}.png")
    write_lines(out / "ImageSets" / "classes.txt", [_name(cls) for cls in range(1, 21)])
    write_lines(out / "ImageSets" / "train.txt", names[:train])
    write_lines(out / "ImageSets" / "val.txt", names[train:])
    _save_json(describe_toy(seed, {"train": train, "val": val}), out / EXPECTED)


def make_coco(out: Path, train: int, val: int, seed: int) -> None:
    """Write images and instances JSONs in COCO2014's layout; prepare.py coco makes masks. Arguments as make_toy's."""
    numbers = iter(range(train + val))
    for split, count in (("train", train), ("val", val)):
        images, annotations = [], []
        for number in progress(islice(numbers, count), f"painting, {split}", count, "image"):
            name = f"COCO_{split}2014_{number:012d}.jpg"
            image, objects = scene(number, seed, holes=True)
            _save_jpeg(image, out / f"{split}2014" / name)
            images.append({"id": number, "file_name": name, "height": IMAGE_SIDE, "width": IMAGE_SIDE})
            annotations += annotate(objects, number, crowded=number % 10 == 0)
        categories = [{"id": id_, "name": coco_name(cls)} for cls, id_ in enumerate(COCO_CATEGORY_IDS, start=1)]
        for id_, annotation in enumerate(annotations, start=1):
            annotation["id"] = id_
        content = {"images": images, "annotations": annotations, "categories": categories}
        _save_json(content, out / "annotations" / f"instances_{split}2014.json")
    write_lines(out / "ImageSets" / "classes.txt", [coco_name(cls) for cls in range(1, 81)])
    _save_json(describe_toy(seed, {"train": train, "val": val}), out / EXPECTED)


# COCO's 80 categories have ids of 1 to 90.
COCO_CATEGORY_IDS = [id_ for id_ in range(1, 91) if id_ not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


def coco_class(cls: int) -> int:
    """The class of 1..80 that stands for a toy class, so that each fold has five of them in both class orders."""
    column, row = (cls - 1) % 5, (cls - 1) // 5
    return 20 * row + 4 * column + 1 + (column - row) % 4


def coco_name(cls: int) -> str:
    """The name of a class of 1..80, "-" of one that no toy class stands for."""
    return next((_name(own) for own in range(1, 21) if coco_class(own) == cls), "-")


def annotate(objects: list[tuple[int, np.ndarray]], image_id: int, crowded: bool) -> list[dict[str, Any]]:
    """COCO's annotations of a scene, whose masks (dataset.prepare.coco_masks) are the scene's labels.

    The farthest of several objects is a crowd if asked for. Hidden parts belong to a crowd and to every other object
    larger than what hides it, for smaller objects are painted over larger ones; else only what is seen is annotated.
    Regions with holes are run-length encoded, others are polygons of one or more parts.
    """
    annotations = []
    seen = np.ones((IMAGE_SIDE, IMAGE_SIDE), bool)
    nearer = 0  # pixels of the largest object annotated so far
    for position, (cls, region) in reversed(list(enumerate(objects))):
        crowd = crowded and position == 0 and len(objects) > 1
        shown = region if crowd or region.sum() > nearer else region & seen
        seen &= ~region
        if not shown.any():
            continue
        nearer = max(nearer, shown.sum())
        loops = outlines(shown)
        if crowd:
            segmentation: Any = {"size": [IMAGE_SIDE, IMAGE_SIDE], "counts": run_lengths(shown)}
        elif any(_signed_area(loop) < 0 for loop in loops):
            encoded = mask_coding.encode(np.asfortranarray(shown.astype(np.uint8)))
            segmentation = {"size": [IMAGE_SIDE, IMAGE_SIDE], "counts": encoded["counts"].decode()}
        else:
            segmentation = [[float(value) for point in loop for value in point] for loop in loops]
        category = COCO_CATEGORY_IDS[coco_class(cls) - 1]
        known = {"image_id": image_id, "category_id": category, "iscrowd": int(crowd), "area": int(shown.sum())}
        annotations.append({**known, "segmentation": segmentation})
    return annotations


def outlines(region: np.ndarray) -> list[list[tuple[int, int]]]:
    """The closed outlines of a region along its pixels' edges, as corner points (x, y); holes run the other way."""
    padded = np.pad(region, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in np.argwhere(region).tolist():
        corners = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
        beyond = [padded[y, x + 1], padded[y + 1, x + 2], padded[y + 2, x + 1], padded[y + 1, x]]
        for side in range(4):
            if not beyond[side]:
                following.setdefault(corners[side], []).append(corners[(side + 1) % 4])
    loops = []
    while following:
        loop = [next(iter(following))]
        while True:
            point = following[loop[-1]].pop()
            if not following[loop[-1]]:
                del following[loop[-1]]
            if point == loop[0]:
                break
            loop.append(point)
        turns = zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
        loops.append([b for a, b, c in turns if (b[0] - a[0]) * (c[1] - b[1]) != (b[1] - a[1]) * (c[0] - b[0])])
    return loops


def _signed_area(loop: list[tuple[int, int]]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(loop, loop[1:] + loop[:1], strict=True)) / 2


def run_lengths(region: np.ndarray) -> list[int]:
    """COCO's uncompressed code: lengths of the runs of 0 and 1 in turn, from a run of 0, down the columns."""
    pixels = region.T.ravel()
    changes = np.flatnonzero(np.diff(pixels)) + 1
    ends = [*([0] if pixels[0] else []), *changes.tolist(), pixels.size]
    return np.diff([0, *ends]).tolist()


def make_fss(out: Path, seed: int) -> None:
    """Write ten images and object masks of each class, and the lists, in FSS-1000's layout."""
    for cls in progress(range(1, 21), "painting", 20, "class"):
        for number in range(1, IMAGES + 1):
            image, objects = scene(20 * number + cls - 1, seed)
            _save_jpeg(image, out / _folder(cls) / f"{number}.jpg")
            mask = 255 * objects[-1][1].astype(np.uint8)
            _save_png(np.repeat(mask[..., None], 3, 2), out / _folder(cls) / f"{number}.png")  # RGB, as theirs are
    for split, classes in FSS_CLASSES.items():
        write_lines(out / "splits" / CLASS_LISTS[split], [_folder(cls) for cls in classes])
    _save_json(describe_toy(seed), out / EXPECTED)


def _name(cls: int) -> str:
    hue, kind = class_look(cls)
    return f"{COLOURS[hue]} {kind}"


def _folder(cls: int) -> str:
    return _name(cls).replace(" ", "_")


def _save_jpeg(image: Image.Image, path: Path) -> None:
    with atomic_write(path) as file:
        image.save(file, "JPEG", quality=95)


def _save_png(pixels: np.ndarray, path: Path) -> None:
    with atomic_write(path) as file:
        Image.fromarray(pixels).save(file, "PNG")


def _save_json(content: object, path: Path) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def make_toy(out: Path, layout: str, train: int, val: int, seed: int) -> bool:
    """Paint a dataset into a new folder, which is whole or absent; False if the same one was there.

    Arguments:
        out: the folder; it may exist if it is empty.
        layout: one of LAYOUTS; the masks of coco are left to prepare.py coco.
        train, val: numbers of images; fss has ten of each class.
        seed: another seed, other images.
    Raises:
        UserError: the folder holds something, or cannot be written.
    """
    out = Path(os.path.realpath(out))
    check_writable(out.parent)
    with only_one(out, "the painting of a dataset"):
        if out == Path.cwd():
            raise UserError(f"{out}: is the folder that you are in; name a new one")
        if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
            counts = None if layout == Fss.name else {"train": train, "val": val}
            if _is_there(out, layout, describe_toy(seed, counts)):
                return False
            raise UserError(f"{out}: exists and is not an empty folder; name a new one")
        partial = out.with_name(f".{out.name}.ssp-partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            if layout == Fss.name:
                make_fss(partial, seed)
            else:
                {"pascal": make_pascal, "coco": make_coco}[layout](partial, train, val, seed)
            partial.replace(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return True


def _is_there(out: Path, layout: str, states: dict[str, Any]) -> bool:
    """Whether a folder holds this very dataset, as it says itself."""
    folder = {"pascal": "JPEGImages", "coco": "train2014", "fss": "splits"}[layout]
    with suppress(ValueError):
        return read_counts(out) == states and (out / folder).is_dir()
    return False
