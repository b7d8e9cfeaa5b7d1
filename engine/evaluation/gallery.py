"""Evaluated episodes to look at: the best, the worst and random ones, on a page that needs no server."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dataset.episodes import Episode
from dataset.images import ImageSet
from dataset.transform import square, target_mask
from engine.evaluation.evaluate import segment
from engine.pictures import episode_panel, legend, save_png
from model import FewShotNetwork
from util.files import atomic_write, check_writable, remove_leftovers
from util.progress import progress

KINDS = ("best", "worst", "random")
PICTURES = "episodes"  # the folder beside the page


class Shown(NamedTuple):
    """An episode that is shown, and why."""

    kind: str
    seed: int
    number: int  # among its seed's
    iou: float
    episode: Episode


def choose(plans: Mapping[int, Sequence[Episode]], result: Mapping[str, Any], count: int) -> list[Shown]:
    """At most so many episodes of a result of evaluate: thirds of best, worst and random ones.

    None twice, whatever seed drew it; the same ones for the same result.
    """
    different: dict[Episode, tuple[int, int, float]] = {}
    for of_seed in result["seeds"]:
        seed = of_seed["seed"]
        for number, (episode, iou) in enumerate(zip(plans[seed], of_seed["episode_iou"], strict=True)):
            different.setdefault(episode, (seed, number, iou))
    ranked = sorted(different, key=lambda episode: -different[episode][2])
    count = min(count, len(ranked))
    best, worst = (count + 2) // 3, (count + 1) // 3
    middle = ranked[best : len(ranked) - worst]
    chosen = {
        "best": ranked[:best],
        "worst": ranked[len(ranked) - worst :][::-1],
        "random": random.Random(0).sample(middle, count - best - worst),
    }
    return [Shown(kind, *different[episode], episode) for kind in KINDS for episode in chosen[kind]]


def write_gallery(
    folder: Path,
    title: str,
    net: FewShotNetwork,
    images: ImageSet,
    shown: Sequence[Shown],
    workers: int,
    side: int | None = None,
) -> Path:
    """Segment the episodes again, draw a panel of each and write them with FOLDER/index.html, which it returns.

    One by one, in float32. side: as of evaluate. Panels of an earlier page there are replaced.
    """
    check_writable(folder / PICTURES)
    remove_leftovers(folder / PICTURES)
    predictions = segment(net, images, [each.episode for each in shown], workers, side)
    names = []
    pairs = enumerate(zip(shown, predictions, strict=True))
    for number, ((kind, _, _, iou, episode), found) in progress(pairs, "drawing", len(shown), "episode"):
        panel = episode_panel(
            [masked(images, support, episode.cls, side) for support in episode.supports],
            masked(images, episode.query, episode.cls, side),
            [("difference", found.numpy())],
            outlines=True,
        )
        names.append(f"{number:03}_{kind}_class{episode.cls}_iou{iou:03.0f}.png")
        save_png(panel, folder / PICTURES / names[-1])
    save_png(legend(400), folder / PICTURES / "legend.png")
    page = folder / "index.html"
    with atomic_write(page) as file:
        file.write(html_page(title, shown, names, panel.width, images.class_names).encode())
    for path in (folder / PICTURES).glob("[0-9][0-9][0-9]_*_class*_iou*.png"):
        if path.name not in names:
            path.unlink()
    return page


def masked(images: ImageSet, image: str, cls: int, side: int | None = None) -> tuple[Image.Image, np.ndarray]:
    """An image and its episode mask (H, W) of a class, in its own size or resized to a square."""
    picture, labels = images.load(image)
    if side is not None:
        picture, labels = square(picture, labels, side)
    return picture, target_mask(labels, images.label_of(cls)).numpy()


def html_page(
    title: str, shown: Sequence[Shown], names: Sequence[str], width: int, class_names: Mapping[int, str]
) -> str:
    """The page of panels with these file names, so many pixels wide; it sorts and filters itself."""
    figures = []
    for (kind, seed, number, iou, episode), name in zip(shown, names, strict=True):
        cls = f"{episode.cls} {class_names.get(episode.cls, '')}".strip()
        supports = ", ".join(map(escape, episode.supports))
        figures.append(
            f'<figure data-kind="{kind}" data-class="{episode.cls}" data-iou="{iou}">\n'
            f'<img src="{PICTURES}/{name}" alt="supports, query, prediction, difference">\n'
            f"<figcaption><b>{escape(cls)}</b> · IoU {iou:.1f} · {kind} · query {escape(episode.query)} · "
            f"supports {supports} · seed {seed}, episode {number}</figcaption>\n</figure>"
        )
    classes = {each.episode.cls for each in shown}
    options = "".join(
        f'<option value="{cls}">{escape(f"{cls} {class_names.get(cls, str())}")}</option>' for cls in sorted(classes)
    )
    kinds = "".join(f"<option>{kind}</option>" for kind in KINDS)
    return PAGE.format(title=escape(title), width=width, options=options, kinds=kinds, figures="\n".join(figures))


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 1700px; padding: 0 1em; }}
nav {{ position: sticky; top: 0; background: white; padding: .6em 0; border-bottom: 1px solid #ccc; }}
nav > * {{ margin-right: 1.2em; }}
main {{ display: flex; flex-wrap: wrap; gap: 1.5em; margin-top: 1.2em; }}
figure {{ margin: 0; width: {width}px; max-width: 100%; }}
figure[hidden] {{ display: none; }}
img {{ max-width: 100%; display: block; }}
figcaption {{ color: #333; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>White on black outlines: the masks of supports and query, and the prediction.
<img src="episodes/legend.png" alt="colours of the difference: right, missed, too much, ignored"></p>
<nav>
<label>Sort by <select id="sort">
<option value="none">best, worst, random</option><option value="iou">IoU, lowest first</option>
<option value="-iou">IoU, highest first</option><option value="class">class, then IoU</option>
</select></label>
<label>Class <select id="class"><option value="">all</option>{options}</select></label>
<label>Show <select id="kind"><option value="">all</option>{kinds}</select></label>
<span id="count"></span>
</nav>
<main>
{figures}
</main>
<script>
// The choices live in the address, index.html#sort=iou&class=3, so that a view can be linked to.
const controls = ["sort", "class", "kind"].map(id => document.getElementById(id));
const figures = [...document.querySelectorAll("figure")];
const value = (figure, name) => Number(figure.dataset[name]);
const orders = {{
  "iou": (a, b) => value(a, "iou") - value(b, "iou"),
  "-iou": (a, b) => value(b, "iou") - value(a, "iou"),
  "class": (a, b) => value(a, "class") - value(b, "class") || value(a, "iou") - value(b, "iou"),
}};
function show() {{
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const control of controls) {{
    control.value = asked.get(control.id) || "";
    if (control.selectedIndex < 0) control.selectedIndex = 0;
  }}
  const [sort, cls, kind] = controls.map(control => control.value);
  const order = orders[sort];
  document.querySelector("main").append(...(order ? [...figures].sort(order) : figures));
  for (const figure of figures)
    figure.hidden = (cls && figure.dataset.class !== cls) || (kind && figure.dataset.kind !== kind);
  const left = figures.filter(figure => !figure.hidden).length;
  document.getElementById("count").textContent = `${{left}} of ${{figures.length}} episodes`;
}}
for (const control of controls)
  control.addEventListener("change", () => {{
    const chosen = controls.filter(c => c.value && c.value !== "none").map(c => [c.id, c.value]);
    location.hash = new URLSearchParams(chosen).toString();
  }});
addEventListener("hashchange", show);
show();
</script>
</body>
</html>
"""
