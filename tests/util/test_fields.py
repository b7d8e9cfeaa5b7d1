"""The rules that fields of files keep, and the one line that names a field which does not."""

from __future__ import annotations

from typing import Any

import pytest

from util.fields import Rule, check_fields, dict_of, list_of, number, one_of, optional, scalar, text, whole, with_fields

NAN, INFINITY = float("nan"), float("inf")
RULES: list[tuple[Rule, list[Any], list[Any]]] = [  # what each takes, and what it does not
    (whole(1, 100), [1, 100], [0, 101, 1.0, True, "1", None, [1], 10**30]),
    (whole(0), [0, 10**9], [-1, NAN, 10**31]),
    (number(), [0, -1, 1.5, 10**30], [10**31, NAN, INFINITY, -INFINITY, True, "1", None, [1.0]]),
    (number(0, 100), [0, 100.0], [-0.1, 100.1]),
    (text, ["", "a b"], ["a\nb", "\u202ea", 1, None, ["a"]]),
    (scalar, ["a\nb", 1, 1.5, True, None], [[], {}, (1,), b"a"]),
    (one_of(None, 0, "a"), [None, 0, "a"], [False, 0.0, "b", "", [], {}]),
    (optional(text), [None, "a"], [1, []]),
    (list_of(text), [[], ["a"]], [None, "a", ("a",), [1], [["a"]], {"a": 1}]),
    (dict_of(scalar), [{}, {"a": 1}], [None, [], {1: "a"}, {"a": [1]}]),
    (with_fields({"a": text, "b": optional(text)}), [{"a": ""}, {"a": "", "c": 1}], [{}, {"a": 1}, [], None]),
]


@pytest.mark.parametrize(("rule", "taken", "refused"), RULES)
def test_rules(rule: Rule, taken: list[Any], refused: list[Any]) -> None:
    assert [value for value in taken if not rule(value)] == []
    assert [value for value in refused if rule(value)] == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"shot": 0}, "its shot cannot be 0"),
        ({}, "its shot cannot be None"),
        ({"shot": "a\nerror: " + "b" * 99}, "its shot cannot be 'a\\nerror: bb...bbbbbbbbbbbbb'"),
        ([1], "it has no fields"),
        (None, "it has no fields"),
    ],
)
def test_a_field_is_named(content: Any, says: str) -> None:
    with pytest.raises(ValueError, match=r"^it") as raised:
        check_fields(content, {"shot": whole(1)})
    assert str(raised.value) == says


def test_fields_that_may_be_absent() -> None:
    check_fields({"other": 1}, {"shot": whole(1)}, may_lack=True)
    with pytest.raises(ValueError, match=r"^its shot cannot be None$"):
        check_fields({"shot": None}, {"shot": whole(1)}, may_lack=True)
