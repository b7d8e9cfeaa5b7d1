"""Flags: their ranges, one line for a wrong one, and where the value of a flag that is left out comes from."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
import torch

from engine.evaluation.protocol import HSNET, PAPER, Protocol
from engine.options import (
    check_engine,
    default_device,
    expand_home,
    make_parser,
    parse_flags,
    positive,
    resolve_setting,
    side,
    whole,
)
from engine.setting import Setting
from util.errors import UserError

ROOT = ["--data-root", "somewhere"]


def failure(argv: list[str]) -> str:
    with pytest.raises(UserError) as excinfo:
        make_parser("description").parse_args(argv)
    message = str(excinfo.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (whole(0, 3), "0", 0),
        (whole(0, 3), " 2", 2),
        (whole(1), "1000000", 10**6),
        (positive, "1e-3", 1e-3),
        (side, "0", 0),
        (side, "32", 32),
        (side, "65536", 65536),
    ],
)
def test_numbers(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        *((whole(0, 3), text, "whole number from 0 to 3") for text in ("4", "-1", "1.0", "one", "", "1e3")),
        (whole(1), "0", "whole number of at least 1"),
        *((positive, text, "positive number") for text in ("0", "-1", "nan", "inf", "-inf", "much", "")),
    ],
)
def test_what_is_no_number(parse: Callable[[str], float], text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' is not a {says}$"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("31", "is less than 32 pixels; 0 is the image's own size"),
        ("-1", "is not a whole number of at least 0"),
        ("65537", "is more than 65536"),
        ("own", "is not a whole number of at least 0"),
    ],
)
def test_what_is_no_side(text: str, says: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' {says}$"):
        side(text)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--fold 100", "argument --fold: '100' is not a whole number from 0 to 99"),
        ("--fold -1", "argument --fold: '-1' is not a whole number from 0 to 99"),
        ("--shot 0", "argument --shot: '0' is not a whole number from 1 to 100"),
        ("--seed -1", "argument --seed: '-1' is not a whole number from 0 to 2147483647"),
        ("--seeds 0", "argument --seeds: '0' is not"),
        ("--workers many", "argument --workers: 'many' is not"),
        ("--backbone resnet18", "argument --backbone: invalid choice: 'resnet18'"),
        ("--dataset imagenet", "argument --dataset: invalid choice: 'imagenet'"),
        ("--method sss", "argument --method: invalid choice: 'sss'"),
        ("--refined", "unrecognized arguments: --refined"),
        ("--back resnet50", "unrecognized arguments: --back"),
        ("--shot", "argument --shot: expected one argument"),
    ],
)
def test_wrong_flags_are_one_line(flags: str, says: str) -> None:
    message = failure([*ROOT, *flags.split()])
    assert message.startswith(says)
    assert message.endswith("--help)")


def test_the_reference_engine_runs_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    check_engine("plain")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # as torchrun does
    check_engine("planned")
    with pytest.raises(UserError, match=r"^--engine plain, the reference, runs in one process"):
        check_engine("plain")


@pytest.mark.parametrize("name", ["nowhere", "cuda:99", "cpu:x", "", "meta"])
def test_devices_that_are_not_there_are_one_line(name: str) -> None:
    message = failure([*ROOT, "--device", name])
    assert message.startswith(f"argument --device: {name!r} cannot be used: ")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--data-root=~/data", "--data-root=/home/me/data"),
        ("--out=~", "--out=/home/me"),
        ("~/data", "/home/me/data"),
        ("--out=data/~/x", "--out=data/~/x"),
        ("--refine", "--refine"),
        ("a=~/b", "a=~/b"),
    ],
)
def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, word: str, expected: str) -> None:
    """Shells do not where a word begins with a flag."""
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(word) == expected


def test_flags_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert make_parser("").parse_args(["--data-root=~/x"]).data_root == "/home/me/x"


def test_data_root_is_required() -> None:
    assert failure([]).startswith("the following arguments are required: --data-root")


def resolved(flags: str, info: dict | None, protocol: Protocol = PAPER) -> Setting:
    args = make_parser("description").parse_args([*ROOT, *flags.split()])
    return resolve_setting(vars(args), info, protocol)


def test_defaults() -> None:
    assert resolved("", None) == Setting("pascal", None, 0, 1, "resnet50", "ssp", False)
    flags = parse_flags(make_parser("description"), ROOT)
    assert (flags.seed, flags.seeds, flags.data_root, flags.device) == (0, 5, "somewhere", None)
    with pytest.raises(AttributeError):  # a record
        flags.seed = 1
    assert parse_flags(make_parser("description"), [*ROOT, "--device", "cpu"]).device == torch.device("cpu")
    assert default_device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")


CONTIGUOUS = {"dataset": "coco", "class_order": "contiguous", "fold": 2, "shot": 5, "refine": True, "miou": 61.4}


@pytest.mark.parametrize(
    ("flags", "info", "protocol", "expected"),
    [
        ("--fold 0", {"dataset": "pascal", "fold": 3, "shot": 5, "refine": True}, PAPER, Setting(shot=5, refine=True)),
        ("--no-refine", {"refine": True}, PAPER, Setting()),
        ("--refine", {"refine": False}, PAPER, Setting(refine=True)),
        ("--dataset fss", {}, PAPER, Setting("fss", fold=None)),
        ("", CONTIGUOUS, PAPER, Setting("coco", "contiguous", 2, 5, refine=True)),
        ("", CONTIGUOUS, HSNET, Setting("coco", "interleaved", 2, 5)),  # refines only by flag
        ("--dataset pascal", CONTIGUOUS, PAPER, Setting(shot=5, refine=True)),  # a fold of coco is none of pascal's
        ("--method baseline", None, PAPER, Setting(method="baseline")),
    ],
)
def test_flags_then_the_checkpoint_then_defaults(
    flags: str, info: dict | None, protocol: Protocol, expected: Setting
) -> None:
    assert resolved(flags, info, protocol) == expected


def test_the_baseline_has_nothing_to_refine() -> None:
    for flags, info in (("--method baseline --refine", None), ("--refine", {"method": "baseline"})):
        with pytest.raises(UserError, match=r"^--refine belongs to --method ssp"):
            resolved(flags, info)
