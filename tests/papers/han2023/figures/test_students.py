"""Words, curves and tables that the chapters of many students share."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from kdlib.claims import Record
from kdlib.metrics.dissection.dissect import dissect_activations
from kdlib.papers.han2023.figures.students import (
    TAUS,
    above_scratch,
    beyond_doubt,
    draw_thresholds,
    filed,
    order_at,
    other_side,
    units_table,
)


def dissection(seed: int):
    """Units whose regions lie on a concept by chance, so that counts fall with the threshold."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 6, (12, 6, 6), generator=generator)
    units = torch.rand(12, 10, 6, 6, generator=generator)
    names = {"color": ("unlabelled", *"abcde")}
    return dissect_activations([(units, {"color": masks})], names, quantile=0.1)


@pytest.fixture(scope="module")
def networks():
    return {
        arm: [dissection(2 * place), dissection(2 * place + 1)]
        for place, arm in enumerate(("teacher", "scratch", "kd"))
    }


def test_an_arm_equal_to_scratch_is_not_above_it():
    assert above_scratch({"scratch": [1.0], "kd": [1.0], "at": [1.1]}) == "1 of 2 other kinds of student above scratch"


def test_who_changes_sides_is_named_and_nobody_else():
    values = {"scratch": [2.0, 2.0], "kd": [3.0, 3.0], "at": [1.0, 1.0]}
    assert other_side(values, values) == "none"
    assert other_side(values, values | {"at": [2.5, 2.6]}) == "AT"


def test_an_arm_that_comes_to_equal_scratch_has_not_changed_sides():
    values = {"scratch": [2.0], "kd": [3.0]}
    assert other_side(values, {"scratch": [2.0], "kd": [2.0]}) == "none"


def test_what_is_on_file_is_given_by_arm_and_nothing_else():
    record = Record("my_notebook", {"preset": "smoke"})
    record.measure("detectors/kd", {0: 1.0, 1: 2.0}, "percent of units")
    record.measure("object_detectors/scratch", {0: 3.0, 1: 4.0}, "percent of units")
    assert filed(record, "detectors", ["scratch", "kd"]) == {"kd": [1.0, 2.0]}


def test_only_arms_whose_interval_leaves_zero_out_differ_beyond_doubt():
    record = Record("my_notebook", {"preset": "smoke"})
    seeds = {
        "scratch": (1.0, 2.0, 3.0),
        "kd": (2.0, 3.1, 4.0),
        "at": (0.0, 0.9, 2.0),
        "ft": (0.0, 3.0, 3.5),
    }
    for arm, values in seeds.items():
        record.measure(f"detectors/{arm}", dict(enumerate(values)), "percent of units")
    assert beyond_doubt(record, ["kd", "at", "ft"], lambda arm: "scratch") == "KD (more), AT (fewer)"
    assert beyond_doubt(record, ["ft"], lambda arm: "scratch") == "none"


def test_units_are_means_over_replicates_and_colour_is_spelt_one_way(networks):
    rows = units_table(networks, 0.1)
    assert [row["network"] for row in rows] == ["Teacher", "Scratch", "Distilled (KD)"]
    for row, found in zip(rows, networks.values(), strict=True):
        assert row["detectors"] == row["colour"] == f"{np.mean([d.count(0.1) for d in found]):.1f}"
        active = 100 * np.mean([d.summary()["mean_activated_fraction"] for d in found])
        assert row["active (%)"] == f"{active:.2f}"


def test_the_order_is_that_of_the_mean_counts(networks):
    words = order_at(networks, 0.1)
    for threshold in (0.1, 0.2):
        counts = {arm: sum(d.count(threshold) for d in found) for arm, found in networks.items()}
        names = {"teacher": "teacher", "scratch": "scratch", "kd": "KD"}
        expected = ", ".join(names[arm] for arm in sorted(counts, key=lambda arm: -counts[arm]))
        assert f"at {threshold:g}, {expected}" in words


def test_the_title_over_the_curves_names_no_teacher(networks):
    draw_thresholds(networks, 0.1)
    figure = plt.gcf()
    counts = {arm: sum(d.count(0.1) for d in networks[arm]) for arm in ("scratch", "kd")}
    first = {"scratch": "Scratch", "kd": "Distilled (KD)"}[max(counts, key=lambda arm: counts[arm])]
    assert f"{first} at 0.1" in figure.get_suptitle().replace("\n", " ")
    assert "Teacher" not in figure.get_suptitle()
    assert figure.axes[0].lines[0].get_xdata().tolist() == pytest.approx(list(TAUS))
