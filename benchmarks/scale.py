"""Where the time of COCO-20i goes on several GPUs and nodes, reckoned from single times that are measured here.

    python -m benchmarks.scale --data-root ../Datasets_SSP --pass-ms 2 10 [--link 10gbit]

It measures what one process does (loading an image of 640x480 pixels with its mask, a backbone pass, the matching of
an episode, a training sample, a training step), plans the 20,000 episodes of an evaluation, and with --link adds up
gradients between two hosts (benchmarks/link.py). From these it reckons an evaluation and a training
(benchmarks/scale_model.py): no cluster is measured. --pass-ms assumes devices of which only a pass is known.
Without --link the link is ASSUMED to carry what its name says. The images may be any: only their sizes matter.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.evaluation import network
from benchmarks.link import measure_link
from benchmarks.planning import synthetic_index
from benchmarks.scale_costs import gradient_bytes, measure_costs
from benchmarks.scale_model import Costs, Link, Load, assumed_costs, evaluation, limit, loads, training_step
from benchmarks.timing import timed
from dataset import Episode, open_split, plan_episodes
from dataset.coco import Coco
from dataset.hsnet import group_by_class
from engine.evaluation.estimate import duration
from engine.evaluation.planned import group
from engine.options import OneLineParser, default_device, positive, whole
from engine.setting import CACHE_GB, RECIPE
from model import BACKBONES, build_model
from model.resnet import ResNet
from util.errors import UserError
from util.launch import command
from util.memory import keep_freed_memory
from util.table import align_columns

PIXELS = 640 * 480  # of COCO's usual image
FEATURES = 4 * ResNet.channels * -(-640 // ResNet.stride) * -(-480 // ResNet.stride)  # bytes
SEEDS, CROP = 5, 473
ASSUMED = Link(rate=10e9 / 8, delay=2e-4)  # 10 Gbit/s
CLUSTERS = ((1, 1, 4), (1, 4, 4), (2, 2, 4), (2, 4, 8))  # nodes, processes of each, episodes of a step


def plan(lists: str | None, shot: int) -> list[Episode]:
    """The episodes of all seeds of COCO-20i's fold 0: over HSNet's lists, or without them over a synthetic index."""
    index, novel = synthetic_index(), range(1, 21)
    if lists:
        pairs = Coco.read_hsnet_list(Coco.hsnet_list(lists, 0))
        novel = sorted(group_by_class(pairs))
        index = {image: {} for image, _ in pairs}
        for image, cls in pairs:
            index[image][cls] = 2**31  # a list holds what is large enough
    return [e for seed in range(SEEDS) for e in plan_episodes(index, novel, shot, seed, Coco.episodes)]


def measured_link(rate: str | None, gradients: int) -> Link:
    """The link that the flag names; the assumed one without a name, or where hosts cannot be made."""
    if rate:
        try:
            seconds = measure_link(rate, [4, gradients])
        except UserError as error:
            print(f"--link {rate} is skipped: {error}")
        else:
            print(f"{gradients} bytes added up by two hosts over {rate}: {1000 * seconds[gradients]:.1f} ms")
            return Link(gradients / (seconds[gradients] - seconds[4]), seconds[4])
    print("the link is assumed: 10 Gbit/s, 0.2 ms")
    return ASSUMED


def show(
    device: str, costs: Costs, found: dict[int, list[Load]], sizes: tuple[int, int], args: argparse.Namespace
) -> None:
    """Print the parts of an evaluation and of a training on each cluster, for a device of these costs."""
    prototypes, gradients = sizes
    per_part = ", ".join(f"{name} {1000 * seconds:.2f}" for name, seconds in costs._asdict().items())
    print(f"\n{device}; ms: {per_part}")
    tests, steps, titles = [], [], []
    for nodes, per_node, batch in CLUSTERS:
        processes = nodes * per_node
        link = args.reckoned if nodes > 1 else Link(float("inf"), 0.0)  # within a node nothing slows them down
        titles.append(f"{nodes} x {per_node}, batch {batch}")
        tests.append(evaluation(found[processes], costs, args.workers, prototypes, link))
        steps.append(training_step(batch // processes, processes, costs, args.workers, gradients, link))
    rows = [["evaluation, s", *titles], *cells(tests, 1)]
    rows += [["training step, ms", *titles], *cells(steps, 1000)]
    totals = [duration(x["all"] * RECIPE.episodes / batch) for x, (_, _, batch) in zip(steps, CLUSTERS, strict=True)]
    rows.append([f"{RECIPE.episodes} episodes", *totals])
    print("\n".join(align_columns(rows)))


def cells(columns: Sequence[dict[str, float]], unit: float) -> list[list[str]]:
    """The rows of a table whose columns hold the same parts, and one that names the longest part of each."""
    rows = [[f"  {part}", *(f"{unit * parts[part]:.1f}" for parts in columns)] for part in columns[0]]
    return [*rows, ["  limited by", *map(limit, columns)]]


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="VOC2012 or the folder that holds it")
    add("--backbone", choices=BACKBONES, default="resnet50")
    add("--shot", type=whole(1), default=1)
    add("--splits", metavar="DIR", help="HSNet's data/splits, for the images that COCO's fold 0 really has")
    add("--pass-ms", type=positive, nargs="*", default=[], help="a backbone pass of each ASSUMED device")
    add("--match-ms", type=positive, nargs="*", default=[], help="an episode's matching there (default: a tenth of it)")
    add("--workers", type=whole(0), default=4, help="loader processes of each process (default %(default)s)")
    add("--cache-gb", type=positive, default=CACHE_GB, help="of a process, for features (default %(default)s)")
    add("--link", metavar="RATE", help="measure a link between two hosts, such as 10gbit; needs root")
    args = parser.parse_args()
    if args.match_ms and len(args.match_ms) != len(args.pass_ms):
        raise UserError("--match-ms: give one number for each of --pass-ms, or none")
    seconds, episodes = timed(lambda: plan(args.splits, args.shot))
    of_query, of_support = group(episodes)
    both, rows = len(of_query.keys() & of_support.keys()), sum(map(len, of_support.values()))
    print(f"{len(episodes)} episodes planned in {seconds:.1f} s: {len(of_query.keys() | of_support.keys())} images, ")
    print(f"{len(of_query)} of them queries, {len(of_support)} supports, {both} both; {rows} pairs of prototypes")
    kept = int(args.cache_gb * 2**30 / FEATURES)
    print(f"--cache-gb {args.cache_gb:g} keeps the features of {kept} images in each process")
    gradients = {name: gradient_bytes(build_model("ssp", name, refine=True)) for name in BACKBONES}
    print("gradients, bytes:", ", ".join(f"{name} {size}" for name, size in gradients.items()))
    args.reckoned = measured_link(args.link, gradients[args.backbone])

    if default_device().type == "cpu":
        keep_freed_memory()
    train = open_split("pascal", args.data_root, "train", 0)
    net = network(args.backbone, None, train.images).to(default_device())
    own = measure_costs(net, train, PIXELS, max(1, round(len(episodes) / len(of_query))), CROP, share=1)
    found = {size: loads(episodes, size, kept) for size in {nodes * each for nodes, each, _ in CLUSTERS}}
    sizes = (2 * 4 * ResNet.channels * rows, gradients[args.backbone])
    show(f"measured, {default_device()}", own, found, sizes, args)
    for number, ms in enumerate(args.pass_ms):
        match = args.match_ms[number] / 1000 if args.match_ms else None
        device = assumed_costs(own, ms / 1000, match, 1 + args.shot, CROP**2 / PIXELS)
        show(f"ASSUMED, a pass of {ms:g} ms", device, found, sizes, args)


if __name__ == "__main__":
    command(main)
