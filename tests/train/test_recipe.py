"""Recipes: learning rates by hand, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from kdlib.errors import KdlibError
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs must be a whole number from 0 to 100000, not -1"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"augment": "flipp"}, "did you mean 'flip'"),
        ({"checkpoints": (9,)}, "epoch 9 is outside this recipe's 3 epochs"),
        ({"checkpoints": (0.5,)}, "checkpoints must be a whole number of at least 0, not 0.5"),
        ({"milestones": ("a",)}, "milestones or checkpoints must be a whole number of at least 0, not 'a'"),
        ({"milestones": 3}, r"milestones must be a tuple, such as \(1,\), not 3"),
        ({"milestones": [1]}, r"milestones must be a tuple, such as \(1,\), not \[1\]"),
        ({"distances": "fc"}, "distances must be a tuple"),
        ({"nesterov": "no"}, "nesterov must be True or False, not 'no'"),
        ({"mixed_precision": None}, "mixed_precision must be True or False, not None"),
    ],
)
def test_a_bad_recipe_is_refused(change, message):
    with pytest.raises(KdlibError, match=message):
        replace(RECIPE, **change)


def test_schedules_by_hand():
    cosine = Recipe(epochs=10, learning_rate=0.2, warmup=1)
    assert [cosine.learning_rate_at(e) for e in (0, 0.5, 1, 5.5, 10)] == pytest.approx([0, 0.1, 0.2, 0.1, 0])
    paper = Recipe(epochs=100, schedule="step", milestones=(30, 60, 90), warmup=0)
    assert [paper.learning_rate_at(e) for e in (29.9, 30, 60, 95)] == pytest.approx([0.1, 0.01, 0.001, 0.0001])


def test_a_geometric_schedule_goes_down_by_equal_factors():
    recipe = Recipe(epochs=4, learning_rate=0.1, schedule="geometric", final_learning_rate=0.001, warmup=0)
    rates = [recipe.learning_rate_at(epoch) for epoch in range(5)]
    assert rates[0] == 0.1 and rates[-1] == pytest.approx(0.001)
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([10**-0.5] * 4)


def test_a_geometric_schedule_needs_a_rate_to_end_at():
    with pytest.raises(KdlibError, match="final_learning_rate"):
        Recipe(epochs=4, schedule="geometric")
