"""Networks by name: plain `nn.Module`s; those for images take floats in [0, 1] and normalise them themselves."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdlib.errors import choose, positive_integer
from kdlib.models.classic import resnet_linear3, torchvision_classic
from kdlib.models.resnet import small_resnet, torchvision_resnet
from kdlib.models.seeded import seeded
from kdlib.models.small_vgg import small_alexnet, small_vgg
from kdlib.models.transformer import small_transformer

MODELS = {
    "small_resnet": small_resnet,
    "resnet18": torchvision_resnet("resnet18"),
    "resnet34": torchvision_resnet("resnet34"),
    "resnet50": torchvision_resnet("resnet50"),
    "small_transformer": small_transformer,
    "small_vgg": small_vgg,
    "small_alexnet": small_alexnet,
    "alexnet": torchvision_classic("alexnet"),
    "vgg11": torchvision_classic("vgg11"),
    "vgg16": torchvision_classic("vgg16"),
    "vgg19": torchvision_classic("vgg19"),
    "resnet18_linear3": resnet_linear3("resnet18_linear3"),
    "resnet50_linear3": resnet_linear3("resnet50_linear3"),
    "resnet101_linear3": resnet_linear3("resnet101_linear3"),
    "resnet152_linear3": resnet_linear3("resnet152_linear3"),
}


def build(name: str, *, num_classes: int, seed: int = 0, **options: Any) -> nn.Module:
    """Build a randomly initialised network.

    name: one of `MODELS`. options: further options of the network; those that describe the data are what
    `model_options()` of a data set gives. Networks for images take channels (3) and mean, std: per channel, of images
    scaled to [0, 1]; they become buffers of `model.normalise`, so that weights and normalisation never part. Networks
    for sentences take vocabulary (its size) and length (tokens a sentence has room for). The rest is the network's own,
    such as depth and width. The same seed gives the same weights, whatever the global random state, which is left as
    it was. The layers that Cheng et al. 2020 probe are in `kdlib.models.probed.probed_layers(model)`.

    >>> import torch
    >>> model = build("small_resnet", num_classes=10, channels=1, depth=8, width=8, features=128)
    >>> model(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    choose(name, MODELS, "model")
    positive_integer(num_classes, "num_classes", minimum=2)
    return seeded(MODELS[name], seed, num_classes=num_classes, **options)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
