"""What SSP and the baseline share: encode the supports and the query, match, resize to the query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from model import matching
from model.shared_query import Scratch


class FewShotNetwork(nn.Module, ABC):
    """A trunk and a matching. Subclasses give the steps, :meth:`forward` puts them together.

    A step by itself is what planned evaluation calls: an image's features and a support's prototypes
    do not depend on the episode they are used in.
    """

    method: str
    refine: bool
    trunk_dtype: torch.dtype | None = None  # that the trunk is trained in, None for float32
    compiled_features: Callable[[Tensor], Tensor] | None = None  # what torch.compile made of features, to train

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> features (B, 1024, h, w), about an eighth of the size."""

    @abstractmethod
    def prototypes(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Foreground and background prototypes, each (B, 1024, 1, 1), of a support and its mask (B, H, W)."""

    @abstractmethod
    def trace(self, features: Tensor, fg: Tensor, bg: Tensor) -> matching.Trace:
        """What each step of :meth:`match` gives, for whoever wants to look inside."""

    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        """Logits (B, 2, h, w), background first, of the query's features against mean support prototypes."""
        return self.trace(features, fg, bg).outputs

    @abstractmethod
    def match_episodes(self, features: Tensor, fg: Tensor, bg: Tensor, scratch: Scratch | None = None) -> Tensor:
        """Final logits (E, 2, h, w) of one query, features (1, C, h, w), in E episodes, prototypes (E, C, 1, 1).

        What :meth:`match` gives for each, up to rounding, for less; needs no gradient. The scratch memory of one
        call is used again by the next that is given it.
        """

    def self_scores(
        self, query: Tensor, query_mask: Tensor, supports: Sequence[Tensor], support_masks: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Further outputs, at image size, that only the training loss needs; none by default.

        Arguments:
            query: features (B, C, h, w).
            query_mask: (B, H, W).
            supports: K of (B, C, h, w).
            support_masks: K of (B, H, W).
        """
        return {}

    def forward(
        self,
        support_images: Sequence[Tensor],
        support_masks: Sequence[Tensor],
        query_image: Tensor,
        query_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Segment the query like the supports.

        Arguments:
            support_images: K of (B, 3, H, W), normalised.
            support_masks: K of (B, H, W) int64, 1 target, 0 background, 255 ignored.
            query_image: (B, 3, H, W), normalised.
            query_mask: (B, H, W) int64; needed to train.
        Returns:
            Logits at query size, (B, 2, H, W), background first: "final", "out1" when refining, and when SSP trains
            "query_self" and "support_self" (K*B, 2, H, W), k-major.
        Raises:
            ValueError: training lacks the query's mask.
        """
        if self.training and query_mask is None:
            raise ValueError("training needs query_mask; call eval() to segment without it")
        images = [*support_images, query_image]
        encode = self.training_features if self.training else self.features
        if len({image.shape for image in images}) == 1:  # as crops are: one pass
            *supports, query = encode(torch.cat(images)).chunk(len(images))
        else:
            *supports, query = (encode(image) for image in images)
        fg, bg = mean_prototypes([self.prototypes(x, mask) for x, mask in zip(supports, support_masks, strict=True)])
        out = self.match(query, fg, bg)
        out = {name: matching.resize(logits, query_image.shape[-2:]) for name, logits in out.items()}
        if self.training:
            out |= self.self_scores(query, query_mask, supports, support_masks)
        return out

    def training_features(self, images: Tensor) -> Tensor:
        """:meth:`features`, float32, compiled and in a smaller type where that was asked for."""
        features = self.compiled_features or self.features
        with torch.autocast(images.device.type, self.trunk_dtype, enabled=self.trunk_dtype is not None):
            x = features(images)
        # channel by channel: gradients of the matching in two memory formats would be slow to add up
        return (x if self.trunk_dtype is None else x.float()).contiguous()


def mean_prototypes(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean over the shots of (foreground, background) prototypes, each (B, C, 1, 1)."""
    fg, bg = zip(*pairs, strict=True)
    return torch.stack(fg).mean(0), torch.stack(bg).mean(0)
