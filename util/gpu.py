"""Why PyTorch leaves an NVIDIA GPU unused, for those who would wait for the CPU in its place."""

from __future__ import annotations

import os
import shutil

from util.errors import first_line

TRACES = ("/proc/driver/nvidia/version", "/dev/nvidia0")  # files of NVIDIA's driver


def why_no_gpu() -> str | None:
    """Why PyTorch cannot use the NVIDIA GPU of this machine; None if it can, if there is none or if it is hidden."""
    import torch

    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    is_there = any(map(os.path.exists, TRACES)) or shutil.which("nvidia-smi")
    if is_hidden or not is_there or torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()
    except RuntimeError as error:
        return f"PyTorch {torch.__version__} for CUDA {torch.version.cuda}: {first_line(error).partition('. ')[0]}"
    return None
