"""Sentences of the first chapters follow from their numbers."""

from __future__ import annotations

import pytest

from kdlib.papers.first_steps.words import direction, same_sign, similarity_story
from kdlib.stats import paired_contrast


@pytest.mark.parametrize(
    ("teacher", "place"),
    [
        (87.0, "above that of every student from scratch (84.0 to 86.0 %): there is class similarity to take over"),
        (80.0, "below that of every student from scratch (84.0 to 86.0 %): the teacher has less"),
        (85.0, "within the range of the students from scratch (84.0 to 86.0 %): the teacher has no"),
        (86.0, "within the range"),
    ],
)
def test_the_story_says_where_the_teacher_lies(teacher, place):
    assert place in similarity_story(teacher, [84.0, 86.0], [85.0, 85.0])


@pytest.mark.parametrize(("kd", "nearer"), [(85.4, "lies nearer to"), (84.0, "lies no nearer to")])
def test_the_story_says_whose_mean_is_nearer_to_the_teacher(kd, nearer):
    assert nearer in similarity_story(85.2, [86.2, 86.2], [kd, kd])


def test_a_difference_is_named_only_where_it_is_shown():
    below = paired_contrast([1.0, 1.1, 0.9], [3.0, 3.1, 3.0])
    assert direction(below, "more", "less") == "less"
    assert direction(paired_contrast([3.0], [1.0]), "more", "less") == "one seed shows no difference"
    assert same_sign(below) == "the same sign in 3 of 3 seeds"


def test_the_sign_of_a_difference_is_counted_only_where_there_is_one():
    assert same_sign(paired_contrast([3.0], [1.0])) == "one seed only"
    assert same_sign(paired_contrast([1.0, 2.0], [1.0, 2.0])) == "the value 0 in every seed"
    assert same_sign(paired_contrast([1.0, 3.0, 9.0], [2.0, 1.0, 1.0])) == "the same sign in 2 of 3 seeds"
