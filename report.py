"""Print measured results beside the published ones, or the commands that measure what is missing.

    python report.py                                      all results below outdir
    python report.py --all                                and every row of the paper
    python report.py outdir old/resnet50_1shot_61.40.json --csv report.csv --picture report.png
    python report.py --commands --dataset coco --backbone resnet50 > missing.sh
    python report.py --compare first.json second.json     their difference, episode by episode

The program reads the JSON files of main.py and test.py. Results of one setting that were trained or tested with other
flags, or by other code of the method, have a row each; of equal ones the newest counts. A result that may not compare
with the paper's (fewer episodes or seeds, --amp, test classes that were trained on) gets a mark and a note. Tables of
their own have networks with another backbone or head than the paper's, or whose backbone was not trained, and results
on other data than the benchmark's, such as a toy dataset; --commands prints nothing for them.

--compare sets each result but the first beside the first, on the same episodes: the difference of mIoU with a 95 %
interval, that of each class, and the episodes that differ most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import util.launch
from dataset import DATASETS
from engine.evaluation.result import find_results
from engine.options import BACKBONE_CHOICES, METHOD_CHOICES, OneLineParser, backbone_name, method_name, whole
from engine.setting import AUTHORS, OWN, WEIGHTS_FROM
from tables.commands import Folders, missing_commands
from tables.picture import PICTURE_MARK, draw_tables, figure_class
from tables.tables import Table, make_tables
from tables.text import (
    COMPARISON_CSV_MARK,
    COMPARISON_JSON_MARK,
    COMPARISON_MARK,
    CSV_MARK,
    MARKDOWN_MARK,
    to_csv,
    to_markdown,
)
from util.distributed import say
from util.errors import UserError
from util.files import OutputFile, atomic_write, check_outputs

FILTERS = ("dataset", "shot", "method", "backbone", "weights", "torchrun")  # flags that limit or shape the tables


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="result files, or folders that hold some (default: --out)")
    add("--dataset", choices=tuple(DATASETS), help="only this benchmark")
    add("--shot", type=whole(1, 100), help="only this number of supports")
    add("--method", type=method_name, metavar="METHOD", help=f"only this method: {METHOD_CHOICES}")
    add("--backbone", type=backbone_name, metavar="BACKBONE", help=f"only this backbone: {BACKBONE_CHOICES}")
    add("--weights", choices=WEIGHTS_FROM, help="only trainings of your own, or only the authors' weights")
    add("--all", action="store_true", help="list also rows of the paper of which nothing is measured")
    add("--measured", action="store_true", help="print what is measured, and no word of what is missing")
    compare = "compare the first result with each of the others, on the same episodes"
    add("--compare", action="store_true", help=compare)
    add("--json", metavar="FILE", help="write what --compare found as JSON")
    add("--markdown", metavar="FILE", help="write what is printed to a file")
    add("--csv", metavar="FILE", help="write a line for each cell")
    add("--picture", metavar="FILE.png", help="draw the tables (needs matplotlib)")
    add("--commands", action="store_true", help="print the shell commands for what is missing instead of the tables")
    root = "--data-root of the commands that --commands prints (default %(default)s)"
    add("--data-root", default="../Datasets_SSP", metavar="DIR", help=root)
    add("--splits", default="data/splits", metavar="DIR", help="--splits of these commands (default %(default)s)")
    out = "main.py's folder: results are read from it, and these commands write to it (default %(default)s)"
    add("--out", default="outdir", metavar="DIR", help=out)
    add("--torchrun", type=whole(1, 1024), metavar="N", help="these commands run in N processes")
    args = parser.parse_args(argv)
    if args.torchrun and not args.commands:
        raise UserError("--torchrun belongs to --commands; leave it out")
    if args.commands and args.weights == AUTHORS:
        raise UserError("--commands prints trainings; ./reproduce.sh fetches and tests the authors' weights")
    if args.all and args.measured:
        raise UserError("--all and --measured contradict each other; leave one out")
    if args.json and not args.compare:
        raise UserError("--json belongs to --compare; leave it out")
    if args.compare:
        others = [f"--{name}" for name in ("all", "measured", "commands", "picture", *FILTERS) if getattr(args, name)]
        if others:
            raise UserError(f"{others[0]} does not belong to --compare; leave it out")
    if args.picture:
        figure_class()
    outputs = {
        "--markdown": OutputFile(args.markdown, COMPARISON_MARK if args.compare else MARKDOWN_MARK),
        "--csv": OutputFile(args.csv, COMPARISON_CSV_MARK if args.compare else CSV_MARK),
        "--json": OutputFile(args.json, COMPARISON_JSON_MARK),
        "--picture": OutputFile(args.picture, PICTURE_MARK),
    }
    check_outputs(outputs, args.paths)
    return args


def main(argv: list[str] | None = None) -> list[Table]:
    """Report as the flags say; returns the tables."""
    args = parse(argv)
    if args.compare:
        compare(args)
        return []
    results = []
    if args.paths or Path(args.out).exists():
        results = find_results(args.paths or [args.out])
    else:
        say(f"{args.out}: no such folder, nothing is measured yet", file=sys.stderr)
    wanted = {name: getattr(args, name) for name in ("dataset", "shot", "backbone", "method")}
    tables = make_tables(results, OWN if args.commands else args.weights, **wanted)
    if not tables:
        flags = "--dataset, --shot, --method, --backbone and --weights"
        raise UserError(f"nothing is measured or published for these {flags}; leave some out")
    folders = Folders(args.data_root, args.out, args.splits)
    text = to_markdown(tables, args.all, count_missing=not args.measured)
    print(missing_commands(tables, folders, args.torchrun) if args.commands else text, end="")
    write_texts({args.markdown: text, args.csv: to_csv(tables)})
    if args.picture:
        draw_tables(tables, args.picture)
    return tables


def compare(args: argparse.Namespace) -> None:
    """Compare the first result with each of the others, print it and write it as the flags say."""
    from engine.evaluation.compare import compare_results  # here, so that --help and the tables need not wait for torch
    from tables import comparison

    results = find_results(args.paths)
    if len(results) < 2:
        raise UserError("--compare takes two results or more: report.py --compare A.json B.json")
    found = [compare_results(results[0], other) for other in results[1:]]
    text = comparison.to_markdown(found)
    print(text, end="")
    written = {args.markdown: text, args.csv: comparison.to_csv(found), args.json: comparison.to_json(found)}
    write_texts(written)


def write_texts(texts: Mapping[str | None, str]) -> None:
    """Write each text to the file that a flag named; None: the flag was not given."""
    for file, text in texts.items():
        if file:
            with atomic_write(file) as written:
                written.write(text.encode())


if __name__ == "__main__":
    util.launch.command(main)
