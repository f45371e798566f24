"""Each step of Han et al.'s argument is drawn from the records that judge it, the largest preset first."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest

from kdlib.claims import Record, load_claims, read_records
from kdlib.papers.han2023.figures.overview import FIGURES

pytestmark = pytest.mark.usefixtures("bare_claims")
ROOT = Path(__file__).resolve().parents[4]
CLAIMS = load_claims("han2023")
STEPS = ("categories", "similarity", "controls", "every_method", "other_measures")


def record_of(notebook: str, metrics: dict[str, dict[str, float]], preset: str = "quick", seeds: int = 3) -> Record:
    """A record in which seed s of an arm lies s above the value given for the arm."""
    record = Record(f"han2023_{notebook}", {"preset": preset, "n_seeds": seeds})
    for metric, arms in metrics.items():
        for arm, value in arms.items():
            unit = "percent of units" if "detectors" in metric else "percent"
            record.measure(f"{metric}/{arm}", {seed: value + seed for seed in range(seeds)}, unit)
    return record


def test_every_step_has_a_figure_from_the_committed_records():
    records = read_records([ROOT / "book/results"])
    for name in (*STEPS, "temperatures"):
        figure, words = FIGURES[name](CLAIMS, records)
        assert len(figure.axes) >= 2 and len(words) > 100, name


@pytest.mark.parametrize("name", STEPS)
def test_without_records_there_is_no_figure(name):
    assert FIGURES[name](CLAIMS, []) is None


def test_categories_show_every_seed_and_say_where_there_is_nothing():
    arms = {"scratch": 20.0, "label_smoothing": 30.0, "kd": 25.0}
    record = record_of("concept_detectors", {"object_detectors": arms})
    for arm in arms:
        record.measure(f"scene_detectors/{arm}", dict.fromkeys(range(3), 0.0), "percent of units")
    figure, words = FIGURES["categories"](CLAIMS, [record])
    objects, scenes = figure.axes
    drawn = np.concatenate([points.get_offsets() for points in objects.collections if len(points.get_offsets()) == 3])
    assert sorted(drawn[:, 1]) == [20, 21, 22, 25, 26, 27, 30, 31, 32]
    assert [text.get_text() for text in scenes.texts] == ["none in any network"] and not objects.texts
    assert "Distilled (KD): mean 26.0 % of units, seeds 25.0 to 27.0" in words


def test_the_paper_s_entropy_is_the_claims_and_stands_apart():
    arms = {"scratch": 70.0, "label_smoothing": 60.0, "kd": 71.0}
    figure, words = FIGURES["similarity"](CLAIMS, [record_of("concept_detectors", {"sibling_mass_ratio": arms})])
    assert "Scratch 2.8986, Label smoothing 2.604, Distilled (KD) 2.9041" in words
    assert figure.axes[0].get_ylabel() == "entropy within the category"
    assert figure.axes[1].get_title(loc="left") == "Here: 3 seeds, quick"


def test_methods_stand_in_rows_and_the_larger_preset_is_taken():
    arms = {"scratch": 40.0, "kd": 45.0, "self_kd": 50.0, "at": 44.0}
    metrics = {"accuracy": arms, "detectors": arms}
    small, large = (record_of("kd_methods", metrics, preset, seeds) for preset, seeds in (("quick", 3), ("retrain", 8)))
    figure, words = FIGURES["every_method"](CLAIMS, [small, large])
    assert figure.get_suptitle() == "8 seeds, retrain"
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["Scratch", "Distilled (KD)", "Self-KD", "AT"]  # what is not on file has no row
    assert "Self-KD: mean 53.5 %, seeds 50.0 to 57.0" in words
    without = {metric: {"scratch": 40.0, "kd": 45.0} for metric in metrics}
    assert FIGURES["every_method"](CLAIMS, [record_of("kd_methods", without)]) is None


def test_other_measures_take_each_panel_from_the_record_that_judges_its_claim():
    rates = {"five_band_false_positive_rate": {"scratch": 6.0, "kd": 5.0}}
    measures = record_of("other_measures", rates, seeds=9)
    nets = record_of("other_data", {"detectors": {"deeper_scratch": 80.0, "deeper_kd": 82.0, "kd": 1.0}}, "retrain", 8)
    measures.claim("han2023.7f")
    nets.claim("han2023.7l")
    figure, words = FIGURES["other_measures"](CLAIMS, [measures, nets])
    shown = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title(loc="left")[:3] for axis in shown] == ["7f.", "7l."]
    assert [axis.get_xlabel() for axis in shown] == [
        "claimed: KD lower\n9 seeds, quick", "claimed: KD higher\n8 seeds, retrain",
    ]  # fmt: skip
    assert "means: Scratch 10.0, Distilled (KD) 9.0; claimed: KD lower; supported" in words
    assert "means: Scratch 83.5, Distilled (KD) 85.5" in words


def test_temperatures_tell_the_change_from_the_lowest_to_the_highest():
    arms = {"ls_teacher_t1": 50.0, "ls_teacher_t8": 47.0}
    metrics = dict.fromkeys(("accuracy", "detectors", "sibling_mass_ratio"), arms)
    figure, words = FIGURES["temperatures"](CLAIMS, [record_of("class_similarity", metrics)])
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["T = 8 minus T = 1: −3.0 (−3.0 to −3.0) points"] * 3
    assert "siblings' share (%): 51.0 at T = 1, 48.0 at T = 8" in words


def test_a_panel_s_title_says_what_the_record_says_of_its_claims():
    arms = {"scratch": 20.0, "label_smoothing": 15.0, "kd": 30.0}
    record = record_of("concept_detectors", {"accuracy": arms, "detectors": arms}, seeds=8)
    record.claim("han2023.1b")
    figure, _ = FIGURES["headline"](CLAIMS, [record])
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[3] == "Here: small networks, 8 seeds, quick\nKD gives more concept detectors: supported"
    assert titles[1] == "Here: small networks, 8 seeds, quick"  # no claim about accuracy was judged


def test_methods_are_grouped_by_their_verdict():
    arms = {"scratch": 40.0, "kd": 45.0, "self_kd": 50.0, "at": 44.0, "ft": 30.0}
    record = record_of("kd_methods", {"accuracy": arms, "detectors": arms}, seeds=8)
    for claim in ("8a", "7a", "7b"):
        record.claim(f"han2023.{claim}")
    figure, _ = FIGURES["every_method"](CLAIMS, [record])
    assert figure.axes[1].get_title(loc="left").split("\n", 1)[1].replace("\n", " ") == (
        "supported: Self-KD, AT; contradicted: FT"
    )


@pytest.mark.parametrize("name", FIGURES)
def test_panels_stand_below_each_other_and_no_axis_shows_what_cannot_occur(name):
    figure, _ = FIGURES[name](CLAIMS, read_records([ROOT / "book/results"]))
    assert figure.get_size_inches()[0] == 4.8
    figure.draw_without_rendering()
    if name == "other_measures":
        return
    lefts = [axis.get_position().x0 for axis in figure.axes]
    assert max(lefts) - min(lefts) < 0.02
    for axis in figure.axes:
        for label, (low, high) in ((axis.get_xlabel(), axis.get_xlim()), (axis.get_ylabel(), axis.get_ylim())):
            if "%" in label:
                assert low > -4 and high < 104, label
