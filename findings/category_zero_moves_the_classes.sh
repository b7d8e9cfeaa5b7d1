#!/usr/bin/env bash
# ultralytics 8.4.190. Guess: convert_coco keeps the order of the categories of a JSON, whatever their ids begin with.
# Seen: it takes one off each id. Of a JSON that counts from 0, as labelme2coco and Label Studio do, the first class
# becomes -1 and each other class the one before it, without a word.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ultralytics==8.4.190
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
from pathlib import Path

from ultralytics.data.converter import convert_coco


def convert(first: int) -> list[str]:
    """The class of each line for the categories cat and dog, a square of each, with ids from ``first`` on."""
    squares = [[5, 5, 15, 5, 15, 15, 5, 15], [30, 5, 40, 5, 40, 15, 30, 15]]
    marks = [
        {"id": n, "image_id": 1, "category_id": first + n, "iscrowd": 0, "bbox": [*square[:2], 10, 10],
         "area": 100, "segmentation": [square]}
        for n, square in enumerate(squares)
    ]
    categories = [{"id": first + n, "name": name} for n, name in enumerate(("cat", "dog"))]
    images = [{"id": 1, "file_name": "a.png", "height": 20, "width": 50}]
    place = Path(f"from_{first}")
    place.mkdir()
    (place / "train.json").write_text(json.dumps({"images": images, "annotations": marks, "categories": categories}))
    convert_coco(str(place), save_dir=f"out_{first}", use_segments=True, cls91to80=False)
    return [line.split()[0] for line in Path(f"out_{first}/labels/train/a.txt").read_text().splitlines()]


found = {first: convert(first) for first in (1, 0)}
print(f"cat and dog: ids 1 and 2 become {found[1]}, ids 0 and 1 become {found[0]}")
assert found == {1: ["0", "1"], 0: ["-1", "0"]}, "how classes are numbered has changed"
PYTHON
