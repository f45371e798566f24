"""Which layers are probed, and the first weights of the networks that have them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from kdlib.capture import find_layer
from kdlib.errors import KdlibError
from kdlib.models import MODELS, build
from kdlib.models.probed import (
    PROBED,
    dropout_probability,
    initialise,
    probed_layers,
    refuse_unknown_options,
)

NAMES = sorted(set(MODELS) - {"small_resnet", "resnet18", "resnet34", "resnet50", "small_transformer"})


@pytest.fixture(scope="module")
def networks():
    """One of each network that is probed, without memory for its weights."""
    with torch.device("meta"):
        return {name: build(name, num_classes=20) for name in NAMES}


def test_all_networks_of_the_paper_and_the_small_ones_are_here():
    large = {"alexnet", "vgg11", "vgg16", "vgg19"} | {f"resnet{n}_linear3" for n in (18, 50, 101, 152)}
    assert set(NAMES) == large | {"small_vgg", "small_alexnet"}


@pytest.mark.parametrize("name", NAMES)
def test_the_last_convolution_and_all_three_linear_layers_are_named_in_order(networks, name):
    model = networks[name]
    found = {paper: find_layer(model, path) for paper, path in probed_layers(model).items()}
    assert tuple(found) == PROBED
    kinds = (nn.Conv2d, nn.Linear)
    weighted = [module for module in model.modules() if isinstance(module, kinds)]
    assert list(found.values()) == weighted[-4:]
    assert [type(module) is nn.Linear for module in weighted[-4:]] == [False, True, True, True]
    assert sum(isinstance(module, nn.Linear) for module in weighted) == 3
    assert all(layer.weight.ndim >= 2 for layer in found.values())  # the weight whose way is measured


@pytest.mark.parametrize("name", NAMES)
def test_the_last_linear_layer_has_an_output_a_class(networks, name):
    assert find_layer(networks[name], probed_layers(networks[name])["fc3"]).out_features == 20


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_probed_network_works_in_place(networks, name):
    assert not [path for path, module in networks[name].named_modules() if getattr(module, "inplace", False)]


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_are_refused_in_one_sentence(name):
    with pytest.raises(KdlibError, match=f"{name} has no option 'wdith'; it has .*dropout$"):
        build(name, num_classes=20, wdith=8)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_whole_percent_up_to_90(networks, name):
    usual = 0.0 if name.startswith("small") else 0.5
    assert {module.p for module in networks[name].modules() if isinstance(module, nn.Dropout)} == {usual}
    with torch.device("meta"):
        model = build(name, num_classes=20, dropout=90)
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.9}
        with pytest.raises(KdlibError, match="dropout must be at most 90 percent, not 91"):
            build(name, num_classes=20, dropout=91)
        with pytest.raises(KdlibError, match=r"dropout must be a whole number from 0 to 1000000, not 0\.5"):
            build(name, num_classes=20, dropout=0.5)


def test_what_a_caller_does_to_the_answer_does_not_reach_the_network():
    model = build("small_vgg", num_classes=3)
    probed_layers(model).clear()
    assert tuple(probed_layers(model)) == PROBED


def test_a_network_without_probed_layers_is_refused():
    with pytest.raises(KdlibError, match="SmallResNet has no layers called conv, fc1, fc2, fc3; take a network that"):
        probed_layers(build("small_resnet", num_classes=3))


def test_dropout_and_options_by_hand():
    assert [dropout_probability(percent) for percent in (0, 25, 90)] == [0.0, 0.25, 0.9]
    refuse_unknown_options("net", {"width": 1}, ["width", "dropout"])
    with pytest.raises(KdlibError, match="net has no option 'a'; it has width, dropout"):
        refuse_unknown_options("net", {"b": 1, "a": 2}, ["width", "dropout"])


@pytest.mark.parametrize(("deviation", "linear"), [(0.01, 0.01), (None, math.sqrt(2 / 400))])
def test_first_weights_have_the_published_spread(deviation, linear):
    net = nn.Sequential(nn.Conv2d(50, 100, 3), nn.BatchNorm2d(100), nn.Linear(400, 300))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7.0)
    initialise(net, linear_deviation=deviation)
    convolution, norm, dense = net.requires_grad_(False)
    for weight, expected in ((convolution.weight, math.sqrt(2 / (100 * 9))), (dense.weight, linear)):
        assert float(weight.std()) == pytest.approx(expected, rel=0.02)
        assert abs(float(weight.mean())) < 0.02 * expected
        within = (weight.abs() < expected).float().mean()  # a normal distribution, not a uniform one
        assert float(within) == pytest.approx(0.683, abs=0.01)
    assert torch.equal(norm.weight, torch.ones(100))
    assert not any(layer.bias.any() for layer in net)
