"""Which parameters come before a layer, and how they are kept from changing."""

from __future__ import annotations

from torch import nn

from kdlib.capture import find_layer
from kdlib.errors import KdlibError


def parameters_up_to(model: nn.Module, layer: str) -> list[nn.Parameter]:
    """The parameters of all layers up to and with `layer`, in the order in which the network has them.

    >>> [tuple(p.shape) for p in parameters_up_to(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), "0")]
    [(2, 3), (2,)]
    """
    find_layer(model, layer)
    named = list(model.named_parameters())
    inside = [number for number, (name, _) in enumerate(named) if name.startswith(f"{layer}.")]
    if not inside:
        raise KdlibError(f"layer '{layer}' has no parameters; name a convolution or a linear layer")
    return [parameter for _, parameter in named[: inside[-1] + 1]]


def freeze_up_to(model: nn.Module, layer: str) -> nn.Module:
    """The model, whose parameters up to and with `layer` take no gradient any more.

    >>> model = freeze_up_to(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), "0")
    >>> [parameter.requires_grad for parameter in model.parameters()]
    [False, False, True, True]
    """
    for parameter in parameters_up_to(model, layer):
        parameter.requires_grad_(False)
    return model
