"""Tested episodes to look at: the best, the worst and random ones, on a page that needs no server."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dataset.episodes import Episode, Plans
from dataset.images import ImageSet
from dataset.samples import load_whole
from engine.drawing import save_png
from engine.evaluation.evaluate import segment
from engine.evaluation.panel import draw_panel, draw_panel_legend
from engine.evaluation.protocol import PAPER, Protocol
from engine.setting import Setting
from model import FewShotNetwork
from util.errors import UserError
from util.files import atomic_write, check_writable, remove_leftovers
from util.progress import progress

KINDS = ("best", "worst", "random")
NAMED = "named"  # the kind of episodes that were asked for by number
PANELS = "episodes"  # the folder of pictures beside the page
PAGE = Path(__file__).with_name("gallery.html")
INDEX, PAGE_MARK = "index.html", "var(--panel)"  # the page, and what stands in its first lines


class Shown(NamedTuple):
    """An episode that is shown, and why."""

    kind: str
    seed: int
    number: int  # among its seed's
    iou: float
    episode: Episode


def choose(plans: Plans, result: Mapping[str, Any], count: int) -> list[Shown]:
    """Choose at most so many episodes of a result of evaluate, none twice: best, worst and random ones.

    The best and the worst of each class come first, then thirds are filled: the best and the worst of all, random ones.
    A count below two for each class keeps a third for random ones; the rest holds the best and the worst of all, and
    both ends of as many classes as fit, those with the worst episodes first. The only episode of a class counts as one
    of the worst, unless it is the best of all. The same result gives the same ones.
    """
    different: dict[Episode, tuple[int, int, float]] = {}
    for tested in result["seeds"]:
        for number, (episode, iou) in enumerate(zip(plans[tested["seed"]], tested["episode_iou"], strict=True)):
            different.setdefault(episode, (tested["seed"], number, iou))
    ranked = sorted(different, key=lambda episode: -different[episode][2])
    count = min(count, len(ranked))
    rising = ranked[::-1]
    of_class: dict[int, list[Episode]] = {}  # rising too; the class with the worst one comes first
    for episode in rising:
        of_class.setdefault(episode.cls, []).append(episode)
    ends = [end for own in of_class.values() for end in ((own[0], "worst"), (own[-1], "best"))]
    extremes: dict[Episode, str] = {}
    for episode, kind in ((ranked[0], "best"), (rising[0], "worst"), *ends):
        extremes.setdefault(episode, kind)
    room = count if len(extremes) <= count else count - count // 3
    kinds = dict(list(extremes.items())[:room])
    for kind, order, third in (("best", ranked, (count + 2) // 3), ("worst", rising, (count + 1) // 3)):
        missing = min(third - list(kinds.values()).count(kind), room - len(kinds))
        free = [episode for episode in order if episode not in kinds]
        kinds |= dict.fromkeys(free[: max(missing, 0)], kind)
    free = [episode for episode in ranked if episode not in kinds]
    chosen = {
        "best": [episode for episode in ranked if kinds.get(episode) == "best"],
        "worst": [episode for episode in rising if kinds.get(episode) == "worst"],
        "random": random.Random(0).sample(free, count - len(kinds)),
    }
    return [Shown(kind, *different[episode], episode) for kind in KINDS for episode in chosen[kind]]


def find_episodes(plans: Plans, numbers: Sequence[tuple[int, int]]) -> list[Episode]:
    """The episodes of these seeds and numbers. Raises UserError for one that is not there."""
    for seed, number in numbers:
        if number >= len(plans.get(seed, ())):
            has = f"has episodes 0 to {len(plans[seed]) - 1}" if seed in plans else "is not tested"
            raise UserError(f"--visualize-episodes {seed}:{number}: seed {seed} {has}; name others")
    return [plans[seed][number] for seed, number in numbers]


def show_named(plans: Plans, result: Mapping[str, Any], numbers: Sequence[tuple[int, int]]) -> list[Shown]:
    """The episodes of these seeds and numbers, in their order, of a result of evaluate."""
    ious = {tested["seed"]: tested["episode_iou"] for tested in result["seeds"]}
    pairs = zip(numbers, find_episodes(plans, numbers), strict=True)
    return [Shown(NAMED, seed, number, ious[seed][number], episode) for (seed, number), episode in pairs]


def headline(setting: Setting, protocol: Protocol, plans: Plans, result: Mapping[str, Any]) -> str:
    """What a page of episodes is about: the network, what it was tested on and how, and its mIoU."""
    refined = "with refinement" if setting.refine else "without refinement"
    lengths = sorted({len(episodes) for episodes in plans.values()})
    episodes = " to ".join(f"{length:,}" for length in (lengths[0], *lengths[1:][-1:]))
    seeds = "1 seed" if len(plans) == 1 else f"{len(plans)} seeds"
    return (
        f"{setting.method} {setting.backbone} {refined}, {setting.shot}-shot, {setting.describe()}, {protocol.title}, "
        f"{seeds} x {episodes} episodes: mIoU {result['miou']:.2f}"
    )


def write_gallery(
    folder: Path, title: str, net: FewShotNetwork, images: ImageSet, shown: Sequence[Shown], protocol: Protocol = PAPER
) -> Path:
    """Segment the episodes again, draw a panel of each and write them with FOLDER/index.html, which it returns.

    The panels of an earlier page there are replaced. The network segments one episode after the other in float32.
    """
    check_writable(folder / PANELS)
    remove_leftovers(folder / PANELS)
    panels = draw_episodes(net, images, [each.episode for each in shown], protocol)
    names = []
    pairs = enumerate(zip(shown, panels, strict=True))
    for number, ((kind, _, _, iou, episode), panel) in progress(pairs, "drawing", len(shown), "episode"):
        names.append(f"{number:03}_{kind}_class{episode.cls}_iou{iou:03.0f}.png")
        save_png(panel, folder / PANELS / names[-1])
    save_png(draw_panel_legend(400), folder / PANELS / "legend.png")
    page = folder / INDEX
    with atomic_write(page) as file:
        file.write(html_page(title, shown, names, panel.width, class_names=images.class_names).encode())
    for path in (folder / PANELS).glob("[0-9][0-9][0-9]_*_class*_iou*.png"):
        if path.name not in names:
            path.unlink()
    return page


def draw_episodes(
    net: FewShotNetwork, images: ImageSet, episodes: Sequence[Episode], protocol: Protocol = PAPER
) -> Iterator[Image.Image]:
    """Segment the episodes, one after the other in float32, then draw a panel of each as it is asked for."""
    masks = segment(net, images, episodes, protocol=protocol)
    return (
        draw_panel(
            [load_masked(images, support, episode.cls, protocol.side) for support in episode.supports],
            load_masked(images, episode.query, episode.cls, protocol.side),
            [("prediction", mask.numpy())],
            differences=True,
        )
        for episode, mask in zip(episodes, masks, strict=True)
    )


def load_masked(images: ImageSet, image: str, cls: int, side: int | None = None) -> tuple[Image.Image, np.ndarray]:
    """An image, by its id, and its episode mask (H, W) of a class, in their size, or in a square of ``side`` pixels."""
    picture, (mask,) = load_whole(images, image, [cls], side)
    return picture, mask.astype(np.int64)


def html_page(
    title: str, shown: Sequence[Shown], names: Sequence[str], width: int, class_names: Mapping[int, str]
) -> str:
    """The page of panels, which sorts and filters itself; names: the panels' files, width: theirs in pixels."""
    figures = []
    for (kind, seed, number, iou, episode), name in zip(shown, names, strict=True):
        cls = f"{episode.cls} {class_names.get(episode.cls, '')}".strip()
        supports = ", ".join(map(escape, episode.supports))
        figures.append(
            f'<figure data-kind="{kind}" data-class="{episode.cls}" data-iou="{iou}">\n'
            f'<a href="{PANELS}/{name}"><img src="{PANELS}/{name}" '
            'alt="supports, query, prediction, difference"></a>\n'
            f"<figcaption><b>{escape(cls)}</b> · IoU {iou:.1f} · {kind} · query {escape(episode.query)} · "
            f"supports {supports} · seed {seed}, episode {number}</figcaption>\n</figure>"
        )
    classes = {each.episode.cls for each in shown}
    options = "".join(
        f'<option value="{cls}">{escape(f"{cls} {class_names.get(cls, str())}")}</option>' for cls in sorted(classes)
    )
    kinds = "".join(f"<option>{kind}</option>" for kind in dict.fromkeys((*KINDS, *(each.kind for each in shown))))
    page = Template(PAGE.read_text(encoding="utf-8"))
    values = {"options": options, "kinds": kinds, "figures": "\n".join(figures)}
    return page.substitute(values, title=escape(title), width=f"{width}px")
