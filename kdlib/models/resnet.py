"""Residual networks (He et al. 2016): small ones by depth and width, and torchvision's by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, positive_integer
from kdlib.models.normalise import Normalise, statistics


class _Block(nn.Module):
    """A residual block: what `body` adds to the (if need be projected) input, then ReLU."""

    def __init__(self, body: nn.Sequential, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = body
        self.shortcut: nn.Module = nn.Identity()
        self.stride = stride
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(*_convolution(in_channels, out_channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        # The same as a strided 1x1 convolution, whose weights' gradient writes out of bounds on a CPU if it has fewer
        # than 16 input channels in channels_last (oneDNN issue 6035: segmentation fault or hang, at 32x32 with AVX2).
        kept = features[:, :, :: self.stride, :: self.stride]
        return torch.relu(self.body(features) + self.shortcut(kept))


def _convolution(in_channels: int, out_channels: int, size: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(out_channels)]


def _basic(in_channels: int, out_channels: int, stride: int) -> _Block:
    body = [*_convolution(in_channels, out_channels, 3, stride), nn.ReLU()]
    body += _convolution(out_channels, out_channels, 3, 1)
    return _Block(nn.Sequential(*body), in_channels, out_channels, stride)


def _bottleneck(in_channels: int, middle: int, out_channels: int, stride: int) -> _Block:
    body = [*_convolution(in_channels, middle, 1, 1), nn.ReLU()]
    body += [*_convolution(middle, middle, 3, stride), nn.ReLU()]
    body += _convolution(middle, out_channels, 1, 1)
    return _Block(nn.Sequential(*body), in_channels, out_channels, stride)


class SmallResNet(nn.Module):
    """A three-stage residual network for small images.

    depth: 6 n + 2, n blocks a stage. width: channels w of the first stage; the second has 2 w. The third stage
    is made of bottleneck blocks of 4 w inner channels whose output has `features` channels whatever the width, so
    that the dissected layer of a teacher and of a student has equally many units. Strides: 2 in the stem, then 1, 2, 1.
    A 32x32 image gives maps of 16x16, 8x8 and, at `layer3` after its ReLU, 8x8. On a CPU BatchNorm and ReLU on large
    maps of few channels take most of a step's time, so the net shrinks its maps early.

    >>> net = SmallResNet(10, 3, (0.5,) * 3, (0.25,) * 3, depth=8, width=8, features=128)
    >>> net(torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """

    def __init__(
        self,
        num_classes: int,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        depth: int = 8,
        width: int = 8,
        features: int = 128,
    ) -> None:
        super().__init__()
        positive_integer(width, "width")
        positive_integer(features, "features")
        if not isinstance(depth, int) or depth < 8 or (depth - 2) % 6:
            raise KdlibError(f"depth must be 6 n + 2 (8, 14, 20, 26, ...), not {depth!r}")
        blocks = (depth - 2) // 6
        self.normalise = Normalise(mean, std)
        self.stem = nn.Sequential(*_convolution(channels, width, 3, 2), nn.ReLU())
        self.layer1 = nn.Sequential(*[_basic(width, width, 1) for _ in range(blocks)])
        self.layer2 = nn.Sequential(
            *[_basic(width if i == 0 else 2 * width, 2 * width, 2 if i == 0 else 1) for i in range(blocks)]
        )
        self.layer3 = nn.Sequential(
            *[_bottleneck(2 * width if i == 0 else features, 4 * width, features, 1) for i in range(blocks)]
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(self.normalise(images))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.fc(self.avgpool(features).flatten(1))


def small_resnet(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> SmallResNet:
    """A `SmallResNet`; unknown options are refused."""
    unknown = set(options) - {"depth", "width", "features"}
    if unknown:
        raise KdlibError(f"small_resnet has no option '{sorted(unknown)[0]}'; it has depth, width, features")
    mean, std = statistics(channels, mean, std)
    return SmallResNet(num_classes, channels, mean, std, **options)


_TORCHVISION = {
    "resnet18": ("BasicBlock", (2, 2, 2, 2)),
    "resnet34": ("BasicBlock", (3, 4, 6, 3)),
    "resnet50": ("Bottleneck", (3, 4, 6, 3)),
}


def _yes_or_no(value: int, name: str) -> bool:
    if value not in (0, 1):
        raise KdlibError(f"{name} must be 0 or 1, not {value!r}")
    return bool(value)


def _move_strides(model: nn.Module) -> None:
    """From the 3x3 convolution of a stage's first block, where torchvision has it, to the 1x1 before it."""
    for stage in ("layer2", "layer3", "layer4"):
        first = getattr(model, stage)[0]
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride


def torchvision_resnet(name: str) -> Callable[..., nn.Module]:
    """A builder of torchvision's ResNet `name` for any number of classes and channels.

    Option of resnet50: stride_in_first_1x1 (0 or 1), as in He et al.'s own weights and Keras' first ResNet-50: stages
    shrink the map in the first 1x1 convolution of their first block, not in the 3x3 convolution after it.
    """
    block_name, layers = _TORCHVISION[name]

    def build(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> nn.Module:
        from kdlib.models.torchvision_resnet import TorchvisionResNet  # imports torchvision, which takes a second

        known = {"stride_in_first_1x1"} if block_name == "Bottleneck" else set()
        for option in sorted(set(options) - known):
            has = f"it has {', '.join(known)}" if known else "its shape is fixed"
            raise KdlibError(f"{name} has no option '{option}'; {has}")
        model = TorchvisionResNet(block_name, list(layers), num_classes, *statistics(channels, mean, std))
        if _yes_or_no(options.get("stride_in_first_1x1", 0), "stride_in_first_1x1"):
            _move_strides(model)
        if channels != 3:
            model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        return model

    return build
