"""What the gates and controls of a chapter's claims read, measured on its study and filed in its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from kdlib.claims.claim import Claim
from kdlib.claims.rule import SUPPORTED
from kdlib.cohort.protocol import read_protocol
from kdlib.metrics.accuracy_matching import FEWEST
from kdlib.metrics.class_similarity import sibling_mass_ratio
from kdlib.metrics.dissection.dissect import TAU, Dissection
from kdlib.papers.chapter import Chapter
from kdlib.papers.han2023.arms import KD_SCHEDULES, SCRATCH_SCHEDULES
from kdlib.papers.han2023.dissections import DissectionPlan, dissect_mixtures
from kdlib.papers.han2023.matching import Matching, in_log_odds
from kdlib.papers.han2023.study import HanStudy

PERCENT_OF_UNITS = "percent of units"
CURVE_TAUS = tuple(round(0.02 * step, 2) for step in range(1, 16))  # IoU thresholds of curves on file, to 0.3
_CATEGORIES = ("object", "scene")
_BY_ACCURACY, _MIXTURE = "_by_accuracy/", "mixture_"


def sibling_percent(study: HanStudy, arm: str, seed: int | None = None) -> float:
    """Of the probability on wrong classes, the percentage on siblings: the mean over test images that have some."""
    test = study.part("test")
    ratio, chance = sibling_mass_ratio(study.logits(arm, seed), test.labels, test.superclass_of)
    return 100 * float(ratio[chance > 0].mean())


def measure_accuracies(chapter: Chapter, study: HanStudy, arms: Sequence[str]) -> dict[str, list[float]]:
    """File accuracies on test in percent, those of guessing besides, and give those of the arms."""
    found = {arm: [100 * right for right in study.accuracies(arm)] for arm in arms}
    guessing = 100 / len(study.part("test").class_names)
    chapter.measure("accuracy", found | {"guessing": [guessing] * len(study.seeds)}, "percent")
    return found


def measure_teachers(chapter: Chapter, study: HanStudy) -> None:
    """File what gates read of the teachers: that they speak of siblings; and the number of probe images."""
    chapter.measure("probe_images", {"all": [float(len(study.part("probe")))] * len(study.seeds)}, "images")
    if len(study.part("test").superclass_names) > 1:
        ratios = [sibling_percent(study, "teacher", seed) for seed in study.seeds]
        chapter.measure("sibling_mass_ratio", {"teacher": ratios}, "percent")


def measure_detectors(
    chapter: Chapter, dissections: Mapping[str, Sequence[Dissection]], tau: float, *, metric: str = "detectors"
) -> dict[str, list[float]]:
    """File the share of units that are detectors, and of objects and of scenes alone, in percent; give the first."""
    units = next(iter(dissections.values()))[0].num_units

    def share(count: int) -> float:
        return 100 * count / units

    found = {arm: [share(one.count(tau)) for one in networks] for arm, networks in dissections.items()}
    chapter.measure(metric, found, PERCENT_OF_UNITS, units=units)
    for category in _CATEGORIES:
        if category in next(iter(dissections.values()))[0].iou:
            counted = {
                arm: [share(one.count_by_category(tau)[category]) for one in networks]
                for arm, networks in dissections.items()
            }
            name = metric.replace("detectors", f"{category}_detectors")
            chapter.measure(name, counted, PERCENT_OF_UNITS, units=units)
    return found


def measure_curves(
    chapter: Chapter, dissections: Mapping[str, Sequence[Dissection]], taus: Sequence[float] = CURVE_TAUS
) -> None:
    """File what needs no tau, or shows all: each replicate's curve of detectors, its area, and unique concepts.

    "detectors_from_0.05/kd" are the shares of units with an IoU of 0.05 or more; the area is the mean best IoU.
    """
    units = next(iter(dissections.values()))[0].num_units
    for tau in taus:
        shares = {arm: [100 * one.count(tau) / units for one in found] for arm, found in dissections.items()}
        chapter.measure(f"detectors_from_{tau:g}", shares, PERCENT_OF_UNITS, units=units)
    areas = {arm: [one.curve_area for one in found] for arm, found in dissections.items()}
    chapter.measure("detector_curve_area", areas, "IoU")


def measure_concepts(chapter: Chapter, dissections: Mapping[str, Sequence[Dissection]], tau: float) -> None:
    """File how many different concepts a network's detectors have."""
    found = {arm: [float(one.unique_concepts(tau)) for one in networks] for arm, networks in dissections.items()}
    chapter.measure("unique_concepts", found, "concepts")


def threshold_of(study: HanStudy) -> float:
    """The IoU from which a unit counts as a detector: that of the data's population, the paper's where it has none."""
    populations = read_protocol().populations
    population = populations.get(study.data) if isinstance(study.data, str) else None
    return population.tau if population and population.tau else TAU


def schedules_for(study: HanStudy) -> list[str]:
    """The schedules that accuracies are matched by: scratch's, and KD's own where KD at T = 4 is above all of them."""
    accuracies = [study.accuracies(arm, "val") for arm in SCRATCH_SCHEDULES]
    wanted = list(SCRATCH_SCHEDULES)
    if len(study.seeds) >= FEWEST and fmean(study.accuracies("kd_t4", "val")) > max(map(fmean, accuracies)):
        wanted += KD_SCHEDULES
    return wanted


def matching_of(chapter: Chapter, study: HanStudy, metric: str, arms: Sequence[str], units: int | None) -> Matching:
    """The accuracy matching of a measure on file; units: of how many a share is, for log odds."""
    needed = dict.fromkeys((*SCRATCH_SCHEDULES, *KD_SCHEDULES, *arms))
    measured = chapter.record.measurements
    values = {arm: list(measured[f"{metric}/{arm}"].values) for arm in needed if f"{metric}/{arm}" in measured}
    accuracy = {arm: [100 * right for right in study.accuracies(arm, "val")] for arm in values}
    own = {"kd_t4": [arm for arm in KD_SCHEDULES if arm in values]}
    schedules = [arm for arm in SCRATCH_SCHEDULES if arm in values]
    return Matching(accuracy, in_log_odds(values, units) if units else values, schedules, own)


def measure_matching(chapter: Chapter, study: HanStudy) -> list[str]:
    """File what accuracies alone explain of each claim that has such a control; give the claims without a match."""
    unmatched = []
    for claim, name in _controls(chapter, lambda reads: _BY_ACCURACY in reads):
        metric = claim.metric
        units = _units(chapter, claim)
        matching = matching_of(chapter, study, metric, (claim.arm_a, claim.arm_b), units)
        explained = matching.explained(claim.arm_a, claim.arm_b)
        if explained is None:
            unmatched.append(claim.short_id)
            continue
        of, arm = name.split("/")
        chapter.measure(of, {arm: explained}, "log odds" if units else claim.unit)
    return unmatched


def measure_mixtures(chapter: Chapter, study: HanStudy, plan: DissectionPlan, tau: float) -> list[str]:
    """Dissect random mixtures of the networks of claims that are supported so far, and file their detectors.

    Of what was not found, nothing can be explained away. Gives the arms whose mixtures were dissected.
    """
    arms: dict[str, None] = {}
    for claim, _ in _controls(chapter, lambda reads: reads.startswith(_MIXTURE)):
        if not chapter.record.lacks(claim.id) and chapter.record.claim(claim.id).word == SUPPORTED:
            arms |= dict.fromkeys((claim.arm_a, claim.arm_b))
    if arms:
        measure_detectors(chapter, dissect_mixtures(study, list(arms), plan), tau, metric="mixture_detectors")
    return list(arms)


def _units(chapter: Chapter, claim: Claim) -> int | None:
    if claim.conditions.smallest_odds_ratio is None:
        return None
    return chapter.record.measurements[f"{claim.metric}/{claim.arm_a}"].units


def _controls(chapter: Chapter, wanted: Callable[[str], bool]) -> Iterator[tuple[Claim, str]]:
    """The claims of a chapter whose arms are measured, each with what one of its controls reads."""
    for claim in chapter.claims.values():
        arms = (f"{claim.metric}/{claim.arm_a}", f"{claim.metric}/{claim.arm_b}")
        if all(name in chapter.record.measurements for name in arms):
            yield from ((claim, one.reads) for one in claim.conditions.controls if wanted(one.reads))
