"""Saliency maps against our own two lines of autograd, on our own networks, and what they leave as it was."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdlib import models
from kdlib.errors import KdlibError
from kdlib.explain.saliency import METHODS, loss_gradients, saliency


@pytest.fixture(scope="module")
def model():
    """A small network with running statistics that are not trivial, in training mode."""
    net = models.build(
        "small_resnet", num_classes=5, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), width=4, features=16
    )
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(16, 3, 16, 16))
    return net


@pytest.fixture(scope="module")
def images():
    return torch.rand(7, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def targets():
    return torch.tensor([0, 1, 2, 3, 4, 0, 1])


def slow_gradient(model, images, targets, of=lambda logits, target: logits[0, target]):
    """The gradient of each image alone, in eval mode."""
    maps, before = [], model.training
    model.eval()
    for image, target in zip(images, targets, strict=True):
        x = image[None].clone().requires_grad_()
        maps.append(torch.autograd.grad(of(model(x), int(target)), x)[0][0])
    model.train(before)
    return torch.stack(maps)


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_signed_gradients_equal_the_twin(model, images, targets, batch_size):
    expected = slow_gradient(model, images, targets)
    found = saliency(model, images, targets, "signed_gradient", batch_size=batch_size)
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(expected.abs().max()) > 1e-3


def test_gradient_is_the_magnitude_and_the_default(model, images, targets):
    found = saliency(model, images, targets)
    assert torch.allclose(found, slow_gradient(model, images, targets).abs(), atol=1e-5)
    assert float(found.min()) >= 0


def test_input_x_gradient_multiplies_by_the_image_in_0_to_1(model, images, targets):
    expected = images * slow_gradient(model, images, targets)
    assert torch.allclose(saliency(model, images, targets, "input_x_gradient"), expected, atol=1e-5)


def test_integrated_gradients_sum_up_to_the_change_of_the_logit(model, images, targets):
    # Completeness (Sundararajan et al. 2017): the attributions sum to z(x) - z(black).
    maps = saliency(model, images, targets, "integrated_gradients", steps=200, batch_size=16)
    model.eval()
    with torch.no_grad():
        change = model(images) - model(torch.zeros_like(images))
    model.train()
    expected = change.gather(1, targets[:, None])[:, 0]
    assert torch.allclose(maps.sum((1, 2, 3)), expected, atol=0.02 * float(expected.abs().max()))


def test_all_methods_agree_on_a_linear_model():
    # z = w x: the gradient is w, and both attributions are w x exactly.
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False))
    x, targets = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
    w = linear[1].weight[targets].detach().view(4, 3, 2, 2)
    expected = {"gradient": w.abs(), "signed_gradient": w, "input_x_gradient": w * x, "integrated_gradients": w * x}
    assert set(expected) == set(METHODS)
    for method, maps in expected.items():
        assert torch.allclose(saliency(linear, x, targets, method), maps, atol=1e-6)


def test_without_targets_the_predicted_class_is_explained(model, images):
    model.eval()
    with torch.no_grad():
        predicted = model(images).argmax(1)
    model.train()
    assert torch.equal(saliency(model, images), saliency(model, images, predicted))


def test_loss_gradients_equal_the_twin(model, images, targets):
    def loss(logits, target):
        return F.cross_entropy(logits, torch.tensor([target]))

    expected = slow_gradient(model, images, targets, loss)
    assert torch.allclose(loss_gradients(model, images, targets, batch_size=3), expected, atol=1e-6)
    assert float(expected.abs().max()) > 1e-4


def test_loss_gradient_of_a_certain_net_keeps_the_part_of_its_own_class():
    # dCE/dx = sum over c of (p_c - [c = y]) w_c with p_0 = 1 - 2 e^-30: in float32, p_0 - 1 is 0.
    linear = nn.Linear(1, 3)
    linear.weight.data = torch.tensor([[-3.0], [1.0], [2.0]])
    linear.bias.data = torch.tensor([30.0, 0.0, 0.0])
    net = nn.Sequential(nn.Flatten(), linear)
    found = float(loss_gradients(net, torch.zeros(1, 1, 1, 1), torch.tensor([0])))
    assert found == pytest.approx(math.exp(-30) * (1 + 2 + 2 * 3), rel=1e-6, abs=0)


@pytest.mark.parametrize("method", [*METHODS, "loss"])
def test_the_model_is_left_as_it_was(model, images, targets, method):
    model.train()
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    asked = [parameter.requires_grad for parameter in model.parameters()]
    given = images.clone()
    maps = (
        loss_gradients(model, given, targets) if method == "loss" else saliency(model, given, targets, method, steps=4)
    )
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == asked
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    assert torch.equal(given, images) and not given.requires_grad and not maps.requires_grad
    model.train()


def test_works_on_a_frozen_model_within_no_grad(model, images, targets):
    expected = saliency(model, images, targets)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        found = saliency(model, images, targets)
        loss = loss_gradients(model, images, targets)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert torch.equal(found, expected)
    assert loss.abs().sum() > 0


def test_modes_come_back_after_an_error(model, images):
    model.train()
    with pytest.raises(KdlibError):
        saliency(model, images[:, :2])
    assert model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "gradients"}, "unknown saliency method 'gradients'; did you mean 'gradient'"),
        ({"images": torch.zeros(7, 3, 16, 16, dtype=torch.uint8)}, r"not torch.uint8 .*inputs\(...\)"),
        ({"images": torch.zeros(3, 16, 16)}, r"images must be real numbers in \[0, 1\] of shape"),
        ({"images": torch.zeros(0, 3, 16, 16)}, "images must be"),
        ({"images": torch.zeros(7, 1, 16, 16)}, r"takes images of shape \(batch, 3, height, width\)"),
        ({"targets": torch.zeros(6, dtype=torch.int64)}, "one int64 class for each of the 7 images"),
        ({"targets": torch.zeros(7)}, "not torch.float32"),
        ({"targets": torch.full((7,), 5)}, r"class 5 is not among the model's 5 \(0 to 4\)"),
        ({"targets": torch.full((7,), -1)}, "class -1 is not among"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"steps": 0}, "steps must be"),
        ({"images": torch.full((7, 3, 16, 16), math.nan)}, "images are not finite"),
    ],
)
def test_mistakes_are_one_sentence(model, images, targets, change, message):
    with pytest.raises(KdlibError, match=message) as error:
        saliency(model, **{"images": images, "targets": targets, **change})
    assert "\n" not in str(error.value)


def test_models_that_do_not_fit():
    broken = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    broken[1].weight.data.fill_(math.nan)
    for maps in (saliency, loss_gradients):
        with pytest.raises(KdlibError, match="outputs are not finite; check its weights"):
            maps(broken, torch.rand(1, 1, 2, 2), torch.tensor([0]))
    with pytest.raises(KdlibError, match="can't take images of shape"):
        saliency(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), torch.rand(1, 1, 2, 2))
    with pytest.raises(KdlibError, match=r"must give logits of shape \(images, classes\)"):
        saliency(nn.Conv2d(1, 2, 1), torch.rand(1, 1, 2, 2))
