"""What all networks share: encode the supports and the query, match, resize to the query."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from model import matching
from model.fast.evaluation import Scratch
from model.matching import PAPER, Matching
from model.resnet import batch_norms


class FewShotNetwork(nn.Module, ABC):
    """A backbone and a head, which makes prototypes of supports and matches a query with them (docs/extend.md).

    Subclasses give :meth:`prototypes` and :meth:`match`; whatever else stands here may be replaced by something faster
    or better. A step by itself is what planned evaluation calls: an image's features and a support's prototypes do not
    depend on the episode they are used in.

    Arguments:
        backbone: images (B, 3, H, W), normalised by ImageNet's mean and deviation -> features (B, channels, h, w); a
            module with the attributes ``channels`` and ``stride``, image pixels a feature. Its batch norms are not
            trained and keep their statistics, as the paper's.
        refine: whether the head refines.
    Raises:
        ValueError: the backbone lacks an attribute, or the head cannot refine.
    """

    method: str = ""  # the name in METHODS, for the paper's methods
    can_refine = False
    matching: Matching = PAPER  # the settings; of one network: net.matching = Matching(fg_threshold=0.8)
    fast_forms_of: tuple[Callable, Callable] | None = None  # the trace and match that faster forms were written for
    backbone_dtype: torch.dtype | None = None  # that the backbone is trained in, None for float32
    compiled_features: Callable[[Tensor], Tensor] | None = None  # what torch.compile made of features, to train

    def __init__(self, backbone: nn.Module, refine: bool = False) -> None:
        super().__init__()
        check_backbone(backbone)
        if refine and not self.can_refine:
            raise ValueError(f"refine belongs to ssp, {type(self).__name__} has nothing to refine")
        self.backbone = backbone
        self.refine = refine
        self.backbone_is_frozen = False
        self.register_buffer("place", torch.empty(0), persistent=False)  # where the network is: device and type
        for norm in batch_norms(backbone):
            norm.requires_grad_(False)

    @property
    def channels(self) -> int:
        """The number of channels of the features."""
        return self.backbone.channels

    @property
    def device(self) -> torch.device:
        return self.place.device

    @property
    def stride(self) -> int:
        """Image pixels a feature, along a side."""
        return self.backbone.stride

    def freeze_backbone(self) -> None:
        """Keep the backbone as it is: training changes only the head's own parameters."""
        self.backbone.requires_grad_(False)
        self.backbone_is_frozen = True

    def train(self, mode: bool = True) -> FewShotNetwork:
        super().train(mode)
        self.backbone.train(mode and not self.backbone_is_frozen)
        for norm in batch_norms(self.backbone):
            norm.train(False)
        return self

    def features(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> features (B, C, h, w), about a stride-th of the size."""
        return self.backbone(images)

    @abstractmethod
    def prototypes(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What a support says of foreground and background.

        Arguments:
            features: of the supports, (B, C, h, w).
            mask: (B, H, W) of the images' size: 1 the object, 0 background, 255 neither; there may be no pixel of any.
        Returns:
            Foreground and background prototypes, (B, ...) each; SSP's and the baseline's are (B, C, 1, 1). But for B
            the shapes are the same whatever the support, and B images are those of B single ones.
        """

    def over_shots(self, prototypes: Tensor) -> Tensor:
        """The prototypes (B, ...) of an episode from those of its K supports, (K, B, ...): their mean."""
        return prototypes.mean(0)

    @abstractmethod
    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        """Match queries with their supports.

        Arguments:
            features: of the queries, (B, C, h, w).
            fg, bg: what :meth:`over_shots` returned, (B, ...).
        Returns:
            Logits (B, 2, h, w), background first: "final", and whatever else is to be trained like it.
        """

    def trace(self, features: Tensor, fg: Tensor, bg: Tensor) -> matching.Trace:
        """What each step of :meth:`match` gives, for whoever wants to look inside; by default its one result."""
        logits = self.match(features, fg, bg)["final"]
        return matching.Trace(first=logits, final=logits)

    def match_episodes(self, features: Tensor, fg: Tensor, bg: Tensor, scratch: Scratch | None = None) -> Tensor:
        """Match one query with many episodes; needs no gradient. By default one after the other, by :meth:`match`.

        Arguments:
            features: of the query, (1, C, h, w).
            fg, bg: of E episodes, (E, ...).
            scratch: memory that one call after the other may use.
        Returns:
            Final logits (E, 2, h, w), up to rounding what :meth:`match` gives for each.
        """
        return torch.cat([self.match(features, *pair)["final"] for pair in zip(fg.split(1), bg.split(1), strict=True)])

    def match_variations(
        self, features: Tensor, fg: Tensor, bg: Tensor, settings: Sequence[Matching], scratch: Scratch | None = None
    ) -> Tensor:
        """:meth:`match_episodes` under each of V settings, (V, E, 2, h, w). By default one after the other."""
        return torch.stack([self.under(one).match_episodes(features, fg, bg, scratch) for one in settings])

    def under(self, settings: Matching) -> FewShotNetwork:
        """This network, its weights included, under other settings of the matching."""
        net = copy.copy(self)
        net.matching = settings
        return net

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
        fg, bg = self.episode_prototypes(supports, support_masks)
        out = self.match(query, fg, bg)
        out = {name: matching.resize(logits, query_image.shape[-2:]) for name, logits in out.items()}
        if self.training:
            out |= self.self_scores(query, query_mask, supports, support_masks)
        return out

    def episode_prototypes(self, features: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Foreground and background prototypes (B, ...) from K supports, (B, C, h, w) and masks (B, H, W)."""
        fg, bg = zip(*(self.prototypes(x, mask) for x, mask in zip(features, masks, strict=True)), strict=True)
        return self.over_shots(torch.stack(fg)), self.over_shots(torch.stack(bg))

    def training_features(self, images: Tensor) -> Tensor:
        """:meth:`features`, float32, compiled and in a smaller type where that was asked for."""
        features = self.compiled_features or self.features
        autocast = torch.autocast(images.device.type, self.backbone_dtype, enabled=self.backbone_dtype is not None)
        with autocast, torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone_is_frozen):
            x = features(images)
        # channel by channel: gradients of the matching in two memory formats would be slow to add up
        return (x if self.backbone_dtype is None else x.float()).contiguous()


def check_backbone(backbone: nn.Module) -> None:
    """Raise ValueError unless a backbone says how many channels its features have, and how many pixels each covers."""
    for name in ("channels", "stride"):
        value = getattr(backbone, name, None)
        if type(value) is not int or value < 1:
            raise ValueError(
                f"{type(backbone).__name__} is no backbone: its attribute {name} is {value}, no number from 1 on"
            )
