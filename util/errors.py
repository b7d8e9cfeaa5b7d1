"""The one kind of error for everything a user can mend, and the first line of any other."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; the message is one line that names the file or flag and the way out."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(text: object) -> str:
    """A text of somebody else's as one line that can be printed."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(str(text).split()))


def fills_gpu(error: Exception) -> bool:
    """Whether the GPU's memory is full: torch's OutOfMemoryError, by its name, so that torch need not be imported."""
    return type(error).__name__ == "OutOfMemoryError"
