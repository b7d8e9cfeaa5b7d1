"""Whole numbers that are written as text."""

from __future__ import annotations


def whole_number(text: str) -> int:
    """The whole number of a text in ASCII. Raises ValueError for any other, also for a superscript or a Thai digit."""
    if not text.isascii():
        raise ValueError(f"{text!r:.40} is not a whole number")
    return int(text)
