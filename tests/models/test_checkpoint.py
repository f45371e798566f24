"""Weights from a file: all of them or none."""

from __future__ import annotations

import argparse
import collections
import functools
import pickle

import numpy as np
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


def holding_itself():
    content = {}
    content.update(model=content, ema=content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "fc.weight"), r"does not fit this model: it lacks 'fc\.weight'; give the weights of the"),
        (lambda s: s | {"head.bias": torch.zeros(3)}, r"it has 'head\.bias', which the model has not"),
        (
            lambda s: {f"student.{k}": v for k, v in s.items()},
            r"it lacks 'stem.* more; it has 'student\..* and \d+ more",
        ),
        (
            lambda s: s | {"model.fc.bias": s["fc.bias"]},
            r"holds two weights for .*'fc\.bias': 'fc\.bias', 'model\.fc\.bias'",
        ),
        (lambda s: {"optimizer": {"lr": 0.1}, "epoch": 3}, r"holds no state_dict \(it has 'optimizer', 'epoch'\)"),
        (lambda s: s | {"\x1b[31mred": torch.zeros(1)}, r"it has '\\x1b\[31mred', which"),
        (lambda s: s | {"a" * 5000: torch.zeros(1)}, r"it has 'a{57}\.\.\.', which"),
        (lambda s: s | {"fc.bias": torch.zeros(7)}, r"'fc\.bias' has shape \(7,\), not \(3,\)"),
        (lambda s: s | {"fc.bias": torch.full((3,), torch.nan)}, r"'fc\.bias' in checkpoint .* is not finite"),
        (
            lambda s: s | {"fc.bias": torch.full((3,), 1e300, dtype=torch.float64)},
            r"'fc\.bias' .* too large for float32",
        ),
        (
            lambda s: s | {"fc.bias": torch.zeros(3, dtype=torch.int8)},
            r"'fc\.bias' .* is of type int8, .* float32; save",
        ),
        (lambda s: s | {"fc.bias": torch.zeros(3, dtype=torch.complex64)}, r"'fc\.bias' .* is of type complex64"),
        (lambda s: s | {"fc.weight": s["fc.weight"].to_sparse()}, r"'fc\.weight' .* is of type sparse_coo"),
        (lambda s: s | {"fc.weight": s["fc.weight"].to("meta")}, r"'fc\.weight' .* is of type meta"),
        (
            lambda s: {n: -1 - v if "running_var" in n else v for n, v in s.items()},
            r"running_var' .* below 0; the file",
        ),
        (lambda s: {"student": s, "teacher": s}, r"holds no state_dict \(it has 'student', 'teacher'\)"),
        (lambda s: {0: s["fc.bias"]}, r"holds no state_dict \(it has '0'\)"),
        (lambda s: holding_itself(), r"holds no state_dict \(it has 'model', 'ema'\)"),
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


PREFIXES = [
    "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.",
    "net.module.", "module.model.", "model.net.module._orig_mod.",
    "_fsdp_wrapped_module.", "_forward_module.model.", "model._checkpoint_wrapped_module.",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model_state_dict", "net", "ema"])
def test_what_wrappers_put_before_the_names_comes_off(trained, tmp_path, prefix, wrapper):
    state = {prefix + name: value for name, value in trained.state_dict().items()}
    content = {wrapper: state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}} if wrapper else state
    model = load_checkpoint(net(seed=2), saved(tmp_path / "weights.pt", content))
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_part_that_was_wrapped_alone_is_found(tmp_path):
    trained = build("vgg11", num_classes=3, seed=1)
    state = {name.replace("features.", "features.module."): value for name, value in trained.state_dict().items()}
    model = load_checkpoint(build("vgg11", num_classes=3, seed=2), saved(tmp_path / "weights.pt", state))
    assert torch.equal(model.features[0].weight, trained.features[0].weight)


def test_a_model_whose_own_names_look_like_a_wrapper_s_keeps_them(tmp_path):
    def wrapped() -> nn.Module:
        return nn.ModuleDict({"model": nn.Linear(2, 2), "module": nn.Linear(2, 2)})

    torch.manual_seed(1)
    trained = wrapped()
    model = load_checkpoint(wrapped(), saved(tmp_path / "weights.pt", trained.state_dict()))
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in model.state_dict().items())


def test_old_files_without_counts_of_batches_are_taken(trained, tmp_path):
    state = {k: v for k, v in trained.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(state) < len(trained.state_dict())
    path = saved(tmp_path / "weights.pth", {"arch": "x", "state_dict": {f"module.{k}": v for k, v in state.items()}})
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_checkpoint(net(seed=2), path)(images), trained.eval()(images))


def test_the_weights_come_before_their_running_average(trained, tmp_path):
    content = {"ema": net(seed=3).state_dict(), "model": trained.state_dict()}
    model = load_checkpoint(net(seed=2), saved(tmp_path / "weights.pt", content))
    assert torch.equal(model.fc.weight, trained.fc.weight)


def test_the_weights_come_before_their_running_average_however_deep_they_lie(trained, tmp_path):
    content = {"ema": net(seed=3).state_dict(), "model": {"epoch": 3, "state_dict": trained.state_dict()}}
    model = load_checkpoint(net(seed=2), saved(tmp_path / "weights.pt", content))
    assert torch.equal(model.fc.weight, trained.fc.weight)


@pytest.mark.parametrize("key", ["", "model_ema", "averaged", "student"])
def test_a_running_average_of_torch_is_taken_and_so_is_the_only_state_under_any_name(trained, tmp_path, key):
    state = torch.optim.swa_utils.AveragedModel(trained).state_dict()
    assert "n_averaged" in state
    path = saved(tmp_path / "weights.pt", {key: state, "epoch": 3} if key else state)
    assert torch.equal(load_checkpoint(net(seed=2), path).fc.weight, trained.fc.weight)


def test_weights_beside_other_values_are_taken(trained, tmp_path):
    path = saved(tmp_path / "weights.pt", {**trained.state_dict(), "epoch": 3, "_extra_state": None})
    assert torch.equal(load_checkpoint(net(seed=2), path).fc.weight, trained.fc.weight)


@pytest.mark.parametrize("beside", [{"epoch": 3}, {"_extra_state": None}, {"layer1.0.bn1.num_batches_tracked": 7}])
def test_weights_beside_other_values_are_taken_however_deep_they_lie(trained, tmp_path, beside):
    content = {"loss": torch.tensor(0.5), "model": {"state_dict": {**trained.state_dict(), **beside}}}
    path = saved(tmp_path / "weights.pt", content)
    assert torch.equal(load_checkpoint(net(seed=2), path).fc.weight, trained.fc.weight)


@pytest.mark.parametrize("name", ["weights.SAFETENSORS", "weights.bin", "weights"])
def test_a_safetensors_file_is_known_by_what_it_holds(trained, tmp_path, name):
    save_file(trained.state_dict(), tmp_path / name)
    assert torch.equal(load_checkpoint(net(seed=2), tmp_path / name).fc.weight, trained.fc.weight)


def test_a_file_of_torch_is_known_by_what_it_holds(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "weights.safetensors")
    assert torch.equal(load_checkpoint(net(seed=2), tmp_path / "weights.safetensors").fc.weight, trained.fc.weight)


def test_eight_bits_for_a_number_are_taken(trained, tmp_path):
    eight = {
        name: v.to(torch.float8_e4m3fn) if v.is_floating_point() else v for name, v in trained.state_dict().items()
    }
    model = load_checkpoint(net(seed=2), saved(tmp_path / "weights.safetensors", eight))
    assert torch.equal(model.fc.weight, eight["fc.weight"].float())


def test_half_precision_and_metadata_are_taken(trained, tmp_path):
    half = {name: value.half() if value.is_floating_point() else value for name, value in trained.state_dict().items()}
    save_file(half, tmp_path / "weights.safetensors", metadata={"format": "pt", "epoch": "3"})
    model = load_checkpoint(net(seed=2), tmp_path / "weights.safetensors")
    assert model.fc.weight.dtype == torch.float32 and torch.equal(model.fc.weight, trained.fc.weight.half().float())


def test_other_objects_are_named_without_terminal_codes(trained, tmp_path):
    state = trained.state_dict()
    contents = {
        "argparse.Namespace": {"model": state, "args": argparse.Namespace(lr=0.1)},
        "numpy": {"state_dict": state, "best_accuracy": np.float64(0.7)},
        "collections.deque": {"model": state, "losses": collections.deque([1.0])},
        "SmallResNet": trained,
    }
    for name, content in contents.items():
        for zipped in (True, False):
            torch.save(content, tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
            with pytest.raises(KdlibError) as caught:
                load_checkpoint(net(seed=2), tmp_path / "weights.pt")
            message = str(caught.value)
            assert name in message and "other objects" in message and "torch.save(model.state_dict(), file)" in message
            assert "\x1b" not in message and "\n" not in message


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_names_its_objects(tmp_path, protocol):
    contents = {"'numpy.": {"fc.bias": np.zeros(3)}, "'argparse.Namespace'": {"args": argparse.Namespace(lr=0.1)}}
    for name, content in contents.items():
        (tmp_path / "weights.pkl").write_bytes(pickle.dumps([content, content], protocol))
        with pytest.raises(KdlibError, match="other objects") as caught:
            load_checkpoint(net(seed=2), tmp_path / "weights.pkl")
        assert name in str(caught.value)


FOREIGN = {
    "a plain pickle": pickle.dumps({"epoch": 3}, 4),
    "an array": b"\x93NUMPY\x01\x00",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "a page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a packed file": b"\x1f\x8b\x08\x00",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_no_one_is_told_to_read_a_foreign_file_in_a_way_that_runs_its_code(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(KdlibError, match=r"cannot be read \(it is not what torch\.save\(.*\) writes\)") as caught:
        load_checkpoint(net(), tmp_path / "weights.pt")
    assert "weights_only" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(KdlibError, match="cannot be read"):
        load_checkpoint(net(), tmp_path / ("a" * 300))


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(KdlibError, match=f"checkpoint {tmp_path} is a folder; give the file"):
        load_checkpoint(net(), tmp_path)


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
    with pytest.raises(KdlibError, match=r"holds other objects besides tensors \('builtins\.print'\)"):
        load_checkpoint(net(), tmp_path / "weights.pt")
    assert "ran" not in capsys.readouterr().out
