"""The one kind of error for everything a user can mend, and the first line of any other."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

MOST_NAMED = 5  # names that a message lists

REMEDIES = {  # ways out of what the operating system refuses
    errno.EACCES: "give yourself the right, or name another",
    errno.EPERM: "give yourself the right, or name another",
    errno.EROFS: "it can only be read; name another place",
    errno.ENOSPC: "make room there",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ENOENT: "name one that is there",
}


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag and the way out."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def refusal(error: OSError) -> str:
    """What the operating system refused, and the way out."""
    return f"{error.strerror or first_line(error)}; {REMEDIES.get(error.errno, 'name another')}"


def printable(text: str) -> str:
    """A text in which what cannot be printed, such as a line break in a file's name, is written as an escape."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def one_line(text: object) -> str:
    """A text of somebody else's as one line that can be printed."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(str(text).split()))


def join_names(items: Sequence[object], most: int = MOST_NAMED) -> str:
    """A list for people, cut short."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def fills_gpu(error: BaseException) -> bool:
    """Whether the GPU's memory is full: torch's OutOfMemoryError, by its name, so that torch need not be imported."""
    return type(error).__name__ == "OutOfMemoryError"


def fills_memory(error: BaseException) -> bool:
    """Whether memory is full: the GPU's or the machine's, as Python, the system and torch's own allocator say it."""
    said = any(text in str(error) for text in ("DefaultCPUAllocator", "tried to allocate", os.strerror(errno.ENOMEM)))
    return isinstance(error, MemoryError) or fills_gpu(error) or said
