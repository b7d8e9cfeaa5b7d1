"""Segment your own images like a few supports: what a user imports."""

from engine.prediction.images import read_image
from engine.prediction.masks import read_support
from engine.prediction.predictor import Encoded, Prediction, Predictor

__all__ = ["Encoded", "Prediction", "Predictor", "read_image", "read_support"]
