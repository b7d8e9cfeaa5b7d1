"""The command ``python -m dataset.toy``: paint a toy dataset (dataset.prepare.toy)."""

from __future__ import annotations

from dataset.prepare.toy import main
from util.launch import command

if __name__ == "__main__":
    command(main)
