"""Where what is known of files is kept between runs: the user's cache folder, for the dataset's may be read-only."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

SETTLED_NS = 2 * 10**9  # a file changed this shortly before it was read may change again within one tick


def cache_path(folder: Path, kind: str = "") -> Path | None:
    """Where what is known of a folder is kept; None without a home folder.

    kind: "" for masks of labels, "voc" where VOC's colours stand for them, "binary" for masks of one object, "images",
    "runs" of a file of annotations.
    """
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # the user of a container may have none
        return None
    name = hashlib.sha256(str(Path(folder).resolve()).encode()).hexdigest()[:24]
    return Path(root) / "ssp" / f"index-{name}{kind and '-'}{kind}.npz"
