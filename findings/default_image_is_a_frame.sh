#!/usr/bin/env bash
# Pillow 13.0.0. Guess: n_frames of an animated PNG counts the frames of the animation; the default image, for those who
# show none, is not one of them. Seen: where it is apart it is counted, and seek(0) gives it; only default_image tells.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
cd "$folder"
venv/bin/python - <<'PYTHON'
from PIL import Image

red, green, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue"))
red.save("a.png", save_all=True, append_images=[green, blue], default_image=True, duration=100)
stated = open("a.png", "rb").read().split(b"acTL")[1][:4]
with Image.open("a.png") as image:
    image.seek(0)
    print(f"the file states {stated[3]} frames, n_frames is {image.n_frames}; the first is {image.convert('RGB').getpixel((0, 0))}")
    assert int.from_bytes(stated, "big") == 2
    assert image.n_frames == 3, "n_frames has changed"
    assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0), "the first frame has changed"
    assert image.default_image
PYTHON
