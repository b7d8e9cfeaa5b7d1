"""What the README tells people to type is understood by the scripts; what it points at is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import main as training
import predict
import prepare
import report
import test as testing
from tests.files import CHECKOUT
from util.errors import UserError

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
SCRIPTS: dict[str, Callable[[list[str]], object]] = {
    "main.py": training.parse,
    "test.py": testing.parse,
    "prepare.py": prepare.parse,
    "report.py": report.parse,
    "predict.py": predict.parse,
}
OTHERS = {  # flags of other programs
    "--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--logdir", "--shm-size", "--help",
}  # fmt: skip


def commands() -> Iterator[list[str]]:
    """The words of every line of the README that is to be typed and calls a script of ours."""
    for line in README.splitlines():
        if line.startswith(("    python ", "    ./")):
            yield shlex.split(line, comments=True)


def test_there_are_commands() -> None:
    assert {words[1] for words in commands() if words[0] == "python"} == set(SCRIPTS)
    assert {words[0] for words in commands()} == {"python", "./all.sh", "./test.sh", "./hsnet_test.sh"}


@pytest.mark.parametrize("words", [words for words in commands() if words[1] in SCRIPTS], ids=" ".join)
def test_the_scripts_understand_their_commands(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data and checkpoints are not there; that is all that may be wrong."""
    monkeypatch.chdir(tmp_path)
    arguments = words[2 : words.index(">")] if ">" in words else words[2:]
    wrong = ""
    try:
        SCRIPTS[words[1]](arguments)
    except UserError as error:
        wrong = str(error)
    assert not wrong or "no such checkpoint" in wrong


def test_flags_exist(capsys: pytest.CaptureFixture[str]) -> None:
    helped = [[], ["coco"], ["pascal"], ["fss"], ["weights"], ["splits"], ["toy"], ["verify"]]
    for script in SCRIPTS.values():
        for subcommand in helped if script is prepare.parse else [[]]:
            with pytest.raises(SystemExit):
                script([*subcommand, "--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) - OTHERS <= known


def test_links_lead_somewhere() -> None:
    headings = [line.lstrip("# ") for line in README.splitlines() if line.startswith("#")]
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        file, _, anchor = target.partition("#")
        assert not file or (CHECKOUT / file).is_file(), target
        assert file or anchor in anchors, target


def test_the_files_of_the_code_exist() -> None:
    """Those named in the table under "The code", a folder's in a row after its first."""
    table = README.split("## The code")[1].split("##")[0]
    for row in (line for line in table.splitlines() if line.startswith("| `")):
        folder = ""
        for name in re.findall(r"`([\w/.]+\.(?:py|sh)|[\w/]+/)`", row.split("|")[1]):
            folder = str(Path(name).parent) if "/" in name.rstrip("/") else folder
            assert (CHECKOUT / name).exists() or (CHECKOUT / folder / name).exists(), name
