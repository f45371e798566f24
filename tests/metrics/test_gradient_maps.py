"""Loss-gradient maps in numbers: against loops and scipy, by hand, and what must hold."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import mannwhitneyu

from kdlib.errors import KdlibError
from kdlib.metrics.gradient_maps import score_gradient_maps


def random_case(seed: int = 0, images: int = 6, ties: bool = False):
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(images, 3, 6, 5, generator=generator)
    if ties:
        # Squares, whose roots are whole too: sums of whole numbers are equal in any order of the channels.
        gradients = (gradients * 1.5).round() ** 2
    return gradients, torch.rand(images, 6, 5, generator=generator) < 0.3


def slow_scores(gradient, mask, power):
    """One map by loops over pixels and over pairs of pixels; gradient (C, H, W), mask (H, W)."""
    inside, outside = [], []
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            strength = sum(abs(float(gradient[c, row, column])) ** power for c in range(gradient.shape[0]))
            (inside if mask[row, column] else outside).append(strength)
    best = max(inside + outside)
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    return {
        "energy_inside": sum(inside) / (sum(inside) + sum(outside)),
        "chance": len(inside) / (len(inside) + len(outside)),
        "pointing": inside.count(best) / (inside.count(best) + outside.count(best)),
        "auc": sum(pairs) / len(pairs),
    }


# ---- against definitions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("ties", [False, True])
def test_every_score_equals_the_slow_twin(power, ties):
    gradients, masks = random_case(ties=ties)
    scores = score_gradient_maps(gradients, masks, power)
    for image in range(len(masks)):
        for name, value in slow_scores(gradients[image].double(), masks[image], power).items():
            assert float(getattr(scores, name)[image]) == pytest.approx(value, abs=1e-9), (name, image)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_equals_scipys_rank_statistic(ties):
    gradients, masks = random_case(3, ties=ties)
    gradients = gradients[:, :1]
    scores = score_gradient_maps(gradients, masks)
    for image, mask in enumerate(masks):
        values = gradients[image, 0].abs().double()
        inside, outside = values[mask].numpy(), values[~mask].numpy()
        u = mannwhitneyu(inside, outside).statistic
        assert float(scores.auc[image]) == pytest.approx(u / (len(inside) * len(outside)))


def test_a_case_worked_by_hand():
    # |g| summed over two channels: 4 and 1 inside, 3 and 2 outside.
    gradients = torch.tensor([[[[3.0, -1.0], [-2.0, 1.0]], [[1.0, 0.0], [1.0, -1.0]]]])
    masks = torch.tensor([[[True, True], [False, False]]])
    scores = score_gradient_maps(gradients, masks)
    assert float(scores.energy_inside) == pytest.approx(5 / 10)
    assert float(scores.chance) == 0.5
    assert float(scores.pointing) == 1
    assert float(scores.auc) == pytest.approx((1 + 1 + 0 + 0) / 4)
    squares = score_gradient_maps(gradients, masks, power=2.0)
    assert float(squares.energy_inside) == pytest.approx((10 + 1) / (10 + 1 + 5 + 2))


# ---- what must hold -------------------------------------------------------------------------------------------------


def test_a_map_on_the_object_alone_scores_one_everywhere():
    _, masks = random_case(4)
    scores = score_gradient_maps(-masks[:, None].float(), masks)
    for name in ("energy_inside", "pointing", "auc"):
        assert (getattr(scores, name) == 1).all()
    outside = score_gradient_maps((~masks[:, None]).float(), masks)
    for name in ("energy_inside", "pointing", "auc"):
        assert (getattr(outside, name) == 0).all()


def test_an_even_map_scores_chance():
    _, masks = random_case(5)
    scores = score_gradient_maps(torch.full((6, 3, 6, 5), -0.7), masks)
    assert torch.allclose(scores.energy_inside, scores.chance)
    assert torch.allclose(scores.pointing, scores.chance), "of equal maxima none is preferred"
    assert torch.allclose(scores.auc, torch.full_like(scores.auc, 0.5))
    assert scores.summary()["energy_over_chance"] == pytest.approx(1)


def test_noise_scores_chance_on_average():
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(400, 3, 12, 12, generator=generator)
    masks = torch.rand(400, 12, 12, generator=generator) < 0.2
    found = score_gradient_maps(gradients, masks).summary()
    assert found["energy_over_chance"] == pytest.approx(1, abs=0.02)
    assert found["mask_auc"] == pytest.approx(0.5, abs=0.01)
    assert found["pointing_game"] == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 400))


@pytest.mark.parametrize("factor", [1e-30, -1.0, 1e6])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_strength_of_the_gradient_does_not_matter(factor, power):
    # The gradients of a net that is certain are tiny: their squares must not vanish.
    gradients, masks = random_case(6)
    one, other = (score_gradient_maps(g, masks, power) for g in (gradients, gradients * factor))
    for name in ("energy_inside", "auc", "pointing"):
        assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-6)


def test_mask_and_its_complement_share_the_energy():
    gradients, masks = random_case(7)
    one, other = score_gradient_maps(gradients, masks), score_gradient_maps(gradients, ~masks)
    for name in ("energy_inside", "chance", "pointing", "auc"):
        assert torch.allclose(getattr(one, name) + getattr(other, name), torch.ones(1, dtype=torch.float64))


# ---- what can't be scored -------------------------------------------------------------------------------------------


def test_images_without_foreground_or_gradient_are_left_out_and_counted():
    gradients, masks = random_case(8)
    masks[0], masks[1], gradients[2] = False, True, 0.0
    masks[3], gradients[3] = False, 0.0  # counted once, as without foreground
    scores = score_gradient_maps(gradients, masks)
    assert scores.scored.tolist() == [False, False, False, False, True, True]
    for name in ("energy_inside", "chance", "pointing", "auc"):
        assert getattr(scores, name)[:4].isnan().all()
    found = scores.summary()
    assert (found["images"], found["without_foreground"], found["all_foreground"], found["flat"]) == (2, 2, 1, 1)
    assert found["gradient_energy_inside"] == pytest.approx(float(scores.energy_inside[4:].mean()))


def test_nothing_to_score_gives_nan():
    found = score_gradient_maps(torch.ones(2, 1, 3, 3), torch.zeros(2, 3, 3, dtype=torch.bool)).summary()
    assert found["images"] == 0
    assert math.isnan(found["gradient_energy_inside"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradients": torch.zeros(6, 6, 5)}, r"gradients must be real numbers of shape \(N, C, H, W\)"),
        ({"gradients": torch.zeros(6, 3, 6, 5, dtype=torch.int64)}, "not torch.int64"),
        ({"gradients": torch.full((6, 3, 6, 5), math.inf)}, "gradients are not finite"),
        ({"masks": torch.zeros(6, 5, 5, dtype=torch.bool)}, r"masks must be bool of shape \(6, 6, 5\)"),
        ({"masks": torch.zeros(6, 6, 5)}, "not torch.float32"),
        ({"power": 0.0}, "power must be a finite number greater than 0"),
        ({"power": 2000.0}, "power must be a finite number greater than 0 and less than 100, not 2000"),
    ],
)
def test_mistakes_are_one_sentence(change, message):
    gradients, masks = random_case()
    with pytest.raises(KdlibError, match=message) as error:
        score_gradient_maps(**{"gradients": gradients, "masks": masks, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("scale", "power"), [(1e-33, 10.0), (1e30, 11.0)])
def test_a_high_power_of_tiny_or_huge_gradients_is_neither_flat_nor_nan(scale, power):
    gradients = torch.tensor([[[[3.0, 1.0], [0.0, 0.0]]]], dtype=torch.float64) * scale
    scores = score_gradient_maps(gradients, torch.tensor([[[True, False], [False, False]]]), power)
    assert not scores.flat.any()
    assert scores.energy_inside.item() == pytest.approx(3**power / (3**power + 1))
