"""How long the queries will take, from a small copy of one that is timed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from PIL import Image

from engine.evaluation.estimate import duration
from prediction.predictor import Predictor
from prediction.queries import Query, describe_count, read_first
from prediction.working_size import limit_size

COPY_SIDE = 384  # pixels that the copy has at most
MANY_COPIES = 20  # times the copy's matching: what takes less is not worth a copy
LONG = 10  # seconds


def describe_run_time(predictor: Predictor, queries: Sequence[Query]) -> list[str]:
    """A line that says how long a network, with its supports, will take for the queries, if it is long.

    Of an image the backbone's time grows with its area, the matching's with the square of that.
    """
    sizes = [limit_size(query.size, predictor.max_side) for query in queries]
    areas = [width * height for width, height in sizes]
    largest = areas.index(max(areas))
    copy = limit_copy(sizes[largest])
    counted = zip(areas, queries, strict=True)
    shares = [area / (copy[0] * copy[1]) for area, query in counted for _ in range(query.count)]
    if sum(share**2 for share in shares) < MANY_COPIES:
        return []
    image = read_first(queries[largest])
    width, height = limit_size(image.size, predictor.max_side)
    encoding, matching = time_steps(predictor, image.resize(limit_copy((width, height))))
    seconds = sum(share * encoding + share**2 * matching for share in shares)
    what = describe_count(queries) if len(shares) > 1 else f"query {queries[0].path}: {width}x{height} pixels"
    return [f"{what}, about {duration(seconds)}"] if seconds > LONG else []


def limit_copy(size: tuple[int, int]) -> tuple[int, int]:
    """The size of the copy of an image; its shape may be another one, so that neither side becomes too small."""
    return min(size[0], COPY_SIDE), min(size[1], COPY_SIDE)


def time_steps(predictor: Predictor, image: Image.Image) -> tuple[float, float]:
    """Seconds that backbone and matching take for an image, the least of two runs: the first one fills memory."""
    runs = []
    for _ in range(2):
        started = time.perf_counter()
        encoded = predictor.encode(image)
        encoded.features.sum().item()  # a GPU works on behind the call
        passed = time.perf_counter()
        predictor.predict(encoded)
        runs.append((passed - started, time.perf_counter() - passed))
    encoding, matching = map(min, zip(*runs, strict=True))
    return encoding, matching
