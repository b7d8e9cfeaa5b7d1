"""Planned evaluation against the plain one, episode by episode: time of an episode, in one run, alternating.

    python -m benchmarks.evaluation --data-root ../Datasets_SSP --fold 0

The real protocol has about 14 episodes for each distinct image (5,000 over some 360). Here as many are planned
over the images at hand; the plain engine runs the first few of the same episodes. Without --checkpoint the
weights are random with calibrated batch norms. docs/speed.md was measured on photographs of VOC's sizes
with VOC's masks, which do not belong to them: for speed and exactness, not for an mIoU.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from statistics import median

import torch
from torch import Tensor

from benchmarks.timing import timed
from dataset import Episode, ImageSet, class_index, open_split, plan_episodes
from dataset.episodes import images_of, make_pool
from dataset.samples import Pictures
from engine.checkpoint import load_checkpoint, load_network
from engine.evaluation.evaluate import count_plainly, peak_memory_gb
from engine.evaluation.planned import count_planned
from engine.evaluation.protocol import EvaluationOptions
from engine.options import OneLineParser, default_device, positive, whole
from engine.setting import CACHE_GB
from model import BACKBONES, FewShotNetwork, build_model, calibrate_batch_norms, fold_batch_norms
from util.launch import command

SEEDS = 5


def network(backbone: str, checkpoint: str | None, images: ImageSet) -> FewShotNetwork:
    """The network of a checkpoint, or random weights calibrated on the first image; it refines."""
    torch.manual_seed(0)
    loaded = checkpoint and load_checkpoint(checkpoint)
    net = build_model("ssp", loaded.info["backbone"] if loaded else backbone, refine=True).eval()
    if loaded:
        load_network(net, loaded.state_dict, checkpoint)
    else:
        calibrate_batch_norms(net, Pictures(images, images.ids)[0][0][None])
    return net


def plan(data_root: str, fold: int, shot: int, per_image: float) -> tuple[ImageSet, int, list[Episode]]:
    """Test images, how many of them are drawn from, and the episodes of all seeds, so many for each of these."""
    images, novel = open_split("pascal", data_root, "test", fold)[:2]
    index = class_index(images)
    distinct = len(make_pool(index, novel).names)
    count = round(per_image * distinct / SEEDS)
    return images, distinct, [e for seed in range(SEEDS) for e in plan_episodes(index, novel, shot, seed, count)]


@torch.inference_mode()
def bare_passes(net: FewShotNetwork, pictures: Sequence[Tensor]) -> None:
    """Nothing but the backbone, as planned evaluation runs it, over pictures (1, 3, H, W)."""
    folded = fold_batch_norms(net).to(memory_format=torch.channels_last)
    device = net.device
    for picture in pictures:
        folded.features(picture.to(device).contiguous(memory_format=torch.channels_last))


def grow(args: argparse.Namespace, shot: int) -> None:
    """Time of more and more episodes over the same images."""
    images, _, episodes = plan(args.data_root, args.fold, shot, args.per_image)
    net = network(args.backbone, args.checkpoint, images).to(default_device())
    generator = torch.Generator().manual_seed(0)
    shuffled = [episodes[number] for number in torch.randperm(len(episodes), generator=generator).tolist()]
    print()
    options = EvaluationOptions(args.workers, cache_gb=args.cache_gb)
    for count in (len(episodes) // 4, len(episodes) // 2, len(episodes)):
        seconds, (_, passes) = timed(partial(count_planned, net, images, shuffled[:count], options=options))
        print(f"{shot}-shot: {count:6} episodes, {passes} backbone passes: {seconds:7.1f} s")


def compare(args: argparse.Namespace, shot: int) -> None:
    """Time of an episode, of either engine and of bare backbone passes, in turn."""
    images, distinct, episodes = plan(args.data_root, args.fold, shot, args.per_image)
    net = network(args.backbone, args.checkpoint, images).to(default_device())
    some, ids = episodes[: args.plain_episodes], sorted(images_of(episodes))
    decoding, pictures = timed(lambda: [picture[None] for picture, _ in Pictures(images, ids)])
    options = EvaluationOptions(args.workers, cache_gb=args.cache_gb)
    planned, backbone, plain = [], [], []
    for _ in range(args.rounds):
        seconds, (counts, passes) = timed(lambda: count_planned(net, images, episodes, options=options))
        planned.append(1000 * seconds / len(episodes))
        memory = peak_memory_gb(net.device)  # so far: the plain engine comes after
        backbone.append(1000 * timed(lambda: bare_passes(net, pictures))[0] / len(episodes))
        seconds, expected = timed(lambda: count_plainly(net, images, some, args.workers))
        plain.append(1000 * seconds / len(some))
    other = int((counts[: len(some)] - expected).abs().sum()) // 2
    print(f"\n{shot}-shot, refine, {args.backbone}: {len(episodes)} episodes over {distinct} images, {passes} passes")
    for name, rounds in (("plain", plain), ("planned", planned), ("backbone", backbone)):
        print(f"{name:8}{median(rounds):9.1f} ms an episode   (rounds: {', '.join(f'{ms:.1f}' for ms in rounds)})")
    gain = median(slow / fast for slow, fast in zip(plain, planned, strict=True))
    share = median(whole / bare for whole, bare in zip(planned, backbone, strict=True))
    print(f"planned is {gain:.1f} times as fast as plain, and takes {share:.2f} times its bare backbone passes")
    print(f"decoding, which the loader processes do ahead, would be {1000 * decoding / len(episodes):.1f} ms in one")
    print(f"pixels predicted otherwise in {len(some)} episodes: {other}; peak memory {memory:.2f} GB")


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
    for shot in args.shots:
        grow(args, shot) if args.growth else compare(args, shot)


if __name__ == "__main__":
    command(main)
