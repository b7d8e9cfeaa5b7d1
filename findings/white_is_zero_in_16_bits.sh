#!/usr/bin/env bash
# Pillow 13.0.0. Guess: a TIFF whose photometric tag says that white is zero is inverted when it is read, whatever its
# depth. Seen: in 8 bits it is; in 16 bits the values come as they are stored, so that the picture is its own negative.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import numpy as np
from PIL import Image

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
read = {}
for bits, kind in ((8, np.uint8), (16, np.uint16)):
    Image.fromarray(np.array([[0, 2**bits - 1]], kind)).save("a.tif")
    content = open("a.tif", "rb").read()
    tag = PHOTOMETRIC.to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")  # one short
    place = content.index(tag) + len(tag)
    open("a.tif", "wb").write(content[:place] + WHITE_IS_ZERO.to_bytes(2, "little") + content[place + 2 :])
    with Image.open("a.tif") as image:
        assert image.tag_v2[PHOTOMETRIC] == WHITE_IS_ZERO
        read[bits] = np.asarray(image).tolist()[0]
print(f"stored 0 and the largest value, white is zero: 8 bits {read[8]}, 16 bits {read[16]}")
assert read == {8: [255, 0], 16: [0, 65535]}, "what is inverted has changed"
PYTHON
