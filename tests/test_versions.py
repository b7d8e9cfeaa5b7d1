"""make versions, make test-commands and .ci/run: what they ask pip for and what they run; constraints.txt."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import toy_commands, versions
from tests.files import CHECKOUT

STAND_IN = """#!/usr/bin/env bash
exit {code}
"""


def bounds(*names: str) -> dict[str, str]:
    """The packages of requirement files and what follows their names."""
    lines = [line for name in names for line in (CHECKOUT / name).read_text().splitlines()]
    return dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in lines if line[:1].isalpha())


def numbers(version: str) -> list[int]:
    return list(map(int, version.lstrip("=>").split(".")))


def test_the_constraints_are_within_the_requirements() -> None:
    constraints = bounds("constraints.txt")
    assert bounds("requirements.txt").keys() <= constraints.keys()
    for name, bound in bounds("requirements.txt", "requirements-dev.txt").items():
        if name in constraints and bound:
            assert numbers(constraints[name]) >= numbers(bound), name


def test_the_lowest_are_those_of_the_requirements() -> None:
    text = (CHECKOUT / "requirements.txt").read_text()
    lowest = versions.choose_packages(f"# a comment\n{text}", "lowest")
    assert lowest == [f"{name}{bound.replace('>', '=')}" for name, bound in bounds("requirements.txt").items()]
    assert all("==" in line and ">" not in line for line in lowest)
    assert versions.choose_packages(text, "newest") == text.split()
    assert {line.partition("=")[0] for line in lowest} == set(versions.SHOWN)


def test_a_python_that_only_complains_is_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in (("python3.10", 127), ("python3.11", 0), ("python3.13", 0), ("python3.9", 0)):
        (tmp_path / name).write_text(STAND_IN.format(code=code))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [name for name in versions.pythons_at_hand() if (tmp_path / name).exists()] == ["python3.11", "python3.13"]


def test_a_python_without_wheels_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "pythons_at_hand", lambda: ["python3.11", "python3.13"])
    monkeypatch.setattr(versions, "install", lambda python, *_: "no wheel" if python == "python3.13" else "")
    monkeypatch.setattr(versions, "installed_versions", lambda python: ["3.11"] + ["1"] * len(versions.SHOWN))
    monkeypatch.setattr(versions, "run_all", lambda python: ["30.0", "failed"])
    monkeypatch.setattr(versions, "CHECKOUT", tmp_path)
    (tmp_path / "requirements.txt").write_text("torch>=2.6\n")
    assert versions.main(["newest"]) == 1
    assert "newest: python3.13 is left out: no wheel\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["requirements.txt"]


def test_the_first_look_is_among_the_commands() -> None:
    [first_look] = toy_commands.toy_blocks((CHECKOUT / "README.md").read_text())
    programs = [command.split()[1] for command in first_look]
    assert programs == ["prepare.py", "main.py", "test.py", "report.py", "predict.py"]
    assert toy_commands.files_to_open((CHECKOUT / "README.md").read_text()) == {
        "outdir_toy/look/index.html",
        "outdir_toy/predict/sheet.png",
    }


def test_a_command_that_fails_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    page.write_text("\n    python prepare.py toy --out a\n    python fails.py\n    python after.py\n\n    else\n")
    (tmp_path / "prepare.py").write_text("print('first')\nprint('last')\n")
    (tmp_path / "fails.py").write_text("print('why')\nraise SystemExit(5)\n")
    (tmp_path / "after.py").touch()
    monkeypatch.setattr(toy_commands, "CHECKOUT", tmp_path)
    monkeypatch.setattr(toy_commands, "PAGES", [page])
    with pytest.raises(SystemExit, match=r"^why\n\nexit code 5: python fails.py$"):
        toy_commands.main([])
    assert re.fullmatch(r"README.md\n +0 s  python prepare.py toy --out a\n +last\n", capsys.readouterr().out)


STEPS = ["lint", "test", "test-page", "test-tour", "test-commands"]


def run_ci(folder: Path, **programs: str) -> subprocess.CompletedProcess:
    """.ci/run where the PATH has these programs alone, as bash scripts, and what it needs of the system."""
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(shutil.which(name))
    for name, script in programs.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (folder / name).chmod(0o755)
    command = [folder / "bash", CHECKOUT / ".ci" / "run"]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": str(folder)})


def test_ci_prints_the_seconds_of_each_step(tmp_path: Path) -> None:
    done = run_ci(tmp_path, make=":", chromium=":")
    assert done.returncode == 0, done.stderr
    assert [re.sub(r"\d+", "0", line) for line in done.stdout.splitlines()] == [f"make {step}: 0 s" for step in STEPS]


def test_ci_ends_at_the_first_step_that_fails(tmp_path: Path) -> None:
    done = run_ci(tmp_path, make='[ "${*: -1}" != test-page ] || exit 2', chromium=":")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["make lint", "make test"]


def test_ci_says_that_there_is_no_browser(tmp_path: Path) -> None:
    done = run_ci(tmp_path, make=":", id="echo 1000")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("there is no chromium: the tests of the page in a browser are skipped\n")
