"""The files that predict.py writes: masks, overlays and figures of images, and of the frames of videos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from engine.drawing import highlight_object, save_png
from prediction.explain import Explanation
from prediction.explain_figure import draw_explanation
from prediction.frames import Frame
from prediction.overlay_video import AddPicture
from prediction.predictor import Prediction
from prediction.queries import Query
from prediction.working_size import OBJECT, shrink_marked
from util.files import atomic_write, check_mark

MARK = "SSP predict.py"  # by which what is written is known again
SHEET, RESULTS = "sheet.png", "results.json"
OVERLAY_SIDE = 2048  # pixels, of the longer side at most: an overlay is to be looked at
FRAME_NAME = re.compile(r"[0-9]{6,}\.(?:png|jpg)")  # in the folders of a video


class Output(NamedTuple):
    """What is written, and where."""

    folder: Path
    threshold: float | None = None  # of the probability, None for one half
    explain: bool = False  # whether a figure tells what each step found
    json: bool = False  # whether RESULTS is written
    coco: Path | None = None  # the file in COCO's form, if there is to be one

    def mask(self, name: str, frame: Frame | None = None) -> Path:
        """The mask of an image, or of a frame of a video, that is called so."""
        return self._place(name, "mask", "masks", frame)

    def explained(self, name: str, frame: Frame | None = None) -> Path:
        """The figure of what each step found."""
        return self._place(name, "explained", "explained", frame)

    def frame(self, name: str, frame: Frame) -> Path:
        """The frame itself, which a file in COCO's form needs as an image."""
        return self.folder / f"{name}_frames" / f"{frame.number:06}.jpg"

    def overlay(self, name: str, is_film: bool) -> Path:
        """The overlay: a picture or a video."""
        return self.folder / f"{name}_overlay.{'mp4' if is_film else 'jpg'}"

    def _place(self, name: str, kind: str, kinds: str, frame: Frame | None) -> Path:
        inner = f"{name}_{kind}.png" if frame is None else f"{name}_{kinds}/{frame.number:06}.png"
        return self.folder / inner

    def earlier(self, query: Query, name: str) -> Iterator[Path]:
        """The files that an earlier run may have left where those of a query will be."""
        yield self.overlay(name, query.is_film)
        if not query.is_film:
            yield from [self.mask(name), *([self.explained(name)] if self.explain else [])]
            return
        for kind in ("masks", *(["explained"] if self.explain else []), *(["frames"] if self.coco else [])):
            folder = self.folder / f"{name}_{kind}"
            yield from sorted(x for x in folder.glob("*") if FRAME_NAME.fullmatch(x.name))

    def check(self, query: Query, name: str) -> None:
        """Raise UserError if one of these is nothing that a run of ours has left."""
        for file in self.earlier(query, name):
            check_mark("--out", file, MARK)

    def clear(self, query: Query, name: str) -> None:
        """Remove the files of an earlier run, of which one may have had more frames."""
        for file in self.earlier(query, name):
            file.unlink(missing_ok=True)


def write_files(
    image: Image.Image,
    found: Prediction | Explanation,
    name: str,
    output: Output,
    frame: Frame | None = None,
    add: AddPicture | None = None,
) -> np.ndarray:
    """Write the files of what was found in an image under a name, and give the mask (H, W) bool.

    Of a frame the overlay is added to a video: add takes it, and the time.
    """
    mask = found.mask if output.threshold is None else found.probability > output.threshold
    save_png(Image.fromarray(mask.astype(np.uint8) * 255), output.mask(name, frame), MARK)
    small, small_mask = shrink_marked(image, mask.astype(np.uint8), OVERLAY_SIDE)
    overlay = highlight_object(small, small_mask == OBJECT)
    if frame is not None:
        add(overlay, frame.seconds)
        if output.coco:
            _save_jpeg(image, output.frame(name, frame))
    else:
        _save_jpeg(overlay, output.overlay(name, is_film=False))
    if isinstance(found, Explanation):
        save_png(draw_explanation(found._replace(mask=mask)), output.explained(name, frame), MARK)
    return mask


def _save_jpeg(picture: Image.Image, path: Path) -> None:
    with atomic_write(path) as file:
        picture.save(file, "JPEG", quality=92, subsampling=0, comment=MARK)
