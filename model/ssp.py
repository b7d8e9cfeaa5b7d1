"""Self-support few-shot segmentation: trunk and matching put together (docs/method.md, sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model import matching, shared_query, trained_match
from model.network import FewShotNetwork
from model.resnet import Trunk, stem
from model.shared_query import Scratch


class SSP(FewShotNetwork):
    """The paper's network; its state dict is the one of the released checkpoints."""

    method = "ssp"

    def __init__(self, backbone: str, refine: bool) -> None:
        super().__init__()
        trunk = Trunk(backbone)
        self.refine = refine
        self.layer0 = nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool)
        self.layer1, self.layer2, self.layer3 = trunk.layer1, trunk.layer2, trunk.layer3
        self.layer0.requires_grad_(False)
        self.layer1.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        with torch.no_grad():  # the first two stages are frozen
            x = self.layer1(stem(self.layer0[0], self.layer0[1], images))
        return self.layer3(self.layer2(x))

    def prototypes(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return matching.prototypes(features, mask)

    def trace(self, features: Tensor, fg: Tensor, bg: Tensor) -> matching.Trace:
        return matching.trace(features, fg, bg, self.refine)

    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        if self.training:
            return trained_match.match(features, fg, bg, self.refine)
        return super().match(features, fg, bg)

    def match_episodes(self, features: Tensor, fg: Tensor, bg: Tensor, scratch: Scratch | None = None) -> Tensor:
        return shared_query.match_episodes(features, fg, bg, self.refine, scratch)

    def self_scores(
        self, query: Tensor, query_mask: Tensor, supports: Sequence[Tensor], support_masks: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """How well each image's own true prototypes segment it (docs/method.md, section 3, step 7)."""

        def scored(features: Tensor, mask: Tensor) -> Tensor:
            logits = matching.score(features, *self.prototypes(features, mask))
            return matching.resize(logits, mask.shape[-2:])

        return {
            "query_self": scored(query, query_mask),
            "support_self": torch.cat(list(map(scored, supports, support_masks))),
        }
