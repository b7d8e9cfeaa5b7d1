"""Segment your own images like a few supports: images in which you have marked the object.

    python predict.py --checkpoint resnet50_1shot_61.40.ckpt --support cat.jpg --query photos
    python predict.py --checkpoint ... --support a.jpg b.jpg --mask a_cat.png b.json --label cat --query 'photos/*.jpg'
    python predict.py --checkpoint ... --support marked_images --query photos new.png --out found

One to five supports are usual; more are better. The program finds a mask beside its image, as NAME.png, NAME_mask.png
or NAME.json. --mask names masks elsewhere, in the order of the supports. A mask is one of two:
  PNG     every non-zero pixel belongs to the object (in RGB, every pixel that is not black); with --label N the pixels
          of value N do, and 255 is neither object nor background
  JSON    LabelMe's: polygons, rectangles and circles; with --label NAME only those of this label (PNG masks of other
          supports then keep all their pixels)
Images may have an EXIF orientation, be grey or have 16 bits; transparent ones are put on white. A query is a file, a
folder (all its images but the supports' masks) or a quoted pattern. All files are opened before the first is segmented.

For each query NAME the program writes NAME_mask.png (255 the object, 0 background, in the size of the image as it is
shown) and NAME_overlay.jpg to --out. sheet.png shows supports and queries together. With --explain, NAME_explained.png
shows how the method found the object, step by step. Files of these names are replaced.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

import hubconf
from engine.checkpoint import find_checkpoint
from engine.options import OneLineParser, add_max_side, device, memory_errors
from engine.pictures import TILE, save_png
from engine.prediction.explain import Explanation, explanation_figure
from engine.prediction.images import check_image, find_images, find_supports, output_names, read_image
from engine.prediction.masks import read_support
from engine.prediction.predictor import OBJECT, Predictor, fitted, size_problem, working_size
from engine.prediction.sheet import contact_sheet, highlighted
from util.errors import UserError
from util.files import atomic_write, check_writable, remove_leftovers
from util.launch import command
from util.progress import progress

OVERLAY_SIDE = 2048  # pixels, of the longer side at most: an overlay is to be looked at
SHOWN = 120  # queries on the sheet at most


class Support(NamedTuple):
    """A support in the size that it is encoded in."""

    path: Path
    image: Image.Image
    mask: np.ndarray  # (H, W) uint8: 1, 0 or 255


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="PATH", help="weights, or a folder that holds exactly one")
    add("--support", required=True, nargs="+", metavar="PATH", help="images with a mask: files, folders, patterns")
    add("--query", required=True, nargs="+", metavar="PATH", help="images to segment: files, folders, quoted patterns")
    add("--mask", nargs="+", metavar="FILE", help="the supports' masks, in order (default: found beside the images)")
    add("--label", metavar="LABEL", help="which label of the masks is the object: a number (PNG) or a name (JSON)")
    add("--out", default="outdir/predict", metavar="DIR", help="folder for masks and pictures (default %(default)s)")
    add_max_side(parser)
    add(
        "--threshold", type=probability, metavar="P", help="probability above which a pixel is the object (default 0.5)"
    )
    refine = argparse.BooleanOptionalAction
    add("--refine", action=refine, help="the self-support refinement (default: as the checkpoint says, else off)")
    add("--explain", action="store_true", help="also draw what each step of the method found, a figure for each query")
    add("--device", type=device, help="cpu, cuda, cuda:1 (default: cuda if there is one)")
    return parser.parse_args(argv)


def probability(text: str) -> float:
    """An argparse type: a number between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
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


def check_size(path: Path, size: tuple[int, int], max_side: int) -> None:
    """Raise UserError if an image is too small, or too narrow once it is resized."""
    if problem := size_problem(size, max_side, flag="--max-side"):
        raise UserError(f"{path}: {problem}")


def resizing(size: tuple[int, int], max_side: int) -> str:
    """The end of a message about an image: the size that it is segmented in, if that is another one."""
    width, height = working_size(size, max_side)
    return f", {size[0]}x{size[1]} seen as {width}x{height}" if (width, height) != size else ""


def label_in(mask: Path, label: str | None, pairs: Sequence[tuple[Path, Path]]) -> str | None:
    """The label to look for in a mask; a name is one of the JSONs', if there are any."""
    is_json = [path.suffix.lower() == ".json" for path in (mask, *(path for _, path in pairs))]
    is_name = label is not None and not label.isdecimal()
    return None if is_name and any(is_json) and not is_json[0] else label


def load_supports(pairs: Sequence[tuple[Path, Path]], label: str | None, max_side: int) -> list[Support]:
    """Read the supports, keep them in working size, and print what was found."""
    supports = []
    for image_path, mask_path in pairs:
        image, mask = read_support(image_path, mask_path, label_in(mask_path, label, pairs))
        check_size(image_path, image.size, max_side)
        share = np.mean(mask == OBJECT)
        print(f"support {image_path}: {share:.1%} object, by {mask_path.name}{resizing(image.size, max_side)}")
        supports.append(Support(image_path, *fitted(image, mask, max_side)))
    return supports


def segment(
    predictor: Predictor, queries: Sequence[Path], out: Path, threshold: float | None, explain: bool = False
) -> tuple[dict[Path, float], list[tuple[str, Image.Image]]]:
    """Segment the queries one by one and write their files.

    Arguments:
        predictor: with its supports.
        queries: image files.
        out: the folder to write.
        threshold: of the probability, None for one half.
        explain: whether a figure tells what each step found.
    Returns:
        The share of the object in each query, and captioned thumbnails.
    """
    shares, thumbnails = {}, []
    pairs = list(zip(queries, output_names(queries), strict=True))
    for path, name in progress(pairs, "segmenting", len(pairs), "image"):
        image = read_image(path)
        found = predictor.explain(image) if explain else predictor.predict(image)
        mask = found.mask if threshold is None else found.probability > threshold
        share = float(mask.mean())
        save_png(Image.fromarray(mask.astype(np.uint8) * 255), out / f"{name}_mask.png")
        with atomic_write(out / f"{name}_overlay.jpg") as file:
            picture(image, mask, OVERLAY_SIDE).save(file, "JPEG", quality=92, subsampling=0)
        if isinstance(found, Explanation):
            save_png(explanation_figure(found._replace(mask=mask)), out / f"{name}_explained.png")
        if len(thumbnails) < SHOWN:
            thumbnails.append((f"{path.name}: {share:.1%}", picture(image, mask, TILE)))
        shares[path] = share
        tqdm.write(f"{path}: {share:.1%} object{resizing(image.size, predictor.max_side)}")
    return shares, thumbnails


def picture(image: Image.Image, mask: np.ndarray, side: int) -> Image.Image:
    """An image with the object of a mask (1 or True) highlighted, its longer side at most so many pixels."""
    image, mask = fitted(image, mask.astype(np.uint8), side)
    return highlighted(image, mask == OBJECT)


def main(argv: list[str] | None = None) -> dict[Path, float]:
    """Segment as the flags say; returns the share of the object in each query."""
    args = parse(argv)
    out = Path(args.out)
    pairs = find_supports(args.support, args.mask)
    masks = [mask for _, mask in pairs]
    queries = find_images(args.query, "--query", left_out=masks)
    check_out(out, [*(image for image, _ in pairs), *masks, *queries])
    with memory_errors(args.max_side):
        predictor = hubconf.predictor(find_checkpoint(args.checkpoint), args.refine, args.device, args.max_side)
    supports = load_supports(pairs, args.label, args.max_side)
    for path in progress(queries, "opening queries", len(queries), "image"):
        check_size(path, check_image(path), args.max_side)

    with memory_errors(args.max_side):
        paths, images, small_masks = zip(*supports, strict=True)
        try:
            predictor.set_support(images, small_masks, map(str, paths))
        except ValueError as error:  # an object that is too small
            raise UserError(str(error)) from error
        check_writable(out)
        remove_leftovers(out)
        started = time.perf_counter()
        shares, thumbnails = segment(predictor, queries, out, args.threshold, args.explain)
        seconds = (time.perf_counter() - started) / len(queries)

    cut = f", the first {SHOWN} are shown" if len(queries) > SHOWN else ""
    sections = [
        (f"supports ({len(supports)})", [(x.path.name, picture(x.image, x.mask, TILE)) for x in supports[:SHOWN]]),
        (f"queries ({len(queries)}{cut}): where the object was found, and its share of the pixels", thumbnails),
    ]
    save_png(contact_sheet(sections), out / "sheet.png")
    count = "1 image" if len(queries) == 1 else f"{len(queries)} images"
    kinds = "masks, overlays and explanations" if args.explain else "masks and overlays"
    print(f"{count}, {seconds:.2f} s each; {kinds} in {out}, all on {out / 'sheet.png'}")
    return shares


if __name__ == "__main__":
    command(main)
