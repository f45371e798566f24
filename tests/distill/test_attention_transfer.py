"""Attention transfer against loops written from its formula, and in training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_nets import batch_of, setting_of, student_net, teacher_net

from kdlib.data.augment import Augmentation
from kdlib.distill.attention_transfer import (
    AttentionTransfer,
    attention_loss,
    attention_map,
    build_attention_transfer,
    observe_attention,
)
from kdlib.distill.feature_maps import matched_stages
from kdlib.distill.kd import label_terms
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe

# Slow twins: Python floats, one number at a time


def slow_map(features: torch.Tensor) -> list[list[float]]:
    rows = []
    for image in features.double().tolist():
        height, width = len(image[0]), len(image[0][0])
        row = [sum(channel[y][x] ** 2 for channel in image) / len(image) for y in range(height) for x in range(width)]
        norm = math.sqrt(sum(value**2 for value in row))
        rows.append([value / norm for value in row])
    return rows


def slow_loss(student: torch.Tensor, teacher: torch.Tensor) -> float:
    total, count = 0.0, 0
    for s_row, t_row in zip(slow_map(student), slow_map(teacher), strict=True):
        for s, t in zip(s_row, t_row, strict=True):
            total, count = total + (s - t) ** 2, count + 1
    return total / count


class TestTheFormula:
    def test_equals_the_definition_whatever_the_numbers_of_channels(self):
        student, teacher = torch.randn(3, 5, 4, 6, dtype=torch.float64), torch.randn(3, 2, 4, 6, dtype=torch.float64)
        assert torch.allclose(attention_map(student), torch.tensor(slow_map(student), dtype=torch.float64))
        loss = attention_loss(attention_map(student), attention_map(teacher))
        assert loss.item() == pytest.approx(slow_loss(student, teacher), rel=1e-12)

    def test_by_hand(self):
        # energies (9 + 16) / 2 and 0, so Q_s = (1, 0); Q_t = (3, 4) / 5
        student = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
        teacher = torch.tensor([[[[math.sqrt(3), 2.0]]]])
        assert attention_map(student).tolist() == [[1.0, 0.0]]
        loss = attention_loss(attention_map(student), attention_map(teacher))
        assert loss.item() == pytest.approx(((1 - 0.6) ** 2 + 0.8**2) / 2)

    def test_neither_scale_sign_nor_order_of_the_channels_matters(self):
        features = torch.randn(3, 5, 4, 4)
        expected = attention_map(features)
        for changed in (7 * features, -features, features[:, torch.randperm(5)], features.repeat(1, 2, 1, 1)):
            assert torch.allclose(attention_map(changed), expected, atol=1e-6)

    def test_positions_do_matter(self):
        features = torch.randn(3, 5, 4, 4)
        assert attention_loss(attention_map(features.flip(3)), attention_map(features)) > 0.01

    def test_each_image_weighs_the_same(self):
        features, target = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
        louder = features * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
        losses = [attention_loss(attention_map(f), attention_map(target)) for f in (features, louder)]
        assert torch.allclose(*losses)

    def test_identical_features_cost_nothing(self):
        features = torch.randn(3, 5, 4, 4)
        assert attention_loss(attention_map(features), attention_map(features)).item() == 0

    def test_a_silent_layer_gives_zeros_and_a_finite_gradient(self):
        features = torch.zeros(1, 2, 3, 3, requires_grad=True)
        loss = attention_loss(attention_map(features), attention_map(torch.ones(1, 2, 3, 3)))
        loss.backward()
        assert loss.item() == pytest.approx(1 / 9)
        assert torch.isfinite(features.grad).all()

    def test_gradient_equals_finite_differences_and_none_reaches_the_teacher(self):
        student = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda f: attention_loss(attention_map(f), attention_map(teacher)), student)
        attention_loss(attention_map(student), attention_map(teacher)).backward()
        assert teacher.grad is None

    def test_maps_of_half_precision_are_made_in_float32(self):
        features = torch.randn(2, 3, 4, 4)
        half = attention_map(features.bfloat16())
        assert half.dtype == torch.float32
        assert torch.allclose(half, attention_map(features.bfloat16().float()))

    def test_maps_of_other_sizes_and_features_without_positions_are_refused(self):
        with pytest.raises(KdlibError, match=r"one shape \(batch, positions\), not \(2, 4\) and \(2, 9\)"):
            attention_loss(torch.zeros(2, 4), torch.zeros(2, 9))
        with pytest.raises(KdlibError, match=r"\(batch, channels, height, width\), not \(2, 16\)"):
            attention_map(torch.zeros(2, 16))


class TestTheObjective:
    def test_the_last_two_stages_are_paired(self, splits):
        objective = build_attention_transfer(setting_of(splits))
        assert objective.pairs == (("layer2", "layer2"), ("layer3", "layer3"))
        assert objective.student_layers == ("layer2", "layer3")
        assert objective.module is None

    def test_stages_are_paired_from_the_end_across_families_of_nets(self, splits):
        # at 32x32, ResNet-18 has 2x2 maps at layer3 and 1x1 at layer4; a ResNet-34 has the same
        small = setting_of(splits, student=build("resnet18", num_classes=4), teacher=build("resnet34", num_classes=4))
        pairs = matched_stages(small, 2, "attention transfer")
        assert [(pair.student_layer, pair.teacher_layer) for pair in pairs] == [
            ("layer3", "layer3"),
            ("layer4", "layer4"),
        ]

    @pytest.mark.parametrize("alpha", [0.0, 0.3])
    def test_terms_are_the_labels_part_and_the_weighted_sum_over_pairs(self, splits, alpha):
        setting = setting_of(splits)
        objective = build_attention_transfer(setting, weight=50.0, alpha=alpha, temperature=2.0)
        batch, logits = batch_of(splits, torch.arange(6)), torch.randn(6, 4)
        features = {"layer2": torch.randn(6, 8, 4, 4), "layer3": torch.randn(6, 16, 4, 4)}
        terms = objective(batch, logits, features)
        teacher = setting.taught()
        maps = {}
        hooks = [
            getattr(teacher, name).register_forward_hook(lambda m, i, o, name=name: maps.__setitem__(name, o))
            for name in features
        ]
        teacher_logits = teacher(batch.images)
        for hook in hooks:
            hook.remove()
        expected = 50 * sum(slow_loss(features[name], maps[name]) for name in features)
        assert terms.pop("attention_transfer").item() == pytest.approx(expected, rel=1e-4)
        labels = label_terms(logits, batch.labels, teacher_logits, 2.0, alpha)
        assert terms.keys() == labels.keys() == ({"cross_entropy", "kd"} if alpha else {"cross_entropy"})
        assert all(torch.allclose(terms[name], labels[name], atol=1e-5) for name in labels)

    def test_without_logits_the_teachers_logits_have_no_say(self, splits):
        setting = setting_of(splits)
        batch, features = (
            batch_of(splits, torch.arange(6)),
            {"layer2": torch.rand(6, 8, 4, 4), "layer3": torch.rand(6, 16, 4, 4)},
        )
        before = build_attention_transfer(setting)(batch, torch.zeros(6, 4), features)
        setting.taught().fc.weight.data.normal_()
        setting.memory.clear()
        after = build_attention_transfer(setting)(batch, torch.zeros(6, 4), features)
        assert before == after

    def test_gradient_reaches_the_student_up_to_its_last_stage_and_no_teacher(self, splits):
        setting = setting_of(splits)
        student = setting.student.train()
        objective = build_attention_transfer(setting)
        batch = batch_of(splits, torch.arange(8))
        features = {}
        for name in objective.student_layers:
            getattr(student, name).register_forward_hook(lambda m, i, o, name=name: features.__setitem__(name, o))
        terms = objective(batch, student(batch.images), features)
        terms["attention_transfer"].backward(retain_graph=True)
        reached = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert reached == {name for name, _ in student.named_parameters() if not name.startswith("fc.")}
        terms["cross_entropy"].backward()
        assert student.fc.weight.grad.abs().sum() > 0
        assert all(p.grad is None and not p.requires_grad for p in setting.taught().parameters())

    def test_remembered_maps_equal_live_ones_for_each_view(self, splits):
        setting = setting_of(splits)
        remembering = build_attention_transfer(setting)
        layers = ("layer2", "layer3")
        live = Teacher(setting.taught(), observe=observe_attention(layers))
        assert remembering.teacher.remembers
        asked = remembering.teacher.asked
        for view in (0, 1):
            batch = batch_of(splits, torch.randperm(128)[:10], view)
            mine, its = remembering.teacher.answer(batch), live.answer(batch)
            assert mine.keys() == its.keys() == {"logits", *layers}
            assert {name: tuple(mine[name].shape) for name in layers} == {"layer2": (10, 16), "layer3": (10, 16)}
            assert all(torch.allclose(mine[name], its[name], atol=1e-5) for name in mine)
        assert remembering.teacher.asked == asked == 256

    def test_students_of_one_teacher_share_its_memory(self, splits):
        setting = setting_of(splits)
        first = build_attention_transfer(setting)
        assert build_attention_transfer(setting, alpha=0.5).teacher is first.teacher

    def test_training_lowers_it(self, splits):
        objective = build_attention_transfer(setting_of(splits), alpha=0.5)
        recipe = Recipe(epochs=6, batch_size=32, learning_rate=0.05)
        run = fit(student_net, splits, objective, recipe, seed=0, device="cpu")
        first, last = run.history[0], run.history[-1]
        assert last["attention_transfer"] < 0.8 * first["attention_transfer"]
        assert {"cross_entropy", "kd", "attention_transfer"} < set(first)


class TestBadInput:
    def test_layers_of_other_spatial_size_are_refused_by_name_and_size(self, splits):
        setting = setting_of(splits, teacher=build("resnet18", num_classes=4))
        with pytest.raises(
            KdlibError,
            match=r"attention transfer compares maps .* student's layer2 gives maps of 4x4 and the teacher's layer3 of "
            r"1x1; choose nets",
        ):
            build_attention_transfer(setting)

    def test_a_teacher_of_other_classes_is_refused(self, splits):
        teacher = build("small_resnet", num_classes=7, width=8, features=24)
        with pytest.raises(KdlibError, match="the teacher has 7 outputs and the student 4; train both"):
            build_attention_transfer(setting_of(splits, teacher=teacher))

    def test_no_teacher_is_refused(self, splits):
        with pytest.raises(KdlibError, match="needs a teacher"):
            build_attention_transfer(Setting(student_net(), splits.train, Augmentation("none"), 0))

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ({"weight": -1.0}, "weight must be a finite number at least 0, not -1.0"),
            ({"alpha": 1.5}, "alpha must be a finite number at least 0 and at most 1"),
            ({"temperature": 0.0}, "temperature must be a finite number greater than 1e-09"),
        ],
    )
    def test_an_option_out_of_range_is_refused(self, option, message):
        with pytest.raises(KdlibError, match=message):
            AttentionTransfer(Teacher(teacher_net()), (("layer3", "layer3"),), **option)

    def test_features_that_are_no_maps_are_refused(self, splits):
        class Flat(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer1, self.layer2 = torch.nn.Linear(768, 8), torch.nn.Linear(8, 4)

            def forward(self, images):
                return self.layer2(F.relu(self.layer1(images.flatten(1))))

        with pytest.raises(KdlibError, match=r"student's layer1 gives \(8,\) .* use convolutional nets"):
            build_attention_transfer(setting_of(splits, student=Flat()))


@pytest.mark.parametrize("scale", [1e-18, 1e-7, 1.0, 1e15, 1e30])
def test_the_map_of_tiny_and_of_huge_features_is_the_same(scale):
    features = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]])
    assert torch.allclose(attention_map(features * scale), attention_map(features), atol=1e-6)
