"""Every flag that names a path, with every kind of path: it works, or one line says why not and nothing is written."""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

import app
import engine.evaluation.gallery
import engine.training.run_files  # noqa: F401  which, with others, the children would each import again
import hubconf  # noqa: F401
import main as training
import predict
import prepare
import report
import reproduce
import test as testing
import vary
from engine.checkpoint import Checkpoint, save_checkpoint, save_weights
from engine.options import OneLineParser
from model import build_model
from model.weights import flat_key
from tests.conftest import Main
from tests.files import write
from tests.hostile.children import in_child
from util.errors import printable
from util.launch import command

QUICK = (
    "--data-root {toy} --pretrained none --crop-size 65 --episode 2 --snapshot 2 --batch-size 2 --test-episodes 2 "
    "--seeds 1 --workers 0 --shot 1 --device cpu --out {here}/out"
)
ONE = "checkpoints --dataset pascal --fold 0 --shot 1 --method ssp --backbone resnet50"
FEW = "--episodes 2 --seeds 1 --workers 0 --device cpu"
TEST = f"--checkpoint {{inputs}}/w.ckpt {FEW}"
COMMANDS: dict[str, tuple[Main, str, str]] = {  # correct ones, and which of their flags that name a path are tried
    "main": (training.main, QUICK, "--data-root --pretrained --out"),
    "main fss": (training.main, QUICK.replace("{toy}", "{fss} --dataset fss"), "--data-root --splits"),
    "test of a run": (testing.main, f"--data-root {{toy}} {FEW}", "--out"),
    "test": (
        testing.main,
        f"--data-root {{toy}} {TEST}",
        "--data-root --checkpoint --save-episodes --episodes-from --json --results --visualize",
    ),
    "test hsnet": (testing.main, f"--data-root {{toy}} {TEST} --protocol hsnet --splits {{inputs}}/splits", "--splits"),
    "vary": (
        vary.main,
        f"--data-root {{toy}} {TEST} --refine --vary rounds=0 --to {{here}}/out",
        "--data-root --checkpoint --episodes-from --out --to --splits",
    ),
    "predict": (
        predict.main,
        "--checkpoint {inputs}/w.ckpt --support {inputs}/a.jpg --mask {inputs}/a.png --query {inputs}/b.jpg "
        "--out {here}/out --device cpu --max-side 64",
        "--checkpoint --support --mask --query --out --coco",
    ),
    "predict untrained": (
        predict.main,
        "--backbone resnet50 --weights {inputs}/backbone.pth --support {inputs}/a.jpg --query {inputs}/b.jpg "
        "--out {here}/out --device cpu --max-side 64",
        "--weights",
    ),
    "coco": (prepare.main, "coco --data-root {coco} --workers 0", "--data-root"),
    "pascal": (prepare.main, "pascal --data-root {toy}", "--data-root"),
    "fss": (prepare.main, "fss --data-root {fss} --workers 0", "--data-root --splits --test-list"),
    "weights": (prepare.main, "weights --from {inputs}/backbone.pth --out {here}/out", "--from --out"),
    "checkpoints": (prepare.main, f"{ONE} --from {{inputs}}/authors --to {{here}}/out", "--from --to"),
    "splits": (prepare.main, "splits --from {inputs}/hsnet --out {here}/out", "--from --out"),
    "splits of masks": (prepare.main, "splits --dataset fss --data-root {fss} --out {here}/out", "--data-root"),
    "toy": (prepare.main, "toy --train 1 --val 1 --out {here}/out", "--out"),
    "verify": (prepare.main, "verify --data-root {toy} --workers 0 --quick", "--data-root --json"),
    "verify fss": (
        prepare.main, "verify --dataset fss --data-root {fss} --workers 0 --quick", "--data-root --splits",
    ),
    "report": (
        report.main, "{inputs}/r.json --out {here}/out", "paths --markdown --csv --picture --data-root --splits --out",
    ),
    "report of two": (report.main, "--compare {inputs}/r.json {inputs}/s.json", "--json --markdown --csv"),
    "reproduce": (
        reproduce.main,
        "--data-root {toy}/.. --dataset pascal --method ssp --backbone resnet50 --shot 1 --folds 0 --out {here}/out "
        "--splits {inputs}/splits --authors {here}/authors --mirror http://127.0.0.1:9 --no-verify",
        "--data-root --splits --authors --out --python",
    ),
    "app": (app.main, "--checkpoint {inputs}/w.ckpt --device cpu", "--checkpoint"),
    "app untrained": (app.main, "--backbone resnet50 --weights {inputs}/backbone.pth --device cpu", "--weights"),
}  # fmt: skip
PATHS = ("DIR", "FILE", "PATH", "FILE.png", "COMMAND")  # how the help calls a path


class Case(NamedTuple):
    """A command, the flag that is replaced or added, and the kind of path that it is given."""

    command: str
    flag: str
    kind: str


def flags_of(words: str, main: Main) -> set[str]:
    """The flags and arguments of a command that name a path, as its parser knows them."""
    found: set[str] = set()

    def remember(parser: argparse.ArgumentParser, argv: list[str]) -> None:
        subparsers = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        actions = subparsers[0].choices[argv[0]]._actions if subparsers else parser._actions
        found.update((action.option_strings or [action.dest])[0] for action in actions if action.metavar in PATHS)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(OneLineParser, "parse_args", remember)
        main(words.split())
    return found


def loop(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def with_mode(path: Path, mode: int) -> Path:
    path.chmod(mode)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


KINDS: dict[str, Callable[[Path], str | Path]] = {  # each is made in a folder
    "missing": lambda here: here / "missing" / "deeper" / "x",
    "below a file": lambda here: write(here / "file", "text\n") / "x",
    "no text": lambda here: "",
    "empty file": lambda here: write(here / "empty"),
    "bytes": lambda here: write(here / "bytes", bytes(range(256)) * 9),
    "list": lambda here: write(here / "list.json", "[[1]]"),
    "empty folder": lambda here: folder(here / "folder"),
    "fifo": lambda here: fifo(here / "fifo"),
    "full device": lambda here: "/dev/full",
    "unreadable file": lambda here: with_mode(write(here / "secret", "x"), 0),
    "below a sealed folder": lambda here: with_mode(folder(here / "sealed"), 0o500) / "x",
    "long name": lambda here: here / ("x" * 300),
    "file with a line break": lambda here: write(here / "a\nerror: forged", "text"),
    "not UTF-8": lambda here: os.fsdecode(os.fsencode(here) + b"/\xff\xfe"),
    "loop": lambda here: loop(here / "loop"),
    "pattern": lambda here: here / "[*",
}
CASES = [Case(name, flag, kind) for name, (*_, flags) in COMMANDS.items() for flag in flags.split() for kind in KINDS]


def is_quick(case: Case) -> bool:
    """Whether make test has it: every flag with a named pipe, and two flags, of input and output, with every kind."""
    if case.kind == "fifo":
        return case.command != "reproduce"
    return case[:2] in (("main", "--data-root"), ("verify", "--json"))


@pytest.fixture(scope="module")
def places(toy: Path, toy_coco: Path, toy_fss: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders that correct commands read; no case may change them."""
    inputs = tmp_path_factory.mktemp("inputs")
    info = {"dataset": "pascal", "fold": 0, "shot": 1, "refine": True, "base_classes": list(range(6, 21))}
    state = build_model("ssp").half().state_dict()
    save_checkpoint(inputs / "w.ckpt", Checkpoint(state, info))
    save_weights(inputs / "authors" / "pascal" / "resnet50_1shot_fold0_ssp.pth", state)
    save_weights(inputs / "backbone.pth", {flat_key(key): value for key, value in state.items()})
    few = [*FEW.split(), "--json", str(inputs / "r.json")]
    testing.main(["--data-root", str(toy), "--checkpoint", str(inputs / "w.ckpt"), *few])
    shutil.copy(inputs / "r.json", inputs / "s.json")
    for name in ("JPEGImages/toy_00061.jpg", "SegmentationClassAug/toy_00061.png"):
        shutil.copy(toy / name, inputs / f"a{Path(name).suffix}")
    shutil.copy(toy / "JPEGImages" / "toy_00062.jpg", inputs / "b.jpg")
    prepare.main(["splits", "--dataset", "pascal", "--data-root", str(toy), "--out", str(inputs / "splits")])
    shutil.copytree(toy_fss / "splits", inputs / "splits" / "fss")
    for path in (inputs / "splits").rglob("*.txt"):  # as HSNet's own: none says that it was made from masks
        own = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        write(inputs / "hsnet" / path.relative_to(inputs / "splits"), "\n".join(own))
    return {"toy": toy, "coco": toy_coco, "fss": toy_fss, "inputs": inputs}


def drop_privileges() -> None:
    """Root without its capabilities reads and writes what a user may."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None).capset(header, none):
        raise OSError("capset")


def run_as_user(main: Main, argv: list[str], here: Path) -> tuple[int, str, str]:
    """Exit code, output and errors of a script in a process of its own, without root's privileges, in a folder."""
    output, errors = here.parent / "output", here.parent / "errors"

    def work() -> None:
        signal.alarm(60)
        os.chdir(here)
        for number, path in ((1, output), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        drop_privileges()
        command(lambda: main(argv))

    code = os.waitstatus_to_exitcode(in_child(work))
    return code, output.read_text(errors="replace"), errors.read_text(errors="replace")


def content(*folders: Path) -> dict[str, tuple[int, ...]]:
    """All that is in folders but folders, by name: size, time of change and mode."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            found[str(path)] = info.st_size, info.st_mtime_ns, info.st_mode
    return found


def test_no_flag_is_left_out() -> None:
    """Every flag that names a path is tried in one of the commands of its program."""
    named: dict[tuple[Main, str], set[str]] = {}
    tried: dict[tuple[Main, str], set[str]] = {}
    for main, words, flags in COMMANDS.values():
        program = main, words.split()[0] if main is prepare.main else ""
        named.setdefault(program, set()).update(flags_of(words, main))
        tried.setdefault(program, set()).update(flags.split())
    assert tried == named


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_are_correct(name: str, places: dict[str, Path], tmp_path: Path) -> None:
    """Else a line about something else would do for every kind of path."""
    here = folder(tmp_path / "here")
    main, words, _ = COMMANDS[name]
    if name.startswith("app"):
        pytest.skip("it does not end")
    if name == "test of a run":
        write(here / "outdir/models/pascal/fold_0/resnet50_1shot_1.00.ckpt", (places["inputs"] / "w.ckpt").read_bytes())
    argv = [word.format(here=here, **places) for word in words.split()]
    code, _, errors = run_as_user(main, argv, here)
    assert code == (name in ("verify", "reproduce")), errors  # too few images of a class; no weights to fetch


@pytest.mark.parametrize(
    "case",
    [pytest.param(x, id="-".join(x), marks=() if is_quick(x) else pytest.mark.slow) for x in CASES],
)
def test_paths(case: Case, places: dict[str, Path], tmp_path: Path) -> None:
    if case.command.startswith("app"):
        pytest.importorskip("gradio")
    here = folder(tmp_path / "here")
    path = str(KINDS[case.kind](here))
    main, words, _ = COMMANDS[case.command]
    argv = [word.format(here=here, **places) for word in words.split()]
    if case.flag in argv:
        argv[argv.index(case.flag) + 1] = path
    elif case.flag.startswith("-"):
        argv += [case.flag, path]
    else:
        argv[0] = path
    before = content(here, *places.values())
    code, output, errors = run_as_user(main, argv, here)
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in errors + output, errors
    assert not [line for line in output.splitlines() if line.startswith("error: ")], output
    if code == 0 or (code == 1 and case.command.startswith("verify")):  # it has found faults, which is its work
        assert not lines
        return
    if code == 1 and case.command == "reproduce":  # a row whose weights could not be fetched
        assert errors.splitlines()[-1].startswith("failed: ")
        return
    assert code == 2, (code, output, errors)
    assert len(lines) == 1, errors
    assert lines[0] == errors.splitlines()[-1]
    assert printable(lines[0]) == lines[0]
    assert any(name in lines[0] for name in (case.flag, printable(Path(path).name), str(Path(path).parent)))
    after = content(here, *places.values())
    assert after == before, lines
