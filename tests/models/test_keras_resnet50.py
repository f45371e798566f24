"""Keras' ResNet-50: every weight in its place, checked against the network written out by Keras' names."""

from __future__ import annotations

import importlib.util
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from kdlib.data.root import data_root
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.models.keras_resnet50 import (
    FILE,
    KERAS_EPSILON,
    MEAN,
    STD,
    fold_into_batch_norm,
    from_keras,
    load_keras_resnet50,
)

WIDTHS = {2: (64, 64, 256), 3: (256, 128, 512), 4: (512, 256, 1024), 5: (1024, 512, 2048)}  # in, middle, out
BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Random weights in Keras' layout, with biases and statistics that are not trivial."""
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}

    def convolution(name: str, norm: str, size: int, inside: int, outside: int) -> None:
        scale = (2 / (size * size * inside)) ** 0.5
        made[f"{name}.kernel"] = (scale * rng.standard_normal((size, size, inside, outside), np.float32)).astype("f2")
        made[f"{name}.bias"] = 0.1 * rng.standard_normal(outside, np.float32)
        made[f"{norm}.beta"] = 0.1 * rng.standard_normal(outside, np.float32)
        made[f"{norm}.moving_mean"] = 0.1 * rng.standard_normal(outside, np.float32)
        # Some channels vary as little as epsilon: there it counts.
        still = rng.random(outside) < 0.1
        made[f"{norm}.moving_variance"] = np.where(still, 1e-5, rng.uniform(0.5, 2, outside)).astype("f4")
        made[f"{norm}.gamma"] = np.where(still, 2e-3, rng.uniform(0.3, 0.6, outside)).astype("f4")

    convolution("conv1", "bn_conv1", 7, 3, 64)
    for stage, letters in BLOCKS.items():
        inside, middle, outside = WIDTHS[stage]
        for letter in letters:
            name = f"{stage}{letter}_branch"
            first = inside if letter == "a" else outside
            convolution(f"res{name}2a", f"bn{name}2a", 1, first, middle)
            convolution(f"res{name}2b", f"bn{name}2b", 3, middle, middle)
            convolution(f"res{name}2c", f"bn{name}2c", 1, middle, outside)
            if letter == "a":
                convolution(f"res{name}1", f"bn{name}1", 1, inside, outside)
    made["fc1000.kernel"] = (0.02 * rng.standard_normal((2048, 1000), np.float32)).astype("f2")
    made["fc1000.bias"] = 0.1 * rng.standard_normal(1000, np.float32)
    return made


def keras_forward(arrays: dict[str, np.ndarray], images: torch.Tensor) -> torch.Tensor:
    """Keras' ResNet-50 in float64, straight from the arrays; images (B, 3, H, W), RGB in [0, 1]."""
    weights = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}

    def convolved(x, name, norm, stride=1, padding=0):
        x = F.conv2d(x, weights[f"{name}.kernel"].permute(3, 2, 0, 1), weights[f"{name}.bias"], stride, padding)
        gamma, beta, mean, variance = (
            weights[f"{norm}.{part}"].view(1, -1, 1, 1) for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / (variance + 1.001e-5).sqrt() + beta

    blue_green_red = 255 * images.double().flip(1) - torch.tensor([103.939, 116.779, 123.68]).double().view(1, 3, 1, 1)
    x = F.max_pool2d(F.pad(convolved(blue_green_red, "conv1", "bn_conv1", 2, 3).relu(), (1, 1, 1, 1)), 3, 2)
    for stage, letters in BLOCKS.items():
        for letter in letters:
            name = f"{stage}{letter}_branch"
            stride = 2 if letter == "a" and stage > 2 else 1
            y = convolved(x, f"res{name}2a", f"bn{name}2a", stride).relu()
            y = convolved(y, f"res{name}2b", f"bn{name}2b", padding=1).relu()
            y = convolved(y, f"res{name}2c", f"bn{name}2c")
            x = (y + (convolved(x, f"res{name}1", f"bn{name}1", stride) if letter == "a" else x)).relu()
    return x.mean((2, 3)) @ weights["fc1000.kernel"] + weights["fc1000.bias"]


def test_the_loaded_model_computes_what_keras_computes(arrays):
    images = torch.rand(2, 3, 64, 96)
    expected = keras_forward(arrays, images)
    with torch.no_grad():
        logits = from_keras(arrays)(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits.double(), expected, atol=2e-3 * float(expected.std()), rtol=0)


def test_a_bias_before_batch_norm_goes_into_its_statistics():
    generator = torch.Generator().manual_seed(1)
    x, kernel = (torch.randn(size, generator=generator).double() for size in ((2, 3, 5, 5), (4, 3, 1, 1)))
    bias, mean, gamma, beta = (torch.randn(4, generator=generator).double() for _ in range(4))
    variance = torch.rand(4, generator=generator).double() * 1e-4
    with_bias = F.conv2d(x, kernel, bias)
    expected = F.batch_norm(with_bias, mean, variance, gamma, beta, eps=KERAS_EPSILON)
    folded = F.batch_norm(F.conv2d(x, kernel), *fold_into_batch_norm(bias, mean, variance), gamma, beta, eps=1e-5)
    torch.testing.assert_close(folded, expected)


def test_where_the_stride_is_changes_what_is_computed_and_not_its_shape():
    early = build("resnet50", num_classes=5, stride_in_first_1x1=1).eval()
    late = build("resnet50", num_classes=5).eval()
    late.load_state_dict(early.state_dict())
    strides = [(m.layer3[0].conv1.stride, m.layer3[0].conv2.stride) for m in (early, late)]
    assert strides == [((2, 2), (1, 1)), ((1, 1), (2, 2))]
    assert early.layer1[0].conv2.stride == early.layer2[1].conv1.stride == (1, 1)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert early(images).shape == late(images).shape
        assert not torch.allclose(early(images), late(images))
        # A block that sees the same value everywhere can't tell which convolution skips pixels, but at the border.
        flat = torch.full((1, 256, 16, 16), 0.3)
        inner = [model.layer2[0](flat)[..., 1:-1, 1:-1] for model in (early, late)]
    torch.testing.assert_close(*inner)


@pytest.mark.parametrize(("name", "message"), [("resnet18", "its shape is fixed"), ("resnet34", "its shape is fixed")])
def test_other_resnets_have_no_first_1x1(name, message):
    with pytest.raises(KdlibError, match=f"{name} has no option 'stride_in_first_1x1'; {message}"):
        build(name, num_classes=3, stride_in_first_1x1=1)


def test_the_stride_option_is_yes_or_no():
    with pytest.raises(KdlibError, match="stride_in_first_1x1 must be 0 or 1, not 2"):
        build("resnet50", num_classes=3, stride_in_first_1x1=2)


def damaged(arrays, **changes):
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"res4c_branch2b.kernel": None}, "the weights has no array 'res4c_branch2b.kernel'; give the file of a Keras"),
        ({"bn_conv1.moving_variance": None}, "no array 'bn_conv1.moving_variance'"),
        ({"fc1000.bias": np.zeros(10, "f4")}, r"'fc1000.bias' of the weights must hold floats of shape \(1000,\), not"),
        ({"conv1.kernel": np.zeros((7, 7, 1, 64), "f4")}, r"'conv1.kernel' .* shape \(7, 7, 3, 64\), not float32"),
        ({"res2a_branch1.bias": np.zeros(256, int)}, "'res2a_branch1.bias' of the weights must hold floats .* not int"),
        ({"bn5c_branch2c.beta": np.full(2048, np.nan, "f4")}, "'bn5c_branch2c.beta' .* not finite"),
        ({"res6a_branch1.bias": np.zeros(3, "f4")}, "has an array 'res6a_branch1.bias' that a ResNet-50 does not have"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(arrays, changes, message):
    with pytest.raises(KdlibError, match=message):
        from_keras(damaged(arrays, **changes))


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(KdlibError, match=r"there is no file .*nowhere\.npz"):
        load_keras_resnet50(tmp_path / "nowhere.npz")
    for content in (b"", b"PK\x03\x04 half an archive", b"some text"):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(KdlibError, match=r"cannot be read as a \.npz archive .*get the file again"):
            load_keras_resnet50(tmp_path / FILE)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(KdlibError, match=r"one\.npy cannot be read as a \.npz archive"):
        load_keras_resnet50(tmp_path / "one.npy")


@pytest.mark.parametrize("place", [6, 8])  # in a member's header: whether it is encrypted, how it is compressed
def test_an_archive_that_python_cannot_unpack_is_refused(tmp_path, place):
    np.savez(tmp_path / FILE, x=np.zeros(3))
    content = bytearray((tmp_path / FILE).read_bytes())
    for start in (content.find(b"PK\x03\x04") + place, content.find(b"PK\x01\x02") + place + 2):
        content[start] |= 1 if place == 6 else 99
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(KdlibError, match=r"cannot be read as a \.npz archive .*get the file again"):
        load_keras_resnet50(tmp_path / FILE)


def test_an_archive_of_other_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        archive.writestr("conv1.kernel", b"no array")
    with pytest.raises(KdlibError, match="it holds files that are no arrays"):
        load_keras_resnet50(tmp_path / FILE)


def test_an_archive_is_read_whole_or_not_at_all(arrays, tmp_path):
    few = {name: arrays[name] for name in ("conv1.kernel", "conv1.bias")}
    np.savez(tmp_path / FILE, **few)
    with pytest.raises(KdlibError, match=rf"{FILE} has no array 'bn_conv1\.gamma'"):
        load_keras_resnet50(tmp_path / FILE)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KdlibError, match="cannot be read"):
        load_keras_resnet50(tmp_path / FILE)


# ---- the real weights ----------------------------------------------------------------------------------------------


def weights_file() -> Path:
    path = data_root() / FILE
    if not path.is_file():
        pytest.skip(f"no {path}: the ImageNet weights are not here (set KDLIB_DATA to their folder)")
    return path


def photographs() -> list[Path]:
    """foolbox's 20 ImageNet photographs; the class is in the file name: imagenet_<number>_<class>.jpg."""
    if named := os.environ.get("FOOLBOX_IMAGES"):
        folder = Path(named)
    else:
        package = importlib.util.find_spec("foolbox")
        if package is None or package.origin is None:
            pytest.skip("foolbox's photographs are not here: install foolbox or set FOOLBOX_IMAGES to its data folder")
        folder = Path(package.origin).parent / "data"
    return sorted(folder.glob("imagenet_[0-9]*_[0-9]*.jpg"))


def test_it_recognises_labelled_photographs():
    """Issue 3: top-1 of at least 18 of 20."""
    from kdlib.vision import torchvision

    model, files = load_keras_resnet50(weights_file()), photographs()
    assert len(files) == 20
    transforms = torchvision.transforms
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    images = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])
    labels = torch.tensor([int(re.findall(r"\d+", file.stem)[1]) for file in files])
    with torch.no_grad():
        logits = model(images)
        channels_swapped = model(images.flip(1))
    assert (logits.argmax(1) == labels).sum() >= 18
    assert F.cross_entropy(channels_swapped, labels) > 1.5 * F.cross_entropy(logits, labels)


def test_the_real_file_agrees_with_keras_written_out():
    with np.load(weights_file()) as archive:
        arrays = {name: archive[name] for name in archive.files}
    images = torch.rand(1, 3, 96, 96)
    model = from_keras(arrays)
    assert torch.allclose(model.normalise.mean.flatten(), torch.tensor(MEAN))
    assert torch.allclose(model.normalise.std.flatten(), torch.tensor(STD))
    with torch.no_grad():
        torch.testing.assert_close(model(images).double(), keras_forward(arrays, images), atol=5e-3, rtol=1e-3)
