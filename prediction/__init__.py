"""Segment your own images like a few supports: what a user imports, each name with the first use (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prediction.explain import AdaptiveSource, Confident, Explanation
    from prediction.explain_figure import draw_explanation
    from prediction.files import read_image
    from prediction.load import load_predictor
    from prediction.masks import read_support
    from prediction.predictor import Encoded, Prediction, Predictor

HOMES = {
    "AdaptiveSource": "explain",
    "Confident": "explain",
    "Encoded": "predictor",
    "Explanation": "explain",
    "Prediction": "predictor",
    "Predictor": "predictor",
    "draw_explanation": "explain_figure",
    "load_predictor": "load",
    "read_image": "files",
    "read_support": "masks",
}
__all__ = [
    "AdaptiveSource",
    "Confident",
    "Encoded",
    "Explanation",
    "Prediction",
    "Predictor",
    "draw_explanation",
    "load_predictor",
    "read_image",
    "read_support",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
