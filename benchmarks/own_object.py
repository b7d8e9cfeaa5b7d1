"""How well and how fast predict.py finds an object that is marked in five images, with nothing trained.

    python -m benchmarks.own_object --data-root photographs --classes cat bus sheep
    python -m benchmarks.own_object --data-root photographs --classes cat -- --backbone timm:convnext_tiny.fb_in1k

The data have VOC's layout and classes. Of the val images that show a class, by name, the first five are the supports
and the next the queries. predict.py runs as a person runs it, in a process of its own: its seconds are those from the
command to the sheet. Flags behind -- are predict.py's. IoU is of the object, over the queries together and their mean.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.timing import run_script
from dataset import Split, checked_index, open_split
from engine.options import OneLineParser, whole
from util.errors import UserError
from util.launch import command

SHOT = 5


class Run(NamedTuple):
    """What a run of predict.py found and took."""

    ious: list[float]  # of each query, in percent
    together: float  # of all pixels of the queries, in percent
    seconds: float
    gigabytes: float  # the most that the process held


def find_objects(split: Split, cls: int, queries: int, folder: Path, flags: Sequence[str]) -> Run:
    """Run predict.py on the supports and queries of a class, which are written to a folder."""
    images = split.images
    chosen = sorted(image for image, pixels in checked_index(images).items() if cls in pixels)[: SHOT + queries]
    marked, asked = folder / "marked", folder / "queries"
    truth = {}
    for number, image in enumerate(chosen):
        home = marked if number < SHOT else asked
        home.mkdir(exist_ok=True)
        picture, labels = images.load(image)
        mask = images.mask_of(labels, cls)
        picture.save(home / f"{image}.png")
        if home is marked:
            Image.fromarray(mask).save(home / f"{image}_mask.png")
        else:
            truth[image] = mask
    where = ("--support", str(marked), "--query", str(asked), "--out", str(folder / "out"))
    seconds, gigabytes = run_script("predict.py", *where, *flags)
    counts = []
    for image, mask in truth.items():
        found = np.asarray(Image.open(folder / "out" / f"{image}_mask.png")) > 0
        known = mask != 255
        counts.append([(found & (mask == 1) & known).sum(), ((found | (mask == 1)) & known).sum()])
    both, either = np.array(counts).T
    return Run([*(100 * both / either)], 100 * both.sum() / either.sum(), seconds, gigabytes)


def main(argv: list[str] | None = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="photographs and masks in VOC's layout")
    add("--classes", nargs="+", default=["cat", "bus", "sheep"], help="(default cat bus sheep)")
    add("--queries", type=whole(1), default=20, help="of a class at most (default %(default)s)")
    cut = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:cut])
    split = open_split("pascal", args.data_root, "test", 0)
    numbers = {name: number for number, name in split.images.class_names.items()}
    print(f"{'class':12}{'queries':>8}{'mean IoU':>10}{'together':>10}{'seconds':>9}{'GB':>6}")
    for name in args.classes:
        if name not in numbers:
            raise UserError(f"--classes {name}: there are {', '.join(numbers)}")
        with tempfile.TemporaryDirectory() as folder:
            run = find_objects(split, numbers[name], args.queries, Path(folder), words[cut + 1 :])
        line = f"{name:12}{len(run.ious):8}{fmean(run.ious):10.1f}{run.together:10.1f}{run.seconds:9.1f}"
        print(f"{line}{run.gigabytes:6.2f}", flush=True)


if __name__ == "__main__":
    command(main)
