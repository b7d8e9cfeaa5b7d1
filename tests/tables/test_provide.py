"""The authors' checkpoints over a real HTTP server: good, cut off, wrong, hostile; what is printed and what is left."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import prepare
from engine.checkpoint import load_checkpoint
from engine.recorded import RECORD
from model import build_model
from tables import download
from tables.authors import ALL, choose
from tests.files import OneLine
from tests.server import Server, free_port, serving
from util.errors import UserError

pytest.importorskip("gdown")
NAME = "pascal/resnet50_1shot_fold0_ssp.pth"
ONE = ["checkpoints", "--dataset", "pascal", "--backbone", "resnet50", "--shot", "1", "--fold", "0", "--method", "ssp"]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRIES", 0)


def weights_of(tmp_path: Path, method: str = "ssp", backbone: str = "resnet50") -> bytes:
    """A checkpoint as the authors' release writes it, of zeros that take no space."""
    state = build_model(method, backbone).state_dict()
    path = tmp_path / "made.pth"
    torch.save({f"module.{key}": torch.zeros((), dtype=x.dtype).expand(x.shape) for key, x in state.items()}, path)
    return path.read_bytes()


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    return weights_of(tmp_path)


@pytest.fixture
def large(tmp_path: Path) -> bytes:
    """17 MB: gdown keeps half megabytes."""
    torch.save(build_model("ssp").half().state_dict(), tmp_path / "real.pth")
    return (tmp_path / "real.pth").read_bytes()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def flags(to: Path, server: Server | None = None) -> list[str]:
    return [*ONE, "--to", str(to), *([] if server is None else ["--mirror", server.url])]


def test_a_good_file_is_checked_recorded_and_kept(
    server: Server, good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "authors"
    server.files[NAME] = good
    prepare.main(flags(to, server))
    assert capsys.readouterr().out == f"1/1 {to / NAME}: fetched\n"
    assert files(to) == [RECORD, NAME]
    assert (to / NAME).read_bytes() == good
    known = json.loads((to / RECORD).read_text())["files"][NAME]
    assert known["size"] == len(good)
    assert known["drive"] == choose(dataset="pascal", backbone="resnet50", shot=1, method="ssp")[0].drive
    prepare.main(flags(to, server))
    assert capsys.readouterr().out == f"1/1 {to / NAME}: is there\n"
    assert server.paths == [f"/{NAME}"]  # not fetched again
    info = load_checkpoint(to / NAME).info
    assert (info["weights"], info["dataset"], info["fold"], info["refine"]) == ("authors", "pascal", 0, True)
    assert "class_order" not in info


def test_a_file_that_changed_later_is_noticed(
    server: Server, good: bytes, tmp_path: Path, one_line_error: OneLine
) -> None:
    to = tmp_path / "authors"
    server.files[NAME] = good
    prepare.main(flags(to, server))
    with (to / NAME).open("ab") as file:
        file.write(b"x")
    line = one_line_error(prepare.main, flags(to, server))
    assert line.startswith(f"error: {to / NAME}: has changed since it was fetched and checked")
    with pytest.raises(UserError, match="has changed since"):
        load_checkpoint(to / NAME)


def test_a_download_that_is_cut_off_goes_on(
    server: Server, large: bytes, tmp_path: Path, one_line_error: OneLine
) -> None:
    to = tmp_path / "authors"
    server.files[NAME], server.cut_after = large, len(large) // 4
    for _ in range(2):
        line = one_line_error(prepare.main, flags(to, server))
        broke = rf"error: {to / NAME}: {server.url}/{NAME} broke off after [\d.]+ MB; {download.AGAIN}"
        assert re.fullmatch(broke, line)
        assert [re.sub(r"\.pth.*", "", name) for name in files(to)] == ["pascal/.incoming/resnet50_1shot_fold0_ssp"]
    server.cut_after = None
    prepare.main(flags(to, server))
    assert files(to) == [RECORD, NAME]
    assert (to / NAME).read_bytes() == large
    starts = [int(each[6:-1]) for each in server.ranges if each]
    assert starts == sorted(starts)
    assert starts[0] > len(large) // 5  # what had arrived was not asked for again
    assert starts[-1] > 2 * len(large) // 5


class Code:
    def __reduce__(self) -> tuple:
        return (os.system, ("touch HOSTILE",))


def without_first_key(tmp_path: Path) -> bytes:
    state = build_model("ssp").state_dict()
    del state[next(iter(state))]
    torch.save(state, tmp_path / "few.pth")
    return (tmp_path / "few.pth").read_bytes()


NO_GOOD = {
    "web page": (lambda _: b"<!DOCTYPE html><html>Quota exceeded</html>", "a web page, not weights"),
    "truncated": (lambda folder: weights_of(folder)[:-9999], "cannot be read, it is truncated or not a checkpoint"),
    "backbone": (lambda folder: weights_of(folder, backbone="resnet101"), "holds a resnet101 network, not resnet50"),
    "method": (lambda folder: weights_of(folder, method="baseline"), "holds a baseline network, not ssp"),
    "hostile": (
        lambda _: pickle.dumps({"state_dict": Code()}),
        "refused: names posix.system, which weights have no use for; do not trust the file; fetch it",
    ),
    "keys": (without_first_key, "keys are missing"),
}


@pytest.mark.parametrize(("make", "reason"), NO_GOOD.values(), ids=NO_GOOD)
def test_what_is_no_good_is_not_kept(
    make: Callable[[Path], bytes], reason: str, server: Server, tmp_path: Path, one_line_error: OneLine
) -> None:
    to = tmp_path / "authors"
    server.files[NAME] = make(tmp_path)
    line = one_line_error(prepare.main, flags(to, server))
    assert line.startswith(f"error: {to / NAME}: not kept: {server.url}/{NAME}: ")
    assert reason in line
    assert line.endswith(f"; {download.ELSEWHERE}")
    assert files(to) == []
    assert not Path("HOSTILE").exists()


def test_what_cannot_be_fetched(
    server: Server, good: bytes, tmp_path: Path, one_line_error: OneLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a server that is not there, Google Drive's quota, a full disk, no gdown: one line, and nothing left."""
    to = tmp_path / "authors"

    def error(*more: str) -> str:
        line = one_line_error(prepare.main, [*flags(to), *more])
        assert files(to) == []
        return line

    there, nobody = ["--mirror", server.url], f"http://127.0.0.1:{free_port()}"
    assert error(*there) == (
        f"error: {to / NAME}: {server.url}/{NAME} answered 404 Not Found; fetch it with a browser, or from a --mirror"
    )
    assert error("--mirror", nobody) == (
        f"error: {to / NAME}: {nobody}/{NAME} cannot be reached; check the network and the address, then run the same "
        "command again, it goes on from there"
    )
    server.files[NAME] = good
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, limits[1]))  # for a full disk: write fails in the same place
    try:
        full = error(*there)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full == f"error: cannot write {to / NAME}: File too large; free some space and run it again"

    def refuse(**_: object) -> None:
        from gdown.exceptions import FileURLRetrievalError

        raise FileURLRetrievalError("Failed to retrieve file url:\n\n\tToo many users have viewed or downloaded")

    with monkeypatch.context() as patch:
        patch.setattr(download, "need_gdown", lambda: refuse)
        drive = choose(dataset="pascal", backbone="resnet50", shot=1, method="ssp")[0].drive
        given_out = f"error: {to / NAME}: https://drive.google.com/uc?id={drive} is not given out: "
        assert error().startswith(given_out)
    monkeypatch.setitem(sys.modules, "gdown", None)
    assert error() == "error: to download, install gdown (pip install gdown), or pass files of yours with --from"


def test_files_of_a_browser_are_taken_over(
    good: bytes, tmp_path: Path, one_line_error: OneLine, capsys: pytest.CaptureFixture[str]
) -> None:
    to, source = tmp_path / "authors", tmp_path / "downloads"
    source.mkdir()
    line = one_line_error(prepare.main, [*flags(to), "--from", str(source)])
    flat = NAME.replace("/", "_")
    assert line.startswith(f"error: {source}: holds no {NAME} or {flat}; save https://drive.google.com/file/d/")
    (source / flat).write_bytes(good)
    prepare.main([*flags(to), "--from", str(source)])
    assert capsys.readouterr().out == f"1/1 {to / NAME}: taken from {source}\n"
    assert files(to) == [RECORD, NAME]
    (to / RECORD).unlink()  # a file without record is checked again
    prepare.main([*flags(to), "--from", str(source)])
    assert capsys.readouterr().out == f"1/1 {to / NAME}: was there, checked\n"


def test_one_that_is_missing_does_not_stop_the_others(
    server: Server, good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "authors"
    for fold in (0, 2, 3):
        server.files[NAME.replace("fold0", f"fold{fold}")] = good
    some = [*ONE[:7], "--method", "ssp", "--to", str(to), "--mirror", server.url]
    with pytest.raises(UserError, match=r"^1 of 4 checkpoints are missing, for the reasons above; run it again$"):
        prepare.main(some)
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {to / NAME.replace('fold0', 'fold1')}: {server.url}")
    assert captured.err.count("\n") == 1
    assert len(files(to)) == 4


def test_the_list_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    prepare.main(["checkpoints", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == len(ALL) == 48
    assert lines[0] == (
        "pascal/resnet50_1shot_fold0_baseline.pth "
        "https://drive.google.com/file/d/1Itnv562-dhfZOV-_upX1BlMFWIGJFFhn/view"
    )
