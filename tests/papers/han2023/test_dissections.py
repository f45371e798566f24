"""Dissections of a study's networks: those of `dissect`, made once, whichever process makes them."""

from __future__ import annotations

import pytest
import torch

from kdlib.metrics.dissection.controls import dissect_with_mixture
from kdlib.metrics.dissection.dissect import Dissection, dissect
from kdlib.papers.han2023 import dissections
from kdlib.papers.han2023.dissections import DissectionPlan, dissect_arms, dissect_mixtures
from kdlib.papers.han2023.study import HanStudy

PLAN = DissectionPlan("layer3", quantile=0.02, denominator="original")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        study = HanStudy("concept_world", "smoke", n_seeds=2, device="cpu")
        study.train(["scratch"])
        yield study


def same(one: Dissection, other: Dissection) -> bool:
    fields = ("thresholds", "score", "dead", "activated_fraction")
    return (
        all(torch.equal(getattr(one, name), getattr(other, name)) for name in fields)
        and all(torch.equal(one.iou[category], other.iou[category]) for category in one.iou)
        and (one.best_concept, one.best_category, one.layer) == (other.best_concept, other.best_category, other.layer)
        and one.concept_names == other.concept_names
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_each_network_is_dissected_as_by_itself_to_the_last_bit(study, workers, tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    networks = {("scratch", seed): study.model("scratch", seed) for seed in study.seeds}
    found = dissect_arms(study, ["scratch", "untrained"], PLAN, workers=workers)
    networks |= {("untrained", seed): study.untrained(seed) for seed in study.seeds}
    for (arm, seed), network in networks.items():
        alone = dissect(network, study.part("probe"), "layer3", quantile=0.02, denominator="original")
        assert same(found[arm][study.seeds.index(seed)], alone)


def test_what_is_on_file_is_not_dissected_again_and_says_the_same(study, monkeypatch):
    first = dissect_arms(study, ["scratch"], PLAN)["scratch"]

    def refuse(*arguments, **options):
        raise AssertionError("it is on file")

    monkeypatch.setattr(dissections, "dissect", refuse)
    again = dissect_arms(study, ["scratch"], PLAN)["scratch"]
    assert all(same(one, other) for one, other in zip(first, again, strict=True))
    with pytest.raises(AssertionError, match="on file"):  # another plan is another measurement
        dissect_arms(study, ["scratch"], DissectionPlan("layer3", quantile=0.03))


def test_a_mixture_is_turned_by_the_seed_of_its_network(study):
    mixtures = dissect_mixtures(study, ["scratch"], PLAN, seeds=[1])["scratch"]
    how = {"quantile": 0.02, "denominator": "original"}
    _, alone = dissect_with_mixture(study.model("scratch", 1), study.part("probe"), "layer3", seed=1, **how)
    assert [same(mixture, alone) for mixture in mixtures] == [True]
