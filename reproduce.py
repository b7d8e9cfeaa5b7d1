"""Measure the published tables: with the authors' weights, or by training.

    python reproduce.py --data-root ../Datasets_SSP --splits ../hsnet/data/splits     every row whose dataset is there
    python reproduce.py --data-root ../Datasets_SSP --dataset pascal --shot 1         the rows of Pascal-5i, 1-shot
    python reproduce.py --data-root ../Datasets_SSP --dataset pascal --train          the same rows by training

./reproduce.sh is the same with settings such as DATA_ROOT=../Datasets_SSP. For each published row the program fetches
the authors' weights of each fold, tests them as the row was published, and prints a verdict for each cell. What is
finished is skipped; a row that fails does not stop the others: it is named at the end, and the exit code is 1. Flags
after -- go to test.py, with --train to main.py.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import test as testing
import util.launch
from dataset import DATASETS, FOLDS
from engine.evaluation.estimate import duration
from engine.evaluation.protocol import HSNET, PAPER, PROTOCOLS, Protocol
from engine.evaluation.result import find_results
from engine.options import OneLineParser, add_schedule, default_device, device, whole
from engine.recorded import is_recorded
from engine.setting import AUTHORS, OWN, RECIPE, RELEASED_ORDER, Schedule, Setting
from model import BACKBONES, METHODS
from tables.authors import FOLDER as AUTHORS_FOLDER
from tables.authors import AuthorsWeights, choose
from tables.commands import (
    home_of,
    is_of_other,
    newest_checkpoint,
    test_command,
    training_command,
    training_setting,
)
from tables.cost import Budget, estimate_tests, estimate_trainings
from tables.download import need_gdown
from tables.paper import PUBLISHED
from tables.provide import provide
from tables.tables import Row, Table, make_tables, row_name, title
from tables.verdict import verdicts
from util.distributed import say
from util.errors import UserError
from util.files import check_writable, read_json
from util.interrupts import SIGNALS

HERE = Path(__file__).parent


class Cell(NamedTuple):
    """A cell of a published row: one fold, in one protocol."""

    protocol: Protocol
    setting: Setting
    weights: AuthorsWeights | None  # None: they are trained

    @property
    def name(self) -> str:
        fold = "" if self.setting.fold is None else f", fold {self.setting.fold}"
        row = Row(self.protocol, self.setting, "", ())
        return f"{title(row)}: {row_name(self.setting)}{fold}"


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="the folder that holds the datasets")
    add("--dataset", choices=tuple(DATASETS), help="only this benchmark (default: those that are there)")
    add("--method", choices=METHODS, help="only this method")
    add("--backbone", choices=BACKBONES, help="only this backbone")
    add("--shot", type=whole(1, 5), choices=(1, 5), help="only this number of supports")
    add("--folds", type=whole(0, 3), nargs="+", default=list(FOLDS), help="only these folds (default 0 1 2 3)")
    add("--protocol", choices=tuple(PROTOCOLS), help="only rows in this protocol")
    add("--splits", metavar="DIR", help="HSNet's data/splits, for the rows in its protocol")
    add(
        "--authors",
        metavar="DIR",
        default=str(AUTHORS_FOLDER),
        help="their weights (default pretrained/authors)",
    )
    add("--mirror", metavar="URL", help="fetch them from URL/NAME instead of Google Drive")
    add("--train", action="store_true", help="train instead, as the authors did")
    add("--out", default="outdir", metavar="DIR", help="folder for all output files (default %(default)s)")
    add("--python", default=sys.executable, metavar="COMMAND", help="what runs test.py and main.py, such as torchrun")
    add("--no-verify", action="store_true", help="do not open every file of a dataset first")
    add("more", nargs="*", metavar="-- FLAG", help="flags of test.py, or with --train of main.py")
    args = parser.parse_args(argv)
    args.python = [args.python] if os.access(args.python, os.X_OK) else shlex.split(args.python)
    check_writable(args.out)
    return args


def asked_for(args: argparse.Namespace) -> list[Cell]:
    """The cells of the published rows that the flags ask for, in the order of the tables."""
    root = Path(args.data_root)
    there = [name for name, benchmark in DATASETS.items() if (root / benchmark.folder).is_dir()]
    datasets = [args.dataset] if args.dataset else there
    if not datasets:
        folders = ", ".join(benchmark.folder for benchmark in DATASETS.values())
        raise UserError(f"{root}: holds none of {folders}; pass the folder that does, or --dataset")
    cells = []
    for row in PUBLISHED:
        if row.setting.dataset not in datasets or args.protocol not in (None, row.protocol.name):
            continue
        if not row.setting.matches(method=args.method, backbone=args.backbone, shot=args.shot):
            continue
        for fold in args.folds if row.folds else (None,):
            setting = training_setting(row.setting, fold, PAPER) if args.train else replace(row.setting, fold=fold)
            setting = replace(setting, refine=row.setting.refine)
            found = choose((fold,), **{n: getattr(setting, n) for n in ("dataset", "method", "shot", "backbone")})
            if args.train or (fold is not None and found):
                cells.append(Cell(row.protocol, setting, None if args.train else found[0]))
    if not cells:
        raise UserError("no such row is published with weights; leave some flags out, or pass --train")
    if not args.splits and any(cell.protocol == HSNET for cell in cells):
        raise UserError("rows in HSNet's protocol need --splits, its data/splits; or pass --protocol ssp")
    return cells


def words_of(cell: Cell, args: argparse.Namespace) -> list[str]:
    """The arguments of test.py for a cell; a trained one's checkpoint may not be there yet."""
    if cell.weights:
        checkpoint, home = Path(args.authors) / cell.weights.name, args.out
    else:
        trained = training_setting(cell.setting, cell.setting.fold, cell.protocol)
        home = home_of(trained, args.out)
        checkpoint = newest_checkpoint(trained, home)
    words = test_command(cell.setting, cell.protocol, args.splits, checkpoint, home, args.data_root)[1:]
    return [*words, *(args.more if cell.weights else ())]


def is_finished(cell: Cell, args: argparse.Namespace) -> bool:
    """Whether the result of a cell is kept already: of these weights, this data and these flags."""
    if not cell.weights and cell.protocol == PAPER:
        checkpoint = newest_checkpoint(training_setting(cell.setting, cell.setting.fold, PAPER), args.out)
        return checkpoint is not None and not is_of_other(checkpoint)  # whose flags main.py will not go on with
    with suppress(UserError):  # no checkpoint yet, or one that has changed, of which measure tells
        if cell.weights and not is_recorded(Path(args.authors), cell.weights.name):
            return False
        flags = testing.parse(words_of(cell, args))
        kept = testing.kept_result(flags, testing.open_evaluation(flags))
        return kept is not None and kept.is_file()
    return False


def run(words: Sequence[str]) -> int:
    """Run a program to its end; it gets Ctrl-C by itself, the other signals are passed on to it."""
    process = subprocess.Popen(words)
    passed_on = [number for number in SIGNALS if number != signal.SIGINT]
    former = {number: signal.signal(number, lambda sent, _: process.send_signal(sent)) for number in passed_on}
    try:
        while process.returncode is None:
            with suppress(KeyboardInterrupt):
                process.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if process.returncode == 130 or -process.returncode in SIGNALS:
        raise KeyboardInterrupt
    return process.returncode


def is_sound(dataset: str, shot: int, args: argparse.Namespace) -> bool:
    """Whether every file of a dataset can be opened and every class has images for the shot; found out once."""
    report = Path(args.out) / f"verify_{dataset}_{shot}shot.json"
    with suppress(OSError, ValueError, KeyError):
        seen, root = read_json(report), DATASETS[dataset](args.data_root).root
        if seen["root"] == str(root.resolve()) and not seen["findings"]:
            return True
    splits = ["--splits", args.splits] if args.splits and DATASETS[dataset].counted == "classes" else []
    flags = ["--dataset", dataset, "--data-root", args.data_root, "--shot", str(shot), *splits]
    return run([sys.executable, str(HERE / "prepare.py"), "verify", *flags, "--json", str(report)]) == 0


def measure(cell: Cell, args: argparse.Namespace) -> None:
    """Fetch the weights of a cell, or train them, and test them. Raises UserError if that fails."""
    if cell.weights:
        provide(Path(args.authors), cell.weights, args.mirror)
    else:
        trained = training_setting(cell.setting, cell.setting.fold, cell.protocol)
        home = home_of(trained, args.out)
        words = [*training_command(trained, home, args.data_root)[1:], *args.more]
        splits = ["--splits", args.splits] if args.splits and trained.fold is None else []
        if code := run([*args.python, str(HERE / "main.py"), *words, *splits]):
            raise UserError(f"main.py ended with exit code {code}, for the reason above")
        if cell.protocol == PAPER:
            return  # main.py has tested the best weights
    if code := run([*args.python, str(HERE / "test.py"), *words_of(cell, args)]):
        raise UserError(f"test.py ended with exit code {code}, for the reason above")


def parse_budget(more: Sequence[str]) -> Budget:
    """Those of further flags of test.py and main.py that the time depends on."""
    parser = OneLineParser("", add_help=False)
    add = parser.add_argument
    add_schedule(parser)
    add("--episodes", type=whole(1))
    add("--seeds", type=whole(1, 1000), default=PAPER.seeds)
    add("--device", type=device, default=default_device())
    f = parser.parse_known_args(more)[0]
    schedule = Schedule(f.episode, f.snapshot, f.batch_size, RECIPE.lr)
    return Budget(f.device, f.seeds, f.episodes or f.test_episodes, schedule, f.crop_size)


def plan_of_work(everything: Sequence[Cell], cells: Sequence[Cell], args: argparse.Namespace) -> Iterator[str]:
    """What will be done and about how long it takes, line by line. cells: those that are not finished."""
    datasets = ", ".join(dict.fromkeys(cell.setting.benchmark.title for cell in everything))
    finished = len(everything) - len(cells)
    what = "trainings" if args.train else "evaluations of the authors' weights"
    there = f", {finished} are finished" if finished else ""
    yield f"{len(everything)} {what} on {datasets}{there}"
    if not cells:
        return
    if args.train and any(cell.setting.shot > 1 and cell.setting.method == "ssp" for cell in cells):
        yield f"5-shot SSP is trained with --released-order {RELEASED_ORDER}, as it was published (docs/reproduce.md)"
    missing = {
        cell.weights for cell in cells if cell.weights and not (Path(args.authors) / cell.weights.name).is_file()
    }
    if missing:
        need_gdown()
        yield f"{len(missing)} files of weights to fetch"
    estimate = estimate_trainings if args.train else estimate_tests
    try:
        work = [(cell.protocol, cell.setting) for cell in cells]
        seconds = estimate(work, args.data_root, args.splits, parse_budget(args.more))
    except UserError as error:
        yield f"no estimate of the time: {error}"
    else:
        yield f"about {duration(seconds)} in one process here, besides fetching and verifying"


def final_tables(cells: Sequence[Cell], args: argparse.Namespace) -> list[Table]:
    """The rows that were asked for, with what is measured now."""
    wanted = {(cell.protocol, replace(cell.setting, fold=None)) for cell in cells}
    tables = make_tables(find_results([args.out]), weights=OWN if args.train else AUTHORS)
    kept = [
        table._replace(rows=tuple(row for row in table.rows if (row.protocol, row.setting) in wanted))
        for table in tables
    ]
    return [table for table in kept if table.rows]


def main(argv: list[str] | None = None) -> list[Table]:
    """Measure what the flags ask for; returns the tables. Ends the program with 1 if a cell failed."""
    args = parse(argv)
    try:
        return reproduce(args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None


def reproduce(args: argparse.Namespace) -> list[Table]:
    """Say what will be done, measure cell by cell, print the verdicts."""
    everything = asked_for(args)
    cells = [cell for cell in everything if not is_finished(cell, args)]
    for line in plan_of_work(everything, cells, args):
        say(line)

    # Each dataset is looked at once.
    failed: dict[str, str] = {}
    unsound = set()
    for dataset in () if args.no_verify else dict.fromkeys(cell.setting.dataset for cell in cells):
        if not is_sound(dataset, max(cell.setting.shot for cell in cells if cell.setting.dataset == dataset), args):
            unsound.add(dataset)

    # Each cell is measured; one that fails does not stop the others.
    for number, cell in enumerate(cells, start=1):
        say("", f"== {number}/{len(cells)} {cell.name} ==")
        try:
            if cell.setting.dataset in unsound:
                raise UserError(f"files of {cell.setting.dataset} are missing or damaged; mend them, or --no-verify")
            measure(cell, args)
        except UserError as error:
            say(f"error: {error}", file=sys.stderr)
            failed[cell.name] = str(error)

    # The table.
    tables = final_tables(everything, args)
    print(f"\n{verdicts(tables)}")
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}", file=sys.stderr)
    if failed:
        sys.exit(1)
    return tables


if __name__ == "__main__":
    util.launch.command(main)
