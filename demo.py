"""The whole method on a toy dataset, in a few minutes on a laptop: `make demo`.

Makes 20 classes of colour and texture, trains the baseline and SSP on fifteen of them from random
weights, evaluates untrained, baseline, SSP and SSP with refinement on the other five over five seeds,
prints the table and draws episodes with predictions. It writes to data/toy and outdir_demo.
"""

from __future__ import annotations

import time
from pathlib import Path

import main as training
import prepare
import test as testing
from dataset import class_index, open_part, open_pool, plan_episodes
from dataset.samples import TrainingSamples
from engine.checkpoint import load_checkpoint, load_network, save_weights
from engine.evaluation.evaluate import segment
from engine.evaluation.gallery import masked
from engine.options import OneLineParser
from engine.pictures import episode_panel, legend, save_png, stack
from engine.setting import Setting
from engine.training.start import start_network
from model import build_model
from util.files import atomic_write
from util.launch import command

HERE = Path(__file__).parent
DATA, OUT = HERE / "data" / "toy", HERE / "outdir_demo"
FOLD = 0
SETTING = ["--data-root", str(DATA), "--fold", str(FOLD), "--shot", "1"]
TRAINING = [
    *SETTING, "--pretrained", "none", "--crop-size", "129", "--lr", "3e-3", "--episode", "800", "--snapshot", "200",
    "--test-episodes", "100", "--seeds", "1", "--resume",
]  # fmt: skip
TEST_EPISODES = 200
DRAWN_EPISODES = 6


def untrained_weights(path: Path) -> Path:
    """The random weights, with calibrated batch norms, that the training of SSP starts from."""
    args = training.parse([*TRAINING, "--refine"])
    part = open_part(args.dataset, args.data_root, "train", args.fold)
    samples = TrainingSamples(part.images, open_pool(part, args.shot), args.shot, args.crop_size, 1, args.seed)
    net = start_network(Setting.of(vars(args)), samples, args.pretrained, args.device)
    save_weights(path, net.state_dict())
    return path


def draw_episodes(path: Path, rows: dict[str, tuple[Path, list[str]]]) -> None:
    """Draw a line for each episode of novel classes: support, query with the truth, each network's prediction."""
    images, novel, _ = open_part("pascal", DATA, "test", FOLD)
    episodes = plan_episodes(class_index(images), novel, 1, seed=1, episodes=DRAWN_EPISODES)
    predictions = {}
    for name, (checkpoint, flags) in rows.items():
        known = load_checkpoint(checkpoint)
        net = build_model(known.info["method"], known.info["backbone"], refine="--refine" in flags).eval()
        load_network(net, known.state_dict, checkpoint)
        predictions[name] = segment(net, images, episodes, workers=0)

    lines = [
        episode_panel(
            [masked(images, support, episode.cls) for support in episode.supports],
            masked(images, episode.query, episode.cls),
            [(name, found[number].numpy()) for name, found in predictions.items()],
        )
        for number, episode in enumerate(episodes)
    ]
    save_png(stack([legend(lines[0].width), *lines]), path)


def main() -> None:
    OneLineParser(__doc__).parse_args()
    try:
        demonstrate()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run it again to go on") from None


def demonstrate() -> None:
    started = time.perf_counter()
    if not DATA.exists():
        prepare.main(["toy", "--out", str(DATA)])
    print("\n-- baseline --")
    baseline = training.main([*TRAINING, "--method", "baseline", "--out", str(OUT / "baseline")])
    print("\n-- SSP --")
    ssp = training.main([*TRAINING, "--refine", "--out", str(OUT / "ssp")])
    untrained = untrained_weights(OUT / "untrained.pth")
    rows = {
        "untrained": (untrained, ["--refine"]),
        "baseline": (baseline, []),
        "SSP": (ssp, ["--no-refine"]),
        "SSP + refine": (ssp, ["--refine"]),
    }
    lines = ["| novel classes, 1-shot | mIoU | std | FB-IoU |", "| :-- | --: | --: | --: |"]
    for name, (checkpoint, flags) in rows.items():
        print(f"\n-- {name} --")
        result = testing.main([*SETTING, *flags, "--checkpoint", str(checkpoint), "--episodes", str(TEST_EPISODES)])
        lines.append(f"| {name} | {result['miou']:.1f} | {result['miou_std']:.1f} | {result['fb_iou']:.1f} |")
    draw_episodes(OUT / "episodes.png", rows)
    table = "\n".join(lines)
    with atomic_write(OUT / "table.md") as file:
        file.write(f"{table}\n".encode())
    print(f"\n{table}\n")
    print(f"five seeds of {TEST_EPISODES} episodes, {(time.perf_counter() - started) / 60:.1f} minutes in all")
    for picture in (OUT / "episodes.png", *sorted(OUT.rglob("*.history.png"))):
        print(f"picture: {picture.relative_to(HERE)}")


if __name__ == "__main__":
    command(main)
