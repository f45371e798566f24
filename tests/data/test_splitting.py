"""Class-balanced choices: every prefix balanced, seeds reproducible, train and val disjoint."""

from __future__ import annotations

import pytest
import torch

from kdlib.data.splitting import balanced_order, split_off_val, take
from kdlib.errors import KdlibError

EQUAL = torch.arange(10).repeat(30)
UNEQUAL = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


def test_order_is_a_permutation_and_depends_on_the_seed_alone():
    order = balanced_order(EQUAL, seed=3)
    assert sorted(order.tolist()) == list(range(300))
    assert torch.equal(order, balanced_order(EQUAL, seed=3))
    assert not torch.equal(order, balanced_order(EQUAL, seed=4))


def test_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    balanced_order(EQUAL, seed=3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("flip", [False, True])
def test_every_beginning_and_every_end_is_balanced(flip):
    order = balanced_order(EQUAL, seed=0)
    order = order.flip(0) if flip else order
    for n in (1, 10, 25, 137, 300):
        counts = torch.bincount(EQUAL[order[:n]], minlength=10)
        assert int(counts.max() - counts.min()) <= 1


def test_unequal_classes_keep_their_proportions():
    order = balanced_order(UNEQUAL, seed=0)
    for n in (10, 50, 90):
        shares = torch.bincount(UNEQUAL[order[:n]], minlength=3) / n
        assert shares.tolist() == pytest.approx([0.6, 0.3, 0.1], abs=1 / n)


def test_images_of_a_class_are_shuffled():
    order = balanced_order(EQUAL, seed=0)
    first_class = [i for i in order.tolist() if EQUAL[i] == 0]
    assert first_class != sorted(first_class)


def test_val_and_train_are_disjoint_and_neither_changes_with_the_others_size():
    train, val = split_off_val(EQUAL, None, 50, seed=0, where="toy")
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(300))
    less_train, same_val = split_off_val(EQUAL, 100, 50, seed=0, where="toy")
    assert torch.equal(same_val, val)
    assert torch.equal(less_train, train[:100])
    same_train, less_val = split_off_val(EQUAL, 100, 20, seed=0, where="toy")
    assert torch.equal(same_train, less_train)
    assert torch.equal(less_val, val[:20])


def test_take_gives_all_in_order_unless_told_a_number():
    assert take(EQUAL, None, 0, "n_test", "toy").tolist() == list(range(300))
    assert len(take(EQUAL, 20, 0, "n_test", "toy")) == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: take(EQUAL, 301, 0, "n_test", "the toy"), "n_test=301 exceeds the 300 images of the toy; give fewer"),
        (lambda: take(EQUAL, 0, 0, "n_test", "the toy"), "n_test must be a whole number of at least 1, not 0"),
        (
            lambda: split_off_val(EQUAL, 260, 50, 0, "the toy"),
            "n_train=260 exceeds the 250 images that n_val=50 leaves",
        ),
        (lambda: split_off_val(EQUAL, None, 300, 0, "the toy"), "n_val=300 leaves none of the 300 images of the toy"),
        (lambda: take(EQUAL, 3, -1, "n_test", "the toy"), "seed must be a whole number from 0 to 4294967295, not -1"),
        (lambda: split_off_val(EQUAL, -5, 50, 0, "the toy"), "n_train must be a whole number of at least 1, not -5"),
    ],
)
def test_counts_beyond_what_there_is_are_refused(call, message):
    with pytest.raises(KdlibError, match=message):
        call()
