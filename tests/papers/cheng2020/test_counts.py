"""What the chapter on visual concepts files: counts by arm, seed and layer, with and without the rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdlib.metrics.visual_concepts import discards, visual_concepts
from kdlib.papers.chapter import Chapter
from kdlib.papers.cheng2020 import counts
from kdlib.papers.cheng2020.counts import MEASURES, WORDS
from kdlib.papers.cheng2020.study import LAYERS, ConceptStudy

PAIR = ("student", "baseline")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield ConceptStudy(preset="smoke", device="cpu")


@pytest.fixture
def chapter(study):
    one = Chapter("cheng2020_visual_concepts")
    one.start(study, preset="smoke")
    return one


def values(chapter, name):
    return chapter.record.measurements[name].values


def test_counts_are_filed_by_layer_and_as_their_mean(chapter, study):
    counts.measure_counts(chapter, study, PAIR)
    at_fc2 = [study.concepts("student", s, "fc2").on_foreground.double().mean().item() for s in study.seeds]
    assert values(chapter, "concepts_on_object_fc2/student") == pytest.approx(at_fc2, rel=1e-5)
    by_layer = [values(chapter, f"share_on_object_{layer}/baseline") for layer in LAYERS]
    assert values(chapter, "share_on_object/baseline") == pytest.approx(np.mean(by_layer, axis=0), rel=1e-4)
    assert set(WORDS) == set(MEASURES)


def test_another_threshold_and_the_pictures_that_count_change_what_is_filed(chapter, study):
    keep = {(s, layer): torch.arange(len(study.measured)) < 2 for s in study.seeds for layer in LAYERS}
    counts.measure_counts(chapter, study, PAIR, "_few", keep=keep, threshold=0.1, mean=False)
    maps = study.maps("student", 1, "fc1")
    wanted = visual_concepts(maps, study.foreground, 0.1, keep=keep[1, "fc1"]).summary()["n_background"]
    assert values(chapter, "concepts_beside_object_fc1_few/student")[1] == pytest.approx(wanted, rel=1e-5)
    assert "concepts_beside_object_few/student" not in chapter.record.measurements


def test_the_rule_keeps_what_it_leaves_to_both(chapter, study):
    kept = counts.kept_by_both(study, PAIR)
    for (seed, layer), keep in kept.items():
        each = [discards(study.maps(arm, seed, layer)[None], study.foreground).keep for arm in PAIR]
        assert torch.equal(keep, each[0] & each[1])
    usable = counts.measure_counts_with_rule(chapter, study, PAIR, "", LAYERS)
    assert usable == [layer for layer in LAYERS if all(kept[s, layer].any() for s in study.seeds)]
    rates = counts.measure_dropped(chapter, study, PAIR)
    by_seed = [100 * discards(study.maps("student", s, "fc1")[None], study.foreground).rate() for s in study.seeds]
    assert rates["student"]["fc1"] == pytest.approx(np.mean(by_seed))


def test_a_claim_is_filed_on_the_pictures_of_both_of_its_arms(chapter, study):
    claim = chapter.claims["cheng2020.1c"]
    name = counts.measure_claim_with_rule(chapter, study, claim)
    assert name == "share_on_object_ruled_1c" and f"{name}/baseline" in chapter.record.measurements


def test_precision_and_coverage_of_the_object_and_of_the_telling_part(chapter, study):
    means = counts.measure_hits(chapter, study, PAIR)
    found = study.concepts("student", 0, "fc1")
    inside, all_of = found.on_foreground.double(), found.concepts.flatten(1).sum(1)
    hits = counts.hits(study, "student", 0, "fc1")
    assert hits["precision"] == pytest.approx(float((inside / all_of)[all_of > 0].mean()))
    assert hits["recall"] == pytest.approx(float((inside / study.foreground.flatten(1).sum(1)).mean()))
    assert set(means["student"]) == {"precision", "recall", "telling_precision", "telling_recall"}
    chance = counts.hits_by_chance(study)
    assert chance["precision"] == pytest.approx(float(study.foreground.double().mean()))
    assert 0 < chance["telling_precision"] < 1


def test_a_network_agrees_with_itself(study):
    assert counts.agreement_with(study, "baseline", "baseline") == 1
    assert counts.agreement_with(study, "student", "baseline") < 1


def test_rows_name_the_regime_only_where_it_is_another(study):
    plain = ConceptStudy(preset="smoke", device="cpu", regime="plain", network="small_alexnet")
    assert counts.setting_in_words(study, study, "fc1") == "Concept World, small VGG, FC1"
    assert counts.setting_in_words(study, plain, "fc3") == "Concept World (plain), small AlexNet, FC3"
