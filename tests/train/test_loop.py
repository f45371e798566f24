"""The training loop: it learns, repeats itself to the bit, and selects on val alone."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from kdlib.data.augment import Augmentation
from kdlib.distill import Objective
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import KnowledgeDistillation
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.train.device import resolve_device
from kdlib.train.loop import fit
from kdlib.train.predict import predict, score
from kdlib.train.recipe import Recipe
from kdlib.train.state import Progress

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=0.05, augment="none")
net = functools.partial(build, "small_resnet", num_classes=4, width=4, features=16)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Reminded(Objective):
    """A made-up method that uses all that an objective may: a layer, more views, a projection, a memory, chance."""

    student_layers = ("layer2",)

    def __init__(self) -> None:
        self.module = nn.Linear(8, 3)
        nn.init.constant_(self.module.weight, 0.1)
        nn.init.zeros_(self.module.bias)
        self.module.register_buffer("memory", torch.zeros(128, 3))
        self.shown: list[int] = []

    def student_images(self, images):
        return torch.cat([images, images.flip(2)])

    def __call__(self, batch, logits, features):
        self.shown.append(len(logits))
        count = len(batch.labels)
        projected = self.module(features["layer2"].mean((2, 3)))[:count]
        distance = (projected - self.module.memory[batch.index] + 0.1 * torch.rand(count, 3)).square().mean()
        with torch.no_grad():
            self.module.memory[batch.index] = projected
        return {"cross_entropy": nn.functional.cross_entropy(logits[:count], batch.labels), "distance": distance}


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


def test_what_stands_beside_the_student_is_trained_and_more_views_are_shown(splits):
    objective = Reminded()
    before = objective.module.weight.detach().clone()
    run = fit(net, splits, objective, RECIPE, seed=0)
    assert set(objective.shown) == {64}  # 32 images, twice
    assert not torch.equal(before, objective.module.weight)
    assert bool(objective.module.memory.abs().sum(1).gt(0).all())
    assert 0 <= run.history[0]["train_accuracy"] <= 1
    assert not any("memory" in name for name in run.state())


def test_the_number_of_threads_changes_no_bit_and_is_left_alone(splits):
    before = torch.get_num_threads()
    try:
        states = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            states.append(fit(net, splits, CrossEntropy(), RECIPE, seed=0).state())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert same(*states)


def test_best_is_the_epoch_of_the_highest_val_accuracy(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=6, checkpoints=tuple(range(1, 7))), seed=0)
    best = max(run.history, key=lambda row: (row["val_accuracy"], -row["epoch"]))
    assert same(run.state("best"), run.state(f"epoch_{int(best['epoch'])}"))
    assert same(run.state("last"), run.state("epoch_6"))


def test_test_images_play_no_part_in_training(splits):
    blank = replace(splits, test=replace(splits.test, images=torch.zeros_like(splits.test.images)))
    runs = [fit(net, part, CrossEntropy(), RECIPE, seed=0) for part in (splits, blank)]
    assert same(runs[0].state("best"), runs[1].state("best"))


def test_the_callers_settings_are_left_alone(splits):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=1), seed=0)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_predict_is_in_eval_mode_and_independent_of_the_batch_size(splits):
    model = net()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = predict(model, splits.test, batch_size=64)
    assert torch.allclose(logits, predict(model, splits.test, batch_size=7), atol=1e-5)
    assert model.training
    assert same(before, dict(model.state_dict()))


def test_accuracy_counts_hits(splits):
    model = net().eval()
    hits = (predict(model, splits.test).argmax(1) == splits.test.labels).sum().item()
    assert score(model, splits.test) == pytest.approx(hits / len(splits.test))


def test_a_loss_that_diverges_is_told_in_one_sentence(splits):
    with pytest.raises(KdlibError, match=r"the loss became .* in epoch 1; lower learning_rate \(now 1e\+30\)"):
        fit(net, splits, CrossEntropy(), replace(RECIPE, learning_rate=1e30, warmup=0), seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs must be a whole number of at least 0, not -1"),
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"augment": "flipp"}, "did you mean 'flip'"),
        ({"checkpoints": (9,)}, "epoch 9 is outside this recipe's 3 epochs"),
    ],
)
def test_a_bad_recipe_is_refused(change, message):
    with pytest.raises(KdlibError, match=message):
        replace(RECIPE, **change)


def test_a_batch_larger_than_the_data_is_refused(splits):
    with pytest.raises(KdlibError, match="batch_size 512 is larger than the training set of 128 images"):
        fit(net, splits, CrossEntropy(), replace(RECIPE, batch_size=512), seed=0)


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(KdlibError, match="device 'cuda' is not there"):
        resolve_device("cuda")
    with pytest.raises(KdlibError, match="unknown device 'gpu'"):
        resolve_device("gpu")


def test_schedules_by_hand():
    cosine = Recipe(epochs=10, learning_rate=0.2, warmup=1)
    assert [cosine.learning_rate_at(e) for e in (0, 0.5, 1, 5.5, 10)] == pytest.approx([0, 0.1, 0.2, 0.1, 0])
    paper = Recipe(epochs=100, schedule="step", milestones=(30, 60, 90), warmup=0)
    assert [paper.learning_rate_at(e) for e in (29.9, 30, 60, 95)] == pytest.approx([0.1, 0.01, 0.001, 0.0001])


def test_views_by_slow_twin():
    augmentation = Augmentation("flip_shift")
    image = torch.arange(30.0).view(1, 1, 5, 6)
    seen = set()
    for view in range(augmentation.num_views):
        shift = view // 2
        down, right = ((shift // 5 + 2) % 5) - 2, ((shift % 5 + 2) % 5) - 2
        source = image.flip(3) if view % 2 else image
        expected = torch.empty_like(image)
        for row in range(5):
            for column in range(6):
                r, c = min(max(row - down, 0), 4), min(max(column - right, 0), 5)
                expected[0, 0, row, column] = source[0, 0, r, c]
        assert torch.equal(augmentation(image, torch.tensor([view])), expected)
        seen.add(tuple(expected.flatten().tolist()))
    assert len(seen) == 50
    assert torch.equal(augmentation(image, torch.tensor([0])), image)


def test_no_epochs_give_the_first_weights(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, epochs=0, checkpoints=(0,)), seed=0)
    assert run.history == []
    assert all(same(run.states[name], net().state_dict()) for name in ("last", "best", "epoch_0"))


def test_checkpoint_0_holds_the_first_weights(splits):
    run = fit(net, splits, CrossEntropy(), replace(RECIPE, checkpoints=(0, 2)), seed=0)
    assert set(run.states) == {"last", "best", "epoch_0", "epoch_2"}
    assert same(run.state("epoch_0"), net().state_dict())
    assert not same(run.state("epoch_2"), net().state_dict())


def test_a_geometric_schedule_goes_down_by_equal_factors():
    recipe = Recipe(epochs=4, learning_rate=0.1, schedule="geometric", final_learning_rate=0.001, warmup=0)
    rates = [recipe.learning_rate_at(epoch) for epoch in range(5)]
    assert rates[0] == 0.1 and rates[-1] == pytest.approx(0.001)
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([10**-0.5] * 4)


def test_a_geometric_schedule_needs_a_rate_to_end_at():
    with pytest.raises(KdlibError, match="final_learning_rate"):
        Recipe(epochs=4, schedule="geometric")


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
