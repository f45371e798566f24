"""Networks by name: plain `nn.Module`s; those for images take floats in [0, 1] and normalise them themselves."""

from __future__ import annotations

from typing import Any

from torch import nn

from kdlib.errors import choose, positive_integer
from kdlib.models.resnet import small_resnet, torchvision_resnet
from kdlib.models.seeded import seeded
from kdlib.models.transformer import small_transformer

MODELS = {
    "small_resnet": small_resnet,
    "resnet18": torchvision_resnet("resnet18"),
    "resnet34": torchvision_resnet("resnet34"),
    "resnet50": torchvision_resnet("resnet50"),
    "small_transformer": small_transformer,
}


def build(name: str, *, num_classes: int, seed: int = 0, **options: Any) -> nn.Module:
    """Build a randomly initialised network.

    name: one of `MODELS`. options: what the network takes besides; those that describe the data are what
    `model_options()` of a data set gives. Networks for images take channels (3) and mean, std: per channel, of images
    scaled to [0, 1]; they become buffers of `model.normalise`, so that weights and normalisation never part. Networks
    for sentences take vocabulary (its size) and length (tokens a sentence has room for). The rest is the network's own,
    such as depth and width. The same seed gives the same weights, whatever the global random state, which is left as
    it was.

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
