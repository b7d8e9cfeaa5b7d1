#!/usr/bin/env bash
# pillow-heif 1.8.1. Guess: an EXIF orientation is saved alike as an Image.Exif and as its bytes, as with JPEG. Seen: given
# bytes, the file itself is turned (HEIF's irot) and is read upright; given the object, there is no irot, and the picture
# is read lying, with the EXIF orientation reset to 1, so that nobody can tell any more.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow-heif==1.8.1 pillow==13.0.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()
ORIENTATION = 274
turn = Image.Exif()
turn[ORIENTATION] = 6
seen = {}
for name, exif in (("bytes", turn.tobytes()), ("object", turn)):
    Image.new("RGB", (64, 32), "red").save("a.heic", exif=exif)
    with Image.open("a.heic") as image:
        seen[name] = image.size, image.getexif().get(ORIENTATION), b"irot" in open("a.heic", "rb").read()
    print(f"exif as {name}: size {seen[name][0]}, orientation {seen[name][1]}, irot {seen[name][2]}")
assert seen["bytes"][0] == (32, 64)
assert seen["bytes"][2]
assert seen["object"][0] == (64, 32)
assert not seen["object"][2]
PYTHON
