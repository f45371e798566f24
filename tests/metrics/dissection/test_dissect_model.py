"""Dissecting a layer of a model: what it runs, what it leaves behind, what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from kdlib.data.image_set import Batch, ConceptMap, ImageSet
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.dissect import dissect, dissect_activations
from kdlib.models import build


@pytest.fixture(scope="module")
def probe() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 32, 32), generator=generator, dtype=torch.uint8)
    objects = torch.randint(0, 3, (24, 16, 16), generator=generator, dtype=torch.uint8)
    scenes = torch.randint(1, 3, (24, 1, 1), generator=generator).expand(24, 16, 16)
    return ImageSet(
        "random",
        images,
        torch.zeros(24, dtype=torch.int64),
        ("a", "b"),
        ("all",),
        (0, 0),
        concepts=(
            ConceptMap("object", objects, ("unlabelled", "cat", "dog")),
            ConceptMap("scene", scenes, ("unlabelled", "field", "street")),
        ),
    )


@pytest.fixture
def model() -> nn.Module:
    return build("small_resnet", num_classes=2, channels=3, features=16)


def layer3(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The layer's output, run by hand in eval mode."""
    model.eval()
    with torch.no_grad():
        return model.layer3(model.layer2(model.layer1(model.stem(model.normalise(images)))))


def test_it_dissects_the_output_of_the_layer_in_eval_mode(model, probe):
    names = {concept.category: concept.names for concept in probe.concepts}
    found = dissect(model, probe, "layer3", batch_size=24)
    masks = {concept.category: concept.labels for concept in probe.concepts}
    expected = dissect_activations([(layer3(model, probe.images.float() / 255), masks)], names)
    assert found.layer == "layer3"
    assert found.num_units == 16
    assert torch.equal(found.thresholds, expected.thresholds)
    assert all(torch.equal(found.iou[category], expected.iou[category]) for category in names)


def test_the_same_call_gives_the_same_bits(model, probe):
    first, second = (dissect(model, probe, "layer2", batch_size=7) for _ in range(2))
    assert torch.equal(first.score, second.score)
    assert first.best_concept == second.best_concept


def test_the_model_is_left_as_it_was(model, probe):
    model.train()
    model.layer1.eval()  # a frozen part stays frozen
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    dissect(model, probe, "layer3")
    with pytest.raises(KdlibError):
        dissect(model, dataclasses.replace(probe, concepts=()), "layer3")
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


class Streamed:
    """The same images read batch by batch, with names beside them, as a Broden folder gives them."""

    def __init__(self, source: ImageSet) -> None:
        self.source = source
        self.concept_names = {concept.category: concept.names for concept in source.concepts}

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for batch in self.source.batches(batch_size):
            yield dataclasses.replace(batch, concepts={k: m.contiguous() for k, m in batch.concepts.items()})


def test_a_streamed_probe_set_gives_the_same(model, probe):
    streamed, held = dissect(model, Streamed(probe), "layer3"), dissect(model, probe, "layer3")
    assert all(torch.equal(streamed.iou[category], held.iou[category]) for category in held.iou)
    assert streamed.concept_names == held.concept_names == {"object": ("cat", "dog"), "scene": ("field", "street")}


def test_refusals(model, probe):
    with pytest.raises(KdlibError, match=r"no layer 'layer33'.*layer3"):
        dissect(model, probe, "layer33")
    with pytest.raises(KdlibError, match="real-valued maps of shape"):
        dissect(model, probe, "fc")
    with pytest.raises(KdlibError, match=r"3, height, width\), not"):
        dissect(model, dataclasses.replace(probe, images=probe.images[:, :1]), "layer3")
    narrow = nn.Sequential(nn.Conv2d(3, 2, 5), nn.Conv2d(2, 2, 5))
    tiny = dataclasses.replace(probe, images=probe.images[:, :, :6, :6])
    with pytest.raises(KdlibError, match=r"can't take images of shape \(3, 6, 6\)"):
        dissect(narrow, tiny, "1")
    with pytest.raises(KdlibError, match="no concept masks"):
        dissect(model, dataclasses.replace(probe, concepts=()), "layer3")
    with pytest.raises(KdlibError, match="batch_size"):
        dissect(model, probe, "layer3", batch_size=0)
    with pytest.raises(KdlibError, match="device 'gpu' can't be used"):
        dissect(model, probe, "layer3", device="gpu")
    with torch.no_grad():
        model.layer2[0].body[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(KdlibError, match=r"'layer2.0.body.0.weight' is not finite"):
        dissect(model, probe, "layer3")


def test_a_layer_that_takes_no_part_is_refused(probe):
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.used(images)

    with pytest.raises(KdlibError, match="takes no part in the forward pass"):
        dissect(Idle(), probe, "idle")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(model, probe):
    cpu = dissect(model, probe, "layer3", quantile=0.05)
    gpu = dissect(model, probe, "layer3", quantile=0.05, device="cuda")
    assert next(model.parameters()).device.type == "cpu"
    for category in cpu.iou:
        assert torch.allclose(cpu.iou[category], gpu.iou[category], atol=1e-3)
