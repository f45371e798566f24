"""Dissecting weights from a file: what is counted, and that random weights are never taken for trained ones."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kdlib.cli import main
from kdlib.data.broden import export_broden
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.metrics.dissection.dissect import dissect
from kdlib.models import build
from kdlib.papers.han2023.dissect_weights import (
    dissect_imagenet_resnet50,
    imagenet_resnet50_file,
    load_network,
    report,
)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "trained.safetensors"
    save_file(build("small_resnet", num_classes=3, seed=4).state_dict(), path)
    return path


def run(*words) -> int:
    return main(["dissect", *(str(word) for word in (*words, "--device", "cpu"))])


SMALL = ("--model", "small_resnet", "--classes", 3, "--layer", "layer3")


def test_the_files_network_is_dissected_on_drawn_scenes(weights, capsys):
    assert run(weights, *SMALL, "--images", 40, "--image-size", 32, "--quantile", 0.02) == 0
    told = capsys.readouterr().out
    probe = draw_scenes(40, 20_230, 32, background_correlation=0.0)
    expected = dissect(build("small_resnet", num_classes=3, seed=4), probe, "layer3", quantile=0.02)
    assert told.strip() == report(expected, 0.05)
    assert told.startswith(
        f"{expected.count()} of 128 units of layer3 are concept detectors (IoU >= 0.05, quantile 0.02"
    )


def test_the_probe_may_be_a_broden_folder(weights, tmp_path, capsys):
    folder = export_broden(draw_scenes(40, 20_230, 32, background_correlation=0.0), tmp_path / "world")
    assert run(weights, *SMALL, "--probe", folder, "--quantile", 0.02) == 0
    from_folder = capsys.readouterr().out
    assert run(weights, *SMALL, "--images", 40, "--image-size", 32, "--quantile", 0.02) == 0
    assert from_folder == capsys.readouterr().out


def truncated(folder):
    mask = sorted((folder / "images").rglob("*.png"))[-1]
    mask.write_bytes(mask.read_bytes()[:40])


def no_masks(folder):
    for path in (folder / "images").rglob("*part*.png"):
        path.unlink()


def no_column(folder):
    index = folder / "index.csv"
    index.write_text(index.read_text().replace("sh,sw", "sh,width", 1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_masks, r".*part.*\.png is missing; copy or download the folder again"),
        (truncated, r"\.png holds no whole image"),
        (no_column, r"index\.csv lacks the column 'sw'; is it Broden's"),
    ],
)
def test_a_damaged_broden_folder_is_one_sentence_and_exit_code_2(weights, tmp_path, capsys, damage, message):
    folder = export_broden(draw_scenes(20, seed=1), tmp_path / "world")
    damage(folder)
    assert run(weights, *SMALL, "--probe", folder) == 2
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert re.search(message, line)
    assert not captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.pt", "--model", "resnet18"), r"there is no checkpoint nowhere\.pt"),
        (("nowhere.npz",), r"there is no file nowhere\.npz"),
        (("WEIGHTS", "--model", "resnet18"), r"does not fit this model: it lacks 'conv1\.weight'"),
        (
            ("WEIGHTS", "--model", "small_resnet", "--classes", "4"),
            r"'fc\.bias' has shape \(3,\), not \(4,\)",
        ),
        (("WEIGHTS", "--model", "small_resent"), "unknown model 'small_resent'; did you mean 'small_resnet'"),
        (("other.npz", "--model", "resnet18"), "is taken for a Keras ResNet-50, not for a resnet18"),
        (("WEIGHTS", *map(str, SMALL), "--images", "0"), "images must be a whole number from 1 to 1000000"),
        (("WEIGHTS", *map(str, SMALL[:4]), "--layer", "layer4"), "no layer 'layer4'; the nearest are"),
        (("WEIGHTS", *map(str, SMALL), "--denominator", "light"), "unknown denominator 'light'; did you mean 'lite'"),
    ],
)
def test_nothing_is_dissected_with_random_weights(weights, capsys, words, message):
    """Acceptance test 10 of the paper file: refuse to run if the checkpoint is missing."""
    assert run(*(weights if word == "WEIGHTS" else word for word in words)) == 2
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert re.search(message, line)
    assert not captured.out


def test_networks_without_statistics_of_their_own_take_imagenets(tmp_path):
    from kdlib.vision import torchvision

    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), tmp_path / "resnet18.pth")
    model = load_network("resnet18", tmp_path / "resnet18.pth", 2)
    np.testing.assert_allclose(model.normalise.mean.flatten(), (0.485, 0.456, 0.406), rtol=1e-6)


@pytest.mark.slow
def test_imagenets_resnet50_sees_things_in_drawn_scenes():
    """Its units were trained on photographs, and are more selective than random ones on drawings too."""
    if not imagenet_resnet50_file().is_file():
        pytest.skip(f"no {imagenet_resnet50_file()}: the ImageNet weights are not here")
    found, model, scenes = dissect_imagenet_resnet50(images=24, image_size=64, layer="layer3")
    assert (found.num_units, len(scenes), scenes.image_size) == (1024, 24, (64, 64))
    assert torch.equal(found.score, dissect(model, scenes, "layer3").score)
    random = build("resnet50", num_classes=2, stride_in_first_1x1=1)
    assert float(found.score.mean()) > 1.1 * float(dissect(random, scenes, "layer3").score.mean())
