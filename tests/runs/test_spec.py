"""What a specification refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_runs import RECIPE, SCRATCH

from kdlib.errors import KdlibError
from kdlib.runs.spec import make_spec
from kdlib.train.recipe import Recipe


def test_what_starts_elsewhere_is_a_run_of_the_same_network():
    with pytest.raises(KdlibError, match="same network"):
        replace(SCRATCH, start=replace(SCRATCH, model="resnet18", model_options=()))
    with pytest.raises(KdlibError, match="no run to start from"):
        replace(SCRATCH, frozen_up_to="layer1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small_resnet", "kd", RECIPE, 0), "objective 'kd' needs a teacher"),
        (("small_resnet", "crossentropy", RECIPE, 0), "did you mean 'cross_entropy'"),
        (("small_resnet", "cross_entropy", RECIPE, -1), "seed must be a whole number from 0 to 4294967295, not -1"),
    ],
)
def test_a_senseless_specification_is_refused(arguments, message):
    with pytest.raises(KdlibError, match=message):
        make_spec(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 8}, "small_resnet has no option 'widht'; it has depth, width, features"),
        ({"width": 10**9}, "width must be a whole number from 0 to 4096, not 1000000000"),
        ({"width": [3]}, r"width must be a whole number from 0 to 4096, not \[3\]"),
        ({"depth": 9}, "depth must be 6 n"),
        ({"features": 10**23}, "not 100000000000000000000000"),
    ],
)
def test_options_that_no_network_has_are_refused_in_the_specification(options, message):
    with pytest.raises(KdlibError, match=message):
        make_spec("small_resnet", "cross_entropy", Recipe(epochs=1), 0, model_options=options)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (
            "label_smoothing",
            {"alhpa": 0.1},
            "objective 'label_smoothing' 'alhpa'; did you mean 'alpha'",
        ),
        ("label_smoothing", {"setting": 1}, "unknown option of objective 'label_smoothing' 'setting'"),
        ("label_smoothing", {"alpha": 2}, "alpha must be a finite number at least 0 and at most 1, not 2"),
        ("label_smoothing", {"alpha": "x" * 5000}, r"not 'x+…x+' \(5000 characters\)"),
        ("cross_entropy", {"alpha": 0.1}, "objective 'cross_entropy' has no options, but 'alpha' is given"),
    ],
)
def test_options_that_no_objective_has_are_refused_in_the_specification(objective, options, message):
    with pytest.raises(KdlibError, match=message) as refused:
        make_spec("small_resnet", objective, Recipe(epochs=1), 0, objective_options=options)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("objective", "option", "value", "message"),
    [
        ("attention_transfer", "weight", -1, "weight must be a finite number at least 0, not -1"),
        ("factor_transfer", "rate", 2, "rate must be a finite number at least 0 and at most 1, not 2"),
        ("contrastive", "negatives", 0, "negatives must be a whole number from 1 to 1000000, not 0"),
        ("contrastive", "negatives", 10**12, "negatives must be a whole number from 1 to 1000000, not 1000000000000"),
        ("contrastive", "dimension", 1.5, "dimension must be a whole number from 1 to 65536, not 1.5"),
        ("contrastive", "nce_temperature", 0, "nce_temperature must be a finite number greater than 1e-09"),
        ("self_supervision", "epochs", 10**23, "epochs must be a whole number from 1 to 100000, not 1000000"),
        ("self_supervision", "turned", -0.1, "turned must be a finite number at least 0, not -0.1"),
        ("layer_mse", "relative", 2, "relative must be 0 or 1, not 2"),
        ("layer_mse", "relative", 0.5, "relative must be 0 or 1, not 0.5"),
        ("kd", "temperature", 1e200, "less than 1e.06, not 1e.200"),
    ],
)
def test_values_that_no_objective_takes_are_refused_before_a_teacher_is_trained(objective, option, value, message):
    teacher = make_spec("small_resnet", "cross_entropy", RECIPE, 0)
    with pytest.raises(KdlibError, match=message):
        make_spec("small_resnet", objective, RECIPE, 0, objective_options={option: value}, teacher=teacher)


def test_as_many_negatives_as_the_data_suggest_is_a_specification():
    teacher = make_spec("small_resnet", "cross_entropy", RECIPE, 0)
    make_spec("small_resnet", "contrastive", RECIPE, 0, objective_options={"negatives": None}, teacher=teacher)


@pytest.mark.parametrize("model", ["small_resnte", "", 3, ["small_resnet"]])
def test_a_network_that_kdlib_does_not_have_is_refused_in_the_specification(model):
    with pytest.raises(KdlibError, match="unknown model"):
        make_spec(model, "cross_entropy", Recipe(epochs=1), 0)


def test_a_specification_draws_no_random_number():
    state = torch.random.get_rng_state()
    make_spec("small_vgg", "cross_entropy", Recipe(epochs=1), 0, model_options={"width": 5})
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("option", "place"), [("num_classes", "data"), ("mean", "data"), ("seed", "specification's")])
def test_what_is_not_the_networks_own_is_no_option_of_it(option, place):
    with pytest.raises(KdlibError, match=f"{option} is no option of small_resnet: it follows from the {place}"):
        make_spec("small_resnet", "cross_entropy", RECIPE, 0, model_options={option: 3})
