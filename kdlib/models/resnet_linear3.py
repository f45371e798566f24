"""torchvision's ResNet with two convolutions and three linear layers behind it, as Cheng et al. 2020 have it.

Imports torchvision; `kdlib.models.classic` imports this module where such a network is built.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdlib.models.normalise import Normalise
from kdlib.models.probed import dropout_probability, initialise, nothing_in_place
from kdlib.vision import torchvision


class ConvolutionAndNorm(nn.Conv2d):
    """A 3x3 convolution whose output includes BatchNorm: where the paper probes, beside the weight that it follows.

    >>> layer = ConvolutionAndNorm(4)
    >>> layer(torch.rand(2, 4, 5, 5)).shape, layer.weight.shape
    (torch.Size([2, 4, 5, 5]), torch.Size([4, 4, 3, 3]))
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, bias=False)  # BatchNorm would undo a bias
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(super().forward(input))


class ResNetLinear3(torchvision.models.ResNet):  # type: ignore[name-defined]
    """torchvision's ResNet up to `layer4`; then `extra1`, `extra2`, the average, `fc1`, `fc2` and `fc3`.

    extra1 and extra2 are `ConvolutionAndNorm`s of as many channels as layer4 has (512 or 2048), each followed by ReLU;
    fc1 and fc2 have `hidden` outputs, each followed by ReLU and dropout. "conv" is extra2. block: "BasicBlock" or
    "Bottleneck".
    """

    def __init__(
        self,
        block: str,
        layers: tuple[int, ...],
        num_classes: int,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        hidden: int,
        dropout: int,
    ) -> None:
        super().__init__(getattr(torchvision.models.resnet, block), list(layers), num_classes=num_classes)
        last = self.fc.in_features
        del self.fc
        if channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.extra1, self.extra2 = ConvolutionAndNorm(last), ConvolutionAndNorm(last)
        self.fc1, self.fc2 = nn.Linear(last, hidden), nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(dropout_probability(dropout))
        initialise(self)
        self.normalise = Normalise(mean, std)
        self.probed_layers = {"conv": "extra2", "fc1": "fc1", "fc2": "fc2", "fc3": "fc3"}
        nothing_in_place(self)

    def forward(self, x: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(self.normalise(x)))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        features = torch.relu(self.extra2(torch.relu(self.extra1(features))))
        features = self.dropout(torch.relu(self.fc1(self.avgpool(features).flatten(1))))
        features = self.dropout(torch.relu(self.fc2(features)))
        return self.fc3(features)
