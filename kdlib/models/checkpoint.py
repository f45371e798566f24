"""Weights from a file into a network: all of them or none, so that random weights never pass for trained ones."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kdlib.data.root import expanded
from kdlib.errors import KdlibError

# Under which names training scripts keep the weights, the likeliest first; running averages are taken last
_WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "module",
    "ema_state_dict", "model_ema", "state_dict_ema", "ema",
)  # fmt: skip
# What data-parallel and sharded training, torch.compile and recomputed activations put into names, at any depth
_INSERTED = ("module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module")
_OUTER = ("model", "net", "network")  # attributes by which a trainer's object holds the network
_OWN = "normalise."  # our nets' normalisation, which other people's weights do not hold
_VARIANCE = ".running_var"  # of which the network takes the square root
_COUNTER = ".num_batches_tracked"  # read in training alone; files from before torch 0.4.1 do not have it
_AVERAGED = "n_averaged"  # how many networks a running average is of: torch keeps it beside their weights
_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_KNOWN_TO_TORCH = ("torch.", "collections.OrderedDict")  # what the pickle of a state_dict itself names
_REFUSED_GLOBAL = re.compile(r"(?:Unsupported (?:global|class)[^\n]*?|GLOBAL )`?([A-Za-z_][\w.]*\.[\w.]+)")


def load_checkpoint(model: nn.Module, path: Path | str) -> nn.Module:
    """Put the weights of a file into `model`, in place, and return it in eval mode.

    path: a .safetensors file, or one that torch saved (read without unpickling code): a state_dict, or a dictionary
    that has it under a usual name, such as "state_dict" or "model", or has one alone. What wrappers put before or into
    the names comes off: "module." (data-parallel training), "_orig_mod." (torch.compile), "model." and "net.", in any
    combination. May be missing: counts of batches, as in old files, and the statistics of `model.normalise`, as in
    torchvision's own weights; those of the model are kept then, and must be those that the weights were trained with.

    Raises KdlibError for a file that is missing, unreadable or does not fit, naming what the file lacks and has, or the
    first weight of another shape, of another kind of numbers or not finite; the model is then as it was.

    >>> load_checkpoint(nn.Linear(2, 3), "nowhere.pt")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: there is no checkpoint nowhere.pt; give the file of trained weights
    """
    path = expanded(path, "weights")
    expected = model.state_dict()
    state = _renamed(_state_in(_read(path), path), expected, path)
    missing = [name for name in expected if name not in state and not _may_be_missing(name)]
    unknown = [name for name in state if name not in expected]
    if missing or unknown:
        found = [f"it lacks {_some(missing)}"] if missing else []
        found += [f"it has {_some(unknown)}, which the model has not"] if unknown else []
        raise KdlibError(
            f"checkpoint {path} does not fit this model: {'; '.join(found)}; give the weights of the very network"
        )
    fitting = {name: _fitting(name, tensor, expected[name], path) for name, tensor in state.items()}
    model.load_state_dict({**expected, **fitting})
    return model.eval()


def _fitting(name: str, tensor: Tensor, expected: Tensor, path: Path) -> Tensor:
    """A weight in the model's own type, once it is sure that it can stand for the model's."""
    if tensor.shape != expected.shape:
        raise KdlibError(
            f"checkpoint {path} does not fit this model: '{name}' has shape {tuple(tensor.shape)}, not "
            f"{tuple(expected.shape)}; give the weights of the very network"
        )
    stored = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    if not stored or tensor.is_complex() or (expected.is_floating_point() and not tensor.is_floating_point()):
        kind = str(tensor.dtype if stored else "meta" if tensor.is_meta else tensor.layout).removeprefix("torch.")
        kind = f"quantized ({kind})" if tensor.is_quantized else kind
        raise KdlibError(
            f"'{name}' in checkpoint {path} is of type {kind}, and the model computes with plain "
            f"{str(expected.dtype).removeprefix('torch.')}; save the state_dict of the network in that type"
        )
    given, tensor = tensor, tensor.to(expected.dtype)
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        if bool(torch.isfinite(given.double()).all()):
            narrow = str(expected.dtype).removeprefix("torch.")
            raise KdlibError(f"'{name}' in checkpoint {path} has numbers too large for {narrow}; train it in that type")
        raise KdlibError(f"'{name}' in checkpoint {path} is not finite; train the network again")
    if name.endswith(_VARIANCE) and bool((tensor < 0).any()):
        raise KdlibError(f"'{name}' in checkpoint {path} is a variance and below 0; the file is damaged, get it again")
    return tensor


def _may_be_missing(name: str) -> bool:
    return name.startswith(_OWN) or name.endswith(_COUNTER)


def _some(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, each short and without control characters, and how many more there are."""
    every = list(names)
    shown = [repr(name if len(name) <= 60 else f"{name[:57]}...") for name in every[:most]]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(shown) + more


def _read(path: Path) -> Any:
    try:
        if path.is_dir():
            raise KdlibError(f"checkpoint {path} is a folder; give the file of trained weights in it")
        if not path.is_file():
            raise KdlibError(f"there is no checkpoint {path}; give the file of trained weights")
        # By what it holds: the name may say something else.
        if _is_safetensors(path):
            return load_file(path)
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except KdlibError:
        raise
    except Exception as error:  # torch's reader raises many types for damaged files
        others = _other_objects(path, str(error))
        if others:
            raise KdlibError(
                f"checkpoint {path} holds other objects besides tensors ({_some(others)}), and reading those could run "
                "code; save the weights alone: torch.save(model.state_dict(), file)"
            ) from error
        raise KdlibError(
            f"checkpoint {path} cannot be read ({_reason(error)}); give a .safetensors file or a state_dict that torch "
            "saved"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file starts as the format says: the length of a JSON object in eight bytes, then the object."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _reason(error: Exception) -> str:
    """What was wrong, in one line, without torch's advice to read the file in a way that runs its code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, EOFError):
        return "it is empty or cut off"
    text = (_TERMINAL_CODE.sub("", str(error)).strip().splitlines() or [type(error).__name__])[0]
    if "TorchScript" in text:
        return "it is a TorchScript program"
    if "weights only" in text.lower() or "weights_only" in text:
        return "it is not what torch.save(model.state_dict(), file) writes"
    return text[:200]


def _other_objects(path: Path, message: str) -> list[str]:
    """Types and functions that a file names and torch does not read as data; none if it is no such file."""
    try:
        if _is_safetensors(path):
            return []
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an old format or a damaged file: what the message and a plain pickle name
        named = set(_REFUSED_GLOBAL.findall(_TERMINAL_CODE.sub("", message)))
        return sorted(named | {name for name in _named_in_pickle(path) if not name.startswith(_KNOWN_TO_TORCH)})


def _named_in_pickle(path: Path) -> set[str]:
    """Types and functions that a pickle names, read off its instructions, of which none is carried out."""
    found: set[str] = set()
    texts = ["", ""]  # the last two that were put on the stack
    memo: dict[int, str] = {}
    last = ""
    try:
        with path.open("rb") as file:
            for instruction, argument, _ in pickletools.genops(file):
                if instruction.name == "MEMOIZE":
                    memo[len(memo)] = last
                elif instruction.name == "GLOBAL":  # old pickles: "module name"
                    found.add(str(argument).replace(" ", "."))
                elif instruction.name == "STACK_GLOBAL":  # newer ones
                    found.add(".".join(texts))
                elif instruction.name in ("BINGET", "LONG_BINGET"):
                    argument = memo.get(int(str(argument)), "")
                last = argument if isinstance(argument, str) else ""
                texts = [texts[1], last] if last else texts
    except Exception:  # no pickle, or a damaged one: whatever is wrong with it, its names can't be trusted
        return set()
    return found


def _is_state(content: Any) -> bool:
    tensors = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    return tensors and bool(content) and all(isinstance(name, str) for name in content)


def _state_in(content: Any, path: Path) -> Mapping[str, Tensor]:
    """The state_dict in what a file holds: itself, what it has under a usual name, at any depth, or the only one."""
    waiting, seen = [content], set()
    beside: dict[str, Tensor] = {}  # weights, and beside them something else, such as the number of the epoch
    while waiting:  # the likeliest is the last
        inside = waiting.pop()
        if _is_state(inside):
            return inside
        if isinstance(inside, Mapping) and id(inside) not in seen:  # a file may hold a dictionary that holds itself
            seen.add(id(inside))
            states = [value for value in inside.values() if _is_state(value)]
            waiting += states if len(states) == 1 else []
            waiting += [inside[name] for name in reversed(_WRAPPERS) if name in inside]
            tensors = {n: v for n, v in inside.items() if isinstance(n, str) and isinstance(v, Tensor)}
            beside = max(beside, tensors, key=len)
    if beside:
        return beside
    has = f" (it has {_some(map(str, content))})" if isinstance(content, Mapping) and content else ""
    raise KdlibError(f"checkpoint {path} holds no state_dict{has}; save model.state_dict() into it")


def _renamed(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights under the model's names; under their own where the model has no such name."""
    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, tensor in state.items():
        own = next((candidate for candidate in _candidates(name) if candidate in expected), name)
        if own not in expected and name.rpartition(".")[2] == _AVERAGED:
            continue
        if own in found:
            raise KdlibError(
                f"checkpoint {path} holds two weights for the model's '{own}': {_some([origin[own], name])}; save "
                "those of one network alone"
            )
        found[own], origin[own] = tensor, name
    return found


def _candidates(name: str) -> list[str]:
    """What a weight may be called in the model itself, the name as it stands first.

    >>> _candidates("module.model._orig_mod.fc.weight")
    ['module.model._orig_mod.fc.weight', 'model.fc.weight', 'fc.weight']
    """
    parts = [part for part in name.split(".") if part not in _INSERTED]
    candidates = [name, ".".join(parts)]
    while len(parts) > 1 and parts[0] in _OUTER:
        parts = parts[1:]
        candidates.append(".".join(parts))
    return candidates
