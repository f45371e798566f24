"""How much of a gradient map lies on the object: loss-gradient pictures made into numbers by masks.

Han et al. (ICML 2023) show pictures of the loss gradient's magnitude, after Tsipras et al. (2019), in which that of
the distilled student traces the object. With a mask of the object three numbers say how much it does:

- energy inside: the share of the map's energy that lies inside the mask;
- pointing game: whether the strongest pixel does (Zhang et al. 2016);
- mask AUC: the probability that a pixel inside is stronger than one outside, ties counting half.

The strength of a pixel is e = sum over channels of |g|^power. With power 1, the default, the energy is the sum of the
magnitudes that the pictures show, as in the energy-based pointing game (Wang et al. 2020); with power 2 it is the sum
of squares, a signal's energy, which fewer and stronger pixels decide. A map that knows nothing of the object has a
share equal to the mask's part of the picture (`chance`), hits with that probability, and an AUC of 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.errors import MOST_POWER, KdlibError, finite_number


@dataclass(frozen=True)
class GradientMapScores:
    """Scores of N maps; all tensors have shape (N,), values in [0, 1], NaN for a map that can't be scored.

    energy_inside: sum of e inside the mask / sum of e. chance: the mask's share of all pixels. pointing: 1 if the
    strongest pixel is inside, else 0; of equally strong ones, the share that is inside. auc: mask AUC.
    no_foreground: the mask is empty. all_foreground: it covers the picture. flat: the gradient is zero everywhere.
    """

    energy_inside: Tensor
    chance: Tensor
    pointing: Tensor
    auc: Tensor
    no_foreground: Tensor
    all_foreground: Tensor
    flat: Tensor

    @property
    def scored(self) -> Tensor:
        """(N,) bool: the map has scores."""
        return ~(self.no_foreground | self.all_foreground | self.flat)

    def summary(self) -> dict[str, float]:
        """Means over the maps that have scores (NaN if none has), and how many were left out for what.

        energy_over_chance is the ratio of the two means: 1 for maps that know nothing of the object.
        """
        kept = self.scored
        means = {
            name: float(getattr(self, name)[kept].mean()) if bool(kept.any()) else math.nan
            for name in ("energy_inside", "chance", "pointing", "auc")
        }
        return {
            "gradient_energy_inside": means["energy_inside"],
            "chance": means["chance"],
            "energy_over_chance": means["energy_inside"] / means["chance"],
            "pointing_game": means["pointing"],
            "mask_auc": means["auc"],
            "images": int(kept.sum()),
            "without_foreground": int(self.no_foreground.sum()),
            "all_foreground": int(self.all_foreground.sum()),
            "flat": int((self.flat & ~self.no_foreground & ~self.all_foreground).sum()),
        }


def score_gradient_maps(gradients: Tensor, masks: Tensor, power: float = 1.0) -> GradientMapScores:
    """Score each gradient map by the mask of its object; for the formulas see the head of this module.

    gradients: (N, C, H, W), signed or not, such as `kdlib.explain.saliency.loss_gradients`. masks: (N, H, W) bool.
    power: of |g| in the strength of a pixel, above 0 and below 100. Multiplying a map by a number changes none of its
    scores.

    >>> gradients = torch.tensor([[[[3.0, -1.0], [0.0, 0.0]]]])
    >>> masks = torch.tensor([[[True, False], [True, False]]])
    >>> scores = score_gradient_maps(gradients, masks)
    >>> scores.energy_inside.item(), scores.chance.item(), scores.pointing.item(), scores.auc.item()
    (0.75, 0.5, 1.0, 0.625)
    """
    finite_number(power, "power", minimum=0, maximum=MOST_POWER, exclusive=True)
    _check(gradients, masks)
    # In float64 and with the map's scale taken out, which cancels: powers then neither vanish nor overflow. The scale
    # is a power of four, which rounds nothing, nor does its root: ties stay ties.
    magnitude = gradients.detach().double().abs()
    exponent = torch.frexp(magnitude.flatten(1).amax(1)).exponent.view(-1, 1, 1, 1)
    strength = (torch.ldexp(magnitude, -(exponent - exponent % 2)) ** power).sum(1).flatten(1)
    inside = masks.to(strength.device).flatten(1)

    area, pixels = inside.sum(1), inside.shape[1]
    no_foreground, all_foreground, flat = area == 0, area == pixels, (strength == 0).all(1)
    unscored = no_foreground | all_foreground | flat
    strongest = strength == strength.amax(1, keepdim=True)
    scores = {
        "energy_inside": (strength * inside).sum(1) / strength.sum(1),
        "chance": area.double() / pixels,
        "pointing": (strongest & inside).sum(1).double() / strongest.sum(1),
        "auc": _auc(strength, inside),
    }
    return GradientMapScores(
        **{name: values.masked_fill(unscored, math.nan) for name, values in scores.items()},
        no_foreground=no_foreground,
        all_foreground=all_foreground,
        flat=flat,
    )


def _auc(strength: Tensor, inside: Tensor) -> Tensor:
    """(N,) Mann-Whitney's U over the number of pairs, from average ranks; (N, P) each."""
    ordered = strength.sort(1).values
    below = torch.searchsorted(ordered, strength)
    up_to = torch.searchsorted(ordered, strength, right=True)
    ranks = (below + up_to + 1).double() / 2  # equal values share the mean of the ranks they take up
    count = inside.sum(1).double()
    u = (ranks * inside).sum(1) - count * (count + 1) / 2
    return u / (count * (inside.shape[1] - count))


def _check(gradients: Tensor, masks: Tensor) -> None:
    if gradients.ndim != 4 or not gradients.is_floating_point() or not gradients.numel():
        raise KdlibError(
            f"gradients must be real numbers of shape (N, C, H, W), not {gradients.dtype} of {tuple(gradients.shape)}"
        )
    plane = (len(gradients), *gradients.shape[2:])
    if masks.dtype != torch.bool or tuple(masks.shape) != plane:
        raise KdlibError(
            f"masks must be bool of shape {plane}, as the gradients, not {masks.dtype} of {tuple(masks.shape)}"
        )
    if not bool(torch.isfinite(gradients).all()):
        raise KdlibError("the gradients are not finite; check the model's weights")
