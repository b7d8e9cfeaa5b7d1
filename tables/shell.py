"""The shell scripts all.sh, test.sh and reproduce.sh: their settings NAME=VALUE, and the programs that they run.

A setting is an argument of the script or a variable of the environment. It is the flag of its name, such as --data-root
for DATA_ROOT, but for those that are read here.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock, Thread
from types import FrameType
from typing import Any, TextIO

from dataset import DATASETS, find_benchmark
from dataset.pascal import Pascal
from engine.evaluation.protocol import PAPER
from util.distributed import say
from util.errors import UserError, first_line
from util.interrupts import SIGNALS
from util.table import align_columns

HERE = Path(__file__).parents[1]
ALL, TEST, REPRODUCE = SCRIPTS = ("all.sh", "test.sh", "reproduce.sh")
USAGE = {
    ALL: """\
Train all folds of a setting, one after the other, or with GPUS one on each GPU. What is finished is skipped, what was
interrupted goes on; the first failure stops it, with GPUS once the other folds are done.

    ./all.sh DATASET=pascal DATA_ROOT=../Datasets_SSP BACKBONE=resnet50 SHOT=1
    GPUS="0 1 2 3" ./all.sh
    ./all.sh DATASET=coco CLASS_ORDER=contiguous SHOT=5 FOLDS="0 2" -- --accumulate 2
    PYTHON="torchrun --nproc-per-node 4" ./all.sh""",
    TEST: """\
Test the checkpoints of all folds of a setting and write the results to OUT/results, for report.py. A result that is
there, of the same weights, data and flags, is not computed again; the first failure stops it.

    ./test.sh DATASET=pascal DATA_ROOT=../Datasets_SSP BACKBONE=resnet50 SHOT=1
    ./test.sh CHECKPOINT='authors/fold{fold}_r50.pth' TRAINED_ON='{fold}' REFINE=1
    ./hsnet_test.sh DATASET=coco SPLITS=../hsnet/data/splits     the same as ./test.sh PROTOCOL=hsnet ...

With CHECKPOINT, what is not set is as the checkpoint says.""",
    REPRODUCE: """\
Measure the published tables with the authors' weights: fetch what is missing, look at each dataset once, test each fold
as it was published, and print paper, measured, difference, spread and a verdict for each cell. What is finished is
skipped; what fails is named at the end, with exit code 1, and does not stop the others.

    ./reproduce.sh DATA_ROOT=../Datasets_SSP SPLITS=../hsnet/data/splits
    ./reproduce.sh DATA_ROOT=../Datasets_SSP DATASET=pascal BACKBONE=resnet50 SHOT=1
    PYTHON="torchrun --nproc-per-node 4" ./reproduce.sh DATA_ROOT=../Datasets_SSP DATASET=pascal""",
}
FOLDED, TABLES = (ALL, TEST), (REPRODUCE,)
SETTINGS = (  # name, scripts, and what it is, with the default in brackets
    ("DATASET", FOLDED, "pascal, coco or fss, which has no folds (pascal)"),
    ("DATASET", TABLES, "pascal, coco or fss (those that are there)"),
    ("DATA_ROOT", SCRIPTS, "the folder that holds the datasets (../Datasets_SSP)"),
    ("BACKBONE", FOLDED, "resnet50, resnet101, timm:NAME, FILE.py:CLASS (resnet50)"),
    ("BACKBONE", TABLES, "resnet50 or resnet101 (both)"),
    ("SHOT", FOLDED, "supports of an episode (1)"),
    ("SHOT", TABLES, "1 or 5 (both)"),
    ("METHOD", FOLDED, "ssp, baseline, FILE.py:CLASS (ssp)"),
    ("METHOD", TABLES, "ssp or baseline (both)"),
    ("REFINE", (ALL,), "1 or 0: the self-support refinement (1 of ssp, as in the paper's tables)"),
    ("REFINE", (TEST,), "1 or 0: the self-support refinement (what the checkpoint says; in HSNet's protocol 0)"),
    ("CLASS_ORDER", (ALL,), "of coco: contiguous or interleaved"),
    ("CLASS_ORDER", (TEST,), "of coco: contiguous or interleaved (in HSNet's protocol interleaved)"),
    ("SPLITS", SCRIPTS, "HSNet's data/splits, for its protocol, and for fss without lists"),
    ("FOLDS", SCRIPTS, 'such as "0 2" (all of the dataset)'),
    ("GPUS", FOLDED, 'such as "0 1 2 3": a fold on each at a time; "0,1 2,3": on each pair (one fold at a time)'),
    ("PROTOCOL", (TEST,), "ssp, the paper's own, or hsnet (ssp)"),
    ("PROTOCOL", TABLES, "ssp, the paper's own, or hsnet (both)"),
    ("CHECKPOINT", (TEST,), "a file, or a folder that holds one, with {fold} for the number (the run's own below OUT)"),
    ("TRAINED_ON", (TEST,), "what a .pth was trained on, such as contiguous:{fold} (test.py --trained-on)"),
    ("AUTHORS", TABLES, "folder of the authors' weights (pretrained/authors)"),
    ("MIRROR", TABLES, "fetch them from MIRROR/NAME (Google Drive)"),
    ("TRAIN", TABLES, "1: train every row instead, as the authors did"),
    ("VERIFY", TABLES, "0: do not open every file of a dataset first"),
    ("OUT", SCRIPTS, "folder for everything written (outdir)"),
    ("PYTHON", SCRIPTS, "a file, or a command with its flags, that runs main.py and test.py (python)"),
)
READ_HERE = ("REFINE", "FOLDS", "GPUS", "TRAIN", "VERIFY", "PYTHON")
PASSED_ON = [number for number in SIGNALS if number != signal.SIGINT]  # a terminal sends Ctrl-C to all by itself
DEFAULTS = {"DATA_ROOT": "../Datasets_SSP", "OUT": "outdir", "PYTHON": sys.executable}


def settings_of(script: str) -> dict[str, str]:
    """The names of a script's settings, and what they are."""
    return {name: text for name, scripts, text in SETTINGS if script in scripts}


def usage(script: str) -> str:
    """What --help prints."""
    lines = align_columns(list(settings_of(script).items()), left=(0, 1))
    end = "Each is set as an argument or as a variable of the environment. Flags after -- go to main.py or test.py."
    return "\n".join([USAGE[script], "", *lines, "", end])


def read_settings(script: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The settings of a script, without those that are empty, and the flags after --.

    Raises UserError for words that are neither.
    """
    names = settings_of(script)
    given = {name: os.environ.get(name, "") for name in names}
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
        name, is_setting, value = word.partition("=")
        if not is_setting or not name[:1].isupper():
            raise UserError(
                f"{word}: settings are NAME=VALUE, and flags of the Python script come after --; see ./{script} --help"
            )
        if name not in names:
            raise UserError(f"{name}: no such setting; there are {' '.join(names)}")
        given[name] = value
    settings = DEFAULTS | {name: value for name, value in given.items() if value}
    if script == ALL and settings.get("METHOD", "ssp") == "ssp":
        settings.setdefault("REFINE", "1")  # as in the paper's tables
    if settings.get("REFINE", "0") not in ("0", "1"):
        raise UserError(f"REFINE={settings['REFINE']}: must be 1 or 0")
    return settings, list(words[end + 1 :])


def _flags(settings: Mapping[str, str]) -> list[str]:
    """The flags that are named as the settings are."""
    given = {name: value for name, value in settings.items() if name not in READ_HERE}
    return [word for name, value in given.items() for word in (f"--{name.lower().replace('_', '-')}", value)]


def table_flags(settings: Mapping[str, str], more: Sequence[str]) -> list[str]:
    """The flags of reproduce.py for the settings of reproduce.sh."""
    train = ["--train"] if settings.get("TRAIN", "0") != "0" else []
    verify = ["--no-verify"] if settings.get("VERIFY") == "0" else []
    folds = ["--folds", *settings["FOLDS"].split()] if "FOLDS" in settings else []
    return [*_flags(settings), *train, *verify, "--python", settings["PYTHON"], *folds, "--", *more]


def fold_commands(script: str, settings: Mapping[str, str], more: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The trainings of all.sh, or the tests of test.sh: for each fold a headline and the command."""
    name = settings.get("DATASET")
    benchmark = find_benchmark(name, settings.get("DATA_ROOT")) if name in DATASETS else Pascal
    folds = benchmark.folds  # of an unknown dataset the program tells
    refine = {"1": ["--refine"], "0": ["--no-refine"]}.get(settings.get("REFINE", ""), [])
    device = ["--device", "cuda"] if "GPUS" in settings else []
    if folds == (None,):
        folds = [""]
    elif "FOLDS" in settings:
        folds = settings["FOLDS"].split()
    for fold in map(str, folds):
        of_fold = f", fold {fold}" if fold else ""
        of_each = {name: value.replace("{fold}", fold) for name, value in settings.items()}
        flags = [*_flags(of_each), *refine, *(["--fold", fold] if fold else []), *device]
        if script == ALL:
            headline, program = f"training{of_fold}", ["main.py", *flags, "--resume"]
        else:
            headline = f"testing{of_fold}, protocol {settings.get('PROTOCOL', PAPER.name)}"
            program = ["test.py", *flags, "--results", f"{of_each['OUT']}/results"]
        yield headline, [*split_command(settings["PYTHON"]), str(HERE / program[0]), *program[1:], *more]


def split_command(text: str) -> list[str]:
    """The words of what PYTHON and --python name: a file, also with spaces, or a command with its flags.

    Raises UserError for a text that a shell would not take either.
    """
    if os.access(text, os.X_OK):
        return [text]
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--python (PYTHON) {text}: {first_line(error)}; quote as in a shell") from error
    if not words:
        raise UserError("--python (PYTHON): names no command; leave it out, or name one")
    return words


def run_program(words: Sequence[str]) -> int:
    """Run a program to its end and return its exit code, as a shell gives it.

    It gets Ctrl-C by itself; other signals are passed on to it. Raises KeyboardInterrupt if one of them ended it.
    """
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []  # signals that came while it was started

    def pass_on(number: int, _: FrameType | None) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    with _handle_signals(PASSED_ON, pass_on):
        process = subprocess.Popen(words)
        started.append(process)
        for number in early:
            process.send_signal(number)
        while process.returncode is None:
            with suppress(KeyboardInterrupt):
                process.wait()
    if process.returncode == 130 or -process.returncode in SIGNALS:
        raise KeyboardInterrupt
    return _exit_code(process)


def run_on_gpus(programs: Iterable[tuple[str, Sequence[str]]], gpus: Sequence[str]) -> dict[str, int]:
    """Run programs, each with a headline, one at a time on each GPU; the exit codes of those that fail, by headline.

    A program sees no GPU but its own, and its lines begin with its headline. One that fails does not stop the others.
    Signals reach all as in run_program, and when all have ended KeyboardInterrupt is raised.
    """
    waiting = iter(list(programs))
    running: list[subprocess.Popen[str]] = []
    signals: list[int] = []
    failed: dict[str, int] = {}
    # A signal comes before a program is started, which then is not, or after, and is passed on to it. Reentrant, as a
    # second signal may come while the first is passed on.
    starting = RLock()

    def start(gpu: str) -> tuple[str, subprocess.Popen[str]] | None:
        with starting:
            if signals or not (program := next(waiting, None)):
                return None
            headline, words = program
            say(f"== {headline}, on GPU {gpu} ==")
            process = subprocess.Popen(
                words, env=os.environ | {"CUDA_VISIBLE_DEVICES": gpu},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            )  # fmt: skip
            running.append(process)
            return headline, process

    def work(gpu: str) -> None:
        while program := start(gpu):
            headline, process = program
            errors = Thread(target=_repeat, args=(headline, process.stderr, sys.stderr))
            errors.start()
            _repeat(headline, process.stdout, sys.stdout)
            errors.join()
            process.wait()
            if code := _exit_code(process):
                failed[headline] = code

    def stop(number: int, _: FrameType | None) -> None:
        with starting:
            signals.append(number)
            for process in running if number in PASSED_ON else ():
                process.send_signal(number)

    with _handle_signals(SIGNALS, stop), ThreadPoolExecutor(len(gpus)) as pool:
        works = [pool.submit(work, gpu) for gpu in gpus]
    if signals:
        raise KeyboardInterrupt
    for each in works:
        each.result()  # raises what kept a program from being started
    return failed


def _repeat(headline: str, lines: Iterable[str], file: TextIO) -> None:
    for line in lines:
        say(f"{headline}: {line.rstrip()}", file=file)


def _exit_code(process: subprocess.Popen[Any]) -> int:
    """As a shell gives it."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@contextmanager
def _handle_signals(numbers: Iterable[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
