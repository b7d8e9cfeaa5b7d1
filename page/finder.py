"""Find the object in queries; an image passes the backbone once, whatever is painted or chosen afterwards."""

from __future__ import annotations

import io
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from page.uploads import Query, Support, check_side, key_of, read_picture
from prediction.explain import explanation_figure
from prediction.files import output_names
from prediction.predictor import Encoded, Predictor
from prediction.sheet import highlighted
from util.errors import UserError

CACHE_BYTES = 2**29  # of features and images; one of 640x640 takes 26 MB
INSIDE_COLUMNS = 2  # tiles in a row of a look inside, which stands in half the page's width
Report = Callable[[int, int, str], object]  # what is done, of how many, and what comes next


class Found(NamedTuple):
    """Where the object is in a query."""

    name: str  # of the files that are packed, unique in any case of letters
    image: Image.Image
    probability: np.ndarray  # (H, W) float32
    inside: Image.Image | None = None  # the figure of what each step found, if it was asked for

    def mask(self, threshold: float) -> np.ndarray:
        """(H, W) bool; at 0.5 what predict.py writes."""
        return self.probability > threshold

    def caption(self, threshold: float) -> str:
        return f"{self.name}: {self.mask(threshold).mean():.1%} object"

    def overlay(self, threshold: float) -> Image.Image:
        """The object highlighted."""
        return highlighted(self.image, self.mask(threshold))

    def grey(self, _threshold: float = 0) -> Image.Image:
        """The probability, white for 1."""
        return Image.fromarray((self.probability * 255).round().astype(np.uint8))


INSIDE = "Look inside"  # drawn only while its tab is open, for it takes as long as all the rest
# A tab for each: the picture for a threshold, None where there is none.
VIEWS: dict[str, Callable[[Found, float], Image.Image | None]] = {
    "Overlay": Found.overlay,
    "Probability": Found.grey,
    INSIDE: lambda found, _threshold: found.inside,
}


class Finder:
    """A predictor for several sessions, one after the other, and the images that were encoded last."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._encoded: OrderedDict[str, Encoded] = OrderedDict()
        self._lock = threading.Lock()
        self.can_refine = predictor.net.can_refine
        self.refines = self.can_refine and predictor.net.refine  # as the weights say

    def find(
        self,
        supports: Sequence[Support],
        queries: Sequence[Query],
        refine: bool,
        inside: bool = False,
        report: Report = lambda *_: None,
    ) -> list[Found]:
        """Find the supports' object in each query.

        Arguments:
            supports: at least one.
            queries: at least one.
            refine: whether SSP refines.
            inside: whether a look inside is drawn, too.
            report: is told of each step.
        Raises:
            UserError: an image cannot be used.
        """
        names = output_names([query.path for query in queries])
        steps = len(supports) + len(queries)
        with self._lock:
            if self.can_refine:
                self.predictor.net.refine = refine
            known = []
            for number, support in enumerate(supports):
                report(number, steps, f"reading {support.name}")
                known.append(self._support(support))
            try:
                self.predictor.set_support(known, [x.mask for x in supports], [x.name for x in supports])
            except ValueError as error:  # an object that is too small
                raise UserError(f"{error}.") from error
            found = []
            for number, (query, name) in enumerate(zip(queries, names, strict=True), len(supports)):
                report(number, steps, f"looking at {query.name}")
                found.append(self._found(name, self._query(query), inside))
        return found

    def _found(self, name: str, query: Encoded, inside: bool) -> Found:
        if not inside:
            return Found(name, query.image, self.predictor.predict(query).probability)
        explanation = self.predictor.explain(query)
        figure = explanation_figure(explanation, INSIDE_COLUMNS)
        return Found(name, query.image, explanation.probability, figure)

    def _support(self, support: Support) -> Encoded:
        check_side(support.image, support.name, self.predictor.max_side)
        key = key_of(support.image.tobytes(), support.image.size)
        return self._remembered(key, lambda: support.image)

    def _query(self, query: Query) -> Encoded:
        key = key_of(query.path.read_bytes())
        return self._remembered(key, lambda: read_picture(query.path, self.predictor.max_side))

    def _remembered(self, key: str, read: Callable[[], Image.Image]) -> Encoded:
        """The encoded image of this key, read and encoded unless it is known; the least used ones are forgotten."""
        if key not in self._encoded:
            encoded = self.predictor.encode(read())
            while self._encoded and self.bytes_kept() + size_of(encoded) > CACHE_BYTES:
                self._encoded.popitem(last=False)
            self._encoded[key] = encoded
        self._encoded.move_to_end(key)
        return self._encoded[key]

    def bytes_kept(self) -> int:
        """The bytes of all that is remembered."""
        return sum(map(size_of, self._encoded.values()))


def size_of(encoded: Encoded) -> int:
    """Bytes of features and image."""
    return encoded.features.nbytes + 3 * encoded.image.width * encoded.image.height


def alike(before: Sequence[Found], now: Sequence[Found]) -> bool:
    """Whether the same was found again, so that a zip of it still holds."""
    return len(before) == len(now) and all(
        x.name == y.name
        and (x.inside is None) == (y.inside is None)
        and np.array_equal(x.probability, y.probability)
        and x.image.tobytes() == y.image.tobytes()
        for x, y in zip(before, now, strict=True)
    )


def packed(found: Sequence[Found], threshold: float) -> bytes:
    """A zip of NAME_mask.png, NAME_overlay.png and NAME_probability.png for each query, NAME_explained.png if drawn."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # PNGs are compressed
        for each in found:
            mask = Image.fromarray(each.mask(threshold).astype(np.uint8) * 255)
            pictures = {"mask": mask, "overlay": each.overlay(threshold), "probability": each.grey()}
            if each.inside is not None:
                pictures["explained"] = each.inside
            for kind, picture in pictures.items():
                png = io.BytesIO()
                picture.save(png, "PNG")
                archive.writestr(f"{each.name}_{kind}.png", png.getvalue())
    return content.getvalue()
