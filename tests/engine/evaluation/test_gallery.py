"""The page of evaluated episodes: who is shown, what is written, and that a browser shows and sorts it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

import test as testing
from dataset.episodes import Episode
from engine.checkpoint import save_weights
from engine.evaluation.gallery import Shown, choose, html_page
from model import build_model
from tests.files import OneLine

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def result(ious: dict[int, list[float]]) -> dict:
    return {"seeds": [{"seed": seed, "episode_iou": values} for seed, values in ious.items()]}


def plan(queries: str) -> list[Episode]:
    return [Episode(query, 1, ("support",)) for query in queries]


def test_the_best_the_worst_and_random_ones() -> None:
    plans = {0: plan("abcdef"), 1: plan("ghi")}
    shown = choose(plans, result({0: [50, 90, 10, 40, 30, 60], 1: [95, 5, 20]}), 7)
    assert [(each.kind, each.episode.query) for each in shown[:5]] == [
        ("best", "g"), ("best", "b"), ("best", "f"), ("worst", "h"), ("worst", "c"),
    ]  # fmt: skip
    assert [each.kind for each in shown[5:]] == ["random", "random"]
    assert {each.episode.query for each in shown[5:]} < set("adei")
    assert shown[0] == Shown("best", 1, 0, 95, Episode("g", 1, ("support",)))
    assert choose(plans, result({0: [50, 90, 10, 40, 30, 60], 1: [95, 5, 20]}), 7) == shown


def test_no_episode_twice() -> None:
    """Two seeds drew the same ones; there are fewer than asked for."""
    shown = choose({0: plan("ab"), 1: plan("ba")}, result({0: [1, 2], 1: [2, 1]}), 60)
    assert [(each.kind, each.episode.query, each.iou) for each in shown] == [("best", "b", 2), ("worst", "a", 1)]


def test_names_cannot_break_the_page() -> None:
    shown = [Shown("best", 0, 0, 50.0, Episode("<b>", 1, ("&amp;",)))]
    page = html_page("<script>", shown, ["1.png"], 100, {1: '<i "x">'})
    assert "<script>\n" in page  # our own
    assert "<script></h1>" not in page
    assert "<b></b>" not in page
    assert "&lt;i &quot;x&quot;&gt;" in page
    assert "supports &amp;amp;" in page


@pytest.fixture(scope="module")
def page(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight 2-shot episodes of the toy dataset, segmented by random weights."""
    folder = tmp_path_factory.mktemp("gallery")
    save_weights(folder / "net.pth", build_model("ssp", "resnet50").state_dict())
    stale = folder / "page" / "episodes" / "007_best_class1_iou099.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier page")
    flags = f"--fold 0 --shot 2 --episodes 8 --seeds 2 --workers 0 --device cpu --visualize {folder / 'page'}"
    testing.main(
        ["--data-root", str(toy), "--checkpoint", str(folder / "net.pth"), *flags.split(), "--visualize-episodes", "7"]
    )
    assert not stale.exists()
    return folder / "page" / "index.html"


def test_the_pictures(page: Path) -> None:
    sources = re.findall(r'src="(episodes/\d[^"]*)"', page.read_text())
    assert len(sources) == len(set(sources)) == 7
    assert {path.name for path in (page.parent / "episodes").iterdir()} == {
        "legend.png", *(Path(source).name for source in sources),
    }  # fmt: skip
    for source in sources:
        with Image.open(page.parent / source) as picture:
            assert picture.size == (5 * 198 + 6, 192 + 16 + 12)  # two supports, query, prediction, difference


def in_browser(page: Path, address: str = "") -> str:
    """The page as it is after its script has run."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *flags, f"--user-data-dir={page.parent / 'profile'}", f"{page.as_uri()}{address}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def figures(dom: str) -> list[tuple[float, int, bool]]:
    """IoU, class, and whether it is shown, of each in order."""
    found = re.findall(r'<figure data-kind="\w+" data-class="(\d+)" data-iou="([\d.]+)"( hidden="")?>', dom)
    return [(float(iou), int(cls), not hidden) for cls, iou, hidden in found]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_shows_and_sorts_it(page: Path) -> None:
    plain = figures(in_browser(page))
    assert len(plain) == 7
    assert plain == figures(page.read_text())
    assert figures(in_browser(page, "#sort=iou")) == sorted(plain, key=lambda f: f[0])
    assert figures(in_browser(page, "#sort=-iou")) == sorted(plain, key=lambda f: -f[0])
    assert figures(in_browser(page, "#sort=class")) == sorted(plain, key=lambda f: (f[1], f[0]))
    cls = plain[0][1]
    assert [f[1] for f in figures(in_browser(page, f"#class={cls}")) if f[2]] == [f[1] for f in plain if f[1] == cls]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_loads_the_pictures_and_heeds_the_lists(page: Path) -> None:
    """A copy of the page with a script that chooses an order as a user does, then tells what it sees."""
    watched = page.with_name("watched.html")
    script = """<script>addEventListener("load", () => {
        const sort = document.getElementById("sort");
        sort.value = "iou"; sort.dispatchEvent(new Event("change"));
        setTimeout(() => { document.title = [...document.images].map(i => i.naturalWidth).join(); }, 500);
    });</script></body>"""
    watched.write_text(page.read_text().replace("</body>", script))
    dom = in_browser(watched)
    assert re.search("<title>(.*)</title>", dom)[1].split(",") == ["400", *["996"] * 7]
    assert [f[0] for f in figures(dom)] == sorted(f[0] for f in figures(page.read_text()))


def test_a_file_in_its_place_is_one_line(toy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    save_weights(tmp_path / "net.pth", build_model("ssp", "resnet50").state_dict())
    (tmp_path / "page").write_text("a file")
    flags = ["--data-root", str(toy), "--checkpoint", str(tmp_path / "net.pth"), "--fold", "0"]
    assert "cannot write to" in one_line_error(testing.main, [*flags, "--visualize", str(tmp_path / "page")])
