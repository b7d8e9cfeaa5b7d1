"""The class index, cold and warm, against opening each mask twice in one process at every start.

    python -m benchmarks.class_index --masks ../Datasets_SSP/VOC2012/SegmentationClassAug

The plain way is what finding the images of each class takes without an index: a first pass keeps the images in
which a class is large enough, a second one lists the images of each class.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import timed
from dataset.episodes import MIN_PIXELS, make_pool
from dataset.images import ImageSet, read_mask
from dataset.index import cache_path, class_index
from engine.options import OneLineParser, whole
from util.errors import UserError
from util.launch import command
from util.progress import progress

CLASSES = range(1, 21)


def plain(images: ImageSet) -> dict[int, list[str]]:
    """Images of each class, by opening every mask, and every kept one again."""
    kept = []
    for image in progress(images.ids, "plain, first pass", len(images.ids), "mask"):
        labels = read_mask(images.mask_path(image))
        if any(np.sum(labels == cls) >= MIN_PIXELS for cls in set(np.unique(labels)) & set(CLASSES)):
            kept.append(image)
    members: dict[int, list[str]] = {cls: [] for cls in CLASSES}
    for image in progress(kept, "plain, second pass", len(kept), "mask"):
        for cls in set(np.unique(read_mask(images.mask_path(image)))) & set(CLASSES):
            members[cls].append(image)
    return {cls: sorted(found) for cls, found in members.items()}


def main() -> None:
    parser = OneLineParser(__doc__)
    parser.add_argument("--masks", required=True, metavar="DIR", help="a folder of label masks, ID.png")
    parser.add_argument("--workers", type=whole(1), help="processes of the cold pass (default all cores)")
    args = parser.parse_args()
    folder = Path(args.masks)
    ids = tuple(sorted(path.stem for path in folder.glob("*.png")))
    if not ids:
        raise UserError(f"{folder}: holds no .png mask")
    images = ImageSet("benchmark", ids, folder, folder, {})
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache  # so that the first pass is cold
        cold, _ = timed(lambda: class_index(images, args.workers))
        warm = min(timed(lambda: class_index(images, args.workers))[0] for _ in range(3))
        slow, expected = timed(lambda: plain(images))
        cache_path(folder).unlink()
        cold_again, index = timed(lambda: class_index(images, args.workers))
    assert make_pool(index, CLASSES).members == expected
    print(f"{len(ids)} masks, {args.workers or os.cpu_count()} processes; the same images of each class in all")
    print(f"plain      {slow:8.2f} s")
    print(f"index cold {cold:8.2f} s  {slow / cold:6.1f} x")
    print(f"index cold {cold_again:8.2f} s  {slow / cold_again:6.1f} x  (again, after the plain way)")
    print(f"index warm {warm:8.3f} s  {slow / warm:6.1f} x")


if __name__ == "__main__":
    command(main)
