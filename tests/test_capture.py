"""Features of named layers of an unmodified model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdlib.capture import capture, features_of, last_stages, shapes_of
from kdlib.errors import KdlibError


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4, 2))


def test_an_in_place_relu_does_not_corrupt_what_was_captured(model):
    inputs = torch.randn(8, 3)
    with capture(model, "0") as seen:
        model(inputs)
    assert (seen["0"] < 0).any()
    assert torch.equal(seen["0"], model[0](inputs))


def test_gradients_are_those_of_autograd(model):
    inputs = torch.randn(8, 3)
    model.eval()
    with capture(model, "0", gradients=True) as seen:
        model(inputs).sum().backward()
    hidden = model[0](inputs).detach().requires_grad_()
    model[3](hidden.relu()).sum().backward()
    assert torch.allclose(seen.gradients["0"], hidden.grad)


def test_a_loss_on_captured_features_reaches_the_weights(model):
    with capture(model, "0") as seen:
        model(torch.randn(8, 3))
        seen["0"].square().mean().backward()
    assert model[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("training", [True, False])
def test_hooks_and_modes_are_restored_even_after_an_error(model, training):
    model.train(training)
    model[2].train(not training)
    modes = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError), capture(model, "0", "3"):
        model.eval()
        model(torch.randn(8, 99))
    assert hooks(model) == 0
    assert [m.training for m in model.modules()] == modes


def test_an_unknown_layer_is_refused_naming_the_nearest():
    from kdlib.models import build

    with (
        pytest.raises(KdlibError, match=r"no layer 'layer5'; the nearest are layer"),
        capture(build("small_resnet", num_classes=2), "layer5"),
    ):
        pass


def test_a_layer_called_twice_in_one_pass_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(3, 3)

        def forward(self, x):
            return self.shared(self.shared(x))

    model = Twice()
    with pytest.raises(KdlibError, match="'shared' is called twice in one forward pass"), capture(model, "shared"):
        model(torch.randn(2, 3))
    assert hooks(model) == 0


def test_two_forward_passes_are_not_a_layer_called_twice(model):
    with capture(model, "0") as seen:
        model(torch.zeros(2, 3))
        model(torch.ones(5, 3))
    assert seen["0"].shape == (5, 4)


def test_a_layer_with_several_outputs_is_refused():
    model = nn.Sequential(nn.LSTM(3, 4))
    with pytest.raises(KdlibError, match="gives tuple, not one tensor"), capture(model, "0"):
        model(torch.randn(2, 3))


def test_features_of_runs_in_eval_mode_and_restores_train_mode(model):
    model.train()
    inputs = torch.randn(8, 3)
    assert torch.equal(features_of(model, inputs, "2"), model[0](inputs).relu())  # dropout is off
    assert model.training


def test_stages_are_counted_by_number_and_not_by_letter():
    model = nn.Module()
    for number in (1, 2, 10):
        model.add_module(f"layer{number}", nn.Identity())
    assert last_stages(model, 2) == ("layer2", "layer10")
    with pytest.raises(KdlibError, match="has 3 stages called layer1"):
        last_stages(model, 4)


def test_shapes_are_those_of_one_image_and_the_mode_is_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).train()
    assert shapes_of(model, torch.rand(7, 1, 5, 6), "1") == {"1": (3, 3, 4)}
    assert model.training and model[1].num_batches_tracked == 0
