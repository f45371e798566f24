"""The paper's networks against torchvision's: what is the same, what was added and where."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from kdlib.capture import capture, shapes_of
from kdlib.errors import KdlibError
from kdlib.models import build, count_parameters
from kdlib.models.probed import probed_layers
from kdlib.vision import torchvision

FLAT = ["alexnet", "vgg11", "vgg16", "vgg19"]
RESNETS = ["resnet18_linear3", "resnet50_linear3", "resnet101_linear3", "resnet152_linear3"]


@pytest.fixture(scope="module")
def alexnet():
    return build("alexnet", num_classes=4, seed=1, mean=(0.4,) * 3, std=(0.2,) * 3).eval()


@pytest.fixture(scope="module")
def resnet18():
    return build("resnet18_linear3", num_classes=4, seed=1, mean=(0.4,) * 3, std=(0.2,) * 3).eval()


def on_meta(name: str, **options):
    """The network without memory for its weights."""
    with torch.device("meta"):
        return build(name, **{"num_classes": 20, **options})


def theirs(name: str, **options):
    with torch.device("meta"):
        return getattr(torchvision.models, name)(**options)


def shapes(model) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items() if not key.startswith("normalise")}


@pytest.mark.parametrize("name", FLAT)
def test_only_the_last_linear_layer_differs_from_torchvision(name):
    ours, other = on_meta(name), theirs(name)
    differing = dict(shapes(ours).items() ^ shapes(other).items())
    assert set(differing) == {"classifier.6.weight", "classifier.6.bias"}
    assert count_parameters(other) - count_parameters(ours) == 4097 * (1000 - 20)
    assert str(ours.features) == str(other.features).replace(", inplace=True", "").replace("inplace=True", "")
    assert shapes(on_meta(name, num_classes=1000)) == shapes(other)


def test_parameter_counts_that_torchvision_documents():
    """For 1,000 classes: https://docs.pytorch.org/vision/stable/models.html, table of weights."""
    documented = {"alexnet": 61_100_840, "vgg11": 132_863_336, "vgg16": 138_357_544, "vgg19": 143_667_240}
    assert {name: count_parameters(on_meta(name, num_classes=1000)) for name in FLAT} == documented


@pytest.mark.parametrize(
    ("name", "channels", "hidden"), [(RESNETS[0], 512, 4096), *[(name, 2048, 2048) for name in RESNETS[1:]]]
)
def test_a_resnet_has_two_convolutions_and_three_linear_layers_more_than_torchvision(name, channels, hidden):
    ours, other = on_meta(name), theirs(name.removesuffix("_linear3"))
    backbone = {key: shape for key, shape in shapes(other).items() if not key.startswith("fc.")}
    assert backbone.items() <= shapes(ours).items()
    added = [module for key, module in ours.named_children() if key not in dict(other.named_children())]
    assert "fc" not in dict(ours.named_children())
    assert [type(module).__name__ for module in added if count_parameters(module)] == [
        "ConvolutionAndNorm",
        "ConvolutionAndNorm",
        "Linear",
        "Linear",
        "Linear",
    ]
    extra = 2 * (9 * channels**2 + 2 * channels)
    linear = (channels + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * 20
    assert count_parameters(ours) == sum(math.prod(s) for k, s in backbone.items() if is_weight(k)) + extra + linear


def is_weight(key: str) -> bool:
    return not key.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_alexnet_is_torchvision_s_behind_the_normalisation(alexnet):
    other = torchvision.models.alexnet(num_classes=4).eval()
    other.load_state_dict({k: v for k, v in alexnet.state_dict().items() if not k.startswith("normalise")})
    images = torch.rand(2, 3, 67, 70)
    with torch.no_grad():
        assert torch.allclose(alexnet(images), other((images - 0.4) / 0.2), atol=1e-6)


def test_a_vgg_runs_its_parts_in_torchvision_s_order():
    model = on_meta("vgg11")
    order: list[str] = []
    for name in ("normalise", "features", "avgpool", "classifier"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name))
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 20)
    assert order == ["normalise", "features", "avgpool", "classifier"]


def test_alexnet_s_probed_layers_give_what_comes_before_the_relu(alexnet):
    with torch.no_grad(), capture(alexnet, *probed_layers(alexnet).values()) as captured:
        logits = alexnet(torch.rand(1, 3, 67, 67))
        x = captured["features.10"]
        assert x.min() < 0
        x = alexnet.avgpool(nn.functional.max_pool2d(x.relu(), 3, 2)).flatten(1)
        for path in ("classifier.1", "classifier.4", "classifier.6"):
            linear = alexnet.get_submodule(path)
            x = x @ linear.weight.T + linear.bias
            assert torch.allclose(captured[path], x, atol=1e-6)
            x = x.relu()
    assert torch.equal(captured["classifier.6"], logits)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", {"features.10": (256, 13, 13), "classifier.1": (4096,), "classifier.4": (4096,)}),
        ("vgg11", {"features.18": (512, 14, 14), "classifier.0": (4096,), "classifier.3": (4096,)}),
        ("vgg16", {"features.28": (512, 14, 14), "classifier.0": (4096,), "classifier.3": (4096,)}),
        ("vgg19", {"features.34": (512, 14, 14), "classifier.0": (4096,), "classifier.3": (4096,)}),
        ("resnet18_linear3", {"extra2": (512, 7, 7), "fc1": (4096,), "fc2": (4096,), "fc3": (20,)}),
        ("resnet152_linear3", {"extra2": (2048, 7, 7), "fc1": (2048,), "fc2": (2048,), "fc3": (20,)}),
    ],
)
def test_probed_shapes_of_pictures_of_224_pixels(name, expected):
    model = on_meta(name)
    found = shapes_of(model, torch.empty(1, 3, 224, 224, device="meta"), *probed_layers(model).values())
    assert expected.items() <= found.items()
    assert found[probed_layers(model)["fc3"]] == (20,)


def test_the_extra_convolutions_come_after_layer4_and_are_probed_with_their_norm(resnet18):
    """The rest of the network, written out from the output of layer4."""
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for module in resnet18.modules():  # statistics that make a difference
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2.0)
        state = {key: value.double() for key, value in resnet18.state_dict().items()}
        with capture(resnet18, "layer4", *probed_layers(resnet18).values()) as captured:
            logits = resnet18(images)
    x, expected = captured["layer4"].double(), {}
    for name in ("extra1", "extra2"):
        convolved = nn.functional.conv2d(x, state[f"{name}.weight"], padding=1)
        mean, variance = (state[f"{name}.norm.running_{kind}"][:, None, None] for kind in ("mean", "var"))
        expected[name] = (convolved - mean) / (variance + 1e-5).sqrt()  # weight 1 and bias 0 at first
        x = expected[name].clamp(min=0)
    x = x.mean((2, 3))
    for name in ("fc1", "fc2", "fc3"):
        expected[name] = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        x = expected[name].clamp(min=0)
    for path in probed_layers(resnet18).values():
        assert torch.allclose(captured[path].double(), expected[path], atol=1e-5, rtol=1e-4), path
        assert captured[path].min() < 0
    assert torch.equal(logits, captured["fc3"])


def test_up_to_layer4_the_resnet_is_torchvision_s(resnet18):
    other = torchvision.models.resnet18().eval()
    own = {key: value for key, value in resnet18.state_dict().items() if key in other.state_dict()}
    other.load_state_dict(own, strict=False)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad(), capture(resnet18, "layer4") as ours, capture(other, "layer4") as captured:
        resnet18(images)
        other((images - 0.4) / 0.2)
    assert torch.allclose(ours["layer4"], captured["layer4"], atol=1e-5, rtol=1e-4)


def test_dropout_stands_after_the_relus_of_the_hidden_layers(resnet18):
    seen = {}
    for name in ("fc2", "fc3"):
        resnet18.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: seen.update({name: inputs[0]})
        )
    resnet18.dropout.train()
    with torch.no_grad():
        resnet18(torch.rand(4, 3, 32, 32))
    assert all(0.65 < float((tensor == 0).float().mean()) < 0.85 for tensor in seen.values())  # 1 - 0.5 * 0.5
    resnet18.eval()


def test_first_weights_are_the_paper_s(alexnet, resnet18):
    """Convolutions by their outputs, linear layers N(0, 0.01^2), no bias; torchvision's AlexNet has others."""
    for model in (alexnet, resnet18):
        for module in model.modules():
            if isinstance(module, nn.Linear):
                assert float(module.weight.detach().std()) == pytest.approx(0.01, rel=0.02)
                assert not module.bias.any()
            if isinstance(module, nn.Conv2d):
                expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
                assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.05)
                assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("name", [*FLAT, *RESNETS])
def test_grey_images(name):
    model = on_meta(name, channels=1, mean=(0.3,), std=(0.1,))
    assert model(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 20)
    assert model.normalise.mean.shape == (1, 1, 1)
    differing = {key for key, _ in shapes(model).items() ^ shapes(on_meta(name)).items()}
    assert differing == {"conv1.weight" if name in RESNETS else "features.0.weight"}


@pytest.mark.parametrize(("name", "smallest"), [("alexnet", 63), ("vgg11", 32), ("vgg16", 32), ("vgg19", 32)])
def test_images_that_are_too_small_are_refused(name, smallest):
    model = on_meta(name)
    assert model(torch.empty(1, 3, smallest, smallest, device="meta")).shape == (1, 20)
    with pytest.raises(KdlibError, match=rf"at least {smallest}x{smallest} pixels, not {smallest}x{smallest - 1}; giv"):
        model(torch.empty(1, 3, smallest, smallest - 1, device="meta"))


def test_a_seed_gives_the_same_weights(resnet18):
    second, other = (build("resnet18_linear3", num_classes=4, seed=seed) for seed in (1, 2))
    assert torch.equal(resnet18.extra2.weight, second.extra2.weight)
    assert torch.equal(resnet18.fc3.weight, second.fc3.weight)
    assert not torch.equal(resnet18.fc3.weight, other.fc3.weight)
