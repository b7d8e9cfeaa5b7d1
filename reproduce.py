"""Measure the published tables: with the authors' weights, or by training.

    python reproduce.py --data-root ../Datasets_SSP --splits ../hsnet/data/splits     every row whose dataset is there
    python reproduce.py --data-root ../Datasets_SSP --dataset pascal --shot 1         the rows of Pascal-5i, 1-shot
    python reproduce.py --data-root ../Datasets_SSP --dataset pascal --train          the same rows by training

./reproduce.sh is the same with settings such as DATA_ROOT=../Datasets_SSP. For each published row the program fetches
the authors' weights of each fold, tests them as the row was published, and prints a verdict for each cell. What is
finished is skipped; a row that fails does not stop the others: it is named at the end, and the exit code is 1. Flags
after -- go to test.py, with --train to main.py. all.sh and test.sh run all folds of one setting through this program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import test as testing
import util.launch
from dataset import BENCHMARKS, FOLDS
from engine.evaluation.protocol import HSNET, PAPER, PROTOCOLS
from engine.evaluation.result import find_results
from engine.options import OneLineParser, add_schedule, default_device, device, whole
from engine.recorded import is_recorded
from engine.setting import AUTHORS, OWN, RECIPE, RELEASED_ORDER, Schedule, Setting
from model.names import BACKBONES, METHODS
from tables import shell
from tables.authors import FOLDER as AUTHORS_FOLDER
from tables.authors import AuthorsWeights, choose, provide
from tables.commands import (
    Folders,
    is_of_other,
    newest_checkpoint,
    test_command,
    training_command,
    training_setting,
)
from tables.download import need_gdown
from tables.experiment import Experiment
from tables.paper import PUBLISHED
from tables.shell import HERE, run_program
from tables.tables import Table, make_tables
from tables.text import verdicts
from util.distributed import say
from util.errors import UserError
from util.files import check_writable, read_json

if TYPE_CHECKING:  # --help and wrong flags are answered before torch is imported
    from tables.cost import Budget


class Job(NamedTuple):
    """A cell of a published row to measure: an experiment on one fold."""

    experiment: Experiment
    weights: AuthorsWeights | None  # None: they are trained

    @property
    def setting(self) -> Setting:
        return self.experiment.setting

    @property
    def training(self) -> Setting:
        """What is trained for it."""
        return training_setting(self.setting, self.experiment.protocol)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="the folder that holds the datasets")
    add("--dataset", choices=tuple(BENCHMARKS), help="only this benchmark (default: those that are there)")
    add("--method", choices=METHODS, help="only this method")
    add("--backbone", choices=BACKBONES, help="only this backbone")
    add("--shot", type=whole(1, 5), choices=(1, 5), help="only this number of supports")
    add("--folds", type=int, choices=FOLDS, nargs="+", help="only these folds (default: all of a dataset)")
    add("--protocol", choices=tuple(PROTOCOLS), help="only rows in this protocol")
    add("--splits", metavar="DIR", help="HSNet's data/splits, for the rows in its protocol")
    add("--authors", metavar="DIR", default=str(AUTHORS_FOLDER), help="their weights (default pretrained/authors)")
    add("--mirror", metavar="URL", help="fetch them from URL/NAME instead of Google Drive")
    add("--train", action="store_true", help="train instead, as the authors did")
    add("--out", default="outdir", metavar="DIR", help="folder for all output files (default %(default)s)")
    add("--python", default=sys.executable, metavar="COMMAND", help="what runs test.py and main.py, such as torchrun")
    add("--no-verify", action="store_true", help="do not open every file of a dataset first")
    add("more", nargs="*", metavar="-- FLAG", help="flags of test.py, or with --train of main.py")
    args = parser.parse_args(argv)
    args.python = shell.split_command(args.python)
    args.folders = Folders(args.data_root, args.out, args.splits)
    check_writable(args.out)
    return args


def wanted_jobs(args: argparse.Namespace) -> list[Job]:
    """The cells of the published rows that the flags ask for, in the order of the tables."""
    root = Path(args.data_root)
    there = [name for name, benchmark in BENCHMARKS.items() if (root / benchmark.folder).is_dir()]
    datasets = [args.dataset] if args.dataset else there
    if not datasets:
        folders = ", ".join(benchmark.folder for benchmark in BENCHMARKS.values())
        raise UserError(f"{root}: holds none of {folders}; pass the folder that does, or --dataset")
    jobs = []
    for row in PUBLISHED:
        if row.setting.dataset not in datasets or args.protocol not in (None, row.protocol.name):
            continue
        if not row.setting.matches(method=args.method, backbone=args.backbone, shot=args.shot):
            continue
        setting = replace(row.setting, backbone=row.setting.backbone or BACKBONES[0])
        names = ("dataset", "method", "shot", "backbone")
        folds = setting.benchmark.folds
        if args.folds and folds != (None,):
            folds = [fold for fold in folds if fold in args.folds]
        for fold in folds:
            published = choose((fold,), **{name: getattr(setting, name) for name in names})
            if args.train or published:
                experiment = Experiment(row.protocol, setting).on_fold(fold)
                jobs.append(Job(experiment, None if args.train else published[0]))
    if not jobs:
        raise UserError("no such row is published with weights; leave some flags out, or pass --train")
    if not args.splits and any(job.experiment.protocol == HSNET for job in jobs):
        raise UserError("rows in HSNet's protocol need --splits, its data/splits; or pass --protocol ssp")
    return jobs


def test_words(job: Job, args: argparse.Namespace) -> list[str]:
    """The command that tests a cell; a trained one's checkpoint may not be there yet."""
    protocol, setting, *_ = job.experiment
    if job.weights:
        checkpoint = Path(args.authors) / job.weights.name
        return [*test_command(setting, protocol, args.folders, checkpoint), *args.more]
    folders = args.folders.of_training(job.training)
    return test_command(setting, protocol, folders, newest_checkpoint(job.training, folders))


def is_finished(job: Job, args: argparse.Namespace) -> bool:
    """Whether the result of a cell is kept already: of these weights, this data and these flags."""
    if not job.weights and job.experiment.protocol == PAPER:
        checkpoint = newest_checkpoint(job.training, args.folders.of_training(job.training))
        return checkpoint is not None and not is_of_other(checkpoint)  # whose flags main.py will not go on with
    with suppress(UserError):  # no checkpoint yet, or one that has changed, of which measure tells
        if job.weights and not is_recorded(Path(args.authors), job.weights.name):
            return False
        flags = testing.parse(test_words(job, args)[1:])
        kept = testing.kept_result(flags, testing.open_evaluation(flags))
        return kept is not None and kept.is_file()
    return False


def is_sound(dataset: str, shot: int, args: argparse.Namespace) -> bool:
    """Whether every file of a dataset can be opened and every class has images for the shot; found out once."""
    report = Path(args.out) / f"verify_{dataset}_{shot}shot.json"
    with suppress(OSError, ValueError, KeyError):
        seen, root = read_json(report), BENCHMARKS[dataset](args.data_root).root
        if seen["root"] == str(root.resolve()) and not seen["findings"]:
            return True
    splits = ["--splits", args.splits] if args.splits and BENCHMARKS[dataset].counted == "classes" else []
    flags = ["--dataset", dataset, "--data-root", args.data_root, "--shot", str(shot), *splits]
    return run_program([sys.executable, str(HERE / "prepare.py"), "verify", *flags, "--json", str(report)]) == 0


def run_script(words: Sequence[str], args: argparse.Namespace) -> None:
    """Run a script of this project to its end. Raises UserError if it fails."""
    script, *flags = words
    if code := run_program([*args.python, str(HERE / script), *flags]):
        raise UserError(f"{script} ended with exit code {code}, for the reason above")


def measure(job: Job, args: argparse.Namespace) -> None:
    """Fetch the weights of a cell, or train them, and test them. Raises UserError if that fails."""
    if job.weights:
        provide(Path(args.authors), job.weights, args.mirror)
    else:
        training = training_command(job.training, args.folders.of_training(job.training))
        splits = ["--splits", args.splits] if args.splits and job.setting.fold is None else []
        run_script([*training, *args.more, *splits], args)
        if job.experiment.protocol == PAPER:
            return  # main.py has tested the best weights
    run_script(test_words(job, args), args)


def parse_budget(more: Sequence[str]) -> Budget:
    """How much is evaluated and trained, by the flags after --; the time depends on it."""
    from tables.cost import Budget

    parser = OneLineParser("", add_help=False)
    add = parser.add_argument
    add_schedule(parser)
    add("--episodes", type=whole(1))
    add("--seeds", type=whole(1, 1000), default=PAPER.seeds)
    add("--device", type=device, default=default_device())
    f = parser.parse_known_args(more)[0]
    schedule = Schedule(f.episode, f.snapshot, f.batch_size, RECIPE.lr)
    return Budget(f.device, f.seeds, f.episodes or f.test_episodes, schedule, f.crop_size)


def describe_work(everything: Sequence[Job], jobs: Sequence[Job], args: argparse.Namespace) -> Iterator[str]:
    """What will be done and about how long it takes, line by line. jobs: those that are not finished."""
    from engine.evaluation.estimate import duration
    from tables.cost import estimate_tests, estimate_trainings

    datasets = ", ".join(dict.fromkeys(job.setting.benchmark.title for job in everything))
    finished = len(everything) - len(jobs)
    what = "trainings" if args.train else "evaluations of the authors' weights"
    yield f"{len(everything)} {what} on {datasets}{f', {finished} are finished' if finished else ''}"
    if not jobs:
        return
    if args.train and any(job.setting.shot > 1 and job.setting.method == "ssp" for job in jobs):
        yield f"5-shot SSP is trained with --released-order {RELEASED_ORDER}, as it was published (docs/reproduce.md)"
    missing = {job.weights for job in jobs if job.weights and not (Path(args.authors) / job.weights.name).is_file()}
    if missing:
        need_gdown()
        yield f"{len(missing)} files of weights to fetch"
    estimate = estimate_trainings if args.train else estimate_tests
    try:
        seconds = estimate([job.experiment for job in jobs], args.folders, parse_budget(args.more))
    except UserError as error:
        yield f"no estimate of the time: {error}"
    else:
        yield f"about {duration(seconds)} in one process here, besides fetching and verifying"


def final_tables(jobs: Sequence[Job], args: argparse.Namespace) -> list[Table]:
    """The rows that were asked for, with what is measured now."""
    wanted = {(job.experiment.protocol, replace(job.setting, fold=None)) for job in jobs}
    tables = [
        table._replace(rows=tuple(row for row in table.rows if row.experiment[:2] in wanted))
        for table in make_tables(find_results([args.out]), OWN if args.train else AUTHORS)
    ]
    return [table for table in tables if table.rows]


def main(argv: list[str] | None = None) -> list[Table] | None:
    """Measure what the flags ask for and return the tables, or do what a shell script is for; 1 if a cell failed."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] in shell.SCRIPTS:
            return run_shell_script(argv[0], argv[1:])
        return reproduce(parse(argv))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None


def run_shell_script(script: str, words: Sequence[str]) -> list[Table] | None:
    """Do what a shell script is for.

    Of all.sh and test.sh the first fold that fails ends the program with its exit code; with GPUS once the others are
    done.
    """
    if {"-h", "--help"} & set(words):
        print(shell.usage(script))
        return None
    settings, more = shell.read_settings(script, words)
    if script == shell.REPRODUCE:
        return reproduce(parse(shell.table_flags(settings, more)))
    commands = shell.fold_commands(script, settings, more)
    if gpus := settings.get("GPUS", "").split():
        failed = shell.run_on_gpus(commands, gpus)
        for headline, code in failed.items():
            say(f"failed: {headline}: exit code {code}", file=sys.stderr)
        sys.exit(next(iter(failed.values()), 0))
    for headline, command in commands:
        say(f"== {headline} ==")
        if code := run_program(command):
            sys.exit(code)
    return None


def reproduce(args: argparse.Namespace) -> list[Table]:
    """Say what will be done, measure cell by cell, print the verdicts."""
    everything = wanted_jobs(args)
    jobs = [job for job in everything if not is_finished(job, args)]
    for line in describe_work(everything, jobs, args):
        say(line)

    # Each dataset is looked at once.
    unsound = set()
    for dataset in () if args.no_verify else dict.fromkeys(job.setting.dataset for job in jobs):
        if not is_sound(dataset, max(job.setting.shot for job in jobs if job.setting.dataset == dataset), args):
            unsound.add(dataset)

    # Each cell is measured; one that fails does not stop the others.
    failed: dict[str, str] = {}
    for number, job in enumerate(jobs, start=1):
        say("", f"== {number}/{len(jobs)} {job.experiment.name} ==")
        try:
            if job.setting.dataset in unsound:
                raise UserError(f"files of {job.setting.dataset} are missing or damaged; mend them, or --no-verify")
            measure(job, args)
        except UserError as error:
            say(f"error: {error}", file=sys.stderr)
            failed[job.experiment.name] = str(error)

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
