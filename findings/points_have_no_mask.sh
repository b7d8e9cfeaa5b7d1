#!/usr/bin/env bash
# labelme 6.3.1. Guess: labelme's shape_to_mask draws every type of shape that labelme's window makes and saves. Seen: of
# its eight types "points" alone (the clicks that are given to its AI tools) is refused.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet labelme==6.3.1
QT_QPA_PLATFORM=offscreen "$folder/venv/bin/python" - <<'PYTHON'
from labelme.utils import shape_to_mask

SHAPES = {
    "polygon": [[2, 2], [9, 2], [9, 9]], "rectangle": [[2, 2], [9, 9]], "circle": [[5, 5], [8, 5]],
    "oriented_rectangle": [[2, 2], [9, 2], [9, 9], [2, 9]], "line": [[2, 2], [9, 9]],
    "linestrip": [[2, 2], [9, 2], [9, 9]], "point": [[5, 5]], "points": [[5, 5], [8, 8]],
}
refused = []
for kind, points in SHAPES.items():
    try:
        shape_to_mask((20, 20), points, kind)
    except ValueError as error:
        refused.append(kind)
        print(f"{kind}: {error}")
assert refused == ["points"], refused
PYTHON
