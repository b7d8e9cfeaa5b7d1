"""What can be mended is one line and exit code 2; a defect keeps its traceback."""

from __future__ import annotations

import pytest

from util.errors import UserError
from util.launch import command


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [(UserError("file: gone"), 2, "error: file: gone\n"), (KeyboardInterrupt(), 130, "interrupted\n")],
)
def test_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as excinfo:
        command(lambda: fail(error))
    assert excinfo.value.code == code
    assert capsys.readouterr() == ("", line)


def test_defects_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        command(lambda: fail(ZeroDivisionError()))


def test_success_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda: None)
    assert capsys.readouterr() == ("", "")
