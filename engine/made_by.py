"""What made a file of results: the code, the versions of what it stands on, the device and the command line."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from util.launch import ROOT

if TYPE_CHECKING:
    import torch

# On which numbers depend
PACKAGES = ("torch", "torchvision", "numpy", "PIL", "pycocotools", "timm", "av", "onnx", "onnxscript", "onnxruntime")
GIT_SECONDS = 10  # a checkout on a slow disk is not waited for


def describe_run(device: str | None) -> dict[str, Any]:
    """What made the results of this process.

    device: what :func:`describe_device` gave; None: not known.
    Returns "commit" (see :func:`find_commit`), "versions" by module, Python among them, "device" and "command".
    """
    program, *flags = sys.argv
    return {
        "commit": find_commit(ROOT),
        "versions": {"python": platform.python_version(), **_list_versions()},
        "device": device,
        "command": shlex.join([Path(program).name, *flags]),
    }


def describe_device(device: torch.device) -> str:
    """The device, a GPU by its name as well."""
    import torch

    return f"{device}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def find_commit(root: Path) -> str | None:
    """The commit of a git checkout, with "-dirty" if files that git knows have changed; None if it is no checkout."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git here, or a checkout that it does not trust
        return None


def _list_versions() -> dict[str, str]:
    """The version of each of PACKAGES that this process has imported; torch's own tells of which CUDA it is."""
    found = {name: sys.modules[name] for name in PACKAGES if sys.modules.get(name)}
    return {name: getattr(module, "__version__", None) or version(name) for name, module in found.items()}
