"""Segment image files like supports, and write masks, overlays, figures and a sheet of all: what predict.py does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from engine.drawing import Tile, draw_thumbnail, highlight_object, save_png
from prediction.explain import Explanation
from prediction.explain_figure import draw_explanation
from prediction.files import check_image, name_outputs, read_image
from prediction.masks import read_support
from prediction.overlap import overlap, take_turns
from prediction.predictor import Prediction, Predictor
from prediction.run_time import describe_run_time
from prediction.sheet import SHEET_SIDE, draw_sheet
from prediction.working_size import OBJECT, find_size_problem, limit_size, shrink_marked
from util.distributed import say
from util.errors import UserError, join_names, one_line, printable
from util.files import atomic_write, check_mark, check_writable, remove_leftovers
from util.numbers import is_whole
from util.progress import progress

OVERLAY_SIDE = 2048  # pixels, of the longer side at most: an overlay is to be looked at
MARK = "SSP predict.py"  # by which the pictures are known again
SHEET = "sheet.png"
MOST_TILES = 120  # queries on the sheet at most


class Output(NamedTuple):
    """What is written, and where."""

    folder: Path
    threshold: float | None = None  # of the probability, None for one half
    explain: bool = False  # whether a figure tells what each step found

    def names(self, name: str) -> list[str]:
        """The files of a query: mask, overlay and, if asked for, explanation."""
        return [f"{name}_mask.png", f"{name}_overlay.jpg", *([f"{name}_explained.png"] if self.explain else [])]


class Support(NamedTuple):
    """A support in the size that it is encoded in."""

    path: Path
    image: Image.Image
    mask: np.ndarray  # (H, W) uint8: 1, 0 or 255


def segment_files(
    predictor: Predictor,
    pairs: Sequence[tuple[Path, Path]],
    queries: Sequence[Path],
    output: Output,
    label: str | None = None,
) -> dict[Path, float]:
    """Segment image files like the supports, write what was found, and print it.

    Arguments:
        predictor: whose supports are replaced.
        pairs: the files of image and mask of each support.
        queries: image files.
        output: what is written, and where.
        label: which label of the masks is the object; None for the only one.
    Returns:
        The share of the object in each query.
    Raises:
        UserError: a file cannot be used, or the folder not be written.
    """
    supports = load_supports(pairs, label, predictor.max_side)
    remarks: dict[str, list[str]] = {}
    sizes = []
    images = [*(path for path, _ in pairs), *queries]
    for path in progress(images, "opening images", len(images), "image"):
        size, noticed = check_image(path)
        check_size(path, size, predictor.max_side)
        sizes.append(size)
        for remark in noticed:
            remarks.setdefault(remark, []).append(path.name)
    for remark, names in remarks.items():
        say(f"note: {remark}: {join_names(list(dict.fromkeys(names)))}")
    paths, pictures, masks = zip(*supports, strict=True)
    try:
        predictor.set_support(pictures, masks, map(str, paths))
    except ValueError as error:  # an object that is too small
        raise UserError(str(error)) from error
    named = list(zip(queries, name_outputs(queries), strict=True))
    for file in (SHEET, *(file for _, name in named for file in output.names(name))):
        check_mark("--out", output.folder / file, MARK)
    check_writable(output.folder)
    remove_leftovers(output.folder)
    say(*describe_run_time(predictor, queries, sizes[len(pairs) :]))
    shares: dict[Path, float] = {}
    tiles: list[Tile] = []
    find = predictor.explain if output.explain else predictor.predict

    def write(query: tuple[Path, str], image: Image.Image, found: Prediction | Explanation) -> None:
        """Write an image's files, and tell what was found."""
        path, name = query
        mask = write_files(image, found, name, output)
        shares[path] = float(mask.mean())
        if len(tiles) < MOST_TILES:
            tiles.append(draw_tile(f"{path.name}: {shares[path]:.1%}", image, mask))
        tqdm.write(printable(f"{path}: {shares[path]:.1%} object{describe_resizing(image.size, predictor.max_side)}"))
        bar.update()

    started = time.perf_counter()
    with progress(None, "segmenting", len(named), "image") as bar:
        # On a CPU the network takes all cores, and threads beside it would only slow it down.
        run = take_turns if predictor.net.device.type == "cpu" else overlap
        run(named, lambda query: read_image(query[0]), find, write)
    seconds = (time.perf_counter() - started) / len(queries)

    sheet = output.folder / SHEET
    save_png(draw_sheet(list_sections(predictor, supports, tiles, len(queries))), sheet, MARK)
    count = "1 image" if len(queries) == 1 else f"{len(queries)} images"
    kinds = "masks, overlays and explanations" if output.explain else "masks and overlays"
    say(f"{count}, {seconds:.2f} s each; {kinds} in {output.folder}, all on {sheet}")
    return shares


def load_supports(pairs: Sequence[tuple[Path, Path]], label: str | None, max_side: int) -> list[Support]:
    """Read the supports, keep them in working size, and print what was found.

    A label that is a name is one of the JSONs', if there are any: masks of other kinds keep all their pixels.
    """
    is_name = label is not None and not is_whole(label)
    of_jsons = is_name and any(mask.suffix.lower() == ".json" for _, mask in pairs)
    supports = []
    for image_path, mask_path in pairs:
        own_label = None if of_jsons and mask_path.suffix.lower() != ".json" else label
        image, mask = read_support(image_path, mask_path, own_label)
        check_size(image_path, image.size, max_side)
        share = np.mean(mask == OBJECT)
        found = f"{share:.1%} object, by {mask_path.name}{describe_resizing(image.size, max_side)}"
        say(f"support {image_path}: {found}")
        supports.append(Support(image_path, *shrink_marked(image, mask, max_side)))
    return supports


def check_size(path: Path, size: tuple[int, int], max_side: int) -> None:
    """Raise UserError if an image is too small, or too narrow once it is resized."""
    if problem := find_size_problem(size, max_side, flag="--max-side"):
        raise UserError(f"{path}: {problem}")


def describe_resizing(size: tuple[int, int], max_side: int) -> str:
    """The end of a message about an image: the size that it is segmented in, if that is another one."""
    width, height = limit_size(size, max_side)
    return f", {size[0]}x{size[1]} seen as {width}x{height}" if (width, height) != size else ""


def write_files(image: Image.Image, found: Prediction | Explanation, name: str, output: Output) -> np.ndarray:
    """Write the files of what was found in an image under a name, and give the mask (H, W) bool."""
    mask = found.mask if output.threshold is None else found.probability > output.threshold
    files = [output.folder / file for file in output.names(name)]
    save_png(Image.fromarray(mask.astype(np.uint8) * 255), files[0], MARK)
    small, small_mask = shrink_marked(image, mask.astype(np.uint8), OVERLAY_SIDE)
    with atomic_write(files[1]) as file:
        overlay = highlight_object(small, small_mask == OBJECT)
        overlay.save(file, "JPEG", quality=92, subsampling=0, comment=MARK)
    if isinstance(found, Explanation):
        save_png(draw_explanation(found._replace(mask=mask)), files[2], MARK)
    return mask


def draw_tile(caption: str, image: Image.Image, mask: np.ndarray) -> Tile:
    """A tile of the sheet: an image with the object of a mask (1 or True) highlighted."""
    small, small_mask = shrink_marked(image, mask.astype(np.uint8), SHEET_SIDE)
    return Tile(caption, draw_thumbnail(small, small_mask == OBJECT, SHEET_SIDE))


def list_sections(
    predictor: Predictor, supports: Sequence[Support], queries: Sequence[Tile], count: int
) -> list[tuple[str, list[Tile]]]:
    """The sections of the sheet: the network, the supports, and as many of the ``count`` queries as are shown."""
    cut = f", the first {len(queries)} are shown" if count > len(queries) else ""
    return [
        *((one_line(line), []) for line in (predictor.about, predictor.note) if line),
        (f"supports ({len(supports)})", [draw_tile(x.path.name, x.image, x.mask) for x in supports[:MOST_TILES]]),
        (f"queries ({count}{cut}): where the object was found, and its share of the pixels", list(queries)),
    ]
