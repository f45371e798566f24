"""Features (and gradients) of named layers of an unmodified model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError


class Captured(dict[str, Tensor]):
    """Output of each captured layer in the last forward pass; `gradients` are those of the last backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.gradients: dict[str, Tensor] = {}


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The submodule called `name`; an unknown name is refused, naming the nearest ones.

    >>> find_layer(nn.Sequential(nn.Linear(2, 3)), "0").out_features
    3
    """
    layers = dict(model.named_modules())
    layers.pop("", None)
    if name in layers:
        return layers[name]
    near = difflib.get_close_matches(str(name), layers, n=3, cutoff=0.3) or list(layers)[:5]
    raise KdlibError(f"this model has no layer '{name}'; the nearest are {', '.join(near)}")


@contextmanager
def capture(model: nn.Module, *layers: str, gradients: bool = False) -> Iterator[Captured]:
    """Catch the outputs of `layers` while the block runs.

    The tensors are copies (a ReLU that works in place right after the layer can't change them) and stay in the
    autograd graph. With `gradients`, the gradient with respect to each layer's output is in
    `captured.gradients` after `backward()`. On leaving, also by an error, every hook is gone and each module is
    in train or eval mode as before. A layer called twice in one forward pass is refused: which output is meant
    would be a guess.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    >>> with capture(model, "0", gradients=True) as seen:
    ...     model(torch.ones(5, 2)).sum().backward()
    >>> seen["0"].shape, seen.gradients["0"].shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """
    if not layers:
        raise KdlibError("name at least one layer to capture")
    modules = {name: find_layer(model, name) for name in layers}
    captured = Captured()
    modes = [(module, module.training) for module in model.modules()]
    forward_pass: list[str] = []  # layers seen since the model was last entered

    def on_enter(module: nn.Module, inputs: object) -> None:
        forward_pass.clear()

    def keep(name: str):
        def on_output(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            if not isinstance(output, Tensor):
                raise KdlibError(f"layer '{name}' gives {type(output).__name__}, not one tensor; name another layer")
            if name in forward_pass:
                raise KdlibError(f"layer '{name}' is called twice in one forward pass; name a layer that runs once")
            forward_pass.append(name)
            if gradients and output.requires_grad:
                output.register_hook(lambda gradient: captured.gradients.__setitem__(name, gradient.clone()))
            captured[name] = output.clone()
            return None

        return on_output

    handles = [model.register_forward_pre_hook(on_enter)]
    handles += [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode


def features_of(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """Output of one layer for one batch, in eval mode and without gradients.

    >>> features_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.ones(2, 1, 2, 2), "1").shape
    torch.Size([2, 3])
    """
    with torch.no_grad(), capture(model, layer) as captured:
        model.eval()
        model(images)
    return captured[layer]


def shapes_of(model: nn.Module, images: Tensor, *layers: str) -> dict[str, tuple[int, ...]]:
    """Shape of each layer's output for one image, the batch left out; images: (B, ...), of which one is shown.

    >>> shapes_of(nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten()), torch.ones(2, 1, 4, 4), "0", "1")
    {'0': (3, 4, 4), '1': (48,)}
    """
    with torch.no_grad(), capture(model, *layers) as captured:
        model.eval()
        model(images[:1])
    return {layer: tuple(captured[layer].shape[1:]) for layer in layers}


def last_stages(model: nn.Module, count: int) -> tuple[str, ...]:
    """Names of the last `count` stages, the top-level modules called layer1, layer2, ...

    >>> from kdlib.models import build
    >>> last_stages(build("small_resnet", num_classes=10), 2), last_stages(build("resnet18", num_classes=10), 1)
    (('layer2', 'layer3'), ('layer4',))
    """
    stages = sorted(
        (name for name, _ in model.named_children() if re.fullmatch(r"layer\d+", name)), key=lambda name: int(name[5:])
    )
    if len(stages) < count:
        raise KdlibError(f"this model has {len(stages)} stages called layer1, layer2, ..., but {count} are needed")
    return tuple(stages[-count:])
