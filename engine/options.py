"""The flags that the scripts share, and one-line errors for wrong ones."""

from __future__ import annotations

import argparse
import os
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dataset import DATASETS, find_benchmark
from dataset.coco import CLASS_ORDERS
from dataset.own import MOST_FOLDS, Own
from engine.evaluation.protocol import HSNET, PAPER, Protocol
from engine.setting import CACHE_GB, ENGINES, MAX_SIDE, MIN_SIDE, RECIPE, Setting
from engine.variation import COMPONENTS, RANGES, TAG_RULE, Variation, check_meaning, is_tag
from model.names import BACKBONES, METHODS, is_backbone, is_method, timm_name
from util.distributed import is_first_here, launched, say_once
from util.errors import UserError, fills_memory, first_line
from util.gpu import why_no_gpu
from util.numbers import LARGEST, is_whole, whole_number

if TYPE_CHECKING:  # scripts answer --help and wrong flags before torch is imported
    import torch

LARGEST_COUNT = 10**6  # what is counted is kept in memory
BACKBONE_CHOICES = f"{', '.join(BACKBONES)}, timm:NAME, or FILE.py:CLASS of your own"  # what --backbone takes
METHOD_CHOICES = f"{', '.join(METHODS)}, or FILE.py:CLASS of your own"  # what --method takes


class OneLineParser(argparse.ArgumentParser):
    """argparse, with its errors as UserErrors: one line, exit code 2."""

    def __init__(self, description: str, **options: Any) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=raw, allow_abbrev=False, **options)

    def parse_args(self, argv: list[str] | None = None) -> argparse.Namespace:
        """The flags. An empty value, such as that of a shell's variable that is not set, is never meant.

        A value that begins with ~ is a path in a home folder; shells expand it only where a word begins with it.
        """
        argv = [expand_home(word) for word in (sys.argv[1:] if argv is None else argv)]
        args = super().parse_args(argv)  # in which numbers and names have lines of their own
        flag = self.prog
        for word in argv:
            flag = word if word.startswith("--") else flag
            if word == "" or (word.startswith("--") and word.endswith("=")):
                raise UserError(f"{flag.rstrip('=')}: its value is empty; name one")
        return args

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def expand_home(word: str) -> str:
    """A word of a command line with the home folder in place of ~, also in --flag=~/folder."""
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{os.path.expanduser(value)}"


def parse_flags(parser: argparse.ArgumentParser, argv: list[str] | None) -> Any:
    """Parse flags into a frozen record with a field for each."""
    values = vars(parser.parse_args(argv))
    return namedtuple("Flags", values)(**values)


def make_parser(description: str, known: str = "") -> argparse.ArgumentParser:
    """A parser with the flags that main.py and test.py share; a default of None is resolved later.

    known: for the help, what comes before the defaults, such as "the checkpoint's, else ".
    """
    parser = OneLineParser(description)
    add = parser.add_argument
    add("--dataset", choices=tuple(DATASETS), help=f"benchmark (default {known}pascal)")
    add("--data-root", required=True, metavar="DIR", help="the dataset's folder, or the folder that holds it")
    add_network(parser, f"(default {known}resnet50)", f"(default {known}ssp)")
    add("--fold", type=whole(0, MOST_FOLDS - 1), help=f"which classes are novel, 0 to 3 (default {known}0)")
    add("--class-order", choices=CLASS_ORDERS, help="folds of coco: contiguous (the paper's) or interleaved (HSNet's)")
    add("--splits", metavar="DIR", help="HSNet's data/splits: the classes of fss, the episodes of HSNet's protocol")
    add("--shot", type=whole(1, 100), help=f"support images of an episode (default {known}1)")
    add("--refine", action=argparse.BooleanOptionalAction, help=f"the self-support refinement (default {known}off)")
    add("--seed", type=whole(0, 2**31 - 1), default=0, help="seed of all random draws (default 0)")
    add("--seeds", type=whole(1, 1000), default=PAPER.seeds, help=f"number of seeds to test on (default {PAPER.seeds})")
    add("--engine", choices=ENGINES, default="planned", help="of evaluation; plain is the reference (default planned)")
    add("--cache-gb", type=positive, default=CACHE_GB, help="memory for images and features (default %(default)s)")
    add("--device", type=device, help="cpu, cuda, cuda:1 or 1, mps, auto (default auto: cuda if any)")
    workers = min(4, os.cpu_count() or 1)
    add("--workers", type=whole(0, 256), default=workers, help="loader processes (default %(default)s)")
    return parser


def add_network(parser: argparse.ArgumentParser, default_backbone: str, default_method: str) -> None:
    """The flags of backbone and head; what stands behind "default" is for the help."""
    add = parser.add_argument
    add("--backbone", type=backbone_name, metavar="BACKBONE", help=f"{BACKBONE_CHOICES} {default_backbone}")
    add("--method", type=method_name, metavar="METHOD", help=f"{METHOD_CHOICES} {default_method}")


def add_weights(parser: argparse.ArgumentParser) -> None:
    """The flags of a network that need not be trained."""
    checkpoint_help = "a trained network, or a folder that holds exactly one (default: none, nothing was trained)"
    parser.add_argument("--checkpoint", metavar="PATH", help=checkpoint_help)
    weights_help = "without --checkpoint: a file of the backbone's weights (default timm's, or the best at hand)"
    parser.add_argument("--weights", "--pretrained", metavar="FILE", help=weights_help)
    add_network(parser, "(default the checkpoint's, or the best at hand)", "(default the checkpoint's, or ssp)")


def add_matching(parser: argparse.ArgumentParser) -> None:
    """The flags of how such a network matches."""
    refine_help = "the self-support refinement (default: as the checkpoint says; untrained: on)"
    parser.add_argument("--refine", action=argparse.BooleanOptionalAction, help=refine_help)
    add_settings(parser, "those it was trained with, else ")


def add_start(parser: argparse.ArgumentParser) -> None:
    """The flags of the backbone that a training starts from."""
    add = parser.add_argument
    add(
        "--pretrained",
        metavar="FILE",
        help="the backbone's weights: a file, timm (timm's own), or none (default pretrained/BACKBONE.pth; timm of "
        "timm:NAME; FILE.py:CLASS as it is made)",
    )
    stages_help = "stages of timm:NAME to take (default the last of stride 16 at most)"
    add("--features", type=stages, metavar="STAGE[,STAGE]", help=stages_help)
    frozen_help = "keep the backbone as it is; --episode 0 then tests its features untrained"
    add("--frozen", action="store_true", default=None, help=frozen_help)


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """The flags of how long a training is, and of its steps."""
    add = parser.add_argument
    parts, size = whole(1, most=4096), RECIPE.batch_size
    add("--batch-size", type=parts, default=size, help="episodes of a step in all (default %(default)s)")
    add("--accumulate", type=parts, default=1, help="split a batch into parts, for less memory (default %(default)s)")
    add("--lr", type=positive, default=RECIPE.lr, help="initial learning rate (default %(default)s)")
    add("--crop-size", type=whole(33, 4096), help="side of training crops (default 473, fss 225)")
    add("--episode", type=whole(0), default=RECIPE.episodes, help="number of training episodes (default %(default)s)")
    add("--snapshot", type=whole(1), default=RECIPE.snapshot, help="episodes between evaluations (default %(default)s)")
    add("--test-episodes", type=whole(1), help="episodes of an evaluation seed (default the protocol's)")


def add_settings(parser: argparse.ArgumentParser, known: str = "") -> None:
    """The flags of the method's settings. known: for the help, as of make_parser."""
    add = parser.add_argument
    names = ", ".join(RANGES)
    set_help = f"change a setting (docs/method.md), again for each: {names} (default {known}the paper's)"
    add("--set", action="append", default=[], metavar="NAME=VALUE", help=set_help)
    without_help = f"take a component of the paper out, again for each: {', '.join(COMPONENTS)} (docs/ablation.md)"
    add("--without", action="append", default=[], metavar="COMPONENT", help=without_help)


def add_tag(parser: argparse.ArgumentParser, known: str = "") -> None:
    """The flag of a name of one's own. known: for the help, as of make_parser."""
    tag_help = f"a name for the run or result, in its files and the report: {TAG_RULE} (default {known}none)"
    parser.add_argument("--tag", type=tag, metavar="NAME", help=tag_help)


def add_max_side(parser: argparse.ArgumentParser, default: int = MAX_SIDE) -> None:
    """The flag of the size in which a user's own images are segmented."""
    parser.add_argument(
        "--max-side",
        type=side,
        default=default,
        metavar="PIXELS",
        help="larger images are segmented in this size, with 0 in their own; time grows with its fourth power (default "
        "%(default)s)",
    )


@contextmanager
def memory_errors(max_side: int) -> Iterator[None]:
    """Turn a lack of memory, the GPU's or the machine's, into a UserError that names --max-side."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if fills_memory(error):
            now = max_side or "the image's own size"
            raise UserError(f"memory is full; lower --max-side, now {now}") from error
        raise


def parse_name(is_known: Callable[[str], bool], choices: str) -> Callable[[str], str]:
    """An argparse type: a name that is known, in one spelling."""

    def parse(text: str) -> str:
        if not is_known(text):
            raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {choices})")
        return timm.spelled if (timm := timm_name(text)) else text

    return parse


backbone_name = parse_name(is_backbone, BACKBONE_CHOICES)
method_name = parse_name(is_method, METHOD_CHOICES)


def tag(text: str) -> str:
    """An argparse type: a name for files and tables."""
    if not is_tag(text):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no tag: {TAG_RULE}")
    return text


def stages(text: str) -> tuple[int, ...]:
    """An argparse type: numbers of stages."""
    numbers = text.split(",")
    if not all(number.isascii() and number.isdecimal() and len(number) < 4 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not STAGE or STAGE,STAGE, whole numbers from 0 on")
    return tuple(map(int, numbers))


def whole(low: int, high: int | None = None, most: int = LARGEST_COUNT) -> Callable[[str], int]:
    """An argparse type: a whole number in [low, high], or from low on, up to more than anybody uses."""

    def parse(text: str) -> int:
        limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
        try:
            value = whole_number(text)
        except ValueError:
            value = low - 1
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r:.40} is not a whole number {limits}")
        if high is None and value > most:
            raise argparse.ArgumentTypeError(f"{text!r:.40} is more than {most}")
        return value

    return parse


def side(text: str) -> int:
    """An argparse type: how many pixels the longer side of an image has at most; 0 for no limit."""
    value = whole(0, most=2**16)(text)
    if 0 < value < MIN_SIDE:
        raise argparse.ArgumentTypeError(f"{text!r} is less than {MIN_SIDE} pixels; 0 is the image's own size")
    return value


def positive(text: str) -> float:
    """An argparse type: a positive number, of at most LARGEST."""
    value = number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r:.40} is not a positive number")
    if value > LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is more than {LARGEST:g}")
    return value


def number(text: str) -> float:
    """The number of a text in ASCII; nan if it is none."""
    try:
        return float(text) if text.isascii() else float("nan")
    except ValueError:
        return float("nan")


def device(text: str) -> torch.device:
    """An argparse type: a device that this machine has; a number is a GPU's, auto what is used by default."""
    import torch

    try:
        if text == "auto":
            return default_device()
        chosen = torch.device(f"cuda:{text}" if is_whole(text) else text)
        if chosen.type == "mps" and not torch.backends.mps.is_available():
            raise argparse.ArgumentTypeError(f"{text!r} needs the GPU of a Mac; leave the flag out")
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: {first_line(error)[:200]}") from error
    return chosen


def check_engine(engine: str) -> None:
    """Raise UserError if the plain engine, which is the reference, is to run in several processes."""
    if engine == "plain" and launched():
        raise UserError("--engine plain, the reference, runs in one process; start it with python, not torchrun")


def default_device() -> torch.device:
    """CUDA if there is one, else the CPU, with a line that says why if an NVIDIA GPU is left unused."""
    import torch

    if is_first_here() and (reason := why_no_gpu()):
        line = f"note: runs on the CPU, as PyTorch cannot use this machine's NVIDIA GPU ({reason})"
        say_once(f"{line}; docs/start.md tells how to mend it, --device cpu leaves this note out")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def resolve_setting(
    given: Mapping[str, Any],
    info: Mapping[str, Any] | None = None,
    protocol: Protocol = PAPER,
    root: str | Path | None = None,
) -> Setting:
    """The setting that flags ask for (None: not given); what no flag tells a checkpoint does, then the defaults.

    HSNet's protocol has a class order of its own, and refines only by flag, as the release does. Settings of the method
    are given by name ("settings"), as engine.variation.given_settings reads them. root: the dataset's folder, which of
    own data says which folds there are.
    Raises UserError if flags contradict each other.
    """
    known = dict(info or {})
    benchmark = find_benchmark(given["dataset"] or known.get("dataset", Setting.dataset), root)
    if known.get("dataset") != benchmark.name:
        known |= {"fold": None, "class_order": None}
    if protocol == HSNET:
        known |= {"refine": False, "class_order": benchmark.hsnet_order}
        if given["class_order"] not in (None, benchmark.hsnet_order) and given["class_order"] in benchmark.class_orders:
            raise UserError(f"--class-order: HSNet's protocol tests {benchmark.hsnet_order} folds; leave the flag out")
    values = {}
    for name, default in {**Setting().as_dict(), "dataset": benchmark.name, "fold": benchmark.folds[0]}.items():
        told = (value for value in (given[name], known.get(name)) if value is not None)
        values[name] = next(told, default)
    timm = timm_name(values["backbone"])
    if features := given.get("features"):
        if timm is None or timm.stages:
            raise UserError(f"--features belongs to --backbone timm:NAME, not to {values['backbone']}")
        timm = timm._replace(stages=features)
    values["backbone"] = timm.spelled if timm else values["backbone"]
    fold, order, name = values["fold"], values["class_order"], benchmark.name
    if fold not in benchmark.folds:
        if benchmark.folds == (None,):
            what = "every class is novel" if name == Own.name else "its test classes are a list"
            raise UserError(f"--fold {fold}: {name} has no folds, {what}; leave the flag out")
        raise UserError(f"--fold {fold}: {name} has the folds 0 to {benchmark.folds[-1]}; name one of them")
    if order not in benchmark.class_orders:
        if order is not None:
            raise UserError(f"--class-order {order} belongs to --dataset coco, {name} has but one order")
        orders = "contiguous (the paper's own) or interleaved (HSNet's)"
        raise UserError(f"--dataset {name} needs --class-order: {orders}")
    settings = given.get("settings") or {}
    variation = Variation.of({**(known.get("settings") or {}), **settings})
    try:
        setting = replace(Setting.of(values), variation=variation, tag=given.get("tag") or known.get("tag"))
    except ValueError as error:
        raise UserError("--refine belongs to --method ssp, the baseline has nothing to refine") from error
    check_meaning(settings, setting.method, setting.refine)
    return setting
