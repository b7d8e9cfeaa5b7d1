"""Results as main.py and test.py write them, and the titles of the tables that they stand in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.evaluation.result import EvaluationResult
from tables.tables import Row, Table

PASCAL = "Pascal-5i, the paper's own protocol"
COCO = "COCO-20i, the paper's own protocol, contiguous class order"
COCO_BY_HSNET = "COCO-20i, HSNet's protocol, interleaved class order"
FSS = "FSS-1000, the paper's own protocol"
OTHERS = ": other networks"

DINO = "timm:vit_small_patch14_dinov2.lvd142m@9,11"
HEAD, BACKBONE = "my/heads.py:Head", "my/backbones.py:Backbone"
SPREAD = (-0.3, -0.1, 0.0, 0.1, 0.3)  # of five seeds around their mean; the deviation is 0.2
SSP_1SHOT = {"method": "ssp", "refine": True, "shot": 1, "backbone": "resnet50"}
ON_COCO = {"dataset": "coco", "class_order": "contiguous", "episodes": 4000}
ON_COCO_BY_HSNET = {"dataset": "coco", "class_order": "interleaved", "protocol": "hsnet", "refine": False}
ON_FSS = {"dataset": "fss", "fold": None}
TOY = {"name": "toy", "counted": "images of val", "count": 40, "published": 1449}
MakeResult = Callable[..., EvaluationResult]  # the fixture make_result


def write_result(path: Path, miou: float, spread: tuple[float, ...] = SPREAD, **fields: Any) -> Path:
    """A result such as test.py --json writes; fields: those that differ from fold 0 of SSP, ResNet-50, 1-shot."""
    content = {
        "dataset": "pascal", "class_order": None, "fold": 0, **SSP_1SHOT, "protocol": "ssp", "engine": "planned",
        "amp": False, "checkpoint": "w.ckpt", "episodes": 1000,
        "seeds": [
            {"seed": seed, "miou": miou + off, "fb_iou": 70.0, "class_iou": {"0": 80.0, "1": miou + off}}
            for seed, off in enumerate(spread)
        ],
        "data": published_data(fields.get("dataset")), "miou": miou, "miou_std": 0.2 if len(spread) == 5 else 0.0,
        "fb_iou": 70.0, "seconds": 1.0, **fields,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def published_data(dataset: str | None = None) -> dict[str, Any]:
    """The data of a result, of which nothing is left out."""
    count = {"coco": 40504, "fss": 240}.get(dataset or "", 1449)
    return {"name": "", "counted": "images of val", "count": count, "published": count}


def by_title(tables: list[Table]) -> dict[str, Table]:
    return {table.title: table for table in tables}


def row_of(table: Table, **wanted: Any) -> Row:
    """The one row of a setting."""
    (row,) = [row for row in table.rows if wanted.items() <= row.experiment.setting.as_dict().items()]
    return row


def measured_rows(table: Table) -> list[Row]:
    return [row for row in table.rows if any(cell.measured is not None for cell in row.cells)]
