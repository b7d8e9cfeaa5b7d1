"""The page as it is served: with gradio what it refuses, with a Chromium what a person sees and does."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import app
import predict
from page.guard import MAX_MESSAGE, MAX_REQUEST
from page.uploads import MAX_BYTES
from tests.files import CHECKOUT, OneLine
from tests.page.photos import make_photos, make_support

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
GRADIO, PLAYWRIGHT = (importlib.util.find_spec(name) is not None for name in ("gradio", "playwright"))
needs_gradio = pytest.mark.skipif(not GRADIO, reason="gradio is not installed")
needs_browser = pytest.mark.skipif(not (GRADIO and PLAYWRIGHT and BROWSER), reason="no gradio, playwright or Chromium")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


def test_without_gradio(one_line_error: OneLine, calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    line = one_line_error(app.main, ["--checkpoint", str(calibrated)])
    assert line == 'error: the page needs the package gradio (pip install gradio); "make app" installs it'


def test_without_weights(one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: True)
    line = one_line_error(app.main, ["--weights", "nowhere.pth"])
    assert line == "error: nowhere.pth: no such file"


@pytest.mark.parametrize(("words", "side"), [("", 640), ("--max-side 0", 0), ("--max-side 1024", 1024)])
def test_the_side_of_images(words: str, side: int) -> None:
    assert app.parse(words.split()).max_side == side


# With gradio

RUNNER = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
import app
import prediction.load
from prediction.predictor import Predictor
from util.launch import command

make, keep, dump = prediction.load.load_predictor, Predictor.set_support, Path(sys.argv.pop())

def counted(*args, **own):
    found = make(*args, **own)
    features = found.net.features
    found.net.features = lambda x: print("backbone pass", flush=True) or features(x)
    return found

def kept(self, supports, masks, names):
    keep(self, supports, masks, names)
    for number, (support, mask) in enumerate(zip(supports, masks), 1):
        support.image.save(dump / f"{number}.png")
        Image.fromarray(mask * np.uint8(255)).save(dump / f"{number}_mask.png")
    print(f"{len(masks)} supports", flush=True)

prediction.load.load_predictor, Predictor.set_support = counted, kept
command(app.main)
"""


class Served:
    """The page in a process of its own, which prints each pass of the backbone and keeps the last supports."""

    def __init__(self, calibrated: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.log = folder, folder / "log"
        (folder / "temporary").mkdir()
        flags = ["--checkpoint", str(calibrated), "--port", str(self.port), "--device", "cpu", str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(folder / "temporary")}
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", RUNNER, *flags]
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
        wait(lambda: "the page: " in self.said() or self.process.poll() is not None, 120)
        assert "the page: " in self.said(), self.said()

    def said(self) -> str:
        return self.log.read_text()

    def passes(self) -> int:
        return self.said().count("backbone pass")

    def request(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: str | None = None
    ) -> int:
        """The status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers=headers or {})
        return connection.getresponse().status

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return answer.read()

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def wait(until: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def served(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    page = Served(calibrated, tmp_path_factory.mktemp("served"))
    yield page
    page.end(signal.SIGTERM)


@needs_gradio
@pytest.mark.slow
def test_nothing_of_the_machine_is_served(served: Served) -> None:
    assert served.request("/") == 200
    (served.folder / "temporary" / "mine.png").write_bytes(b"beside the page's folder")
    for file in (
        "/etc/passwd", "%2Fetc%2Fpasswd", "log", str(served.log), str(CHECKOUT / "README.md"), "../../etc/passwd",
        str(served.folder / "temporary" / "mine.png"), "http://127.0.0.1:1/", "https://example.com/a.png",
        f"{next((served.folder / 'temporary').glob('ssp_page_*'))}/../mine.png",
    ):  # fmt: skip
        for prefix in ("/gradio_api", ""):
            assert served.request(f"{prefix}/file={file}") == 403, file
    assert served.request("/gradio_api/proxy=http://127.0.0.1:1/") == 403
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for path, most in (("upload", MAX_REQUEST), ("component_server", MAX_BYTES)):
        assert served.request(f"/gradio_api/{path}", "POST", {**form, "Content-Length": str(most + 1)}) == 413
    assert served.request("/gradio_api/queue/join", "POST", {"Content-Length": str(MAX_MESSAGE + 1)}) == 413


@needs_gradio
@pytest.mark.slow
def test_no_address_is_fetched(served: Served) -> None:
    """gradio would fetch a file's path that is an address; it is asked here as the page's own queries are."""
    config = json.loads(served.get("/config"))
    [queries] = (each["id"] for each in config["components"] if each["props"].get("elem_id") == "queries")
    event = next(number for number, each in enumerate(config["dependencies"]) if queries in each["inputs"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(3)
        address = f"http://localhost:{listener.getsockname()[1]}/a.png"
        for path, status in ((address, 403), ("/nowhere/a.png", 200)):
            file = {"path": path, "meta": {"_type": "gradio.FileData"}}
            message = {"data": [[file] for _ in config["dependencies"][event]["inputs"]], "fn_index": event,
                       "session_hash": "x"}  # fmt: skip
            headers = {"Content-Type": "application/json"}
            assert served.request("/gradio_api/queue/join", "POST", headers, json.dumps(message)) == status
        with pytest.raises(TimeoutError):
            listener.accept()


@needs_gradio
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="no /proc")
def test_it_listens_at_this_machine_only(served: Served) -> None:
    sockets = {os.readlink(path) for path in Path(f"/proc/{served.process.pid}/fd").iterdir() if path.is_symlink()}
    places = set()
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        places |= {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}
    assert places == {f"0100007F:{served.port:04X}"}


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_without_traces(calibrated: Path, tmp_path: Path, number: int) -> None:
    page = Served(calibrated, tmp_path)
    page.end(number)
    assert page.process.returncode == 130
    assert page.said().splitlines() == [
        f"the page: http://127.0.0.1:{page.port}/ (Ctrl-C closes it)",
        f"network: ssp resnet50, refine; weights {calibrated.name}, which do not say what they were trained on",
        "interrupted; the page is closed, its files are removed",
    ]
    assert not list((tmp_path / "temporary").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "temporary"]


@needs_gradio
@pytest.mark.slow
def test_a_port_that_is_taken(served: Served, calibrated: Path) -> None:
    flags = ["--checkpoint", str(calibrated), "--port", str(served.port)]
    done = subprocess.run([sys.executable, CHECKOUT / "app.py", *flags], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: --host 127.0.0.1 --port {served.port}: .*; choose others\n", done.stderr)


# With a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, served: Served) -> Iterator[Any]:
    """The page in a new tab, which asks no other machine for anything."""
    tab = chromium.new_page(viewport={"width": 1280, "height": 1100})
    elsewhere: list[str] = []
    ours = (f"http://127.0.0.1:{served.port}/", "blob:", "data:")
    tab.on("request", lambda request: None if request.url.startswith(ours) else elsewhere.append(request.url))
    tab.goto(f"http://127.0.0.1:{served.port}/")
    tab.wait_for_selector("#support_1 canvas")
    yield tab
    tab.close()
    assert not elsewhere


def drop(tab: Any, where: str, *paths: Path) -> None:
    tab.locator(f"#{where} input[type=file]").first.set_input_files(list(map(str, paths)))


def message(tab: Any) -> str:
    return tab.locator("#message").inner_text()


def says(tab: Any, *texts: str) -> str:
    """The message, once it holds one of the texts."""
    wait(lambda: any(text in message(tab) for text in texts))
    return message(tab)


def paint(tab: Any, number: int, shift: int = 0) -> None:
    """A stroke over the middle of a support."""
    tab.locator(f"#support_{number} canvas").last.scroll_into_view_if_needed()
    box = tab.locator(f"#support_{number} canvas").last.bounding_box()
    x, y = box["x"] + box["width"] / 2 + shift, box["y"] + box["height"] / 2
    tab.mouse.move(x - 60, y)
    tab.mouse.down()
    tab.mouse.move(x, y + 30, steps=6)
    tab.mouse.move(x + 60, y, steps=6)
    tab.mouse.up()


def shown_share(tab: Any) -> str:
    return re.search(r"new: ([\d.]+%) object", message(tab))[1]


@needs_browser
@pytest.mark.slow
def test_a_stroke_a_query_a_threshold_and_the_zip(
    tab: Any, served: Served, photos: Path, calibrated: Path, tmp_path: Path
) -> None:
    drop(tab, "queries", photos / "new.png")
    says(tab, "Nothing is marked yet")
    drop(tab, "image_1", photos / "a.png")
    says(tab, "Now paint the object", "Nothing is marked in")  # the second follows at once
    tab.locator("#go").click()
    says(tab, "Nothing is marked in support 1: paint the object")
    before = served.passes()
    paint(tab, 1)
    says(tab, "% object")
    assert served.passes() - before == 2
    tab.wait_for_selector("#overlay img")
    with Image.open(served.folder / "1.png") as seen, Image.open(photos / "a.png") as dropped:
        assert np.array_equal(np.array(seen), np.array(dropped))
    flags = ["--checkpoint", calibrated, "--support", served.folder / "1.png", "--query", photos / "new.png"]
    [share] = predict.main([*map(str, flags), "--out", str(tmp_path), "--device", "cpu"]).values()
    assert 0 < share < 1
    assert shown_share(tab) == f"{share:.1%}"

    former = message(tab)
    tab.locator("#threshold input[type=number]").fill("0.3")
    tab.locator("#threshold input[type=number]").press("Enter")
    says(tab, "Probability above 0.3")
    assert shown_share(tab) != f"{share:.1%}"
    former = message(tab)
    tab.get_by_label("Refinement").click()
    wait(lambda: message(tab) != former and "% object" in message(tab))
    former = message(tab)
    paint(tab, 1, shift=-100)
    wait(lambda: message(tab) != former and "% object" in message(tab))
    assert served.passes() - before == 2
    tab.get_by_role("tab", name="Look inside").click()
    tab.wait_for_selector("#look_inside img")
    assert served.passes() - before == 2

    tab.locator("#pack").click()
    tab.wait_for_selector("#zip a")
    with tab.expect_download() as download:
        tab.locator("#zip a").first.click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == [f"new_{kind}.png" for kind in ("mask", "overlay", "probability", "explained")]
        mask = np.array(Image.open(archive.open("new_mask.png"))) == 255
    assert f"{mask.mean():.1%}" == shown_share(tab)


@needs_browser
@pytest.mark.slow
def test_two_supports_one_by_a_mask(tab: Any, served: Served, photos: Path) -> None:
    drop(tab, "queries", photos / "new.png", photos / "other.png")
    says(tab, "Nothing is marked yet")
    drop(tab, "image_1", photos / "a.png")
    says(tab, "Now paint the object", "Nothing is marked in")  # the second follows at once
    drop(tab, "mask_1", photos / "a_mask.png")
    says(tab, "other: ")
    with Image.open(served.folder / "1_mask.png") as mask:
        assert np.array_equal(np.array(mask) == 255, make_support().mask == 1)
    tab.get_by_text("Another support").click()
    tab.wait_for_selector("#support_2 canvas")
    drop(tab, "image_2", photos / "b.png")
    says(tab, "Now paint the object", "Nothing is marked in")  # the second follows at once
    paint(tab, 2)
    says(tab, "% object")
    assert "2 supports" in served.said()
    assert (served.folder / "2_mask.png").is_file()


PASTE = """async () => {
    const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
    [canvas.width, canvas.height] = [200, 150];
    pen.fillStyle = "navy"; pen.fillRect(0, 0, 200, 150);
    pen.fillStyle = "red"; pen.fillRect(50, 40, 80, 60);
    const blob = await new Promise(made => canvas.toBlob(made, "image/png"));
    await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
}"""


@needs_browser
@pytest.mark.slow
def test_an_image_is_pasted_dropped_on_the_painting_area_or_photographed(
    tab: Any, served: Served, photos: Path
) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write", "camera"])
    drop(tab, "queries", photos / "new.png")
    says(tab, "Nothing is marked yet")
    area = tab.locator("#support_1")

    def seen() -> Image.Image:
        """The support that the network sees after a stroke."""
        says(tab, "Nothing is marked in")
        before = served.said().count("1 supports")
        paint(tab, 1)
        wait(lambda: served.said().count("1 supports") > before)
        says(tab, "% object")
        with Image.open(served.folder / "1.png") as image:
            return image.convert("RGB")

    tab.evaluate(PASTE)
    area.get_by_label("Paste", exact=True).click()
    pasted = seen()
    assert pasted.size == (200, 150)
    assert pasted.getpixel((5, 5)) == (0, 0, 128)
    assert pasted.getpixel((90, 70)) == (255, 0, 0)

    area.get_by_label("Clear canvas").click()
    says(tab, "Nothing is marked yet")
    area.get_by_label("Upload", exact=True).click()
    drop(tab, "support_1", photos / "a.png")
    with Image.open(photos / "a.png") as dropped:
        assert np.array_equal(np.array(seen()), np.array(dropped))

    area.get_by_label("Clear canvas").click()
    says(tab, "Nothing is marked yet")
    area.get_by_label("Webcam", exact=True).click()
    tab.get_by_text("Click to Access Webcam").click()
    tab.wait_for_function("document.querySelector('#support_1 video').currentTime > 1")
    area.get_by_label("capture photo").click()
    photograph = np.array(seen())
    assert photograph.shape[1] > photograph.shape[0] > 100
    assert (photograph[..., 1] > photograph[..., 0]).mean() > 0.9  # the false camera shows a green field


@needs_browser
@pytest.mark.slow
def test_a_telephone_need_not_scroll_sideways(tab: Any) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    wait(lambda: tab.evaluate("document.documentElement.scrollWidth") <= 390)
