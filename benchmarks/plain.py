"""Training as the paper's release does it, operation by operation: what ours is compared with.

Every support and the query pass the backbone one after the other, batch norms are layers, cosines are
torch.cosine_similarity, and each self-support computes its adaptive foreground too, which nothing uses.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.models.resnet import Bottleneck, conv1x1

from dataset import ImageSet
from dataset.episodes import MIN_PIXELS, Pool
from model.loss import loss_terms, total_loss
from model.resnet import BLOCKS, FrozenBatchNorm2d, ResNet


class LastBottleneck(Bottleneck):
    """Without the final ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out)) + x


def stage(channels: int, planes: int, blocks: int, stride: int = 1, dilation: int = 1, last: bool = False) -> nn.Module:
    norm, out = FrozenBatchNorm2d, 4 * planes
    first = Bottleneck(
        channels, planes, stride, nn.Sequential(conv1x1(channels, out, stride), norm(out)), norm_layer=norm
    )
    kinds = [Bottleneck] * (blocks - 2) + [LastBottleneck if last else Bottleneck]
    return nn.Sequential(first, *(kind(out, planes, dilation=dilation, norm_layer=norm) for kind in kinds))


class PlainSSP(nn.Module):
    """The released network's state dict and forward pass."""

    def __init__(self, backbone: str, state: Mapping[str, Tensor], refine: bool = True) -> None:
        super().__init__()
        stem, blocks = ResNet(backbone), BLOCKS[backbone]
        self.refine = refine
        self.layer0 = nn.Sequential(stem.conv1, stem.bn1, stem.relu, stem.maxpool)
        self.layer1, self.layer2 = stage(128, 64, blocks[0]), stage(256, 128, blocks[1], stride=2)
        self.layer3 = stage(512, 256, blocks[2], dilation=2, last=True)
        self.load_state_dict(state)
        self.layer0.requires_grad_(False)
        self.layer1.requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.layer1(self.layer0(images))
        return self.layer3(self.layer2(x))

    def forward(
        self, support_images: Sequence[Tensor], support_masks: Sequence[Tensor], query_image: Tensor, query_mask: Tensor
    ) -> dict[str, Tensor]:
        supports = [self.features(image) for image in support_images]
        query = self.features(query_image)
        fg = torch.stack([average(x, mask == 1) for x, mask in zip(supports, support_masks, strict=True)]).mean(0)
        bg = torch.stack([average(x, mask == 0) for x, mask in zip(supports, support_masks, strict=True)]).mean(0)
        fg0, bg0 = fg[..., None, None], bg[..., None, None]

        ssfp, ssbp, asbp = self_support(query, score(query, fg0, bg0))
        fg1, bg1 = 0.5 * fg0 + 0.5 * ssfp, 0.3 * ssbp + 0.7 * asbp
        out1 = score(query, fg1, bg1)
        out = {"final": out1}
        if self.refine:
            ssfp, ssbp, asbp = self_support(query, out1)
            fg2, bg2 = 0.5 * fg0 + 0.5 * ssfp, 0.3 * ssbp + 0.7 * asbp
            fg2 = 0.5 * fg0 + 0.2 * fg1 + 0.3 * fg2
            bg2 = 0.5 * bg0 + 0.2 * bg1 + 0.3 * bg2
            out = {"final": 0.7 * score(query, fg2, bg2) + 0.3 * out1, "out1": out1}
        out["query_self"] = own_score(query, query_mask)
        out["support_self"] = torch.cat([own_score(x, mask) for x, mask in zip(supports, support_masks, strict=True)])
        size = query_image.shape[-2:]
        return {name: F.interpolate(x, size, mode="bilinear", align_corners=True) for name, x in out.items()}


def average(features: Tensor, mask: Tensor) -> Tensor:
    """(B, C) of a region."""
    mask = F.interpolate(mask[:, None].float(), features.shape[-2:], mode="bilinear", align_corners=True)
    return (features * mask).sum((2, 3)) / (mask.sum((2, 3)) + 1e-5)


def score(features: Tensor, fg: Tensor, bg: Tensor) -> Tensor:
    return 10 * torch.stack([F.cosine_similarity(features, x, dim=1) for x in (bg, fg)], 1)


def own_score(features: Tensor, mask: Tensor) -> Tensor:
    return score(features, average(features, mask == 1)[..., None, None], average(features, mask == 0)[..., None, None])


def self_support(features: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    fgs, bgs, adaptive_bgs = [], [], []
    for image, (p_bg, p_fg) in zip(features, out.softmax(1), strict=True):
        pixels, p_bg, p_fg = image.flatten(1), p_bg.flatten(), p_fg.flatten()
        fg = pixels[:, p_fg > 0.7] if (p_fg > 0.7).any() else pixels[:, p_fg.topk(12).indices]
        bg = pixels[:, p_bg > 0.6] if (p_bg > 0.6).any() else pixels[:, p_bg.topk(12).indices]
        adaptive(pixels, fg)  # computed and thrown away
        fgs.append(fg.mean(1))
        bgs.append(bg.mean(1))
        adaptive_bgs.append(adaptive(pixels, bg).view_as(image))
    return torch.stack(fgs)[..., None, None], torch.stack(bgs)[..., None, None], torch.stack(adaptive_bgs)


def adaptive(pixels: Tensor, some: Tensor) -> Tensor:
    """For every pixel (C, N) the mean of some (C, n), weighted by the softmax of twice the cosines."""
    cosines = (pixels / pixels.norm(dim=0)).t() @ (some / some.norm(dim=0))
    return (torch.softmax(2 * cosines, 1) @ some.t()).t()


def plain_step(
    net: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Sequence[Tensor], Sequence[Tensor], Tensor, Tensor]
) -> float:
    """One step of SGD; returns the loss before it."""
    _, support_masks, _, query_mask = batch
    loss = total_loss(loss_terms(net(*batch), query_mask, support_masks))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class PlainSamples(Dataset):
    """Training samples as the release draws and makes them: masks opened to see what they hold, sets sorted for
    every support, images turned to normalised float32 one by one."""

    def __init__(self, images: ImageSet, pool: Pool, crop_size: int, length: int, shot: int = 1) -> None:
        self.images, self.size, self.length, self.shot = images, crop_size, length, shot
        self.kept = [pool.names[rank] for rank in pool.images]
        self.members = {cls: [pool.names[rank] for rank in ranks] for cls, ranks in pool.members.items()}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        query = random.choice(self.kept)
        labels = self.labels(query)
        cls = random.choice(sorted(set(np.unique(labels).tolist()) & self.members.keys()))
        supports: list[str] = []
        while len(supports) < self.shot:
            chosen = random.choice(sorted(set(self.members[cls]) - {query} - set(supports)))
            if (self.labels(chosen) == cls).sum() >= MIN_PIXELS:
                supports.append(chosen)
        pairs = [self.augmented(image, cls) for image in (query, *supports)]
        (query_image, query_mask), *others = pairs
        return [x for x, _ in others], [mask for _, mask in others], query_image, query_mask

    def labels(self, image: str) -> np.ndarray:
        return np.array(Image.open(self.images.mask_path(image)))

    def augmented(self, image: str, cls: int) -> tuple[Tensor, Tensor]:
        picture = Image.open(self.images.image_path(image)).convert("RGB")
        mask = Image.fromarray(self.labels(image))
        right, bottom = max(self.size - picture.width, 0), max(self.size - picture.height, 0)
        picture = ImageOps.expand(picture, (0, 0, right, bottom), fill=0)
        mask = ImageOps.expand(mask, (0, 0, right, bottom), fill=255)
        x, y = random.randint(0, picture.width - self.size), random.randint(0, picture.height - self.size)
        picture, mask = (one.crop((x, y, x + self.size, y + self.size)) for one in (picture, mask))
        if random.random() < 0.5:
            picture, mask = ImageOps.mirror(picture), ImageOps.mirror(mask)
        labels = np.array(mask)
        target = np.zeros_like(labels)
        target[labels == cls] = 1
        target[labels == 255] = 255
        tensor = transforms.functional.to_tensor(picture)
        normalised = transforms.functional.normalize(tensor, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        return normalised, torch.from_numpy(target).long()
