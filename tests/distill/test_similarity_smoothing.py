"""Smoothing towards siblings and away from them: targets, loss, and training."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from kdlib.data.augment import Augmentation
from kdlib.distill import TrainBatch
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.setting import Setting
from kdlib.distill.similarity_smoothing import (
    SimilaritySmoothing,
    build_antisibling_smoothing,
    build_superclass_smoothing,
    smoothed_targets,
)
from kdlib.errors import KdlibError
from kdlib.metrics.class_similarity import sibling_mass_ratio
from kdlib.models import build
from kdlib.train.loop import fit
from kdlib.train.predict import predict
from kdlib.train.recipe import Recipe

SUPERCLASS_OF = (0, 0, 0, 1, 1, 2, 0)  # superclasses of 4, 2 and 1 classes
K = len(SUPERCLASS_OF)


def slow_target(label: int, alpha: float, share: str) -> list[float]:
    same = share == "siblings"
    receiving = [c for c in range(K) if c != label and (SUPERCLASS_OF[c] == SUPERCLASS_OF[label]) == same]
    target = [0.0] * K
    target[label] = 1 - alpha if receiving else 1.0
    for c in receiving:
        target[c] = alpha / len(receiving)
    return target


def batch_of(labels: torch.Tensor) -> TrainBatch:
    return TrainBatch(torch.zeros(len(labels), 1, 2, 2), labels, torch.arange(len(labels)), torch.zeros_like(labels))


class TestTargets:
    def test_by_hand(self):
        # two superclasses of two and three classes
        groups = (0, 0, 1, 1, 1)
        siblings, others = (smoothed_targets(groups, 0.3, share) for share in ("siblings", "non_siblings"))
        assert siblings[0].tolist() == pytest.approx([0.7, 0.3, 0, 0, 0])
        assert siblings[3].tolist() == pytest.approx([0, 0, 0.15, 0.7, 0.15])
        assert others[0].tolist() == pytest.approx([0.7, 0, 0.1, 0.1, 0.1])
        assert others[3].tolist() == pytest.approx([0.15, 0.15, 0, 0.7, 0])

    @pytest.mark.parametrize("share", ["siblings", "non_siblings"])
    @pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
    def test_equal_the_definition_and_sum_to_one(self, share, alpha):
        targets = smoothed_targets(SUPERCLASS_OF, alpha, share)
        expected = [slow_target(label, alpha, share) for label in range(K)]
        assert torch.allclose(targets, torch.tensor(expected, dtype=torch.float64))
        assert torch.allclose(targets.sum(1), torch.ones(K, dtype=torch.float64))

    def test_a_class_without_siblings_keeps_its_hard_label(self):
        assert smoothed_targets(SUPERCLASS_OF, 0.4, "siblings")[5].tolist() == [0, 0, 0, 0, 0, 1, 0]

    @pytest.mark.parametrize(("share", "expected"), [("siblings", 1.0), ("non_siblings", 0.0)])
    def test_the_ideal_students_sibling_mass_ratio_is_one_or_zero(self, share, expected):
        logits = (smoothed_targets(SUPERCLASS_OF, 0.1, share) + 1e-30).log()
        labels = torch.tensor([c for c in range(K) if c != 5])
        ratio, _ = sibling_mass_ratio(logits[labels], labels, SUPERCLASS_OF)
        assert torch.allclose(ratio, torch.full_like(ratio, expected))

    @pytest.mark.parametrize(
        ("groups", "share", "message"),
        [
            ((0, 1, 2), "siblings", "no class has siblings to smooth towards: every class has a superclass of its own"),
            ((0, 0, 0), "non_siblings", "no class has non-siblings .*: all classes have one superclass; group"),
        ],
    )
    def test_smoothing_that_would_smooth_nothing_is_refused(self, groups, share, message):
        with pytest.raises(KdlibError, match=message):
            smoothed_targets(groups, 0.1, share)

    @pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), "x"])
    def test_alpha_outside_0_to_1_is_refused(self, alpha):
        with pytest.raises(KdlibError, match="alpha must be a finite number at least 0 and at most 1"):
            SimilaritySmoothing(SUPERCLASS_OF, alpha)

    def test_an_unknown_share_is_refused(self):
        with pytest.raises(KdlibError, match="unknown share of the smoothing 'sibling'; did you mean 'siblings'"):
            SimilaritySmoothing(SUPERCLASS_OF, 0.1, "sibling")


@pytest.mark.parametrize("share", ["siblings", "non_siblings"])
class TestTheLoss:
    def test_equals_the_definition_and_torch(self, share):
        labels, logits = torch.randint(K, (30,)), torch.randn(30, K)
        terms = SimilaritySmoothing(SUPERCLASS_OF, 0.2, share)(batch_of(labels), logits, {})
        hard = soft = 0.0
        for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
            normaliser = math.log(sum(math.exp(z) for z in row))
            for c, weight in enumerate(slow_target(label, 0.2, share)):
                loss = weight * (normaliser - row[c]) / 30
                hard, soft = (hard + loss, soft) if c == label else (hard, soft + loss)
        assert terms.keys() == {"cross_entropy", share}
        assert terms["cross_entropy"].item() == pytest.approx(hard, rel=1e-5)
        assert terms[share].item() == pytest.approx(soft, rel=1e-5)
        targets = smoothed_targets(SUPERCLASS_OF, 0.2, share).float()[labels]
        assert torch.allclose(sum(terms.values()), F.cross_entropy(logits, targets))

    def test_alpha_0_is_cross_entropy(self, share):
        labels, logits = torch.randint(K, (30,)), torch.randn(30, K)
        terms = SimilaritySmoothing(SUPERCLASS_OF, 0.0, share)(batch_of(labels), logits, {})
        assert torch.allclose(sum(terms.values()), F.cross_entropy(logits, labels))
        assert terms[share].item() == 0

    def test_the_gradient_is_p_minus_the_target(self, share):
        labels, logits = torch.randint(K, (30,)), torch.randn(30, K, requires_grad=True)
        sum(SimilaritySmoothing(SUPERCLASS_OF, 0.2, share)(batch_of(labels), logits, {}).values()).backward()
        targets = smoothed_targets(SUPERCLASS_OF, 0.2, share).float()[labels]
        assert torch.allclose(logits.grad, (logits.softmax(1) - targets).detach() / 30, atol=1e-6)

    def test_logits_of_other_classes_are_refused(self, share):
        with pytest.raises(KdlibError, match="superclass_of names 7 classes, but the logits have 4"):
            SimilaritySmoothing(SUPERCLASS_OF, 0.1, share)(batch_of(torch.tensor([0])), torch.zeros(1, 4), {})


class TestTraining:
    net = functools.partial(build, "small_resnet", num_classes=4, width=4, features=16)

    def ratio_after(self, splits, objective) -> tuple[float, list[dict[str, float]]]:
        recipe = Recipe(epochs=12, batch_size=32, learning_rate=0.05)
        run = fit(self.net, splits, objective, recipe, 0, device="cpu")
        logits = predict(run.model("last"), splits.train)
        ratio, _ = sibling_mass_ratio(logits, splits.train.labels, splits.train.superclass_of)
        return float(ratio.mean()), run.history

    def test_students_learn_the_similarity_that_their_targets_hold(self, splits):
        setting = Setting(self.net(), splits.train, Augmentation("flip"), 0)
        siblings, rows = self.ratio_after(splits, build_superclass_smoothing(setting, alpha=0.3))
        others, other_rows = self.ratio_after(splits, build_antisibling_smoothing(setting, alpha=0.3))
        scratch, _ = self.ratio_after(splits, CrossEntropy())
        assert siblings > scratch > others
        assert siblings > 0.6 and others < 1 / 3  # chance: one sibling among three wrong classes
        assert rows[-1]["siblings"] < rows[0]["siblings"]
        # a sure student pays more for the non-siblings than an ignorant one; the whole loss is what falls
        assert all(history[-1]["loss"] < history[0]["loss"] for history in (rows, other_rows))

    def test_the_superclasses_are_those_of_the_data(self, splits):
        regrouped = replace(splits.train, superclass_of=(0, 1, 0, 1))
        setting = Setting(self.net(), regrouped, Augmentation("flip"), 0)
        objective = build_superclass_smoothing(setting, alpha=0.4)
        assert objective.targets[0].tolist() == pytest.approx([0.6, 0, 0.4, 0])
        assert (objective.share, build_antisibling_smoothing(setting).share) == ("siblings", "non_siblings")
