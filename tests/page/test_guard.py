"""What the server refuses before gradio sees it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from page.guard import MAX_LAYERS, MAX_PAINTINGS, Paintings, limit_layers, names_address


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b'{"data": [{"path": "/tmp/page/a.png", "url": "http://127.0.0.1/file=/tmp/page/a.png"}]}', False),
        (b"", False),
        (b'{"data": [{"path": "http://10.0.0.1/secret"}]}', True),
        (b'{"data": {"deep": [[{"path": "\\u0048TTPS://example.com/a.png"}]]}}', True),
        (b'{"path": {"path": " ftp://example.com/a.png"}}', True),
        ('{"path": "http://example.com"}'.encode("utf-16"), True),
        (b"path=http://example.com", True),
        (b"[" * 100_000, True),
    ],
)
def test_a_message_that_names_an_address(body: bytes, refused: bool) -> None:
    assert names_address(body) is refused


def test_paintings_are_bounded() -> None:
    kept = Paintings()
    for number in range(MAX_PAINTINGS + 2):
        kept[str(number)] = number
    kept["5"] = "again"
    assert list(kept.values()) == [2, 3, 4, "again", 6, 7, 8, 9]
    taken: list[Any] = []
    accept = limit_layers(taken.append)
    for index in ("null", None, "0", MAX_LAYERS - 1):
        accept(SimpleNamespace(data={"index": index}))
    with pytest.raises(ValueError, match="at most 4 layers"):
        accept(SimpleNamespace(data={"index": "1000000000"}))
    assert len(taken) == 4
