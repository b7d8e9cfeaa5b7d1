"""The graphs of export.py against PyTorch: how far their logits are apart, their size, and the time of an image.

    python -m benchmarks.exported --images photographs --pretrained lite0.pth

ResNet-50 has random weights with calibrated batch norms, EfficientNet-Lite0 those of the file (timm's names). The first
five images are supports, whose middle is the object; the others are queries, resized to each size of the check. Images
with a pixel at a threshold, where rounding decides, are counted apart.
"""

from __future__ import annotations

from itertools import product
from statistics import median

import numpy as np
import torch
from PIL import Image

from benchmarks.timing import timed
from dataset.transform import normalise
from engine.options import OneLineParser, whole
from export import MARK
from model import FewShotNetwork, build_model, calibrate_batch_norms, fold_batch_norms
from prediction import read_image
from prediction.files import find_images
from prediction.graph_check import BORDER, SHOTS, SIZES, borders, mark, run_graphs, run_network, stack
from prediction.graphs import make_graphs
from util.launch import command


def build(backbone: str, refine: bool, pretrained: str, image: np.ndarray) -> FewShotNetwork:
    """The network as predict.py runs it."""
    torch.manual_seed(0)
    net = build_model("ssp", backbone, refine, pretrained if backbone.startswith("timm:") else None).eval()
    if not backbone.startswith("timm:"):
        calibrate_batch_norms(net, normalise(torch.from_numpy(image))[None])
    return fold_batch_norms(net)


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--images", required=True, nargs="+", metavar="PATH", help="files, folders, quoted patterns")
    add("--pretrained", required=True, metavar="FILE", help="ImageNet's weights of tf_efficientnet_lite0")
    add("--queries", type=whole(1), default=3, help="of each size (default %(default)s)")
    args = parser.parse_args()
    images = [read_image(path) for path in find_images(args.images, "--images")[: SHOTS[-1] + args.queries]]
    sized = {
        size: [np.array(image.resize(size[::-1], Image.Resampling.BILINEAR)) for image in images] for size in SIZES
    }
    print("backbone | refine | MB | shots | size | logits apart | at a threshold | PyTorch, s | graphs, s")
    for backbone, refine in product(("resnet50", "timm:tf_efficientnet_lite0"), (False, True)):
        net = build(backbone, refine, args.pretrained, sized[SIZES[0]][0])
        graphs = make_graphs(net, MARK)
        megabytes = sum(map(len, graphs.values())) / 1e6
        sides = graph, plain = run_graphs(graphs), run_network(net)
        region = mark(SIZES[0])
        pairs = [
            [side.prototypes(side.features(image), region) for image in sized[SIZES[0]][: SHOTS[-1]]] for side in sides
        ]
        for shots, size in product(SHOTS, SIZES):
            graph_pair, plain_pair = (stack(some[:shots], False) for some in pairs)
            apart, at_threshold, seconds = [], [], []
            for image in sized[size][SHOTS[-1] :]:
                with borders() as distances:
                    plain_time, expected = timed(lambda: plain.match(plain.features(image), *plain_pair, size))  # noqa: B023
                graph_time, found = timed(lambda: graph.match(graph.features(image), *graph_pair, size))  # noqa: B023
                is_sure = min(distances) > BORDER
                (apart if is_sure else at_threshold).append(float(np.abs(found - expected).max()))
                seconds.append((plain_time, graph_time))
            times = " | ".join(f"{median(some):.2f}" for some in zip(*seconds, strict=True))
            aside = f"{len(at_threshold)}, {max(at_threshold):.1e}" if at_threshold else "0"
            name = "yes" if refine else "no"
            print(
                f"{backbone} | {name} | {megabytes:.1f} | {shots} | {size[1]}x{size[0]} | {max(apart, default=0):.1e} "
                f"of {len(apart)} | {aside} | {times}",
                flush=True,
            )


if __name__ == "__main__":
    command(main)
