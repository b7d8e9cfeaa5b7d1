"""Images a minute that predict.py segments, with reading and writing beside the network and one after the other.

    python -m benchmarks.predicting --images photos

The first image is the support, the half of it the object; all are queries. Both ways alternate, in one process, and
must write the same bytes. Without --checkpoint the weights are random with calibrated batch norms. --pretend waits in
place of the network, as for a GPU that takes so long.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.timing import timed
from dataset.transform import normalise
from engine.options import OneLineParser, add_max_side, default_device, positive, whole
from model import build_model, calibrate_batch_norms, fold_batch_norms
from prediction import Encoded, Prediction, Predictor, batch, load_predictor, read_image
from prediction.files import find_images
from prediction.outputs import Output
from prediction.overlap import overlap, take_turns
from util.launch import command

WAYS = {"one after the other": take_turns, "overlapping": overlap}


def make_predictor(checkpoint: str | None, image: Path, max_side: int) -> Predictor:
    """That of a checkpoint, or of random weights calibrated on an image; it refines."""
    if checkpoint:
        return load_predictor(checkpoint, True, max_side=max_side)
    torch.manual_seed(0)
    net = build_model("ssp", "resnet50", refine=True)
    calibrate_batch_norms(net, normalise(read_image(image))[None])
    return Predictor(fold_batch_norms(net.eval()).to(default_device(), memory_format=torch.channels_last), max_side)


def wait_for_gpu(seconds: float, image: Image.Image | Encoded) -> Prediction:
    """Wait, and find the object in the left half."""
    time.sleep(seconds)
    width, height = (image.image if isinstance(image, Encoded) else image).size
    probability = np.zeros((height, width), np.float32)
    probability[:, : width // 2] = 1
    return Prediction(probability > 0.5, probability)


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--images", required=True, nargs="+", metavar="PATH", help="files, folders, quoted patterns")
    add("--checkpoint", metavar="FILE", help="trained weights instead of random ones")
    add("--most", type=whole(1), default=40, help="images that are taken (default %(default)s)")
    add("--rounds", type=whole(1), default=3, help="(default %(default)s)")
    add("--pretend", type=positive, metavar="SECONDS", help="what the network is taken to need for an image")
    add_max_side(parser)
    args = parser.parse_args()
    queries = find_images(args.images, "--images")[: args.most]
    predictor = make_predictor(args.checkpoint, queries[0], args.max_side)
    if args.pretend:
        predictor.predict = partial(wait_for_gpu, args.pretend)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        mask = Path(folder) / "half.png"
        size = read_image(queries[0]).size
        Image.fromarray((np.indices(size[::-1])[1] < size[0] // 2).astype(np.uint8)).save(mask)

        def segment(way: str) -> dict[str, bytes]:
            """The files that are written, by name."""
            output = Output(Path(folder) / "out")
            with patch.multiple(batch, take_turns=WAYS[way], overlap=WAYS[way]):
                batch.segment_files(predictor, [(queries[0], [mask])], queries, output)
            return {path.name: path.read_bytes() for path in output.folder.iterdir()}

        expected = segment("one after the other")  # which warms up
        for _ in range(args.rounds):
            for way in WAYS:
                seconds, files = timed(lambda way=way: segment(way))
                assert files == expected
                rates[way].append(60 * len(queries) / seconds)
    print(f"{len(queries)} images, {predictor.about or 'random weights, ssp resnet50, refine'}")
    for way, rounds in rates.items():
        print(f"{way:20}{median(rounds):7.1f} images a minute  (rounds: {', '.join(f'{rate:.1f}' for rate in rounds)})")


if __name__ == "__main__":
    command(main)
