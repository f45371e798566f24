"""Pixels looked up once for all categories: the same counts, bit for bit, as category by category and as by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dissection_twin import slow_dissection
from torch import nn

from kdlib.data.image_set import ConceptMap, ImageSet
from kdlib.metrics.dissection import joint_labels as module
from kdlib.metrics.dissection.dissect import Dissection, dissect, dissect_activations
from kdlib.metrics.dissection.joint_labels import JointCounter, LabelBatch, joint_labels, label_batches

SIZES = {"object": 3, "part": 2, "scene": 2, "material": 4}


def probe_of(images: int = 60, side: int = 32, seed: int = 0, material_side: int | None = None) -> ImageSet:
    """A probe set as Concept World's are: masks of the images' size, scenes of whole images, some images without."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for category, concepts in SIZES.items():
        if category == "scene":
            labels = torch.randint(0, 3, (images, 1, 1), generator=generator).expand(images, side, side)
        else:
            pixels = (material_side or side) if category == "material" else side
            labels = torch.randint(0, concepts + 1, (images, pixels, pixels), generator=generator, dtype=torch.uint8)
            labels[torch.rand(labels.shape, generator=generator) < 0.6] = 0
            labels[: images // 5] = 0
        names = ("unlabelled", *(f"{category} {i}" for i in range(1, concepts + 1)))
        maps.append(ConceptMap(category, labels, names))
    pictures = torch.randint(0, 256, (images, 1, side, side), generator=generator, dtype=torch.uint8)
    return ImageSet(
        "random", pictures, torch.zeros(images, dtype=torch.int64), ("a",), ("all",), (0,), concepts=tuple(maps)
    )


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 6, 5, stride=4, padding=2), nn.ReLU())


def category_by_category(model: nn.Module, probe: ImageSet, quantile: float) -> Dissection:
    """The dissection from masks alone, which have no joint labels."""
    with torch.no_grad():
        batches = [
            (model(batch.images.float() / 255), {name: labels.clone() for name, labels in batch.concepts.items()})
            for batch in probe.batches(7)
        ]
    return dissect_activations(batches, {c.category: c.names for c in probe.concepts}, quantile=quantile, layer="1")


@pytest.mark.parametrize("quantile", [0.005, 0.1])
def test_counts_are_those_of_each_category_alone_and_of_the_slow_twin(model, quantile):
    probe = probe_of()
    assert joint_labels(probe).labels.keys() == {"object", "part", "material"}
    found = dissect(model, probe, "1", quantile=quantile, batch_size=16)
    expected = category_by_category(model, probe, quantile)
    assert torch.equal(found.thresholds, expected.thresholds)
    for name in ("intersection", "concept_area"):
        for category in SIZES:
            assert torch.equal(getattr(found.tally, name)[category], getattr(expected.tally, name)[category])
    for rule in ("lite", "original"):
        for category, area in expected.tally.activated_area[rule].items():
            assert torch.equal(found.tally.activated_area[rule][category], area)
        with torch.no_grad():
            activations = model(probe.images.float() / 255)
        masks = {concept.category: concept.labels for concept in probe.concepts}
        iou, pixels = slow_dissection(activations, masks, SIZES, rule, quantile)
        assert np.array_equal(found.tally.activated_pixels.numpy(), pixels)
        for category, table in iou.items():
            assert np.array_equal(found.with_denominator(rule).iou[category].numpy(), table), category
    assert found.count(1e-6) > 0


def test_counting_a_little_at_a_time_changes_nothing(model, monkeypatch):
    probe = probe_of()
    expected = dissect(model, probe, "1", quantile=0.1)
    monkeypatch.setattr(JointCounter, "_MOST_WAITING", 3)
    assert torch.equal(dissect(model, probe, "1", quantile=0.1).score, expected.score)


def test_a_code_stands_for_the_labels_at_its_pixels():
    probe = probe_of()
    joint = joint_labels(probe)
    for place, (category, labels) in enumerate(joint.labels.items()):
        masks = probe.concept_map(category).labels
        assert torch.equal(labels[joint.codes.long()], masks.long())
        assert torch.equal(joint.subset >> place & 1, (labels > 0).long())
        assert joint.labelled[:, place].tolist() == [bool(mask.any()) for mask in masks]


def test_they_are_made_once_for_a_probe_set():
    probe = probe_of()
    assert joint_labels(probe) is joint_labels(probe)
    assert joint_labels(probe) is not joint_labels(probe_of())


def test_batches_have_the_codes_of_their_images():
    probe = probe_of(images=10)
    batches = [labels for _, labels in label_batches(probe, 4)]
    assert all(isinstance(batch, LabelBatch) for batch in batches)
    assert torch.equal(torch.cat([batch.joint.codes for batch in batches]), joint_labels(probe).codes)
    assert [len(batch["scene"]) for batch in batches] == [4, 4, 2]


def test_without_joint_labels_the_categories_are_counted_one_by_one(model, monkeypatch):
    probe = probe_of()
    expected = dissect(model, probe, "1", quantile=0.1)
    monkeypatch.setattr(module, "_MOST_CODES", 2)
    joint_labels.cache_clear()
    assert joint_labels(probe) is None
    assert torch.equal(dissect(model, probe, "1", quantile=0.1).score, expected.score)
    joint_labels.cache_clear()


def test_masks_of_several_sizes_have_no_joint_labels():
    assert joint_labels(probe_of(material_side=16)) is None
