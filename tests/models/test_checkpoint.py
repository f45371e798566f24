"""Weights from a file: all of them or none."""

from __future__ import annotations

import functools

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.models.checkpoint import load_checkpoint

net = functools.partial(build, "small_resnet", num_classes=3, width=4, features=16)


def saved(path, content):
    (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
    return path


@pytest.fixture
def trained() -> nn.Module:
    return net(seed=1)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth"])
def test_every_weight_is_taken(trained, tmp_path, name):
    model = net(seed=2).train()
    assert load_checkpoint(model, saved(tmp_path / name, trained.state_dict())) is model
    assert not model.training
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappers_and_the_prefix_of_data_parallel_training_come_off(trained, tmp_path, wrapper):
    state = {f"module.{name}": value for name, value in trained.state_dict().items()}
    path = saved(tmp_path / "weights.pt", {wrapper: state, "epoch": 3})
    assert torch.equal(load_checkpoint(net(seed=2), path).fc.weight, trained.fc.weight)


def test_torchvisions_weights_leave_the_normalisation_as_it_was_built(tmp_path):
    from kdlib.vision import torchvision

    theirs = torchvision.models.resnet18(num_classes=4)
    path = saved(tmp_path / "resnet18.pth", theirs.state_dict())
    model = load_checkpoint(build("resnet18", num_classes=4, mean=(0.4,) * 3, std=(0.2,) * 3), path)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs.eval()((images - 0.4) / 0.2))


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "fc.weight"), r"does not fit this model: it lacks 'fc\.weight'; give the weights of the"),
        (lambda s: s | {"head.bias": torch.zeros(3)}, r"the model has no 'head\.bias'"),
        (lambda s: s | {"fc.bias": torch.zeros(7)}, r"'fc\.bias' has shape \(7,\), not \(3,\)"),
        (lambda s: s | {"fc.bias": torch.full((3,), torch.nan)}, r"'fc\.bias' in checkpoint .* is not finite"),
        (lambda s: {"epoch": 3}, "holds no state_dict"),
        (lambda s: {}, "holds no state_dict"),
        (lambda s: torch.zeros(3), "holds no state_dict"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(trained, tmp_path, change, message):
    path = saved(tmp_path / "weights.pt", change(trained.state_dict()))
    model = net(seed=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KdlibError, match=message):
        load_checkpoint(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Harmful:
    def __reduce__(self):
        return print, ("code from a checkpoint ran",)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_damaged_files_are_refused(trained, tmp_path, name):
    path = saved(tmp_path / name, trained.state_dict())
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"some text"):
        path.write_bytes(content)
        with pytest.raises(KdlibError, match=rf"checkpoint .*{name} cannot be read .*; give a \.safetensors file or"):
            load_checkpoint(net(), path)
    with pytest.raises(KdlibError, match="there is no checkpoint"):
        load_checkpoint(net(), tmp_path / "nowhere.pt")


def test_no_code_in_a_file_is_run(tmp_path, capsys):
    torch.save({"fc.weight": Harmful()}, tmp_path / "weights.pt")
    with pytest.raises(KdlibError, match="cannot be read"):
        load_checkpoint(net(), tmp_path / "weights.pt")
    assert "ran" not in capsys.readouterr().out
