"""Segment images like a few supports: the supports are encoded once, then any image can be asked for.

    predictor = Predictor(net)
    predictor.set_support(images, masks)
    mask, probability = predictor.predict(image)

The network's own operations in its own order: if an image is not resized, its mask is the argmax of
``net(...)["final"]``. Large images are made smaller, for matching compares each of the N = H W / 64
features of an image (at a stride of 8) with up to all of them: time grows with the square of the area.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataset.images import to_rgb
from dataset.labels import IGNORE
from dataset.transform import normalise
from engine.setting import MAX_SIDE, MIN_SIDE
from model.matching import resize
from model.network import FewShotNetwork
from prediction.explain import Explanation, Pixel, explain_trace
from prediction.working_size import OBJECT, find_size_problem, shrink_image, shrink_marked


class Prediction(NamedTuple):
    """Where the object is in an image of H x W pixels."""

    mask: np.ndarray  # (H, W) bool, True where the object is likelier than background
    probability: np.ndarray  # (H, W) float32 in [0, 1], of the object


class Encoded(NamedTuple):
    """An image that has passed the backbone, for whoever asks for it again with other supports, masks or settings."""

    image: Image.Image  # RGB, in its own size
    features: Tensor  # (1, C, h, w), in working size


Picture = Image.Image | np.ndarray | Encoded  # PIL of any mode, uint8 (H, W, 3) RGB, or encoded before


class Predictor:
    """A network with the supports that it is to segment images like; works on the network's device.

    Arguments:
        net: SSP, the baseline or a custom one, which is put into eval mode. ``model.fold_batch_norms(net)`` in the
            memory format ``torch.channels_last`` is, with a ResNet, about a sixth faster on CPUs and gives the
            same up to rounding: probabilities within 1e-4, masks equal but for pixels that close to 0.5.
        max_side: larger images are resized so that their longer side has so many pixels; 0 for none. Raises
            ValueError from 1 to 31.
        about, note: what the network is and was trained on, and a reason to trust it little, for people.
    """

    def __init__(self, net: FewShotNetwork, max_side: int = MAX_SIDE, about: str = "", note: str = "") -> None:
        if max_side < MIN_SIDE and max_side != 0:
            raise ValueError(f"max_side {max_side}: at least {MIN_SIDE} pixels are needed; 0 is the image's own size")
        self.net = net.eval()
        self.max_side = max_side
        self.about, self.note = about, note
        self._prototypes: tuple[Tensor, Tensor] | None = None

    @torch.inference_mode()
    def set_support(
        self,
        images: Iterable[Picture],
        masks: Iterable[np.ndarray],
        names: Iterable[str] | None = None,
    ) -> None:
        """Encode one or more supports, each once, in place of those set before.

        Arguments:
            images: PIL images, uint8 (H, W, 3) RGB, of any sizes, or what encode returned.
            masks: (H, W) of its image's size each, 1 the object, 0 background, 255 neither.
            names: what errors call them (default "support 1", ...).
        Raises:
            ValueError: there is no support; the numbers of images, masks and names differ; a mask has another size,
                other values or no object; an image or its object is too small. The former supports stay.
        """
        images, masks = list(images), list(masks)
        names = [f"support {number}" for number in range(1, len(images) + 1)] if names is None else list(names)
        if not images or not len(images) == len(masks) == len(names):
            raise ValueError(f"{len(images)} support images with {len(masks)} masks and {len(names)} names")
        supports = [self._encode_support(*support) for support in zip(images, masks, names, strict=True)]
        self._prototypes = self.net.episode_prototypes(*zip(*supports, strict=True))

    @torch.inference_mode()
    def encode(self, image: Image.Image | np.ndarray, name: str = "the image") -> Encoded:
        """Pass an image, PIL or uint8 (H, W, 3) RGB, through the backbone; asking for it again costs matching alone.

        Raises ValueError, which calls the image by its name, if it is too small or no picture.
        """
        image = check_picture(image, name)
        return Encoded(image, self._compute_features(image, name))

    @torch.inference_mode()
    def predict(self, image: Picture) -> Prediction:
        """Find the supports' object in an image; the result has the image's own size.

        Raises ValueError before :meth:`set_support`, and if the image is too small.
        """
        prototypes = self._need_prototypes("predict")
        query = self._encode_once(image)
        return self._decide(query, self.net.match(query.features, *prototypes)["final"])

    @torch.inference_mode()
    def explain(self, image: Picture, pixels: Sequence[Pixel] | None = None) -> Explanation:
        """Find the supports' object in an image, and tell what each step of the method found.

        Arguments:
            image: as for :meth:`predict`, whose mask and probability the explanation holds too.
            pixels: (x, y) in the image's own pixels, to see where the adaptive background prototypes (ASBP) of these
                come from; None for the likeliest object, the least certain and the likeliest background.
        Raises:
            ValueError: as :meth:`predict`; a pixel is outside the image; pixels are named for the baseline, which
                has no ASBP.
        """
        prototypes = self._need_prototypes("explain")
        query = self._encode_once(image)
        trace = self.net.trace(query.features, *prototypes)
        found = self._decide(query, trace.final)
        return explain_trace(query.image, query.features, trace, found, pixels=pixels)

    def _need_prototypes(self, method: str) -> tuple[Tensor, Tensor]:
        if self._prototypes is None:
            raise ValueError(f"no supports: call set_support before {method}")
        return self._prototypes

    def _decide(self, query: Encoded, logits: Tensor) -> Prediction:
        """Mask and probability in the image's own size, by the final logits (1, 2, h, w)."""
        bg, fg = resize(logits, (query.image.height, query.image.width))[0]
        margin = (fg - bg).cpu()
        return Prediction((margin > 0).numpy(), margin.float().sigmoid_().numpy())

    def _encode_once(self, image: Picture) -> Encoded:
        return image if isinstance(image, Encoded) else self.encode(image)

    def _encode_support(self, image: Picture, mask: np.ndarray, name: str) -> tuple[Tensor, Tensor]:
        """Features (1, C, h, w) and labels (1, H, W) of a support in working size."""
        picture = image.image if isinstance(image, Encoded) else check_picture(image, name)
        mask = check_mask(mask, name)
        if mask.shape != (picture.height, picture.width):
            raise ValueError(f"{name}: the mask has shape {mask.shape}, the image {(picture.height, picture.width)}")
        small, small_mask = shrink_marked(picture, mask, self.max_side)
        features = image.features if isinstance(image, Encoded) else self._compute_features(small, name)
        labels = torch.from_numpy(small_mask).to(features.device, torch.int64)[None]
        fg, _ = self.net.prototypes(features, labels)
        if not fg.any():  # between the features, which stand for stride x stride pixels each
            raise ValueError(
                f"{name}: the object's {(small_mask == OBJECT).sum()} pixels in {small.width}x{small.height} are too "
                "few to be seen; crop the image around it"
            )
        return features, labels

    def _compute_features(self, image: Image.Image, name: str) -> Tensor:
        """Features (1, C, h, w) of an RGB image, made smaller where it is large."""
        if problem := find_size_problem(image.size, self.max_side):
            raise ValueError(f"{name}: {problem}")
        try:
            return self.net.features(normalise(shrink_image(image, self.max_side))[None].to(self.net.place))
        except ValueError as error:  # of a backbone that needs larger images
            raise ValueError(f"{name}: {error}") from error


def check_picture(image: Image.Image | np.ndarray, name: str) -> Image.Image:
    """An RGB picture of a PIL image of any mode, or of uint8 (H, W, 3). Raises ValueError for anything else."""
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        return Image.fromarray(image)
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise ValueError(f"{name}: {found}, expected a PIL image or uint8 (H, W, 3)")


def check_mask(mask: np.ndarray, name: str) -> np.ndarray:
    """A mask as uint8 (H, W), 1, 0 or 255. Raises ValueError if it is none, or holds no object."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or not (mask.dtype == bool or np.issubdtype(mask.dtype, np.integer)):
        raise ValueError(f"{name}: the mask is {mask.dtype} {mask.shape}, expected whole numbers (H, W)")
    values = np.unique(mask)
    if not np.isin(values, (0, OBJECT, IGNORE)).all() or OBJECT not in values:
        found = ", ".join(map(str, values[:5].tolist()))
        raise ValueError(f"{name}: the mask holds {found}; 1 is the object, 0 background, 255 neither")
    return mask.astype(np.uint8)
