"""Print the table of all cases, as two checkouts answer them: python -m tests.as_found --before ../older [PART ...].

PART: test_NAME.py without test_ and .py; none for all.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import runpy
import sys
import tempfile
from pathlib import Path

import pytest
import torch

import prepare
from dataset.prepare.toy import make_coco, make_fss, make_pascal, scene
from dataset.transform import normalise
from engine.checkpoint import Checkpoint, save_checkpoint
from model import build_model, calibrate_batch_norms
from tests.as_found.cases import Case, Inputs
from tests.files import CHECKOUT, COCO_SEED, TOY_SEED

WIDEST = 160  # letters of an answer


def make_inputs(root: Path) -> Inputs:
    """The fixtures of tests/conftest.py, in a folder."""
    make_pascal(root / "VOC2012", train=60, val=40, seed=TOY_SEED)
    make_coco(root / "COCO2014", train=40, val=40, seed=COCO_SEED)
    prepare.main(["coco", "--data-root", str(root / "COCO2014"), "--workers", "0"])
    make_fss(root / "FSS-1000", seed=0)
    torch.manual_seed(0)
    net = build_model("ssp")
    calibrate_batch_norms(net, torch.stack([normalise(scene(number, 0).image) for number in range(3)]))
    save_checkpoint(root / "random.ckpt", Checkpoint(net.state_dict(), {"refine": True}))
    return Inputs(root, root / "random.ckpt", root / "VOC2012", root / "COCO2014", root / "FSS-1000")


def answer(checkout: Path, case: Case, inputs: Inputs) -> str:
    """The exit code and the line that matters of a case's command, in a forked process, by the code of a checkout."""
    folder = Path(tempfile.mkdtemp(dir=inputs.folder))
    words = case.make(inputs._replace(folder=folder))
    printed = folder / "printed.txt"
    child = os.fork()
    if child == 0:
        try:
            os.chdir(checkout)
            for name in [name for name, module in sys.modules.items() if _is_ours(module)]:
                del sys.modules[name]
            sys.path[:] = [str(checkout), *(place for place in sys.path if place not in ("", str(CHECKOUT)))]
            sys.argv = [str(checkout / words[0]), *words[1:]]
            stream = os.open(printed, os.O_WRONLY | os.O_CREAT)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            runpy.run_path(sys.argv[0], run_name="__main__")
            sys.stdout.flush()
            os._exit(0)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}".encode())
        finally:
            os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = [line.rpartition("\r")[2] for line in printed.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if re.search(case.says, line)] or lines[-1:] or [""]
    return f"{code}: {said[0].replace(str(folder), '').replace('|', '/')[-WIDEST:]}"


def _is_ours(module: object) -> bool:
    path = str(getattr(module, "__file__", None) or "")
    return path.startswith(f"{CHECKOUT}{os.sep}") and ".venv" not in path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the code before")
    parser.add_argument("parts", nargs="*")
    args = parser.parse_args()
    parts = args.parts or sorted(path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py"))
    with tempfile.TemporaryDirectory() as root:
        os.environ["XDG_CACHE_HOME"] = f"{root}/cache"
        inputs = make_inputs(Path(root))
        for part in parts:
            print(f"\n## {part}\n\n| input | before | after |\n| :-- | :-- | :-- |", flush=True)
            for case in importlib.import_module(f"tests.as_found.test_{part}").CASES:
                try:
                    before, after = (answer(path, case, inputs) for path in (args.before.resolve(), CHECKOUT))
                except pytest.skip.Exception as reason:
                    before = after = str(reason)
                print(f"| {case.name} | {before} | {after} |", flush=True)


if __name__ == "__main__":
    main()
