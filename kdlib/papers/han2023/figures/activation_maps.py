"""One unit of each network on images of one kind: its activation as brightness, and how much of it hits the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from kdlib.capture import features_of
from kdlib.claims.phrases import with_interval
from kdlib.data.broden import BrodenFolder
from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError, positive_integer
from kdlib.metrics.dissection.activations import Checked, concept_names_of, layer_activations
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.names import MODEL_NAMES
from kdlib.plotting.style import picture
from kdlib.plotting.text import in_markdown
from kdlib.plotting.titles import headline
from kdlib.stats import Contrast, paired_contrast

CATEGORY = "object"
DARKEST = 0.2  # of a pixel's brightness where the unit is silent, as in the paper's code


def shared_concept(networks: Mapping[str, Sequence[Dissection]], category: str = CATEGORY) -> str | None:
    """The concept that the networks' best units find best: the highest best IoU, on average over the networks.

    networks: network -> one dissection a seed; seeds are averaged first. None where the images have no masks of the
    category, or no unit overlaps with any of its concepts.
    """
    dissections = [found for by_seed in networks.values() for found in by_seed]
    if not dissections or category not in dissections[0].iou:
        return None
    best = [torch.stack([d.iou[category].amax(0) for d in by_seed]).mean(0) for by_seed in networks.values()]
    mean = torch.stack(best).mean(0)
    return dissections[0].concept_names[category][int(mean.argmax())] if float(mean.max()) > 0 else None


@dataclass(frozen=True)
class UnitOnConcept:
    """A network's unit with the highest IoU for one concept; pixels of the masks, per probe image.

    concept, active, both: (N,) pixels with the concept, pixels where the unit is above its threshold, pixels of both.
    pixels: of one image's mask. strongest: the unit's largest activation on the images that show the concept.
    """

    unit: int
    iou: float
    concept: Tensor
    active: Tensor
    both: Tensor
    pixels: int
    strongest: float

    @property
    def inside(self) -> float:
        """Precision: of the active area on images that show the concept, the share on it; NaN without active area."""
        active = int(self.active[self.concept > 0].sum())
        return int(self.both.sum()) / active if active else float("nan")

    @property
    def chance(self) -> float:
        """The share of their area that the concept covers on the images that show it."""
        return int(self.concept.sum()) / (int((self.concept > 0).sum()) * self.pixels)

    @property
    def found(self) -> float:
        """Of the concept's area, the share on which the unit is active: coverage."""
        return int(self.both.sum()) / int(self.concept.sum())


def _where(labels: Tensor, number: int) -> Tensor:
    """(B, H, W) bool: the pixels with a label, of (B, H, W) labels or of (B, L, H, W) where pixels may have several."""
    found = labels == number
    return found.any(1) if found.ndim == 4 else found


def unit_on_concept(
    dissection: Dissection, model: nn.Module, probe: ImageSet | BrodenFolder, concept: str, category: str = CATEGORY
) -> UnitOnConcept:
    """The unit of the dissected layer that finds `concept` best, and where it is active: one pass over the probe set.

    Active is what dissection calls so: the activation, upsampled to the masks' size, exceeds the unit's threshold.
    """
    column = dissection.concept_names[category].index(concept)
    unit = int(dissection.iou[category][:, column].argmax())
    threshold = float(dissection.thresholds[unit])
    counts: list[Tensor] = []
    pixels, strongest = 0, 0.0
    with layer_activations(model, probe, dissection.layer) as batches:
        for maps, concepts in Checked(batches, dissection.layer):
            labelled = _where(concepts[category].to(maps.device), column + 1)  # 0 is "unlabelled"
            own = maps[:, unit : unit + 1]
            larger = F.interpolate(own, labelled.shape[1:], mode="bilinear", align_corners=False)[:, 0]
            active = larger > threshold
            counts.append(torch.stack([m.sum((1, 2)) for m in (labelled, active, labelled & active)]).cpu())
            pixels = labelled[0].numel()
            shows = labelled.any(2).any(1)
            if bool(shows.any()):
                strongest = max(strongest, float(own[shows].max()))
    shown, above, both = torch.cat(counts, dim=1)
    if not int(shown.sum()):
        raise KdlibError(f"no probe image shows '{concept}'; dissect on the same images")
    iou = float(dissection.iou[category][unit, column])
    return UnitOnConcept(unit, iou, shown, above, both, pixels, strongest)


def first_that_show(concept: Tensor, count: int = 4) -> Tensor:
    """Indices of the first images that show at least as much of the concept as half of those that show any.

    A fixed rule, so that no one can choose the images that suit a network. concept: (N,) pixels of it in each image.

    >>> first_that_show(torch.tensor([0, 9, 1, 5, 7, 8]), 2)
    tensor([1, 4])
    """
    positive_integer(count, "count")
    return (concept >= concept[concept > 0].median()).nonzero()[:count, 0]


def as_brightness(image: Tensor, activation: Tensor, strongest: float) -> Tensor:
    """The image (C, H, W) uint8 as (H, W, C) floats in [0, 1], times 0.2 + 0.8 of the activation.

    activation: (h, w), upsampled bilinearly to the image's size; `strongest` and more give full brightness, 0 and less
    a fifth.

    >>> as_brightness(torch.full((1, 1, 2), 255, dtype=torch.uint8), torch.tensor([[0.0, 3.0]]), 3.0).flatten()
    tensor([0.2000, 1.0000])
    """
    larger = F.interpolate(activation[None, None].float(), image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    share = (larger / strongest).clamp(0, 1) if strongest > 0 else torch.zeros_like(larger)
    return (image.float() / 255 * (DARKEST + (1 - DARKEST) * share)).permute(1, 2, 0)


def activation_gallery(
    units: Mapping[str, UnitOnConcept],
    models: Mapping[str, nn.Module],
    probe: ImageSet | BrodenFolder,
    layer: str,
    concept: str,
    *,
    category: str = CATEGORY,
    count: int = 4,
) -> Figure:
    """Images that show the concept, and below them each network's unit as their brightness; the concept is outlined.

    units, models: network -> its unit and its model. The images are those of `first_that_show`; a unit's brightness is
    on one scale over all of them.
    """
    indices = first_that_show(next(iter(units.values())).concept, count)
    [batch] = probe.subset(indices).batches(len(indices))
    images = batch.images.cpu()
    regions = _where(batch.concepts[category], concept_names_of(probe)[category].index(concept)).cpu().float()
    outlines = F.interpolate(regions[None], images.shape[2:], mode="nearest")[0].numpy()
    size = (1.05 * len(indices) + 0.6, 1.05 * (len(units) + 1) + 0.5)
    figure, axes = plt.subplots(len(units) + 1, len(indices), figsize=size, squeeze=False)
    titles = ["Image", *(f"{MODEL_NAMES.get(name, name)}\nunit {found.unit}" for name, found in units.items())]
    for row, title in zip(axes, titles, strict=True):
        row[0].set_ylabel(title, fontsize=9)
        for axis, outline in zip(row, outlines, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if 0 < outline.mean() < 1:
                axis.contour(outline, levels=[0.5], colors="#F0E442", linewidths=0.9)
    for place, axis in enumerate(axes[0]):
        axis.imshow(picture(images, place), interpolation="nearest")
    inputs = images.float() / 255
    for row, (name, found) in zip(axes[1:], units.items(), strict=True):
        home = next(models[name].parameters()).device
        maps = features_of(models[name], inputs.to(home), layer)[:, found.unit].cpu()
        for axis, image, activation in zip(row, images, maps, strict=True):
            lit = as_brightness(image, activation, found.strongest).numpy()
            axis.imshow(lit.repeat(3, axis=2) if lit.shape[2] == 1 else lit, interpolation="nearest")
    most = max(found.found for found in units.values() if np.isfinite(found.found))
    headline(figure, f"On all images, no such unit is active on more than {100 * most:.0f}\u00a0% of “{concept}”")
    return figure


def _in_percent(values: Sequence[float]) -> str:
    there = [100 * value for value in values if np.isfinite(value)]
    if not there:
        return "–"
    seeds = f" ({min(there):.0f} to {max(there):.0f})" if len(there) > 1 else ""
    return f"{np.mean(there):.1f}{seeds}"


def inside_table(units: Mapping[str, Sequence[UnitOnConcept]]) -> list[dict[str, str]]:
    """Rows of a table: for each network the best unit's IoU and both shares, means with the range of the seeds.

    units: network -> one unit a seed.
    """
    return [
        {
            "network": MODEL_NAMES.get(name, name),
            "IoU of the unit": f"{np.mean([found.iou for found in by_seed]):.3f}",
            "precision: of its active area, on the object (%)": _in_percent([found.inside for found in by_seed]),
            "coverage: of the object, active (%)": _in_percent([found.found for found in by_seed]),
        }
        for name, by_seed in units.items()
    ]


def whole_object_in_words(units: Mapping[str, Sequence[UnitOnConcept]], concept: str, quantile: float) -> str:
    """Whether the best units see the whole object: what coverage and precision can be, and are, on all images.

    units: network -> one unit a seed. quantile: the fraction of all cells on which a unit counts as active.
    """
    every = [found for by_seed in units.values() for found in by_seed]
    first = every[0]
    showing, area = int((first.concept > 0).sum()), int(first.concept.sum())
    most = min(1.0, quantile * len(first.concept) * first.pixels / area)
    coverage = float(np.mean([found.found for found in every]))
    precision = float(np.nanmean([found.inside for found in every]))
    answer = "No" if coverage < 0.5 else "More than half of it"
    return (
        f"**Does the unit see the whole object?** {answer}: on average over the networks, the best unit is active on "
        f"{100 * coverage:.1f} % of the area of “{in_markdown(concept)}” (coverage). More than about "
        f"{100 * most:.0f} % can't be, for a unit that is active on {100 * quantile:g} % of all cells. Of its active "
        f"area on the {showing} images that show the object, {100 * precision:.1f} % lies on it (precision); "
        f"a unit that looks anywhere would have {100 * first.chance:.1f} %."
    )


def inside_in_words(units: Mapping[str, Sequence[UnitOnConcept]]) -> str:
    """What precision and coverage together say of KD and of label smoothing against scratch, over paired seeds.

    units: network -> one unit a seed, "scratch", "kd" and "label_smoothing" among them.
    """
    listed = []
    for arm in ("kd", "label_smoothing"):
        name = f"{MODEL_NAMES[arm]} minus scratch"
        shares = {
            "precision": [[100 * found.inside for found in units[of]] for of in (arm, "scratch")],
            "coverage": [[100 * found.found for found in units[of]] for of in (arm, "scratch")],
        }
        if not all(np.isfinite(pair).all() for pair in shares.values()):
            listed.append(f"{name}: no comparison, as a unit is active on none of these images.")
            continue
        contrasts = {share: paired_contrast(*pair) for share, pair in shares.items()}
        numbers = ", ".join(f"{share} {with_interval(contrast, 'points')}" for share, contrast in contrasts.items())
        listed.append(f"{name}: {numbers}. {_together(contrasts['precision'], contrasts['coverage'])}")
    return " ".join(listed)


def _together(precision: Contrast, coverage: Contrast) -> str:
    """What two contrasts say together; only what excludes zero counts."""
    signs = [int(np.sign(c.mean_difference)) if c.excludes_zero else 0 for c in (precision, coverage)]
    if signs == [0, 0]:
        seeds = "One seed" if precision.n == 1 else f"These {precision.n} seeds"
        return f"{seeds} can't tell either from chance."
    covers = {1: "It covers more of the object", -1: "It covers less of the object"}
    lies = {1: "more of its active area lies on it", -1: "less of its active area lies on it"}
    coverage_said = covers.get(signs[1], "No difference in coverage is shown")
    return f"{coverage_said}; {lies.get(signs[0], 'no difference in precision is shown')}."
