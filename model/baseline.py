"""The tables' "Baseline": prototypes matched directly, no self-support (design, end of section 3)."""

from __future__ import annotations

from torch import Tensor

from model import matching
from model.network import FewShotNetwork
from model.resnet import Trunk


class Baseline(FewShotNetwork):
    """From "Mining Latent Classes for Few-shot Segmentation"; all but the batch norms is trained."""

    method = "baseline"
    refine = False

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone_name = backbone
        self.backbone = Trunk(backbone)

    def features(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def prototypes(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Averaged at mask resolution: the features are resized up to the mask, not the mask down."""
        return matching.prototypes(matching.resize(features, mask.shape[-2:]), mask)

    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        return {"final": matching.score(features, fg, bg)}
