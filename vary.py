"""Evaluate a checkpoint under many settings of the method, at little more than the price of one evaluation.

    python vary.py --checkpoint outdir/models/pascal/fold_0/resnet50_1shot_61.40.ckpt --data-root ../Datasets_SSP \\
        --vary fg_threshold=0.5,0.6,0.7,0.8 --vary bg_mix=0.1,0.3,0.5
    python vary.py ... --vary fg_threshold=0.6,0.8 --vary final_mix=0.5,1 --one-at-a-time
    python vary.py ... --vary refine_mix=0.5/0.2/0.3,0.4/0.3/0.3           / between the numbers of one value
    torchrun --nproc-per-node 4 vary.py ...        the same result, the images shared among four processes

Every image passes the backbone once, and the settings share what does not depend on them. The first row is the
checkpoint's own setting, the paper's unless it was trained with another; the others are compared with it, episode by
episode (docs/protocols.md says how the interval is made). The files in --to: table.md, table.csv, records.json and
picture.png, a curve for each setting or a heat map for a grid of two. A killed run goes on when it is started again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import util.launch
from engine.custom import build_network, code_digest, method_digest
from engine.evaluation.evaluation_set import describe_evaluation, describe_missing_classes, open_evaluation_set
from engine.evaluation.protocol import PROTOCOLS, EvaluationOptions
from engine.evaluation.result import digest_inputs
from engine.options import add_settings, check_engine, default_device, make_parser, parse_flags, whole
from engine.variation import Value, Variation, check_meaning, check_training_alone, parse_setting
from test import Evaluation, find_warnings, open_evaluation
from util import distributed
from util.errors import UserError
from util.files import OutputFile, atomic_write, check_outputs, check_writable

MOST_SETTINGS = 1000
RECORDS_MARK = '[\n {\n  "settings": '  # with which the JSON begins
LONG_SECONDS = 60  # from which on an estimate is said


def parse(argv: list[str] | None) -> Any:
    """Parse the flags into a frozen record; None: not given."""
    parser = make_parser(__doc__, "the checkpoint's, else ")
    add = parser.add_argument
    add("--checkpoint", metavar="PATH", help="weights, or a folder that holds exactly one")
    add("--vary", action="append", required=True, metavar="NAME=V,V", help="a setting and its values, again for each")
    add("--one-at-a-time", action="store_true", help="vary each setting by itself, in place of all combinations")
    add_settings(parser, "the checkpoint's, else ")
    add("--trained-on", metavar="FOLD", help="what a .pth was trained on: 0 (pascal), contiguous:0 (coco), fss")
    add("--out", default="outdir", metavar="DIR", help="main.py's folder (default %(default)s)")
    add("--to", metavar="DIR", help="folder for the tables and the picture (default OUT/vary)")
    add("--protocol", choices=tuple(PROTOCOLS), help="the paper's own, or HSNet's (default ssp)")
    add("--episodes", type=whole(1), help="episodes of a seed (default the protocol's)")
    add("--episodes-from", metavar="FILE", help="run the episodes of a file that test.py --save-episodes wrote")
    add("--amp", action="store_true", help="run the backbone in bfloat16, meant for CUDA; results differ slightly")
    # what test.py has besides
    parser.set_defaults(seed=None, seeds=None, tag=None, json=None, save_episodes=None, visualize=None, results=None)
    parser.set_defaults(visualize_numbers=None, visualize_episodes=None)
    flags = parse_flags(parser, argv)
    if flags.amp and flags.engine == "plain":
        raise UserError("--amp belongs to --engine planned, the plain one is the reference")
    check_engine(flags.engine)
    return flags


def parse_values(words: Sequence[str]) -> dict[str, list[Value]]:
    """The values of each setting that words of --vary, NAME=V1,V2, give. Raises UserError for wrong words."""
    values: dict[str, list[Value]] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name in values:
            raise UserError(f"--vary gives {name} twice; give all its values at once, with commas between")
        found = [parse_setting(f"{name}={value.replace('/', ',')}", "--vary")[1] for value in text.split(",")]
        values[name] = list(dict.fromkeys(found))
    check_training_alone(values)
    return values


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Evaluate under each setting; returns a record for each (engine/evaluation/variations.py)."""
    flags = parse(argv)
    values = parse_values(flags.vary)
    evaluation = open_evaluation(flags)
    with distributed.joined(flags.device or default_device()) as device:
        return vary_settings(flags._replace(device=device), evaluation, values)


def vary(checkpoint: str | Path, data_root: str | Path, **flags: Any) -> list[dict[str, Any]]:
    """The same from Python: vary("a.ckpt", "VOC2012", vary={"fg_threshold": [0.6, 0.7]}, episodes=100).

    flags: those of the command line, with _ for -; True for a flag without a value.
    """
    words = ["--checkpoint", str(checkpoint), "--data-root", str(data_root)]
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            texts = [f"{key}={','.join('/'.join(map(str, v)) if isinstance(v, tuple) else str(v) for v in some)}"
                     for key, some in value.items()]  # fmt: skip
        else:
            texts = [] if value is False else [None if value is True else str(value)]
        words += [word for text in texts for word in (flag, text) if word is not None]
    return main(words)


def vary_settings(flags: Any, evaluation: Evaluation, values: Mapping[str, Sequence[Value]]) -> list[dict[str, Any]]:
    """Plan the episodes of all seeds, segment them under all settings, print and write the tables and the picture."""
    # Here, so that --help and wrong flags need not wait for torch.
    from engine.checkpoint import load_network
    from engine.evaluation.estimate import duration
    from engine.evaluation.kept_counts import KeptCounts
    from engine.evaluation.variations import estimate_seconds, evaluate_variations, make_variations
    from tables.variations import CSV_MARK, TABLE_MARK, VARIATIONS_MARK, describe, draw_variations, to_csv, to_markdown

    path, checkpoint, setting, protocol, wanted = evaluation
    check_meaning({name: some[0] for name, some in values.items()}, setting.method, setting.refine)
    variations = make_variations(setting.variation, values, flags.one_at_a_time)
    if len(variations) > MOST_SETTINGS:
        raise UserError(f"--vary makes {len(variations)} settings, more than {MOST_SETTINGS}; name fewer values")
    folder = Path(flags.to or Path(flags.out) / "vary")
    files = {name: folder / name for name in ("table.md", "table.csv", "records.json", "picture.png")}
    marks = TABLE_MARK, CSV_MARK, RECORDS_MARK, VARIATIONS_MARK
    check_outputs(
        {f"--to: {file.name}": OutputFile(file, mark) for file, mark in zip(files.values(), marks, strict=True)},
        [path, flags.episodes_from],
    )
    check_writable(folder)

    options = EvaluationOptions(flags.workers, flags.engine, flags.cache_gb, flags.amp)
    tested = open_evaluation_set(
        setting, protocol, wanted, flags.data_root, hsnet_lists=flags.splits, workers=flags.workers
    )
    images, plans, classes, _, _ = tested
    lines = describe_evaluation(setting, protocol, tested, checkpoint.info, path=path, source=flags.episodes_from)
    distributed.say(*lines, *describe_missing_classes(tested, protocol), f"{len(variations)} settings")
    for line in find_warnings(evaluation, tested, flags.splits):
        distributed.say(f"WARNING: {line}", file=sys.stderr)
    net = build_network(setting.method, setting.backbone, setting.refine)
    load_network(net, checkpoint.state_dict, path)
    net.to(flags.device)
    seconds = estimate_seconds(net, images, plans, variations, protocol, options)
    if seconds > LONG_SECONDS:
        distributed.say(f"about {duration(seconds)}")

    key = digest(flags, evaluation, variations, plans)
    kept = KeptCounts(folder, key) if flags.engine == "planned" else None
    records = evaluate_variations(net, images, plans, variations, protocol, classes, options, kept)
    if distributed.rank() == 0:
        texts = to_markdown(records), to_csv(records), json.dumps(records, indent=1)
        for file, text in zip(files.values(), texts, strict=False):
            with atomic_write(file) as stream:
                stream.write(text.encode())
        title = f"{path.name} on {setting.describe()}, {setting.shot}-shot"
        try:
            drawn = draw_variations(records, values, files["picture.png"], title)
        except UserError as error:  # the tables are there
            distributed.say(f"note: no picture: {error}")
            drawn = False
        distributed.say(*describe(records), f"tables{' and picture' if drawn else ''}: {folder}")
    if kept:
        kept.remove()
    return records


def digest(flags: Any, evaluation: Evaluation, variations: Sequence[Variation], plans: Mapping[int, Any]) -> str:
    """A digest of all that the counts depend on: weights, code, settings, episodes, and how they are computed."""
    path, _, setting, protocol, _ = evaluation
    parts = [setting.as_dict(), protocol.name, [str(each) for each in variations], flags.amp, str(flags.device)]
    parts += [str(Path(flags.data_root).resolve())]
    parts += [code_digest(setting.method, setting.backbone), method_digest(), list(plans.items())]
    return digest_inputs(parts, [path])


if __name__ == "__main__":
    util.launch.command(main)
