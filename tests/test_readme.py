"""The scripts understand what the README and the pages of docs/ tell people to type; what the pages link to exists."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import app
import export
import main as training
import predict
import prepare
import report
import reproduce
import test as testing
import vary
from tables import shell
from tables.paper import DRIVE_IMAGENET, drive_link
from util.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
PAGES = [README, *sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "pretrained" / "README.md"]
LARGEST = 10_000  # bytes of the README
LARGEST_PICTURE = 250_000
SCRIPTS: dict[str, Callable[[list[str]], object]] = {
    "main.py": training.parse,
    "test.py": testing.parse,
    "prepare.py": prepare.parse,
    "report.py": report.parse,
    "predict.py": predict.parse,
    "reproduce.py": reproduce.parse,
    "app.py": app.parse,
    "vary.py": vary.parse,
    "export.py": export.parse,
}
SHELL = {  # what each runs
    "./all.sh": "main.py", "./test.sh": "test.py", "./hsnet_test.sh": "test.py", "./reproduce.sh": "reproduce.py",
}  # fmt: skip
OTHERS = {  # flags of other programs, and of benchmarks
    "--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--standalone", "--logdir", "--shm-size", "--help",
    "--nodes", "--ntasks-per-node", "--gpus-per-node", "--gpus-per-task", "--gpu-bind", "--cpus-per-task", "--time",
    "--signal", "--requeue", "--open-mode", "--output", "--gpus",
    "--strip-components", "--samples", "--images", "--queries", "--link", "--pass-ms",
    "--against", "--image", "--package", "--steps", "--ways", "--choose", "--shots", "--networks",
    "--trained-shot", "--per-image",
}  # fmt: skip
MASKS = "1ikrDlsai5QSf2GiSUR3f8PZUzyTubcuF"  # the augmented masks of the authors, on Google Drive
VOC, COCO = "pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar", "http://images.cocodataset.org"
ELSEWHERE = {  # what the pages link to outside the project
    "https://arxiv.org/abs/2207.11549",
    "https://github.com/fanq15/SSP",
    "https://github.com/LiheYoung/MiningFSS",
    "https://github.com/juhongm999/hsnet",
    "https://github.com/HKUSTCV/FSS-1000",
    "https://pytorch.org/get-started/locally/",
    f"http://host.robots.ox.ac.uk/{VOC}",
    f"https://thor.robots.ox.ac.uk/{VOC}",
    f"{COCO}/zips/train2014.zip",
    f"{COCO}/zips/val2014.zip",
    f"{COCO}/annotations/annotations_trainval2014.zip",
    *(drive_link(each) for each in (MASKS, *DRIVE_IMAGENET.values())),
}


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def command_lines() -> Iterator[tuple[str, str]]:
    """The page and the text of every line, indented or fenced, that is to be typed and calls a script of ours."""
    for page in PAGES:
        fenced = False
        for line in read(page).splitlines():
            typed = re.sub(r"^CUDA_VISIBLE_DEVICES=[\d,]+ ", "", line.strip())
            if line.startswith("```"):
                fenced = not fenced
            elif (fenced or line.startswith("    ")) and typed.startswith(("python ", "./")):
                yield name(page), typed


def words_of(line: str) -> list[str]:
    """The words of a command, without its comment and what its output is sent to."""
    words = shlex.split(line, comments=True)
    return words[: words.index(">")] if ">" in words else words


COMMANDS = [(page, words_of(line)) for page, line in command_lines()]


def check_understood(script: str, arguments: list[str]) -> None:
    """Data and checkpoints are not there; that is all that may be wrong."""
    wrong = ""
    try:
        SCRIPTS[script](arguments)
    except UserError as error:
        wrong = str(error)
    assert not wrong or "no such checkpoint" in wrong or "no such folder" in wrong  # which own data are asked


def test_there_are_commands() -> None:
    readmes = [words for page, words in COMMANDS if page == "README.md"]
    assert {words[1] for words in readmes if words[0] == "python"} == set(SCRIPTS) - {
        "reproduce.py",
        "app.py",
        "vary.py",
        "export.py",
    }
    assert {words[0] for words in readmes} == {"python", *SHELL}
    assert {words[1] for _, words in COMMANDS if words[0] == "python"} == {*SCRIPTS, "-m", "-c"}
    assert {words[0] for _, words in COMMANDS} == {"python", *SHELL}


@pytest.mark.parametrize("words", [words for _, words in COMMANDS if words[1] in SCRIPTS], ids=" ".join)
def test_the_scripts_understand_their_commands(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_understood(words[1], words[2:])


@pytest.mark.parametrize("words", [words for _, words in COMMANDS if words[0] in SHELL], ids=" ".join)
def test_the_shell_scripts_understand_theirs(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags that they pass on are understood too."""
    monkeypatch.chdir(tmp_path)
    name, given = words[0].removeprefix("./"), words[1:]
    if name == "hsnet_test.sh":
        name, given = "test.sh", ["PROTOCOL=hsnet", *given]
    settings, more = shell.read_settings(name, given)
    assert settings["PYTHON"] in (sys.executable, "torchrun --nproc-per-node 4")
    if name == "reproduce.sh":
        check_understood("reproduce.py", shell.table_flags(settings, more))
        return
    passed = [command for _, command in shell.fold_commands(name, settings, more)]
    assert len(passed) == len(settings.get("FOLDS", "0 1 2 3").split())
    for command in passed:
        start = command.index(str(CHECKOUT / SHELL[words[0]]))
        flags = ["cpu" if word == "cuda" else word for word in command[start + 1 :]]  # here may be no GPU
        check_understood(SHELL[words[0]], flags)


@pytest.mark.parametrize("words", [words for _, words in COMMANDS if words[1] == "-m"], ids=" ".join)
def test_the_modules_that_are_run_exist(words: list[str]) -> None:
    file = CHECKOUT / f"{words[2].replace('.', '/')}.py"
    assert file.is_file()
    assert all(f'"{flag}"' in read(file) for flag in words[3:] if flag.startswith("--"))


def test_flags_exist(capsys: pytest.CaptureFixture[str]) -> None:
    helped = [[], ["coco"], ["pascal"], ["fss"], ["weights"], ["checkpoints"], ["splits"], ["own"]]
    helped += [["toy"], ["verify"]]
    for script in SCRIPTS.values():
        for subcommand in helped if script is prepare.parse else [[]]:
            with pytest.raises(SystemExit):
                script([*subcommand, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    for page in PAGES:
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", read(page))) - OTHERS <= known, name(page)


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives to the headings of a page."""
    outside_fences = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    headings = [line.lstrip("# ") for line in outside_fences.splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", read(page)):
        file, _, anchor = target.partition("#")
        if "://" in file:
            assert file in ELSEWHERE
            continue
        there = page.parent / file if file else page
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there), target


def test_the_addresses_of_commands_are_those_of_the_links() -> None:
    for page in PAGES:
        fetched = re.findall(r"^    (?:curl|git clone|gdown) .*$", read(page), flags=re.MULTILINE)
        for word in [word for line in fetched for word in line.split() if "://" in word]:
            assert word in ELSEWHERE, name(page)
        assert all(line.endswith(f" {MASKS}") for line in fetched if "gdown" in line)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    """Code named with its folder, such as `model/matching.py` or `engine/setting.py: Schedule`."""
    files = re.findall(r"`((?:model|dataset|engine|prediction|page|tables|util|benchmarks|docs)/[\w/.]*)", read(page))
    assert [file for file in files if not (CHECKOUT / file).exists()] == []


def test_the_readme_is_short() -> None:
    assert README.stat().st_size <= LARGEST


def test_the_figures_are_there() -> None:
    docs = CHECKOUT / "docs"
    assert read(docs / "method.svg").startswith("<svg ")
    for picture in ("episodes", "explained", "gallery", "page"):
        content = (docs / f"{picture}.webp").read_bytes()
        assert content.startswith(b"RIFF")
        assert content[8:12] == b"WEBP"
        assert len(content) <= LARGEST_PICTURE
    shown = {"method.svg": README, "episodes.webp": README, "explained.webp": docs / "method.md"}
    shown |= {"page.webp": docs / "predict.md", "gallery.webp": docs / "protocols.md"}
    for picture, page in shown.items():
        assert re.search(rf"\]\((docs/)?{picture}\)", read(page))


def test_every_page_is_linked() -> None:
    linked = {target.partition("#")[0] for page in PAGES for target in re.findall(r"\]\(([^)]+)\)", read(page))}
    assert {page.name for page in PAGES if page.parent.name == "docs"} <= {Path(target).name for target in linked}
