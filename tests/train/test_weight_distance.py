"""The path length of weights, against sums written from the definition."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.errors import KdlibError
from kdlib.metrics.learning_dynamics import weight_distance
from kdlib.models import build
from kdlib.models.freezing import freeze_up_to, parameters_up_to
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe
from kdlib.train.state import Progress
from kdlib.train.weight_distance import WeightDistance


def net(**options):
    return build("small_resnet", num_classes=4, width=4, features=16, **options)


LAYER = next(name for name, module in net().named_modules() if isinstance(module, nn.Conv2d) and "layer2" in name)
RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=0.05, augment="none", distances=(LAYER,))


def norm(tensors) -> float:
    return math.sqrt(sum(value**2 for tensor in tensors for value in tensor.detach().double().flatten().tolist()))


def test_the_path_length_is_the_sum_of_the_steps_not_the_distance_to_the_start():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    first = [parameter.detach().clone() for parameter in model.parameters()]
    distance = WeightDistance(model, ["0", "1"])
    states = [first]
    for _ in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
        distance.step()
        states.append([parameter.detach().clone() for parameter in model.parameters()])
    found = distance.of_epoch()

    def slow(chosen) -> float:
        total = 0.0
        for before, after in itertools.pairwise(states):
            total += norm([after[number] - before[number] for number in chosen])
        return total / norm([first[number] for number in chosen])

    assert found["distance/0"] == pytest.approx(slow([0]), rel=1e-5)
    assert found["distance/1"] == pytest.approx(slow([2]), rel=1e-5)
    assert found["distance_up_to/0"] == pytest.approx(slow([0, 1]), rel=1e-5)
    assert found["distance_up_to/1"] == pytest.approx(slow([0, 1, 2, 3]), rel=1e-5)
    assert found["distance/0"] == pytest.approx(float(weight_distance([state[0] for state in states])[-1]), rel=1e-5)


def test_a_training_reports_the_path_length_of_each_epoch(splits):
    """With one step an epoch, the sum over steps is what the checkpoints show."""
    steps = len(splits.train)
    recipe = replace(RECIPE, epochs=3, batch_size=steps, checkpoints=(0, 1, 2, 3), schedule="step", warmup=0)
    run = fit(net, splits, CrossEntropy(), recipe, seed=0)
    weights = [run.state(f"epoch_{epoch}")[f"{LAYER}.weight"] for epoch in range(4)]
    found = torch.tensor([row[f"distance/{LAYER}"] for row in run.history]).cumsum(0)
    assert torch.allclose(found.double(), weight_distance(weights)[1:], rtol=1e-4)
    assert all(row[f"distance_up_to/{LAYER}"] > 0 for row in run.history)


def test_many_small_steps_make_a_longer_path_than_the_checkpoints_show(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, checkpoints=(0, 1, 2)), seed=0)
    straight = weight_distance([run.state(f"epoch_{epoch}")[f"{LAYER}.weight"] for epoch in range(3)])[-1]
    assert sum(row[f"distance/{LAYER}"] for row in run.history) > float(straight)


def test_measuring_the_path_length_leaves_the_bits_of_the_training(splits):
    one, other = (fit(net, splits, CrossEntropy(), replace(RECIPE, distances=d), seed=0) for d in ((), (LAYER,)))
    assert all(torch.equal(one.state()[name], other.state()[name]) for name in one.state())


def test_a_resumed_training_reports_the_same_path_length(splits):
    saved: list[Progress] = []
    whole = fit(net, splits, CrossEntropy(), RECIPE, seed=0, after_epoch=saved.append)
    resumed = fit(net, splits, CrossEntropy(), RECIPE, seed=0, resume=saved[0])
    found = [{name: value for name, value in run.history[1].items() if "distance" in name} for run in (whole, resumed)]
    assert set(found[0]) == {f"{start}distance{end}/{LAYER}" for start in ("", "epoch_") for end in ("", "_up_to")}
    assert found[0] == found[1]


def test_up_to_a_layer_means_in_the_networks_own_order():
    names = [name for name, _ in net().named_parameters()]
    wanted = names[: max(number for number, name in enumerate(names) if name.startswith(LAYER)) + 1]
    model = net()
    assert [id(p) for p in parameters_up_to(model, LAYER)] == [id(model.get_parameter(name)) for name in wanted]
    frozen = freeze_up_to(model, LAYER)
    assert [p.requires_grad for p in frozen.parameters()] == [name not in wanted for name in names]


def test_the_path_of_an_epoch_is_straight_from_its_first_weights_to_its_last(splits):
    """Several steps an epoch; against the definition, on the checkpoints, of the weight and of all up to the layer."""
    recipe = replace(RECIPE, checkpoints=(0, 1, 2))
    run = fit(net, splits, CrossEntropy(), recipe, seed=0)
    states = [run.state(f"epoch_{epoch}") for epoch in range(3)]
    names = [name for name, _ in net().named_parameters()]
    up_to = names[: names.index(f"{LAYER}.weight") + 1]
    for key, chosen in (("epoch_distance", [f"{LAYER}.weight"]), ("epoch_distance_up_to", up_to)):
        start = norm([states[0][name] for name in chosen])
        for row, before, after in zip(run.history, states[:-1], states[1:], strict=True):
            slow = norm([after[name].double() - before[name].double() for name in chosen]) / start
            assert row[f"{key}/{LAYER}"] == pytest.approx(slow, rel=1e-4)
            assert 0 < row[f"{key}/{LAYER}"] < row[f"{key.removeprefix('epoch_')}/{LAYER}"]  # steps make a longer path


@pytest.mark.parametrize(
    ("layer", "words"),
    [("layr2", "nearest"), ("avgpool", "has no weight"), ("normalise", "has no weight")],
)
def test_a_layer_without_weights_is_refused(layer, words):
    with pytest.raises(KdlibError, match=words):
        WeightDistance(net(), [layer])


def test_a_layer_without_parameters_cannot_be_frozen():
    with pytest.raises(KdlibError, match="no parameters"):
        freeze_up_to(net(), "avgpool")


def test_first_weights_of_zero_are_refused():
    model = nn.Sequential(nn.Linear(2, 2))
    nn.init.zeros_(model[0].weight)
    with pytest.raises(KdlibError, match="all 0"):
        WeightDistance(model, ["0"])
