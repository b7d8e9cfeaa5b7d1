"""What the page's server refuses before gradio sees it: files of the machine, other sites, long requests."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from page.uploads import MAX_BYTES, MAX_QUERIES

MAX_REQUEST = MAX_QUERIES * MAX_BYTES  # bytes of all uploads together
MAX_PAINTINGS = 8  # paintings that wait to be read
MAX_LAYERS = 4  # layers of one painting
MAX_MESSAGE = 1_000_000  # bytes of any other request: these name uploads, and hold no image
ADDRESSES = ("http:", "https:", "ftp:", "file:")
Receive = Callable[[], Awaitable[Any]]
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

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if not self._may_see(scope["path"]):
            return await refuse(send, 403, "This file is not served.")
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        uploads = headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        paints = "/component_server" in scope["path"]
        limit = (MAX_BYTES if paints else MAX_REQUEST) if uploads else MAX_MESSAGE
        length = headers.get(b"content-length", b"0" if b"transfer-encoding" not in headers else b"")
        if not (length.isdigit() and int(length) <= limit):
            return await refuse(send, 413, f"At most {limit // 10**6} MB are taken at once.")
        if not uploads:
            body = await read_body(receive)
            if names_address(body):
                return await refuse(send, 403, "The page takes uploads, no addresses.")
            receive = repeat_body(body, receive)
        return await self.app(scope, receive, send)

    def _may_see(self, path: str) -> bool:
        """Whether a request asks for no file, or for one in the folder."""
        if "/proxy=" in path:
            return False
        _, marked, file = path.partition("/file=")
        return not marked or os.path.realpath(file).startswith(self.folder + os.sep)


def names_address(body: bytes) -> bool:
    """Whether a message names an address as the path of a file, which gradio would fetch, or is no JSON."""

    def check(value: dict[str, Any]) -> None:
        path = value.get("path")
        if isinstance(path, str) and path.strip().lower().startswith(ADDRESSES):
            raise ValueError(path)

    try:
        json.loads(body or b"null", object_hook=check)
    except (ValueError, RecursionError):  # RecursionError: nested to no purpose
        return True
    return False


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request, whose length was seen to be small."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def repeat_body(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body that was read already, then goes on."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_next() -> Any:
        return messages.pop() if messages else await receive()

    return receive_next


async def refuse(send: Send, status: int, line: str) -> None:
    """Answer with a line of text."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{line}\n".encode()})


class Paintings(dict[str, Any]):
    """In place of gradio's own store of what painting areas send: the oldest of MAX_PAINTINGS goes for a new one."""

    def __setitem__(self, name: str, painting: Any) -> None:
        if name not in self and len(self) >= MAX_PAINTINGS:
            del self[next(iter(self))]
        super().__setitem__(name, painting)


def limit_layers(accept: Callable[[Any], None]) -> Callable[[Any], None]:
    """gradio's function that takes a part of a painting, for at most MAX_LAYERS layers: it makes room for any index."""

    @functools.wraps(accept)  # with the mark by which gradio knows it
    def accept_few(data: Any) -> None:
        index = str(data.data.get("index"))
        if index.isdigit() and int(index) >= MAX_LAYERS:
            raise ValueError(f"at most {MAX_LAYERS} layers are taken")
        accept(data)

    return accept_few
