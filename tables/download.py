"""Fetch files over the network with gdown, an optional package: resumed, checked, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from util.errors import UserError
from util.files import check_writable
from util.locks import only_one
from util.progress import progress

TIMEOUT = (20.0, 60.0)  # seconds to connect, and between two pieces
RETRIES = 2  # retries of a failed connection; each goes on where it was
AGAIN = "run the same command again, it goes on from there"
ELSEWHERE = "fetch it with a browser, or from a --mirror"


def need_gdown() -> Callable[..., Any]:
    """gdown's download. Raises UserError where the package is missing."""
    try:
        from gdown import download
    except ImportError as error:
        raise UserError("to download, install gdown (pip install gdown), or pass files of yours with --from") from error
    return download


def fetch(path: Path, check: Callable[[Path], object], url: str) -> None:
    """Download a file, check it, and give it its name; until then it lies in a folder .incoming beside.

    An interrupted download goes on where it was. A file that fails the check is removed.

    Arguments:
        path: the file.
        check: called with the downloaded file; raises UserError, whose message names it, if the file is no good.
        url: where it is.
    Raises:
        UserError: names the file, its source and the way out, or another process that fetches it; no file is at
            ``path`` then.
    """
    download = need_gdown()
    incoming = path.parent / ".incoming" / path.name
    with only_one(path, "a download"):
        check_writable(incoming.parent)
        try:
            _download(download, incoming, url)
        except OSError as error:
            if type(error).__module__.startswith(("requests", "urllib3")):
                raise UserError(f"{path}: {url} {_connection_fault(error)}") from error
            _discard(incoming)  # on a full disk a part of a file only makes things worse
            reason = error.strerror or error
            raise UserError(f"cannot write {path}: {reason}; free some space and run it again") from error
        except Exception as error:  # gdown's own
            raise UserError(f"{path}: {url} {_download_fault(error, incoming)}") from error
        try:
            check(incoming)
            with incoming.open("rb+") as file:
                os.fsync(file.fileno())
            incoming.replace(path)
        except UserError as error:
            reason = str(error).replace(str(incoming), url)
            raise UserError(f"{path}: not kept: {reason}; {ELSEWHERE}") from error
        finally:
            _discard(incoming)


def _download(download: Callable[..., Any], incoming: Path, url: str) -> None:
    """Download to ``incoming``, under a bar; the part of an interrupted download is gone on with."""
    with progress(None, incoming.name, 0, "B", scale=True) as bar:

        def move(received: int, total: int | None) -> None:
            bar.total = total
            bar.update(received - bar.n)

        again = partial(
            download, url=url, output=str(incoming), quiet=True, resume=True, use_cookies=False, progress=move,
            timeout=TIMEOUT, retries=RETRIES,
        )  # fmt: skip
        try:
            again()
        except Exception as error:
            if "byte range" not in str(error):
                raise
            _discard(incoming)  # a server that cannot go on in the middle
            again()


def _discard(incoming: Path) -> None:
    """Remove a download, whole or in part, and its folder if nothing else is in it."""
    for path in (incoming, *parts(incoming)):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        incoming.parent.rmdir()


def parts(incoming: Path) -> list[Path]:
    """What gdown keeps of an interrupted download: the name, eight characters and .part."""
    return [path for path in incoming.parent.glob("*.part") if path.name[:-13] == incoming.name]


def _connection_fault(error: OSError) -> str:
    """What is wrong with a connection, from the errors of requests."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"answered {response.status_code} {response.reason}; {ELSEWHERE}"
    kind = "did not answer in time" if "timed out" in str(error).lower() else "cannot be reached"
    return f"{kind}; check the network and the address, then {AGAIN}"


def _download_fault(error: Exception, incoming: Path) -> str:
    """What is wrong with a download, from gdown's errors."""
    received = sum(path.stat().st_size for path in parts(incoming))
    if type(error).__name__ == "FileURLRetrievalError":
        gone = "it is gone, or too many have fetched it lately (Google Drive's quota)"
        return f"is not given out: {gone}; try again tomorrow, {ELSEWHERE}"
    if received or "incomplete" in str(error).lower():
        return f"broke off after {received / 2**20:.1f} MB; {AGAIN}"
    if isinstance(error.__cause__, OSError):
        return _connection_fault(error.__cause__)
    return f"cannot be downloaded ({' '.join(str(error).split())[:200]}); {ELSEWHERE}"
