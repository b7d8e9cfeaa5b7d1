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
from engine.evaluation.gallery import KINDS, Shown, choose, find_episodes, headline, html_page, show_named
from engine.evaluation.protocol import HSNET, PAPER
from engine.setting import Setting
from model import build_model
from tests.files import OneLine
from util.errors import UserError

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


def test_named_episodes() -> None:
    plans = {0: plan("abc"), 4: plan("de")}
    shown = show_named(plans, result({0: [50, 90, 10], 4: [95, 5]}), [(4, 1), (0, 2)])
    assert [(each.kind, each.seed, each.number, each.iou, each.episode.query) for each in shown] == [
        ("named", 4, 1, 5, "e"), ("named", 0, 2, 10, "c"),
    ]  # fmt: skip
    assert "<option>named</option>" in html_page("title", shown, ["a.png", "b.png"], 100, class_names={})


@pytest.mark.parametrize(
    ("named", "says"), [((0, 3), "0:3: seed 0 has episodes 0 to 2"), ((1, 0), "1:0: seed 1 is not tested")]
)
def test_named_episodes_that_are_not_there(named: tuple[int, int], says: str) -> None:
    with pytest.raises(UserError, match=f"^--visualize-episodes {says}; name others$"):
        find_episodes({0: plan("abc")}, [(0, 1), named])


@pytest.mark.parametrize("flag", ["0:", "0:1:2", "0:1,2", ":", "0:1,", "a:1", "2"])
def test_wrong_numbers_of_episodes(flag: str, one_line_error: OneLine) -> None:
    line = one_line_error(testing.main, ["--data-root", "x", "--visualize-episodes", flag])
    assert line.startswith("error: argument --visualize-episodes: ")


def test_no_episode_twice() -> None:
    """Two seeds drew the same ones; there are fewer than asked for."""
    shown = choose({0: plan("ab"), 1: plan("ba")}, result({0: [1, 2], 1: [2, 1]}), 60)
    assert [(each.kind, each.episode.query, each.iou) for each in shown] == [("best", "b", 2), ("worst", "a", 1)]


CLASSES = {0: [Episode(f"{cls}{rank}", cls, ("support",)) for cls in (1, 2, 3) for rank in range(6)]}
IOUS = [90, 80, 70, 60, 50, 40, 55, 45, 35, 25, 15, 5, 99, 98, 97, 96, 95, 94]  # falling in each of three classes


def kinds(count: int) -> dict[str, list[str]]:
    """The queries that are chosen, by kind."""
    shown = choose(CLASSES, result({0: IOUS}), count)
    assert len({each.episode for each in shown}) == len(shown) == min(count, 18)
    assert shown == choose(CLASSES, result({0: IOUS}), count)
    return {kind: [each.episode.query for each in shown if each.kind == kind] for kind in KINDS}


@pytest.mark.parametrize("count", [6, 7, 12, 17, 19])
def test_both_ends_of_each_class(count: int) -> None:
    found = kinds(count)
    assert set(found["best"]) >= {"10", "20", "30"}
    assert set(found["worst"]) >= {"15", "25", "35"}
    assert found["best"][0] == "30"
    assert found["worst"][0] == "25"
    assert abs(len(found["best"]) - len(found["worst"])) <= 1


@pytest.mark.parametrize(
    ("count", "best", "worst", "random"),
    [
        (12, ["30", "31", "10", "20"], ["25", "24", "15", "35"], 4),
        (5, ["30", "20"], ["25", "15"], 1),
        (3, ["30"], ["25"], 1),
    ],
)
def test_thirds(count: int, best: list[str], worst: list[str], random: int) -> None:
    """Where both ends of all classes do not fit, the classes with the worst episodes come first."""
    found = kinds(count)
    assert (found["best"], found["worst"], len(found["random"])) == (best, worst, random)


def test_a_class_of_one_episode_has_one_end() -> None:
    plans = {0: [*plan("ab"), Episode("c", 2, ("support",)), Episode("d", 3, ("support",))]}
    shown = choose(plans, result({0: [30, 20, 25, 10]}), 60)
    assert [(each.kind, each.episode.query) for each in shown] == [
        ("best", "a"), ("worst", "d"), ("worst", "b"), ("worst", "c"),
    ]  # fmt: skip


def test_headline() -> None:
    plans, found = {seed: plan("abc") for seed in range(5)}, {"miou": 61.404}
    assert headline(Setting(refine=True), PAPER, plans, found) == (
        "ssp resnet50 with refinement, 1-shot, pascal fold 0, the paper's own protocol, "
        "5 seeds x 3 episodes: mIoU 61.40"
    )
    setting = Setting("coco", "interleaved", 2, 5, "resnet101", "baseline")
    assert headline(setting, HSNET, {0: plan("a") * 1000}, found) == (
        "baseline resnet101 without refinement, 5-shot, coco fold 2 (interleaved), HSNet's protocol, "
        "1 seed x 1,000 episodes: mIoU 61.40"
    )
    assert "2 seeds x 1 to 3 episodes" in headline(setting, HSNET, {0: plan("abc"), 1: plan("a")}, found)


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
    assert "<h1>net.pth, toy data: ssp resnet50 without refinement, 2-shot, pascal fold 0, " in page.read_text()
    sources = re.findall(r'src="(episodes/\d[^"]*)"', page.read_text())
    assert sources == re.findall(r'href="(episodes/\d[^"]*)"', page.read_text())
    assert len(sources) == len(set(sources)) == 7
    assert {path.name for path in (page.parent / "episodes").iterdir()} == {
        "legend.png", *(Path(source).name for source in sources),
    }  # fmt: skip
    for source in sources:
        with Image.open(page.parent / source) as picture:
            assert picture.size == (5 * 246 + 6, 240 + 20 + 12)  # two supports, query, prediction, difference


def in_browser(page: Path, address: str = "", width: int = 800) -> str:
    """The page as it is after its script has run in a window of a width."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    flags += ["--allow-file-access-from-files", f"--window-size={width},1000"]
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
    assert re.search("<title>(.*)</title>", dom)[1].split(",") == ["400", *["1236"] * 7]
    assert [f[0] for f in figures(dom)] == sorted(f[0] for f in figures(page.read_text()))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize(("width", "columns"), [(420, 1), (1400, 2), (1920, 3)])
def test_the_page_fills_a_window_and_fits_a_phone(width: int, columns: int, tmp_path: Path) -> None:
    """1-shot panels between long names, in a frame: Chromium has no window as narrow as a phone."""
    episode = Episode("q" * 90, 1, ("s" * 90,))
    panel = Image.new("RGB", (4 * 246 + 6, 272))
    (tmp_path / "episodes").mkdir()
    panel.save(tmp_path / "episodes" / "1.png")
    shown = [Shown("best", 0, number, 50.0, episode) for number in range(6)]
    page = html_page("t" * 200, shown, ["1.png"] * 6, panel.width, {1: "c" * 90})
    (tmp_path / "index.html").write_text(page)
    frame = tmp_path / "frame.html"
    frame.write_text(f"""<title></title><body style="margin: 0">
        <iframe src="index.html" style="border: 0; width: {width}px; height: 900px"></iframe>
        <script>addEventListener("load", () => {{
            const inner = document.querySelector("iframe").contentDocument, root = inner.documentElement;
            const boxes = [...inner.querySelectorAll("figure")].map(each => each.getBoundingClientRect());
            const columns = boxes.filter(box => box.top === boxes[0].top).length;
            const left = root.clientWidth - boxes[columns - 1].right;
            const over = root.scrollWidth - root.clientWidth;
            const nav = inner.defaultView.getComputedStyle(inner.querySelector("nav")).position;
            document.title = [columns, Math.round(left), over, nav].join();
        }});</script>""")
    found = re.search("<title>(.*)</title>", in_browser(frame, width=max(500, width)))[1]
    assert found == f"{columns},15,0,{'static' if width < 700 else 'sticky'}"


def test_a_file_in_its_place_is_one_line(toy: Path, tmp_path: Path, one_line_error: OneLine) -> None:
    save_weights(tmp_path / "net.pth", build_model("ssp", "resnet50").state_dict())
    (tmp_path / "page").write_text("a file")
    flags = ["--data-root", str(toy), "--checkpoint", str(tmp_path / "net.pth"), "--fold", "0"]
    assert "cannot write to" in one_line_error(testing.main, [*flags, "--visualize", str(tmp_path / "page")])
