"""The paper's ablation on toy images, in two minutes on a laptop: `make demo`.

Paints 20 classes of colour and texture. Starts from ImageNet's weights, as the paper does: a small backbone's, from a
package. Tests on five classes over five seeds with the backbone as it is (frozen), and again after a short training on
the other fifteen: the baseline; SSP's weights with the supports' prototypes alone (step 2 of docs/method.md), with
self-support, with refinement. Says what each adds, and draws episodes, a look inside and a page of episodes. It writes
to data/toy and outdir_demo (another fold or seed: outdir_demo_fold_K_seed_N).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import main as training
import prepare
import util.launch
from dataset import Episode, open_split
from dataset.images import ImageSet
from engine.drawing import draw_line, save_png, stack_rows
from engine.evaluation.compare import compare_miou, gather_counts
from engine.evaluation.evaluate import evaluate, segment
from engine.evaluation.gallery import choose, headline, load_masked, write_gallery
from engine.evaluation.panel import draw_panel
from engine.evaluation.protocol import PAPER, plan_seeds
from engine.options import OneLineParser, default_device, whole
from engine.package import BACKBONE, find_package
from engine.setting import Setting
from engine.variation import COMPONENTS
from model import FewShotNetwork
from prediction import Predictor, draw_explanation
from prediction.load import load_trained
from util.files import atomic_write

HERE = Path(__file__).parent
DATA, OUT = HERE / "data" / "toy", HERE / "outdir_demo"
EPISODES = 200  # of a seed
STEPS, BATCH = 60, 4
FLAGS = ["--crop-size", "129", "--batch-size", str(BATCH), "--test-episodes", str(EPISODES), "--seeds", "1", "--resume"]
TRAINED = ["--lr", "1e-2", "--episode", str(STEPS * BATCH), "--snapshot", str(STEPS * BATCH)]  # the end is what counts
WAYS = {"frozen": ["--frozen", "--episode", "0"], "trained": TRAINED}
DRAWN_NETWORKS = ("baseline", "SSP + refine")  # whose predictions are drawn
SHOWN_EPISODES = 60  # on the page


def load_networks(baseline: Path, ssp: Path) -> dict[str, FewShotNetwork]:
    """The networks of the ablation, by the checkpoints of two trainings; the last three share SSP's weights."""
    networks = {
        "baseline": load_trained(baseline),
        "step 2 alone": load_trained(ssp, refine=False, settings=COMPONENTS["self-support"]),
        "SSP": load_trained(ssp, refine=False),
        "SSP + refine": load_trained(ssp),
    }
    return {name: trained.net.to(default_device()) for name, trained in networks.items()}


def describe_differences(results: Mapping[str, Any]) -> list[str]:
    """A sentence for each two neighbours of the ablation: the difference on the same episodes, and its interval."""
    lines = []
    for (name, of_name), (other, of_other) in pairwise(results.items()):
        a, b = gather_counts(of_name), gather_counts(of_other)
        difference, low, high = compare_miou(a.counts, b.counts, a.classes, a.queries, a.seeds)
        side = "above" if difference >= 0 else "below"
        zero = "inside" if low <= 0 <= high else "outside"
        points = f"{abs(difference):.1f} points {side} {name} on the same episodes"
        lines.append(f"{other} is {points} (95 % interval {low:+.1f} to {high:+.1f}, zero is {zero})")
    return lines


def choose_episodes(
    episodes: Sequence[Episode], baseline: Mapping[str, Any], ours: Mapping[str, Any]
) -> dict[str, Episode]:
    """Episodes of the first seed by their gain over the baseline in IoU: the median, the largest and the smallest."""
    scores = (result["seeds"][0]["episode_iou"] for result in (baseline, ours))
    gains = [b - a for a, b in zip(*scores, strict=True)]
    ranked = sorted(range(len(gains)), key=gains.__getitem__)
    chosen = {"median gain over the baseline": ranked[len(ranked) // 2], "largest gain": ranked[-1]}
    return {why: episodes[number] for why, number in {**chosen, "largest loss": ranked[0]}.items()}


def draw_episodes(
    path: Path, images: ImageSet, chosen: Mapping[str, Episode], networks: Mapping[str, FewShotNetwork]
) -> None:
    """Draw each chosen episode: why it was, then support, the query's truth and each network's prediction."""
    found = {name: segment(net, images, list(chosen.values())) for name, net in networks.items()}
    rows = []
    for number, (why, episode) in enumerate(chosen.items()):
        supports = [load_masked(images, support, episode.cls) for support in episode.supports]
        query = load_masked(images, episode.query, episode.cls)
        predictions = [(name, masks[number].numpy()) for name, masks in found.items()]
        rows.append(draw_line(f"{images.class_names[episode.cls]}: {why}"))
        rows.append(draw_panel(supports, query, predictions))
    save_png(stack_rows(rows), path)


def draw_inside(path: Path, images: ImageSet, episode: Episode, net: FewShotNetwork) -> None:
    """Draw what each step finds in an episode's query."""
    found = Predictor(net)
    supports, masks = zip(*(load_masked(images, support, episode.cls) for support in episode.supports), strict=True)
    found.set_support(supports, masks)
    save_png(draw_explanation(found.explain(load_masked(images, episode.query, episode.cls)[0]), columns=3), path)


def main(argv: list[str] | None = None) -> None:
    """Train, test and draw; what was finished before is not done again."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--fold", type=whole(0, 3), default=0, help="of classes (default %(default)s)")
    parser.add_argument("--seed", type=whole(0), default=0, help="of the training (default %(default)s)")
    args = parser.parse_args(argv)
    name = f"{OUT.name}_fold_{args.fold}_seed_{args.seed}" if args.fold or args.seed else OUT.name
    try:
        demonstrate(args.fold, args.seed, OUT.with_name(name))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run it again to go on") from None


def demonstrate(fold: int, seed: int, out: Path) -> None:
    """The demo of a fold, trained with a seed, in a folder."""
    started = time.perf_counter()
    start = ["--backbone", BACKBONE, "--pretrained", str(find_package())]
    if not DATA.exists():
        prepare.main(["toy", "--out", str(DATA)])
    flags = [*start, "--data-root", str(DATA), "--fold", str(fold), "--seed", str(seed), *FLAGS]
    part = open_split("pascal", DATA, "test", fold)
    plans = plan_seeds(part, 1, range(PAPER.seeds), EPISODES)
    results, sentences = {}, []
    for way, how in WAYS.items():
        home = out if way == "trained" else out / way
        print(f"\n-- {way} --")
        baseline = training.main([*flags, *how, "--method", "baseline", "--out", str(home / "baseline")])
        ssp = training.main([*flags, *how, "--refine", "--out", str(home / "ssp")])
        networks = load_networks(baseline, ssp)
        results[way] = found = {
            name: evaluate(net, part.images, plans, classes=part.classes) for name, net in networks.items()
        }
        sentences += [f"{way}: {sentence}" for sentence in describe_differences(found)]

    refined, net = found["SSP + refine"], networks["SSP + refine"]
    chosen = choose_episodes(plans[0], found["baseline"], refined)
    draw_episodes(out / "episodes.png", part.images, chosen, {name: networks[name] for name in DRAWN_NETWORKS})
    draw_inside(out / "explained.png", part.images, chosen["largest gain"], net)
    title = f"Toy images: {headline(Setting(fold=fold, backbone=BACKBONE, refine=True), PAPER, plans, refined)}"
    write_gallery(out / "look", title, net, part.images, choose(plans, refined, SHOWN_EPISODES))
    lines = ["| novel classes, 1-shot mIoU | frozen | trained |", "| :-- | --: | --: |"]
    for name in networks:
        cells = ("{miou:.1f} ±{miou_std:.1f}".format(**results[way][name]) for way in WAYS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    data = f"Toy images, fold {fold}, {PAPER.seeds} x {EPISODES} episodes; {STEPS} training steps with seed {seed}."
    text = "\n".join([*lines, "", data, "Step 2 alone: SSP's weights, the supports' prototypes.", "", *sentences])
    with atomic_write(out / "table.md") as file:
        file.write(f"{text}\n".encode())
    print(f"\n{text}\n\n{time.perf_counter() - started:.0f} seconds in all\n{what_to_open(out)}")


def what_to_open(out: Path) -> str:
    """The last lines: what to look at, and where to go on."""
    pictures = {
        "episodes.png": "the median gain over the baseline, the largest gain, the largest loss",
        "explained.png": "what each step of the method finds where the gain is largest",
        "look/index.html": "the best, the worst and other episodes of SSP + refine, in a browser",
    }
    lines = ["to look at:", *(f"  {out.relative_to(HERE) / name}  {tells}" for name, tells in pictures.items())]
    lines.append("to paint an object of your own: make app")
    lines.append("for the commands of README.md: source .venv/bin/activate; for real data: docs/start.md")
    return "\n".join(lines)


if __name__ == "__main__":
    util.launch.command(main)
