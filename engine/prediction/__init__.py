"""Segment your own images like a few supports: what a user imports."""

from engine.prediction.explain import AdaptiveSource, Confident, Explanation, explanation_figure
from engine.prediction.images import read_image
from engine.prediction.masks import read_support
from engine.prediction.predictor import Encoded, Prediction, Predictor

__all__ = [
    "AdaptiveSource",
    "Confident",
    "Encoded",
    "Explanation",
    "Prediction",
    "Predictor",
    "explanation_figure",
    "read_image",
    "read_support",
]
