"""Write a network as ONNX graphs, which onnxruntime runs without PyTorch.

    python export.py --to graphs                  nothing trained: the best backbone at hand, as predict.py takes
    python export.py --checkpoint resnet50_1shot_61.40.ckpt --to graphs
    python export.py --checkpoint outdir/models/pascal/fold_0 --to graphs --no-refine --set fg_threshold=0.8

It needs three packages (pip install onnx onnxscript onnxruntime) and writes four files to the folder:
  features.onnx    image, uint8 (H, W, 3) RGB -> features (1, C, h, w)
  prototypes.onnx  features and mask, uint8 (H, W), 1 the object, 0 background, 255 neither -> fg, bg (1, ...)
  match.onnx       features of a query, fg and bg (K, 1, ...) of K supports, size (height, width) of the query
                   -> logits (1, 2, height, width), background first
  export.json      the network, its settings, and how far the graphs are from PyTorch
H, W and K are free; refinement and settings are part of the graphs. Before a file is written, all are compared with
PyTorch on painted images. docs/export.md has a program that runs them.
"""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import util.launch
from engine.checkpoint import find_checkpoint
from engine.custom import method_digest
from engine.made_by import describe_run
from engine.options import OneLineParser, add_matching, add_weights
from engine.variation import check_training_alone, given_settings
from util.distributed import say
from util.errors import UserError
from util.files import atomic_write, check_mark, check_writable

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MARK = "SSP export.py"  # by which the files are known again
NAMES = ("features.onnx", "prototypes.onnx", "match.onnx", "export.json")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add_weights(parser)
    add("--to", required=True, metavar="DIR", help="folder for the graphs")
    add_matching(parser)
    args = parser.parse_args(argv)
    args.settings = given_settings(args.set, args.without)
    check_training_alone(args.settings)
    return args


def check_packages() -> None:
    """Raise UserError if a package is missing that a plain installation lacks."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"export.py needs {', '.join(missing)}: pip install {' '.join(PACKAGES)}")


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Export as the flags say; returns what export.json holds."""
    args = parse(argv)
    checkpoint, folder = args.checkpoint and find_checkpoint(args.checkpoint), Path(args.to)
    check_packages()
    for name in NAMES:
        check_mark("--to", folder / name, MARK)
    # Here, so that --help and wrong flags need not wait for torch.
    from model import fold_batch_norms
    from prediction.graph_check import TOLERANCE, compare_graphs
    from prediction.graphs import make_graphs
    from prediction.load import load_any

    net, about, note = load_any(checkpoint, args.weights, args.refine, args.method, args.backbone, args.settings)
    say(f"network: {about}")
    if note:
        say(f"note: {note}")
    check_writable(folder)
    net = fold_batch_norms(net)
    graphs = make_graphs(net, MARK)
    comparisons = compare_graphs(net, graphs)
    largest = max(comparison.difference for comparison in comparisons)
    content = {
        "program": MARK,
        "network": about,
        "note": note,
        "refine": net.refine,
        "settings": vars(net.matching),
        "channels": net.channels,
        "stride": net.stride,
        "code": method_digest(),
        "made_by": describe_run("cpu"),
        "tolerance": TOLERANCE,
        "largest_difference": largest,
        "comparisons": [comparison._asdict() for comparison in comparisons],
    }
    for name, graph in graphs.items():
        with atomic_write(folder / f"{name}.onnx") as file:
            file.write(graph)
    with atomic_write(folder / "export.json") as file:
        file.write(json.dumps(content, indent=1).encode())
    size = sum(map(len, graphs.values())) / 1e6
    say(f"{len(comparisons)} comparisons with PyTorch: logits at most {largest:.1e} apart")
    say(f"{', '.join(NAMES)} in {folder}, {size:.1f} MB")
    return content


if __name__ == "__main__":
    util.launch.command(main)
