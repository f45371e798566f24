"""Information discarding: how much noise each place of an image bears before a layer notices.

Cheng et al. 2020 (CVPR, "Explaining knowledge distillation by quantifying the knowledge"), after Ma et al. 2019.
Gaussian noise of its own strength sigma_i is put on each cell i of a grid over the image x. Of all noises that change
the feature f = relu(layer(x)) little, the one with the most entropy shows what the layer has discarded: H_i =
ln sigma_i + ln(2 pi e) / 2 nats is large where the layer does not care, small where it has kept what it saw.

    minimise over sigma   E |f(x + sigma * e) - f|^2 / sigma_f^2 - lambda * mean_i H_i,      e ~ N(0, 1)

sigma_f^2 is the first expectation for noise of 0.01 everywhere, image by image, so that networks and layers start
alike. It is not the variance of the feature. All means over features, logarithms natural.

The released recipe (`EarlyStopped`) is not run to convergence: maps are compared at one mean entropy, -2.8 nats, so
that the average of a map says nothing and a lower foreground forces a higher background. `Converged` minimises to the
end: a wider spread, less noise, other counts at the same threshold. For what follows from the layer's derivative alone
see `kdlib.metrics.information.closed_form`; for concepts `kdlib.metrics.visual_concepts`.

The paper's noise sits on the image after normalisation: its unit is a channel's standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdlib.errors import KdlibError, check_seed, choose
from kdlib.metrics.information.inputs import noise_ids, noise_units
from kdlib.metrics.information.misses import refuse_misses
from kdlib.metrics.information.response import Grid, LayerUpTo, NoisyLayer, exact_float32, grid_shape
from kdlib.metrics.information.search import Converged, EarlyStopped, Found, entropy_of, search_noise, search_of

SAMPLES = 128
MISSES = ("refuse", "mark")


@dataclass(frozen=True)
class InformationMaps:
    """What a layer has discarded of N images; all tensors are on the CPU.

    entropy: (N, rows, columns) H in nats, float64; NaN for a dead image. mean_entropy: (N,) its mean.
    normaliser: (N,) sigma_f^2. feature_loss: (N,) normalised loss at the map; lambda / 2 if converged and linear.
    step: (N,) the kept step of `EarlyStopped`. raised: (N,) bool, lambda was raised for the last steps.
    reached: (N,) bool, the mean entropy is near enough to the target, or the search has converged.
    dead: (N,) bool, sigma_f^2 is exactly 0: the features don't move, there is no map.
    path: (N, steps) mean entropy at each step, NaN where an image was not measured any more.
    """

    layer: str
    samples: int
    seed: int
    search: EarlyStopped | Converged
    entropy: Tensor
    normaliser: Tensor
    feature_loss: Tensor
    step: Tensor
    raised: Tensor
    reached: Tensor
    dead: Tensor
    path: Tensor

    @property
    def mean_entropy(self) -> Tensor:
        return self.entropy.flatten(1).mean(1)

    def summary(self) -> dict[str, float]:
        """Plain numbers for a record; means over the images that have a map."""
        alive = ~self.dead
        return {
            "images": len(self.dead),
            "dead": int(self.dead.sum()),
            "not_reached": int((alive & ~self.reached).sum()),
            "raised": int(self.raised.sum()),
            "mean_entropy": float(self.mean_entropy[alive].mean()),
            "entropy_deviation": float(self.entropy.flatten(1).std(1, correction=0)[alive].mean()),
            "feature_loss": float(self.feature_loss[alive].mean()),
        }


def information_discarding(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    search: EarlyStopped | Converged | None = None,
    grid: Grid = 16,
    samples: int = SAMPLES,
    seed: int = 0,
    image_ids: Sequence[int] | None = None,
    relu: bool = True,
    noise_scale: float | Sequence[float] | None = None,
    chunk: int | None = None,
    if_not_reached: str = "refuse",
) -> InformationMaps:
    """Entropy of the largest noise that `layer` tolerates on each cell of each image; formula at the module's head.

    model: takes `images`, (N, C, H, W) float, and normalises inside, as all of `kdlib.models`. It is left untouched;
        a copy runs in eval mode, on its device, in float32 (TF32 and autocast off) up to the layer and no further.
    layer: any module with features, (images, ...). The paper probes outputs before their ReLU: the last convolution,
        FC1, FC2, FC3.
    search: `EarlyStopped()`, the released recipe, or `Converged()`. lambda is its `weight`: 7, but 6 for ResNets.
    grid: cells a side, (rows, columns), or "pixel". Each cell has one sigma for all its pixels and channels and
        independent noise in each. Give pictures whose sides are multiples of the grid's: on others cells differ in
        size, and larger ones look more sensitive.
    samples: noisy copies of each image at each step; the released code has 96, "as large as possible".
    seed, image_ids: the noise of an image is a function of the two (0, 1, 2, ... if no ids are given): it is the same
        for all networks, checkpoints and layers, and does not depend on the images beside it.
    relu: put a ReLU before the comparison, as published, at every layer, logits included.
    noise_scale: how much of a channel a sigma of 1 is, one number or one a channel; None for the standard deviations
        in the model's `Normalise` layer, 1 if it has none.
    chunk: the most noisy images in the network at once (for each thread of a CPU): the memory of its activations grows
        with it, results change by rounding alone. None for what suits the device. What it does not bound: all noise of
        an image is drawn at once, samples * C * H * W numbers (128 of 3x224x224: 77 MB, for each thread of a CPU).
    if_not_reached: "refuse" or "mark", what to do if an image's mean entropy stays further than `tolerance` from the
        target (or a converged search still moves), or if the layer is dead on all images. Marked maps are there, with
        `reached` False; those of dead images are NaN.

    One image's map is its own: losses are kept apart. On one machine the same seed gives the same bits; with the usual
    chunk on a CPU whatever images stand beside it, elsewhere those move its last digits.

    Raises `KdlibError` for an unknown layer, a layer without features, models that are not finite, not in float or
    mix the images of a batch, images that don't fit; a layer dead on all images and a target not reached as said above.

    >>> half_blind = nn.Sequential(nn.Flatten(), nn.Linear(16, 16))
    >>> _ = half_blind[1].weight.data.copy_(torch.diag(torch.tensor([4.0] * 8 + [1.0] * 8)))
    >>> found = information_discarding(half_blind, torch.rand(2, 1, 4, 4) + 1, "1", grid=4)
    >>> upper, lower = found.entropy[0, :2].mean(), found.entropy[0, 2:].mean()
    >>> bool(upper < lower - 0.1), round(float(found.mean_entropy[0]), 1)  # it sees the upper half better
    (True, -2.8)
    """
    search = search_of(search)
    choose(if_not_reached, MISSES, "answer to a target that is not reached")
    check_seed(seed)
    with torch.inference_mode(False), torch.no_grad(), exact_float32():
        network = LayerUpTo(model, images, layer, relu)
        rows, columns = grid_shape(grid, *images.shape[2:])
        start = torch.full((len(images), rows, columns), search.start, device=network.device, dtype=network.dtype)
        noisy = NoisyLayer(
            network,
            images,
            units=noise_units(model, images.shape[1], noise_scale),
            start=start,
            samples=samples,
            seed=seed,
            image_ids=noise_ids(image_ids, len(images)),
            chunk=chunk,
        )
        dead = noisy.normaliser == 0
        alive = (~dead).nonzero()[:, 0].tolist()

        def respond(numbers: list[int], sigma: Tensor) -> tuple[Tensor, Tensor]:
            return noisy([alive[number] for number in numbers], sigma)

        if if_not_reached == "refuse":
            refuse_dead_layer(dead, layer)
        found = search_noise(respond, start[alive], search)
    if if_not_reached == "refuse":
        refuse_misses(found, search)
    return laid_out(found, dead.cpu(), noisy.normaliser.cpu(), search, layer, samples, seed)


def refuse_dead_layer(dead: Tensor, layer: str) -> None:
    """Say so if all images are dead, (N,) bool.

    >>> refuse_dead_layer(torch.tensor([True, False]), "fc1")
    """
    if bool(dead.all()):
        raise KdlibError(
            f"layer '{layer}' does not change under noise on any of the {len(dead)} images (sigma_f^2 = 0); "
            'its units are dead, name another layer or network, or if_not_reached="mark" for maps of NaN'
        )


def laid_out(
    found: Found,
    dead: Tensor,
    normaliser: Tensor,
    search: EarlyStopped | Converged,
    layer: str,
    samples: int,
    seed: int,
) -> InformationMaps:
    """The search's finds on the images that have a map, laid out over all."""

    def over_all(values: Tensor, missing: float) -> Tensor:
        result = torch.full((len(dead), *values.shape[1:]), missing, dtype=values.dtype)
        result[~dead] = values.cpu()
        return result

    return InformationMaps(
        layer=layer,
        samples=samples,
        seed=seed,
        search=search,
        entropy=over_all(entropy_of(found.sigma.double()), float("nan")),
        normaliser=normaliser,
        feature_loss=over_all(found.loss, float("nan")),
        step=over_all(found.step, -1),
        raised=over_all(found.raised, False),
        reached=over_all(found.reached, False),
        dead=dead,
        path=over_all(found.path, float("nan")),
    )
