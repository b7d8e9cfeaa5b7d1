"""The backbone: a ResNet-50 or -101 with a deep stem, cut after stage 3 (docs/method.md, section 2)."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import Bottleneck, conv1x1, conv3x3

BLOCKS = {"resnet50": (3, 4, 6), "resnet101": (3, 4, 23)}


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """A batch norm that always uses its running statistics and whose affine is not trained.

    torchvision's class of this name has no ``num_batches_tracked``, which released checkpoints hold.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.training = False  # from the start: a new module is in training mode
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


def batch_norms(net: nn.Module) -> list[nn.Module]:
    """The batch norms of a network, frozen or not."""
    return [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """norm(conv(x)), a frozen norm folded into the weights for this pass: exact, less to compute and to keep."""
    if norm.training or not isinstance(norm, FrozenBatchNorm2d):
        return norm(conv(x))
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale[:, None, None, None]
    bias = norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation)


class FoldingBottleneck(Bottleneck):
    """torchvision's bottleneck with :func:`conv_norm`."""

    def residual(self, x: Tensor) -> Tensor:
        out = self.relu(conv_norm(self.conv1, self.bn1, x))
        out = self.relu(conv_norm(self.conv2, self.bn2, out))
        out = conv_norm(self.conv3, self.bn3, out)
        return out.add_(x if self.downsample is None else conv_norm(*self.downsample, x))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual(x))


class LinearBottleneck(FoldingBottleneck):
    """A bottleneck without the final ReLU: features may be negative, cosine matching needs it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x)


class ResNet(nn.Module):
    """The paper's backbone: images (B, 3, H, W), normalised -> features (B, 1024, about H/8, about W/8).

    The keys of its state dict are the flat ones of the ImageNet weights (conv1.0.weight, ...).
    """

    channels = 1024
    stride = 8

    def __init__(self, backbone: str) -> None:
        super().__init__()
        norm = FrozenBatchNorm2d
        self.conv1 = nn.Sequential(
            conv3x3(3, 64, stride=2), norm(64), nn.ReLU(inplace=True),
            conv3x3(64, 64), norm(64), nn.ReLU(inplace=True),
            conv3x3(64, 128),
        )  # fmt: skip
        self.bn1 = norm(128)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        blocks = BLOCKS[backbone]
        self.layer1 = _stage(128, 64, blocks[0])
        self.layer2 = _stage(256, 128, blocks[1], stride=2)
        self.layer3 = _stage(512, 256, blocks[2], dilation=2, last=LinearBottleneck)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def freeze_first_stages(self) -> None:
        """Keep the stem and the first stage as they are, as SSP does in training."""
        for module in (self.conv1, self.bn1, self.layer1):
            module.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        x = stem(self.conv1, self.bn1, images)
        return self.layer3(self.layer2(self.layer1(x)))


def stem(convolutions: nn.Sequential, last_norm: nn.Module, images: Tensor) -> Tensor:
    """Three convolutions, each with norm and ReLU, and a max pooling."""
    conv1, norm1, relu, conv2, norm2, _, conv3 = convolutions
    x = images
    for conv, norm in ((conv1, norm1), (conv2, norm2), (conv3, last_norm)):
        x = relu(conv_norm(conv, norm, x))
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """A copy for inference in which a ResNet's batch norms are part of the convolutions before: the same, but faster.

    A backbone that is no :class:`ResNet` stays as it is: which convolution comes before a norm is not known of it.
    """
    net = copy.deepcopy(net).eval()
    for backbone in [module for module in net.modules() if isinstance(module, ResNet)]:
        leaves = [(name, module) for name, module in backbone.named_modules() if not list(module.children())]
        for (conv_name, conv), (norm_name, norm) in pairwise(leaves):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                _replace(backbone, conv_name, fuse_conv_bn_eval(conv, norm))
                _replace(backbone, norm_name, nn.Identity())
    return net


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


@torch.no_grad()
def calibrate_batch_norms(net: nn.Module, images: Tensor) -> None:
    """Set the running statistics from one pass of images (B, 3, H, W): frozen ones of random weights mean nothing."""
    norms = batch_norms(net.backbone)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # take this pass's statistics as they are
        norm.training = True
    net.features(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.training = False


def _stage(
    channels: int,
    planes: int,
    blocks: int,
    stride: int = 1,
    dilation: int = 1,
    last: type[Bottleneck] = FoldingBottleneck,
) -> nn.Sequential:
    """One stage of bottlenecks; where dilation replaces stride, the first block keeps dilation 1."""
    norm = FrozenBatchNorm2d
    out = planes * Bottleneck.expansion
    downsample = nn.Sequential(conv1x1(channels, out, stride), norm(out))
    kinds = [FoldingBottleneck] * (blocks - 1) + [last]
    return nn.Sequential(
        kinds[0](channels, planes, stride, downsample, norm_layer=norm),
        *(kind(out, planes, dilation=dilation, norm_layer=norm) for kind in kinds[1:]),
    )
