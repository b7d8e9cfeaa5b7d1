"""Self-support few-shot segmentation: backbone and matching put together (docs/method.md, sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model import matching
from model.fast import check, evaluation, training
from model.fast.evaluation import Scratch
from model.matching import Matching
from model.network import FewShotNetwork
from model.resnet import ResNet

# The released checkpoints' names of a ResNet's parts. The order of the keys is the same.
RELEASED = {"backbone.conv1.": "layer0.0.", "backbone.bn1.": "layer0.1.", "backbone.layer": "layer"}


class SSP(FewShotNetwork):
    """The paper's network; with a ResNet its state dict is the one of the released checkpoints."""

    method = "ssp"
    can_refine = True

    def __init__(self, backbone: nn.Module, refine: bool = False) -> None:
        super().__init__(backbone, refine)
        if isinstance(backbone, ResNet):
            backbone.freeze_first_stages()

    def prototypes(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return matching.prototypes(features, mask)

    def trace(self, features: Tensor, fg: Tensor, bg: Tensor) -> matching.Trace:
        """Steps 2 to 5 of the method."""
        return matching.trace(features, fg, bg, self.refine, self.matching)

    def match(self, features: Tensor, fg: Tensor, bg: Tensor) -> dict[str, Tensor]:
        """The logits of :meth:`trace`; in training by a faster form, where it gives the same."""

        def method(*inputs: Tensor) -> dict[str, Tensor]:
            return self.trace(*inputs).outputs

        def fast(*inputs: Tensor) -> dict[str, Tensor]:
            return training.match(*inputs, self.refine, self.matching)

        if self.training and check.agrees(self, "training", fast, method):
            return fast(features, fg, bg)
        return method(features, fg, bg)

    def match_episodes(self, features: Tensor, fg: Tensor, bg: Tensor, scratch: Scratch | None = None) -> Tensor:
        """Many episodes of one query: what does not depend on the episode is computed once, where that is the same."""
        if self.evaluates_fast():
            return evaluation.match_episodes(features, fg, bg, self.refine, self.matching, scratch)
        return super().match_episodes(features, fg, bg, scratch)

    def match_variations(
        self, features: Tensor, fg: Tensor, bg: Tensor, settings: Sequence[Matching], scratch: Scratch | None = None
    ) -> Tensor:
        """Many settings: what does not depend on a setting is computed once, where that is the same."""
        is_own = type(self).match_episodes is not SSP.match_episodes or "match_episodes" in vars(self)
        fast = [] if is_own else [one for one in settings if self.under(one).evaluates_fast()]
        if len(fast) < 2:
            return super().match_variations(features, fg, bg, settings, scratch)
        found = dict(zip(fast, evaluation.match_variations(features, fg, bg, self.refine, fast, scratch), strict=True))
        others = [one for one in settings if one not in found]
        if others:
            found |= zip(others, super().match_variations(features, fg, bg, others, scratch), strict=True)
        return torch.stack([found[one] for one in settings])

    def evaluates_fast(self) -> bool:
        """Whether the fast form of evaluation gives what the method gives."""

        def method(*inputs: Tensor) -> dict[str, Tensor]:
            return {"final": self.match(*inputs)["final"]}

        def fast(features: Tensor, *pair: Tensor) -> dict[str, Tensor]:
            return {"final": evaluation.match_episodes(features[:1], *pair, self.refine, self.matching)}

        return check.agrees(self, "evaluation", fast, method)

    def self_scores(
        self, query: Tensor, query_mask: Tensor, supports: Sequence[Tensor], support_masks: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """How well each image's own true prototypes segment it (docs/method.md, section 3, step 7)."""

        def scored(features: Tensor, mask: Tensor) -> Tensor:
            logits = matching.score(features, *self.prototypes(features, mask), settings=self.matching)
            return matching.resize(logits, mask.shape[-2:])

        return {
            "query_self": scored(query, query_mask),
            "support_self": torch.cat(list(map(scored, supports, support_masks))),
        }

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """The state, under the released names."""
        state = super().state_dict(*args, **options)
        if isinstance(self.backbone, ResNet):
            _rename(state, RELEASED, options.get("prefix", ""))
        return state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if isinstance(self.backbone, ResNet):
            _rename(state_dict, {released: name for name, released in RELEASED.items()}, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


SSP.fast_forms_of = SSP.trace, SSP.match


def _rename(state: dict[str, Any], names: Mapping[str, str], prefix: str) -> None:
    """Exchange the starts of the keys below a prefix, in place and in order."""
    for key in list(state):
        start = next((name for name in names if key.startswith(prefix + name)), None)
        if start is not None:
            state[prefix + names[start] + key.removeprefix(prefix + start)] = state.pop(key)
