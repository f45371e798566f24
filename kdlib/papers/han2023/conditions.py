"""What the gates and controls of a chapter's claims read, measured on its study and filed in its record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from kdlib.claims.claim import Claim
from kdlib.claims.rule import SUPPORTED
from kdlib.metrics.accuracy_matching import FEWEST
from kdlib.metrics.class_similarity import sibling_mass_ratio
from kdlib.metrics.dissection.dissect import Dissection
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


def in_percent(study: HanStudy, arm: str) -> list[float]:
    """Accuracies on test in percent, one a replicate, as exact shares of the images."""
    images = len(study.part("test"))
    return [100 * round(right * images) / images for right in study.accuracies(arm)]


def measure_accuracies(
    chapter: Chapter, study: HanStudy, arms: Sequence[str], *, metric: str = "accuracy", prefix: str = ""
) -> dict[str, list[float]]:
    """File accuracies on test in percent, those of guessing besides, and give those of the arms.

    prefix: of the names under which guessing and the teacher are filed, in a chapter of two studies.
    """
    found = {arm: in_percent(study, arm) for arm in arms}
    guessing = 100 / len(study.part("test").class_names)
    filed = {f"{prefix}{arm}" if arm == "teacher" else arm: values for arm, values in found.items()}
    filed[f"{prefix}guessing"] = [guessing] * len(study.seeds)
    chapter.measure(metric, filed, "percent", seeds=study.seeds)
    return found


def measure_teachers(chapter: Chapter, study: HanStudy) -> None:
    """File what gates read of the teachers: that they speak of siblings; and the number of probe images."""
    probe = [float(len(study.part("probe")))] * len(study.seeds)
    chapter.measure("probe_images", {"all": probe}, "images", seeds=study.seeds)
    if len(study.part("test").superclass_names) > 1:
        ratios = [sibling_percent(study, "teacher", seed) for seed in study.seeds]
        chapter.measure("sibling_mass_ratio", {"teacher": ratios}, "percent", seeds=study.seeds)


def measure_detectors(
    chapter: Chapter,
    dissections: Mapping[str, Sequence[Dissection]],
    tau: float,
    *,
    metric: str = "detectors",
    seeds: Sequence[int] | None = None,
) -> dict[str, list[float]]:
    """File the share of units that are detectors, and of objects and of scenes alone, in percent; give the first.

    seeds: of the networks, where they are not of the study that the chapter was started with.
    """
    units = next(iter(dissections.values()))[0].num_units

    def share(count: int) -> float:
        return 100 * count / units

    found = {arm: [share(one.count(tau)) for one in networks] for arm, networks in dissections.items()}
    chapter.measure(metric, found, PERCENT_OF_UNITS, units=units, seeds=seeds)
    for category in _CATEGORIES:
        if category in next(iter(dissections.values()))[0].iou:
            counted = {
                arm: [share(one.count_by_category(tau)[category]) for one in networks]
                for arm, networks in dissections.items()
            }
            name = metric.replace("detectors", f"{category}_detectors")
            chapter.measure(name, counted, PERCENT_OF_UNITS, units=units, seeds=seeds)
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


def matching_of(chapter: Chapter, study: HanStudy, metric: str, arms: Sequence[str], units: int | None) -> Matching:
    """The accuracy matching of a measure on file; units: of how many a share is, for log odds."""
    needed = dict.fromkeys((*SCRATCH_SCHEDULES, *KD_SCHEDULES, *arms))
    measured = chapter.record.measurements
    values = {arm: list(measured[f"{metric}/{arm}"].values) for arm in needed if f"{metric}/{arm}" in measured}
    accuracy = {arm: [100 * right for right in study.accuracies(arm, "val")] for arm in values}
    own = {"kd_t4": [arm for arm in KD_SCHEDULES if arm in values]}
    schedules = [arm for arm in SCRATCH_SCHEDULES if arm in values]
    return Matching(accuracy, in_log_odds(values, units) if units else values, schedules, own)


def schedules_for(study: HanStudy, arms: Sequence[str]) -> list[str]:
    """The schedules that accuracies are matched by: scratch's, and KD's own where KD at T = 4 is above all of them."""

    def mean(arm: str) -> float:
        return fmean(study.accuracies(arm, "val"))

    wanted = list(SCRATCH_SCHEDULES)
    if "kd_t4" in arms and len(study.seeds) >= FEWEST and mean("kd_t4") > max(map(mean, SCRATCH_SCHEDULES)):
        wanted += KD_SCHEDULES
    return wanted


def measure_matching(chapter: Chapter, study: HanStudy) -> list[str]:
    """File what accuracies alone explain of each claim that has such a control; give the claims without a match.

    Claims on arms that are measured on another study's seeds are left out.
    """
    unmatched = []
    for claim, name in _controls(chapter, study, lambda reads: _BY_ACCURACY in reads):
        metric = claim.metric
        units = _units(chapter, claim)
        matching = matching_of(chapter, study, metric, (claim.arm_a, claim.arm_b), units)
        explained = matching.explained(claim.arm_a, claim.arm_b)
        if explained is None:
            unmatched.append(claim.short_id)
            continue
        of, arm = name.split("/")
        chapter.measure(of, {arm: explained}, "log odds" if units else claim.unit, seeds=study.seeds)
    return unmatched


def measure_mixtures(chapter: Chapter, study: HanStudy, plan: DissectionPlan, tau: float) -> list[str]:
    """Dissect random mixtures of the networks of claims that are supported so far, and file their detectors.

    Of what was not found, nothing can be explained away. Gives the arms whose mixtures were dissected.
    """
    arms: dict[str, None] = {}
    for claim, _ in _controls(chapter, study, lambda reads: reads.startswith(_MIXTURE)):
        if supported(chapter, claim.short_id):
            arms |= dict.fromkeys((claim.arm_a, claim.arm_b))
    if arms:
        mixtures = dissect_mixtures(study, list(arms), plan)
        measure_detectors(chapter, mixtures, tau, metric="mixture_detectors", seeds=study.seeds)
    return list(arms)


def supported(chapter: Chapter, *short_ids: str) -> bool:
    """Whether one of these claims is supported by what is on file so far, its controls left aside."""
    record = chapter.record
    claims = [f"{chapter.paper}.{short}" for short in short_ids]
    return any(not record.lacks(claim) and record.claim(claim).word == SUPPORTED for claim in claims)


def _units(chapter: Chapter, claim: Claim) -> int | None:
    if claim.conditions.smallest_odds_ratio is None:
        return None
    return chapter.record.measurements[f"{claim.metric}/{claim.arm_a}"].units


def _controls(chapter: Chapter, study: HanStudy, wanted: Callable[[str], bool]) -> Iterator[tuple[Claim, str]]:
    """The claims of a chapter whose arms are measured on a study, each with what one of its controls reads."""
    measured = chapter.record.measurements
    for claim in chapter.claims.values():
        arms = (f"{claim.metric}/{claim.arm_a}", f"{claim.metric}/{claim.arm_b}")
        if all(name in measured and measured[name].seeds == study.seeds for name in arms):
            yield from ((claim, one.reads) for one in claim.conditions.controls if wanted(one.reads))
