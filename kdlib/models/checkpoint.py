"""Weights from a file into a network: all of them or none, so that random weights never pass for trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kdlib.data.root import expanded
from kdlib.errors import KdlibError

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_OWN = "normalise."  # our nets' normalisation, which other people's weights do not hold


def load_checkpoint(model: nn.Module, path: Path | str) -> nn.Module:
    """Put the weights of a file into `model`, in place, and return it in eval mode.

    path: a .safetensors file, or one that torch saved (read without unpickling code): a state_dict, or a dictionary
    that has it as "state_dict" or "model". A leading "module." of all names, as data-parallel training leaves it, is
    taken off. The statistics of `model.normalise` may be missing, as in torchvision's own weights: those of the model
    are kept then, and must be those that the weights were trained with.

    Raises KdlibError for a file that is missing, unreadable or does not fit, naming the first weight that is missing,
    unknown, of another shape or not finite; the model is then as it was.

    >>> load_checkpoint(nn.Linear(2, 3), "nowhere.pt")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: there is no checkpoint nowhere.pt; give the file of trained weights
    """
    path = expanded(path, "weights")
    state = _unwrapped(_read(path), path)
    expected = model.state_dict()
    missing = [name for name in expected if name not in state and not name.startswith(_OWN)]
    unknown = [name for name in state if name not in expected]
    if missing or unknown:
        found = f"it lacks '{missing[0]}'" if missing else f"the model has no '{unknown[0]}'"
        raise KdlibError(f"checkpoint {path} does not fit this model: {found}; give the weights of the very network")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise KdlibError(
                f"checkpoint {path} does not fit this model: '{name}' has shape {tuple(tensor.shape)}, not "
                f"{tuple(expected[name].shape)}; give the weights of the very network"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise KdlibError(f"'{name}' in checkpoint {path} is not finite; train the network again")
    model.load_state_dict({**expected, **state})
    return model.eval()


def _read(path: Path) -> Any:
    if not path.is_file():
        raise KdlibError(f"there is no checkpoint {path}; give the file of trained weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises many types for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KdlibError(
            f"checkpoint {path} cannot be read ({reason}); give a .safetensors file or a state_dict that torch saved"
        ) from error


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    for name in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise KdlibError(f"checkpoint {path} holds no state_dict; save model.state_dict() into it")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return content
