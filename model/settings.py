"""The settings of the matching and the weights of the training loss; the paper's are the defaults.

They stand apart from model/matching.py and model/loss.py, which use them, for whoever names one before torch is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real


@dataclass(frozen=True)
class Matching:
    """The settings of the matching; the paper's are the defaults. A network holds its own as ``net.matching``.

    Raises ValueError for what is no number.
    """

    temperature: float = 10.0  # scales the cosine scores into logits
    fg_threshold: float = 0.7  # confidence of a foreground pixel that supports itself
    bg_threshold: float = 0.6  # the same of a background pixel
    fallback_pixels: int = 12  # taken by confidence where no pixel passes the threshold
    adaptive_scale: float = 2.0  # sharpness of the adaptive background's softmax
    fg_mix: float = 0.5  # steps 4 and 5: weight of the self-support foreground prototype, the rest is the support's
    bg_mix: float = 0.3  # steps 4 and 5: weight of the global background prototype, the rest is the adaptive one
    refine_mix: tuple[float, float, float] = (0.5, 0.2, 0.3)  # weights of support, first and second self-support
    final_mix: float = 0.7  # weight of the refined logits, the rest is that of the logits before
    support_bg_mix: float = 0.0  # steps 4 and 5: weight of the support's background prototype beside the own two
    rounds: int = 1  # how often step 5 is taken when refining, each time on what the last one gave; 0: never

    def __post_init__(self) -> None:
        mix = self.refine_mix
        if not (type(mix) is tuple and len(mix) == 3 and all(isinstance(weight, Real) for weight in mix)):
            raise ValueError(f"refine_mix {mix!r}: must be a tuple of three numbers")
        for name, least in (("fallback_pixels", 1), ("rounds", 0)):
            if type(value := getattr(self, name)) is not int or value < least:
                raise ValueError(f"{name} {value!r}: must be a whole number from {least} on")
        for name, value in vars(self).items():
            if name != "refine_mix" and not isinstance(value, Real):
                raise ValueError(f"{name} {value!r}: must be a number")


PAPER = Matching()
LOSS_WEIGHTS = {"final": 1.0, "out1": 1.0, "query_self": 1.0, "support_self": 0.2}  # of a network's outputs; others: 1
