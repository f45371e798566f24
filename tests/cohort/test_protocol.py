"""The protocol is one file; what it says wrongly is refused."""

from __future__ import annotations

import pytest

from kdlib.cohort.protocol import read_protocol
from kdlib.errors import KdlibError


def test_an_arm_has_the_recipe_of_its_net_or_its_own_number_of_epochs(protocol):
    population = protocol.population("toy")
    assert {arm: population.spec(arm, 0).recipe.epochs for arm in population.arms} == {
        "teacher": 2, "scratch": 2, "short": 1, "kd": 2,
    }  # fmt: skip
    assert dict(population.spec("teacher", 0).model_options)["width"] == 8


def test_replicates_are_stacked_in_blocks(protocol):
    assert protocol.blocks() == [(0, 1, 2), (3, 4)]
    assert protocol.blocks(3) == [(0, 1, 2)]
    with pytest.raises(KdlibError, match="replicates must be a whole number from 1 to 5, not 6"):
        protocol.blocks(6)


def test_a_data_set_that_the_cohort_lacks_is_refused(protocol):
    with pytest.raises(KdlibError, match="unknown data set of the cohort 'cifar10'"):
        protocol.population("cifar10")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("replicates = 5", "", "replicates must be"),
        ("[toy.epochs]\nshort", "[toy.epochs]\nsort", r"unknown arm of \[toy.epochs\] 'sort'; did you mean 'short'"),
        ("short = 1", "short = 0", "epochs of short must be"),
        ('teacher = "teacher"', 'teacher = "tutor"', r"\[toy.arms.kd\] is taught by 'tutor', which is no arm"),
        ("[toy.arms]", "[toy.arm]", r"unknown entry of \[toy\] 'arm'; did you mean 'arms'"),
        ('net = "teacher"', "one_for_all = true", "one for all, but each replicate has its own"),
        ('objective = "kd"', 'objective = "kdd"', "unknown objective 'kdd'"),
    ],
)
def test_a_wrong_protocol_is_refused(protocol_file, old, new, message):
    text = protocol_file.read_text()
    assert old in text
    protocol_file.write_text(text.replace(old, new))
    with pytest.raises(KdlibError, match=message):
        population = read_protocol(protocol_file).population("toy")
        [population.spec(arm, 0) for arm in population.arms]


def test_the_protocol_on_file_can_be_trained_and_has_the_teachers_that_its_students_need():
    protocol = read_protocol()
    assert protocol.replicates == 16
    for population in protocol.populations.values():
        specs = {arm: population.spec(arm, 15) for arm in population.arms}
        assert len({spec.canonical() for spec in specs.values()}) == len(specs)
        assert {"teacher", "scratch", "label_smoothing", "kd_t4", "kd_t4_shuffled"} <= set(specs)
