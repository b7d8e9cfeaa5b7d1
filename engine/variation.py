"""Variations of the method: settings that differ from the paper's, as flags, files and reports have them.

A setting is a field of model.settings.Matching or a weight of the training loss (docs/method.md, section 3).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from model.settings import LOSS_WEIGHTS, PAPER, Matching
from util.errors import UserError, printable
from util.fields import Rule, number, whole
from util.numbers import LARGEST, whole_number

Value = float | int | tuple[float, ...]
LOSSES = {f"{output}_loss": output for output in LOSS_WEIGHTS}  # the setting of each weight of the loss
USUAL: dict[str, Value] = {**vars(PAPER), **{name: LOSS_WEIGHTS[output] for name, output in LOSSES.items()}}
OF_REFINEMENT = ("refine_mix", "final_mix", "rounds", "out1_loss")  # mean nothing without --refine
OF_BASELINE = ("temperature",)
# What --without takes: the paper's components, with the settings that take each out.
COMPONENTS = {
    "ssfp": {"fg_mix": 0.0},
    "ssbp": {"bg_mix": 0.0},
    "asbp": {"bg_mix": 1.0},
    "self-support": {"fg_mix": 0.0, "support_bg_mix": 1.0},
    "self-support-loss": {"query_self_loss": 0.0, "support_self_loss": 0.0},
}
NO_BACKGROUND = {"bg_mix": PAPER.bg_mix, "support_bg_mix": 1.0}  # neither SSBP nor ASBP: the support's alone
LONGEST = 80  # letters of the settings in the name of a file
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
TAG_RULE = "letters, digits, . _ -, at most 40, the first a letter or digit"


class Range(NamedTuple):
    """What a setting may be: a rule, the same in words, and how its text is read (ValueError for others)."""

    rule: Rule
    words: str
    read: Callable[[str], Value] = float


def _is_mix(value: Any) -> bool:
    return type(value) is tuple and len(value) == 3 and all(map(number(0, 1), value)) and any(value)


def _read_mix(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


SHARE = Range(number(0, 1), "a number from 0 to 1")
WEIGHT = Range(number(0), f"a number from 0 to {LARGEST:g}")
RANGES: dict[str, Range] = {
    "temperature": Range(number(1e-3, 1e4), "a number from 0.001 to 10000"),
    "fg_threshold": SHARE,
    "bg_threshold": SHARE,
    "fallback_pixels": Range(whole(1, 10**6), "a whole number from 1 to 1000000", whole_number),
    "adaptive_scale": Range(number(0, 1000), "a number from 0 to 1000"),
    "fg_mix": SHARE,
    "bg_mix": SHARE,
    "refine_mix": Range(_is_mix, "three numbers from 0 to 1 as A,B,C, not all 0", _read_mix),
    "final_mix": SHARE,
    "support_bg_mix": SHARE,
    "rounds": Range(whole(0, 100), "a whole number from 0 to 100", whole_number),
    **dict.fromkeys(LOSSES, WEIGHT),
}


@dataclass(frozen=True)
class Variation:
    """The settings that differ from the paper's, with their names, in the order of RANGES; none: the paper's own."""

    changes: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Variation:
        """The variation that settings make, by name, also of a JSON, whose tuples are lists. Raises ValueError."""
        known = {name: _checked(name, value) for name, value in values.items()}
        return cls(tuple((name, known[name]) for name, usual in USUAL.items() if known.get(name, usual) != usual))

    def updated(self, given: Mapping[str, Any]) -> Variation:
        """This variation with settings of the matching in place of its own.

        Raises UserError for names and values that cannot be, and for weights of the training loss.
        """
        check_training_alone(given)
        try:
            return Variation.of({**dict(self.changes), **given})
        except ValueError as error:
            raise UserError(f"settings: {error}") from error

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        """As --set takes them, one after the other: fg_mix=0 refine_mix=0.5,0.2,0.3."""
        return " ".join(f"{name}={write_value(value)}" for name, value in self.changes)

    def as_dict(self) -> dict[str, Any]:
        """What differs, by name, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.changes}

    def change(self, matching: Matching) -> Matching:
        """A network's settings with these in place of its own."""
        return change_settings(matching, dict(self.changes))

    @property
    def for_files(self) -> str:
        """The same in the names of files: fg_mix=0_bg_mix=1, a digest where that would be long."""
        text = str(self).replace(" ", "_")
        return text if len(text) <= LONGEST else f"set={hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weight of each output of a network in the training loss."""
        known = dict(self.changes)
        return {output: known.get(name, LOSS_WEIGHTS[output]) for name, output in LOSSES.items()}


PAPERS = Variation()  # the paper's settings


def change_settings(matching: Matching, values: Mapping[str, Value]) -> Matching:
    """A network's settings with these values in place of its own; weights of the losses are passed over."""
    return replace(matching, **{name: value for name, value in values.items() if name not in LOSSES})


def is_settings(value: Any) -> bool:
    """Whether a file's value is what Variation.as_dict gives."""
    try:
        return type(value) is dict and Variation.of(value) is not None
    except ValueError:
        return False


def is_tag(value: Any) -> bool:
    """Whether a value can be the tag of a run or result."""
    return type(value) is str and TAG.fullmatch(value) is not None


def write_value(value: Value) -> str:
    """A value as --set takes it, to the last digit."""
    numbers = value if isinstance(value, tuple) else (value,)
    return ",".join(repr(each).removesuffix(".0") for each in numbers)


def parse_setting(word: str, flag: str = "--set") -> tuple[str, Value]:
    """Take NAME=VALUE apart. Raises UserError, which calls the flag by its name, for another name or value."""
    name, equals, text = word.partition("=")
    shown = f"{flag} {printable(word)[:60]}"
    if not equals or name not in RANGES:
        raise UserError(f"{shown}: is not NAME=VALUE with one of the names {', '.join(RANGES)}")
    try:
        return name, _checked(name, RANGES[name].read(text if text.isascii() else ""))
    except ValueError:
        raise UserError(f"{shown}: {name} is {RANGES[name].words} (the paper's: {write_value(USUAL[name])})") from None


def given_settings(words: Sequence[str], without: Sequence[str] = ()) -> dict[str, Value]:
    """The settings that words of --set, NAME=VALUE, and names of --without give, also those that are the paper's.

    Raises UserError for wrong words, and for those that contradict each other.
    """
    given: dict[str, Value] = {}
    for word in words:
        name, value = parse_setting(word)
        if given.setdefault(name, value) != value:
            raise UserError(f"--set gives {name} twice, {write_value(given[name])} and {write_value(value)}; leave one")
    for component, settings in _settings_without(without).items():
        for name, value in settings.items():
            if given.setdefault(name, value) != value:
                told = f"--set {name}={write_value(given[name])} contradicts --without {component}"
                raise UserError(f"{told}, which is {name}={write_value(value)}; leave one of them out")
    return given


def parse_settings(words: Sequence[str], without: Sequence[str] = ()) -> Variation:
    """What differs from the paper's settings by words of --set and names of --without. Raises UserError."""
    return Variation.of(given_settings(words, without))


def _settings_without(components: Sequence[str]) -> dict[str, Mapping[str, Value]]:
    """The settings that take components of the paper out, by component."""
    if unknown := [name for name in components if name not in COMPONENTS]:
        raise UserError(f"--without {printable(unknown[0])[:60]}: is none of {', '.join(COMPONENTS)}")
    found: dict[str, Mapping[str, Value]] = {name: COMPONENTS[name] for name in components}
    if "self-support" in found:
        for part in ("ssfp", "ssbp", "asbp"):
            found.pop(part, None)
    elif {"ssbp", "asbp"} <= found.keys():
        del found["ssbp"], found["asbp"]
        found["ssbp and asbp"] = NO_BACKGROUND
    return found


def check_training_alone(given: Mapping[str, Value]) -> None:
    """Raise UserError if weights of the training loss are given to a program that does not train."""
    if losses := [name for name in given if name in LOSSES]:
        raise UserError(f"{' and '.join(losses)}: the weights of the losses belong to training, give them to main.py")


def check_meaning(given: Mapping[str, Value], method: str, refine: bool) -> None:
    """Raise UserError if a setting that is given means nothing to a network."""
    for name, value in given.items():
        told = f"{name}={write_value(value)}"
        if method == "baseline" and name not in OF_BASELINE:
            raise UserError(f"{told}: the baseline's only setting is {', '.join(OF_BASELINE)}; leave {name} out")
        if not refine and name in OF_REFINEMENT:
            raise UserError(f"{told}: belongs to the refinement; pass --refine, or leave {name} out")


def check_losses(variation: Variation, refine: bool) -> None:
    """Raise UserError if no loss of a training has a weight."""
    weights = variation.loss_weights
    if not any(weight for output, weight in weights.items() if refine or output != "out1"):
        raise UserError("the weights of all losses are 0, so nothing is trained; leave one above 0")


def describe_settings(tested: Variation, trained: Variation) -> str:
    """The settings of a network that is tested or used, beside those that it was trained with; "" for the paper's."""
    if tested == trained:
        return f"settings {tested}, as it was trained" if tested else ""
    return f"settings {str(tested) or 'of the paper'}, trained with {str(trained) or 'those of the paper'}"


def _checked(name: str, value: Any) -> Value:
    """A setting's value in its own type. Raises ValueError for another name, or a value out of range."""
    if name not in RANGES:
        raise ValueError(f"none is called {printable(str(name))[:40]}; there are {', '.join(RANGES)}")
    value = tuple(value) if isinstance(value, list) else value
    if not RANGES[name].rule(value):
        raise ValueError(f"{name} must be {RANGES[name].words}")
    if isinstance(value, tuple):
        return tuple(float(each) + 0.0 for each in value)  # + 0.0 makes 0.0 of -0.0
    return float(value) + 0.0 if isinstance(USUAL[name], float) else value
