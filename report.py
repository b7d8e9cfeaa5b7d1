"""Print measured results beside the published ones, or the commands that measure what is missing.

    python report.py                                      all results below outdir
    python report.py outdir old/resnet50_1shot_61.40.json --csv report.csv --picture report.png
    python report.py --commands --dataset coco --backbone resnet50 > missing.sh

The program reads the JSON files of main.py and test.py. The newest result of a cell counts. A result that may not
compare with the paper's (fewer episodes or seeds, --amp, test classes that were trained on) gets a mark and a note.
Tables of their own have networks with another backbone or head than the paper's, or whose backbone was not trained, and
results on other data than the benchmark's, such as a toy dataset; --commands prints nothing for them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import util.launch
from dataset import DATASETS, FOLDS
from engine.evaluation.protocol import HSNET
from engine.evaluation.result import EvaluationResult, find_results
from engine.options import BACKBONE_CHOICES, METHOD_CHOICES, OneLineParser, backbone_name, method_name, whole
from engine.setting import AUTHORS, OWN, WEIGHTS_FROM
from tables.commands import (
    home_of,
    is_of_other,
    is_of_other_data,
    newest_checkpoint,
    test_command,
    training_command,
    training_setting,
)
from tables.picture import draw_tables, figure_class
from tables.tables import (
    Cell,
    Row,
    Table,
    is_other,
    make_tables,
    row_name,
    title,
    to_csv,
    to_markdown,
)
from util.distributed import say
from util.errors import UserError, one_line
from util.files import atomic_write, check_apart, check_file


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="result files, or folders that hold some (default: --out)")
    add("--dataset", choices=tuple(DATASETS), help="only this benchmark")
    add("--shot", type=whole(1, 100), help="only this number of supports")
    add(
        "--method",
        type=method_name,
        metavar="METHOD",
        help=f"only this method: {METHOD_CHOICES}",
    )
    add(
        "--backbone",
        type=backbone_name,
        metavar="BACKBONE",
        help=f"only this backbone: {BACKBONE_CHOICES}",
    )
    add("--weights", choices=WEIGHTS_FROM, help="only trainings of your own, or only the authors' weights")
    add("--markdown", metavar="FILE", help="write the tables to a file")
    add("--csv", metavar="FILE", help="write a line for each cell")
    add("--picture", metavar="FILE.png", help="draw the tables (needs matplotlib)")
    add("--commands", action="store_true", help="print the shell commands for what is missing instead of the tables")
    add(
        "--data-root",
        default="../Datasets_SSP",
        metavar="DIR",
        help="--data-root of the commands that --commands prints (default %(default)s)",
    )
    add(
        "--splits",
        default="data/splits",
        metavar="DIR",
        help="--splits of these commands (default %(default)s)",
    )
    add(
        "--out",
        default="outdir",
        metavar="DIR",
        help="main.py's folder: results are read from it, and these commands write to it (default %(default)s)",
    )
    add("--torchrun", type=whole(1, 1024), metavar="N", help="these commands run in N processes")
    args = parser.parse_args(argv)
    if args.torchrun and not args.commands:
        raise UserError("--torchrun belongs to --commands; leave it out")
    if args.commands and args.weights == AUTHORS:
        raise UserError("--commands prints trainings; ./reproduce.sh fetches and tests the authors' weights")
    if args.picture:
        figure_class()
    for file in filter(None, (args.markdown, args.csv, args.picture)):
        check_file(file)
    return args


def read_results(paths: list[str], out: str) -> list[EvaluationResult]:
    """What is measured in these paths; by default in out, which need not exist yet."""
    if not paths and not Path(out).exists():
        say(f"{out}: no such folder, nothing is measured yet", file=sys.stderr)
        return []
    return find_results(paths or [out])


def open_cells(tables: Iterable[Table]) -> Iterator[tuple[Row, Cell]]:
    """What was not measured, or has a mark, in the order of the paper's tables; a mean follows from its folds."""
    rows = (row for table in tables for row in table.rows)
    for row in (row for row in rows if not (row.data or is_other(row.setting, row.weights))):
        for cell in row.cells[: len(FOLDS)]:
            if cell.measured is None or cell.notes:
                yield row, cell


def commands(tables: Iterable[Table], out: str, data_root: str, splits: str, processes: int | None = None) -> str:
    """A shell script that measures what is missing, each training once.

    Arguments:
        tables: what is published and measured.
        out: main.py's folder; it may hold checkpoints already.
        data_root, splits: for the flags of these names.
        processes: that torchrun starts; None for python.
    """
    runner = ["python"] if processes is None else ["torchrun", "--nproc-per-node", str(processes)]
    lines: list[str] = []
    trained: set[str] = set()
    for row, cell in open_cells(tables):
        setting = training_setting(row.setting, cell.fold, row.protocol)
        home = home_of(setting, out)
        checkpoint = newest_checkpoint(setting, home)
        fold = "" if cell.fold is None else f", fold {cell.fold}"
        paper = "not in the paper" if cell.paper is None else f"paper {cell.paper:.1f}"
        lines.append(f"# {title(row)}: {row_name(row.setting)}{fold} ({paper})")
        if cell.measured is not None:
            why = one_line("; ".join(cell.notes))
            lines.append(f"#   measured, but not as in the paper: {why}")
            continue
        if checkpoint and (is_of_other(checkpoint) or is_of_other_data(checkpoint)):
            what = "another network, an untrained one, or one trained on other data"
            lines.append(f"#   {one_line(setting.folder(home))} holds {what}; pass another --out")
            continue
        training = shlex.join([*runner, *training_command(setting, home, data_root)])
        if not checkpoint and training not in trained:
            trained.add(training)
            lines.append(training)
        if checkpoint or row.protocol == HSNET:
            tested = replace(setting, refine=row.setting.refine)
            words = test_command(tested, row.protocol, splits, checkpoint, home, data_root)
            lines.append(shlex.join([*runner, *words]))
    stop = "set -e  # the first failure, and Ctrl-C, stop it"
    return "".join(f"{line}\n" for line in ([stop, *lines] if lines else ["# nothing is missing"]))


def main(argv: list[str] | None = None) -> list[Table]:
    """Report as the flags say; returns the tables."""
    args = parse(argv)
    weights = OWN if args.commands else args.weights
    results = read_results(args.paths, args.out)
    outputs = {"--markdown": args.markdown, "--csv": args.csv, "--picture": args.picture}
    check_apart(outputs, [*(result.file for result in results), *(Path(path) for path in args.paths)])
    tables = make_tables(results, args.dataset, args.shot, args.backbone, weights, args.method)
    if not tables:
        flags = "--dataset, --shot, --method, --backbone and --weights"
        raise UserError(f"nothing is measured or published for these {flags}; leave some out")
    shell = args.out, args.data_root, args.splits, args.torchrun
    print(commands(tables, *shell) if args.commands else to_markdown(tables), end="")
    for file, text in ((args.markdown, to_markdown), (args.csv, to_csv)):
        if file:
            with atomic_write(file) as written:
                written.write(text(tables).encode())
    if args.picture:
        draw_tables(tables, args.picture)
    return tables


if __name__ == "__main__":
    util.launch.command(main)
