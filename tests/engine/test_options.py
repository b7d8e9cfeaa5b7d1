"""Flags: their ranges, one line for a wrong one, and where the value of a flag that is left out comes from."""

from __future__ import annotations

import argparse

import pytest
import torch

from engine.options import check_engine, default_device, make_parser, positive, resolve_setting, whole
from util.errors import UserError

ROOT = ["--data-root", "somewhere"]


def failure(argv: list[str]) -> str:
    with pytest.raises(UserError) as excinfo:
        make_parser("description").parse_args(argv)
    message = str(excinfo.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("3", 3), (" 2", 2)])
def test_whole_numbers(text: str, value: int) -> None:
    assert whole(0, 3)(text) == value


@pytest.mark.parametrize("text", ["4", "-1", "1.0", "one", "", "1e3"])
def test_not_whole_numbers(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' is not a whole number from 0 to 3$"):
        whole(0, 3)(text)


def test_whole_numbers_without_an_end() -> None:
    assert whole(1)("1000000") == 1000000
    with pytest.raises(argparse.ArgumentTypeError, match=r"^'0' is not a whole number of at least 1$"):
        whole(1)("0")


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("2", 2.0)])
def test_positive_numbers(text: str, value: float) -> None:
    assert positive(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "much", ""])
def test_not_positive_numbers(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' is not a positive number$"):
        positive(text)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--fold 4", "argument --fold: '4' is not a whole number from 0 to 3"),
        ("--fold -1", "argument --fold: '-1' is not a whole number from 0 to 3"),
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


def test_data_root_is_required() -> None:
    assert failure([]).startswith("the following arguments are required: --data-root")


def settled(flags: str, known: dict | None = None) -> argparse.Namespace:
    args = make_parser("description").parse_args([*ROOT, *flags.split()])
    vars(args).update(resolve_setting(vars(args), known).as_dict())
    return args


def test_defaults() -> None:
    args = settled("")
    expected = {"dataset": "pascal", "backbone": "resnet50", "method": "ssp", "fold": 0, "shot": 1, "refine": False}
    assert {name: getattr(args, name) for name in expected} == expected
    assert (args.seed, args.seeds, args.data_root) == (0, 5, "somewhere")
    assert args.device is None
    assert default_device() == torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_flags_then_the_checkpoint_then_defaults() -> None:
    known = {"fold": 3, "shot": 5, "refine": True, "miou": 61.4}
    args = settled("--fold 0 --device cpu", known)
    assert (args.fold, args.shot, args.refine, args.backbone) == (0, 5, True, "resnet50")
    assert settled("--no-refine", known).refine is False
    assert settled("--refine", {"refine": False}).refine is True
    assert settled("--device cpu").device == torch.device("cpu")
    assert not hasattr(args, "miou")


def test_the_baseline_has_nothing_to_refine() -> None:
    assert settled("--method baseline").refine is False
    for flags, known in (("--method baseline --refine", None), ("--refine", {"method": "baseline"})):
        with pytest.raises(UserError, match=r"^--refine belongs to --method ssp"):
            settled(flags, known)
