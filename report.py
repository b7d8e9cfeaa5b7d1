"""Tables of measured results beside the published ones, and the commands for what is missing.

    python report.py                                      all results below outdir
    python report.py outdir old/resnet50_1shot_61.40.json --csv report.csv --picture report.png
    python report.py --commands --dataset coco --backbone resnet50 > missing.sh

Reads the JSONs of main.py and test.py --json. The newest result of a cell counts. What may not be what the
paper's number is (fewer episodes or seeds, --amp, test classes that were trained on) has a mark and a note.
"""

from __future__ import annotations

import argparse
import glob
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from dataset import DATASETS
from engine.checkpoint import SUFFIX
from engine.options import OneLineParser, whole
from engine.report.picture import draw_tables, figure_class
from engine.report.results import Result, Setting, find_results, read_result
from engine.report.tables import Cell, Table, describe, make_tables, title, to_csv, to_markdown
from engine.training.best import run_folder, run_name
from engine.training.state import load_training
from model import BACKBONES
from util.errors import UserError
from util.files import atomic_write, check_file
from util.launch import command

UNREFINED = "unrefined"  # folder in --out for SSP trained without refinement, whose files have the same names as with


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="results, or folders that hold some (default what --out says)")
    add("--dataset", choices=tuple(DATASETS), help="this benchmark only")
    add("--shot", type=whole(1, 100), help="this number of supports only")
    add("--backbone", choices=BACKBONES, help="this trunk only")
    add("--markdown", metavar="FILE", help="write the tables")
    add("--csv", metavar="FILE", help="write one line a cell")
    add("--picture", metavar="FILE.png", help="draw the tables (needs matplotlib)")
    add("--commands", action="store_true", help="print the shell commands for what is missing instead of the tables")
    add("--data-root", default="../Datasets_SSP", metavar="DIR", help="in these commands (default %(default)s)")
    add("--splits", default="data/splits", metavar="DIR", help="in these commands (default %(default)s)")
    add("--out", default="outdir", metavar="DIR", help="in these commands, and to read (default %(default)s)")
    args = parser.parse_args(argv)
    if args.picture:
        figure_class()
    for file in filter(None, (args.markdown, args.csv, args.picture)):
        check_file(file)
    return args


def read_results(args: argparse.Namespace) -> list[Result]:
    """What is measured; a default folder that is not there holds nothing yet."""
    if not args.paths and not Path(args.out).exists():
        print(f"{args.out}: no such folder, nothing is measured yet", file=sys.stderr)
        return []
    return find_results(args.paths or [args.out])


def open_cells(tables: Iterable[Table]) -> Iterator[tuple[Setting, Cell]]:
    """What was not measured, or has a mark, in the order of the tables; a mean follows from its folds."""
    for row in (row for table in tables for row in table.rows):
        for cell in row.cells[:4]:
            if cell.measured is None or cell.notes:
                yield row.setting, cell


def commands(tables: Iterable[Table], args: argparse.Namespace) -> str:
    """A shell script that measures what is missing, each training once."""
    lines: list[str] = []
    trained: set[str] = set()
    for setting, cell in open_cells(tables):
        run = run_of(setting, cell.fold, args.out)
        checkpoint = newest_checkpoint(run)
        fold = "" if cell.fold is None else f", fold {cell.fold}"
        paper = "not in the paper" if cell.paper is None else f"paper {cell.paper:.1f}"
        lines.append(f"# {title(setting)}: {describe(setting)}{fold} ({paper})")
        if cell.measured is not None:
            lines.append(f"#   is there, not as in the paper: {'; '.join(cell.notes)}")
            continue
        training = training_command(run, args)
        if not checkpoint and training not in trained:
            trained.add(training)
            lines.append(training)
        if checkpoint or setting.protocol == "hsnet":
            lines.append(test_command(run, setting, checkpoint, args))
    stop = "set -e  # the first failure, and Ctrl-C, stop it"
    return "".join(f"{line}\n" for line in ([stop, *lines] if lines else ["# nothing is missing"]))


def run_of(setting: Setting, fold: int | None, out: str) -> argparse.Namespace:
    """The settled flags of the training that a cell needs; for HSNet's protocol SSP is trained with refinement too."""
    refine = setting.method == "ssp" and (setting.refine or setting.protocol == "hsnet")
    home = out if refine or setting.method == "baseline" else str(Path(out) / UNREFINED)
    flags = {**setting._asdict(), "backbone": setting.backbone or BACKBONES[0], "refine": refine}
    return argparse.Namespace(**flags, fold=fold, out=home)


def newest_checkpoint(run: argparse.Namespace) -> Path | None:
    """Of the finished runs in the run's folder."""
    folder, name = run_folder(run), run_name(run)
    found = [path for path in folder.glob(f"{glob.escape(name)}_*{SUFFIX}") if _is_finished(path, run)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _is_finished(path: Path, run: argparse.Namespace) -> bool:
    """Whether a checkpoint is the last of such a run: its result says so, or there is no run to go on with."""
    try:
        result = read_result(path.with_suffix(".json"))
    except ValueError:
        result = None
    if result:
        return result.setting.refine == run.refine
    try:
        training = load_training(path.with_name(f"{run_name(run)}.last"))
    except UserError:
        return False  # main.py says what to do
    return training is None or (training.finished and training.best_name == path.stem)


def _flags(run: argparse.Namespace, args: argparse.Namespace) -> list[str]:
    """What training and test have in common."""
    given = {
        "dataset": run.dataset,
        "class-order": run.class_order,
        "data-root": args.data_root,
        "backbone": run.backbone,
        "fold": run.fold,
        "shot": run.shot,
        "method": "baseline" if run.method == "baseline" else None,
    }
    return [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]


def training_command(run: argparse.Namespace, args: argparse.Namespace) -> str:
    refine = ["--refine"] if run.refine else []
    return shlex.join(["python", "main.py", *_flags(run, args), *refine, "--out", run.out, "--resume"])


def test_command(run: argparse.Namespace, setting: Setting, checkpoint: Path | None, args: argparse.Namespace) -> str:
    """checkpoint: None where the training comes first, whose checkpoint test.py finds."""
    words = ["python", "test.py", *_flags(run, args)]
    if setting.method == "ssp":
        words.append("--refine" if setting.refine else "--no-refine")
    if setting.protocol == "hsnet":
        words += ["--protocol", "hsnet", "--splits", args.splits]
    words += ["--checkpoint", str(checkpoint)] if checkpoint else ["--out", run.out]
    return shlex.join([*words, "--results", str(Path(run.out) / "results")])


def main(argv: list[str] | None = None) -> list[Table]:
    """Report as the flags say; returns the tables."""
    args = parse(argv)
    tables = make_tables(read_results(args), args.dataset, args.shot, args.backbone)
    if not tables:
        raise UserError("nothing is measured or published for these --dataset, --shot and --backbone; leave some out")
    print(commands(tables, args) if args.commands else to_markdown(tables), end="")
    for file, text in ((args.markdown, to_markdown), (args.csv, to_csv)):
        if file:
            with atomic_write(file) as written:
                written.write(text(tables).encode())
    if args.picture:
        draw_tables(tables, args.picture)
    return tables


if __name__ == "__main__":
    command(main)
