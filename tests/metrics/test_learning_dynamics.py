"""Learning dynamics against loops written from the definitions, cases worked by hand, and the noise floor of rho."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from kdlib.errors import KdlibError
from kdlib.metrics.learning_dynamics import (
    cumulative_distance,
    learning_speed,
    noise_floor,
    stability,
    weight_distance,
)


def random_counts(seed: int = 0, checkpoints: int = 6, images: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, 5, (checkpoints, images), generator=generator)
    counts[:, 4] = 0
    return counts, torch.rand(checkpoints, generator=generator, dtype=torch.float64).cumsum(0)


def random_sets(seed: int = 0, checkpoints: int = 4, images: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    concepts = torch.rand(checkpoints, images, 3, 3, generator=generator) < 0.3
    concepts[:, 2] = False
    return concepts, torch.rand(images, 3, 3, generator=generator) < 0.6


def slow_speed(counts, distances, first: int = 0) -> tuple[float, float, float, int]:
    """(mean, variance, standard deviation, images without concepts)."""
    found, without = [], 0
    for image in range(counts.shape[1]):
        series = [float(value) for value in counts[first:, image]]
        if max(series) == 0:
            without += 1
            continue
        found.append(float(distances[series.index(max(series)) + first]))
    mean = sum(found) / len(found)
    variance = sum((value - mean) ** 2 for value in found) / len(found)
    return mean, variance, math.sqrt(variance), without


def slow_rho(concepts, cells) -> list[float]:
    found = []
    for image in range(concepts.shape[1]):
        sets = [
            {
                (row, column)
                for row in range(3)
                for column in range(3)
                if maps[image, row, column] and cells[image, row, column]
            }
            for maps in concepts
        ]
        union = set.union(*sets)
        found.append(len(sets[-1]) / len(union) if union else 0.0)
    return found


# ---- the weights' way -----------------------------------------------------------------------------------------------


def test_weight_distance_adds_the_steps_over_the_norm_of_the_first_weights():
    generator = torch.Generator().manual_seed(0)
    states = [[torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)] for _ in range(4)]
    vectors = [torch.cat([tensor.flatten() for tensor in state]).double() for state in states]
    expected, total = [0.0], 0.0
    for before, after in itertools.pairwise(vectors):
        total += math.sqrt(sum(float(a - b) ** 2 for a, b in zip(after, before, strict=True)))
        expected.append(total / math.sqrt(sum(float(value) ** 2 for value in vectors[0])))
    assert weight_distance(states).tolist() == pytest.approx(expected)
    alone = weight_distance([state[0] for state in states])
    assert alone.tolist() == pytest.approx(weight_distance([state[:1] for state in states]).tolist())
    assert (alone.diff() > 0).all()


def test_the_way_there_and_back_counts_twice():
    here, there = torch.tensor([0.0, 2.0]), torch.tensor([0.0, 3.0])
    assert weight_distance([here, there, here]).tolist() == [0.0, 0.5, 1.0]


def test_stretches_of_a_finer_record_are_never_shorter_than_the_straight_way():
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(21, 6, generator=generator).cumsum(0)
    fine, coarse = weight_distance(list(weights)), weight_distance(list(weights[::5]))
    assert (fine[::5] >= coarse - 1e-12).all()
    assert fine[-1] > coarse[-1] * 1.2


# ---- speed and simultaneity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip_first", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_learning_speed_equals_the_slow_twin(seed, skip_first):
    counts, distances = random_counts(seed)
    found = learning_speed(counts, distances, skip_first=skip_first)
    mean, variance, deviation, without = slow_speed(counts, distances, int(skip_first))
    assert (found.mean, found.variance, found.standard_deviation) == pytest.approx((mean, variance, deviation))
    summary = found.summary()
    assert summary["without_concepts"] == without == 1
    assert summary["distance_variance"] == pytest.approx(summary["distance_standard_deviation"] ** 2)


def test_speed_worked_by_hand():
    counts = torch.tensor([[3, 0, 4, 0], [9, 2, 4, 0], [9, 8, 1, 0]])
    found = learning_speed(counts, torch.tensor([0.0, 1.0, 3.0]))
    assert found.peak.tolist() == [1, 2, 0, -1]
    assert found.distance[:3].tolist() == [1.0, 3.0, 0.0]
    assert found.distance[3].isnan()
    assert found.mean == pytest.approx(4 / 3)
    assert found.variance == pytest.approx(((1 / 3) ** 2 + (5 / 3) ** 2 + (4 / 3) ** 2) / 3)
    assert found.slope[:2].tolist() == [9.0, pytest.approx(8 / 3)]
    assert found.slope[2:].isnan().all(), "no way at all, no concept at all"
    skipped = learning_speed(counts, torch.tensor([0.0, 1.0, 3.0]), skip_first=True)
    assert skipped.peak.tolist() == [1, 2, 1, -1]


def test_images_that_peak_together_have_no_spread():
    counts = torch.tensor([[1, 0, 2], [5, 3, 9], [4, 1, 9]])
    found = learning_speed(counts, torch.tensor([0.1, 0.4, 0.9]))
    assert found.variance == 0
    assert found.mean == pytest.approx(0.4)


def test_smoothed_counts_are_welcome():
    counts = torch.tensor([[1.5], [1.6], [0.2]])
    assert learning_speed(counts, torch.tensor([0.0, 0.5, 1.0])).peak.tolist() == [1]


def test_no_image_with_concepts_gives_nan():
    found = learning_speed(torch.zeros(3, 2), torch.arange(3.0))
    assert math.isnan(found.mean)
    assert math.isnan(found.standard_deviation)
    assert found.summary()["images"] == 0


# ---- stability ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rho_equals_the_slow_twin_on_foreground_background_and_everywhere(seed):
    concepts, cells = random_sets(seed)
    for chosen in (cells, ~cells, None):
        expected = slow_rho(concepts, torch.ones_like(cells) if chosen is None else chosen)
        found = stability(concepts, chosen)
        assert found.rho.tolist() == pytest.approx(expected)
        assert found.summary()["rho"] == pytest.approx(sum(expected) / len(expected))


def test_rho_worked_by_hand():
    sets = torch.tensor([[[[1, 1, 0, 0]], [[0, 0, 0, 0]]], [[[0, 1, 1, 0]], [[0, 0, 0, 0]]]]).bool()
    found = stability(sets)
    assert (found.last.tolist(), found.union.tolist()) == ([2, 0], [3, 0])
    assert found.rho.tolist() == [pytest.approx(2 / 3), 0.0]
    summary = found.summary()
    assert summary["rho"] == pytest.approx(1 / 3), "an image without any concept counts as 0"
    assert summary["rho_with_concepts"] == pytest.approx(2 / 3)
    assert summary["without_concepts"] == 1


def test_concepts_that_only_grow_have_rho_1_and_a_dropped_one_lowers_it():
    concepts = torch.zeros(3, 1, 1, 4, dtype=torch.bool)
    for checkpoint in range(3):
        concepts[checkpoint, 0, 0, : checkpoint + 1] = True
    assert stability(concepts).rho.tolist() == [1.0]
    concepts[1, 0, 0, 3] = True
    assert stability(concepts).rho.tolist() == [0.75]


def test_the_last_checkpoint_is_the_one_that_counts():
    concepts, _ = random_sets(3)
    assert torch.equal(stability(concepts[[1, 0, 2, 3]]).rho, stability(concepts).rho)
    assert not torch.equal(stability(concepts.flip(0)).rho, stability(concepts).rho)


# ---- the noise floor ------------------------------------------------------------------------------------------------


def test_the_noise_floor_is_the_mean_of_rho_over_which_repeat_is_last():
    concepts, cells = random_sets(4)
    by_turns = [stability(torch.cat([concepts[:i], concepts[i + 1 :], concepts[i : i + 1]]), cells) for i in range(4)]
    assert torch.allclose(noise_floor(concepts, cells), torch.stack([found.rho for found in by_turns]).mean(0))


def test_without_noise_the_floor_is_1():
    concepts, _ = random_sets(5)
    floor = noise_floor(concepts[:1].expand(6, -1, -1, -1))
    assert floor[2] == 0, "no concepts"
    assert (floor[[0, 1, 3, 4]] == 1).all()


def test_noise_alone_keeps_rho_as_low_as_probability_says_and_more_checkpoints_lower_it():
    # Each of many cells is a concept with probability p at each of M measurements: p / (1 - (1 - p)^M).
    generator = torch.Generator().manual_seed(6)
    concepts = torch.rand(8, 1, 200, 200, generator=generator) < 0.3
    for repeats in (2, 5, 8):
        assert float(noise_floor(concepts[:repeats])) == pytest.approx(0.3 / (1 - 0.7**repeats), abs=0.01)


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weight_distance([]), "needs at least one state"),
        (lambda: weight_distance([torch.ones(2), torch.ones(3)]), r"the same shapes, not \[\(2,\)\] and \[\(3,\)\]"),
        (lambda: weight_distance([torch.zeros(2), torch.ones(2)]), "first weights must have a norm above 0, not 0.0"),
        (lambda: weight_distance([torch.ones(1), torch.full((1,), math.nan)]), "not nan; the training has diverged"),
        (lambda: cumulative_distance([2.0, -1.0], 1.0), "must be finite and not negative, not -1.0; the training"),
        (lambda: learning_speed(torch.ones(3), torch.arange(3)), r"counts must have shape \(checkpoints, images\)"),
        (lambda: learning_speed(torch.ones(3, 2), torch.arange(2)), "distances must be one for each of the 3"),
        (lambda: learning_speed(torch.ones(3, 2), torch.tensor([0.0, 2.0, 1.0])), r"never fall, not \[0.0, 2.0, 1.0\]"),
        (lambda: learning_speed(-torch.ones(3, 2), torch.arange(3)), "not negative, not -1 to -1; give"),
        (lambda: learning_speed(torch.ones(1, 2), torch.zeros(1), skip_first=True), "leaves no checkpoint of 1; give"),
        (lambda: stability(torch.ones(2, 3, 4, 4)), "concepts must be bool of shape .* not torch.float32"),
        (lambda: stability(torch.ones(3, 4, 4).bool()), r"not torch.bool of \(3, 4, 4\)"),
        (
            lambda: stability(torch.ones(2, 3, 4, 4).bool(), torch.ones(3, 4, 5).bool()),
            r"cells must be bool of shape \(3, 4, 4\)",
        ),
        (lambda: noise_floor(torch.ones(1, 3, 4, 4).bool()), "number of repeats must be a whole number of at least 2"),
    ],
)
def test_mistakes_are_one_sentence(call, message):
    with pytest.raises(KdlibError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
