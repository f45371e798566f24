"""Visual concepts against a count written from the definition, cases worked by hand, and what must hold."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from kdlib.errors import KdlibError
from kdlib.metrics.visual_concepts import (
    agreement,
    discards,
    foreground_cells,
    precision_recall,
    visual_concepts,
)


def random_case(seed: int = 0, images: int = 6, side: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    entropy = torch.randn(images, side, side, generator=generator, dtype=torch.float64) * 0.3 - 2.8
    foreground = torch.rand(images, side, side, generator=generator) < 0.4
    return entropy, foreground


def slow_counts(entropy, foreground, threshold: float, images) -> list[tuple[int, int, float]]:
    """(N_fg, N_bg, share) of each of `images`, cell by cell."""
    side = range(entropy.shape[1])
    means = []
    for image in images:
        values = [float(entropy[image, r, c]) for r in side for c in side if not foreground[image, r, c]]
        means.append(sum(values) / len(values))
    background = sum(means) / len(means)
    found = []
    for image in images:
        on_foreground = on_background = 0
        for row in side:
            for column in side:
                if background - float(entropy[image, row, column]) > threshold:
                    if foreground[image, row, column]:
                        on_foreground += 1
                    else:
                        on_background += 1
        total = on_foreground + on_background
        found.append((on_foreground, on_background, on_foreground / total if total else 0.0))
    return found


# ---- against the definition -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.4, 5.0])
def test_counts_and_share_equal_the_slow_twin(threshold):
    entropy, foreground = random_case()
    found = visual_concepts(entropy, foreground, threshold)
    columns = zip(found.on_foreground.tolist(), found.on_background.tolist(), found.share.tolist(), strict=True)
    assert list(columns) == slow_counts(entropy, foreground, threshold, range(6))


def test_only_images_to_be_kept_count_in_the_background_mean_and_have_concepts():
    entropy, foreground = random_case(1)
    entropy[3] = math.nan  # a dead image
    found = visual_concepts(entropy, foreground, keep=torch.tensor([True, False, True, True, True, True]))
    kept = [0, 2, 4, 5]
    assert found.kept.nonzero()[:, 0].tolist() == kept
    columns = zip(found.on_foreground[kept].tolist(), found.on_background[kept].tolist(), strict=True)
    assert list(columns) == [counts[:2] for counts in slow_counts(entropy, foreground, 0.2, kept)]
    assert not found.concepts[[1, 3]].any()
    summary = found.summary()
    assert (summary["images"], summary["left_out"]) == (4, 2)
    assert summary["n_foreground"] == pytest.approx(float(found.on_foreground[kept].double().mean()))


def test_a_case_worked_by_hand():
    # Background means: image 0 (-2.6 - 2.8) / 2 = -2.7, image 1 -2.5: -2.6 in all. Concepts lie under -2.8.
    entropy = torch.tensor([[[-3.0, -2.6], [-2.7, -2.8]], [[-2.9, -2.9], [-2.7, -2.5]]], dtype=torch.float64)
    entropy[0, 1, 1] -= 1e-9
    foreground = torch.tensor([[[True, False], [True, False]], [[True, True], [True, False]]])
    found = visual_concepts(entropy, foreground)
    assert found.background_entropy == pytest.approx(-2.6)
    assert found.concepts.tolist() == [[[True, False], [False, True]], [[True, True], [False, False]]]
    assert found.on_foreground.tolist() == [1, 2]
    assert found.on_background.tolist() == [1, 0]
    assert found.share.tolist() == [0.5, 1.0]
    assert found.recall.tolist() == [1 / 2, 2 / 3]
    summary = found.summary()
    assert summary["share"] == 0.75
    assert summary["median_n_foreground"] == 1.5


def test_the_background_mean_is_of_images_not_of_cells():
    entropy = torch.tensor([[[-3.0, -2.0, -2.0, -2.0]], [[-3.0, -3.0, -3.0, -4.0]]])
    foreground = torch.tensor([[[True, False, False, False]], [[True, True, True, False]]])
    assert visual_concepts(entropy, foreground).background_entropy == pytest.approx(-3.0)


def test_a_cell_exactly_at_the_threshold_is_no_concept():
    entropy = torch.tensor([[[-2.25, -2.0]]])
    foreground = torch.tensor([[[True, False]]])
    assert visual_concepts(entropy, foreground, 0.25).on_foreground.tolist() == [0]
    assert visual_concepts(entropy, foreground, 0.24).on_foreground.tolist() == [1]


def test_an_image_without_concepts_has_share_0_and_is_counted():
    found = visual_concepts(torch.full((2, 2, 2), -2.8), torch.tensor([[[True, False], [False, False]]] * 2))
    assert found.share.tolist() == [0.0, 0.0]
    assert found.summary()["without_concepts"] == 2


# ---- what must hold -------------------------------------------------------------------------------------------------


def test_a_constant_added_to_all_entropies_changes_nothing():
    entropy, foreground = random_case(2)
    one, other = visual_concepts(entropy, foreground), visual_concepts(entropy + 0.7, foreground)
    assert torch.equal(one.concepts, other.concepts)


def test_a_higher_threshold_leaves_a_subset():
    entropy, foreground = random_case(3)
    sets = [visual_concepts(entropy, foreground, b).concepts for b in (0.1, 0.2, 0.3, 0.4)]
    for larger, smaller in itertools.pairwise(sets):
        assert not (smaller & ~larger).any()
        assert smaller.sum() < larger.sum()


def test_share_is_the_precision_of_concepts_on_the_object():
    entropy, foreground = random_case(4)
    found = visual_concepts(entropy, foreground)
    precision, recall = precision_recall(found.concepts, foreground)
    assert torch.equal(found.share, precision)
    assert torch.equal(found.recall, recall)


# ---- masks on the grid ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "grid"), [(32, 32, 16), (28, 28, 16), (227, 200, 16), (9, 12, (2, 5))])
def test_a_mask_is_sampled_as_torch_does_nearest_neighbours(height, width, grid):
    masks = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = F.interpolate(masks[:, None].float(), size=grid, mode="nearest")[:, 0] > 0
    assert torch.equal(foreground_cells(masks, grid), expected)


def test_any_value_above_0_is_foreground():
    assert foreground_cells(torch.tensor([[[0, 3], [255, 0]]], dtype=torch.uint8), 2).tolist() == [
        [[False, True], [True, False]]
    ]


def test_pixels_are_their_own_cells():
    masks = torch.rand(2, 6, 5) < 0.5
    assert torch.equal(foreground_cells(masks, "pixel"), masks)


# ---- the selection of images ----------------------------------------------------------------------------------------


def slow_keep(entropy, foreground, judged) -> list[bool]:
    kept = []
    for image in range(entropy.shape[1]):
        good = True
        for maps, late in zip(entropy, judged, strict=True):
            values = maps[image]
            # Section 6, rule 3: dropped if the background's mean entropy "is not larger" than the foreground's.
            larger = float(values[~foreground[image]].mean()) > float(values[foreground[image]].mean())
            if values.isnan().any() or (late and not larger):
                good = False
        kept.append(good)
    return kept


def test_discards_equal_the_slow_twin():
    generator = torch.Generator().manual_seed(5)
    entropy = torch.randn(4, 40, 3, 3, generator=generator, dtype=torch.float64)
    foreground = torch.rand(40, 3, 3, generator=generator) < 0.5
    foreground[:, 0, 0], foreground[:, 0, 1] = True, False
    entropy[1, 2] = math.nan
    # Image 3 is far above the rule except for a tie at the last checkpoint; these halves add up exactly.
    entropy[:, 3] = torch.where(foreground[3], -3.0, -2.0)
    entropy[3, 3] = -2.5
    for epochs, judged in (([0, 20, 40, 150], [False, False, True, True]), (None, [True] * 4)):
        found = discards(entropy, foreground, epochs)
        assert found.keep.tolist() == slow_keep(entropy, foreground, judged)
        assert found.dead.nonzero()[:, 0].tolist() == [2]
        assert bool(found.background_below[3])
        assert 0 < found.keep.sum() < 39
        assert found.rate() == pytest.approx(1 - float(found.keep.double().mean()))
        assert not (found.dead & found.background_below).any()
    first = discards(entropy, foreground, [0, 20, 40, 150]).first(5)
    assert first.nonzero()[:, 0].tolist() == found_first(slow_keep(entropy, foreground, [False, False, True, True]), 5)


def found_first(kept: list[bool], count: int) -> list[int]:
    return [image for image, good in enumerate(kept) if good][:count]


def test_an_image_without_foreground_is_dropped_where_it_is_judged():
    entropy = torch.tensor([[[[-2.8, -2.8]], [[-2.9, -2.8]]]])
    foreground = torch.tensor([[[False, False]], [[True, False]]])
    assert discards(entropy, foreground).keep.tolist() == [False, True]


@pytest.mark.parametrize("value", [-2.8, -2.5, -3.1862])
def test_a_flat_map_is_a_tie_and_dropped_however_its_means_round(value):
    foreground = torch.rand(50, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.3
    flat = torch.full((1, 50, 16, 16), value, dtype=torch.float64)
    assert discards(flat, foreground).keep.tolist() == [False] * 50
    assert discards(flat - 1e-6 * foreground, foreground).keep.tolist() == [True] * 50


# ---- sets -----------------------------------------------------------------------------------------------------------


def test_precision_recall_and_agreement_by_hand():
    one = torch.tensor([[[True, True, True, False]], [[False, False, False, False]]])
    other = torch.tensor([[[True, False, False, True]], [[False, False, False, False]]])
    precision, recall = precision_recall(one, other)
    assert precision[0] == pytest.approx(1 / 3)
    assert recall[0] == pytest.approx(1 / 2)
    assert precision[1].isnan()
    assert recall[1].isnan()
    assert agreement(one, other)[0] == pytest.approx(1 / 4)
    assert agreement(one, other)[1].isnan()
    assert agreement(one, one)[0] == 1


# ---- bad input ------------------------------------------------------------------------------------------------------


def one_sided(value: bool) -> torch.Tensor:
    foreground = random_case()[1]
    foreground[[2, 4]] = value
    return foreground


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foreground": one_sided(False)}, "image 2 and 1 more has no foreground cell on the 5x5 grid; leave it out"),
        ({"foreground": one_sided(True)}, "image 2 and 1 more has no background cell"),
        ({"foreground": torch.zeros(6, 5, 5)}, r"foreground must be bool of shape \(6, 5, 5\).*foreground_cells"),
        ({"foreground": torch.zeros(6, 4, 5, dtype=torch.bool)}, r"not torch.bool of \(6, 4, 5\)"),
        ({"entropy": torch.zeros(5, 5)}, r"entropy must be real numbers of shape \(N, rows, columns\)"),
        ({"entropy": torch.full((6, 5, 5), math.nan)}, "no image is left to count concepts on"),
        ({"threshold": 0.0}, "threshold must be a finite number greater than 0"),
        ({"keep": torch.zeros(6, dtype=torch.bool)}, "no image is left"),
        ({"keep": torch.ones(5, dtype=torch.bool)}, "keep must be bool, one for each of the 6 images"),
        ({"keep": torch.ones(6)}, "not torch.float32"),
    ],
)
def test_mistakes_are_one_sentence(change, message):
    entropy, foreground = random_case()
    with pytest.raises(KdlibError, match=message) as error:
        visual_concepts(**{"entropy": entropy, "foreground": foreground, **change})
    assert "\n" not in str(error.value)


def test_images_without_foreground_can_be_left_out():
    entropy, _ = random_case()
    foreground = one_sided(False)
    found = visual_concepts(entropy, foreground, keep=foreground.flatten(1).any(1))
    assert found.kept.tolist() == [True, True, False, True, False, True]


def test_other_mistakes_are_told():
    with pytest.raises(KdlibError, match=r"masks must have shape \(N, H, W\), not \(4, 4\)"):
        foreground_cells(torch.zeros(4, 4))
    with pytest.raises(KdlibError, match="a grid of 16x16 cells is finer than the 8x8 pixels"):
        foreground_cells(torch.zeros(1, 8, 8))
    entropy, foreground = random_case()
    with pytest.raises(KdlibError, match=r"shape \(checkpoints, N, rows, columns\) here.*use torch.stack"):
        discards(entropy, foreground)
    with pytest.raises(KdlibError, match="epochs must be one for each of the 1 checkpoints, not 2"):
        discards(entropy[None], foreground, [0, 1])
    with pytest.raises(KdlibError, match="sets of cells must be bool of one shape"):
        agreement(foreground, entropy)
