"""What the networks of Cheng et al. 2020 have in common: the layers that are probed, their first weights, dropout.

Every network of the paper ends with three linear layers after its convolutions. Four outputs are probed, each before
its ReLU: "conv", of the last convolution (in ResNets, where BatchNorm belongs to it, after that), "fc1", "fc2" and
"fc3", the logits. A network names them in its attribute `probed_layers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import nn

from kdlib.errors import KdlibError, positive_integer

PROBED = ("conv", "fc1", "fc2", "fc3")
_MOST_DROPOUT = 90


def probed_layers(model: nn.Module) -> dict[str, str]:
    """The paper's name of each probed layer -> its path for `kdlib.capture.capture`, from input to output.

    The weight that a layer learns is `<path>.weight`. A network without such layers is refused.

    >>> from kdlib.models import build
    >>> probed_layers(build("small_vgg", num_classes=20))
    {'conv': 'convolutions.12', 'fc1': 'fc1', 'fc2': 'fc2', 'fc3': 'fc3'}
    """
    layers = getattr(model, "probed_layers", None)
    if not isinstance(layers, dict):
        raise KdlibError(
            f"{type(model).__name__} has no layers called {', '.join(PROBED)}; take a network that ends with three "
            "linear layers, such as small_vgg, vgg16 or resnet50_linear3"
        )
    return dict(layers)


def layer_path(model: nn.Module, layer: str) -> str:
    """The module path of a layer given by the paper's name (conv, fc1, fc2, fc3) or by its path.

    >>> layer_path(nn.Sequential(nn.Linear(2, 2)), "0")
    '0'
    """
    return getattr(model, "probed_layers", {}).get(layer, layer)


def initialise(model: nn.Module, linear_deviation: float | None = 0.01) -> None:
    """First weights as in the paper's released code, in place, from torch's global random state.

    Convolutions: N(0, 2 / (outputs * kernel area)), He et al. 2015 by fan-out. Linear layers: N(0, linear_deviation^2);
    None for He's 2 / inputs instead. BatchNorm: 1 and 0. All biases: 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Linear):
            deviation = math.sqrt(2 / module.in_features) if linear_deviation is None else linear_deviation
            nn.init.normal_(module.weight, std=deviation)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def dropout_probability(percent: int) -> float:
    """Probability of a dropout given in whole percent, 0 to 90.

    >>> dropout_probability(50)
    0.5
    """
    if positive_integer(percent, "dropout", minimum=0) > _MOST_DROPOUT:
        raise KdlibError(f"dropout must be at most {_MOST_DROPOUT} percent, not {percent}")
    return percent / 100


def refuse_unknown_options(name: str, options: Mapping[str, object], known: Iterable[str]) -> None:
    """Raise KdlibError for the first option of network `name` that is not `known`.

    >>> refuse_unknown_options("vgg16", {"width": 8}, ["dropout"])
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: vgg16 has no option 'width'; it has dropout
    """
    known = list(known)
    for option in sorted(set(options) - set(known)):
        raise KdlibError(f"{name} has no option '{option}'; it has {', '.join(known)}")


def nothing_in_place(model: nn.Module) -> None:
    """A ReLU in place would overwrite a probed output in the hands of whoever holds it."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
