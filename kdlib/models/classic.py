"""The networks that Cheng et al. 2020 measure: AlexNet, VGG-11/16/19 and ResNets with three linear layers.

torchvision's architectures with the same names of weights, so that its trained weights can be loaded where the shapes
match; before them `normalise`, which takes images in [0, 1] and applies the statistics of their data. First weights are
the paper's (`kdlib.models.probed.initialise`), for AlexNet too, where torchvision has others. No operation is in place.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from kdlib.errors import KdlibError
from kdlib.models.normalise import Normalise, statistics
from kdlib.models.probed import dropout_probability, initialise, nothing_in_place, refuse_unknown_options

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
        nothing_in_place(self)

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
        from kdlib.vision import torchvision  # only for its own networks: it takes a second to import

        refuse_unknown_options(name, options, ["dropout"])
        mean_and_std = statistics(channels, mean, std)
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
        return FeaturesAndClassifier(network, *mean_and_std, _SMALLEST[name])

    return build


def resnet_linear3(name: str) -> Callable[..., nn.Module]:
    """A builder of the paper's ResNet `name` for any number of classes and channels; see `kdlib.models.resnet_linear3`.

    Linear layers have 4096 outputs in resnet18_linear3, 2048 in the others. Option: dropout (50), percent.
    """
    block_name, layers, hidden = _RESNETS[name]

    def build(num_classes: int, channels: int = 3, mean=None, std=None, **options: int) -> nn.Module:
        from kdlib.models.resnet_linear3 import ResNetLinear3  # imports torchvision, which takes a second

        refuse_unknown_options(name, options, ["dropout"])
        dropout = options.get("dropout", _DROPOUT)
        mean, std = statistics(channels, mean, std)
        return ResNetLinear3(block_name, layers, num_classes, channels, mean, std, hidden, dropout)

    return build
