"""What the method and ImageNet's features are worth on photographs: baseline, SSP and SSP + refine, frozen and trained.

    python -m benchmarks.photographs --data-root photographs --package efficientnet-lite0-57934424.pth --ways frozen
    python -m benchmarks.photographs --data-root photographs --package ... --choose --lr 1e-3 2.5e-4 --steps 100 300
    python -m benchmarks.photographs --data-root photographs --package ... --ways trained --lr 1e-3 --steps 300
    python -m benchmarks.photographs --data-root photographs --package ... --ways trained --shots 5 --trained-shot 1

The data have VOC's layout and classes. Each run of main.py is a cell: weights (the package's, or random), way (frozen,
or trained), network, shot, fold and seed. Its result is kept in --out, and a cell that was finished is not run again,
so a killed program goes on when it is started again. At the end stand the mIoU of the cells that were asked for, and
the differences of networks on the same episodes with 95 % intervals; OUT/photographs.md and .json hold both.
With --trained-shot the trainings have so many supports, and test.py tests them with those of --shots.

--choose compares each --lr with each --steps on base classes of fold 0 alone: it trains on the photographs of classes
11-20 and validates on those of classes 6-10, all of the train list; one that shows a novel class is left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain, product
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

import torch

import main as training
import test as testing
from dataset import DATASETS, checked_index, open_split
from engine.evaluation.compare import Difference, check_paired, compare_miou, gather_counts
from engine.evaluation.estimate import cost, duration, unit_seconds
from engine.evaluation.result import EvaluationResult
from engine.options import OneLineParser, default_device, positive, whole
from engine.training.data import first_batch, open_run
from engine.training.start import start_trainer
from util.errors import UserError
from util.files import atomic_write
from util.launch import command

PASCAL = DATASETS["pascal"]
BATCH = 4
NETWORKS = {"baseline": ["--method", "baseline"], "ssp": [], "refine": ["--refine"]}
TITLES = {"baseline": "baseline", "ssp": "SSP", "refine": "SSP + refine"}
PAIRS = [("baseline", "ssp"), ("ssp", "refine"), ("baseline", "refine")]
WEIGHTS, WAYS = ("package", "random"), ("frozen", "trained")
# --choose: the novel classes of fold 0 are left out, and fold 1 of what remains is tested on.
LEFT_OUT, CHOICE_FOLD = 0, 1


class Cell(NamedTuple):
    """One run of main.py."""

    weights: str
    way: str
    shot: int  # supports of a tested episode
    network: str
    fold: int
    seed: int  # of weights, training and episodes

    def flags(self, out: Path, package: Path, lr: float, steps: int, trained_shot: int | None) -> list[str]:
        """The flags of main.py but those that all cells have. trained_shot: supports in training; None for ``shot``."""
        shot = self.shot if self.way == "frozen" else trained_shot or self.shot
        how = ["--frozen", "--episode", "0"]
        if self.way == "trained":  # one snapshot, so that no test class chooses the best weights
            how = ["--lr", str(lr), "--episode", str(steps * BATCH), "--snapshot", str(steps * BATCH)]
        home = out / f"{self.weights}_{self.way}_{self.network}_seed{self.seed}"
        where = ["--out", str(home), "--fold", str(self.fold), "--shot", str(shot), "--seed", str(self.seed)]
        pretrained = str(package) if self.weights == "package" else "none"
        return [*where, "--pretrained", pretrained, *how, *NETWORKS[self.network]]


def find_weights(path: Path) -> Path:
    """The file of weights, or the only one in a package's folder. Raises UserError if there is none, or several."""
    found = sorted(path.rglob("*.pth")) if path.is_dir() else [path]
    if len(found) != 1:
        raise UserError(f"{path}: holds {len(found)} files .pth; name one with --package")
    return found[0]


def is_finished(flags: Sequence[str]) -> bool:
    """Whether a run of main.py with these flags has left its result."""
    options = training.parse([*flags])
    return any(options.setting.folder(options.out).glob(f"{options.setting.name}_*.json"))


def estimate_seconds(flags: Sequence[str]) -> float:
    """How long a run of main.py takes, from a few episodes and two steps, which change nothing."""
    options = replace(training.parse([*flags]), device=default_device())
    run = open_run(options)
    trainer = start_trainer(options, run, resumed=False)
    unit = unit_seconds(trainer.net, run.test.images, next(iter(run.test.plans.values())), options.engine)
    evaluations = cost(run.test.plans, options.engine) * unit
    if not options.episode:
        return evaluations
    step = trainer.time_step(first_batch(run.samples, options.batch_size, options.device))
    return 2 * evaluations + options.schedule.iterations * step  # after the snapshot, and at the end


def describe_time(cells: Collection[Cell], flags: dict[Cell, list[str]]) -> str:
    """A line that says how many cells are left, and how long they take."""
    left = [cell for cell in cells if not is_finished(flags[cell])]
    kinds: dict[tuple[str, int], list[Cell]] = {}
    for cell in left:
        kinds.setdefault((cell.way, cell.shot), []).append(cell)
    seconds = sum(len(some) * estimate_seconds(flags[some[-1]]) for some in kinds.values())
    time = f", about {duration(seconds)}" if left else ""
    return f"{len(cells)} cells, {len(left)} to run{time}"


def run_cell(cell: Cell, flags: Sequence[str]) -> EvaluationResult:
    """The result of a run of main.py, now or before; of test.py, if that was trained with other supports."""
    weights = training.main([*flags])
    result = read_result(weights.with_suffix(".json"))
    if result.setting.shot == cell.shot:
        return result
    file = weights.parent / f"tested_{cell.shot}shot" / f"{weights.stem}.json"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        options = training.parse([*flags])
        how = ["--shot", str(cell.shot), "--seed", str(cell.seed), "--seeds", "1", "--workers", "0"]
        how += ["--data-root", options.data_root, "--episodes", str(options.test_episodes)]
        how += ["--backbone", options.setting.backbone, "--checkpoint", str(weights)]
        testing.main([*how, "--json", str(file)])
    return read_result(file)


def read_result(file: Path) -> EvaluationResult:
    """A result that main.py or test.py wrote. Raises UserError on another file."""
    if (result := EvaluationResult.read(file)) is None:
        raise UserError(f"{file}: not a result of main.py or test.py; choose another --out")
    return result


def compare_cells(first: Sequence[EvaluationResult], second: Sequence[EvaluationResult]) -> Difference:
    """The mIoU of the second less that of the first, over the folds and seeds of both, which are the same.

    A seed's mean is over the classes of all folds, which is the mean of the folds where each has as many classes.
    """
    for a, b in zip(first, second, strict=True):
        check_paired(a, b)
    counted = [[gather_counts(result.measured) for result in results] for results in (first, second)]
    a, b = (torch.cat([cell.counts for cell in cells]) for cells in counted)
    classes, queries, seeds = ([*chain(*each)] for each in zip(*(cell[1:] for cell in counted[0]), strict=True))
    return compare_miou(a, b, classes, queries, seeds)


def measure_rows(results: dict[Cell, EvaluationResult], folds: Sequence[int]) -> list[dict[str, Any]]:
    """The mIoU of each fold and of their mean, each seed's; a row for each weights, way, shot and network."""
    rows: dict[tuple, dict[int, dict[int, float]]] = {}
    for cell, result in results.items():
        rows.setdefault(cell[:4], {}).setdefault(cell.fold, {})[cell.seed] = result.miou
    found = []
    for key, of_fold in rows.items():
        seeds = {str(fold): list(of_fold[fold].values()) for fold in folds}
        seeds["mean"] = [fmean(each) for each in zip(*seeds.values(), strict=True)]
        found.append({**dict(zip(Cell._fields, key, strict=False)), "miou": seeds})
    return found


def compare_rows(results: dict[Cell, EvaluationResult], folds: Sequence[int]) -> list[dict[str, Any]]:
    """The differences of two networks on each fold and on all, with intervals; a row for each weights, way and shot."""
    networks = {cell.network for cell in results}
    found = []
    for key, (a, b) in product(dict.fromkeys(cell[:3] for cell in results), PAIRS):
        if not {a, b} <= networks:
            continue
        differences = {}
        for name, some in {**{str(fold): [fold] for fold in folds}, "mean": folds}.items():
            cells = [cell for cell in results if cell[:3] == key and cell.fold in some]
            pair = ([results[cell] for cell in cells if cell.network == network] for network in (a, b))
            differences[name] = compare_cells(*pair)._asdict()
        row = dict(zip(Cell._fields, key, strict=False))
        found.append({**row, "difference": f"{TITLES[b]} less {TITLES[a]}", **differences})
    return found


def tables(rows: Sequence[dict[str, Any]], differences: Sequence[dict[str, Any]], folds: Sequence[int]) -> str:
    """Both tables as Markdown."""
    columns = [*map(str, folds), "mean"]
    head = "".join(f" | fold {fold}" for fold in folds) + " | mean |"
    rule = f"| :-- | :-- {'| --: ' * (len(columns) + 1)}|"
    lines = [f"| weights | network | shot{head}", rule]
    for row in rows:
        cells = " | ".join(
            f"{fmean(x):.1f}" + (f" ±{pstdev(x):.1f}" if len(x) > 1 else "") for x in map(row["miou"].get, columns)
        )
        lines.append(f"| {row['weights']}, {row['way']} | {TITLES[row['network']]} | {row['shot']} | {cells} |")
    if differences:
        lines += ["", f"| weights | difference | shot{head}", rule]
    for row in differences:
        cells = " | ".join("{difference:+.1f} ({low:+.1f} to {high:+.1f})".format(**row[name]) for name in columns)
        lines.append(f"| {row['weights']}, {row['way']} | {row['difference']} | {row['shot']} | {cells} |")
    return "\n".join(lines)


def make_choice(data_root: str, folder: Path) -> Path:
    """A folder in VOC's layout of the training photographs without a novel class of fold 0, for --choose.

    Those that show a class of its fold 1 are its val list, the others its train list.
    """
    split = open_split("pascal", data_root, "train", LEFT_OUT)
    hidden, tested = (set(PASCAL.novel_classes(fold)) for fold in (LEFT_OUT, CHOICE_FOLD))
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for image, pixels in checked_index(split.images).items():
        if not hidden & pixels.keys():
            lists["val" if tested & pixels.keys() else "train"].append(image)
    (folder / "ImageSets").mkdir(parents=True, exist_ok=True)
    for name, target in {"JPEGImages": split.images.images, "SegmentationClassAug": split.images.masks}.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path(target).resolve())
    for name, images in lists.items():
        with atomic_write(folder / "ImageSets" / f"{name}.txt") as file:
            file.write("".join(f"{image}\n" for image in images).encode())
    return folder


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="photographs and masks in VOC's layout")
    add("--package", type=Path, metavar="PATH", help="the backbone's weights, or a folder that holds one such file")
    add("--backbone", default="timm:tf_efficientnet_lite0", help="as of main.py (default %(default)s)")
    add("--weights", nargs="+", choices=WEIGHTS, default=WEIGHTS, help="where training starts (default all)")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="frozen and untrained, or trained (default all)")
    add("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="what is run (default all)")
    add("--shots", type=whole(1), nargs="+", default=[1], help="supports of an episode (default 1)")
    add("--trained-shot", type=whole(1), help="supports of an episode in training (default as tested)")
    add("--folds", type=int, nargs="+", choices=PASCAL.folds, default=PASCAL.folds, help="of classes (default all)")
    add("--seeds", type=whole(0), nargs="+", default=[0, 1, 2], help="of weights and episodes (default 0 1 2)")
    add("--test-episodes", type=whole(1), default=1000, help="of a fold and seed (default %(default)s)")
    add("--lr", type=positive, nargs="+", default=[1e-3], help="of training (default 0.001)")
    add("--steps", type=whole(1), nargs="+", default=[300], help="of training, of four episodes (default 300)")
    add("--crop-size", default="241", help="side of training crops in pixels (default %(default)s)")
    add("--choose", action="store_true", help="compare each --lr with each --steps on base classes of fold 0")
    add(
        "--out",
        type=Path,
        default=Path("outdir_photographs"),
        metavar="DIR",
        help="folder for all files (default %(default)s)",
    )
    args = parser.parse_args(argv)
    if "package" in args.weights and not args.package:
        raise UserError("--package: name the file of the backbone's weights, or give --weights random")
    if not args.choose and len(args.lr) + len(args.steps) > 2:
        raise UserError("--lr and --steps: give one of each; --choose compares several")
    package = find_weights(args.package) if args.package else Path()
    every = ["--backbone", args.backbone, "--test-episodes", str(args.test_episodes), "--crop-size", args.crop_size]
    every += ["--seeds", "1", "--batch-size", str(BATCH), "--workers", "0", "--resume"]

    root, ways, folds = args.data_root, args.ways, args.folds
    if args.choose:
        root, ways, folds = str(make_choice(root, args.out / "choice")), ["trained"], [CHOICE_FOLD]
    cells = [Cell(*each) for each in product(args.weights, ways, args.shots, args.networks, folds, args.seeds)]
    for lr, steps in product(args.lr, args.steps):
        title = f"lr {lr:g}, {steps} steps"
        out = args.out / title.replace(",", "").replace(" ", "_") if args.choose else args.out
        flags = {
            cell: [*every, "--data-root", root, *cell.flags(out, package, lr, steps, args.trained_shot)]
            for cell in cells
        }
        print(describe_time(cells, flags), flush=True)
        results = {cell: run_cell(cell, flags[cell]) for cell in cells}
        rows, differences = measure_rows(results, folds), compare_rows(results, folds)
        text = tables(rows, differences, folds)
        (out / "photographs.json").write_text(json.dumps({"rows": rows, "differences": differences}, indent=1) + "\n")
        (out / "photographs.md").write_text(f"{text}\n")
        print(f"\n{title if args.choose else ''}\n{text}\n", flush=True)


if __name__ == "__main__":
    command(main)
