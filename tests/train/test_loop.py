"""The training loop: it learns, repeats itself to the bit, and never looks at the test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_trainings import RECIPE, Reminded, net, same

from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import KnowledgeDistillation
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.train import loop
from kdlib.train.loop import fit
from kdlib.train.predict import score


@pytest.fixture
def trained(splits):
    return fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=40), seed=0)


def test_it_learns_a_learnable_task(trained, splits):
    assert score(trained.model("last"), splits.test) > 0.8
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_every_loss_term_and_metric_is_logged(splits):
    teacher = Teacher(net(seed=9), len(splits.train), 1)
    run = fit(net, splits, KnowledgeDistillation(teacher, 4, 0.9), RECIPE, seed=0)
    assert len(run.history) == 3
    expected = {"epoch", "learning_rate", "loss", "cross_entropy", "kd", "train_accuracy", "val_loss", "val_accuracy"}
    assert expected | {"seconds"} == set(run.history[0])
    assert run.history[0]["loss"] == pytest.approx(run.history[0]["cross_entropy"] + run.history[0]["kd"], rel=1e-5)
    assert teacher.asked == len(splits.train)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(splits):
    recipe = replace(RECIPE, augment="flip_shift")
    torch.manual_seed(1)
    first = fit(net, splits, CrossEntropy(), recipe, seed=4)
    torch.manual_seed(2)  # the global generator has no say
    second = fit(net, splits, CrossEntropy(), recipe, seed=4)
    other = fit(net, splits, CrossEntropy(), recipe, seed=5)
    assert same(first.state(), second.state())
    assert not same(first.state(), other.state())
    without_time = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.history] for r in (first, second)]
    assert without_time[0] == without_time[1]


def test_what_stands_beside_the_student_is_trained_and_more_views_are_shown(splits):
    objective = Reminded()
    before = objective.module.weight.detach().clone()
    run = fit(net, splits, objective, RECIPE, seed=0)
    assert set(objective.shown) == {64}  # 32 images, twice
    assert not torch.equal(before, objective.module.weight)
    assert bool(objective.module.memory.abs().sum(1).gt(0).all())
    assert 0 <= run.history[0]["train_accuracy"] <= 1
    assert not any("memory" in name for name in run.state())


def test_test_images_play_no_part_in_training(splits):
    blank = replace(splits, test=replace(splits.test, images=torch.zeros_like(splits.test.images)))
    runs = [fit(net, part, CrossEntropy(), RECIPE, seed=0) for part in (splits, blank)]
    assert same(runs[0].state("best"), runs[1].state("best"))


def test_a_loss_that_diverges_is_reported_in_one_sentence(splits):
    with pytest.raises(KdlibError, match=r"the loss became .* in epoch 1; lower learning_rate \(now 1e\+30\)"):
        fit(net, splits, CrossEntropy(), replace(RECIPE, learning_rate=1e30, warmup=0), seed=0)


def test_a_last_step_that_diverges_is_reported_too(splits):
    """The losses of the training are of the weights before each step: only val tells of the last ones."""
    one_step = replace(RECIPE, epochs=1, batch_size=128, learning_rate=1e30, warmup=0, schedule="step")
    with pytest.raises(KdlibError, match=r"the loss became [0-9.]+ \(nan on val\) in epoch 1; lower learning_rate"):
        fit(net, splits, CrossEntropy(), one_step, seed=0)


def test_a_batch_larger_than_the_data_is_refused(splits):
    with pytest.raises(KdlibError, match="batch_size 512 is larger than the training set of 128 images"):
        fit(net, splits, CrossEntropy(), replace(RECIPE, batch_size=512), seed=0)


def test_frozen_parameters_and_their_statistics_stay(splits):
    def half_frozen():
        model = net()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not name.startswith(("stem", "layer1")))
        return model

    after = fit(half_frozen, splits, CrossEntropy(), RECIPE, seed=0).state()
    for name, before in net().state_dict().items():
        if name.startswith(("stem", "layer1")):
            assert torch.equal(before, after[name]), name
    assert not torch.equal(net().state_dict()["fc.weight"], after["fc.weight"])
    free = next(name for name in after if name.startswith("layer2") and name.endswith("running_mean"))
    assert not torch.equal(net().state_dict()[free], after[free])


def test_the_loop_can_be_read_in_class():
    assert len(Path(loop.__file__).read_text().splitlines()) <= 200
