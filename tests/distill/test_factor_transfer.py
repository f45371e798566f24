"""Factor transfer: its loss against loops, its two stages, and training."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small_nets import batch_of, setting_of, student_net, teacher_net

from kdlib.capture import features_of
from kdlib.data.augment import Augmentation
from kdlib.distill import factor_transfer
from kdlib.distill.factor_transfer import (
    FactorTransfer,
    Paraphraser,
    build_factor_transfer,
    factor_encoder,
    factor_loss,
    factors_of,
    observe_factors,
    train_paraphraser,
)
from kdlib.distill.kd import label_terms
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.train.device import deterministic
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe


def same_bits(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    mine, its = a.state_dict(), b.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)


def slow_factor_loss(student: torch.Tensor, teacher: torch.Tensor) -> float:
    """Mean over images and numbers of |s / ||s|| - t / ||t|| |, one number at a time."""
    total, count = 0.0, 0
    for s_row, t_row in zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True):
        s_norm, t_norm = (math.sqrt(sum(value**2 for value in row)) for row in (s_row, t_row))
        for s, t in zip(s_row, t_row, strict=True):
            total, count = total + abs(s / s_norm - t / t_norm), count + 1
    return total / count


class TestTheLoss:
    def test_equals_the_definition(self):
        student, teacher = (torch.randn(3, 4, 2, 5, dtype=torch.float64) for _ in range(2))
        loss = factor_loss(factors_of(student), factors_of(teacher))
        assert loss.item() == pytest.approx(slow_factor_loss(student, teacher), rel=1e-12)

    def test_by_hand(self):
        # (1, 0) against (3, 4) / 5: |1 - 0.6| and |0 - 0.8|
        student, teacher = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
        assert factor_loss(factors_of(student), factors_of(teacher)).item() == pytest.approx((0.4 + 0.8) / 2)

    def test_zero_for_identical_factors_at_any_scale_but_not_for_opposite_ones(self):
        maps = torch.randn(3, 4, 2, 5)
        assert factor_loss(factors_of(maps), factors_of(maps)).item() == 0
        assert factor_loss(factors_of(9 * maps), factors_of(maps)).item() == pytest.approx(0, abs=1e-7)
        assert factor_loss(factors_of(-maps), factors_of(maps)).item() > 0.1

    def test_gradient_equals_finite_differences_and_none_reaches_the_teacher(self):
        student, teacher = (torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        assert torch.autograd.gradcheck(lambda f: factor_loss(factors_of(f), factors_of(teacher)), student)
        factor_loss(factors_of(student), factors_of(teacher)).backward()
        assert teacher.grad is None

    def test_factors_of_other_sizes_are_refused(self):
        with pytest.raises(KdlibError, match=r"one shape \(batch, numbers\), not \(2, 4\) and \(2, 9\)"):
            factor_loss(torch.zeros(2, 4), torch.zeros(2, 9))


def layers(module: torch.nn.Module) -> list[tuple]:
    return [
        (type(m).__name__, m.in_channels, m.out_channels, m.kernel_size)
        if hasattr(m, "in_channels")
        else (type(m).__name__, m.negative_slope)
        for m in module
    ]


class TestTheNets:
    def test_the_paraphraser_is_built_as_in_the_literature(self):
        # ResNet-34: 512 channels, rate 0.5
        paraphraser = Paraphraser(512, 0.5)
        rectifier = ("LeakyReLU", 0.1)
        assert layers(paraphraser.encoder) == [
            ("Conv2d", 512, 512, (3, 3)),
            rectifier,
            ("Conv2d", 512, 256, (3, 3)),
            rectifier,
            ("Conv2d", 256, 256, (3, 3)),
            rectifier,
        ]
        assert layers(paraphraser.decoder) == [
            ("ConvTranspose2d", 256, 256, (3, 3)),
            rectifier,
            ("ConvTranspose2d", 256, 512, (3, 3)),
            rectifier,
            ("ConvTranspose2d", 512, 512, (3, 3)),
            rectifier,
        ]

    def test_the_translator_is_the_paraphrasers_encoder(self):
        assert layers(factor_encoder(24, 12)) == layers(Paraphraser(24, 0.5).encoder)

    def test_a_fresh_paraphraser_passes_signals_of_their_own_size(self):
        torch.manual_seed(0)
        maps = torch.randn(8, 64, 16, 16).relu()
        passed = Paraphraser(64, 0.5)(maps).detach()
        assert 0.3 < float(passed.square().mean() / maps.square().mean()) < 3

    @pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, float("nan")])
    def test_a_rate_that_is_none_is_refused(self, rate):
        with pytest.raises(KdlibError, match="rate must be a finite number greater than 0 and at most 1, not"):
            Paraphraser(8, rate)


class TestStageOne:
    def test_it_learns_to_give_the_maps_back(self, splits):
        teacher, none = teacher_net(), Augmentation("none")
        maps = features_of(teacher, splits.val.inputs(slice(0, 64)), "layer3")

        def error(epochs: int) -> float:
            paraphraser = train_paraphraser(teacher, "layer3", splits.train, none, epochs=epochs, batch_size=8)
            return float((paraphraser(maps) - maps).square().mean())

        spread = float((maps - maps.mean((0, 2, 3), keepdim=True)).square().mean())
        assert error(16) < 0.5 * spread
        assert error(16) < error(1)

    @pytest.mark.parametrize(("images", "steps"), [(128, 8), (6000, 300), (60_000, 300), (153_600, 600)])
    def test_small_data_is_cut_into_batches_that_make_some_300_steps(self, images, steps, monkeypatch):
        class Counted:  # as many images as asked for, and none in memory
            device = torch.device("cpu")

            def __init__(self):
                self.seen = []

            def __len__(self):
                return images

            def inputs(self, index):
                self.seen.append(len(index))
                return torch.zeros(1, 1, 1, 1)

        class Identity(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer1 = torch.nn.Identity()

            def forward(self, maps):
                return self.layer1(maps)

        monkeypatch.setattr(Augmentation, "__call__", lambda self, inputs, views: inputs)
        data = Counted()
        train_paraphraser(Identity(), "layer1", data, Augmentation("none"))
        assert len(data.seen) - 1 == steps  # and one to read the channels from
        assert max(data.seen) <= 256

    def test_a_streamed_folder_is_augmented_as_it_is_read(self, splits):
        class Stream:
            device, asked = torch.device("cpu"), []

            def __len__(self):
                return 40

            def inputs(self, index):
                return splits.train.inputs(index)

            def training_batches(self, batches, augmentation, seed, epoch):
                for index in batches:
                    self.asked.append((augmentation, epoch, index))
                    yield splits.train.images[index], splits.train.labels[index], index

        augmentation = Augmentation("flip")
        augmentation.name = "resized_crop"
        streamed = train_paraphraser(teacher_net(), "layer3", Stream(), augmentation, epochs=2, batch_size=10)
        assert [(name, epoch) for name, epoch, _ in Stream.asked] == [
            ("resized_crop", e) for e in (0, 1) for _ in "1234"
        ]
        for pass_ in (Stream.asked[:4], Stream.asked[4:]):
            assert torch.equal(torch.cat([index for *_, index in pass_]).sort().values, torch.arange(40))
        unaugmented = train_paraphraser(
            teacher_net(), "layer3", splits.train.subset(slice(0, 40)), Augmentation("none"), epochs=2, batch_size=10
        )
        assert same_bits(streamed, unaugmented)

    def test_it_is_frozen_and_the_teacher_untouched(self, splits):
        teacher = teacher_net()
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        paraphraser = train_paraphraser(teacher, "layer3", splits.train, Augmentation("flip"))
        assert not any(p.requires_grad for p in paraphraser.parameters())
        assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
        assert all(p.grad is None for p in teacher.parameters())

    def test_the_same_bits_each_time_whatever_the_global_generator_which_is_left_alone(self, splits):
        teacher = teacher_net()
        with deterministic():
            torch.manual_seed(1)
            first = train_paraphraser(teacher, "layer3", splits.train, Augmentation("flip"))
            expected = torch.rand(1)
            torch.manual_seed(1)
            assert torch.equal(torch.rand(1), expected)
            second = train_paraphraser(teacher, "layer3", splits.train, Augmentation("flip"))
            other = train_paraphraser(teacher, "layer3", splits.train, Augmentation("flip"), seed=1)
        assert same_bits(first, second)
        assert not same_bits(first, other)

    def test_students_share_it_and_none_depends_on_which_came_first(self, splits):
        teacher = teacher_net()
        one, two = (setting_of(splits, teacher=teacher, seed=seed) for seed in (5, 6))
        again = replace(one, seed=7)
        with deterministic():
            first, second, third = (build_factor_transfer(setting) for setting in (one, two, again))
        assert third.teacher is first.teacher
        answers = [o.teacher.answer(batch_of(splits, torch.arange(9)))["factors"] for o in (first, second)]
        assert torch.equal(*answers)
        assert not same_bits(first.translator, second.translator)  # the students' own seeds


class TestTheObjective:
    @pytest.mark.parametrize("alpha", [0.0, 0.3])
    def test_terms_are_the_labels_part_and_the_weighted_loss(self, splits, alpha):
        setting = setting_of(splits)
        objective = build_factor_transfer(setting, weight=70.0, alpha=alpha, temperature=2.0)
        paraphraser = setting.memory["paraphraser of layer3 at rate 0.5"]
        batch, logits, features = batch_of(splits, torch.arange(6)), torch.randn(6, 4), torch.rand(6, 16, 4, 4)
        terms = objective(batch, logits, {"layer3": features})
        teacher_factors = paraphraser.encoder(features_of(setting.taught(), batch.images, "layer3"))
        expected = 70 * slow_factor_loss(objective.translator(features), teacher_factors)
        assert terms.pop("factor_transfer").item() == pytest.approx(expected, rel=1e-4)
        labels = label_terms(logits, batch.labels, setting.taught()(batch.images), 2.0, alpha)
        assert terms.keys() == labels.keys() == ({"cross_entropy", "kd"} if alpha else {"cross_entropy"})
        assert all(torch.allclose(terms[name], labels[name], atol=1e-5) for name in labels)

    def test_channels_may_differ_and_the_rate_sets_the_factors(self, splits):
        objective = build_factor_transfer(setting_of(splits), rate=0.25)
        assert [c.out_channels for c in objective.translator if hasattr(c, "out_channels")] == [16, 6, 6]
        assert objective.student_layers == ("layer3",)

    def test_gradient_reaches_student_and_translator_and_no_teacher_or_paraphraser(self, splits):
        setting = setting_of(splits)
        student = setting.student.train()
        objective = build_factor_transfer(setting)
        batch, features = batch_of(splits, torch.arange(8)), {}
        student.layer3.register_forward_hook(lambda m, i, o: features.__setitem__("layer3", o))
        terms = objective(batch, student(batch.images), features)
        terms["factor_transfer"].backward(retain_graph=True)
        reached = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert reached == {name for name, _ in student.named_parameters() if not name.startswith("fc.")}
        assert objective.module is objective.translator
        assert all(p.grad.abs().sum() > 0 for p in objective.module.parameters())
        terms["cross_entropy"].backward()
        assert student.fc.weight.grad.abs().sum() > 0
        frozen = [*setting.taught().parameters(), *setting.memory["paraphraser of layer3 at rate 0.5"].parameters()]
        assert all(p.grad is None and not p.requires_grad for p in frozen)

    def test_remembered_factors_equal_live_ones(self, splits):
        setting = setting_of(splits)
        objective = build_factor_transfer(setting)
        paraphraser = setting.memory["paraphraser of layer3 at rate 0.5"]
        live = Teacher(setting.taught(), observe=observe_factors("layer3", paraphraser))
        assert objective.teacher.remembers
        for view in (0, 1):
            batch = batch_of(splits, torch.randperm(128)[:10], view)
            mine, its = objective.teacher.answer(batch), live.answer(batch)
            assert mine["factors"].shape == (10, 12 * 4 * 4)
            assert all(torch.allclose(mine[name], its[name], atol=1e-5) for name in ("logits", "factors"))

    def test_a_memory_that_would_be_too_large_is_not_kept(self, splits, monkeypatch):
        numbers = 128 * 2 * (12 * 4 * 4 + 4)
        monkeypatch.setattr(factor_transfer, "_LARGEST_MEMORY", 4 * numbers)
        assert build_factor_transfer(setting_of(splits)).teacher.remembers
        monkeypatch.setattr(factor_transfer, "_LARGEST_MEMORY", 4 * numbers - 1)
        assert not build_factor_transfer(setting_of(splits)).teacher.remembers

    def test_training_lowers_it(self, splits):
        objective = build_factor_transfer(setting_of(splits), alpha=0.5)
        run = fit(student_net, splits, objective, Recipe(epochs=6, batch_size=32, learning_rate=0.05), 0, device="cpu")
        first, last = run.history[0], run.history[-1]
        assert last["factor_transfer"] < 0.8 * first["factor_transfer"]
        assert {"cross_entropy", "kd", "factor_transfer"} < set(first)

    def test_an_interrupted_training_goes_on_with_its_translator(self, splits):
        recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.05)
        setting = setting_of(splits)
        saved = []
        whole = fit(
            student_net, splits, build_factor_transfer(setting), recipe, 0, device="cpu", after_epoch=saved.append
        )
        resumed = fit(student_net, splits, build_factor_transfer(setting), recipe, 0, device="cpu", resume=saved[0])
        assert all(torch.equal(value, resumed.state()[name]) for name, value in whole.state().items())


class TestBadInput:
    def test_stages_of_other_spatial_size_are_refused_by_name_and_size(self, splits):
        with pytest.raises(
            KdlibError,
            match=r"factor transfer compares maps .* student's layer3 gives maps of 4x4 and the teacher's "
            "layer4 of 1x1; choose nets",
        ):
            build_factor_transfer(setting_of(splits, teacher=build("resnet18", num_classes=4)))

    def test_a_teacher_of_other_classes_is_refused(self, splits):
        teacher = build("small_resnet", num_classes=7, width=8, features=24)
        with pytest.raises(KdlibError, match="the teacher has 7 outputs and the student 4; train both"):
            build_factor_transfer(setting_of(splits, teacher=teacher))

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
            FactorTransfer(Teacher(teacher_net()), factor_encoder(4, 2), "layer3", **option)
