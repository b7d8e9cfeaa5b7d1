"""The published mIoU of SSP and its baseline, and the links of the authors' weights, as data.

Pascal-5i and COCO-20i are the tables in the README of the authors' release; FSS-1000 is from the paper (ECCV 2022),
which gives no folds and, as far as is known here, no backbone. Percent, as printed; means are kept as
published, also where they are not the mean of their folds (see :func:`mean_of_folds`).
"""

from __future__ import annotations

from typing import NamedTuple

from dataset.coco import CONTIGUOUS, INTERLEAVED
from engine.evaluation.protocol import HSNET, PAPER, Protocol
from engine.setting import Setting


class Published(NamedTuple):
    """A row of a published table."""

    protocol: Protocol
    setting: Setting  # what all folds share: its fold is None
    folds: tuple[float, ...]  # fold 0 to 3; none of fss
    mean: float


SOURCES = {
    "pascal": "the README of the authors' release, table Pascal VOC",
    "coco": "the README of the authors' release, table MS COCO",
    "fss": "the paper (ECCV 2022)",
}


# The COCO table does not state the refinement. In the paper's own protocol it is taken as on, as in the Pascal table;
# in HSNet's the release never refines.
SSP = {"method": "ssp", "refine": True}
PASCAL_BASELINE = PAPER, {"dataset": "pascal", "method": "baseline"}
PASCAL = PAPER, {"dataset": "pascal", **SSP}
COCO = PAPER, {"dataset": "coco", "class_order": CONTIGUOUS, **SSP}
COCO_HSNET = HSNET, {"dataset": "coco", "class_order": INTERLEAVED, "method": "ssp"}
FSS = PAPER, {"dataset": "fss", **SSP}

PUBLISHED = tuple(
    Published(protocol, Setting(fold=None, shot=shot, backbone=backbone, **fields), folds, mean)
    for (protocol, fields), shot, backbone, folds, mean in (
        (PASCAL_BASELINE, 1, "resnet50", (54.9, 66.5, 61.7, 48.3), 57.9),
        (PASCAL_BASELINE, 1, "resnet101", (57.2, 68.5, 61.3, 53.3), 60.1),
        (PASCAL_BASELINE, 5, "resnet50", (61.6, 70.3, 70.5, 56.4), 64.7),
        (PASCAL_BASELINE, 5, "resnet101", (64.2, 74.0, 71.5, 61.3), 67.8),
        (PASCAL, 1, "resnet50", (61.4, 67.8, 66.5, 50.9), 61.7),
        (PASCAL, 1, "resnet101", (63.2, 70.4, 68.5, 56.3), 64.6),
        (PASCAL, 5, "resnet50", (67.5, 72.3, 75.2, 62.1), 69.3),
        (PASCAL, 5, "resnet101", (70.9, 77.1, 78.9, 66.1), 73.3),
        (COCO, 1, "resnet50", (46.4, 35.2, 27.3, 25.4), 33.6),
        (COCO, 1, "resnet101", (50.4, 39.9, 30.6, 30.0), 37.7),
        (COCO, 5, "resnet50", (53.9, 42.0, 36.0, 33.7), 41.4),
        (COCO, 5, "resnet101", (57.8, 47.0, 40.2, 39.9), 46.2),
        (COCO_HSNET, 1, "resnet50", (35.5, 39.6, 37.9, 36.7), 37.4),
        (COCO_HSNET, 1, "resnet101", (39.1, 45.1, 42.7, 41.2), 42.0),
        (COCO_HSNET, 5, "resnet50", (40.6, 47.0, 45.1, 43.9), 44.1),
        (COCO_HSNET, 5, "resnet101", (47.4, 54.5, 50.4, 49.6), 50.2),
        (FSS, 1, None, (), 87.3),
        (FSS, 5, None, (), 88.6),
    )
)

# Google Drive's ids of the authors' checkpoints of fold 0 to 3, by dataset, method, shot and backbone. Those of
# COCO-20i are listed under both protocols. No weights of FSS-1000 are published.
DRIVE = {
    ("pascal", "baseline", 1, "resnet50"): (
        "1Itnv562-dhfZOV-_upX1BlMFWIGJFFhn", "183JO8a3wjIG1ERSie8r0N7QVlV7FgNd_",
        "1X7Z5RfRJNVTndMQgX3nKGbcM-pWIsOPR", "1sOj37uXvNQTBeMFC-Dx2A-MaMj7nC-gn",
    ),
    ("pascal", "baseline", 1, "resnet101"): (
        "10Nco3CvXZgEE_0wDjbyRKoUK3JpkR79q", "137JjNvQAksp4PepT93orcHCFCRd6HkFt",
        "1wTUyjqkh4-AuLSExfXPUXvK59C4NTdif", "1lWpLX_Wwwb5dINjjGcg3XkxOdZGR_mhM",
    ),
    ("pascal", "baseline", 5, "resnet50"): (
        "108LOtB9WhbtQYXMWwZviM4CkWY-_RLkN", "1yHUFMDGEMmx7sF2Ro-maRidYClneQ2PJ",
        "1NpgYeMDQc2k91dGoUTi3mUPinAd44PlZ", "1DdgT7F5ho2P3iGh3uZHR4DCckNSRNFER",
    ),
    ("pascal", "baseline", 5, "resnet101"): (
        "1_7SqyK1UnDpMZ9CAYhiT7I3n9pT-kZgn", "10wmmpqIsn8hv0oRP9--JaE3uuuTvRN8e",
        "1S9CY6mcac5cCqS1ucLYaSrTGjOFHn2mW", "1oMaDZOaZiPIidbg0s-YTC9wMMNNtXWEF",
    ),
    ("pascal", "ssp", 1, "resnet50"): (
        "1uqBxvGivEiIn6jH2eivVXOLWVUNO1gJD", "1bBKdlcz3vWQXGtEY8t4MNo2XM-9HG8Xv",
        "1MyEPrF8Ux5KBOWWqudPuJQH_LGyVlCqo", "1S8qMVNL9liFZytv_yxA1TckT7ezBRmAR",
    ),
    ("pascal", "ssp", 1, "resnet101"): (
        "1kialcbbgsgfaAI-N4fVC-3VnHeW52QWc", "1N_pklzBjHOU--S8RhV3lrRHTG3pOxfac",
        "1zUSXihIX2K8vqpTbQbu1XgXCqTLgb8w5", "1UwnBAlvYJgJdv-6rJ6d2AJvniDZ5yPYJ",
    ),
    ("pascal", "ssp", 5, "resnet50"): (
        "15Japc1D-dGsBImGDzHHjp7NYrBhViV6q", "1rK8z8axuHUHWo6cNnV1UA8_QkKizBULI",
        "1aypQodpqcl7Jai73XZuqFBep1oUHDUpw", "1ioz-vSYBaF1VjypH3bEiO4ya2lwT1uYY",
    ),
    ("pascal", "ssp", 5, "resnet101"): (
        "1Wh2vCWbP0QqjzIHh-SgI8XwiHSYfUujG", "1GoKCMHMKogBbM5RQP71UdpsTT4pmSyta",
        "1kw52KBEMx8eIgVsYwH-ZpNheXQTvMsYE", "1Ja1WgLbhHoCveIfopwsUaD3ZWZeHEIGl",
    ),
    ("coco", "ssp", 1, "resnet50"): (
        "17QziEObdCib_2lg7SoEptkt_qoWBpCmy", "1HXEvAfpeAc3TJjgy3LRb35EWn2zVgxNT",
        "1qSApqbSyH4ckfFWtg_SAMRXDlsijwkpt", "1PjtK1dYFXR5xkyjkmbc2XdobRTJw0cEh",
    ),
    ("coco", "ssp", 1, "resnet101"): (
        "1kHZoe3TMextLJZqvnZdNQjQg-pe7Ag0_", "1XapUFZE86J0u-jwricmYsumv2cd7pDO8",
        "1A1-1HbZnnRzQjc50-VDNdsByaZ624_5C", "1e5W6xbZTisUp8qWRsokaO5Hp_OVGK3B4",
    ),
    ("coco", "ssp", 5, "resnet50"): (
        "1MyKP8sIrDwbHBQBXhDxWVg4uDzbfcG0o", "1rVEwt2gUrE-pezgOtyi65N4o3_Ku1jAB",
        "1tE5JU-Gnx-z9xgU-8jz5yjefQNMEfpzP", "1sJn242NPYlnm-ErJX_fQvT1HWJ8a72jN",
    ),
    ("coco", "ssp", 5, "resnet101"): (
        "17_cD0Y4vU3h6OniKGEQr0rbEq1klSqa-", "1TMZzGN1flPQqxRc1H62dWpTCjgId2aPb",
        "1B4yagrQ0ugX6EUK2yPoJPRUPl_ENqia_", "10eO87EkGVUul9BY5Q2zq4vo_2ZR5SNf5",
    ),
}  # fmt: skip
DRIVE_IMAGENET = {"resnet50": "11yONyypvBEYZEh9NIOJBGMdiLLAgsMgj", "resnet101": "1mX1yYvkcyOkAVjZZSIf6uMBPlooZCmpk"}


def drive_link(file_id: str) -> str:
    """Where a browser downloads a file."""
    return f"https://drive.google.com/file/d/{file_id}/view"


def drive_download(file_id: str) -> str:
    """Where a program downloads a file."""
    return f"https://drive.google.com/uc?id={file_id}"


def mean_of_folds(row: Published) -> float | None:
    """The mean of a row's folds where the published mean cannot have been rounded from it, None where it agrees."""
    if not row.folds:
        return None
    mean = sum(row.folds) / len(row.folds)
    # A half is rounded up in some rows and down in others; 1e-9 is for binary fractions.
    return None if abs(mean - row.mean) <= 0.05 + 1e-9 else mean
