"""The networks that Cheng et al. 2020 measure: AlexNet, VGG-11/16/19 and ResNets with three linear layers.

torchvision's architectures with the same names of weights, so that its trained weights can be loaded where the shapes
match; before them `normalise`, which takes images in [0, 1] and applies the statistics of their data. First weights are
the paper's (`kdlib.models.probed.initialise`), for AlexNet too, where torchvision has others. No operation is in place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError
from kdlib.models.probed import dropout_probability, initialise, refuse_unknown_options
from kdlib.models.resnet import Normalise, _statistics
from kdlib.vision import torchvision

_DROPOUT = 50
_SMALLEST = {"alexnet": 63, "vgg11": 32, "vgg16": 32, "vgg19": 32}  # side in pixels that leaves a pixel at the end
_RESNETS = {
    "resnet18_linear3": ("BasicBlock", (2, 2, 2, 2), 4096),
    "resnet50_linear3": ("Bottleneck", (3, 4, 6, 3), 2048),
    "resnet101_linear3": ("Bottleneck", (3, 4, 23, 3), 2048),
    "resnet152_linear3": ("Bottleneck", (3, 8, 36, 3), 2048),
}


class FeaturesAndClassifier(nn.Module):
    """AlexNet or a VGG of torchvision, behind `normalise`: `features`, `avgpool` and `classifier` keep their names.

    smallest: side of the smallest images it takes, in pixels.
    """

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], smallest: int) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.features: nn.Module = network.get_submodule("features")
        self.avgpool: nn.Module = network.get_submodule("avgpool")
        self.classifier: nn.Module = network.get_submodule("classifier")
        self.smallest = smallest
        convolutions = [f"features.{n}" for n, m in self.features.named_children() if isinstance(m, nn.Conv2d)]
        linear = [f"classifier.{n}" for n, m in self.classifier.named_children() if isinstance(m, nn.Linear)]
        self.probed_layers = dict(zip(("conv", "fc1", "fc2", "fc3"), [convolutions[-1], *linear], strict=True))
        _nothing_in_place(self)

    def forward(self, images: Tensor) -> Tensor:
        normalised = self.normalise(images)
        if min(images.shape[2:]) < self.smallest:
            raise KdlibError(
                f"this model takes images of at least {self.smallest}x{self.smallest} pixels, not "
                f"{images.shape[2]}x{images.shape[3]}; give larger images or take small_vgg"
            )
        return self.classifier(self.avgpool(self.features(normalised)).flatten(1))


def torchvision_classic(name: str) -> Callable[..., nn.Module]:
    """A builder of torchvision's "alexnet", "vgg11", "vgg16" or "vgg19" for any number of classes and channels.

    Option: dropout (50), percent, before or after two of the linear layers as torchvision has it.
    """

    def build(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> nn.Module:
        refuse_unknown_options(name, options, ["dropout"])
        statistics = _statistics(channels, mean, std)
        shape = {"num_classes": num_classes, "dropout": dropout_probability(options.get("dropout", _DROPOUT))}
        if name.startswith("vgg"):
            shape["init_weights"] = False
        network = getattr(torchvision.models, name)(**shape)
        if channels != 3:
            first = network.features[0]
            network.features[0] = nn.Conv2d(
                channels, first.out_channels, first.kernel_size, first.stride, first.padding
            )
        initialise(network)
        return FeaturesAndClassifier(network, *statistics, _SMALLEST[name])

    return build


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
    fc1 and fc2 have `hidden` outputs, each followed by ReLU and dropout. "conv" is extra2.
    """

    def __init__(
        self,
        block,
        layers: tuple[int, ...],
        num_classes: int,
        channels: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        hidden: int,
        dropout: int,
    ) -> None:
        super().__init__(block, list(layers), num_classes=num_classes)
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
        _nothing_in_place(self)

    def forward(self, x: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(self.normalise(x)))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        features = torch.relu(self.extra2(torch.relu(self.extra1(features))))
        features = self.dropout(torch.relu(self.fc1(self.avgpool(features).flatten(1))))
        features = self.dropout(torch.relu(self.fc2(features)))
        return self.fc3(features)


def resnet_linear3(name: str) -> Callable[..., nn.Module]:
    """A builder of the paper's ResNet `name` for any number of classes and channels; see `ResNetLinear3`.

    Linear layers have 4096 outputs in resnet18_linear3, 2048 in the others. Option: dropout (50), percent.
    """
    block_name, layers, hidden = _RESNETS[name]

    def build(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> nn.Module:
        refuse_unknown_options(name, options, ["dropout"])
        block = getattr(torchvision.models.resnet, block_name)
        dropout = options.get("dropout", _DROPOUT)
        mean, std = _statistics(channels, mean, std)
        return ResNetLinear3(block, layers, num_classes, channels, mean, std, hidden, dropout)

    return build


def _nothing_in_place(model: nn.Module) -> None:
    """A ReLU in place would overwrite a probed output in the hands of whoever holds it."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
