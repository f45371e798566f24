"""The path length of a network's weights while it is trained, step by step and epoch by epoch.

Cheng et al. 2020 measure progress by the sum over k of |w_k - w_(k-1)| / |w_0| (Euclidean norms over all entries). In
the paper's definition k counts epochs, in the released code mini-batch updates; w is the probed layer's weight alone in
the code, and may be taken as all parameters up to that layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlib.capture import find_layer
from kdlib.errors import KdlibError
from kdlib.models.freezing import parameters_up_to


class WeightDistance:
    """Sums up the path length of some layers' weights; `step` after each update, `of_epoch` after each epoch.

    model: with its first weights. layers: module paths; each must have a weight.

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> distance = WeightDistance(model, ["0"])
    >>> for second in (5.0, 6.0, 5.0):
    ...     _ = model[0].weight.data.copy_(torch.tensor([[3.0, second]]))
    ...     distance.step()
    >>> found = distance.of_epoch()  # three steps of one, and one straight from the first to the last; the norm is five
    >>> found["distance/0"], found["epoch_distance/0"]
    (0.6, 0.2)
    >>> distance.of_epoch()["distance/0"]
    0.0
    """

    def __init__(self, model: nn.Module, layers: Sequence[str] = ()) -> None:
        self._watched: dict[str, list[nn.Parameter]] = {}
        for layer in layers:
            weight = getattr(find_layer(model, layer), "weight", None)
            if not isinstance(weight, nn.Parameter):
                raise KdlibError(
                    f"layer '{layer}' has no weight whose path length could be measured; name a convolution or a "
                    "linear layer"
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
                raise KdlibError(
                    f"the first weights of '{layer}' are all 0: no path length can be given in units of them"
                )
        self._sums = {name: torch.zeros_like(start) for name, start in self._start.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Add the distance from the weights of the last call, or from the first weights."""
        if not self._watched:
            return
        squares = self._squares(torch._foreach_sub([tensor.detach() for tensor in self._all], self._before))
        for name in self._watched:
            self._sums[name] += self._norm(squares, name)
        torch._foreach_copy_(self._before, [tensor.detach() for tensor in self._all])

    @torch.no_grad()
    def of_epoch(self) -> dict[str, float]:
        """Since the last call, in norms of the first weights; both begin at 0 again.

        "distance/<layer>" of the layer's weight and "distance_up_to/<layer>" of all parameters up to it, summed over
        the steps; "epoch_distance/<layer>" and "epoch_distance_up_to/<layer>", straight from the weights of the last
        call to those of now.
        """
        if not self._watched:
            return {}
        summed = {name: float(total / self._start[name]) for name, total in self._sums.items()}
        self._sums = {name: torch.zeros_like(total) for name, total in self._sums.items()}
        squares = self._squares(torch._foreach_sub([tensor.detach() for tensor in self._all], self._at_last))
        straight = {f"epoch_{name}": float(self._norm(squares, name) / self._start[name]) for name in self._watched}
        self._at_last = self._now()
        return summed | straight

    def restart(self) -> None:
        """Measure on from the weights as they are now: a training was taken up from a stored state."""
        self._before, self._at_last = self._now(), self._now()

    def _now(self) -> list[Tensor]:
        return [tensor.detach().clone() for tensor in self._all]

    def _squares(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [norm.double().square() for norm in torch._foreach_norm(list(tensors))] if tensors else []

    def _norm(self, squares: Sequence[Tensor], name: str) -> Tensor:
        return torch.stack([squares[self._places[id(tensor)]] for tensor in self._watched[name]]).sum().sqrt()
