"""What information discarding is given, checked once for the sampled and the linear estimator."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError
from kdlib.models.resnet import Normalise


def check_images(images: Tensor) -> None:
    """Refuse whatever is not finite real numbers of shape (N, C, H, W).

    >>> check_images(torch.zeros(3, 8, 8))
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: images must be real numbers of shape (N, C, H, W), as the model takes them, not \
torch.float32 of (3, 8, 8)
    """
    if not isinstance(images, Tensor):
        raise KdlibError(f"images must be a tensor of shape (N, C, H, W), not {type(images).__name__}")
    if images.ndim != 4 or not images.is_floating_point() or not images.numel():
        raise KdlibError(
            "images must be real numbers of shape (N, C, H, W), as the model takes them, "
            f"not {images.dtype} of {tuple(images.shape)}"
        )
    if not bool(torch.isfinite(images).all()):
        raise KdlibError("the images hold NaN or infinity; check how they were read")


def check_model(model: nn.Module) -> None:
    """Refuse a model that is not in float32 or float64, not finite, or lets the images of a batch change each other."""
    for value in (*model.parameters(), *model.buffers()):
        if not value.is_floating_point():
            continue
        if value.dtype not in (torch.float32, torch.float64):
            raise KdlibError(f"information discarding needs a model in float32, not {value.dtype}; use model.float()")
        if not bool(torch.isfinite(value).all()):
            raise KdlibError("the model has weights that are NaN or infinite; train it anew")
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise KdlibError(
                f"'{name}' normalises by the statistics of the batch, so that images would change each other's "
                "result; train it with track_running_stats"
            )


def run_once(model: nn.Module, image: Tensor) -> None:
    """The model on one image, (1, C, H, W), with one sentence about the image if it does not go in."""
    try:
        model(image)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, KdlibError):
            raise
        channels, height, width = image.shape[1:]
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise KdlibError(
            f"the model does not take images of {channels} channels and {height}x{width} pixels ({said}); give images "
            "as it was trained on"
        ) from error


def noise_ids(image_ids: Sequence[int] | None, images: int) -> list[int]:
    """The number of each image's noise, 0, 1, 2, ... if none are given.

    >>> noise_ids(None, 3), noise_ids([7, 5], 2)
    ([0, 1, 2], [7, 5])
    """
    if image_ids is None:
        return list(range(images))
    try:
        ids = [operator.index(number) for number in image_ids]
    except TypeError:
        ids = []
    if len(ids) != images or min(ids) < 0:
        raise KdlibError(
            f"image_ids must be {images} whole numbers of at least 0, one an image, not {reprlib.repr(image_ids)}"
        )
    return ids


def noise_units(model: nn.Module, channels: int, noise_scale: float | Sequence[float] | None) -> Tensor:
    """(channels, 1, 1): how much of each channel one unit of noise is.

    noise_scale: None for the standard deviations by which the model itself divides its input (`Normalise`), for the
    paper's noise is put on the normalised image; 1 where it does not.

    >>> noise_units(nn.Identity(), 2, (0.5, 2)).flatten().tolist()
    [0.5, 2.0]
    """
    if noise_scale is None:
        inside = [module for module in model.modules() if isinstance(module, Normalise)]
        return inside[0].std.detach().view(-1, 1, 1) if inside else torch.ones(channels, 1, 1)
    try:
        scale = torch.as_tensor(noise_scale, dtype=torch.float64).flatten()
    except (TypeError, ValueError, RuntimeError):
        scale = torch.empty(0)
    if len(scale) not in (1, channels) or not bool((torch.isfinite(scale) & (scale > 0)).all()):
        raise KdlibError(
            f"noise_scale must be a positive number, or one for each of the {channels} channels, not {noise_scale!r}"
        )
    return scale.expand(channels).view(-1, 1, 1)
