"""Networks by name: plain `nn.Module`s; those for images take floats in [0, 1] and normalise them themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
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

MOST_CLASSES = 10**6
# Upper bounds of options: beyond them no machine holds the network. Options that are not here have _MOST.
_BOUNDS = {"depth": 1_000, "width": 4_096, "features": 65_536, "heads": 4_096, "channels": 4_096, "length": 65_536}
_MOST = 10**6


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
    positive_integer(num_classes, "num_classes", minimum=2, maximum=MOST_CLASSES)
    _check_bounds(options)
    return seeded(MODELS[name], seed, num_classes=num_classes, **options)


def _check_bounds(options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option not in ("mean", "std") and value is not None:
            positive_integer(value, option, minimum=0, maximum=_BOUNDS.get(option, _MOST))


def check_model(name: str, options: tuple[tuple[str, Any], ...] = ()) -> None:
    """Raise KdlibError if no network can be built with these options; nothing is allocated.

    options: (name, value) pairs; what describes the data may be left out.

    >>> check_model("small_resnet", (("depht", 8),))
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: small_resnet has no option 'depht'; it has depth, width, features
    """
    choose(name, MODELS, "model")
    _check_bounds(dict(options))
    _build_nothing(name, options)


@functools.cache
def _build_nothing(name: str, options: tuple[tuple[str, Any], ...]) -> None:
    needed = {"vocabulary", "length"} & set(inspect.signature(MODELS[name]).parameters)
    with torch.device("meta"):
        build(name, **{"num_classes": 2, **dict.fromkeys(needed, 2), **dict(options)})


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
