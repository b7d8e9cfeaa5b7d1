#!/usr/bin/env bash
# av 18.1.0 (PyAV). Guess: to_image() gives the frames of a phone's video upright, as players and ffmpeg's own program
# show them. Seen: a frame lies as it is stored. It knows its turn, rotation is -90, but neither to_image() nor
# to_ndarray() applies it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet av==18.1.0 pillow==13.0.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import struct
from pathlib import Path

import av
import numpy as np

lying = np.zeros((48, 64, 3), np.uint8)
with av.open("a.mp4", "w") as container:
    video = container.add_stream("libx264", rate=10)
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    container.mux(video.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
    container.mux(video.encode())
content = bytearray(Path("a.mp4").read_bytes())
place = content.index(b"tkhd") + 44  # the display matrix: x' = 48 - y, y' = x, a quarter clockwise
content[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
Path("a.mp4").write_bytes(content)
with av.open("a.mp4") as container:
    frame = next(container.decode(video=0))
    print(f"rotation {frame.rotation}; to_image {frame.to_image().size}, to_ndarray {frame.to_ndarray(format='rgb24').shape}")
    assert frame.rotation == -90, "the display matrix is not read"
    assert frame.to_image().size == (64, 48), "to_image turns"
    assert frame.to_ndarray(format="rgb24").shape == (48, 64, 3), "to_ndarray turns"
PYTHON
