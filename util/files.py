"""Files are written atomically: to a temporary file, then fsync, then rename. JSON is read within bounds."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from util.errors import UserError

JSON_BYTES = 2**24  # the largest JSON; files of datasets and episodes may have more
MARKED_BYTES = 4096  # at either end of a file, in which the mark of an output stands

# Other machines that share a folder have the same numbers for other processes.
HOST = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]
LEFTOVER = re.compile(rf"\..+\.([0-9]{{1,9}})\.{HOST}\.ssp-tmp", re.DOTALL)


def temporary_name(name: str, process: int) -> str:
    """What a process of this machine calls a file until it is whole; nobody else names files so."""
    return f".{name[:50]}.{process}.{HOST}.ssp-tmp"


class _WithoutDescriptor(io.BufferedWriter):
    """A file that is written only through Python: Pillow, given a descriptor, takes what a full disk cuts for whole."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` if the block raises nothing.

    A link is followed to the file that it names; a device, such as /dev/stdout, is written to. What killed processes
    left in the folder is removed. Raises UserError, and removes the temporary file, if the folder is not writable or
    the disk is full. The file has no fileno.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(temporary_name(target.name, os.getpid()))
    try:
        if is_device(path):
            with _WithoutDescriptor(io.FileIO(path, "wb")) as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers_once(target.parent)
        with _WithoutDescriptor(io.FileIO(temporary, "wb")) as file:
            yield file
            file.flush()
            os.fsync(file.raw.fileno())
        temporary.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_device(path: str | Path) -> bool:
    """Whether a path is written to as it is: a device such as /dev/null, or an open file of a process (/dev/stdout).

    Raises UserError for what can be neither replaced nor written to: a named pipe, a socket, a disk.
    """
    if os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing there yet, or nothing that can be seen
        return False
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISCHR(mode)):
        raise UserError(f"{path}: is a pipe, a socket or a disk; name a file to write")
    return stat.S_ISCHR(mode)


def is_name(text: str) -> bool:
    """Whether a text is the name of a file, not a path: what a file says is never one."""
    return text.isprintable() and text not in ("", ".", "..") and not set(text) & {"/", "\\", os.sep}


def blocks(path: str | Path) -> Iterator[bytes]:
    """The content of a file, a megabyte at a time."""
    with open(path, "rb") as file:
        while block := file.read(2**20):
            yield block


def check_regular(path: str | Path) -> None:
    """Raise OSError for what is not there, and for what nobody should wait for: a named pipe, a socket, a device.

    The pipe that a shell makes for a command's output, /dev/fd/63, is read.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or os.path.realpath(path).startswith("/proc/")):
        raise OSError(errno.ENXIO, "a pipe, a socket or a device", os.fspath(path))


class TooLarge(ValueError):
    """A file has more bytes than are read."""


def read_within(path: str | Path, most: int) -> bytes:
    """The content of a file. Raises TooLarge if it has more than ``most`` bytes, OSError if it cannot be read."""
    check_regular(path)
    with open(path, "rb") as file:
        is_within = os.fstat(file.fileno()).st_size <= most
        content = file.read(most + 1) if is_within else b""
    if not is_within or len(content) > most:
        raise TooLarge(f"more than the {most >> 20} MB that are read")
    return content


def read_json(path: str | Path, most: int = JSON_BYTES) -> Any:
    """The content of a JSON file of at most so many bytes, else TooLarge.

    Raises OSError if it cannot be read, ValueError if it is no JSON or nested too deeply.
    """
    try:
        return json.loads(read_within(path, most))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of :func:`atomic_write` whose process has ended, and nothing else."""
    for path in folder.glob(".*.ssp-tmp"):
        made = LEFTOVER.fullmatch(path.name)
        if made and path.is_file() and not path.is_symlink() and not _is_running(int(made[1])):
            with suppress(OSError):  # another user's, perhaps
                path.unlink()


_remove_leftovers_once = cache(remove_leftovers)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


class OutputFile(NamedTuple):
    """A file that a flag names, to be written."""

    path: str | Path | None  # None: the flag was not given
    mark: str  # by which what this flag writes is known again, in its first or last bytes


def check_outputs(outputs: Mapping[str, OutputFile], inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise UserError, before any work is done, unless each flag's file can be written and nothing is lost by it.

    A file is neither read too nor written twice, and replaces only what the same flag wrote. Makes its folder.
    """
    taken = {os.path.realpath(path) for path in inputs if path is not None}
    for flag, (path, mark) in outputs.items():
        if path is None:
            continue
        if Path(path).is_dir():
            raise UserError(f"{path}: is a folder; name a file to write")
        if is_device(path):
            continue
        if (real := os.path.realpath(path)) in taken:
            raise UserError(f"{flag} {path}: is read, or written by another flag; name another file")
        taken.add(real)
        check_mark(flag, path, mark)
        check_writable(Path(real).parent)


def check_mark(flag: str, path: str | Path, mark: str) -> None:
    """Raise UserError if a file is there, is not empty, and was not written by this flag: both its ends lack a mark.

    So no output replaces a file of a dataset, or anything else of somebody's. A video has its mark at the end.
    """
    if is_device(path) or not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        start = file.read(MARKED_BYTES)
        file.seek(max(0, os.path.getsize(path) - MARKED_BYTES))
        end = file.read(MARKED_BYTES)
    if start and mark.encode() not in start and mark.encode() not in end:
        raise UserError(f"{flag} {path}: is there and is nothing that {flag} writes; name another, or move it away")


def check_writable(folder: str | Path) -> None:
    """Raise UserError if nothing can be written to ``folder``, before any work is done; makes the folder."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
