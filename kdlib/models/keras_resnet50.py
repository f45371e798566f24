"""ImageNet weights of a ResNet-50 as Keras names and lays them out, in our ResNet-50.

The file is a NumPy archive (.npz) with an array for each weight: `conv1`, `res<stage><block>_branch<2a|2b|2c|1>` and
`fc1000` have a kernel (height, width, in, out) or (in, out) and a bias, `bn...` beside each convolution gamma, beta,
moving_mean and moving_variance. What differs from torchvision's ResNet-50, and where it goes:

- the stride of a stage is in the first 1x1 convolution: option `stride_in_first_1x1` of the model;
- convolutions have a bias b, taken off the mean of the BatchNorm that follows: BN(k * x + b) with mean m is BN(k * x)
  with mean m - b;
- BatchNorm adds 1.001e-5 to the variance where torch adds 1e-5: the difference joins the stored variance;
- pictures come as blue, green, red from 0 to 255 less a mean each, without scaling: the first kernel's channels are
  reversed and `model.normalise` does the rest. The model takes RGB in [0, 1], as all models here.

The last three are exact in eval mode, which is what these weights are for.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.data.root import expanded
from kdlib.errors import KdlibError
from kdlib.models import build

NUM_CLASSES = 1000
FILE = "resnet50_keras.npz"
# Of Keras' ResNet-50 and, but for the last digit, of the Caffe network that these weights come from. Older releases had
# 1e-3 there: on foolbox's 20 photographs the top-1 is the same then and the cross-entropy higher.
KERAS_EPSILON = 1.001e-5
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)  # red, green, blue
STD = (1 / 255,) * 3
_BLOCKS = (3, 4, 6, 3)
_REMEDY = "give the file of a Keras ResNet-50 as `kdlib.models.keras_resnet50` describes it"


def fold_into_batch_norm(
    bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float = KERAS_EPSILON, torch_epsilon: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Running mean and variance of a torch BatchNorm after the same convolution without its bias; all (channels,).

    gamma (k * x + b - m) / sqrt(v + e) + beta = gamma (k * x - m') / sqrt(v' + e') + beta with m' = m - b and
    v' = v + e - e'.

    >>> fold_into_batch_norm(torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([2.0]), 0.5, 0.25)
    (tensor([2.]), tensor([2.2500]))
    """
    return mean - bias, variance + (epsilon - torch_epsilon)


def keras_names() -> dict[str, tuple[str, str]]:
    """Our (convolution, BatchNorm) of each of Keras' convolutions, by its name without "res", "conv" or "bn".

    >>> names = keras_names()
    >>> len(names), names["conv1"], names["3a_branch2b"], names["5c_branch2c"]
    (53, ('conv1', 'bn1'), ('layer2.0.conv2', 'layer2.0.bn2'), ('layer4.2.conv3', 'layer4.2.bn3'))
    """
    names = {"conv1": ("conv1", "bn1")}
    for stage, blocks in enumerate(_BLOCKS, start=1):
        for block in range(blocks):
            theirs, ours = f"{stage + 1}{'abcdef'[block]}_branch", f"layer{stage}.{block}"
            for number, branch in enumerate(("2a", "2b", "2c"), start=1):
                names[theirs + branch] = f"{ours}.conv{number}", f"{ours}.bn{number}"
            if block == 0:
                names[theirs + "1"] = f"{ours}.downsample.0", f"{ours}.downsample.1"
    return names


def from_keras(arrays: Mapping[str, np.ndarray], source: str = "the weights") -> nn.Module:
    """Our ResNet-50 with these weights, in eval mode; takes (B, 3, H, W) RGB in [0, 1], gives (B, 1000) logits.

    arrays: as the module's description has them, of any float type. source: what errors call them.
    Raises KdlibError for an array that is missing, too many, of another shape or not finite.
    """
    model = build("resnet50", num_classes=NUM_CLASSES, mean=MEAN, std=STD, stride_in_first_1x1=1)
    taken = _Taken(arrays, source)
    state = dict(model.state_dict())

    def put(name: str, value: Tensor) -> None:
        if state[name].shape != value.shape:  # a slip of ours, not of the file: shapes were checked when taken
            raise AssertionError(f"{name}: {tuple(value.shape)} instead of {tuple(state[name].shape)}")
        state[name] = value

    for theirs, (convolution, norm) in keras_names().items():
        stem = theirs == "conv1"
        outside, inside, height, width = state[f"{convolution}.weight"].shape
        kernel = taken(f"{'' if stem else 'res'}{theirs}.kernel", (height, width, inside, outside))
        put(f"{convolution}.weight", (kernel.flip(2) if stem else kernel).permute(3, 2, 0, 1).contiguous())
        bias = taken(f"{'' if stem else 'res'}{theirs}.bias", (outside,))
        prefix = f"bn{'_' if stem else ''}{theirs}"
        gamma, beta, mean, variance = (
            taken(f"{prefix}.{name}", (outside,)) for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        mean, variance = fold_into_batch_norm(bias, mean, variance)
        for name, value in (("weight", gamma), ("bias", beta), ("running_mean", mean), ("running_var", variance)):
            put(f"{norm}.{name}", value)
    put("fc.weight", taken("fc1000.kernel", tuple(state["fc.weight"].shape[::-1])).T.contiguous())
    put("fc.bias", taken("fc1000.bias", (NUM_CLASSES,)))
    taken.require_all()
    model.load_state_dict(state)
    return model.eval()


# RuntimeError: what lies in the archive is encrypted, or compressed in a way that Python does not know.
_UNREADABLE = (OSError, ValueError, EOFError, AttributeError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


class _Taken:
    """Arrays by name, each checked as it is taken."""

    def __init__(self, arrays: Mapping[str, np.ndarray], source: str) -> None:
        self.arrays, self.source = arrays, source
        self.names: set[str] = set()

    def __call__(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in self.arrays:
            raise KdlibError(f"{self.source} has no array '{name}'; {_REMEDY}")
        array = self.arrays[name]
        if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
            raise KdlibError(
                f"array '{name}' of {self.source} must hold floats of shape {shape}, not {array.dtype} of shape "
                f"{array.shape}; {_REMEDY}"
            )
        values = torch.from_numpy(array.astype(np.float32))
        if not bool(torch.isfinite(values).all()):
            raise KdlibError(f"array '{name}' of {self.source} holds numbers that are not finite; get the file again")
        self.names.add(name)
        return values

    def require_all(self) -> None:
        """Refuse arrays that nobody asked for: they belong to another network."""
        extra = sorted(set(self.arrays) - self.names)
        if extra:
            raise KdlibError(f"{self.source} has an array '{extra[0]}' that a ResNet-50 does not have; {_REMEDY}")


def load_keras_resnet50(path: Path | str) -> nn.Module:
    """The ResNet-50 whose Keras weights are in the .npz file `path`; see `from_keras`.

    Raises KdlibError for a file that is missing, damaged or does not fit; no weight is ever left at random.

    >>> load_keras_resnet50("nowhere.npz")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: there is no file nowhere.npz; give the file of a Keras ResNet-50 ...
    """
    path = expanded(path, "weights")
    if not path.is_file():
        raise KdlibError(f"there is no file {path}; {_REMEDY}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            arrays = {name: archive[name] for name in archive.files}
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("it holds files that are no arrays")
    except _UNREADABLE as error:
        raise KdlibError(f"{path} cannot be read as a .npz archive ({error}); get the file again") from error
    return from_keras(arrays, str(path))
