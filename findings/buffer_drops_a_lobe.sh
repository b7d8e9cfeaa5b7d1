#!/usr/bin/env bash
# shapely 2.2.0. Guess: buffer(0), which many converters of annotations call on a polygon that crosses itself, keeps all
# that was drawn. Seen: of a bow-tie with two lobes of 25 it keeps one, 25 of 50, without a word; make_valid keeps both.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet shapely==2.2.0
"$folder/venv/bin/python" - <<'PYTHON'
from shapely import make_valid
from shapely.geometry import Polygon

bow_tie = Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
areas = bow_tie.buffer(0).area, make_valid(bow_tie).area
print(f"buffer(0): {areas[0]}, make_valid: {areas[1]}, drawn: 50.0")
assert areas == (25.0, 50.0), "what is kept has changed"
PYTHON
