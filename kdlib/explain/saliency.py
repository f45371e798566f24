"""Gradient maps over the pixels of an image, a thin layer over captum.

A map says how an image's logit of one class changes with every channel of every pixel. Models are given as they are:
they take images in [0, 1] and normalise inside, so the maps are with respect to the values in [0, 1].

Guided backpropagation, deconvolution and DeepLift are not offered: captum changes how ReLU modules pass gradients on,
and would silently miss every ReLU that a model calls as a function, as ours do after each residual sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, choose, positive_integer

METHODS = ("gradient", "signed_gradient", "input_x_gradient", "integrated_gradients")


def saliency(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    method: str = "gradient",
    *,
    batch_size: int = 128,
    steps: int = 32,
) -> Tensor:
    """Maps (N, C, H, W) of how the logit z_c of each image's target class c depends on the image x.

    method:
        "gradient": |dz_c / dx|, the saliency of Simonyan et al. (2014) and of captum, never negative.
        "signed_gradient": dz_c / dx.
        "input_x_gradient": x dz_c / dx (Shrikumar et al. 2016); a black pixel gets 0 whatever the model does with it.
        "integrated_gradients": x times the mean of dz_c / dx along the straight line from a black picture to x
            (Sundararajan et al. 2017), by Gauss-Legendre quadrature in `steps` steps.
    images: (N, C, H, W) float in [0, 1]. targets: (N,) class numbers; None for the class that the model predicts.
    batch_size: how many images (and interpolated images) pass through the model at once.

    The model runs in eval mode, on the device it is on; its modes, weights and their gradients are left as they were.
    The maps are on the images' device. Raises KdlibError for images or targets that do not fit, and for images, outputs
    or maps that are not finite.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, -2.0, 0.0, 3.0], [0.0] * 4]))
    >>> picture = torch.tensor([[[[0.5, 0.5], [1.0, 1.0]]]])
    >>> saliency(model, picture, torch.tensor([0])).flatten().tolist()
    [1.0, 2.0, 0.0, 3.0]
    >>> saliency(model, picture, torch.tensor([0]), "input_x_gradient").flatten().tolist()
    [0.5, -1.0, 0.0, 3.0]
    """
    choose(method, METHODS, "saliency method")
    positive_integer(batch_size, "batch_size")
    positive_integer(steps, "steps")
    try:
        from captum.attr import InputXGradient, IntegratedGradients, Saliency
    except ImportError as error:
        raise KdlibError(f"saliency maps need captum ({error}); install it with `pip install captum`") from error

    def attribute(pixels: Tensor, target: Tensor | None) -> Tensor:
        if target is None:
            with torch.no_grad():
                target = model(pixels).argmax(1)
        if method == "input_x_gradient":
            return InputXGradient(model).attribute(pixels, target=target)
        if method == "integrated_gradients":
            rows = max(batch_size, len(pixels))
            return IntegratedGradients(model).attribute(pixels, target=target, n_steps=steps, internal_batch_size=rows)
        return Saliency(model).attribute(pixels, target=target, abs=method == "gradient")

    return _by_batches(model, images, targets, batch_size, attribute)


def loss_gradients(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = 128) -> Tensor:
    """g = d CE(f(x), y) / dx of each image, (N, C, H, W), signed and not smoothed (Tsipras et al. 2019).

    images: (N, C, H, W) float in [0, 1]. labels: (N,) class numbers. Modes, weights and errors are as with `saliency`.

    The loss's slope on the logits is p_c - [c = y]. That of the label is taken as minus the sum of the others, the same
    number: p_y - 1 is 0 in float32 for a net that is certain, p_y = 1 - 1e-8, and its part of the map would be lost.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0], [1.0]]))
    >>> loss_gradients(model, torch.zeros(1, 1, 1, 1), torch.tensor([0])).item()  # p_1 (w_1 - w_0)
    0.5
    """
    positive_integer(batch_size, "batch_size")

    def gradient(pixels: Tensor, target: Tensor | None) -> Tensor:
        assert target is not None
        logits, own = model(pixels), target[:, None]
        slope = logits.detach().double().softmax(1).scatter(1, own, 0.0)
        slope = slope.scatter(1, own, -slope.sum(1, keepdim=True))
        # Images do not influence each other in eval mode, so each gets the gradient of its own loss.
        return torch.autograd.grad(logits, pixels, slope.to(logits.dtype))[0]

    return _by_batches(model, images, labels, batch_size, gradient)


def _by_batches(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None,
    batch_size: int,
    map_of: Callable[[Tensor, Tensor | None], Tensor],
) -> Tensor:
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    _check_images(images, targets)
    home = images.device if first is None else first.device
    maps = torch.empty_like(images, requires_grad=False)
    with _in_eval_mode(model), torch.enable_grad():
        _check_fit(model, images[:1].detach().to(home), targets)
        for start in range(0, len(images), batch_size):
            piece = slice(start, start + batch_size)
            pixels = images[piece].detach().to(home).requires_grad_()
            target = None if targets is None else targets[piece].to(home)
            maps[piece] = map_of(pixels, target).detach().to(maps.device)
    if not bool(torch.isfinite(maps).all()):
        raise KdlibError("the maps are not finite; check the model's weights")
    return maps


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _check_images(images: Tensor, targets: Tensor | None) -> None:
    if images.ndim != 4 or not images.is_floating_point() or not images.numel():
        raise KdlibError(
            f"images must be real numbers in [0, 1] of shape (N, C, H, W), not {images.dtype} of "
            f"{tuple(images.shape)}; an ImageSet gives them by inputs(...)"
        )
    if not bool(torch.isfinite(images).all()):
        raise KdlibError("the images are not finite; give values in [0, 1]")
    if targets is not None and (tuple(targets.shape) != (len(images),) or targets.dtype != torch.int64):
        raise KdlibError(
            f"there must be one int64 class for each of the {len(images)} images, not {targets.dtype} of shape "
            f"{tuple(targets.shape)}"
        )


def _check_fit(model: nn.Module, image: Tensor, targets: Tensor | None) -> None:
    """Let one image through: does the model take it, does it give logits, does it know the targets?"""
    try:
        with torch.no_grad():
            logits = model(image)
    except KdlibError:
        raise
    except RuntimeError as error:
        raise KdlibError(
            f"the model can't take images of shape {tuple(image.shape[1:])} ({str(error).splitlines()[0]}); "
            "give images of the channels and the size it was built for"
        ) from error
    if logits.ndim != 2:
        raise KdlibError(f"the model must give logits of shape (images, classes), not {tuple(logits.shape)}")
    if not bool(torch.isfinite(logits).all()):
        # Its maps may well be finite: a ReLU passes no gradient where it meets a NaN.
        raise KdlibError("the model's outputs are not finite; check its weights")
    if targets is not None:
        low, high, classes = int(targets.min()), int(targets.max()), logits.shape[1]
        if low < 0 or high >= classes:
            raise KdlibError(
                f"class {low if low < 0 else high} is not among the model's {classes} (0 to {classes - 1}); give the "
                "labels that the model was trained on"
            )
