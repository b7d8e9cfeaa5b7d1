"""The edge of every program: errors become one line and an exit code.

Scripts run their ``main`` under :func:`command`. What the user can mend is one line on stderr and exit code 2; any
other exception is a defect of this project: one line with its kind and place, and exit code 3; SSP_TRACEBACK=1 in the
environment keeps its traceback. Scripts import this module first: while they import the others, Ctrl-C ends them with
one word and a missing package with one line; --help needs no package.
"""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":  # which lacks what the imports below need
    print("error: runs on Linux, macOS or WSL (Windows Subsystem for Linux), not on Windows itself", file=sys.stderr)
    sys.exit(2)

import select
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from util import distributed
from util.distributed import launched, mute
from util.errors import UserError, fills_gpu, fills_memory, first_line, printable, refusal
from util.interrupts import interrupts, leave_at_once

TRACEBACK = "SSP_TRACEBACK"  # 1: defects keep their traceback, as in tests
CLOSED_PIPE = 141  # the exit code of a program whose reader has gone, as a shell gives it
MEMORY_IS_FULL = "error: memory is full; close other programs, or lower --workers, --cache-gb or --max-side"
LONGEST = 2000  # letters of the last line: what it quotes may be a whole file
ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "PIL", "torch", "torchvision", "tqdm", "pycocotools")  # of requirements.txt
SCRIPTS = ("main", "test", "vary", "predict", "export", "prepare", "report", "reproduce", "app", "demo")


def command(main: Callable[[], object]) -> None:
    """Run a script's ``main`` and end the process.

    Exit codes: 0 after success, 2 after an error that the user can mend, 3 after a defect, 130 after Ctrl-C, SIGTERM
    or SIGHUP, 141 after the end of who read the output.
    """
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show must not end a run
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code, line, is_cause = _run(main)  # after the return no traceback keeps loader processes alive
    if code == CLOSED_PIPE:
        mute(sys.stdout)  # or Python itself would complain at its end
    elif code and _speaks(is_cause):
        with suppress(OSError):  # a terminal that was closed
            half = LONGEST // 2
            shown = line if len(line) <= LONGEST else f"{line[:half]} ... {line[-half:]}"
            print(printable(shown), file=sys.stderr)
    if code:
        sys.exit(code)


def _run(main: Callable[[], object]) -> tuple[int, str, bool]:
    """The exit code, the last line, and whether the line names a cause rather than the end of another process."""
    try:
        with interrupts():
            main()
            sys.stdout.flush()
    except UserError as error:
        return 2, f"error: {error}", True
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return CLOSED_PIPE, "", True
        if error.errno is None:
            return _defect(error)
        if fills_memory(error):
            return 2, MEMORY_IS_FULL, True
        where = "the output" if error.filename is None else os.fsdecode(error.filename)
        return 2, f"error: {where}: {refusal(error)}", True
    except MemoryError:
        return 2, MEMORY_IS_FULL, True
    except RuntimeError as error:
        if fills_gpu(error):
            line = "lower --batch-size or --crop-size or raise --accumulate, in evaluation lower --cache-gb"
            return 2, f"error: the GPU's memory is full; {line}", True
        if fills_memory(error):
            return 2, MEMORY_IS_FULL, True
        if "DataLoader worker" in str(error):
            line = "often for lack of (shared) memory; lower --workers, or --workers 0"
            return 2, f"error: a loader process was killed, {line}", True
        if launched() and _is_connection(error):
            line = "what its machine printed says why; a training goes on with --resume"
            return 2, f"error: another process of this run has ended; {line}", False
        return _defect(error)
    except KeyboardInterrupt as error:
        return 130, "; ".join(filter(None, ("interrupted", str(error)))), False
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if not name or (ROOT / name).exists() or (ROOT / f"{name}.py").exists():
            return _defect(error)
        how = f"make install, then {ROOT / '.venv/bin/python'}; or pip install -r requirements.txt"
        return 2, f"error: the package {name} is missing in {sys.executable}: {how}", True
    except Exception as error:
        return _defect(error)
    return 0, "", True


def _reader_has_gone() -> bool:
    """Whether the standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _defect(error: Exception) -> tuple[int, str, bool]:
    """What _run returns for an exception that nobody foresaw. Raises it if tracebacks are asked for."""
    if os.environ.get(TRACEBACK):
        raise error
    if file := _shadowing():
        return 2, f"error: {file}: hides the module of this name, which is needed; rename your file", True
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}, line {last.lineno}"
    what = f"{type(error).__name__}: {first_line(error)}"
    return 3, f"error: {what} ({place}): a defect of this program; {TRACEBACK}=1 before the command shows all", True


def _shadowing() -> str | None:
    """A file of the user's that was imported in place of a module of Python or of a package."""
    for name in {*sys.stdlib_module_names, *PACKAGES} - {*SCRIPTS}:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        if os.path.dirname(os.path.abspath(file)) in (str(ROOT), os.getcwd()):
            return file
    return None


def _speaks(is_cause: bool) -> bool:
    """Whether this process prints why the run ends: a machine's first, and any that met a cause of its own in it."""
    return not launched() or distributed.is_first_here() or (is_cause and distributed.has_joined)


def _is_connection(error: RuntimeError) -> bool:
    """Whether torch.distributed lost another process."""
    import torch

    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error) or "Connection" in str(error)


def _end_early(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """End a script whose imports fail as one whose main does."""

    def again() -> None:
        raise error

    command(again)


class _StandIn:
    """Gives an empty module in place of a package that is not installed, so that --help can be answered."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in PACKAGES else None

    def create_module(self, _spec: ModuleSpec) -> Any:
        from unittest.mock import MagicMock

        as_no_base = {"__mro_entries__": lambda _self, _bases: ()}  # classes are derived from what is missing
        return type("Blank", (MagicMock,), as_no_base)(__path__=[])

    def exec_module(self, module: ModuleType) -> None:
        pass


def _open_streams() -> None:
    """Open the null device in place of the standard streams that are closed, as by >&-.

    Else the next file that is opened takes the number of one, and what libraries print lands in it.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:  # in the order of their numbers: each gets its own
        setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))  # noqa: SIM115
    if "stdout" in closed:
        print("note: the standard output is closed; what is printed there is lost", file=sys.stderr)


def _is_of_script() -> bool:
    """Whether the process was started as one of this project's scripts, rather than imports some of it."""
    started = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    is_script = started.stem in SCRIPTS and started.resolve().parent == ROOT.resolve()
    # else it runs in another's process, such as a notebook's by %run, whose signals stay what they are
    return is_script and any(os.path.realpath(word) == str(started.resolve()) for word in sys.orig_argv)


if _is_of_script():
    _open_streams()
    if launched():  # else what torch logs in C++ of each connection that is lost hides the line that says why
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if {"-h", "--help"} & set(sys.argv):
        sys.meta_path.append(_StandIn())  # the last that is asked
    sys.excepthook = _end_early
    leave_at_once()
