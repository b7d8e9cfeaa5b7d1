"""Results compared episode by episode, as text: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.evaluation.compare import ClassDifference, Comparison
from engine.evaluation.result import EvaluationResult
from tables.text import COMPARISON_CSV_FIELDS, COMPARISON_LEGEND, literal, markdown_table, plain
from util.errors import one_line


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """A section for each pair: its mIoU, classes, how many episodes are better, and the episodes that differ most."""
    return "\n\n".join([COMPARISON_LEGEND, *map(_markdown, comparisons)]) + "\n"


def _markdown(found: Comparison) -> str:
    a, b, miou = found.a, found.b, found.miou
    rows = [("", "A", "B", "Difference", "95 % interval", "Query images", "Episodes")]
    rows.append(("mIoU", f"{a.miou:.2f}", f"{b.miou:.2f}", *_difference_words(miou)))
    rows += [(f"class {cls}", "", "", *_difference_words(each)) for cls, each in found.classes.items()]
    lines = [
        f"## {literal(one_line(b.file))} against {literal(one_line(a.file))}",
        "",
        f"{a.setting.shot}-shot, {a.setting.describe()}, {a.protocol.title}, seeds {', '.join(map(str, a.seeds))}",
        "",
        f"- A: {literal(_network(a))}",
        f"- B: {literal(_network(b))}",
        "",
        *markdown_table(rows),
        "",
        f"Of {miou.episodes} episodes {found.better} are better in B, {found.worse} worse, {found.equal} equal.",
    ]
    if found.largest:
        named = [("Seed", "Episode", "Class", "Query", "IoU A", "IoU B", "Difference")]
        for each in found.largest:
            ious = f"{each.iou_a:.2f}", f"{each.iou_b:.2f}", f"{each.difference:+.2f}"
            named.append((f"{each.seed}", f"{each.number}", f"{each.cls}", literal(one_line(each.query)), *ious))
        flag = ",".join(f"{each.seed}:{each.number}" for each in found.largest)
        lines += ["", "The largest differences:", "", *markdown_table(named)]
        lines += ["", f"Look at them, in both: test.py --visualize DIR --visualize-episodes {flag}"]
    return "\n".join(lines)


def _difference_words(each: ClassDifference) -> tuple[str, ...]:
    difference, low, high = each.difference
    return f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}", str(each.queries), str(each.episodes)


def _network(result: EvaluationResult) -> str:
    refined = "with" if result.setting.refine else "without"
    name = f"{result.setting.method} {result.setting.backbone} {refined} refinement"
    return f"{name}, {result.checkpoint}" if result.checkpoint else name


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """A line for mIoU and for each class of each pair, with the header COMPARISON_CSV_FIELDS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COMPARISON_CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for found in comparisons:
        files = {"a": plain(one_line(found.a.file)), "b": plain(one_line(found.b.file))}
        counts = {name: getattr(found, name) for name in ("better", "worse", "equal")}
        means = {"miou_a": round(found.a.miou, 4), "miou_b": round(found.b.miou, 4)}
        writer.writerow({**files, "class": "mean", **means, **_fields(found.miou), **counts})
        writer.writerows({**files, "class": cls, **_fields(each)} for cls, each in found.classes.items())
    return text.getvalue()


def to_json(comparisons: Sequence[Comparison]) -> str:
    """A list with an object for each pair (docs/results-format.md)."""
    return json.dumps([dict(_content(found)) for found in comparisons], indent=2) + "\n"


def _content(found: Comparison) -> Iterator[tuple[str, Any]]:
    for name in "ab":
        result = getattr(found, name)
        yield name, {"file": str(result.file), "checkpoint": result.checkpoint, "miou": result.miou}
    yield "miou", _fields(found.miou)
    yield "classes", {cls: _fields(each) for cls, each in found.classes.items()}
    yield from ((name, getattr(found, name)) for name in ("better", "worse", "equal"))
    yield "largest", [{**each._asdict(), "difference": each.difference} for each in found.largest]


def _fields(each: ClassDifference) -> Mapping[str, Any]:
    numbers = {name: round(value, 4) for name, value in each.difference._asdict().items()}
    return {**numbers, "queries": each.queries, "episodes": each.episodes}
