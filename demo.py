"""The whole method on a toy dataset, in a few minutes on a laptop: `make demo`.

Paints 20 classes of colour and texture. Trains on fifteen: first a backbone (the baseline, from random weights), as
the paper starts from ImageNet weights; then from it the baseline and SSP, for as many episodes each. Tests on the other
five classes over five seeds and prints the paper's ablation: untrained; baseline; SSP's weights with the supports'
prototypes alone (step 2 of docs/method.md), with self-support, with refinement. Draws episodes, a look inside and a
page of episodes. It writes to data/toy and outdir_demo (another fold: outdir_demo_fold_K).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import main as training
import prepare
import util.launch
from dataset import Episode, open_pool, open_split
from dataset.images import ImageSet
from dataset.samples import TrainingSamples
from engine.checkpoint import load_checkpoint, load_network, save_weights
from engine.drawing import draw_line, save_png, stack_rows
from engine.evaluation.evaluate import evaluate, result_table, segment
from engine.evaluation.gallery import choose, headline, load_masked, write_gallery
from engine.evaluation.panel import draw_panel, draw_panel_legend
from engine.evaluation.protocol import PAPER, plan_seeds
from engine.options import OneLineParser, default_device, device, whole
from engine.setting import Setting
from engine.training.start import start_network
from model import SSP, Baseline, FewShotNetwork, build_model
from model.weights import flat_key
from prediction import Predictor, draw_explanation
from util.files import atomic_write

HERE = Path(__file__).parent
DATA, OUT = HERE / "data" / "toy", HERE / "outdir_demo"
TRAINING = ["--crop-size", "129", "--test-episodes", "50", "--seeds", "1", "--resume"]
BACKBONE = [*TRAINING, "--pretrained", "none", "--lr", "3e-3", "--episode", "800", "--snapshot", "200"]
METHODS = [*TRAINING, "--episode", "200", "--snapshot", "40"]  # with the paper's learning rate
TEST_EPISODES = 200
SHOWN_EPISODES = 60  # on the page
DRAWN_NETWORKS = ("baseline", "SSP's weights, step 2", "SSP", "SSP + refine")  # networks whose predictions are drawn


class PrototypesAlone(SSP):
    """SSP that stops after step 2: it matches with the supports' prototypes, as the baseline does."""

    match, trace, match_episodes = Baseline.match, FewShotNetwork.trace, Baseline.match_episodes
    fast_forms_of = Baseline.fast_forms_of


def build_untrained(flags: list[str]) -> FewShotNetwork:
    """SSP with the random weights, and calibrated batch norms, that all training starts from."""
    args = training.parse([*flags, "--method", "ssp", "--refine"])
    part = open_split(args.dataset, args.data_root, "train", args.fold)
    pool = open_pool(part, args.shot)
    samples = TrainingSamples(part.images, pool, args.shot, args.crop_size, length=1, seed=args.seed)
    return start_network(Setting.of(vars(args)), samples, args.pretrained, device("cpu"))


def export_backbone(checkpoint: Path, path: Path) -> Path:
    """A trained network's backbone, spelled as a file of ImageNet weights."""
    save_weights(path, {flat_key(key): x for key, x in load_checkpoint(checkpoint).state_dict.items()})
    return path


def load_into(net: FewShotNetwork, checkpoint: Path) -> FewShotNetwork:
    """The network with the weights of a checkpoint."""
    load_network(net, load_checkpoint(checkpoint).state_dict, checkpoint)
    return net


def choose_episodes(episodes: Sequence[Episode], baseline: dict[str, Any], ours: dict[str, Any]) -> list[Episode]:
    """Episodes of the first seed, by their gain over the baseline in IoU: for each novel class the one with the median
    gain, then the largest gain and the largest loss of all."""
    scores = (result["seeds"][0]["episode_iou"] for result in (baseline, ours))
    gain = {episode: b - a for episode, a, b in zip(episodes, *scores, strict=True)}
    of_class: dict[int, list[Episode]] = {}
    ranked = sorted(gain, key=gain.__getitem__)
    for episode in ranked:
        of_class.setdefault(episode.cls, []).append(episode)
    return [*(of_class[cls][len(of_class[cls]) // 2] for cls in sorted(of_class)), ranked[-1], ranked[0]]


def draw_episodes(
    path: Path, images: ImageSet, episodes: Sequence[Episode], networks: Mapping[str, FewShotNetwork]
) -> None:
    """Draw a line for each of choose_episodes: support, query with the truth, each network's prediction."""
    predictions = {name: segment(net, images, episodes, workers=0) for name, net in networks.items()}
    lines = [
        draw_panel(
            [load_masked(images, support, episode.cls) for support in episode.supports],
            load_masked(images, episode.query, episode.cls),
            [(name, found[number].numpy()) for name, found in predictions.items()],
        )
        for number, episode in enumerate(episodes)
    ]
    why = [*["median gain of its class"] * (len(episodes) - 2), "largest gain of all", "largest loss of all"]
    rows = [draw_panel_legend(lines[0].width)]
    for episode, told, line in zip(episodes, why, lines, strict=True):
        rows += [draw_line(f"{images.class_names[episode.cls]}: {told}"), line]
    save_png(stack_rows(rows), path)


def draw_inside(path: Path, images: ImageSet, episode: Episode, net: FewShotNetwork) -> None:
    """Draw what each step finds in an episode's query."""
    found = Predictor(net)
    supports, masks = zip(*(load_masked(images, support, episode.cls) for support in episode.supports), strict=True)
    found.set_support(supports, masks)
    save_png(draw_explanation(found.explain(load_masked(images, episode.query, episode.cls)[0])), path)


def main(argv: list[str] | None = None) -> None:
    """Train, test and draw; what was finished before is not done again."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--fold", type=whole(0, 3), default=0, help="(default %(default)s)")
    args = parser.parse_args(argv)
    try:
        demonstrate(args.fold, OUT if args.fold == 0 else OUT.with_name(f"{OUT.name}_fold_{args.fold}"))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run it again to go on") from None


def demonstrate(fold: int, out: Path) -> None:
    started = time.perf_counter()
    setting = ["--data-root", str(DATA), "--fold", str(fold), "--shot", "1"]
    if not DATA.exists():
        prepare.main(["toy", "--out", str(DATA)])

    print("\n-- the backbone that both start from --")
    backbone = training.main([*setting, *BACKBONE, "--method", "baseline", "--out", str(out / "backbone")])
    start = [*setting, *METHODS, "--pretrained", str(export_backbone(backbone, out / "backbone.pth"))]
    print("\n-- baseline --")
    baseline = training.main([*start, "--method", "baseline", "--out", str(out / "baseline")])
    print("\n-- SSP --")
    ssp = training.main([*start, "--refine", "--out", str(out / "ssp")])

    networks = {
        "untrained": build_untrained([*setting, *BACKBONE]),
        "baseline": load_into(build_model("baseline"), baseline),
        "SSP's weights, step 2": load_into(build_model(PrototypesAlone), ssp),
        "SSP": load_into(build_model("ssp"), ssp),
        "SSP + refine": load_into(build_model("ssp", refine=True), ssp),
    }
    part = open_split("pascal", DATA, "test", fold)
    plans = plan_seeds(part, 1, range(PAPER.seeds), TEST_EPISODES)
    results = {}
    lines = ["| novel classes, 1-shot | mIoU | std | FB-IoU |", "| :-- | --: | --: | --: |"]
    for name, net in networks.items():
        print(f"\n-- {name} --")
        result = evaluate(net.to(default_device()).eval(), part.images, plans, classes=part.classes)
        print(result_table(result, part.images.class_names, part.classes))
        lines.append(f"| {name} | {result['miou']:.1f} | {result['miou_std']:.1f} | {result['fb_iou']:.1f} |")
        results[name] = result

    chosen = choose_episodes(plans[0], results["baseline"], results["SSP + refine"])
    draw_episodes(out / "episodes.png", part.images, chosen, {name: networks[name] for name in DRAWN_NETWORKS})
    draw_inside(out / "explained.png", part.images, chosen[-2], networks["SSP + refine"])
    refined = results["SSP + refine"]
    title = f"Toy images: {headline(Setting(fold=fold, refine=True), PAPER, plans, refined)}"
    shown = choose(plans, refined, SHOWN_EPISODES)
    write_gallery(out / "look", title, networks["SSP + refine"], part.images, shown=shown)
    of_one = METHODS[METHODS.index("--test-episodes") + 1]
    about = (
        f"Toy images, fold {fold}, crops of 129 pixels, from random weights; five seeds of {TEST_EPISODES} episodes. "
        f"The mIoU in a file's name is of one seed of {of_one} episodes."
    )
    table = "\n".join([*lines, "", about])
    with atomic_write(out / "table.md") as file:
        file.write(f"{table}\n".encode())
    print(f"\n{table}\n")
    print(f"{(time.perf_counter() - started) / 60:.1f} minutes in all")
    print(what_to_open(out))


def what_to_open(out: Path) -> str:
    """The last lines: what to look at, and where to go on."""
    pictures = {
        "episodes.png": "each novel class's median gain over the baseline, the largest gain, the largest loss",
        "explained.png": "what each step of the method finds where the gain is largest",
        "look/index.html": "the best, the worst and other episodes of SSP + refine, in a browser",
    }
    pictures |= {str(path.relative_to(out)): "losses and mIoU of a training" for path in out.rglob("*.history.png")}
    lines = ["to look at:", *(f"  {out.relative_to(HERE) / name}  {tells}" for name, tells in pictures.items())]
    lines.append("to paint an object of your own: make app")
    lines.append("for the commands of README.md: source .venv/bin/activate; for real data: docs/start.md")
    return "\n".join(lines)


if __name__ == "__main__":
    util.launch.command(main)
