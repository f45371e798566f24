"""What a training leaves: the best epoch, checkpoints, and a state from which it goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_trainings import RECIPE, Reminded, net, same

from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.train.loop import fit
from kdlib.train.state import Progress


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("make", [CrossEntropy, Reminded])
@pytest.mark.parametrize("interrupted_after", [1, 2])
def test_a_resumed_training_gives_the_bits_of_one_that_ran_through(splits, interrupted_after, make, optimizer):
    class Killed(Exception):
        pass

    saved: list[Progress] = []

    def kill(progress: Progress) -> None:
        saved.append(progress)
        if progress.epoch == interrupted_after:
            raise Killed

    recipe = replace(RECIPE, checkpoints=(1, 3), optimizer=optimizer)
    whole = fit(net, splits, make(), recipe, seed=0)
    with pytest.raises(Killed):
        fit(net, splits, make(), recipe, seed=0, after_epoch=kill)
    resumed = fit(net, splits, make(), recipe, seed=0, resume=saved[-1])
    assert whole.states.keys() == resumed.states.keys() == {"last", "best", "epoch_1", "epoch_3"}
    assert all(same(whole.states[name], resumed.states[name]) for name in whole.states)
    assert len(resumed.history) == 3


def test_best_is_the_epoch_of_the_highest_val_accuracy(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=6, checkpoints=tuple(range(1, 7))), seed=0)
    best = max(run.history, key=lambda row: (row["val_accuracy"], -row["epoch"]))
    assert same(run.state("best"), run.state(f"epoch_{int(best['epoch'])}"))
    assert same(run.state("last"), run.state("epoch_6"))


def test_no_epochs_give_the_first_weights(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=0, checkpoints=(0,)), seed=0)
    assert run.history == []
    assert all(same(run.states[name], net().state_dict()) for name in ("last", "best", "epoch_0"))


def test_checkpoint_0_holds_the_first_weights(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, checkpoints=(0, 2)), seed=0)
    assert set(run.states) == {"last", "best", "epoch_0", "epoch_2"}
    assert same(run.state("epoch_0"), net().state_dict())
    assert not same(run.state("epoch_2"), net().state_dict())
