"""What methods and backbones are called: the paper's, timm's, custom classes (docs/extend.md)."""

from __future__ import annotations

import re
from typing import NamedTuple

METHODS = ("ssp", "baseline")
BACKBONES = ("resnet50", "resnet101")
TIMM = "timm:"
TIMM_NAME = re.compile(r"timm:(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<stages>\d{1,3}(?:,\d{1,3})*))?", re.ASCII)
CUSTOM_CODE = re.compile(r"(?P<file>[^:\x00-\x1f\x7f]+\.py):(?P<name>[A-Za-z_]\w*)", re.ASCII)


class TimmName(NamedTuple):
    """A network of timm, and the numbers of the stages whose features are taken; none: the one that fits best."""

    name: str
    stages: tuple[int, ...]

    @property
    def spelled(self) -> str:
        """As backbones are named, in one way: timm:NAME, timm:NAME@1,2."""
        numbers = ",".join(map(str, sorted(set(self.stages))))
        return f"{TIMM}{self.name}{f'@{numbers}' if numbers else ''}"


def timm_name(backbone: str) -> TimmName | None:
    """Take timm:NAME or timm:NAME@STAGE,STAGE apart; None for any other backbone."""
    if not (found := TIMM_NAME.fullmatch(backbone)):
        return None
    return TimmName(found["name"], tuple(int(stage) for stage in (found["stages"] or "").split(",") if stage))


def custom_class(text: str) -> str | None:
    """The class in FILE.py:CLASS, which names custom code; None for any other method or backbone."""
    found = CUSTOM_CODE.fullmatch(text)
    return found["name"] if found and text.isprintable() else None


def is_method(text: str) -> bool:
    """Whether this is how a method is named."""
    return text in METHODS or custom_class(text) is not None


def is_backbone(text: str) -> bool:
    """Whether this is how a backbone is named."""
    return text in BACKBONES or timm_name(text) is not None or custom_class(text) is not None


def is_papers(method: str, backbone: str | None) -> bool:
    """Whether a network is one of the paper's; a backbone that the paper does not state is None."""
    return method in METHODS and backbone in (*BACKBONES, None)


def in_file_names(text: str) -> str:
    """A method or backbone as file names have it: resnet50, timm_convnext_tiny_2-3, CLASS."""
    return custom_class(text) or text.replace(":", "_").replace("@", "_").replace(",", "-")
