"""Segment image files and videos like supports, and write masks, overlays, figures, numbers and a sheet of all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from engine.drawing import Tile, draw_thumbnail, save_png
from engine.made_by import describe_device, describe_run
from prediction.explain import Explanation
from prediction.files import check_image, name_outputs, read_image
from prediction.frames import Frame, read_frames
from prediction.mask_labels import is_class_name
from prediction.masks import read_union
from prediction.outputs import MARK, RESULTS, SHEET, Output, write_files
from prediction.overlap import overlap, take_turns
from prediction.overlay_video import AddPicture, write_video
from prediction.predictor import Prediction, Predictor
from prediction.queries import Query, check_query, describe_count
from prediction.results import NOBODY, Found, describe_found, write_coco, write_results
from prediction.run_time import describe_run_time
from prediction.sheet import SHEET_SIDE, draw_sheet
from prediction.working_size import OBJECT, find_size_problem, limit_size, shrink_marked
from util.distributed import say
from util.errors import UserError, join_names, one_line, printable
from util.files import OutputFile, check_mark, check_outputs, check_writable, remove_leftovers
from util.numbers import is_whole
from util.progress import progress

MOST_TILES = 120  # queries on the sheet at most
FRAMES_SHOWN = 6  # of a video on the sheet at most

Pair = tuple[Path, Sequence[Path]]  # the files of a support: the image, and the masks that mark its object


class Support(NamedTuple):
    """A support in the size that it is encoded in."""

    path: Path
    image: Image.Image
    mask: np.ndarray  # (H, W) uint8: 1, 0 or 255


def segment_files(
    predictor: Predictor,
    pairs: Sequence[Pair],
    queries: Sequence[Path],
    output: Output,
    label: str | None = None,
    every: int = 1,
) -> dict[Path, float]:
    """Segment images and videos like the supports, write what was found, and print it.

    Arguments:
        predictor: whose supports are replaced.
        pairs: the supports.
        queries: files of images and videos.
        output: what is written, and where.
        label: which label of the masks is the object; None for the only one.
        every: of videos and animated images each frame whose number is a multiple is taken.
    Returns:
        The share of the object in each query, of a video the mean over its frames.
    Raises:
        UserError: a file cannot be used, or the folder not be written.
    """
    supports = load_supports(pairs, label, predictor.max_side)
    checked = check_queries([path for path, _ in pairs], queries, every, predictor.max_side)
    paths, pictures, masks = zip(*supports, strict=True)
    try:
        predictor.set_support(pictures, masks, map(str, paths))
    except ValueError as error:  # an object that is too small
        raise UserError(str(error)) from error
    named = list(zip(checked, name_outputs(queries), strict=True))
    check_files(output, named, [*queries, *(file for image, masks in pairs for file in (image, *masks))])
    say(*describe_run_time(predictor, checked))
    shares: dict[Path, float] = {}
    tiles: list[Tile] = []
    found_here: list[Found] = []
    find = predictor.explain if output.explain else predictor.predict
    # On a CPU the network takes all cores, and threads beside it would only slow it down.
    run = take_turns if predictor.net.device.type == "cpu" else overlap

    def keep(
        query: Query,
        name: str,
        image: Image.Image,
        found: Prediction | Explanation,
        frame: Frame | None = None,
        add: AddPicture | None = None,
    ) -> float:
        """Write the files of an image or a frame, and give the share of the object."""
        mask = write_files(image, found, name, output, frame, add)
        share = float(mask.mean())
        if output.json or output.coco:
            place = output.frame(name, frame) if frame and output.coco else query.path
            found_here.append(Found(place, describe_found(query.path, frame, mask, found.probability)))
        if len(tiles) < MOST_TILES and (frame is None or frame.number in choose_shown(query.frames)):
            which = "" if frame is None else f" frame {frame.number}"
            tiles.append(draw_tile(f"{query.path.name}{which}: {share:.1%}", image, mask))
        bar.update()
        return share

    def tell(query: Query, found: str) -> None:
        tqdm.write(printable(f"{query.path}: {found}{describe_resizing(query.size, predictor.max_side)}"))

    def write_image(item: tuple[Query, str], image: Image.Image, found: Prediction | Explanation) -> None:
        query, name = item
        shares[query.path] = share = keep(query, name, image, found)
        tell(query._replace(size=image.size), f"{share:.1%} object")

    def segment_film(query: Query, name: str) -> None:
        """Segment a video; its overlay is there once all frames are done."""
        output.clear(query, name)
        frames = read_frames(query.path, every)
        of_frames: list[float] = []
        with write_video(output.overlay(name, is_film=True), query.rate, MARK) as add:

            def write_frame(_: int, frame: Frame, found: Prediction | Explanation) -> None:
                of_frames.append(keep(query, name, frame.picture, found, frame, add))

            run(query.frames, lambda _: next(frames), lambda frame: find(frame.picture), write_frame)
        shares[query.path] = share = float(np.mean(of_frames))
        spread = f", {min(of_frames):.1%} to {max(of_frames):.1%}" if len(of_frames) > 1 else ""
        tell(query, f"{describe_count([query])}, {share:.1%} object{spread}")

    started = time.perf_counter()
    total = sum(query.count for query in checked)
    with progress(None, "segmenting", total, "image") as bar:
        for is_film, group in groupby(named, lambda item: item[0].is_film):
            if is_film:
                for query, name in group:
                    segment_film(query, name)
            else:
                run(list(group), lambda item: read_image(item[0].path), find, write_image)
    seconds = (time.perf_counter() - started) / total

    sheet = output.folder / SHEET
    wanted = sum(min(query.count, FRAMES_SHOWN) for query in checked)
    save_png(draw_sheet(list_sections(predictor, supports, tiles, len(queries), wanted)), sheet, MARK)
    kinds = "masks, overlays and explanations" if output.explain else "masks and overlays"
    which = "some" if any(query.is_film for query in checked) else "all"
    say(f"{describe_count(checked)}, {seconds:.2f} s each; {kinds} in {output.folder}, {which} on {sheet}")
    write_numbers(output, predictor, pairs, found_here, {"label": label, "every": every})
    return shares


def check_queries(supports: Sequence[Path], queries: Sequence[Path], every: int, max_side: int) -> list[Query]:
    """Open the images of the supports and the queries, and print what is not taken as a file has it."""
    remarks: dict[str, list[str]] = {}
    checked = []
    bar = progress([*supports, *queries], "opening files", len(supports) + len(queries), "file")
    for number, path in enumerate(bar):
        query = check_query(path, every) if number >= len(supports) else Query(path, *check_image(path))
        check_size(path, query.size, max_side)
        checked.append(query)
        for remark in query.remarks:
            remarks.setdefault(remark, []).append(path.name)
    for remark, names in remarks.items():
        say(f"note: {remark}: {join_names(list(dict.fromkeys(names)))}")
    return checked[len(supports) :]


def check_files(output: Output, named: Sequence[tuple[Query, str]], inputs: Sequence[Path]) -> None:
    """Raise UserError if something that is not ours would be replaced, or nothing can be written."""
    check_mark("--out", output.folder / SHEET, MARK)
    for query, name in named:
        output.check(query, name)
    results = output.folder / RESULTS if output.json else None
    check_outputs({"--json": OutputFile(results, MARK), "--coco": OutputFile(output.coco, MARK)}, inputs)
    check_writable(output.folder)
    remove_leftovers(output.folder)


def choose_shown(frames: range) -> set[int]:
    """The numbers of the frames that the sheet shows, from the first to the last."""
    return {frames[round(place)] for place in np.linspace(0, len(frames) - 1, FRAMES_SHOWN)}


def write_numbers(
    output: Output, predictor: Predictor, pairs: Sequence[Pair], found: Sequence[Found], choices: dict[str, Any]
) -> None:
    """Write what was found as numbers, where that is asked for, and print where."""
    if output.json:
        supports = [{"image": str(image), "masks": list(map(str, masks))} for image, masks in pairs]
        settings = {"threshold": output.threshold or 0.5, "max_side": predictor.max_side, **choices}
        made = {
            "made_by": {"program": MARK, **describe_run(describe_device(predictor.net.device))},
            "network": predictor.about,
            "matching": asdict(predictor.net.matching),
            "settings": settings,
            "supports": supports,
        }
        write_results(output.folder / RESULTS, made, found)
        say(f"numbers in {output.folder / RESULTS}")
    if output.coco:
        label = choices["label"]
        name = label if is_class_name(label) else NOBODY
        folder = write_coco(output.coco, f"{MARK}: {predictor.about}", name, found)
        say(f"{output.coco}: {len(found)} images; for prepare.py own, --coco {output.coco} --images {folder}")


def load_supports(pairs: Sequence[Pair], label: str | None, max_side: int) -> list[Support]:
    """Read the supports, keep them in working size, and print what was found.

    A label that is a name is one of the JSONs', if there are any: masks of other kinds keep all their pixels.
    """
    is_name = label is not None and not is_whole(label)
    of_jsons = is_name and any(_is_json(mask) for _, masks in pairs for mask in masks)
    supports = []
    for image_path, mask_paths in pairs:
        labels = [None if of_jsons and not _is_json(mask) else label for mask in mask_paths]
        image, mask = read_union(image_path, mask_paths, labels)
        check_size(image_path, image.size, max_side)
        share = np.mean(mask == OBJECT)
        united = f" and {mask_paths[-1].name}, united" if len(mask_paths) > 1 else ""
        by = ", ".join(mask.name for mask in (mask_paths[:-1] if united else mask_paths)) + united
        found = f"{share:.1%} object, by {by}{describe_resizing(image.size, max_side)}"
        say(f"support {image_path}: {found}")
        supports.append(Support(image_path, *shrink_marked(image, mask, max_side)))
    return supports


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def check_size(path: Path, size: tuple[int, int], max_side: int) -> None:
    """Raise UserError if an image is too small, or too narrow once it is resized."""
    if problem := find_size_problem(size, max_side, flag="--max-side"):
        raise UserError(f"{path}: {problem}")


def describe_resizing(size: tuple[int, int], max_side: int) -> str:
    """The end of a message about an image: the size that it is segmented in, if that is another one."""
    width, height = limit_size(size, max_side)
    return f", {size[0]}x{size[1]} seen as {width}x{height}" if (width, height) != size else ""


def draw_tile(caption: str, image: Image.Image, mask: np.ndarray) -> Tile:
    """A tile of the sheet: an image with the object of a mask (1 or True) highlighted."""
    small, small_mask = shrink_marked(image, mask.astype(np.uint8), SHEET_SIDE)
    return Tile(caption, draw_thumbnail(small, small_mask == OBJECT, SHEET_SIDE))


def list_sections(
    predictor: Predictor, supports: Sequence[Support], queries: Sequence[Tile], count: int, wanted: int
) -> list[tuple[str, list[Tile]]]:
    """The sections of the sheet: the network, the supports, and the tiles of ``count`` queries, ``wanted`` at best."""
    cut = f", the first {len(queries)} are shown" if wanted > len(queries) else ""
    return [
        *((one_line(line), []) for line in (predictor.about, predictor.note) if line),
        (f"supports ({len(supports)})", [draw_tile(x.path.name, x.image, x.mask) for x in supports[:MOST_TILES]]),
        (f"queries ({count}{cut}): where the object was found, and its share of the pixels", list(queries)),
    ]
