"""The small networks against a forward pass written out, and that they can learn and be measured."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdlib.capture import capture, shapes_of
from kdlib.data.drawn import concept_world
from kdlib.errors import KdlibError
from kdlib.metrics.information.closed_form import sensitivity
from kdlib.metrics.information.maps import information_discarding
from kdlib.models import build, count_parameters
from kdlib.models.probed import probed_layers
from kdlib.train.device import deterministic

NAMES = ["small_vgg", "small_alexnet"]
# (stride, max-pool follows) of each convolution
SHAPES = {
    "small_vgg": [(1, True), (1, False), (1, True), (1, False), (1, False), (1, True)],
    "small_alexnet": [(2, True), (1, False), (1, True)],
}


def by_hand(model, name: str, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the probed layers give in eval mode, from the weights and torch's functions, in float64."""
    x = (images.double() - 0.5) / 0.25
    convolutions = [m.double() for m in model.convolutions if isinstance(m, nn.Conv2d)]
    found = {}
    for layer, (stride, pooled) in zip(convolutions, SHAPES[name], strict=True):
        found["conv"] = F.conv2d(x, layer.weight, layer.bias, stride, padding=layer.weight.shape[2] // 2)
        x = found["conv"].clamp(min=0)
        x = F.max_pool2d(x, 2, ceil_mode=True) if pooled else x
    x = F.adaptive_avg_pool2d(x, 4).flatten(1)
    for layer in ("fc1", "fc2", "fc3"):
        linear = model.get_submodule(layer).double()
        found[layer] = x @ linear.weight.T + linear.bias
        x = found[layer].clamp(min=0)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [28, 32, 50])
def test_probed_layers_give_what_comes_before_the_relu(name, size):
    model, images = build(name, num_classes=5, seed=1).eval(), torch.rand(3, 3, size, size)
    with capture(model, *probed_layers(model).values()) as captured:
        logits = model(images)
    expected = by_hand(model, name, images)
    for layer, path in probed_layers(model).items():
        assert torch.allclose(captured[path].double(), expected[layer], atol=1e-5), layer
        assert captured[path].min() < 0
    assert torch.equal(logits, captured["fc3"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "map_side"), [(28, 7), (32, 8), (64, 16), (224, 56)])
def test_shapes_at_all_sizes_of_images(name, size, map_side):
    model = build(name, num_classes=7, width=6, features=10)
    shapes = shapes_of(model, torch.rand(1, 3, size, size), *probed_layers(model).values())
    assert list(shapes.values()) == [(12, map_side, map_side), (10,), (10,), (7,)]


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_and_their_statistics(name):
    model = build(name, num_classes=4, channels=1, mean=(0.3,), std=(0.1,))
    images = torch.rand(2, 1, 28, 28)
    assert model(images).shape == (2, 4)
    assert torch.allclose(model.normalise(images), (images - 0.3) / 0.1)
    with pytest.raises(KdlibError, match=r"takes images of shape \(batch, 1, height, width\), not \(2, 3, 28, 28\)"):
        model(torch.rand(2, 3, 28, 28))


def test_parameters_of_hand_counted_nets():
    linear = (8 * 16 * 10 + 10) + (10 * 10 + 10) + (10 * 5 + 5)
    stages = (27 * 4 + 4) + 2 * (36 * 4 + 4) + (36 * 8 + 8) + 2 * (72 * 8 + 8)
    assert count_parameters(build("small_vgg", num_classes=5, width=4, features=10)) == stages + linear
    convolutions = (75 * 4 + 4) + (100 * 8 + 8) + (72 * 8 + 8)
    assert count_parameters(build("small_alexnet", num_classes=5, width=4, features=10)) == convolutions + linear


@pytest.mark.parametrize(("name", "most"), [("small_vgg", 3.8e6), ("small_alexnet", 2.2e6)])
def test_a_forward_pass_is_cheap(name, most):
    """Floating-point operations, two for a multiplication with addition; convolutions are nearly all of them."""
    with FlopCounterMode(display=False) as counter:
        build(name, num_classes=20)(torch.rand(1, 3, 32, 32))
    assert most / 2 < counter.get_total_flops() < most


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_weights(name):
    first, second, other = (build(name, num_classes=3, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(not torch.equal(first[key], other[key]) for key in first if key.endswith("weight"))


@pytest.mark.parametrize("name", NAMES)
def test_first_weights_are_he_s(name):
    """By outputs for convolutions, as the paper has it; by inputs for linear layers, where it has N(0, 0.01^2)."""
    model = build(name, num_classes=100, width=40, features=200)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
        elif isinstance(module, nn.Linear):
            expected = math.sqrt(2 / module.in_features)
        else:
            continue
        assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert not module.bias.any()


def test_dropout_acts_in_training_after_both_hidden_layers_and_never_in_eval_mode():
    model, images = build("small_vgg", num_classes=5, dropout=50), torch.rand(64, 3, 32, 32)
    seen = []
    model.fc2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.fc3.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    logits = [model.eval()(images), model(images)]
    whole = [(tensor > 0).float().mean() for tensor in seen[:2]]
    assert torch.equal(*logits)
    seen.clear()
    model.train()(images)
    # of fc1 about half of what was positive is left; fc2 has other inputs now, but zeros beside them too
    assert float((seen[0] > 0).float().mean() / whole[0]) == pytest.approx(0.5, abs=0.05)
    assert float((seen[1] > 0).float().mean()) < 0.7 * float(whole[1])


def test_without_dropout_training_and_evaluation_give_the_same_and_draw_nothing():
    model, images = build("small_vgg", num_classes=5), torch.rand(2, 3, 32, 32)
    before = torch.random.get_rng_state()
    assert torch.equal(model.train()(images), model.eval()(images))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a whole number of at least 1, not 0"),
        ({"features": 2.5}, r"features must be a whole number from 0 to 65536, not 2\.5"),
        ({"channels": 0}, "channels must be a whole number of at least 1, not 0"),
        ({"depth": 8}, "has no option 'depth'; it has width, features, dropout"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_requests_are_refused_in_one_sentence(name, options, message):
    with pytest.raises(KdlibError, match=message):
        build(name, num_classes=3, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", ["conv", "fc1", "fc2", "fc3"])
def test_information_discarding_can_be_measured_at_every_probed_layer(name, layer):
    model, images = build(name, num_classes=20, seed=2), torch.rand(2, 3, 32, 32)
    path = probed_layers(model)[layer]
    found = information_discarding(model, images, path, grid=4, samples=8, if_not_reached="mark")
    assert not found.dead.any() and found.reached.all()
    assert torch.isfinite(found.entropy).all() and (found.entropy.flatten(1).std(1) > 0.01).all()
    a = sensitivity(model, images, path, grid=4, projections=4)
    assert torch.allclose(a.sum((1, 2)), torch.full((2,), 1e4, dtype=torch.float64))
    assert (a > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learning_rate", [0.01, 0.05])
@deterministic()  # on one thread
def test_no_dead_start_on_concept_world(name, learning_rate):
    """Without BatchNorm: from ln 20 = 3.0 the loss falls within four epochs, the first of them of warm-up."""
    world = concept_world.load(n_train=2000, n_val=20, n_test=20, n_probe=20).train
    images, labels = world.inputs(slice(None)), world.labels
    for seed in (0, 1):
        model = build(name, seed=seed, **world.model_options()).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True)
        order = torch.Generator().manual_seed(seed)
        losses = []
        for step, batch in enumerate(torch.cat([torch.randperm(2000, generator=order) for _ in range(4)]).split(64)):
            optimizer.param_groups[0]["lr"] = learning_rate * min(1, (step + 1) / 31)
            loss = F.cross_entropy(model(images[batch].contiguous(memory_format=torch.channels_last)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert sum(losses[-20:]) / 20 < 2.6
