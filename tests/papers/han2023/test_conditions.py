"""What gates and controls of a chapter's claims read: measured on the study, filed under their names."""

from __future__ import annotations

import pytest

from kdlib.claims import load_claims
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.papers.chapter import Chapter
from kdlib.papers.han2023 import conditions
from kdlib.papers.han2023.arms import KD_SCHEDULES, SCRATCH_SCHEDULES
from kdlib.papers.han2023.conditions import (
    in_percent,
    matching_of,
    measure_accuracies,
    measure_detectors,
    measure_matching,
    measure_mixtures,
    measure_teachers,
    schedules_for,
    supported,
)
from kdlib.papers.han2023.dissections import DissectionPlan, dissect_arms
from kdlib.papers.han2023.study import HanStudy

NOTEBOOK = "han2023_concept_detectors"
ARMS = ("scratch", "label_smoothing", "kd", "kd_t4")
REPLICATES = 8


class Drawn:
    """A study whose accuracies are given; nothing is trained."""

    device = "cpu"

    def __init__(self, levels: dict[str, float]) -> None:
        self.levels, self.seeds = levels, tuple(range(REPLICATES))

    def accuracies(self, arm: str, part: str = "test") -> list[float]:
        return [(self.levels[arm] + 0.1 * (seed % 3)) / 100 for seed in self.seeds]


LEVELS = dict(zip(SCRATCH_SCHEDULES, (80.0, 84.0, 86.0, 88.0, 89.0), strict=True))
LEVELS |= {"kd": 87.0, "kd_t4": 91.0, "kd_t4_7": 85.0, "kd_t4_10": 88.5, "label_smoothing": 86.0}


@pytest.fixture
def study():
    return Drawn(LEVELS)


@pytest.fixture
def chapter(study):
    chapter = Chapter(NOTEBOOK)
    chapter.start(study, preset="quick")
    return chapter


def file_detectors(chapter, study, more=0.0):
    """Detectors that follow accuracy, and `more` points of the units in KD at T = 4."""
    for arm, level in LEVELS.items():
        extra = more if arm.startswith("kd_t4") else 0.0
        values = [level / 2 + extra + 0.05 * (seed % 4) for seed in study.seeds]
        chapter.measure("detectors", {arm: values}, "percent of units", units=128)


def test_every_control_of_accuracy_is_filed_under_the_name_that_its_claim_reads(chapter, study):
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


def test_a_claim_whose_arm_no_schedule_surrounds_is_named(study):
    chapter = Chapter(NOTEBOOK)
    chapter.start(study, preset="quick")
    file_detectors(chapter, study)
    far = Drawn(LEVELS | {"label_smoothing": 60.0})
    assert measure_matching(chapter, far) == ["2b", "3c", "9d"]


def test_kds_own_lengths_are_asked_for_only_where_scratch_is_never_as_accurate():
    assert schedules_for(Drawn(LEVELS), ARMS) == [*SCRATCH_SCHEDULES, *KD_SCHEDULES]
    assert schedules_for(Drawn(LEVELS | {"kd_t4": 88.0}), ARMS) == list(SCRATCH_SCHEDULES)
    assert schedules_for(Drawn(LEVELS), ("scratch", "kd")) == list(SCRATCH_SCHEDULES)


def test_matching_in_points_is_of_the_filed_values(chapter, study):
    file_detectors(chapter, study, more=4.0)
    matching = matching_of(chapter, study, "detectors", ARMS, units=None)
    beyond = matching.beyond_accuracy("kd_t4")
    assert sum(beyond) / len(beyond) == pytest.approx(4.0, abs=0.3)


def test_mixtures_are_dissected_of_supported_claims_alone(chapter, study, monkeypatch):
    asked = []
    monkeypatch.setattr(conditions, "supported", lambda chapter, short: short == "9b")

    def dissect(study, arms, plan):
        asked.extend(arms)
        return {}

    monkeypatch.setattr(conditions, "dissect_mixtures", dissect)
    monkeypatch.setattr(conditions, "measure_detectors", lambda *arguments, **options: {})
    file_detectors(chapter, study)
    assert measure_mixtures(chapter, study, DissectionPlan("layer3"), 0.09) == ["kd_t4", "scratch"] == asked


def test_what_is_not_judged_is_not_supported(chapter, study):
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
