"""The index of own data of LVIS's size, from run lengths, against masks as PNG: cold, from the cache, and planning.

    python -m benchmarks.own_index                  20,000 images, 1,203 classes, 250,000 objects (of painted outlines)

An image of masks holds one label a pixel, so that classes cannot overlap and are at most 254; here it is only the time
of opening it that counts. As many PNGs as --masks are opened in one process, and their time is taken for all images.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coding

import dataset.run_lengths
from benchmarks.timing import timed
from dataset.episodes import check_pool, make_pool, plan_from_pool
from dataset.images import read_histogram
from dataset.own import Own
from dataset.run_lengths import ANNOTATIONS, open_annotations
from engine.evaluation.evaluate import peak_memory_gb
from engine.options import OneLineParser, default_device, whole
from util.launch import command
from util.progress import progress

WIDTH, HEIGHT, OUTLINES = 640, 480, 400


def draw_outline(rng: random.Random) -> Image.Image:
    """An object of many corners, as polygons of annotators have."""
    x, y, size = rng.randrange(WIDTH), rng.randrange(HEIGHT), rng.uniform(10, 200)
    angles = sorted(rng.uniform(0, 2 * np.pi) for _ in range(40))
    corners = [
        (x + size * rng.uniform(0.6, 1) * np.cos(angle), y + size * rng.uniform(0.6, 1) * np.sin(angle))
        for angle in angles
    ]
    picture = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).polygon(corners, fill=1)
    return picture


def write_own(root: Path, images: int, classes: int, objects: int) -> list[Image.Image]:
    """A folder of own data without images, classes as unequally frequent as LVIS's; returns the outlines of objects."""
    rng = random.Random(0)
    outlines = [picture for picture in (draw_outline(rng) for _ in range(OUTLINES)) if picture.getbbox()]
    codes = [coding.encode(np.asfortranarray(np.array(picture)))["counts"].decode() for picture in outlines]
    names = [f"class {number}" for number in range(1, classes + 1)]
    weights = [1 / number for number in range(1, classes + 1)]
    with (root / ANNOTATIONS).open("w") as file:
        for number in progress(range(images), "writing run lengths", images, "image"):
            shown = rng.choices(names, weights, k=objects // images + (number < objects % images))
            line = {name: rng.choice(codes) for name in shown}
            file.write(json.dumps({"image": f"{number:06}", "size": [HEIGHT, WIDTH], "classes": line}) + "\n")
    (root / "dataset.json").write_text(json.dumps({"format": "ssp-own-1", "name": "painted", "classes": names}))
    return outlines


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--images", type=whole(10), default=20_000, help="(default %(default)s)")
    add("--classes", type=whole(2), default=1203, help="(default %(default)s)")
    add("--objects", type=whole(10), default=250_000, help="run lengths in all (default %(default)s)")
    add("--masks", type=whole(1), default=1000, help="PNGs that are opened (default %(default)s)")
    add("--episodes", type=whole(1), default=2300, help="that are planned (default %(default)s)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        outlines = write_own(root, args.images, args.classes, args.objects)
        for number in range(args.masks):
            picture = np.zeros((HEIGHT, WIDTH), np.uint8)
            for label in range(1, 2 + args.objects // args.images):
                picture[np.array(outlines[(number * 7 + label) % len(outlines)]) > 0] = label
            Image.fromarray(picture).save(root / f"{number}.png")
        own = Own(root)
        time.sleep(dataset.run_lengths.SETTLED_NS / 1e9)  # a file that may still change is not kept
        before = peak_memory_gb(default_device())
        cold, _ = timed(lambda: open_annotations(root / ANNOTATIONS, own.class_names))
        memory = peak_memory_gb(default_device()) - before
        warm, annotations = timed(lambda: open_annotations(root / ANNOTATIONS, own.class_names))
        masks, _ = timed(lambda: [read_histogram(str(root / f"{number}.png")) for number in range(args.masks)])
        masks *= args.images / args.masks
        index, found = timed(lambda: {image: annotations.pixels(image) for image in annotations.lines})
        pooling, pool = timed(lambda: make_pool(found, list(own.class_names), own.min_pixels))
        frequent = [cls for cls, large in pool.large.items() if large.sum() > 1]
        pool = make_pool(found, frequent, own.min_pixels)
        check_pool(pool, 1, "painted")
        planning, _ = timed(lambda: plan_from_pool(pool, 1, 0, args.episodes))
        size = (root / ANNOTATIONS).stat().st_size / 2**20
    pairs = sum(map(len, found.values()))
    print(f"{args.images} images, {pairs} pairs of image and class, {args.classes} classes, {size:.0f} MB")
    print(f"masks as PNG, opened one after the other {masks:8.2f} s")
    print(f"run lengths, cold                        {cold:8.2f} s  {masks / cold:6.1f} x  (memory {memory:+.2f} GB)")
    print(f"run lengths, from the cache              {warm:8.2f} s  {masks / warm:6.1f} x")
    print(
        f"{{image: {{class: pixels}}}}               {index:8.2f} s; pool {pooling:.2f} s, of {len(pool.names)} images"
    )
    print(f"{args.episodes} episodes of {len(frequent)} classes planned     {planning:8.2f} s")


if __name__ == "__main__":
    command(main)
