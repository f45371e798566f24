"""How far the weights of a network travel while it is trained, step by step and epoch by epoch.

Cheng et al. 2020 tell progress by a sum of |w_k - w_(k-1)| / |w_0| (Euclidean norms over all entries). In the paper's
definition k counts epochs, in the released code mini-batch updates; w is the probed layer's weight alone in the code,
and may be taken as all parameters up to that layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlib.capture import find_layer
from kdlib.errors import KdlibError


class Travel:
    """Sums up the way of some layers' weights; `step` after each update, `since_last` after each epoch.

    model: with its first weights. layers: module paths; each must have a weight.

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> travel = Travel(model, ["0"])
    >>> for second in (5.0, 6.0, 5.0):
    ...     _ = model[0].weight.data.copy_(torch.tensor([[3.0, second]]))
    ...     travel.step()
    >>> told = travel.since_last()  # three steps of one, and one straight from the first to the last; the norm is five
    >>> told["distance/0"], told["epoch_distance/0"]
    (0.6, 0.2)
    >>> travel.since_last()["distance/0"]
    0.0
    """

    def __init__(self, model: nn.Module, layers: Sequence[str] = ()) -> None:
        self._watched: dict[str, list[nn.Parameter]] = {}
        for layer in layers:
            weight = getattr(find_layer(model, layer), "weight", None)
            if not isinstance(weight, nn.Parameter):
                raise KdlibError(
                    f"layer '{layer}' has no weight whose way could be measured; name a convolution or a linear layer"
                )
            self._watched[f"distance/{layer}"] = [weight]
            self._watched[f"distance_up_to/{layer}"] = parameters_up_to(model, layer)
        # One copy of each tensor, however many layers it lies before.
        self._all = list({id(tensor): tensor for group in self._watched.values() for tensor in group}.values())
        self._places = {id(tensor): place for place, tensor in enumerate(self._all)}
        self._before = self._now()
        self._at_last = self._now()  # what the weights were when an epoch began
        squares = self._squares(self._before)
        self._start = {name: self._norm(squares, name) for name in self._watched}
        for name, start in self._start.items():
            if not float(start) > 0:
                layer = name.partition("/")[2]
                raise KdlibError(f"the first weights of '{layer}' are all 0: no way can be told in units of them")
        self._sums = {name: torch.zeros_like(start) for name, start in self._start.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Add the way since the last call, or since the first weights."""
        if not self._watched:
            return
        squares = self._squares(torch._foreach_sub([tensor.detach() for tensor in self._all], self._before))
        for name in self._watched:
            self._sums[name] += self._norm(squares, name)
        torch._foreach_copy_(self._before, [tensor.detach() for tensor in self._all])

    @torch.no_grad()
    def since_last(self) -> dict[str, float]:
        """Since the last call, in norms of the first weights: "distance/...", the sum over the steps, and
        "epoch_distance/...", the straight way. Both begin at 0 again."""
        if not self._watched:
            return {}
        told = {name: float(total / self._start[name]) for name, total in self._sums.items()}
        self._sums = {name: torch.zeros_like(total) for name, total in self._sums.items()}
        squares = self._squares(torch._foreach_sub([tensor.detach() for tensor in self._all], self._at_last))
        straight = {f"epoch_{name}": float(self._norm(squares, name) / self._start[name]) for name in self._watched}
        self._at_last = self._now()
        return told | straight

    def resume(self) -> None:
        """Take the weights as they are for the last ones, without a step: a training goes on from elsewhere."""
        self._before, self._at_last = self._now(), self._now()

    def _now(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self._all]

    def _squares(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [norm.double().square() for norm in torch._foreach_norm(list(tensors))] if tensors else []

    def _norm(self, squares: Sequence[Tensor], name: str) -> Tensor:
        return torch.stack([squares[self._places[id(tensor)]] for tensor in self._watched[name]]).sum().sqrt()


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
