"""How concepts came and went while a network was trained: path lengths, peaks, stability, dropped images.

Each function asks a `ConceptStudy` for one run: an arm, a seed (the study's first if None) and a layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kdlib.errors import KdlibError, positive_integer
from kdlib.metrics.learning_dynamics import LearningSpeed, Stability, learning_speed, stability
from kdlib.metrics.visual_concepts import Discards, discards, visual_concepts
from kdlib.papers.cheng2020.settings import first_judged
from kdlib.papers.cheng2020.study import ConceptStudy


@dataclass(frozen=True)
class Dynamics:
    """What one run's concepts did over its checkpoints: epochs (M,), counts (M, N) on foreground and background, means
    where several noise seeds are asked for, distances (M,), concepts (M, N, rows, columns), and what section 4 and 5
    make of them."""

    epochs: tuple[int, ...]
    distances: Tensor
    foreground_counts: Tensor
    background_counts: Tensor
    concepts: Tensor
    speed: LearningSpeed
    stability: Stability


def path_length(
    study: ConceptStudy,
    arm: str,
    seed: int | None = None,
    layer: str = "fc1",
    *,
    up_to: bool = False,
    by_epoch: bool = False,
) -> Tensor:
    """(M,) float64: how long the path of the layer's weight is at each checkpoint, summed over updates, in norms of the
    first weights. up_to: of all parameters up to the layer. by_epoch: summed over epochs, straight from the weights
    before one to those after it."""
    spec = study.spec(arm, seed, layer)
    name = f"{'epoch_' if by_epoch else ''}distance{'_up_to' if up_to else ''}/{study.paths[layer]}"
    rows = torch.tensor([row[name] for row in study.run_of(spec).history], dtype=torch.float64)
    lengths = torch.cat([torch.zeros(1, dtype=torch.float64), rows.cumsum(0)])
    return lengths[list(spec.recipe.checkpoints)]


def with_maps(study: ConceptStudy, arm: str, seed: int | None = None, layer: str = "fc1") -> Tensor:
    """(N,) bool: pictures with a map at every checkpoint; a layer that gives nothing but zeros has none."""
    return ~study.maps(arm, seed, layer, checkpoints=True).isnan().flatten(2).any(2).any(0)


def dynamics_of(
    study: ConceptStudy,
    arm: str,
    seed: int | None = None,
    layer: str = "fc1",
    *,
    threshold: float | None = None,
    keep: Tensor | None = None,
    up_to: bool = False,
    by_epoch: bool = False,
    noise_seeds: int = 1,
) -> Dynamics:
    """How the concepts of one run came and went over its checkpoints.

    up_to, by_epoch: as `path_length` has them. noise_seeds: with more than one, counts are means over maps of that many
    noise seeds, which makes peaks less of a lottery where maps are sampled; concepts are the first seed's.
    """
    first = study.plan.noise_seed
    seeds = range(first, first + positive_integer(noise_seeds, "noise_seeds"))
    plans = [replace(study.plan, noise_seed=number) for number in seeds]
    taken = [study.maps(arm, seed, layer, checkpoints=True, plan=plan) for plan in plans]
    usable = ~torch.stack(taken).isnan().flatten(3).any(3).any(1).any(0)
    usable = usable if keep is None else usable & keep
    if not bool(usable.any()):
        raise KdlibError(
            f"arm '{arm}', seed {study.spec(arm, seed, layer).seed}, layer {layer}: no image has a map at every "
            "checkpoint (the layer is dead for them, or they are not kept); train with other rates or more images"
        )
    threshold = threshold or study.threshold
    found = [[visual_concepts(entropy, study.foreground, threshold, keep=usable) for entropy in maps] for maps in taken]
    on, off = (
        torch.stack([torch.stack([getattr(one, side)[usable] for one in each]) for each in found])
        for side in ("on_foreground", "on_background")
    )
    on, off = (counts[0] if noise_seeds == 1 else counts.double().mean(0) for counts in (on, off))
    concepts = torch.stack([one.concepts for one in found[0]])
    distances = path_length(study, arm, seed, layer, up_to=up_to, by_epoch=by_epoch)
    return Dynamics(
        epochs=study.spec(arm, seed, layer).recipe.checkpoints,
        distances=distances,
        foreground_counts=on,
        background_counts=off,
        concepts=concepts,
        speed=learning_speed(on, distances, skip_first=skips_untrained(study)),
        stability=stability(concepts[:, usable], study.foreground[usable]),
    )


def skips_untrained(study: ConceptStudy) -> bool:
    """Whether peaks leave the untrained network out, as the released code does for ResNets."""
    return study.network.startswith("resnet")


def discarded(study: ConceptStudy, arm: str, seed: int | None = None, layer: str = "fc1") -> Discards:
    """Images that the published selection drops for one run, over its checkpoints."""
    epochs = study.spec(arm, seed, layer).recipe.checkpoints
    maps = study.maps(arm, seed, layer, checkpoints=True)
    return discards(maps, study.foreground, list(epochs), first_judged(epochs[-1]))
