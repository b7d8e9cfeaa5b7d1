"""What tests share: where the project lies, the type of the one-line fixture, and a writer of small files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

TOY_SEED = 1  # of the toy Pascal: its novel classes of fold 0 have images enough for two shots
COCO_SEED = 4  # of the toy COCO: its 80 scenes have annotations of every kind
CHECKOUT = Path(__file__).resolve().parents[1]
GOLDEN = CHECKOUT / "tests" / "golden"
PIXELS = 0.5  # points of mIoU that some pixels of small episodes weigh, which rounding may put on either side
OneLine = Callable[[Callable[[list[str]], object], list[str]], str]  # the fixture one_line_error


def write(path: Path, content: str | bytes = "") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
