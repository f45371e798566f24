"""Cross-entropy, label smoothing and knowledge distillation against slow twins."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdlib.data.augment import Augmentation
from kdlib.data.image_set import ImageSet
from kdlib.distill import TrainBatch
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import KnowledgeDistillation, kd_loss
from kdlib.distill.label_smoothing import LabelSmoothing
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError


def slow_kd(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    """T^2 sum p log(p/q) / B, from the definition, in Python floats."""
    total = 0.0
    for s_row, t_row in zip(student.double().tolist(), teacher.double().tolist(), strict=True):
        p = [math.exp(z / temperature) for z in t_row]
        q = [math.exp(z / temperature) for z in s_row]
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def make_batch(count: int = 6, index: torch.Tensor | None = None, seed: int = 0) -> TrainBatch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(20, 1, 4, 4, generator=generator)
    labels = torch.randint(3, (20,), generator=generator)
    index = torch.arange(count) if index is None else index
    return TrainBatch(images[index], labels[index], index, torch.zeros_like(index))


def make_net(seed: int, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, classes)
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_loss_equals_its_definition(temperature):
    student, teacher = torch.randn(7, 5), 3 * torch.randn(7, 5)
    assert kd_loss(student, teacher, temperature).item() == pytest.approx(
        slow_kd(student, teacher, temperature), rel=1e-5
    )


def test_kd_loss_agrees_with_torch_kl_div():
    student, teacher = torch.randn(7, 5).double(), torch.randn(7, 5).double()
    oracle = 9 * F.kl_div(
        (student / 3).log_softmax(1), (teacher / 3).log_softmax(1), reduction="batchmean", log_target=True
    )
    assert torch.allclose(kd_loss(student, teacher, 3), oracle)


def test_kd_loss_by_hand():
    # p_t = (3/4, 1/4), p_s = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)
    loss = kd_loss(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log(), 1)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradient_equals_finite_differences_and_the_closed_form(temperature):
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: kd_loss(z, teacher, temperature), student)
    kd_loss(student, teacher, temperature).backward()
    expected = temperature * ((student / temperature).softmax(1) - (teacher / temperature).softmax(1)) / 4
    assert torch.allclose(student.grad, expected)


def test_kd_loss_is_zero_at_the_teacher_and_blind_to_a_shift_of_logits():
    teacher = torch.randn(4, 5)
    assert kd_loss(teacher + 7, teacher - 3, 2).item() == pytest.approx(0, abs=1e-6)


def test_kd_loss_survives_extreme_logits():
    student = torch.zeros(1, 3, requires_grad=True)
    loss = kd_loss(student, torch.tensor([[1000.0, 0.0, -1000.0]]), 1)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3))
    assert torch.isfinite(student.grad).all()


def test_t_to_infinity_is_matching_centred_logits():
    # Hinton et al. 2015, section 2.1: the gradient tends to (z_s - z_t) / (K B) for centred logits
    student = torch.randn(4, 5, dtype=torch.float64)
    student = (student - student.mean(1, keepdim=True)).requires_grad_()
    teacher = torch.randn(4, 5, dtype=torch.float64)
    teacher = teacher - teacher.mean(1, keepdim=True)
    kd_loss(student, teacher, 9e5).backward()
    assert torch.allclose(student.grad, (student - teacher) / (5 * 4), atol=1e-5)


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "abc", True])
def test_a_temperature_that_is_none_is_refused(bad):
    with pytest.raises(KdlibError, match="temperature must be a finite number greater than 1e-09 and less than"):
        kd_loss(torch.zeros(1, 2), torch.zeros(1, 2), bad)


def test_teacher_and_student_with_other_class_counts_are_refused():
    with pytest.raises(KdlibError, match=r"one shape .*\(2, 4\) and \(2, 3\)"):
        kd_loss(torch.zeros(2, 3), torch.zeros(2, 4), 1)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9, 1.0])
def test_label_smoothing_equals_torch_and_its_definition(alpha):
    batch, logits = make_batch(), torch.randn(6, 3)
    terms = LabelSmoothing(alpha)(batch, logits, {})
    assert torch.allclose(sum(terms.values()), F.cross_entropy(logits, batch.labels, label_smoothing=alpha))
    targets = (1 - alpha) * F.one_hot(batch.labels, 3) + alpha / 3
    assert torch.allclose(sum(terms.values()), -(targets * logits.log_softmax(1)).sum(1).mean())


def test_objectives_coincide_where_they_must():
    batch, logits = make_batch(), torch.randn(6, 3)
    hard = CrossEntropy()(batch, logits, {})["cross_entropy"]
    teacher = Teacher(make_net(1))
    assert torch.allclose(sum(LabelSmoothing(0)(batch, logits, {}).values()), hard)
    assert torch.allclose(sum(KnowledgeDistillation(teacher, 4, alpha=0)(batch, logits, {}).values()), hard)
    soft = KnowledgeDistillation(teacher, 4, alpha=1)(batch, logits, {})
    assert torch.allclose(sum(soft.values()), kd_loss(logits, teacher(batch), 4))


def test_kd_from_a_uniform_teacher_at_t_1_is_label_smoothing_up_to_a_constant():
    # the paper's point: at T = 1 the two differ in their second target alone
    class Uniform(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 3)

    batch = make_batch()
    logits = torch.randn(6, 3, requires_grad=True)
    kd = sum(KnowledgeDistillation(Teacher(Uniform()), 1, alpha=0.3)(batch, logits, {}).values())
    smoothed = sum(LabelSmoothing(0.3)(batch, logits, {}).values())
    assert torch.allclose(*(torch.autograd.grad(loss, logits)[0] for loss in (kd, smoothed)), atol=1e-7)
    assert (smoothed - kd).item() == pytest.approx(0.3 * math.log(3), rel=1e-4)


def test_the_gradient_reaches_every_student_parameter_and_no_teacher_parameter():
    student, teacher = make_net(0), make_net(1)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    batch = make_batch()
    objective = KnowledgeDistillation(Teacher(teacher), 4, 0.5)
    teacher.train()  # whoever forgets eval() must not spoil the teacher
    for _ in range(3):
        sum(objective(batch, student(batch.images), {}).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters() if p.shape != (8,))
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_remembered_answers_equal_live_ones_under_shuffling():
    live, remembering = Teacher(make_net(1)), Teacher(make_net(1), num_images=20, num_views=1)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        order = torch.randperm(20, generator=generator)
        for index in order.split(6):
            batch = make_batch(index=index)
            assert torch.allclose(remembering(batch), live(batch), atol=1e-6)
    assert remembering.asked == 20  # the first pass asks every batch once
    assert live.asked == 80


def test_a_filled_memory_asks_nothing_more_and_depends_on_nobody():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 1, 4, 4), generator=generator, dtype=torch.uint8)
    data = ImageSet("toy", images, torch.arange(20) % 3, ("a", "b", "c"), ("all",), (0, 0, 0))
    flip = Augmentation("flip")
    filled = Teacher(make_net(1), num_images=20, num_views=2).fill(data, flip, batch_size=7)
    asked = filled.asked
    for view in (0, 1):
        index = torch.randperm(20, generator=generator)[:6]
        views = torch.full_like(index, view)
        batch = TrainBatch(flip(data.inputs(index), views), data.labels[index], index, views)
        assert torch.allclose(filled(batch), Teacher(make_net(1))(batch), atol=1e-6)
    assert filled.asked == asked == 40


def test_views_are_remembered_apart():
    teacher = Teacher(make_net(1), num_images=20, num_views=2)
    batch = make_batch()
    mirrored = TrainBatch(batch.images.flip(3), batch.labels, batch.index, batch.view + 1)
    first, second = teacher(batch), teacher(mirrored)
    assert not torch.allclose(first, second)
    assert torch.equal(teacher(batch), first) and torch.equal(teacher(mirrored), second)


def test_a_memory_too_small_for_the_data_is_refused():
    with pytest.raises(KdlibError, match="remembers 4 images in 1 views, but was shown image 5 in view 0"):
        Teacher(make_net(1), num_images=4, num_views=1)(make_batch())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), "x"])
def test_alpha_outside_0_to_1_is_refused(alpha):
    with pytest.raises(KdlibError, match="alpha must be a finite number at least 0 and at most 1"):
        LabelSmoothing(alpha)
    with pytest.raises(KdlibError, match="alpha must be a finite number"):
        KnowledgeDistillation(Teacher(make_net(0)), 1, alpha)
