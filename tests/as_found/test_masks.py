"""Masks of a person's own supports: what of the picture is the object. The truth of as_found's disc is 20.0 %."""

from __future__ import annotations

import pytest

from tests.as_found.cases import Case, Inputs, check


def segment(inputs: Inputs, mask: str, *more: str) -> list[str]:
    """predict.py on as_found's picture with one of its masks."""
    image = str(inputs.found("img/plain.jpg"))
    files = ["--support", image, "--mask", str(inputs.found(f"mask/{mask}")), "--query", image]
    return ["predict.py", "--checkpoint", str(inputs.checkpoint), *files, "--out", str(inputs.folder / "out"), *more]


CASES = [
    Case("ones.png: values 0 and 1", lambda inputs: segment(inputs, "ones.png"), 0, r"20\.0 ?%"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.partition(":")[0])
def test_masks(case: Case, inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> None:
    check(case, inputs, capfd)
