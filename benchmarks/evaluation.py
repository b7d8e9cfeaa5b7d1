"""Planned evaluation against the plain one, episode by episode: time of an episode, in one run, alternating.

    python -m benchmarks.evaluation --data-root ../Datasets_SSP --fold 0

The real protocol has about 14 episodes for each distinct image (5,000 over some 360). Here as many are planned
over the images at hand; the plain engine runs the first few of the same episodes. Without --checkpoint the
weights are random with calibrated batch norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import torch

from benchmarks.timing import timed
from dataset import Episode, ImageSet, class_index, open_part, plan_episodes
from dataset.episodes import make_pool
from dataset.samples import Pictures
from engine.checkpoint import load_checkpoint, load_network
from engine.evaluation.evaluate import count_plainly, peak_memory_gb
from engine.evaluation.planned import count_planned
from engine.options import OneLineParser, default_device, positive, whole
from engine.setting import CACHE_GB
from model import BACKBONES, FewShotNetwork, build_model, calibrate_batch_norms, fold_batch_norms
from util.launch import command

SEEDS = 5


def network(backbone: str, checkpoint: str | None, images: ImageSet) -> FewShotNetwork:
    """The network of a checkpoint, or random weights calibrated on the first image; it refines."""
    torch.manual_seed(0)
    if checkpoint is None:
        net = build_model("ssp", backbone, refine=True).eval()
        calibrate_batch_norms(net, Pictures(images, images.ids)[0][0][None])
        return net
    loaded = load_checkpoint(checkpoint)
    net = build_model("ssp", loaded.info["backbone"], refine=True).eval()
    load_network(net, loaded.state_dict, checkpoint)
    return net


@torch.inference_mode()
def parts(net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode]) -> tuple[float, float]:
    """Seconds of decoding each image of the episodes once, in one process, and of its bare trunk pass."""
    ids = sorted({image for episode in episodes for image in (episode.query, *episode.supports)})
    decoding, pictures = timed(lambda: [picture[None] for picture, _ in Pictures(images, ids)])
    device = next(net.parameters()).device
    folded = fold_batch_norms(net).to(memory_format=torch.channels_last)
    pictures = [picture.to(device).contiguous(memory_format=torch.channels_last) for picture in pictures]
    return decoding, timed(lambda: [folded.features(picture) for picture in pictures])[0]


def grow(net: FewShotNetwork, images: ImageSet, episodes: list[Episode], workers: int, cache_gb: float) -> None:
    """Time of more and more episodes over the same images."""
    generator = torch.Generator().manual_seed(0)
    shuffled = [episodes[number] for number in torch.randperm(len(episodes), generator=generator).tolist()]
    print()
    for count in (len(episodes) // 4, len(episodes) // 2, len(episodes)):
        part = shuffled[:count]
        seconds, (_, passes) = timed(lambda e=part: count_planned(net, images, e, workers, int(cache_gb * 2**30)))
        print(f"{len(part[0].supports)}-shot: {count:6} episodes, {passes} trunk passes: {seconds:7.1f} s")


def main() -> None:
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--data-root", required=True, metavar="DIR", help="VOC2012 or the folder that holds it")
    add("--fold", type=whole(0, 3), default=0)
    add("--shots", type=whole(1), nargs="+", default=[1, 5], help="(default 1 5)")
    add("--backbone", choices=BACKBONES, default="resnet50")
    add("--checkpoint", metavar="FILE", help="trained weights instead of random ones")
    add("--per-image", type=positive, default=14, help="planned episodes for each distinct image (default 14)")
    add("--plain-episodes", type=whole(1), default=12, help="of a round of the plain engine (default %(default)s)")
    add("--rounds", type=whole(1), default=3, help="(default %(default)s)")
    add("--growth", action="store_true", help="instead: the planned engine alone on a quarter, half and all episodes")
    add("--workers", type=whole(0), default=2, help="loader processes of both (default %(default)s)")
    add("--cache-gb", type=positive, default=CACHE_GB)
    args = parser.parse_args()
    images, novel, _ = open_part("pascal", args.data_root, "test", args.fold)
    index = class_index(images)
    net = network(args.backbone, args.checkpoint, images).to(default_device())
    distinct = len(make_pool(index, novel).names)
    count = round(args.per_image * distinct / SEEDS)
    for shot in args.shots:
        episodes = [e for seed in range(SEEDS) for e in plan_episodes(index, novel, shot, seed, count)]
        if args.growth:
            grow(net, images, episodes, args.workers, args.cache_gb)
            continue
        some = episodes[: args.plain_episodes]
        planned, plain = [], []
        for _ in range(args.rounds):
            seconds, (counts, passes) = timed(
                lambda e=episodes: count_planned(net, images, e, args.workers, int(args.cache_gb * 2**30))
            )
            planned.append(seconds / len(episodes))
            memory = peak_memory_gb(next(net.parameters()).device)  # so far: the plain engine comes after
            seconds, expected = timed(lambda e=some: count_plainly(net, images, e, args.workers))
            plain.append(seconds / len(some))
        other = int((counts[: len(some)] - expected).abs().sum()) // 2
        decoding, trunk = (1000 * seconds / len(episodes) for seconds in parts(net, images, episodes))
        ours, theirs = 1000 * median(planned), 1000 * median(plain)
        print(
            f"\n{shot}-shot, refine, {args.backbone}: {len(episodes)} episodes over {distinct} images, "
            f"{passes} trunk passes"
        )
        print(f"plain    {theirs:8.1f} ms an episode   (rounds: {', '.join(f'{1000 * s:.0f}' for s in plain)})")
        print(f"planned  {ours:8.1f} ms an episode   (rounds: {', '.join(f'{1000 * s:.1f}' for s in planned)})")
        print(f"ratio    {theirs / ours:8.1f}")
        print(
            f"of the planned: bare trunk passes {trunk:.1f} ms, matching and counting {ours - trunk:.1f} ms; decoding,"
        )
        print(f"which the loader processes do ahead, would be {decoding:.1f} ms in one")
        print(f"pixels predicted otherwise in {len(some)} episodes: {other}; peak memory {memory:.2f} GB")


if __name__ == "__main__":
    command(main)
