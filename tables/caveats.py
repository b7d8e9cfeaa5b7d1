"""What is said beside the numbers: why a result may not compare, what else to know of it, the notes of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.evaluation.result import EvaluationResult
from engine.setting import AUTHORS, RANDOM, RELEASED_ORDER
from tables.experiment import FROZEN, UNKNOWN_DATA, UNTRAINED, Experiment, row_name, training_flags, weights_of
from tables.paper import SOURCES, Published, mean_of_folds
from util.errors import one_line

COCO_NOTES = (
    "The authors list the same checkpoints under both protocols, although the two class orders share only five of the "
    "twenty test classes of a fold: a checkpoint of one order has been trained on 15 of the 20 test classes of the "
    "other.",
    "The published table does not state the refinement: in the paper's own protocol it is taken as on; in HSNet's the "
    "release never refines.",
)
FSS_NOTE = (
    "The paper does not state the backbone of these values, so they stand beside each ResNet that was measured. "
    "Their protocol is not released, nor is the size of the crops that were trained on: 225 is our choice."
)
ORDER_NOTE = (
    "The authors did not say in which order of classes their weights were trained: the protocol in which the measured "
    "numbers are the published ones, and not far above, tells."
)
NOTES = {"coco": COCO_NOTES, "fss": (FSS_NOTE,)}
DATA_NOTE = (
    "These results are not on the benchmark's own data ({}). Nothing is published for them; they do not compare with "
    "the paper's rows."
)
UNKNOWN_NOTE = (
    "The files of these results do not say on which data they were measured: test again with test.py. Until then they "
    "do not stand beside the paper's rows."
)
OTHERS_NOTE = (
    "These networks are not the paper's: another backbone or head, or one that was not trained. Nothing is "
    "published for them, and they do not compare with the paper's rows."
)


def find_caveats(result: EvaluationResult) -> list[str]:
    """Say why a result may not be what the paper's is: warnings, fewer episodes or seeds, its training, bfloat16."""
    seeds, episodes = result.protocol.seeds, result.protocol.episodes(result.setting.benchmark)
    found = [f"may mean nothing: {line}" for line in result.warnings]
    if result.episodes < episodes:
        found.append(f"{result.episodes} of the protocol's {episodes} episodes")
    if result.missing:
        found.append(f"no episode of class {', '.join(result.missing)}")
    if len(result.seeds) < seeds:
        found.append(f"{len(result.seeds)} of the protocol's {seeds} seeds")
    weights = weights_of(result)
    if weights == FROZEN:
        found.append("the backbone was frozen")
    names = {"episode"} if weights == UNTRAINED else {"episode", "batch_size", "lr", "crop_size", "amp"}
    if result.trained.get("pretrained") == RANDOM:
        names.add("pretrained")
    if flags := " ".join(word for name, word in training_flags(result).items() if name in names):
        found.append(f"not trained ({flags})" if weights == UNTRAINED else f"trained with {flags}")
    if result.amp:
        found.append("the backbone in bfloat16 (--amp)")
    return [one_line(line) for line in found]  # whatever the file of a result holds


def find_notes(result: EvaluationResult) -> list[str]:
    """Say what else to know of a result: where its episodes and backbone came from, what was stated of its weights, in
    which order of masks an SSP of several supports was trained (docs/reproduce.md), as far as it is known.
    """
    found = []
    if result.episodes_from:
        found.append(f"its episodes are those of {result.episodes_from}")
    if result.declared:
        found.append("what the weights were trained on is what --trained-on says")
    start = result.trained.get("pretrained")
    if start != RANDOM and "pretrained" in training_flags(result):
        found.append(f"the backbone started from {start}")
    is_trained = result.trained and weights_of(result) != UNTRAINED
    if result.setting.method == "ssp" and result.setting.shot > 1 and is_trained:
        replicas = result.trained.get("released_order")
        if replicas is None:
            found.append("trained with the right order of masks; the published models were not, see docs/reproduce.md")
        else:
            found.append(
                f"trained with --released-order {replicas}, as the published models were (N = {RELEASED_ORDER})"
            )
    return [one_line(line) for line in found]


def table_notes(rows: Sequence[Experiment], published: Mapping[Experiment, Published]) -> Iterator[str]:
    """The notes of a table as a whole: where its published values are from, and what is odd about them."""
    first = rows[0]
    if first.data:
        yield UNKNOWN_NOTE if first.data == UNKNOWN_DATA else DATA_NOTE.format(first.data)
    if first.is_other:
        yield OTHERS_NOTE
    if first.data or first.is_other:
        return
    known = {row.setting: published[row] for row in rows if row in published}
    if not known:
        yield "Nothing is published for this benchmark and protocol."
        return
    yield f"Published: {SOURCES[first.setting.dataset]}."
    yield from NOTES.get(first.setting.dataset, ())
    if first.setting.class_order and any(row.weights == AUTHORS for row in rows):
        yield ORDER_NOTE
    for setting, row in known.items():
        mean = mean_of_folds(row)
        if mean is not None:
            yield f"{row_name(setting)}: the published mean is {row.mean}, that of the published folds {mean:.1f}."
