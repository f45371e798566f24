"""What is said of a map that was not found names the remedy that fits, for both estimators, and the remedy helps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from kdlib.errors import KdlibError
from kdlib.metrics.information.closed_form import linear_response
from kdlib.metrics.information.linear import linear_information
from kdlib.metrics.information.maps import information_discarding
from kdlib.metrics.information.misses import refuse_misses
from kdlib.metrics.information.search import Converged, EarlyStopped, search_early_stopped


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12)).double().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sampled(net, images, search):
    return information_discarding(net, images, "1", grid=4, samples=64, search=search)


def linear(net, images, search):
    return linear_information(net, images, "1", grid=4, search=search)


LEAPT = r"3 leapt over it: give a smaller learning_rate or weight; or"
RISING = r"3 ended below it, still rising: give a greater weight, or more steps or a greater learning_rate while"


@pytest.mark.parametrize("estimator", [sampled, linear])
@pytest.mark.parametrize(
    ("search", "message", "remedies"),
    [
        (
            EarlyStopped(target=-3.3),
            r"3 started above it: give a start below 0\.00892, or a target above -3\.186; or",
            [{"start": 0.0085}, {"target": -3.15}],
        ),
        (
            EarlyStopped(target=-6.0),
            r"3 started above it: give a start and a lowest below 0\.0006, or a target above",
            [{"start": 0.0005, "lowest": 0.0004, "learning_rate": 1e-8}],
        ),
        (EarlyStopped(weight=35.0, tolerance=0.005), LEAPT, [{"learning_rate": 8e-7}]),
        (EarlyStopped(learning_rate=1e-3), LEAPT, [{"learning_rate": None}]),
        (
            EarlyStopped(steps=12, last_steps=2),
            RISING,
            [{"weight": 28.0}, {"steps": 80}, {"learning_rate": 2.2e-5}],
        ),
        (EarlyStopped(weight=1.0), r"3 ended below it, hardly rising: give a greater weight; or", [{"weight": 7.0}]),
        (EarlyStopped(target=1e6), r"give a target below 1\.419, where all noise is at its highest 1, or a", []),
        (EarlyStopped(target=1.6), r"give a target below 1\.419, where all noise is at its highest 1, or a", []),
    ],
)
def test_the_remedy_is_told_by_what_happened_and_helps(net, images, estimator, search, message, remedies):
    with pytest.raises(KdlibError, match=message) as error:
        estimator(net, images, search)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"3 of 3 images never reach a mean entropy of {search.target:g} nats in ")
    for remedy in remedies:
        assert estimator(net, images, replace(search, **remedy)).reached.all()


@pytest.mark.parametrize("leave", [0.02, None])
def test_a_leap_whose_last_step_was_not_measured_is_a_leap_all_the_same(leave):
    # From 0.03 below the target to 0.05 above it: the nearer step is the first, and the second is left unmeasured.
    a = torch.tensor([[[1e4]]], dtype=torch.float64)
    search = EarlyStopped(learning_rate=1.664e-6, target=-3.156, leave=leave, weight=7.0)
    found = search_early_stopped(linear_response(a), a, search)
    assert int(found.step[0]) == 0 and not found.reached[0]
    if leave is not None:
        assert found.path[0].isfinite().tolist() == [True] + [False] * 79
    with pytest.raises(KdlibError, match="1 leapt over it"):
        refuse_misses(found, search)


def test_images_that_missed_for_several_reasons_are_counted_apart():
    low, flat = torch.full((4, 4), 10.0), torch.full((4, 4), 1e4 / 16)
    # Three layers so insensitive that the noise leaps, one so sensitive that it can't grow.
    a = torch.stack([low, low, low, flat * 4]).double()
    search = EarlyStopped(learning_rate=1e-4)
    found = search_early_stopped(linear_response(a), a, search)
    with pytest.raises(KdlibError, match=r"4 of 4 .*; 3 leapt over it: .*; 1 ended below it, hardly rising: give a"):
        refuse_misses(found, search)


def test_what_was_reached_passes():
    a = torch.full((1, 4, 4), 1e4 / 16, dtype=torch.float64)
    refuse_misses(search_early_stopped(linear_response(a), a, EarlyStopped()), EarlyStopped())


def test_the_search_by_convergence_has_its_own_words(net, images):
    with pytest.raises(KdlibError, match="3 of 3 images have not converged in 4 steps; give more steps"):
        linear(net, images, Converged(steps=4, averaged=4))
