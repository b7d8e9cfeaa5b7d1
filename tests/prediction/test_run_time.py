"""How long queries are said to take: by a small copy, the backbone's time by area, the matching's by its square."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from prediction import run_time
from prediction.queries import Query
from prediction.run_time import describe_run_time, time_steps
from tests.prediction.networks import network, predictor_of

SIDE = run_time.COPY_SIDE
HALF = SIDE // 2


@pytest.mark.parametrize(
    ("sizes", "max_side", "copy", "says"),
    [
        ([(4 * SIDE, 4 * SIDE)], 0, (SIDE, SIDE), "query {0}: 1536x1536 pixels, about 7 min"),  # 16 * 10 + 256 * 1 s
        ([(4 * SIDE, 4 * SIDE)], SIDE, None, None),
        ([(4 * SIDE, 4 * SIDE)] * 2, 3 * SIDE, (SIDE, SIDE), "2 images, about 6 min"),  # 2 * (9 * 10 + 81 * 1 s)
        ([(8 * SIDE, HALF)], 0, (SIDE, HALF), "query {0}: 3072x192 pixels, about 2 min"),  # 8 * 10 + 64 * 1 s
        ([(SIDE, SIDE)] * 19, 0, None, None),
        ([(SIDE, SIDE)] * 20, 0, (SIDE, SIDE), "20 images, about 4 min"),
        ([(32, 48), *[(SIDE, HALF)] * 30], 64, (64, 32), "31 images, about 6 min"),
    ],
)
def test_what_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[tuple[int, int]],
    max_side: int,
    copy: tuple[int, int] | None,
    says: str | None,
) -> None:
    queries = [tmp_path / f"{number}.png" for number in range(len(sizes))]
    for query, size in zip(queries, sizes, strict=True):
        Image.new("L", size).save(query)
    timed = []
    monkeypatch.setattr(run_time, "time_steps", lambda _, image: timed.append(image.size) or (10.0, 1.0))
    predictor = predictor_of(network("ssp"), max_side=max_side)
    found = describe_run_time(predictor, [Query(*query) for query in zip(queries, sizes, strict=True)])
    assert found == ([says.format(*queries)] if says else [])
    assert timed == ([copy] if copy else [])


def test_what_is_short_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)
    assert describe_run_time(predictor_of(network("ssp")), [Query(path, (64, 64))] * 20) == []


@pytest.mark.parametrize("name", ["ssp refine", "baseline"])
def test_the_steps_that_are_timed(name: str) -> None:
    encoding, matching = time_steps(predictor_of(network(name)), Image.new("RGB", (96, 64)))
    assert encoding > matching > 0
