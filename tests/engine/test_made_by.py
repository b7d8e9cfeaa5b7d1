"""What made a file of results: a commit is told only of a git checkout, and with a mark where files have changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine import made_by
from engine.made_by import describe_device, describe_run, find_commit


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    run = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
    return run.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "one")
    git(tmp_path, "tag", "-a", "v1", "-m", "a tag")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "results.json").write_text("a new file")
    (tmp_path / "copied").mkdir()
    assert find_commit(tmp_path) == commit
    (tmp_path / "a.py").write_text("2")
    assert find_commit(tmp_path) == f"{commit}-dirty"
    assert find_commit(tmp_path / "copied") is None  # code that lies in somebody else's checkout


def test_no_commit_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    assert find_commit(tmp_path) is None  # no repository
    monkeypatch.setenv("PATH", "")
    assert find_commit(tmp_path) is None


def test_what_is_told_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/predict.py", "--query", "a b.jpg"])
    monkeypatch.setattr(made_by, "PACKAGES", ("torch", "no_module_of_this_name"))
    found = describe_run(describe_device(torch.device("cpu")))
    assert found["command"] == "predict.py --query 'a b.jpg'"
    assert found["device"] == "cpu"
    assert found["versions"] == {"python": ".".join(map(str, sys.version_info[:3])), "torch": torch.__version__}
