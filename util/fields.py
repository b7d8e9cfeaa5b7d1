"""The fields of a file that anybody may have written, each checked by a rule before it is used."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from util.errors import one_line
from util.numbers import LARGEST

Rule = Callable[[Any], bool]


def check_fields(content: Any, rules: Mapping[str, Rule], may_lack: bool = False) -> None:
    """Check the fields of what a file holds by their rules; those without a rule are not looked at.

    An absent field counts as None, unless it may be absent. Raises ValueError "its NAME cannot be VALUE", one line, or
    that there are no fields.
    """
    if not isinstance(content, Mapping):
        raise ValueError("it has no fields")
    for name, rule in rules.items():
        if not (may_lack and name not in content) and not rule(content.get(name)):
            raise ValueError(f"its {name} cannot be {one_line(reprlib.repr(content.get(name))):.40}")


def whole(low: int, high: float = LARGEST) -> Rule:
    """A whole number in [low, high]."""
    return lambda value: type(value) is int and low <= value <= high


def number(low: float = -LARGEST, high: float = LARGEST) -> Rule:
    """A number in [low, high], not nan."""
    return lambda value: type(value) in (int, float) and low <= value <= high


def text(value: Any) -> bool:
    """Tell whether a value is a text that can be printed."""
    return type(value) is str and value.isprintable()


def scalar(value: Any) -> bool:
    """Tell whether a value is a text, a number, a truth value or None."""
    return type(value) in (bool, int, float, str, type(None))


def one_of(*allowed: Any) -> Rule:
    """One of some values, of the same type: True is not 1."""
    return lambda value: any(type(value) is type(each) and value == each for each in allowed)


def optional(rule: Rule) -> Rule:
    """What a rule allows, or nothing."""
    return lambda value: value is None or rule(value)


def list_of(rule: Rule) -> Rule:
    """A list whose entries all keep a rule."""
    return lambda value: type(value) is list and all(map(rule, value))


def dict_of(rule: Rule) -> Rule:
    """A dict of values by texts; the values all keep a rule."""
    return lambda value: type(value) is dict and all(type(key) is str and rule(x) for key, x in value.items())


def with_fields(rules: Mapping[str, Rule]) -> Rule:
    """A dict with fields that keep rules; absent ones count as None."""
    return lambda value: type(value) is dict and all(rule(value.get(name)) for name, rule in rules.items())
