"""tau is set on students from scratch alone, where half of their units are detectors."""

from __future__ import annotations

import json

import pytest

from kdlib.capture import last_stages
from kdlib.cohort.population import Population
from kdlib.cohort.protocol import read_protocol
from kdlib.cohort.threshold import RESULTS, TAUS, read_results, save, scratch_shares, table, threshold
from kdlib.metrics.dissection.dissect import dissect
from kdlib.runs.arms import Arm, Net
from kdlib.runs.store import get_or_train
from kdlib.train.recipe import Recipe


@pytest.fixture(scope="module")
def population() -> Population:
    options = {"n_train": 64, "n_val": 20, "n_test": 20, "n_probe": 60}
    net = Net("small_resnet", {"depth": 8, "width": 4, "features": 8}, Recipe(epochs=1, batch_size=32))
    return Population("concept_world", options, {"student": net}, {"scratch": Arm("cross_entropy")})


def test_shares_are_those_of_each_replicate_s_own_dissection(population):
    shares = scratch_shares(population, [5, 6], workers=1)
    assert list(shares) == [5, 6]
    for replicate in (5, 6):
        splits = population.splits(replicate)
        model = get_or_train(population.spec("scratch", replicate), splits, device="cpu").model("last")
        found = dissect(model, splits.probe, last_stages(model, 1)[0])
        assert shares[replicate] == [100 * int((found.score >= tau).sum()) / 8 for tau in TAUS]
        assert shares[replicate] == sorted(shares[replicate], reverse=True)


def test_the_tau_nearest_to_half_is_taken_and_the_lower_of_two():
    def shares(*first):
        return {0: [*first, *[0.0] * (len(TAUS) - len(first))]}

    assert threshold(shares(100, 70, 45, 10)) == 0.03
    assert threshold(shares(100, 60, 40, 10)) == 0.02
    assert threshold({0: shares(100, 80)[0], 1: shares(80, 30)[0]}) == 0.02  # the mean of 80 and 30 decides


def test_shares_on_file_are_kept_beside_those_of_other_data(tmp_path):
    path = tmp_path / "threshold.json"
    save("here", {1: [100.0, 50.0, *[0.0] * 28]}, path)
    save("there", {1: [50.0, *[0.0] * 29]}, path)
    found = read_results(path)
    assert {data: row["tau"] for data, row in found.items()} == {"here": 0.02, "there": 0.01}
    assert found["here"]["shares"] == {"1": [100.0, 50.0, *[0.0] * 28]}
    assert len(table({1: [1.0] * 30, 2: [2.0] * 30}).splitlines()) == 2 + len(TAUS)


def test_the_protocol_s_tau_is_the_one_that_its_shares_give():
    on_file = json.loads(RESULTS.read_text())
    for name, population in read_protocol().populations.items():
        assert population.tau == (on_file[name]["tau"] if name in on_file else None)
        if name in on_file:
            assert on_file[name]["tau"] == threshold(on_file[name]["shares"])
