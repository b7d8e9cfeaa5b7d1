"""The tables' "Baseline": prototypes matched directly, no self-support (docs/method.md, end of section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model import matching
from model.fast import check, evaluation
from model.fast.evaluation import Scratch
from model.network import FewShotNetwork


class Baseline(FewShotNetwork):
    """From "Mining Latent Classes for Few-shot Segmentation"; all but the batch norms is trained."""

    method = "baseline"

    def prototypes(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Averaged at mask resolution: the features are resized up to the mask, not the mask down."""
        return upsampled_average(features, mask == 1), upsampled_average(features, mask == 0)

    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        return {"final": matching.score(features, fg, bg, settings=self.matching)}

    def match_episodes(self, features: Tensor, fg: Tensor, bg: Tensor, scratch: Scratch | None = None) -> Tensor:
        """Many episodes of one query: its norms are computed once, where that gives the same."""

        def fast(features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
            return {"final": evaluation.score_episodes(features[:1], fg, bg, self.matching)}

        if check.agrees(self, "evaluation", fast, self.match):
            return fast(features, fg, bg)["final"]
        return FewShotNetwork.match_episodes(self, features, fg, bg, scratch)


Baseline.fast_forms_of = Baseline.trace, Baseline.match


def upsampled_average(features: Tensor, region: Tensor) -> Tensor:
    """Mean (B, C, 1, 1) over a region (B, H, W), boolean, of features (B, C, h, w) resized to (H, W).

    The resized features, a thousand maps of image size, are never made: resizing is linear, so the region
    is taken back to the feature grid by the transposed resizing instead, one axis after the other.
    """
    height, width = features.shape[-2:]
    rows, columns = (
        F.interpolate(torch.eye(small).to(features)[None], size=large, mode="linear", align_corners=True)[0]
        for small, large in ((height, region.shape[-2]), (width, region.shape[-1]))
    )  # (h, H) and (w, W)
    region = region.to(features.dtype)
    weight = (rows @ region @ columns.t())[:, None]  # (B, 1, h, w)
    return (features * weight).sum((2, 3), keepdim=True) / (region.sum((1, 2))[:, None, None, None] + 1e-5)
