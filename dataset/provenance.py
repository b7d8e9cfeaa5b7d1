"""How much of a published benchmark the data of a run are: a number from other data compares with no published one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from util.errors import UserError, refusal
from util.fields import check_fields, optional, text, whole
from util.files import read_json

COUNTED_LISTS = ("train", "val", "test", "select")  # counts that file may state; select is a former name of val
EXPECTED = "expected.json"  # in a dataset's folder: its name and its own counts, in place of the published ones


PROVENANCE_RULES = {
    "name": text, "counted": text, "count": whole(0), "published": whole(0), "folds": optional(whole(0, 100))
}  # fmt: skip


class Provenance(NamedTuple):
    """What was counted of a dataset, and what the published one has."""

    name: str  # what a dataset calls itself that is another one, such as "toy"; else ""
    counted: str  # such as "images of pascal val"
    count: int
    published: int
    folds: int | None = None  # how many own data have, 0 for none; None of a benchmark

    def as_dict(self) -> dict[str, Any]:
        """As files have it, which :func:`from_dict` reads."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def is_published(self) -> bool:
        """Whether these may be the benchmark's own data."""
        return not self.name and self.count == self.published

    @property
    def label(self) -> str:
        """For people: 'toy data', or '42 of 1449 images of pascal val'; "" of the benchmark's own."""
        if self.is_published:
            return ""
        return f"{self.name} data" if self.name else f"{self.count} {self.counted} in place of {self.published}"


def label_of(provenance: Provenance | None) -> str:
    """The label of what was counted, "" also where nothing is known."""
    return provenance.label if provenance else ""


def read_counts(root: Path) -> dict[str, Any]:
    """What a dataset's folder states of itself, nothing if it states nothing. Raises ValueError if it is no good."""
    path = root / EXPECTED
    if not path.is_file():
        return {}
    try:
        counts = read_json(path)
        check_fields(counts, dict.fromkeys(COUNTED_LISTS, whole(0)), may_lack=True)
        if "select" in counts:
            counts["val"] = counts.pop("select")
        return counts
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {refusal(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as counts ({error}); remove it") from error


def read_name(root: Path) -> str:
    """The name of a dataset that says that it is not the published one, else "". Raises UserError."""
    try:
        name = read_counts(root).get("name", "")
    except ValueError as error:
        raise UserError(str(error)) from error
    return name if isinstance(name, str) and name.isprintable() else "other"


def from_dict(known: Any) -> Provenance | None:
    """What a file says, written as a dict of the fields; None where it says nothing. Raises ValueError if absurd."""
    if known is None:
        return None
    check_fields(known, PROVENANCE_RULES)
    return Provenance(**{name: known.get(name) for name in Provenance._fields})
