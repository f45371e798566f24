"""The measures of hypotheses 2 and 3, of every run of a study, as published and in the other ways that controls take.

A measure here is a function of a run (arm, seed, layer) that gives the four numbers of `speed_and_stability`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from kdlib.errors import KdlibError
from kdlib.metrics.learning_dynamics import LearningSpeed, Stability, learning_speed, stability, weight_distance
from kdlib.papers.cheng2020.dynamics import Dynamics, discarded, dynamics_of, path_length, skips_untrained, with_maps
from kdlib.papers.cheng2020.study import ConceptStudy
from kdlib.stats import Contrast, paired_contrast

Values = dict[str, dict[int, float]]  # arm -> seed -> number
Measure = Callable[[str, int, str], Mapping[str, float]]
Lengths = Callable[[str, int, str], Tensor]
METRICS = ("distance_mean", "distance_deviation", "distance_variance", "stability")
UNDEFINED = dict.fromkeys(METRICS, math.nan)


def speed_and_stability(speed: LearningSpeed, stable: Stability) -> dict[str, float]:
    """The chapter's measures of one run at one layer, by the names that the claims give them.

    NaN for the distances if no image ever has a concept. stability: the mean of rho over all images, as published.
    """
    numbers = (speed.mean, speed.standard_deviation, speed.variance, float(stable.rho.mean()))
    return dict(zip(METRICS, numbers, strict=True))


class Courses:
    """What the concepts of a study's runs did, each taken once; layers_of: arm -> the layers at which it is trained."""

    def __init__(self, study: ConceptStudy, layers_of: Mapping[str, Sequence[str]]) -> None:
        self.study, self.layers_of = study, layers_of
        self.usable = cache(lambda arm, seed, layer: with_maps(study, arm, seed, layer))
        self.course = cache(self._course)

    def _course(self, arm: str, seed: int, layer: str) -> Dynamics | None:
        """None where the arm has no such layer, or the network is dead at some checkpoint."""
        if layer not in self.layers_of[arm] or not self.usable(arm, seed, layer).any():
            return None
        return dynamics_of(self.study, arm, seed, layer)

    def living(self, *arms: str, layer: str = "fc1") -> dict[str, Dynamics]:
        """The arms of the first seed that have concepts to follow."""
        found = {arm: self.course(arm, self.study.seed, layer) for arm in arms}
        return {arm: course for arm, course in found.items() if course}

    def all_of(self, arm: str) -> list[Dynamics]:
        """Over seeds and layers."""
        found = [self.course(arm, seed, layer) for seed in self.study.seeds for layer in self.layers_of[arm]]
        return [course for course in found if course]

    # ---- measures ---------------------------------------------------------------------------------------------------

    def published(self, arm: str, seed: int, layer: str) -> Mapping[str, float]:
        """As the released code takes them."""
        found = self.course(arm, seed, layer)
        return speed_and_stability(found.speed, found.stability) if found else UNDEFINED

    def with_lengths(self, lengths: Lengths) -> Measure:
        """With other path lengths than the published ones."""

        def measure(arm: str, seed: int, layer: str) -> Mapping[str, float]:
            found = self.course(arm, seed, layer)
            if found is None:
                return UNDEFINED
            skip = skips_untrained(self.study)
            speed = learning_speed(found.foreground_counts, lengths(arm, seed, layer), skip_first=skip)
            return speed_and_stability(speed, found.stability)

        return measure

    def with_counts(self, change: Callable[[Tensor], Tensor], skip_first: bool = False) -> Measure:
        """With other counts (M, N) to find the peaks in. skip_first: without the untrained network."""

        def measure(arm: str, seed: int, layer: str) -> Mapping[str, float]:
            found, seen = self.course(arm, seed, layer), self.usable(arm, seed, layer)
            if found is None:
                return UNDEFINED
            skip = skip_first or skips_untrained(self.study)
            speed = learning_speed(change(found.foreground_counts.double()), found.distances, skip_first=skip)
            cells = self.study.foreground[seen]
            return speed_and_stability(speed, stability(found.concepts[skip_first:, seen], cells))

        return measure

    def beside_object(self, arm: str, seed: int, layer: str) -> Mapping[str, float]:
        """Of the concepts beside the object."""
        found, seen = self.course(arm, seed, layer), self.usable(arm, seed, layer)
        if found is None:
            return UNDEFINED
        speed = learning_speed(found.background_counts, found.distances, skip_first=skips_untrained(self.study))
        return speed_and_stability(speed, stability(found.concepts[:, seen], ~self.study.foreground[seen]))

    def at_threshold(self, b: float) -> Measure:
        """With another threshold, in nats."""

        def measure(arm: str, seed: int, layer: str) -> Mapping[str, float]:
            if not self.usable(arm, seed, layer).any():
                return UNDEFINED
            found = dynamics_of(self.study, arm, seed, layer, threshold=b)
            return speed_and_stability(found.speed, found.stability)

        return measure

    def over_noise_seeds(self, noise_seeds: int) -> Measure:
        """With the peaks of counts that are means over noise seeds; rho is that of the first noise seed."""

        @cache
        def measure(arm: str, seed: int, layer: str) -> Mapping[str, float]:
            try:
                found = dynamics_of(self.study, arm, seed, layer, noise_seeds=noise_seeds)
            except KdlibError:  # no picture has a map at every checkpoint with every noise seed
                return UNDEFINED
            return speed_and_stability(found.speed, found.stability)

        return measure

    def of_survivors(self, *arms: str) -> Measure:
        """On the pictures that the released rule leaves to all of these arms."""

        @cache
        def measure(arm: str, seed: int, layer: str) -> Mapping[str, float]:
            keep = torch.stack([discarded(self.study, one, seed, layer).keep for one in arms]).all(0)
            if not (keep & self.usable(arm, seed, layer)).any():
                return UNDEFINED
            found = dynamics_of(self.study, arm, seed, layer, keep=keep)
            return speed_and_stability(found.speed, found.stability)

        return measure

    # ---- path lengths and peaks -------------------------------------------------------------------------------------

    def path_length(self, arm: str, seed: int, layer: str, **options: bool) -> Tensor:
        """`dynamics.path_length` of the study."""
        return path_length(self.study, arm, seed, layer, **options)

    def straight(self, arm: str, seed: int, layer: str) -> Tensor:
        """(M,): straight from the weights of one checkpoint to those of the next."""
        spec = self.study.spec(arm, seed, layer)
        states = [self.study.run_of(spec).state(state) for state in self.study.states(spec)]
        return weight_distance([state[f"{self.study.paths[layer]}.weight"] for state in states])

    def whole_length(self, arm: str, lengths: Lengths) -> float:
        """At the end of training, mean over seeds and layers."""
        found = [float(lengths(arm, s, layer)[-1]) for s in self.study.seeds for layer in self.layers_of[arm]]
        return float(np.mean(found))

    def where_peaks_are(self, arm: str) -> dict[str, float]:
        """In percent of the pictures of all seeds and layers: no map, and where the peak of the others lies; of the
        last concepts, how many the untrained network had. Empty but for the first where nothing can be followed."""
        seen = torch.cat([self.usable(arm, s, layer) for s in self.study.seeds for layer in self.layers_of[arm]])
        found = {"no map": _percent(~seen)}
        if not (courses := self.all_of(arm)):
            return found
        peaks = torch.cat([one.speed.peak for one in courses])
        counts = [one.foreground_counts for one in courses]
        ties = torch.cat([(each == each.amax(0)).sum(0) > 1 for each in counts])
        last = len(courses[0].epochs) - 1
        return found | {
            "never a concept": _percent(peaks < 0),
            "peak: untrained": _percent(peaks == 0),
            "peak: between": _percent((peaks > 0) & (peaks < last)),
            "peak: last checkpoint": _percent(peaks == last),
            "several equal peaks": _percent(ties & (peaks >= 0)),
            "last concepts the untrained network had": _percent(torch.cat([self._old(one) for one in courses])),
        }

    def _old(self, course: Dynamics) -> Tensor:
        """(pictures,): of the last concepts on the object, the part that the untrained network had too."""
        first, last = (course.concepts[place] & self.study.foreground for place in (0, -1))
        sizes = last.flatten(1).sum(1)
        return (first & last).flatten(1).sum(1)[sizes > 0] / sizes[sizes > 0]


def _percent(values: Tensor) -> float:
    return 100 * float(values.double().mean())


# ---- over arms, seeds and layers -------------------------------------------------------------------------------------


def means_of(
    measured: Measure,
    arms: Sequence[str],
    seeds: Sequence[int],
    layers: Sequence[str],
) -> dict[str, Values]:
    """measure -> arm -> seed -> mean over layers (`mean_over_layers`), of what `measured(arm, seed, layer)` gives.

    >>> means_of(lambda arm, seed, layer: {"rho": float(layer[-1])}, ["kd"], [0], ["fc1", "fc2"])
    {'rho': {'kd': {0: 1.5}}}
    """
    found = {arm: {seed: {layer: measured(arm, seed, layer) for layer in layers} for seed in seeds} for arm in arms}
    return {
        name: mean_over_layers(
            {
                arm: {seed: {layer: values[name] for layer, values in each.items()} for seed, each in by_seed.items()}
                for arm, by_seed in found.items()
            }
        )
        for name in found[arms[0]][seeds[0]][layers[0]]
    }


def difference(values: Values, arm: str, other: str) -> Contrast | None:
    """`arm` minus `other` over paired seeds; None where a seed of either has no number.

    >>> difference({"a": {0: 2.0, 1: 3.0}, "b": {0: 1.0, 1: math.nan}}, "a", "b") is None
    True
    """
    a, b = list(values[arm].values()), list(values[other].values())
    return paired_contrast(a, b) if np.isfinite([*a, *b]).all() else None


def mean_over_layers(values: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, dict[int, float]]:
    """arm -> seed -> mean over the layers at which every arm of that seed has a number; NaN where there is none.

    values: arm -> seed -> layer -> number, NaN where it is not defined (no image has a concept). A layer that one arm
    lacks is left out of all: means over different layers can't be compared.

    >>> mean_over_layers({"student": {0: {"fc1": 1.0, "fc2": 3.0}}, "baseline": {0: {"fc1": 5.0, "fc2": math.nan}}})
    {'student': {0: 1.0}, 'baseline': {0: 5.0}}
    """
    seeds = next(iter(values.values()))
    common = {
        seed: [layer for layer in seeds[seed] if all(math.isfinite(found[seed][layer]) for found in values.values())]
        for seed in seeds
    }
    return {
        arm: {
            seed: float(np.mean([found[seed][layer] for layer in layers])) if layers else math.nan
            for seed, layers in common.items()
        }
        for arm, found in values.items()
    }
