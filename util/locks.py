"""One program at a time in one place: an advisory lock of the operating system, which a kill releases too."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from util.errors import UserError, printable

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # errors of a file system without locks


@contextmanager
def only_one(path: Path, what: str, waits: bool = False) -> Iterator[None]:
    """Hold a lock for the block, in a hidden file beside a path, which is removed at the end.

    Arguments:
        what: is done there, for messages, such as "a training".
        waits: for the end of another process's work, which is a short one.
    Raises:
        UserError: another process holds the lock; it says which, and since when.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(lock, path, what, waits)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            if _is_at(file, lock):
                lock.unlink()
        file.close()


def _locked(lock: Path, path: Path, what: str, waits: bool) -> BinaryIO:
    """The lock's file, locked."""
    while True:
        file = lock.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            holder = printable(file.read(200).decode(errors="replace")) or "another process"
            file.close()
            raise UserError(
                f"{path}: {what} is under way there, {holder}; wait for its end, or choose another place"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise UserError(
                    f"{path}: its file system cannot lock {lock.name} ({error.strerror}), which keeps a second program "
                    "away; choose a place on a local disk, or have it mounted with locks"
                ) from error
        if _is_at(file, lock):  # else the one before has removed it in between
            break
        file.close()
    file.truncate(0)
    file.write(f"by process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode())
    file.flush()
    return file


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
