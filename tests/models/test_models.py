"""Networks by name."""

from __future__ import annotations

import pytest
import torch

from kdlib.capture import features_of
from kdlib.errors import KdlibError
from kdlib.models import build, count_parameters


@pytest.mark.parametrize("name", ["small_resnet", "resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_model_gives_a_logit_per_class(name, channels):
    model = build(name, num_classes=7, channels=channels).eval()
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 7)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build("small_resnet", num_classes=3, seed=1)
    assert torch.equal(torch.rand(1), expected)
    second, other = build("small_resnet", num_classes=3, seed=1), build("small_resnet", num_classes=3, seed=2)
    assert torch.equal(first.fc.weight, second.fc.weight)
    assert not torch.equal(first.fc.weight, other.fc.weight)


def test_normalisation_travels_with_the_weights():
    model = build("small_resnet", num_classes=3, channels=1, mean=(0.3,), std=(0.1,))
    images = torch.rand(2, 1, 8, 8)
    assert torch.allclose(model.normalise(images), (images - 0.3) / 0.1)
    assert {"normalise.mean", "normalise.std"} <= set(model.state_dict())


def test_torchvision_models_differ_from_torchvision_only_in_normalisation():
    from kdlib.vision import torchvision

    ours = build("resnet18", num_classes=5, mean=(0.4,) * 3, std=(0.2,) * 3).eval()
    theirs = torchvision.models.resnet18(num_classes=5).eval()
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if not k.startswith("normalise")})
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(ours(images), theirs((images - 0.4) / 0.2), atol=1e-5)


@pytest.mark.parametrize("width", [4, 8, 24])
def test_the_dissected_layer_has_equally_many_units_whatever_the_width(width):
    model = build("small_resnet", num_classes=3, width=width, features=128)
    features = features_of(model, torch.rand(1, 3, 32, 32), "layer3")
    assert features.shape == (1, 128, 8, 8)
    assert features.min() >= 0  # after the ReLU


def test_the_net_shrinks_its_maps_early_and_keeps_them_in_the_last_stage():
    model, images = build("small_resnet", num_classes=3, width=4, features=16), torch.rand(1, 3, 32, 32)
    sides = {layer: features_of(model, images, layer).shape[2:] for layer in ("stem", "layer1", "layer2", "layer3")}
    assert sides == {"stem": (16, 16), "layer1": (16, 16), "layer2": (8, 8), "layer3": (8, 8)}


def test_depth_counts_the_weighted_layers():
    blocks = {depth: len(build("small_resnet", num_classes=3, depth=depth).layer1) for depth in (8, 14, 20)}
    assert blocks == {8: 1, 14: 2, 20: 3}


def test_parameters_of_a_hand_counted_net():
    stem, layer1 = 3 * 9 * 4 + 8, 2 * (4 * 9 * 4 + 8)
    layer2 = (4 * 9 * 8 + 16) + (8 * 9 * 8 + 16) + (4 * 8 + 16)
    layer3 = (8 * 16 + 32) + (16 * 9 * 16 + 32) + (16 * 16 + 32) + (8 * 16 + 32)
    expected = stem + layer1 + layer2 + layer3 + (16 * 3 + 3)
    assert count_parameters(build("small_resnet", num_classes=3, width=4, features=16)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "unknown model 'resnet19'; did you mean 'resnet1"),
        ({"name": "small_resnet", "depth": 9}, r"depth must be 6 n \+ 2 .* not 9"),
        ({"name": "small_resnet", "width": 0}, "width must be a whole number of at least 1, not 0"),
        ({"name": "small_resnet", "wdith": 8}, "no option 'wdith'"),
        ({"name": "resnet18", "width": 8}, "no option 'width'"),
        ({"name": "resnet18", "num_classes": 1}, "num_classes must be a whole number from 2 to 1000000"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(arguments, message):
    with pytest.raises(KdlibError, match=message):
        build(**{"num_classes": 3, **arguments})


def test_images_of_another_number_of_channels_are_refused():
    with pytest.raises(KdlibError, match=r"takes images of shape \(batch, 3, height, width\), not \(2, 1, 8, 8\)"):
        build("small_resnet", num_classes=3)(torch.rand(2, 1, 8, 8))
