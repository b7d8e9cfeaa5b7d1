"""What a CUDA device gives, in less than eight minutes: exactness, evaluation, training steps, replicas.

    python -m benchmarks.gpu --data-root ../Datasets_SSP

Writes DIR/gpu.json and DIR/gpu.md and prints the latter. Without --data-root a toy dataset is painted and enlarged to
the size of VOC's images. With --small crops are tiny and episodes few: it shows, on a CPU too, that everything runs.
Without --checkpoint the weights are random with calibrated batch norms; the golden logits have weights of their own.
But for the rows that name TF32, and for the replicas, which go without it, TF32 is as PyTorch sets it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.gpu_exactness import golden_logits, replicas
from benchmarks.gpu_rows import FULL, SMALL, Job, Row, failure, table
from benchmarks.gpu_speed import evaluation, training
from benchmarks.timing import timed
from dataset import open_fold
from dataset.index import cache_path
from dataset.prepare.toy import make_toy
from engine.options import OneLineParser, default_device, whole
from util.errors import UserError
from util.files import atomic_write, check_writable
from util.launch import command

SECTIONS = {
    "Golden logits": golden_logits,
    "Evaluation": evaluation,
    "Training step": training,
    "Replicas": replicas,
}


@contextmanager
def painted(side: int) -> Iterator[str]:
    """A toy dataset with images of a side, for the block."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "VOC2012"
        make_toy(root, "pascal", train=60, val=150, seed=1)
        masks = root / "SegmentationClassAug"
        for path in (*root.glob("JPEGImages/*.jpg"), *masks.glob("*.png")):
            enlarge(path, side)
        try:
            yield str(root)
        finally:
            for folder, kind in ((masks, "voc"), (root / "JPEGImages", "images")):
                cache_path(folder, kind).unlink(missing_ok=True)


def enlarge(path: Path, side: int) -> None:
    """Overwrite an image, or a mask, which is a PNG, with one of a side."""
    with Image.open(path) as picture:
        if picture.size == (side, side):
            return
        how = Image.Resampling.NEAREST if path.suffix == ".png" else Image.Resampling.BICUBIC
        larger = picture.resize((side, side), how)
    larger.save(path)


def write(out: Path, about: Mapping[str, Any], sections: Mapping[str, Sequence[Row]]) -> str:
    """Write what was measured so far to gpu.json and gpu.md; returns the latter."""
    found = {title: [{"name": name, **numbers} for name, numbers in rows] for title, rows in sections.items()}
    settings = ", ".join(f"{name} {value}" for name, value in about["settings"].items())
    parts = [f"# Measurements on {about['device']}", f"PyTorch {about['torch']}, CUDA {about['cuda']}; {settings}"]
    for title, rows in sections.items():
        parts += [f"## {title} on {about['device']}", table(rows)]
    text = "\n\n".join(parts) + "\n"
    for name, content in (("gpu.json", json.dumps({**about, "sections": found}, indent=1) + "\n"), ("gpu.md", text)):
        with atomic_write(out / name) as file:
            file.write(content.encode())
    return text


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__, prog="python -m benchmarks.gpu")
    add = parser.add_argument
    add("--data-root", metavar="DIR", help="VOC2012 or the folder that holds it (default: paint a toy dataset)")
    add("--checkpoint", metavar="FILE", help="trained weights instead of random ones")
    add("--out", type=Path, default=Path("outdir_gpu"), metavar="DIR", help="(default %(default)s)")
    add("--episodes", type=whole(1), help=f"of the planned engine (default {FULL.episodes}, small {SMALL.episodes})")
    add("--small", action="store_true", help="measure little, on the CPU if there is no CUDA device")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all sections. Ends the program with 1 if a row failed."""
    args = parse(argv)
    job = SMALL if args.small else FULL
    device = default_device()
    if device.type != "cuda" and not args.small:
        raise UserError("there is no CUDA device to measure; --small shows on the CPU that everything runs")
    check_writable(args.out)
    given = nullcontext(args.data_root) if args.data_root else painted(job.side)
    with given as root:
        job = job._replace(data_root=root, checkpoint=args.checkpoint, episodes=args.episodes or job.episodes)
        open_fold("pascal", root, 0)  # an error in the data is to come before any work
        sections: dict[str, list[Row]] = {}
        for title, section in SECTIONS.items():
            print(f"{title} ...", flush=True)
            seconds, sections[title] = timed(partial(rows_of, title, section, job))
            print(f"{title}: {seconds:.1f} s", flush=True)
            text = write(args.out, about(args, job), sections)
    print(f"\n{text}")
    if any("failed" in numbers for rows in sections.values() for _, numbers in rows):
        sys.exit("some rows failed; their tracebacks stand above")


def rows_of(title: str, section: Callable[[Job], list[Row]], job: Job) -> list[Row]:
    """A section's rows, or one that says why it failed. Raises UserError if the user can mend it."""
    try:
        return section(job)
    except UserError:
        raise
    except Exception as error:
        return [(title, failure(error))]


def about(args: argparse.Namespace, job: Job) -> dict[str, Any]:
    """The device, the versions and the settings."""
    device = default_device()
    settings = {name: value for name, value in job._asdict().items() if name not in ("data_root", "checkpoint")}
    settings["data"] = "given" if args.data_root else "painted"
    settings["weights"] = "given" if args.checkpoint else "random"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda, "settings": settings}


if __name__ == "__main__":
    command(main)
