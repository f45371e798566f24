"""DiffROAR: masks against sorting loops, scores by hand, and data whose label sits in known coordinates."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from kdlib.errors import KdlibError
from kdlib.metrics.diffroar import DiffRoar, RankCodes, diffroar, kept_number, masked, rank_codes

FRACTIONS = (0.05, 0.2, 0.5, 0.9, 1.0)
EVERY = slice(None)


def random_attributions(images: int = 5, shape: tuple[int, ...] = (3, 4, 7), seed: int = 0) -> Tensor:
    return torch.rand(images, *shape, generator=torch.Generator().manual_seed(seed))


# Masks


def slow_keep(attribution: Tensor, kept: str, fraction: float) -> list[bool]:
    """What is kept of one image without equal attributions: sort, then take from one end."""
    values = attribution.flatten().tolist()
    number = round(fraction * len(values))
    best_first = sorted(values, reverse=kept == "top")
    return [value in best_first[:number] for value in values]


@pytest.mark.parametrize("kept", ["top", "bottom"])
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_masks_are_those_of_a_sorting_loop(kept, fraction):
    attributions = random_attributions()
    keep = rank_codes(attributions, FRACTIONS).keep(EVERY, kept, fraction)
    assert keep.flatten(1).tolist() == [slow_keep(each, kept, fraction) for each in attributions]


def test_coordinates_are_ranked_over_channels_and_not_pixel_by_pixel():
    attributions = torch.tensor([[[[0.9, 0.1]], [[0.8, 0.2]]]])  # two channels of two pixels
    keep = rank_codes(attributions, (0.5,)).keep(EVERY, "top", 0.5)
    assert keep.tolist() == [[[[True, False]], [[True, False]]]]


def test_each_image_is_ranked_by_itself():
    attributions = random_attributions()
    alone = [rank_codes(each[None], (0.3,)).keep(EVERY, "top", 0.3) for each in 1000 * attributions]
    assert torch.equal(rank_codes(attributions, (0.3,)).keep(EVERY, "top", 0.3), torch.cat(alone))


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_masks_keep_as_much_as_they_say(fraction):
    ranks = rank_codes(random_attributions(), FRACTIONS)
    for kept in ("top", "bottom"):
        counts = ranks.keep(EVERY, kept, fraction).flatten(1).sum(1)
        assert counts.tolist() == [kept_number(fraction, 3 * 4 * 7)] * 5


def test_a_fraction_of_one_keeps_all():
    ranks = rank_codes(random_attributions(), (1.0,))
    assert ranks.keep(EVERY, "top", 1.0).all() and ranks.keep(EVERY, "bottom", 1.0).all()


def test_top_and_bottom_complete_each_other():
    ranks = rank_codes(random_attributions(shape=(1, 5, 8)), (0.3, 0.7))
    assert torch.equal(ranks.keep(EVERY, "top", 0.3), ~ranks.keep(EVERY, "bottom", 0.7))


def test_a_larger_fraction_keeps_what_a_smaller_one_does():
    ranks = rank_codes(random_attributions(), FRACTIONS)
    for kept in ("top", "bottom"):
        masks = [ranks.keep(EVERY, kept, fraction) for fraction in FRACTIONS]
        assert all(bool((large | ~small).all()) for small, large in itertools.pairwise(masks))


def test_reversed_attributions_swap_top_and_bottom():
    attributions = random_attributions()
    ranks, turned = rank_codes(attributions, (0.2,)), rank_codes(-attributions, (0.2,))
    assert torch.equal(ranks.keep(EVERY, "top", 0.2), turned.keep(EVERY, "bottom", 0.2))


def test_the_scale_of_an_attribution_does_not_matter():
    attributions = random_attributions()
    assert torch.equal(rank_codes(attributions, (0.2,)).codes, rank_codes(8 * attributions, (0.2,)).codes)


def test_masks_do_not_depend_on_the_other_levels_nor_on_how_many_images_are_sorted_at_once(monkeypatch):
    attributions = random_attributions()
    together = rank_codes(attributions, FRACTIONS).keep(EVERY, "bottom", 0.2)
    monkeypatch.setattr("kdlib.metrics.diffroar._SORTED_AT_ONCE", 1)
    assert torch.equal(together, rank_codes(attributions, (0.2,)).keep(EVERY, "bottom", 0.2))


def test_equal_attributions_are_ranked_in_one_random_order_of_places():
    constant = torch.full((3, 1, 20, 20), 0.5)
    keep = rank_codes(constant, (0.5,)).keep(EVERY, "top", 0.5)
    assert torch.equal(keep, rank_codes(constant, (0.5,)).keep(EVERY, "top", 0.5))
    assert torch.equal(keep[0], keep[1])
    assert 0.35 < keep[0, 0, :10].float().mean() < 0.65  # not the upper half
    assert not torch.equal(keep, rank_codes(constant, (0.5,), seed=1).keep(EVERY, "top", 0.5))


def test_of_equal_attributions_no_more_are_kept_than_fit():
    attributions = torch.tensor([[[[0.7, 0.0, 0.0, 0.0]]]])
    ranks = rank_codes(attributions, (0.5,))
    assert ranks.keep(EVERY, "top", 0.5).sum() == 2 and ranks.keep(EVERY, "top", 0.5)[0, 0, 0, 0]


def test_images_are_chosen_by_index():
    ranks = rank_codes(random_attributions(), (0.2,))
    index = torch.tensor([3, 0, 3])
    assert torch.equal(ranks.keep(index, "top", 0.2), ranks.keep(EVERY, "top", 0.2)[index])


def test_a_byte_holds_the_most_levels_there_can_be():
    fractions = tuple(i / 256 for i in range(1, 128))
    ranks = rank_codes(random_attributions(1, (1, 32, 32)), fractions)
    assert isinstance(ranks, RankCodes) and ranks.codes.dtype == torch.uint8 and ranks.codes.max() == 254
    assert all(ranks.keep(EVERY, "bottom", k).sum() == kept_number(k, 1024) for k in fractions)


def test_masked_images_hold_the_channels_constant_where_nothing_is_kept():
    images = torch.arange(8.0).view(1, 2, 2, 2)
    keep = torch.tensor([[[[True, False], [False, True]], [[False, False], [True, True]]]])
    expected = [[[[0.0, -1.0], [-1.0, 3.0]], [[-2.0, -2.0], [6.0, 7.0]]]]
    assert masked(images, keep, torch.tensor([-1.0, -2.0])).tolist() == expected


@pytest.mark.parametrize(
    ("attributions", "message"),
    [
        (torch.rand(2, 5), "of shape \\(N, C, H, W\\), not torch.float32 of shape \\(2, 5\\)"),
        (torch.ones(1, 1, 2, 2, dtype=torch.int64), "not torch.int64"),
        (torch.rand(0, 1, 2, 2), "of shape \\(0, 1, 2, 2\\)"),
        (torch.full((1, 1, 2, 2), torch.nan), "not all finite"),
    ],
)
def test_what_can_not_be_ranked_is_refused(attributions, message):
    with pytest.raises(KdlibError, match=message):
        rank_codes(attributions, (0.5,))


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5, float("nan"), "half"])
def test_fractions_that_are_none_are_refused(fraction):
    with pytest.raises(KdlibError, match="unmask fraction"):
        rank_codes(random_attributions(), (fraction,))


def test_no_fractions_and_too_many_are_refused():
    for fractions in ((), [i / 1000 for i in range(1, 200)]):
        with pytest.raises(KdlibError, match="1 to 127 unmask fractions"):
            rank_codes(random_attributions(), fractions)


def test_asking_for_what_was_not_ranked_is_refused():
    ranks = rank_codes(random_attributions(), (0.2, 0.5))
    with pytest.raises(KdlibError, match=r"fraction of 0.3 \(they know 0.2, 0.5\); give it to rank_codes"):
        ranks.keep(EVERY, "top", 0.3)
    with pytest.raises(KdlibError, match="did you mean 'top'"):
        ranks.keep(EVERY, "tops", 0.2)


# Scores


def test_scores_of_a_hand_example():
    accuracies = {
        ("top", 0.1): [0.6, 0.8],
        ("bottom", 0.1): [0.3, 0.1],
        ("top", 0.5): [0.9, 0.9],
        ("bottom", 0.5): [1, 1],
    }
    found = diffroar(lambda kept, fraction, repeat: accuracies[kept, fraction][repeat], (0.1, 0.5), repeats=2)
    assert found == DiffRoar((0.1, 0.5), ((0.6, 0.8), (0.9, 0.9)), ((0.3, 0.1), (1.0, 1.0)))
    assert found.scores() == pytest.approx([0.5, -0.1])
    assert found.mean() == pytest.approx(0.2)


def test_every_level_end_and_repeat_is_retrained_once():
    asked = []
    diffroar(lambda *call: asked.append(call) or 0.5, (0.1, 0.5), repeats=3)
    assert sorted(asked) == sorted(itertools.product(("top", "bottom"), (0.1, 0.5), range(3)))


@pytest.mark.parametrize("accuracy", [70.0, -0.1, float("nan")])
def test_a_retraining_that_gives_no_accuracy_is_refused(accuracy):
    with pytest.raises(KdlibError, match="must lie between 0 and 1"):
        diffroar(lambda *_: accuracy, (0.1,))


def test_no_levels_and_no_repeats_are_refused():
    with pytest.raises(KdlibError, match="at least one unmask fraction"):
        diffroar(lambda *_: 0.5, ())
    with pytest.raises(KdlibError, match="repeats must be"):
        diffroar(lambda *_: 0.5, (0.1,), repeats=0)


# Data whose label sits in six known coordinates of 144, and a linear model whose gradient marks them

PLANTED = torch.tensor([3, 17, 40, 71, 100, 143])
COORDINATES = (1, 12, 12)


def planted_data(images: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (images,), generator=generator)
    pixels = torch.randn(images, 144, generator=generator)
    pixels[:, PLANTED] += 2.0 * labels[:, None] - 1
    return pixels.view(images, *COORDINATES), labels


def linear_model() -> torch.nn.Module:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 2))
    weight = 0.01 * torch.randn(2, 144, generator=torch.Generator().manual_seed(5))
    weight[1, PLANTED] += 1
    weight[0, PLANTED] -= 1
    model[1].weight.data.copy_(weight)
    return model


def gradients(images: Tensor, labels: Tensor) -> Tensor:
    """|gradient of the true class's logit|."""
    images = images.clone().requires_grad_()
    linear_model()(images).gather(1, labels[:, None]).sum().backward()
    return images.grad.abs()


def score(attribute, fraction: float = 0.1) -> float:
    """DiffROAR with a linear classifier retrained by ridge regression."""
    data = [planted_data(600, 1), planted_data(600, 2)]
    ranks = [rank_codes(attribute(*part), (fraction,)) for part in data]

    def retrain(kept: str, k: float, repeat: int) -> float:
        sides = []
        for (images, labels), each in zip(data, ranks, strict=True):
            seen = masked(images, each.keep(EVERY, kept, k), torch.zeros(1)).flatten(1).double()
            sides.append((torch.cat([seen, torch.ones(len(seen), 1)], dim=1), 2.0 * labels.double() - 1))
        (x, y), (x_test, y_test) = sides
        weights = torch.linalg.solve(x.T @ x + torch.eye(145, dtype=torch.float64), x.T @ y)
        return float(((x_test @ weights > 0) == (y_test > 0)).double().mean())

    return diffroar(retrain, (fraction,)).mean()


def test_gradients_that_mark_what_discriminates_score_high():
    assert score(gradients) > 0.4


def test_the_same_gradients_upside_down_score_as_low():
    assert score(lambda *part: -gradients(*part)) == pytest.approx(-score(gradients))


def test_random_attributions_score_about_nothing():
    noise = torch.Generator().manual_seed(9)
    assert abs(score(lambda images, labels: torch.rand(images.shape, generator=noise))) < 0.06


def test_attributions_that_ignore_the_image_and_hit_beside_the_label_score_below_zero():
    def beside(images, labels):
        attribution = torch.ones(144)
        attribution[PLANTED] = 0
        return attribution.view(COORDINATES).expand(images.shape)

    assert score(beside) < -0.4
