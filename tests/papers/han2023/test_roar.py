"""The retrainings of DiffROAR: masked on the fly as if laid out, trained as always, measured once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.task import CLASSIFICATION
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.errors import KdlibError
from kdlib.explain.saliency import loss_gradients, saliency
from kdlib.metrics.diffroar import diffroar, rank_codes
from kdlib.models import build
from kdlib.papers.han2023 import roar as roar_training
from kdlib.papers.han2023.roar import (
    PLANS,
    MaskedImages,
    Ranking,
    RoarPlan,
    diffroar_of,
    diffroar_scores,
    magnitudes,
    retraining,
)
from kdlib.papers.presets import PRESETS
from kdlib.train.loop import fit
from kdlib.train.predict import score
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=32, augment="flip")
NET = {"width": 4, "features": 16}
PLAN = RoarPlan((0.1, 0.5), RECIPE, model_options=NET)
BOTH_ENDS = list(itertools.product(("top", "bottom"), PLAN.fractions))


def network(seed: int = 0):
    return build("small_resnet", num_classes=4, channels=3, seed=seed, **NET)


@dataclass(frozen=True)
class LaidOut:
    """A masked copy in floats, as most people make one for each level."""

    pixels: Tensor
    original: ImageSet
    statistics: tuple

    name, device, task = "laid out", torch.device("cpu"), CLASSIFICATION
    labels = property(lambda self: self.original.labels)
    class_names = property(lambda self: self.original.class_names)
    input_shape = property(lambda self: tuple(self.pixels.shape[1:]))

    def __len__(self):
        return len(self.pixels)

    def to(self, device):
        return self

    def inputs(self, indices):
        return self.pixels[indices]


def laid_out(images: ImageSet, ranking: Ranking, kept: str, fraction: float, train: ImageSet) -> LaidOut:
    """The masked copy made image by image, by sorting; attributions without ties."""
    pixels = images.images / 255
    mean, std = train.channel_statistics()
    for image, strength in zip(pixels, magnitudes(ranking, images), strict=True):
        order = strength.flatten().argsort(descending=kept == "top")
        gone = order[round(fraction * len(order)) :]
        for channel in range(3):
            inside = gone[gone // (16 * 16) == channel] % (16 * 16)
            image[channel].view(-1)[inside] = mean[channel]
    return LaidOut(pixels, images, (mean, std))


@pytest.mark.parametrize(("kept", "fraction"), BOTH_ENDS)
def test_masking_on_the_fly_gives_the_bits_of_a_copy_laid_out(splits, kept, fraction):
    ranking = Ranking(network())
    ranks = rank_codes(magnitudes(ranking, splits.test), PLAN.fractions)
    mean, std = splits.train.channel_statistics()
    seen = MaskedImages(splits.test, ranks, kept, fraction, mean, (mean, std))
    copy = laid_out(splits.test, ranking, kept, fraction, splits.train)
    index = torch.tensor([5, 0, 63, 5])
    assert torch.equal(seen.inputs(index), copy.inputs(index))
    assert torch.equal(seen.inputs(slice(10, 20)), copy.inputs(slice(10, 20)))
    assert seen.first(7).inputs(slice(None)).equal(copy.inputs(slice(0, 7)))


@pytest.mark.parametrize(("kept", "fraction"), [("top", 0.1), ("bottom", 0.5)])
def test_a_retraining_gives_the_weights_of_an_ordinary_training_on_the_copy(splits, monkeypatch, kept, fraction):
    ranking, repeat = Ranking(network(), 3), 1
    ranks = [rank_codes(magnitudes(ranking, part), PLAN.fractions) for part in (splits.train, splits.test)]
    runs = []
    monkeypatch.setattr(roar_training, "fit", lambda *a, **k: runs.append(fit(*a, **k)) or runs[-1])
    found = retraining(splits.train, splits.test, *ranks, PLAN, ranking.seed)(kept, fraction, repeat)

    train, test = (laid_out(part, ranking, kept, fraction, splits.train) for part in (splits.train, splits.test))
    mean, std = splits.train.channel_statistics()
    fresh = 3 + 10_000 * (repeat + 1)
    make = lambda: build("small_resnet", num_classes=4, channels=3, mean=mean, std=std, seed=fresh, **NET)  # noqa: E731
    ordinary = fit(make, Splits("copy", train, train, test, test), CrossEntropy(), RECIPE, fresh, device="cpu")
    expected, state = ordinary.state("last"), runs[0].state("last")
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert found == score(ordinary.model("last"), test)


def test_what_is_left_of_nothing_is_the_constant_which_a_network_sees_as_zero(splits):
    ranks = rank_codes(magnitudes(Ranking(None), splits.train), (0.0001,))
    mean, std = splits.train.channel_statistics()
    seen = MaskedImages(splits.train, ranks, "top", 0.0001, mean, (mean, std))
    model = build("small_resnet", **seen.model_options(), **NET)
    zero = model.normalise(seen.inputs(slice(None))).abs().flatten(1) < 1e-6
    assert (zero.sum(1) >= 3 * 16 * 16 - 1).all()


def test_gradients_are_those_of_the_true_class_logit_or_of_the_loss(splits):
    images, labels = splits.test.inputs(slice(None)), splits.test.labels
    logit = saliency(network(), images, labels, "signed_gradient").abs()
    assert torch.equal(magnitudes(Ranking(network()), splits.test), logit)
    loss = loss_gradients(network(), images, labels).abs()
    assert torch.equal(magnitudes(Ranking(network(), gradients="loss"), splits.test), loss)


def test_gradients_of_a_random_class_know_nothing_of_the_label(splits):
    relabelled = replace(splits.test, labels=splits.test.labels.flip(0))
    ranking = Ranking(network(), gradients="random_class")
    found = magnitudes(ranking, splits.test)
    assert torch.equal(found, magnitudes(ranking, relabelled))
    assert not torch.equal(magnitudes(Ranking(network()), splits.test), magnitudes(Ranking(network()), relabelled))
    each = [saliency(network(), splits.test.inputs(slice(None)), torch.full((64,), c)) for c in range(4)]
    drawn = [{c for c in range(4) if torch.equal(found[i], each[c][i])} for i in range(64)]
    assert all(len(classes) == 1 for classes in drawn) and set.union(*drawn) == set(range(4))


def test_random_rankings_follow_their_seed_and_differ_between_parts(splits):
    first = magnitudes(Ranking(None, 1), splits.val)
    assert torch.equal(first, magnitudes(Ranking(None, 1), splits.val))
    assert not torch.equal(first, magnitudes(Ranking(None, 2), splits.val))
    assert not torch.equal(first, magnitudes(Ranking(None, 1), splits.test))


def test_equal_seeds_start_from_equal_weights_whatever_ranks(splits, monkeypatch):
    starts = []
    monkeypatch.setattr(roar_training, "build", lambda *a, **k: starts.append(k["seed"]) or build(*a, **k))
    plan = replace(PLAN, fractions=(0.5,), repeats=2, recipe=replace(RECIPE, epochs=1))
    diffroar_of(Ranking(network(), 4), splits.train, splits.test, plan)
    pair = list(dict.fromkeys(starts))
    starts.clear()
    diffroar_of(Ranking(None, 4), splits.train, splits.test, plan)
    assert list(dict.fromkeys(starts)) == pair and len(pair) == 2 and 4 not in pair


@pytest.fixture
def measured(monkeypatch):
    """The rankings that were really measured."""
    seen: list[Ranking] = []
    measure = roar_training.diffroar_of
    monkeypatch.setattr(roar_training, "diffroar_of", lambda r, *a, **k: seen.append(r) or measure(r, *a, **k))
    return seen


def test_nothing_is_measured_twice(splits, measured):
    plan = replace(PLAN, recipe=replace(RECIPE, epochs=1))
    rankings = {"net": Ranking(network()), "random": Ranking(None)}
    first = diffroar_scores(rankings, splits.train, splits.test, plan)
    assert len(measured) == 2 and list(first) == ["net", "random"]
    assert diffroar_scores(rankings, splits.train, splits.test, plan) == first
    assert diffroar_scores({"again": Ranking(network())}, splits.train, splits.test, plan)["again"] == first["net"]
    assert len(measured) == 2


def test_whatever_changes_the_result_is_measured_anew(splits, measured):
    plan = replace(PLAN, fractions=(0.5,), recipe=replace(RECIPE, epochs=1))
    start = (Ranking(network()), splits.train, splits.test, plan)
    others = [
        (Ranking(network(1)), *start[1:]),
        (Ranking(network(), 1), *start[1:]),
        (start[0], splits.val, *start[2:]),
        (*start[:2], splits.val, plan),
        (*start[:3], replace(plan, fractions=(0.4,))),
        (Ranking(network(), gradients="loss"), *start[1:]),
        (*start[:3], replace(plan, repeats=2)),
        (*start[:3], replace(plan, model_options=NET | {"width": 5})),
    ]
    for ranking, *rest in [start, *others, start]:
        diffroar_scores({"net": ranking}, *rest)
    assert len(measured) == 1 + len(others)


def test_a_plan_may_take_the_first_images_only(splits):
    plan = replace(PLAN, fractions=(0.5,), recipe=replace(RECIPE, epochs=1))
    few = diffroar_scores(
        {"net": Ranking(network())}, splits.train, splits.test, replace(plan, n_train=64, n_test=20), workers=1
    )
    cut = splits.train.subset(slice(0, 64)), splits.test.subset(slice(0, 20))
    assert few == diffroar_scores({"net": Ranking(network())}, *cut, plan, workers=1)
    assert few["net"].top[0][0] * 20 == pytest.approx(round(few["net"].top[0][0] * 20))


def test_there_is_a_plan_for_each_preset():
    assert PLANS.keys() == PRESETS.keys()


@pytest.mark.slow
def test_processes_give_what_one_process_does(splits, monkeypatch, tmp_path):
    rankings = {"net": Ranking(network()), "random": Ranking(None)}
    side = diffroar_scores(rankings, splits.train, splits.test, PLAN, device="cpu", workers=2)
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "other"))
    assert diffroar_scores(rankings, splits.train, splits.test, PLAN, device="cpu", workers=1) == side


def test_where_everything_is_kept_both_ends_give_one_network_that_learns(splits):
    everything = rank_codes(torch.rand(splits.train.images.shape), (1.0,))
    judged = rank_codes(torch.rand(splits.test.images.shape), (1.0,))
    plan = RoarPlan((1.0,), replace(RECIPE, epochs=6), model_options=NET)
    retrain = retraining(splits.train, splits.test, everything, judged, plan)
    assert diffroar(retrain, (1.0,)).scores() == [0.0]  # both ends keep all
    assert retrain("top", 1.0, 0) > 0.5


def test_ranks_of_other_images_are_refused(splits):
    ranks = rank_codes(magnitudes(Ranking(None), splits.train), (0.5,))
    statistics = splits.train.channel_statistics()
    with pytest.raises(KdlibError, match="ranks of shape \\(128, 3, 16, 16\\) for images of shape \\(64, 3, 16, 16\\)"):
        MaskedImages(splits.test, ranks, "top", 0.5, statistics[0], statistics)
    with pytest.raises(KdlibError, match="one value for each of 3 channels"):
        MaskedImages(splits.train, ranks, "top", 0.5, (0.5,), statistics)


def test_a_plan_that_can_not_be_is_refused():
    with pytest.raises(KdlibError, match="did you mean 'logit'"):
        Ranking(None, gradients="logits")
    with pytest.raises(KdlibError, match="repeats must be"):
        replace(PLAN, repeats=0)


def test_two_masked_sets_have_one_hash_only_if_they_show_the_same(splits):
    ranks = rank_codes(magnitudes(Ranking(None), splits.test), (0.2, 0.5))
    mean, std = splits.train.channel_statistics()
    seen = MaskedImages(splits.test, ranks, "top", 0.5, mean, (mean, std))
    others = [replace(seen, kept="bottom"), replace(seen, fraction=0.2), replace(seen, constant=(0.5,) * 3)]
    assert len({each.content_hash() for each in [seen, replace(seen), *others]}) == 4
