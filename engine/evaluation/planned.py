"""Planned evaluation: every image through the backbone once, whatever the number of its episodes (docs/method.md, 8).

A support enters an episode only through two prototypes, so a first pass turns every support image into the prototypes
of its classes. A second pass takes the queries one by one and matches all the episodes of each together. The features
of images that are both are kept between the passes while they fit the memory budget. The reference is
engine.evaluation.evaluate.count_plainly.

Under torchrun every image belongs to one process, which encodes it as a support and matches it as a query; prototypes
and pixel counts are summed over the processes.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dataset.episodes import Episode
from dataset.images import ImageSet
from dataset.loader import batches, to_device
from dataset.samples import Pictures, support_mask
from engine.evaluation.kept_counts import KeptCounts
from engine.evaluation.metric import count_pixels
from engine.evaluation.protocol import DEFAULT_OPTIONS, PAPER, EvaluationOptions, Protocol
from model import FewShotNetwork, fold_batch_norms, matching
from model.fast.evaluation import Scratch
from model.matching import Matching
from util.distributed import first_known, rank, sum_over_processes, world
from util.errors import UserError
from util.fields import Rule, list_of, whole
from util.progress import progress

MATCHED_TOGETHER = 2000  # episodes of a query at a time, for memory; a protocol's have far fewer
RESIZED_BYTES = 2**24  # memory for predictions of a query that are resized to the image at a time
BACKBONE_COST = 10  # episodes whose matching takes as long as a backbone pass, to share images among processes


def count_planned(
    net: FewShotNetwork,
    images: ImageSet,
    episodes: Sequence[Episode],
    protocol: Protocol = PAPER,
    options: EvaluationOptions = DEFAULT_OPTIONS,
) -> tuple[Tensor, int]:
    """Count the pixels of each of E episodes, every image once through the backbone if memory allows.

    Arguments as of evaluate; the episodes are those of all seeds.
    Returns counts (E, 4), int64, and the number of backbone passes, each in all processes.
    """
    (counts,), passes = count_variations(net, images, episodes, [net.matching], protocol, options)
    return counts, passes


@torch.inference_mode()
def count_variations(
    net: FewShotNetwork,
    images: ImageSet,
    episodes: Sequence[Episode],
    settings: Sequence[Matching],
    protocol: Protocol = PAPER,
    options: EvaluationOptions = DEFAULT_OPTIONS,
    kept: KeptCounts | None = None,
) -> tuple[Tensor, int]:
    """:func:`count_planned` under each of V settings of the matching: counts (V, E, 4), and the backbone passes.

    kept: what was counted before a run was killed; it goes on from there.
    """
    device = net.device
    net = fold_batch_norms(net).to(memory_format=torch.channels_last)
    of_query, of_support = group(episodes)
    classes_of = {
        image: sorted(of_support.get(image, set()) | {episodes[number].cls for number in of_query.get(image, ())})
        for image in {*of_query, *of_support}
    }
    mine = share({image: BACKBONE_COST + len(of_query.get(image, ())) for image in {*of_query, *of_support}})

    def encoded(ids: Sequence[str], what: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (1, C, h, w) of each image, and masks (K, H, W) uint8 of its classes."""
        loaded = batches(Pictures(images, ids, protocol.side, classes_of), 1, options.workers)
        for image, batch in zip(ids, progress(loaded, what, len(ids), "image"), strict=True):
            picture, masks = to_device(batch, device)
            try:
                with torch.autocast(device.type, torch.bfloat16, enabled=options.amp):
                    features = net.features(picture.contiguous(memory_format=torch.channels_last))
            except ValueError as error:  # an image that is too small for the backbone
                raise UserError(f"image {image}: {error}") from error
            yield features.float(), masks[0].clone()  # what a loader process shared is not to be kept

    before = kept and kept.load(_kept_rules((len(settings), len(episodes), 4)))
    rows = {pair: row for row, pair in enumerate(sorted((x, cls) for x, found in of_support.items() for cls in found))}
    prototypes = Prototypes(len(rows), device)
    features_of: dict[str, tuple[Tensor, Tensor]] = {}
    cache_bytes = int(options.cache_gb * 2**30)
    supports = [] if before else sorted(mine & of_support.keys())
    for image, (features, masks) in zip(supports, encoded(supports, "encoding supports"), strict=True):
        for cls in of_support[image]:
            mask = support_mask(masks[classes_of[image].index(cls)].long(), protocol.ignored_is_background)
            prototypes.add(rows[image, cls], *net.prototypes(features, mask[None]))
        if image in of_query and features.nbytes + masks.nbytes <= cache_bytes:
            features_of[image] = (features, masks)
            cache_bytes -= features.nbytes + masks.nbytes
    counts = torch.zeros(len(settings), len(episodes), 4, dtype=torch.int64, device=device)
    if before:
        prototypes.restore(before)
        counts.copy_(before["counts"])
    else:
        prototypes.share()
    done = set(before["done"]) if before else set()

    queries = sorted((mine & of_query.keys()) - done)
    again = [image for image in queries if image not in features_of]
    fresh = encoded(again, "encoding queries")
    scratch = Scratch()
    bar = progress(None, "matching queries", sum(len(of_query[image]) for image in queries), "episode")
    for image in queries:
        features, masks = features_of.pop(image) if image in features_of else next(fresh)
        of_image = sorted(of_query[image], key=lambda number: episodes[number].cls)
        mask_of = {cls: mask.long() for cls, mask in zip(classes_of[image], masks, strict=True)}
        for numbers in (of_image[n : n + MATCHED_TOGETHER] for n in range(0, len(of_image), MATCHED_TOGETHER)):
            of_shots = [[rows[support, episodes[n].cls] for support in episodes[n].supports] for n in numbers]
            fg, bg = map(net.over_shots, prototypes.of(torch.tensor(of_shots, device=device).t()))
            logits = net.match_variations(features, fg, bg, settings, scratch)
            for counted, of_setting in zip(counts, logits, strict=True):
                for number, prediction in zip(numbers, _masks(of_setting, masks.shape[1:]), strict=True):
                    counted[number] = count_pixels(prediction, mask_of[episodes[number].cls])
            bar.update(len(numbers))
        if kept:
            done.add(image)
            kept.save(lambda: {"counts": counts.cpu(), "done": sorted(done), **prototypes.as_dict()})
    bar.close()
    passes = torch.tensor(len(supports) + len(again), device=device)
    return sum_over_processes(counts).cpu(), int(sum_over_processes(passes))


class Prototypes:
    """Foreground and background prototypes of supports, a row for each image and class, from all processes.

    The shapes of a support's pair are known when the first comes: a custom head has others than (C, 1, 1).
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.shapes: list[torch.Size] = []
        self.values: Tensor | None = None  # (rows, numbers of a pair); apart, means over shots differ in the last digit

    def add(self, row: int, *pair: Tensor) -> None:
        """Keep the pair, (1, ...) each, of a row, in float32."""
        shapes = [x.shape[1:] for x in pair]
        if self.values is None:
            self._allocate(shapes)
        if shapes != self.shapes:
            found, before = (" and ".join(str(tuple(shape)) for shape in each) for each in (shapes, self.shapes))
            raise UserError(
                f"prototypes of shapes {found} after {before}: --engine planned needs the same of all supports"
            )
        self.values[row] = torch.cat([x.flatten() for x in pair])

    def _allocate(self, shapes: Sequence[torch.Size]) -> None:
        self.shapes = list(shapes)
        self.values = torch.zeros(self.rows, sum(shape.numel() for shape in shapes), device=self.device)

    def share(self) -> None:
        """Give every process the rows of all."""
        shapes = first_known(self.shapes)  # a process may have no support
        if self.values is None:
            self._allocate(shapes)
        sum_over_processes(self.values)

    def as_dict(self) -> dict[str, Any]:
        """What :meth:`restore` takes."""
        return {"prototypes": self.values.cpu(), "shapes": [list(shape) for shape in self.shapes]}

    def restore(self, before: Mapping[str, Any]) -> None:
        """Take the rows of all processes from what was kept of them."""
        self.shapes = [torch.Size(shape) for shape in before["shapes"]]
        self.values = before["prototypes"].to(self.device)

    def of(self, numbers: Tensor) -> Iterator[Tensor]:
        """Foreground, then background prototypes (*numbers.shape, ...) of these rows."""
        parts = self.values[numbers].split([shape.numel() for shape in self.shapes], -1)
        return (part.reshape(*numbers.shape, *shape) for part, shape in zip(parts, self.shapes, strict=True))


def _kept_rules(shape: tuple[int, ...]) -> dict[str, Rule]:
    """What count_variations keeps: counts of a shape, whose queries they are, and the prototypes of all supports."""

    def has_shape(value: Any) -> bool:
        return isinstance(value, Tensor) and value.shape == shape and value.dtype == torch.int64

    return {
        "counts": has_shape,
        "done": list_of(lambda value: type(value) is str),
        "prototypes": lambda value: isinstance(value, Tensor) and value.dtype == torch.float32 and value.dim() == 2,
        "shapes": list_of(list_of(whole(1))),
    }


def group(episodes: Sequence[Episode]) -> tuple[dict[str, list[int]], dict[str, set[int]]]:
    """The numbers of each query's episodes, and the classes of which each image is a support."""
    of_query: dict[str, list[int]] = defaultdict(list)
    of_support: dict[str, set[int]] = defaultdict(set)
    for number, episode in enumerate(episodes):
        of_query[episode.query].append(number)
        for support in episode.supports:
            of_support[support].add(episode.cls)
    return dict(of_query), dict(of_support)


def share(costs: Mapping[str, int]) -> set[str]:
    """The images of this process: the costliest first, each to the process that has least to do so far."""
    loads = [(0, process) for process in range(world())]
    mine = set()
    for image in sorted(costs, key=lambda image: (-costs[image], image)):
        load, process = heapq.heappop(loads)
        heapq.heappush(loads, (load + costs[image], process))
        if process == rank():
            mine.add(image)
    return mine


def _masks(logits: Tensor, size: torch.Size) -> Iterator[Tensor]:
    """The predicted mask (H, W), boolean, of each of E episodes from logits (E, 2, h, w)."""
    margins = (logits[:, 1] - logits[:, 0])[:, None]  # resizing is linear: the margin is all that argmax needs
    for some in margins.split(max(1, RESIZED_BYTES // (size.numel() * margins.element_size()))):
        yield from matching.resize(some, size)[:, 0] > 0
