"""Whole numbers that are written as text."""

from __future__ import annotations

LARGEST = 1e30  # the largest number that is computed with


def is_whole(text: str) -> bool:
    """Whether a text is a whole number of at most 1,000 digits: ASCII ones alone, str.isdigit takes others too."""
    return text.isascii() and text.isdigit() and len(text) <= 1000


def whole_number(text: str) -> int:
    """The whole number of a text. Raises ValueError for any other, also for a superscript or a Thai digit."""
    if not is_whole(text.strip().removeprefix("-")):
        raise ValueError(f"{text!r:.40} is not a whole number")
    return int(text)
