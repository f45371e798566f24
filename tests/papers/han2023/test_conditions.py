"""What gates, controls and figures read is filed from dissections and accuracies, one number a replicate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from kdlib.claims import load_claims
from kdlib.metrics.dissection.dissect import Dissection, dissect_activations
from kdlib.papers.chapter import Chapter
from kdlib.papers.han2023 import conditions
from kdlib.papers.han2023.arms import KD_SCHEDULES, SCRATCH_SCHEDULES
from kdlib.papers.han2023.conditions import (
    CURVE_TAUS,
    in_percent,
    matching_of,
    measure_accuracies,
    measure_concepts,
    measure_curves,
    measure_detectors,
    measure_matching,
    measure_mixtures,
    measure_teachers,
    schedules_for,
    supported,
)
from kdlib.papers.han2023.dissections import DissectionPlan, dissect_arms
from kdlib.papers.han2023.study import HanStudy

REPLICATES = (4, 5)


def dissection(seed: int) -> Dissection:
    """Units whose regions lie on a concept by chance, so that counts fall with the threshold."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 6, (12, 6, 6), generator=generator)
    units = torch.rand(12, 10, 6, 6, generator=generator)
    return dissect_activations([(units, {"object": masks})], {"object": ("unlabelled", *"abcde")}, quantile=0.1)


@pytest.fixture(scope="module")
def dissections() -> dict[str, list[Dissection]]:
    return {"kd": [dissection(0), dissection(1)], "scratch": [dissection(2), dissection(3)]}


@pytest.fixture
def chapter() -> Chapter:
    study: Any = SimpleNamespace(seeds=REPLICATES, device="cpu")
    found = Chapter("han2023_kd_methods")
    found.start(study, preset="smoke", seed=4)
    return found


def values(chapter: Chapter, name: str) -> list[float]:
    measured = chapter.record.measurements[name]
    assert measured.seeds == REPLICATES
    return list(measured.values)


def test_each_replicate_s_curve_is_on_file_threshold_by_threshold(chapter, dissections):
    measure_curves(chapter, dissections)
    for arm, networks in dissections.items():
        for tau in CURVE_TAUS:
            expected = [10.0 * one.count(tau) for one in networks]  # of 10 units
            assert values(chapter, f"detectors_from_{tau:g}/{arm}") == pytest.approx(expected)
        areas = [float(one.score.mean()) for one in networks]
        assert values(chapter, f"detector_curve_area/{arm}") == pytest.approx(areas)
    curve = [values(chapter, f"detectors_from_{tau:g}/kd")[0] for tau in CURVE_TAUS]
    assert curve == sorted(curve, reverse=True) and curve[0] > curve[-1]


def test_different_concepts_are_counted_once(chapter, dissections):
    measure_concepts(chapter, dissections, 0.1)
    expected = [
        len({one.best_concept[unit] for unit in np.flatnonzero(one.detectors(0.1))}) for one in dissections["kd"]
    ]
    assert values(chapter, "unique_concepts/kd") == expected
    assert max(expected) > 1


def test_detectors_are_shares_of_units_and_say_of_how_many(chapter, dissections):
    percent = measure_detectors(chapter, dissections, 0.1)
    assert percent["kd"] == [10.0 * one.count(0.1) for one in dissections["kd"]]
    assert chapter.record.measurements["detectors/kd"].units == 10
    assert values(chapter, "object_detectors/kd") == percent["kd"]  # there is no other category
    assert "scene_detectors/kd" not in chapter.record.measurements


def study_of(data: Any, val: dict[str, list[float]] | None = None, replicates: int = 3) -> Any:
    def accuracies(arm: str, part: str) -> list[float]:
        assert part == "val"
        return (val or {})[arm]

    return cast(Any, SimpleNamespace(data=data, seeds=range(replicates), accuracies=accuracies))


@pytest.mark.parametrize(("kd", "replicates", "own"), [(0.91, 3, True), (0.89, 3, False), (0.91, 2, False)])
def test_kd_s_own_schedules_are_needed_where_it_is_above_all_of_scratch(kd, replicates, own):
    lengths = dict(zip(SCRATCH_SCHEDULES, (0.8, 0.84, 0.86, 0.88, 0.9), strict=True))
    val = {arm: [value] * replicates for arm, value in (lengths | {"kd_t4": kd}).items()}
    wanted = schedules_for(study_of("concept_world", val, replicates), ["scratch", "kd_t4"])
    assert wanted == [*SCRATCH_SCHEDULES, *(KD_SCHEDULES if own else ())]


# ---- controls of claim 8a, Self-KD against scratch ------------------------------------------------------------------

EIGHT = tuple(range(8))
SHIFT = [replicate % 3 / 2 for replicate in EIGHT]  # replicates differ, alike for all arms
UNITS = 200
ACCURACY = {"scratch_7": 80.0, "scratch_10": 83.0, "scratch": 86.0, "scratch_20": 88.0, "scratch_28": 89.0}
ACCURACY |= {"self_kd": 87.0, "self_teacher": 86.0, "guessing": 5.0}
DETECTORS = {"scratch_7": 44.0, "scratch_10": 47.0, "scratch": 50.0, "scratch_20": 52.0, "scratch_28": 53.0}
DETECTORS |= {"untrained": 10.0}


def judged(self_kd: float) -> tuple[Chapter, Any]:
    """The chapter with all that claim 8a's gates read, and its study; self_kd: percent of units that are detectors."""
    found = Chapter("han2023_kd_methods")
    study: Any = SimpleNamespace(
        seeds=EIGHT,
        device="cpu",
        accuracies=lambda arm, part: [(ACCURACY[arm] + shift) / 100 for shift in SHIFT],
    )
    found.start(study, preset="smoke", seed=0)
    found.measure("accuracy", {arm: [value + s for s in SHIFT] for arm, value in ACCURACY.items()}, "percent")
    found.measure("probe_images", {"all": [5000.0] * 8}, "images")
    detectors = {arm: [value + s for s in SHIFT] for arm, value in (DETECTORS | {"self_kd": self_kd}).items()}
    # Self-KD's lead varies, as a difference without any spread would look like an error.
    detectors["self_kd"] = [value + replicate % 2 for value, replicate in zip(detectors["self_kd"], EIGHT, strict=True)]
    found.measure("detectors", detectors, "percent of units", units=UNITS)
    return found, study


def test_what_accuracy_explains_is_filed_as_the_control_s_effect():
    chapter, study = judged(self_kd=60.0)
    assert measure_matching(chapter, study) == []
    explained = chapter.record.measurements["detectors_by_accuracy/self_kd"]
    assert explained.unit == "log odds"
    # At 87 % scratch has 51 % detectors, one more than at its own accuracy.
    expected = np.log((0.51 / 0.49) / (0.50 / 0.50))
    assert np.mean(explained.values) == pytest.approx(expected, rel=0.1)


def test_a_claim_whose_accuracy_no_schedule_has_is_named(monkeypatch):
    monkeypatch.setitem(ACCURACY, "self_kd", 95.0)
    chapter, study = judged(self_kd=60.0)
    assert measure_matching(chapter, study) == ["8a"]
    assert "detectors_by_accuracy/self_kd" not in chapter.record.measurements


@pytest.mark.parametrize(("self_kd", "mixed"), [(60.0, True), (49.5, False)])
def test_mixtures_are_dissected_of_supported_claims_alone(self_kd, mixed, monkeypatch, dissections):
    asked = []

    def mixtures(study, arms, plan):
        assert chapter.record.verdicts["han2023.8a"].word == "supported"
        asked.extend(arms)
        return dict.fromkeys(arms, dissections["kd"] * 4)

    monkeypatch.setattr(conditions, "dissect_mixtures", mixtures)
    chapter, study = judged(self_kd)
    arms = measure_mixtures(chapter, study, conditions.DissectionPlan("layer3"), 0.1)
    assert arms == asked == (["self_kd", "scratch"] if mixed else [])
    assert ("mixture_detectors/self_kd" in chapter.record.measurements) == mixed
    if not mixed:
        assert chapter.record.verdicts["han2023.8a"].word != "supported"


# ---- controls of the chapter on detectors ----

NOTEBOOK = "han2023_concept_detectors"
CHAPTERS_ARMS = ("scratch", "label_smoothing", "kd", "kd_t4")
COUNT = 8


class Drawn:
    """A study whose accuracies are given; nothing is trained."""

    device = "cpu"

    def __init__(self, levels: dict[str, float]) -> None:
        self.levels, self.seeds = levels, tuple(range(COUNT))

    def accuracies(self, arm: str, part: str = "test") -> list[float]:
        return [(self.levels[arm] + 0.1 * (seed % 3)) / 100 for seed in self.seeds]


VAL_LEVELS = dict(zip(SCRATCH_SCHEDULES, (80.0, 84.0, 86.0, 88.0, 89.0), strict=True))
VAL_LEVELS |= {"kd": 87.0, "kd_t4": 91.0, "kd_t4_7": 85.0, "kd_t4_10": 88.5, "label_smoothing": 86.0}


@pytest.fixture
def drawn():
    return Drawn(VAL_LEVELS)


@pytest.fixture
def opened(drawn):
    chapter = Chapter(NOTEBOOK)
    chapter.start(drawn, preset="quick")
    return chapter


def file_detectors(chapter, study, more=0.0):
    """Detectors that follow accuracy, and `more` points of the units in KD at T = 4."""
    for arm, level in VAL_LEVELS.items():
        extra = more if arm.startswith("kd_t4") else 0.0
        values = [level / 2 + extra + 0.05 * (seed % 4) for seed in study.seeds]
        chapter.measure("detectors", {arm: values}, "percent of units", units=128)


def test_every_control_of_accuracy_is_filed_under_the_name_that_its_claim_reads(opened, drawn):
    chapter, study = opened, drawn
    file_detectors(chapter, study)
    assert measure_matching(chapter, study) == []
    wanted = {
        control.reads
        for claim in chapter.claims.values()
        if claim.metric == "detectors"
        for control in claim.conditions.controls
        if "_by_accuracy/" in control.reads
    }
    filed = {name for name in chapter.record.measurements if "_by_accuracy/" in name}
    assert filed == wanted and len(wanted) == 5
    assert {chapter.record.measurements[name].unit for name in filed} == {"log odds"}


def test_a_claim_whose_arm_no_schedule_surrounds_is_named(drawn):
    chapter = Chapter(NOTEBOOK)
    chapter.start(drawn, preset="quick")
    file_detectors(chapter, drawn)
    far = Drawn(VAL_LEVELS | {"label_smoothing": 60.0})
    assert measure_matching(chapter, far) == ["2b", "3c", "9d"]


def test_matching_in_points_is_of_the_filed_values(opened, drawn):
    chapter, study = opened, drawn
    file_detectors(chapter, study, more=4.0)
    matching = matching_of(chapter, study, "detectors", CHAPTERS_ARMS, units=None)
    beyond = matching.beyond_accuracy("kd_t4")
    assert sum(beyond) / len(beyond) == pytest.approx(4.0, abs=0.3)


def test_what_is_not_judged_is_not_supported(opened, drawn):
    chapter, study = opened, drawn
    file_detectors(chapter, study, more=10.0)
    assert not supported(chapter, "9b")  # its gates are not measured
    assert load_claims("han2023")["han2023.9b"].needs


def test_accuracies_are_exact_shares_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    study = HanStudy("concept_world", "smoke", n_seeds=2, device="cpu")
    study.train(["teacher", "scratch"])
    chapter = Chapter(NOTEBOOK)
    chapter.start(study, preset="smoke")
    found = measure_accuracies(chapter, study, ["teacher", "scratch"])
    assert all(value * 2 == int(value * 2) for value in found["scratch"])  # of 200 images
    assert found["scratch"] == in_percent(study, "scratch")
    assert chapter.record.measurements["accuracy/guessing"].values == (5.0, 5.0)
    measure_teachers(chapter, study)
    assert chapter.record.measurements["probe_images/all"].values == (200.0, 200.0)
    assert 0 < chapter.record.measurements["sibling_mass_ratio/teacher"].values[0] < 100
    found = dissect_arms(study, ["scratch", "untrained"], DissectionPlan(study.last_stage))
    shares = measure_detectors(chapter, found, 0.05)
    assert isinstance(found["scratch"][0], Dissection)
    assert shares["scratch"] == [100 * one.count(0.05) / 32 for one in found["scratch"]]
    assert chapter.record.measurements["object_detectors/untrained"].units == 32
