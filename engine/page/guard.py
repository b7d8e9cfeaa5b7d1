"""What the page's server refuses before gradio sees it: files of the machine, other sites, long requests."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from engine.page.uploads import MAX_BYTES, MAX_QUERIES

MAX_REQUEST = MAX_QUERIES * MAX_BYTES  # bytes
Send = Callable[[Any], Awaitable[None]]


class Guard:
    """ASGI middleware: serves files of one folder only, fetches no address, takes no request of unknown length.

    Arguments:
        app: what answers the other requests.
        folder: the only one of which files are served.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], folder: Path) -> None:
        self.app = app
        self.folder = os.path.realpath(folder)

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        if scope["type"] == "http":
            if not self._may_see(scope["path"]):
                return await refuse(send, 403, "This file is not served.")
            if not _is_short(dict(scope["headers"]), scope["method"]):
                return await refuse(send, 413, f"At most {MAX_REQUEST // 10**6} MB are taken at once.")
        return await self.app(scope, receive, send)

    def _may_see(self, path: str) -> bool:
        """Whether a request asks for no file, or for one in the folder."""
        if "/proxy=" in path:
            return False
        _, marked, file = path.partition("/file=")
        return not marked or os.path.realpath(file).startswith(self.folder + os.sep)


def _is_short(headers: dict[bytes, bytes], method: str) -> bool:
    length = headers.get(b"content-length", b"0" if b"transfer-encoding" not in headers else b"")
    return method in ("GET", "HEAD") or (length.isdigit() and int(length) <= MAX_REQUEST)


async def refuse(send: Send, status: int, line: str) -> None:
    """Answer with a line of text."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{line}\n".encode()})
