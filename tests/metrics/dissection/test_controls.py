"""The controls of network dissection: a rotated basis, and a score on images that did not choose the concept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdlib.data.image_set import ConceptMap, ImageSet
from kdlib.errors import KdlibError
from kdlib.metrics.dissection import activations
from kdlib.metrics.dissection.controls import dissect_held_out, dissect_with_mixture, random_rotation
from kdlib.metrics.dissection.dissect import dissect

NAMES = ("unlabelled", *(f"patch {number}" for number in range(8)))


def planted(count: int = 80, size: int = 16) -> ImageSet:
    """Images of eight channels in which channel c is bright on patch c, of which each image shows two."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 40, (count, 8, size, size), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(count, size, size, dtype=torch.int64)
    for index in range(count):
        for place, patch in enumerate(((index % 8), (index + 3) % 8)):
            rows = slice(8 * place, 8 * place + 2)
            images[index, patch, rows, 4:6] = torch.randint(180, 255, (2, 2), generator=generator, dtype=torch.uint8)
            masks[index, rows, 4:6] = patch + 1
    return ImageSet(
        "planted",
        images,
        torch.zeros(count).long(),
        ("a", "b"),
        ("all",),
        (0, 0),
        concepts=(ConceptMap("part", masks, NAMES),),
    )


def looking(units: int = 8) -> nn.Module:
    """Hands the channels through, a unit a channel; further units see noise alone."""
    layer = nn.Conv2d(8, units, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(units, 8)[:, :, None, None])
    return nn.Sequential(layer)


def test_a_rotation_keeps_lengths_and_depends_on_the_seed_alone():
    turn = random_rotation(16, seed=3)
    vectors = torch.randn(5, 16)
    assert torch.allclose((vectors @ turn.T).norm(dim=1), vectors.norm(dim=1), atol=1e-5)
    assert torch.equal(turn, random_rotation(16, seed=3))
    assert not torch.equal(turn, random_rotation(16, seed=4))


def test_rotations_prefer_no_direction():
    first = torch.stack([random_rotation(3, seed)[:, 0] for seed in range(600)])
    assert first.mean(0).abs().max() < 0.12  # of unit vectors spread evenly: standard error 0.024
    assert torch.allclose(first.square().mean(0), torch.full((3,), 1 / 3), atol=0.06)


def test_units_that_see_one_concept_each_lose_it_in_a_random_basis():
    probe, model = planted(), looking()
    upright = dissect(model, probe, "0", quantile=0.004)
    _, turned = dissect_with_mixture(model, probe, "0", quantile=0.003)
    assert upright.count(0.5) == 8
    assert turned.score.mean() < upright.score.mean() - 0.2
    assert turned.num_units == 8


def test_a_rotated_layer_is_the_layer_times_the_rotation():
    probe, model = planted(), looking()
    turned = looking()
    with torch.no_grad():
        turned[0].weight.copy_((random_rotation(8, seed=5) @ model[0].weight[:, :, 0, 0])[:, :, None, None])
    expected = dissect(turned, probe, "0", quantile=0.004)
    own, found = dissect_with_mixture(model, probe, "0", seed=5, quantile=0.004)
    assert torch.allclose(found.thresholds, expected.thresholds, atol=1e-5)
    assert torch.allclose(found.score, expected.score, atol=1e-3)
    assert torch.equal(own.score, dissect(model, probe, "0", quantile=0.004).score)  # of the layer as it is


class Counted(nn.Module):
    """Counts the images that a model is shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner, self.shown = model, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shown += len(images)
        return self.inner(images)


def test_activations_that_fit_into_memory_are_made_once_and_larger_ones_in_each_pass(monkeypatch):
    probe, model = planted(), Counted(looking())
    kept = dissect_with_mixture(model, probe, "inner", quantile=0.004, batch_size=32)
    assert model.shown == len(probe)
    monkeypatch.setattr(activations.Kept, "MOST", 0)
    again = dissect_with_mixture(model, probe, "inner", quantile=0.004, batch_size=32)
    assert model.shown == len(probe) * (1 + 4)  # two passes of each of two dissections
    for one, other in zip(kept, again, strict=True):
        assert torch.equal(one.score, other.score) and torch.equal(one.thresholds, other.thresholds)


def test_a_round_that_is_left_early_keeps_nothing():
    rounds = activations.Kept([(torch.zeros(1, 2, 1, 1), {}), (torch.ones(1, 2, 1, 1), {})], images=2)
    next(iter(rounds))
    assert [float(maps.sum()) for maps, _ in rounds] == [0.0, 2.0]


def test_a_true_detector_keeps_its_score_on_held_out_images():
    found = dissect_held_out(looking(), planted(), "0", quantile=0.003)
    assert found.count(0.5) == found.chosen.count(0.5) == 8


def test_the_held_out_score_by_slow_twin():
    probe = planted(40)
    noisy = ImageSet(**{**vars(probe), "images": torch.randint(0, 255, probe.images.shape, dtype=torch.uint8)})
    model = looking()
    found = dissect_held_out(model, noisy, "0", seed=2, quantile=0.01, denominator="original")
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    chosen = dissect(model, noisy.subset(order[:20].sort().values), "0", quantile=0.01, denominator="original")
    other = noisy.subset(order[20:].sort().values)
    maps, masks = other.inputs(slice(None)), other.concept_map("part").labels
    labelled = (masks > 0).flatten(1).any(1)
    for unit in range(8):
        concept = NAMES.index(chosen.best_concept[unit])
        active = maps[:, unit] > chosen.thresholds[unit]
        both = (active & (masks == concept)).sum()
        union = active[labelled].sum() + (masks == concept).sum() - both
        assert found.score[unit].item() == pytest.approx(both.item() / union.item(), abs=1e-9)


def test_the_best_of_many_concepts_is_too_good_by_chance():
    probe = planted(200)
    generator = torch.Generator().manual_seed(1)
    random = torch.randint(0, 255, probe.images.shape, dtype=torch.uint8, generator=generator)
    noisy = ImageSet(**{**vars(probe), "images": random})
    found = dissect_held_out(looking(), noisy, "0", quantile=0.02)
    assert found.score.mean() < found.chosen.score.mean()


def test_one_image_has_no_other_half():
    with pytest.raises(KdlibError, match="a held-out half needs at least 2 probe images, not 1"):
        dissect_held_out(looking(), planted(1), "0")
