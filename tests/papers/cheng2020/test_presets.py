"""Sizes and schedules of the experiments on visual concepts keep the paper's proportions."""

from __future__ import annotations

import pytest

from kdlib.names import PRESETS
from kdlib.papers.cheng2020.presets import CONCEPT_PRESETS, recipe
from kdlib.papers.cheng2020.settings import PAPER_CHECKPOINTS, checkpoint_epochs, first_judged


@pytest.mark.parametrize("epochs", [1, 2, 15, 30, 60, 150, 399, 800])
def test_checkpoints_are_the_papers_fractions_of_any_length(epochs):
    found = checkpoint_epochs(epochs)
    assert found[0] == 0 and found[-1] == epochs
    assert sorted(set(found)) == list(found)
    for wanted in PAPER_CHECKPOINTS:
        assert min(abs(epoch - wanted * epochs / 150) for epoch in found) <= 0.5
    assert 0 < first_judged(epochs) <= epochs


def test_the_papers_own_length_has_the_papers_own_checkpoints():
    assert checkpoint_epochs(150) == PAPER_CHECKPOINTS and first_judged(150) == 40
    # Section 6 of the paper's file: those of 150 epochs, and seven more.
    more = (170, 190, 240, 280, 320, 360, 400)
    first = (0, 2, 5, 10, 15, 20, 25, 30, 40, 50, 70, 90, 110, 130, 150)
    assert checkpoint_epochs(400) == first + more and first_judged(400) == 40


def test_recipes_are_those_of_section_7_3():
    made = recipe(10, 0.1, 0.01)
    assert (made.momentum, made.weight_decay, made.batch_size, made.nesterov) == (0.9, 1e-4, 64, False)
    assert made.augment == "none" and made.warmup == 1
    assert made.learning_rate_at(1) == 0.1 and made.learning_rate_at(10) == pytest.approx(0.01)


def test_every_preset_has_sizes_and_teachers_see_more_than_students():
    assert tuple(CONCEPT_PRESETS) == tuple(PRESETS)
    for sizes in CONCEPT_PRESETS.values():
        assert sizes.n_train is None or sizes.n_train > sizes.n_student >= sizes.n_images
    assert CONCEPT_PRESETS["quick"].n_seeds >= 3 and CONCEPT_PRESETS["gpu"].n_seeds >= 8
    assert CONCEPT_PRESETS["gpu"].estimator == "sampled"
