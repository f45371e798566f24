"""Small networks of the shape that Cheng et al. 2020 probe: convolutions, then three linear layers; no BatchNorm.

`small_vgg` stands for the paper's VGGs, `small_alexnet` for its shallow AlexNet, on which the paper's hypotheses fail
most often. Information discarding takes some 10,000 passes an image, so they are cheap: at width 12 and 32x32 pixels a
forward pass of small_vgg multiplies and adds 1.9 million times, one of small_alexnet 1.1 million times.

What differs from the paper's recipe of first weights: linear layers start as in He et al. 2015. With N(0, 0.01^2)
and 64 features hardly any gradient reaches the convolutions: on 2,000 images of Concept World the loss stayed at
ln 20 for twelve epochs at a learning rate of 0.01, for four or more at 0.05, in three of three seeds.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.errors import positive_integer
from kdlib.models.normalise import Normalise, statistics
from kdlib.models.probed import dropout_probability, initialise, refuse_unknown_options

_OPTIONS = ("width", "features", "dropout")
_SIDE = 4  # of the map that the first linear layer sees


class ConvolutionsAndLinear(nn.Module):
    """`convolutions`, then `fc1`, `fc2` (each with ReLU and dropout) and `fc3`; no operation works in place.

    convolutions: maps (B, channels, H, W), from which 4x4 means are taken if H and W are not 4 as with images of 28x28
    to 32x32. features: outputs of fc1 and of fc2. dropout: percent.

    >>> net = small_vgg(num_classes=10)
    >>> net(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        convolutions: nn.Sequential,
        num_classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        features: int,
        dropout: int,
    ) -> None:
        super().__init__()
        positive_integer(features, "features")
        [*_, (last, convolution)] = ((n, m) for n, m in convolutions.named_children() if isinstance(m, nn.Conv2d))
        self.normalise = Normalise(mean, std)
        self.convolutions = convolutions
        self.fc1 = nn.Linear(convolution.out_channels * _SIDE**2, features)
        self.fc2 = nn.Linear(features, features)
        self.fc3 = nn.Linear(features, num_classes)
        self.dropout = nn.Dropout(dropout_probability(dropout))
        self.probed_layers = {"conv": f"convolutions.{last}", "fc1": "fc1", "fc2": "fc2", "fc3": "fc3"}
        initialise(self, linear_deviation=None)

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolutions(self.normalise(images))
        if features.shape[2:] != (_SIDE, _SIDE):  # on a GPU this layer's gradient differs in the last bits each time
            features = F.adaptive_avg_pool2d(features, _SIDE)
        features = self.dropout(torch.relu(self.fc1(features.flatten(1))))
        features = self.dropout(torch.relu(self.fc2(features)))
        return self.fc3(features)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(2, ceil_mode=True)  # of 28x28, three of them leave 4x4


def small_vgg(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> ConvolutionsAndLinear:
    """Six 3x3 convolutions in three stages of one, two and three, a max-pool after each stage, three linear layers.

    Options: width (12), channels of the first two stages, twice as many in the third; features (64); dropout (0).
    "conv" gives (2 width, 8, 8) of a 32x32 image. Unknown options are refused.
    """
    refuse_unknown_options("small_vgg", options, _OPTIONS)
    mean, std = statistics(channels, mean, std)
    width = positive_integer(options.get("width", 12), "width")
    layers: list[nn.Module] = []
    sizes = [channels, width, width, width, 2 * width, 2 * width, 2 * width]
    for number, (entering, leaving) in enumerate(pairwise(sizes), start=1):
        layers += [nn.Conv2d(entering, leaving, 3, padding=1), nn.ReLU()]
        layers += [_pool()] if number in (1, 3, 6) else []
    return ConvolutionsAndLinear(
        nn.Sequential(*layers), num_classes, mean, std, options.get("features", 64), options.get("dropout", 0)
    )


def small_alexnet(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> ConvolutionsAndLinear:
    """Three convolutions, 5x5 with stride 2, 5x5 and 3x3, a max-pool after the first and the last, three linear layers.

    Options: width (12), channels of the first convolution, twice as many in the others; features (64); dropout (0).
    "conv" gives (2 width, 8, 8) of a 32x32 image. Unknown options are refused.
    """
    refuse_unknown_options("small_alexnet", options, _OPTIONS)
    mean, std = statistics(channels, mean, std)
    width = positive_integer(options.get("width", 12), "width")
    convolutions = nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2),
        nn.ReLU(),
        _pool(),
        nn.Conv2d(width, 2 * width, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.ReLU(),
        _pool(),
    )
    return ConvolutionsAndLinear(
        convolutions, num_classes, mean, std, options.get("features", 64), options.get("dropout", 0)
    )
