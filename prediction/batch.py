"""Segment image files like supports, and write masks, overlays, figures and a sheet of all: what predict.py does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from engine.drawing import save_png
from prediction.explain import Explanation, explanation_figure
from prediction.files import check_image, output_names, read_image
from prediction.masks import read_support
from prediction.predictor import OBJECT, Predictor, fitted, size_problem, working_size
from prediction.sheet import SIDE, contact_sheet, highlighted, thumbnail
from util.distributed import say
from util.errors import UserError, one_line, printable
from util.files import atomic_write, check_writable, remove_leftovers
from util.numbers import is_whole
from util.progress import progress

OVERLAY_SIDE = 2048  # pixels, of the longer side at most: an overlay is to be looked at
SHOWN = 120  # queries on the sheet at most


class Support(NamedTuple):
    """A support in the size that it is encoded in."""

    path: Path
    image: Image.Image
    mask: np.ndarray  # (H, W) uint8: 1, 0 or 255


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
    is_name = label is not None and not is_whole(label)
    return None if is_name and any(is_json) and not is_json[0] else label


def load_supports(pairs: Sequence[tuple[Path, Path]], label: str | None, max_side: int) -> list[Support]:
    """Read the supports, keep them in working size, and print what was found."""
    supports = []
    for image_path, mask_path in pairs:
        image, mask = read_support(image_path, mask_path, label_in(mask_path, label, pairs))
        check_size(image_path, image.size, max_side)
        share = np.mean(mask == OBJECT)
        found = f"{share:.1%} object, by {mask_path.name}{resizing(image.size, max_side)}"
        say(f"support {image_path}: {found}")
        supports.append(Support(image_path, *fitted(image, mask, max_side)))
    return supports


def segment_files(
    predictor: Predictor,
    pairs: Sequence[tuple[Path, Path]],
    queries: Sequence[Path],
    out: Path,
    label: str | None = None,
    threshold: float | None = None,
    explain: bool = False,
) -> dict[Path, float]:
    """Segment images like the supports, write what was found, and print it.

    Arguments:
        predictor: whose supports are replaced.
        pairs: image and mask of each support.
        queries: image files.
        out: the folder to write.
        label: which label of the masks is the object, None for the only one.
        threshold: of the probability, None for one half.
        explain: whether a figure tells what each step found.
    Returns:
        The share of the object in each query.
    Raises:
        UserError: a file cannot be used, or the folder not be written.
    """
    supports = load_supports(pairs, label, predictor.max_side)
    for path in progress(queries, "opening queries", len(queries), "image"):
        check_size(path, check_image(path), predictor.max_side)
    paths, images, masks = zip(*supports, strict=True)
    try:
        predictor.set_support(images, masks, map(str, paths))
    except ValueError as error:  # an object that is too small
        raise UserError(str(error)) from error
    check_writable(out)
    remove_leftovers(out)
    started = time.perf_counter()
    shares, thumbnails = segment(predictor, queries, out, threshold, explain)
    seconds = (time.perf_counter() - started) / len(queries)

    cut = f", the first {SHOWN} are shown" if len(queries) > SHOWN else ""
    network = [line for line in (predictor.about, predictor.note) if line]
    sections = [
        *((one_line(line), []) for line in network),
        (f"supports ({len(supports)})", [(x.path.name, tile(x.image, x.mask)) for x in supports[:SHOWN]]),
        (f"queries ({len(queries)}{cut}): where the object was found, and its share of the pixels", thumbnails),
    ]
    save_png(contact_sheet(sections), out / "sheet.png")
    count = "1 image" if len(queries) == 1 else f"{len(queries)} images"
    kinds = "masks, overlays and explanations" if explain else "masks and overlays"
    say(f"{count}, {seconds:.2f} s each; {kinds} in {out}, all on {out / 'sheet.png'}")
    return shares


def segment(
    predictor: Predictor, queries: Sequence[Path], out: Path, threshold: float | None, explain: bool
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
            thumbnails.append((f"{path.name}: {share:.1%}", tile(image, mask)))
        shares[path] = share
        tqdm.write(printable(f"{path}: {share:.1%} object{resizing(image.size, predictor.max_side)}"))
    return shares, thumbnails


def picture(image: Image.Image, mask: np.ndarray, side: int) -> Image.Image:
    """An image with the object of a mask (1 or True) highlighted, its longer side at most so many pixels."""
    image, mask = fitted(image, mask.astype(np.uint8), side)
    return highlighted(image, mask == OBJECT)


def tile(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """The same as large as a tile of the sheet."""
    small, mask = fitted(image, mask.astype(np.uint8), SIDE)
    return thumbnail(small, mask == OBJECT)
