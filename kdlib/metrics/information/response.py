"""How much a layer of a network changes when noise is put on the cells of its input."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.capture import capture, find_layer
from kdlib.errors import KdlibError, check_seed, positive_integer
from kdlib.metrics.information.inputs import check_images, check_model, run_once

Grid = int | tuple[int, int] | str


@contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32, no bfloat16 and no autocast inside: noise of 0.01 on inputs of size 2 would drown in their rounding.

    >>> with exact_float32():
    ...     torch.is_autocast_enabled("cpu")
    False
    """
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):  # torch 2.9 and newer; the older switches must not be mixed in
        places = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
        name, exact = "fp32_precision", "ieee"
    else:
        places, name, exact = [backends.cuda.matmul, backends.cudnn], "allow_tf32", False  # type: ignore[assignment]
    before = [getattr(place, name) for place in places]
    try:
        for place in places:
            setattr(place, name, exact)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for place, value in zip(places, before, strict=True):
            setattr(place, name, value)


def grid_shape(grid: Grid, height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of a grid on pictures of height x width pixels: G for G x G cells, (rows, columns), or "pixel".

    >>> grid_shape(16, 32, 32), grid_shape("pixel", 28, 24)
    ((16, 16), (28, 24))
    """
    if grid == "pixel":
        return height, width
    sides = tuple(grid) if isinstance(grid, (tuple, list)) else (grid, grid)
    if len(sides) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sides):
        raise KdlibError(f'grid must be a whole number of cells a side, (rows, columns) or "pixel", not {grid!r}')
    rows, columns = int(sides[0]), int(sides[1])
    if rows > height or columns > width:
        raise KdlibError(f'a grid of {rows}x{columns} cells is finer than the {height}x{width} pixels; use "pixel"')
    return rows, columns


def cell_of(pixels: int, cells: int, device: torch.device | str = "cpu") -> Tensor:
    """(pixels,) the cell of each pixel along one side: nearest-neighbour enlargement, floor(p * cells / pixels).

    >>> cell_of(6, 3).tolist(), cell_of(5, 3).tolist()
    ([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2])
    """
    return torch.arange(pixels, device=device) * cells // pixels


def spread(cells: Tensor, height: int, width: int) -> Tensor:
    """(..., rows, columns) values of cells to (..., height, width): each pixel takes its cell's.

    >>> spread(torch.tensor([[1.0, 2.0]]), 1, 4).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """
    rows, columns = cells.shape[-2:]
    return cells[..., cell_of(height, rows, cells.device), :][..., cell_of(width, columns, cells.device)]


def pool(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """(..., height, width) values of pixels to (..., rows, columns): the sum over each cell, the transpose of `spread`.

    >>> pool(torch.ones(2, 5), 1, 2).tolist()
    [[6.0, 4.0]]
    """
    height, width = pixels.shape[-2:]
    summed = pixels.new_zeros((*pixels.shape[:-2], rows, width))
    summed.index_add_(-2, cell_of(height, rows, pixels.device), pixels)
    result = pixels.new_zeros((*pixels.shape[:-2], rows, columns))
    return result.index_add_(-1, cell_of(width, columns, pixels.device), summed)


def noise_generator(seed: int, image_id: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The source of one image's noise: the same for every network, checkpoint and layer, whatever else is measured.

    Its first (samples, C, H, W) standard normal draws measure the normaliser, each later one serves a step.
    """
    mixed = np.random.SeedSequence((check_seed(seed), image_id)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed) >> 1)


class _Reached(Exception):
    """Carries a layer's output out of a forward pass: what comes after the layer need not be computed."""

    def __init__(self, output: Tensor) -> None:
        self.output = output


class LayerUpTo:
    """A private copy of a network in eval mode that runs to the end of one layer and no further.

    model, layer: as `kdlib.metrics.information.maps.information_discarding` has them. images: (N, C, H, W), on which it
    is checked that the layer can be measured.
    """

    def __init__(self, model: nn.Module, images: Tensor, layer: str, relu: bool = True) -> None:
        check_images(images)
        check_model(model)
        own = [p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()]
        self.device = own[0].device if own else images.device
        self.dtype = own[0].dtype if own else torch.float32
        self.layer, self.relu = layer, relu
        find_layer(model, layer)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._check_output(images[:1].to(self.device, self.dtype))
        # On a CPU convolutions are a third faster so.
        self.memory_format = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        self.model.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        find_layer(self.model, layer).register_forward_hook(_stop)

    def _check_output(self, image: Tensor) -> None:
        with torch.no_grad(), capture(self.model, self.layer) as captured:
            run_once(self.model, image)
        if self.layer not in captured:
            raise KdlibError(f"layer '{self.layer}' does not run in a forward pass; name another layer")
        output = captured[self.layer]
        if output.ndim < 2 or output.shape[0] != 1 or not output.numel() or not output.is_floating_point():
            raise KdlibError(
                f"layer '{self.layer}' gives {output.dtype} of shape {tuple(output.shape)} for one image, not features "
                "of shape (images, features) or (images, channels, height, width); name another layer"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """(B, F) features of (B, C, H, W) images, after a ReLU if `relu`."""
        try:
            self.model(images.contiguous(memory_format=self.memory_format))
        except _Reached as reached:
            features = reached.output.flatten(1)
            return features.relu() if self.relu else features
        raise KdlibError(f"layer '{self.layer}' does not run in a forward pass; name another layer")

    def gradient(self, value: Tensor, images: Tensor) -> Tensor:
        """Derivative of a scalar of the features with respect to the images they were computed from."""
        if not value.requires_grad:
            raise KdlibError(
                f"layer '{self.layer}' does not depend on the image in a differentiable way; name another layer"
            )
        (gradient,) = torch.autograd.grad(value, images, allow_unused=True)
        return torch.zeros_like(images) if gradient is None else gradient


def _stop(module: nn.Module, inputs: object, output: Tensor) -> None:
    raise _Reached(output)


class NoisyLayer:
    """What N images' features of one layer do under noise: `respond` of `kdlib.metrics.information.search`.

    loss(sigma) = mean over samples and features of (f(x + sigma * e) - f(x))^2 / sigma_f^2, e standard normal, where
    the normaliser sigma_f^2, (N,) float64, is the same mean for the noise `start` everywhere. Each image draws its own
    `samples` from its own generator, anew at each call in which it takes part.

    chunk: the most noisy images that go through the network at once, of one image or, if it holds all their samples, of
    several. On a CPU each of torch's threads works on a chunk of its own: results don't depend on how many there are.
    The noise is not cut so: one image's, samples * C * H * W numbers, is drawn at once, for drawn in pieces it would be
    other noise.
    """

    def __init__(
        self,
        network: LayerUpTo,
        images: Tensor,
        *,
        units: Tensor,
        start: Tensor,
        samples: int,
        seed: int,
        image_ids: Sequence[int],
        chunk: int | None,
    ) -> None:
        self.network = network
        self.images = images.detach().to(network.device, network.dtype).clone()
        self.units = units.to(self.images)
        self.samples = positive_integer(samples, "samples")
        self.rows, self.columns = start.shape[1:]
        pixels = images.shape[2] * images.shape[3]
        self.chunk = self._usual_chunk(pixels) if chunk is None else positive_integer(chunk, "chunk")
        self.generators = [noise_generator(seed, image_id, network.device) for image_id in image_ids]
        self.normaliser = torch.ones(len(images), dtype=torch.float64, device=network.device)
        self.normaliser = self._gather(list(range(len(images))), start, with_gradient=False)[0]

    def _usual_chunk(self, pixels: int) -> int:
        if self.network.device.type == "cpu":
            # 32 pictures of 32x32 fit into the cache; one image at a time is work enough, and its bits are its own.
            return min(max(1, 2**15 // pixels), self.samples)
        return max(1, 2**22 // pixels)

    def __call__(self, numbers: list[int], sigma: Tensor) -> tuple[Tensor, Tensor]:
        return self._gather(numbers, sigma, with_gradient=True)

    def _gather(self, numbers: list[int], sigma: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
        size = max(1, self.chunk // self.samples)
        groups = [slice(first, first + size) for first in range(0, len(numbers), size)]

        def work(group: slice) -> tuple[Tensor, Tensor]:
            return self._respond(numbers[group], sigma[group], with_gradient)

        threads = torch.get_num_threads()
        if self.network.device.type != "cpu" or min(threads, len(groups)) < 2:
            parts = [work(group) for group in groups]
        else:
            torch.set_num_threads(1)
            try:
                with ThreadPoolExecutor(threads) as workers:
                    parts = list(workers.map(work, groups))
            finally:
                torch.set_num_threads(threads)
        losses, gradients = (torch.cat(column) for column in zip(*parts, strict=True))
        if not bool(torch.isfinite(losses).all() and torch.isfinite(gradients).all()):
            raise KdlibError(f"the features of layer '{self.network.layer}' are not finite; check the model's weights")
        return losses, gradients

    def _respond(self, numbers: list[int], sigma: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
        """Loss (A,) float64 and gradient (A, rows, columns) of a few images whose noise is drawn at once."""
        clean = self.images[numbers]
        shape = clean.shape[1:]
        noise = clean.new_empty((len(numbers), self.samples, *shape))
        for own, number in zip(noise, numbers, strict=True):
            own.normal_(generator=self.generators[number])
        noise *= self.units
        with torch.no_grad():
            target = self.network(clean)
        deviation = spread(sigma, *shape[-2:])[:, None, None]
        losses = torch.zeros(len(numbers), dtype=torch.float64, device=clean.device)
        slopes = clean.new_zeros((len(numbers), *shape[-2:]))
        block = max(1, self.chunk // len(numbers))
        for first in range(0, self.samples, block):
            piece = noise[:, first : first + block]
            noisy = (clean[:, None] + deviation * piece).flatten(0, 1).requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient):
                change = self.network(noisy).view(*piece.shape[:2], -1) - target[:, None]
                squares = change.square()
                losses += squares.detach().flatten(1).sum(1, dtype=torch.float64)
                if with_gradient:
                    slope = self.network.gradient(squares.sum(), noisy)
                    slopes += (slope.view_as(piece) * piece).sum((1, 2))
        scale = self.normaliser[numbers] * self.samples * target.shape[1]
        gradient = pool(slopes.double(), self.rows, self.columns) / scale[:, None, None]
        return losses / scale, gradient.to(clean.dtype)
