"""Five-band scores against their definition, a case worked by hand, and what must hold whatever the map."""

from __future__ import annotations

import math

import pytest
import torch

from kdlib.data.drawn.cells import draw_cells
from kdlib.errors import KdlibError
from kdlib.metrics.five_band import (
    MEASURES,
    VARIANTS,
    five_band,
    five_band_scores,
    normalise,
    soft_thresholds,
    stratify,
)

V1 = (-0.5, -0.3, 0.3, 0.5)


def slow_band(value: float, thresholds) -> int:
    low2, low1, high1, high2 = thresholds
    if value > high2:
        return 2
    if value > high1:
        return 1
    if value < low2:
        return -2
    if value < low1:
        return -1
    return 0


def slow_scores(attribution, truth, thresholds, clamp=None) -> dict[str, float]:
    """One image, one position of the thresholds, pixel by pixel; attribution (C, H, W), truth (H, W)."""
    channels, height, width = attribution.shape
    values = {}
    for row in range(height):
        for column in range(width):
            total = 0.0
            for channel in range(channels):
                value = float(attribution[channel, row, column])
                total += value if clamp is None else min(max(value, -clamp), clamp)
            values[row, column] = total
    largest = max(abs(value) for value in values.values())
    equal = tp = fp = tn = fn = 0
    for (row, column), value in values.items():
        band = slow_band(value / largest if largest > 0 else 0.0, thresholds)
        known = int(truth[row, column])
        equal += band == known
        if band == 0:
            tn += known == 0
            fn += known != 0
        elif band == known:
            tp += 1
        else:
            fp += 1
    return {
        "accuracy": equal / (height * width),
        "precision": tp / (tp + fp + 1e-6),
        "recall": tp / (tp + fn + 1e-6),
        "false_positive_rate": fp / (fp + tn + 1e-6),
    }


def random_case(seed: int = 0, images: int = 5, signed: bool = True):
    generator = torch.Generator().manual_seed(seed)
    attributions = torch.randn(images, 3, 7, 6, generator=generator, dtype=torch.float64)
    truth = torch.randint(-2 if signed else 0, 3, (images, 7, 6), generator=generator)
    truth[0] = 0  # a blank picture
    attributions[1] = 0  # a map without any attribution
    return attributions, truth


# ---- against the definition -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_score_equals_the_slow_twin(variant):
    attributions, truth = random_case()
    attributions[2:] *= 0.06  # so that the clamp at 0.1 cuts some values and not others
    scores = five_band(attributions, truth, variant)
    for image in range(len(truth)):
        for position in range(0, len(scores.thresholds), 5):
            expected = slow_scores(
                attributions[image], truth[image], scores.thresholds[position].tolist(), VARIANTS[variant].clamp
            )
            for measure in MEASURES:
                got = float(getattr(scores, measure)[image, position])
                assert got == pytest.approx(expected[measure], abs=1e-12), (measure, image, position)


def test_thresholds_in_any_order_and_lopsided_ones_equal_the_slow_twin():
    attributions, truth = random_case(1)
    table = torch.tensor(
        [[-0.2, -0.1, 0.4, 0.6], [-0.9, -0.3, 0.05, 0.1], [-0.5, -0.3, 0.3, 0.5], [-1.0, -0.02, 0.01, 0.2]]
    )
    scores = five_band_scores(attributions, truth, table)
    for image in range(len(truth)):
        for position, thresholds in enumerate(table.double().tolist()):
            expected = slow_scores(attributions[image], truth[image], thresholds)
            for measure in MEASURES:
                assert float(getattr(scores, measure)[image, position]) == pytest.approx(expected[measure], abs=1e-12)


def test_a_case_worked_by_hand():
    # Sums over two channels, largest magnitude 4: h = 1, 0.5, 0.25, -1, 0.75, 0, 0, 0.45.
    attribution = torch.tensor(
        [[[[4.0, 1.0, 0.5, -3.0], [3.0, 1.0, 0.0, 0.9]], [[0.0, 1.0, 0.5, -1.0], [0.0, -1.0, 0.0, 0.9]]]]
    )
    assert normalise(attribution)[0].tolist() == [[1.0, 0.5, 0.25, -1.0], [0.75, 0.0, 0.0, pytest.approx(0.45)]]
    truth = torch.tensor([[[2, 2, 1, 0], [1, 0, 0, 1]]])
    # bands of v1: 2, 1, 0, -2, 2, 0, 0, 1: hits are the first and the last pixel,
    # false are 1 for 2, -2 for 0, 2 for 1, missed is 0 for 1, true negatives are two.
    scores = five_band_scores(attribution, truth, V1)
    found = {measure: float(getattr(scores, measure)) for measure in MEASURES}
    assert found == pytest.approx(
        {"accuracy": 4 / 8, "precision": 2 / 5, "recall": 2 / 3, "false_positive_rate": 3 / 5}, abs=1e-6
    )


def test_a_wrong_band_on_the_object_is_a_false_positive_and_no_miss():
    truth = torch.tensor([[[2, 0]]])
    scores = five_band_scores(torch.tensor([[[[0.0, 1.0]]]]), truth, V1)
    assert float(scores.recall) == 0
    wrong = five_band_scores(torch.tensor([[[[-1.0, 0.0]]]]), truth, V1)
    assert float(wrong.recall) == 0
    assert float(wrong.false_positive_rate) == pytest.approx(1 / 2, abs=1e-6)
    assert float(wrong.accuracy) == 0.5


def test_a_value_on_a_threshold_stays_in_the_lower_band():
    assert stratify(torch.tensor([0.5, 0.3, -0.3, -0.5], dtype=torch.float64), V1).tolist() == [1, 0, 0, -1]
    truth = torch.tensor([[[0, 1, 2]]])
    scores = five_band_scores(torch.tensor([[[[0.25, 0.5, 1.0]]]]), truth, (-0.5, -0.25, 0.25, 0.5))
    assert float(scores.accuracy) == 1


# ---- thresholds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "positions", "first", "last"),
    [
        ("v1", 56, V1, (-0.225, -0.025, 0.025, 0.225)),
        ("v2", 56, (-0.7, -0.3, 0.3, 0.7), (-0.425, -0.025, 0.025, 0.425)),
        ("v1_clamped", 41, (-0.9, -0.5, 0.5, 0.9), (-0.5, -0.1, 0.1, 0.5)),
    ],
)
def test_soft_thresholds_start_and_end_where_the_published_code_does(variant, positions, first, last):
    table = soft_thresholds(variant)
    assert table.shape == (positions, 4)
    assert table[0].tolist() == pytest.approx(first)
    assert table[-1].tolist() == pytest.approx(last)
    steps = table.diff(dim=0)
    assert torch.allclose(steps, steps[:1].expand_as(steps))


def test_the_default_is_the_start_of_v1():
    attributions, truth = random_case(2)
    scores = five_band_scores(attributions, truth)
    assert scores.thresholds.tolist() == [list(V1)]
    assert torch.equal(scores.accuracy[:, 0], five_band(attributions, truth).accuracy[:, 0])


# ---- what must hold -------------------------------------------------------------------------------------------------


def heat_of(cells):
    part = cells.concept_map("part").labels
    return 0.4 * (part == 1) + 0.9 * (part == 2)


def test_a_perfect_map_has_perfect_scores_on_the_cells():
    cells = draw_cells(40, seed=1)
    heat = heat_of(cells)
    scores = five_band_scores(heat[:, None], cells.concept_map("part").labels, (-0.7, -0.3, 0.3, 0.7))
    full = ~scores.blank
    assert (scores.accuracy == 1).all()
    assert (scores.false_positive_rate == 0).all()
    for measure in ("precision", "recall"):
        assert torch.allclose(getattr(scores, measure)[full], torch.ones(1, dtype=torch.float64), atol=1e-6)


def test_bands_of_the_heat_are_the_part_labels_of_the_cells():
    cells = draw_cells(20, seed=2)
    assert torch.equal(stratify(heat_of(cells)), cells.concept_map("part").labels.to(torch.int8))


def test_scale_of_the_attribution_does_not_matter():
    attributions, truth = random_case(3)
    for factor in (1e-30, 2.0**20):
        assert torch.equal(five_band(attributions, truth).accuracy, five_band(attributions * factor, truth).accuracy)


def test_a_change_of_sign_mirrors_the_bands():
    attributions, truth = random_case(4)
    for measure in MEASURES:
        one, other = five_band(attributions, truth), five_band(-attributions, -truth)
        assert torch.equal(getattr(one, measure), getattr(other, measure))


def test_images_do_not_touch_each_other():
    attributions, truth = random_case(5)
    together = five_band(attributions, truth)
    for image in range(len(truth)):
        alone = five_band(attributions[image : image + 1], truth[image : image + 1])
        assert torch.equal(alone.precision[0], together.precision[image])


def test_a_map_without_attribution_is_all_background():
    scores = five_band_scores(torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 0], [1, 2]]]))
    assert [float(getattr(scores, measure)) for measure in MEASURES] == [0.5, 0.0, 0.0, 0.0]


def test_uint8_and_int64_truth_give_the_same():
    attributions, truth = random_case(6, signed=False)
    one, other = five_band(attributions, truth), five_band(attributions, truth.to(torch.uint8))
    assert torch.equal(one.recall, other.recall)


# ---- the aggregate --------------------------------------------------------------------------------------------------


def test_blank_pictures_are_reported_apart_and_without_recall():
    attributions, truth = random_case(7, images=6)
    truth[3] = 0
    scores = five_band(attributions, truth)
    assert scores.blank.tolist() == [True, False, False, True, False, False]
    assert (scores.recall[scores.blank] == 0).all(), "by construction"
    found = scores.summary()
    assert (found.images, found.blank_images, found.left_out) == (4, 2, 0)
    for measure in MEASURES:
        assert torch.allclose(found.curve[measure], getattr(scores, measure)[[1, 2, 4, 5]].mean(0))
    assert set(found.blank) == {"accuracy", "false_positive_rate"}
    assert torch.allclose(found.blank["accuracy"], scores.accuracy[[0, 3]].mean(0))
    assert found.start["accuracy"] == float(found.curve["accuracy"][0])
    assert found.soft["recall"] == pytest.approx(float(found.curve["recall"].mean()))


def test_only_images_to_be_kept_count():
    attributions, truth = random_case(8)
    scores = five_band(attributions, truth)
    found = scores.summary(torch.tensor([False, True, False, False, True]))
    assert (found.images, found.blank_images, found.left_out) == (2, 0, 3)
    assert torch.allclose(found.curve["accuracy"], scores.accuracy[[1, 4]].mean(0))
    assert found.blank["accuracy"].isnan().all()


def test_no_image_left_gives_nan_not_a_number():
    attributions, truth = random_case(9)
    found = five_band(attributions, truth).summary(torch.zeros(5, dtype=torch.bool))
    assert found.images == 0
    assert all(math.isnan(value) for value in found.start.values())


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributions": torch.zeros(5, 7, 6)}, r"attributions must be real numbers of shape \(N, C, H, W\)"),
        ({"attributions": torch.zeros(5, 3, 7, 6, dtype=torch.int64)}, "not torch.int64"),
        ({"attributions": torch.zeros(0, 3, 7, 6)}, "attributions must be"),
        ({"attributions": torch.full((5, 3, 7, 6), math.nan)}, "attributions are not finite"),
        ({"attributions": torch.full((5, 3, 7, 6), -math.inf)}, "attributions are not finite"),
        ({"truth": torch.zeros(5, 7, 7, dtype=torch.int64)}, r"truth must be integer bands of shape \(5, 7, 6\)"),
        ({"truth": torch.zeros(5, 7, 6)}, "stratify"),
        ({"truth": torch.zeros(5, 7, 6, dtype=torch.bool)}, "not torch.bool"),
        ({"truth": torch.full((5, 7, 6), 3)}, "bands from -2 to 2, not 3 to 3"),
        ({"thresholds": (0.5, 0.3, -0.3, -0.5)}, r"thresholds must rise .* not \(0.5, 0.3, -0.3, -0.5\)"),
        ({"thresholds": (-0.5, 0.1, 0.3, 0.5)}, "thresholds must rise from below 0 to above 0"),
        ({"thresholds": (-0.5, -0.3, 0.0, 0.5)}, "thresholds must rise from below 0 to above 0"),
        ({"thresholds": (-0.5, -0.3, 0.3, math.nan)}, "thresholds must rise"),
        ({"thresholds": (0.3, 0.5)}, r"thresholds must be \(-t2, -t1, t1, t2\)"),
        ({"clamp": 0.0}, "clamp must be a finite number greater than 0"),
    ],
)
def test_mistakes_are_one_sentence(change, message):
    attributions, truth = random_case()
    with pytest.raises(KdlibError, match=message) as error:
        five_band_scores(**{"attributions": attributions, "truth": truth, **change})
    assert "\n" not in str(error.value)


def test_mistakes_in_the_variant_and_in_what_to_keep():
    attributions, truth = random_case()
    with pytest.raises(KdlibError, match=r"unknown five-band variant 'v3'.*choices: v1, v2, v1_clamped"):
        five_band(attributions, truth, "v3")
    scores = five_band(attributions, truth)
    for keep in (torch.ones(4, dtype=torch.bool), torch.ones(5)):
        with pytest.raises(KdlibError, match="keep must be bool, one for each of the 5 images"):
            scores.summary(keep)
