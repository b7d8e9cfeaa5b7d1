"""Find the object in queries; an image passes the backbone once, whatever is painted or chosen afterwards."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from engine.drawing import highlight_object
from engine.variation import change_settings, check_meaning, check_training_alone, given_settings
from page.uploads import Support, check_side, read_picture
from prediction.explain_figure import draw_explanation
from prediction.files import name_outputs
from prediction.predictor import Encoded, Predictor
from util.errors import UserError

CACHE_BYTES = 2**29  # of features and images; one of 640x640 takes 26 MB
INSIDE_COLUMNS = 2  # tiles in a row of a look inside, which stands in half the page's width
Report = Callable[[int, int, str], object]  # what is done, of how many, and what comes next


class Found(NamedTuple):
    """Where the object is in a query."""

    name: str  # the start of packed file names, unique in any case of letters
    image: Image.Image
    probability: np.ndarray  # (H, W) float32
    inside: Image.Image | None = None  # the figure of what each step found, if it was asked for

    def mask(self, threshold: float) -> np.ndarray:
        """(H, W) bool; at 0.5 what predict.py writes."""
        return self.probability > threshold

    def caption(self, threshold: float) -> str:
        return f"{self.name}: {self.mask(threshold).mean():.1%} object"

    def draw_overlay(self, threshold: float) -> Image.Image:
        """The object highlighted."""
        return highlight_object(self.image, self.mask(threshold))

    def draw_probability(self, _threshold: float = 0) -> Image.Image:
        """The probability in grey, white for 1."""
        return Image.fromarray((self.probability * 255).round().astype(np.uint8))


INSIDE = "Look inside"  # drawn only while its tab is open, for it takes as long as all the rest
# A tab for each: the picture for a threshold, None where there is none.
VIEWS: dict[str, Callable[[Found, float], Image.Image | None]] = {
    "Overlay": Found.draw_overlay,
    "Probability": Found.draw_probability,
    INSIDE: lambda found, _threshold: found.inside,
}


class Search(NamedTuple):
    """What is to be found, and how."""

    supports: Sequence[Support]  # at least one
    queries: Sequence[Path]  # image files, at least one
    refine: bool  # whether SSP refines
    inside: bool = False  # whether a look inside is drawn, too
    settings: str = ""  # of the matching, NAME=VALUE words as --set takes them; the others are the checkpoint's


class Finder:
    """A predictor for several sessions, one after the other, and the images that were encoded last."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._encoded: OrderedDict[str, Encoded] = OrderedDict()
        self._lock = threading.Lock()
        self.can_refine = predictor.net.can_refine
        self.refines = self.can_refine and predictor.net.refine  # as the weights say
        self.matching = predictor.net.matching  # the checkpoint's

    def find(self, search: Search, report: Report = lambda *_: None) -> list[Found]:
        """Find the supports' object in each query, one entry a query; report is told of each step.

        Raises UserError if an image cannot be used.
        """
        supports, queries, refine, inside, words = search
        settings = given_settings(words.split())
        check_training_alone(settings)
        check_meaning(settings, self.predictor.net.method, refine)
        names = name_outputs(queries)
        steps = len(supports) + len(queries)
        with self._lock:
            if self.can_refine:
                self.predictor.net.refine = refine
            self.predictor.net.matching = change_settings(self.matching, settings)
            known = []
            for number, support in enumerate(supports):
                report(number, steps, f"reading {support.name}")
                known.append(self._encode_support(support))
            try:
                self.predictor.set_support(known, [x.mask for x in supports], [x.name for x in supports])
            except ValueError as error:  # an object that is too small
                raise UserError(f"{error}.") from error
            found = []
            for number, (query, name) in enumerate(zip(queries, names, strict=True), len(supports)):
                report(number, steps, f"looking at {query.name}")
                found.append(self._segment(name, self._encode_query(query), inside))
        return found

    def _segment(self, name: str, query: Encoded, inside: bool) -> Found:
        if not inside:
            return Found(name, query.image, self.predictor.predict(query).probability)
        explanation = self.predictor.explain(query)
        figure = draw_explanation(explanation, INSIDE_COLUMNS)
        return Found(name, query.image, explanation.probability, figure)

    def _encode_support(self, support: Support) -> Encoded:
        check_side(support.image, support.name, self.predictor.max_side)
        key = repr(support.image.size).encode() + support.image.tobytes()
        return self._recall(key, lambda: support.image)

    def _encode_query(self, query: Path) -> Encoded:
        return self._recall(query.read_bytes(), lambda: read_picture(query, self.predictor.max_side))

    def _recall(self, content: bytes, read: Callable[[], Image.Image]) -> Encoded:
        """The encoded image of this content, read and encoded unless it is known; the least used ones are forgotten."""
        key = hashlib.sha256(content).hexdigest()
        if key not in self._encoded:
            encoded = self.predictor.encode(read())
            while self._encoded and self.count_bytes() + count_bytes(encoded) > CACHE_BYTES:
                self._encoded.popitem(last=False)
            self._encoded[key] = encoded
        self._encoded.move_to_end(key)
        return self._encoded[key]

    def count_bytes(self) -> int:
        """The bytes of all that is remembered."""
        return sum(map(count_bytes, self._encoded.values()))


def count_bytes(encoded: Encoded) -> int:
    """Bytes of features and image."""
    return encoded.features.nbytes + 3 * encoded.image.width * encoded.image.height


def is_same(before: Sequence[Found], now: Sequence[Found]) -> bool:
    """Whether the same was found again, so that a zip of it still holds."""
    return len(before) == len(now) and all(
        x.name == y.name
        and (x.inside is None) == (y.inside is None)
        and np.array_equal(x.probability, y.probability)
        and x.image.tobytes() == y.image.tobytes()
        for x, y in zip(before, now, strict=True)
    )


def pack_results(found: Sequence[Found], threshold: float) -> bytes:
    """A zip of NAME_mask.png, NAME_overlay.png and NAME_probability.png for each query, NAME_explained.png if drawn."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # PNGs are compressed
        for each in found:
            mask = Image.fromarray(each.mask(threshold).astype(np.uint8) * 255)
            pictures = {"mask": mask, "overlay": each.draw_overlay(threshold), "probability": each.draw_probability()}
            if each.inside is not None:
                pictures["explained"] = each.inside
            for kind, picture in pictures.items():
                png = io.BytesIO()
                picture.save(png, "PNG")
                archive.writestr(f"{each.name}_{kind}.png", png.getvalue())
    return content.getvalue()
