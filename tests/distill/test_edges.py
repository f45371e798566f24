"""Losses at the edge: masked classes (a logit of -inf), half precision at a high temperature, tasks without classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from rows import row_splits
from torch import Tensor, nn

from kdlib.book.limits import LIMITS
from kdlib.data.task import BINARY, CLASSIFICATION, REGRESSION, at_least_float32
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.attention_transfer import attention_loss, attention_map
from kdlib.distill.catalogue import METHODS
from kdlib.distill.contrastive import nce_loss
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.dark_knowledge import PermutedDarkKnowledge, shuffled_per_image, with_wrong_classes, wrong_classes
from kdlib.distill.factor_transfer import factor_loss, factors_of
from kdlib.distill.kd import KnowledgeDistillation, kd_loss
from kdlib.distill.label_loss import LabelLoss
from kdlib.distill.label_smoothing import LabelSmoothing
from kdlib.distill.layer_mse import LayerMSE
from kdlib.distill.self_supervision import kept_rows, ranked_kd_loss, similarities
from kdlib.distill.setting import Setting
from kdlib.distill.similarity_smoothing import SimilaritySmoothing
from kdlib.distill.teacher import KnownOutputs
from kdlib.errors import KdlibError
from kdlib.runs.arms import basic_arms

INF = torch.inf
HALVES = [torch.float16, torch.bfloat16]
SUPERCLASSES = (0, 0, 1, 1)
LABELS = torch.tensor([0, 1, 2, 0, 3, 1])
BATCH = TrainBatch(torch.rand(6, 1, 2, 2), LABELS, torch.arange(6), torch.zeros(6).long())


def random_logits(seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))).to(dtype)


def masked(logits: Tensor, *classes: int) -> Tensor:
    return logits.index_fill(1, torch.tensor(classes), -INF)


def known(logits: Tensor) -> KnownOutputs:
    return KnownOutputs({"logits": logits})


def shuffle(logits: Tensor, batch: TrainBatch) -> Tensor:
    return shuffled_per_image(logits, batch.labels, batch.index, seed=0)


def misplace(logits: Tensor, batch: TrainBatch) -> Tensor:
    return with_wrong_classes(logits, batch.labels, wrong_classes(SUPERCLASSES, seed=0))


# What learns from logits, as made from the teacher's; those without a teacher leave them alone.
FROM_LOGITS = {
    "cross-entropy": lambda teacher: CrossEntropy(),
    "label loss": lambda teacher: LabelLoss(),
    "label smoothing": lambda teacher: LabelSmoothing(0.1),
    "siblings": lambda teacher: SimilaritySmoothing(SUPERCLASSES, 0.1, "siblings"),
    "non-siblings": lambda teacher: SimilaritySmoothing(SUPERCLASSES, 0.1, "non_siblings"),
    "kd": lambda teacher: KnowledgeDistillation(known(teacher), 4.0, 0.9),
    "kd at 100": lambda teacher: KnowledgeDistillation(known(teacher), 100.0, 1.0),
    "kd without the teacher": lambda teacher: KnowledgeDistillation(known(teacher), 4.0, 0.0),
    "shuffled": lambda teacher: PermutedDarkKnowledge(known(teacher), shuffle, 4.0, 0.9),
    "wrong classes": lambda teacher: PermutedDarkKnowledge(known(teacher), misplace, 4.0, 0.9),
}
every_objective = pytest.mark.parametrize("make", FROM_LOGITS.values(), ids=FROM_LOGITS.keys())


def loss_of(objective: Objective, logits: Tensor) -> Tensor:
    return torch.stack(list(objective(BATCH, logits, {}).values())).sum()


# ---- half precision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@every_objective
def test_half_precision_gives_what_float32_of_the_same_numbers_gives(make, dtype):
    student, teacher = random_logits(1, dtype).requires_grad_(), random_logits(2, dtype)
    exact = random_logits(1, dtype).float().requires_grad_()
    loss, wanted = loss_of(make(teacher), student), loss_of(make(teacher.float()), exact)
    assert loss.dtype == torch.float32 and torch.equal(loss, wanted)
    loss.backward(), wanted.backward()
    # Each term's gradient is rounded to half precision on its way to the logits.
    assert torch.allclose(student.grad.float(), exact.grad, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("temperature", [20.0, 100.0])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_kd_of_half_precision_at_a_high_temperature(dtype, temperature):
    draw = torch.Generator().manual_seed(0)
    student, teacher = ((3 * torch.randn(64, 100, generator=draw)).to(dtype) for _ in range(2))
    softened = (student.double() / temperature).log_softmax(1), (teacher.double() / temperature).softmax(1)
    wanted = temperature**2 * F.kl_div(*softened, reduction="batchmean")
    assert kd_loss(student, teacher, temperature).item() == pytest.approx(wanted.item(), rel=1e-3)


@pytest.mark.parametrize("temperature", [33.0, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_kd_at_a_high_temperature_is_right_to_five_digits(dtype, temperature):
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 3, generator=draw).to(dtype) for _ in range(2))
    student.requires_grad_()
    loss = kd_loss(student, teacher, temperature)
    (push,) = torch.autograd.grad(loss, student)
    wide = student.detach().double().requires_grad_()
    softened = (wide / temperature).log_softmax(1), (teacher.double() / temperature).softmax(1)
    wanted = temperature**2 * F.kl_div(*softened, reduction="batchmean")
    wanted.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert torch.allclose(
        push.double(), wide.grad, rtol=0, atol=float(torch.finfo(dtype).eps) * float(wide.grad.abs().max())
    )
    assert kd_loss(teacher, teacher, temperature).item() == 0


@pytest.mark.parametrize("temperature", [1e-9, 1e-38, 1e-45, 1e-300])
def test_a_temperature_by_which_logits_overflow_is_refused(temperature):
    with pytest.raises(KdlibError, match="greater than 1e-09 and less than"):
        kd_loss(random_logits(1), random_logits(2), temperature)
    with pytest.raises(KdlibError, match="greater than 1e-09 and less than"):
        LIMITS["temperature"].check(temperature, "temperature")
    assert bool(kd_loss(random_logits(1), random_logits(2), 1.1e-9).isfinite())


def test_a_temperature_whose_square_overflows_is_refused():
    message = r"^temperature must be a finite number greater than 1e-09 and less than 1e\+06, not 1e\+200$"
    with pytest.raises(KdlibError, match=message):
        kd_loss(torch.zeros(1, 2), torch.zeros(1, 2), 1e200)
    with pytest.raises(KdlibError, match=message):
        LIMITS["temperature"].check(1e200, "temperature")
    with pytest.raises(KdlibError, match=message):
        basic_arms(1e200, 0.5, 0.1)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_feature_losses_of_half_precision_give_what_float32_gives(dtype):
    draw = torch.Generator().manual_seed(0)
    maps, others = (300 * torch.randn(4, 3, 5, 5, generator=draw)).to(dtype), torch.randn(4, 3, 5, 5).to(dtype)

    def at() -> list[Tensor]:
        return [attention_loss(attention_map(a), attention_map(b)) for a, b in ((maps, others), (maps32, others32))]

    maps32, others32 = maps.float(), others.float()
    assert torch.equal(*at())
    assert torch.equal(
        factor_loss(factors_of(maps), factors_of(others)), factor_loss(factors_of(maps32), factors_of(others32))
    )
    flat, flat32 = maps.flatten(1)[:, :8], maps32.flatten(1)[:, :8]
    assert torch.equal(similarities(flat), similarities(flat32))
    scores, normaliser = flat / 100, torch.tensor(2.0)
    assert torch.equal(nce_loss(scores, normaliser, 50), nce_loss(scores.float(), normaliser, 50))
    rows = flat[:, :4], others.flatten(1)[:, :4], torch.tensor([0, 1, 2, 3])
    rows32 = flat32[:, :4], others32.flatten(1)[:, :4], rows[2]
    assert torch.equal(ranked_kd_loss(*rows, 20.0, 0.5), ranked_kd_loss(*rows32, 20.0, 0.5))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_error_of_a_layer_in_half_precision_does_not_overflow(dtype):
    given, wanted = torch.full((6, 2), 300.0, dtype=dtype), torch.full((6, 2), -300.0, dtype=dtype)
    teacher = KnownOutputs({"logits": torch.zeros(6, 2), "layer": wanted})
    assert LayerMSE("fc", teacher)(BATCH, torch.zeros(6, 2), {"fc": given})["layer_mse"].item() == 360_000


@pytest.mark.parametrize("task", [CLASSIFICATION, BINARY, REGRESSION], ids=lambda task: task.name)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_task_losses_of_half_precision_give_what_float32_gives(task, dtype):
    outputs = 30 * torch.randn(6, 4 if task is CLASSIFICATION else 1)
    labels = LABELS if task is CLASSIFICATION else (LABELS > 0).long()
    assert torch.equal(task.loss(outputs.to(dtype), labels), task.loss(outputs.to(dtype).float(), labels))


def test_double_precision_stays():
    assert at_least_float32(torch.zeros(1).double()).dtype == torch.float64
    assert kd_loss(torch.zeros(1, 2).double(), torch.ones(1, 2).double(), 1.0).dtype == torch.float64


# ---- masked classes -------------------------------------------------------------------------------------------------


def test_kd_from_a_teacher_that_masks_a_class():
    student = torch.tensor([[1.0, 2.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 1.0, -INF]])
    loss = kd_loss(student, teacher, 2.0)
    wanted = 4 * F.kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean")
    assert loss.item() == pytest.approx(wanted.item()) == pytest.approx(0.8248, abs=1e-4)
    loss.backward()
    by_hand = 2 * ((student / 2).softmax(1) - (teacher / 2).softmax(1))
    assert torch.allclose(student.grad, by_hand.detach())


@pytest.mark.parametrize("name", ["cross-entropy", "label loss", "kd", "kd at 100", "kd without the teacher"])
def test_a_class_that_student_and_teacher_mask_changes_nothing_of_the_others(name):
    """The fifth class is nobody's label: the loss is that of four classes, and so is its gradient."""
    four = random_logits(1).requires_grad_()
    wide = torch.cat([random_logits(1), torch.full((6, 1), -INF)], 1).requires_grad_()
    teacher = torch.cat([random_logits(2), torch.full((6, 1), -INF)], 1)
    make = FROM_LOGITS[name]
    loss, wanted = loss_of(make(teacher), wide), loss_of(make(random_logits(2)), four)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    loss.backward(), wanted.backward()
    assert torch.allclose(wide.grad[:, :4], four.grad, atol=1e-7) and bool((wide.grad[:, 4] == 0).all())


@pytest.mark.parametrize("permute", [shuffle, misplace], ids=["shuffled", "wrong classes"])
def test_permuted_logits_of_a_teacher_that_masks_a_class_have_a_finite_loss_and_gradient(permute):
    student, teacher = random_logits(1).requires_grad_(), masked(random_logits(2), 3)
    teacher[LABELS == 3, 3] = 1.0  # no label is masked
    objective = PermutedDarkKnowledge(known(teacher), permute, 4.0, 0.9)
    loss = loss_of(objective, student)
    loss.backward()
    moved = permute(teacher, BATCH)
    soft = 16 * F.kl_div((student / 4).log_softmax(1), (moved / 4).softmax(1), reduction="batchmean")
    assert loss.item() == pytest.approx((0.9 * soft + 0.1 * F.cross_entropy(student, LABELS)).item(), rel=1e-5)
    assert bool(student.grad.isfinite().all())


def test_a_class_that_only_the_student_masks_makes_kd_infinite_and_not_nan():
    assert kd_loss(masked(random_logits(1), 2), random_logits(2), 1.0) == INF


def test_a_label_on_a_masked_class_is_infinitely_wrong_unless_it_has_no_weight():
    logits = masked(random_logits(1), 0)
    assert loss_of(CrossEntropy(), logits) == loss_of(LabelSmoothing(0.1), logits) == INF
    objective = SimilaritySmoothing(SUPERCLASSES, 0.1, "non_siblings")
    terms = objective(BATCH, logits, {})
    assert terms["cross_entropy"] == INF and not any(term.isnan() for term in terms.values())
    teacher = masked(random_logits(2), 0)
    assert loss_of(KnowledgeDistillation(known(teacher), 2.0, 1.0), logits).isfinite()
    assert LabelSmoothing(1.0)(BATCH, random_logits(1), {})["cross_entropy"] == 0


def test_a_masked_class_costs_label_smoothing_infinitely_much_and_plain_labels_nothing():
    logits = torch.cat([random_logits(1), torch.full((6, 1), -INF)], 1)
    assert loss_of(LabelSmoothing(0.1), logits) == F.cross_entropy(logits, LABELS, label_smoothing=0.1) == INF
    assert loss_of(LabelSmoothing(0.0), logits) == F.cross_entropy(logits, LABELS)


@pytest.mark.parametrize("share", ["siblings", "non_siblings"])
def test_a_masked_class_without_a_target_costs_smoothing_nothing(share):
    """Class 4 has a superclass of its own; of images of class 4 there are none."""
    logits = torch.cat([random_logits(1), torch.full((6, 1), -INF)], 1).requires_grad_()
    loss = loss_of(SimilaritySmoothing((*SUPERCLASSES, 2), 0.1, share), logits)
    if share == "non_siblings":
        assert loss == INF
    else:
        assert loss.item() == pytest.approx(
            loss_of(SimilaritySmoothing(SUPERCLASSES, 0.1, share), random_logits(1)).item()
        )
        loss.backward()
        assert bool(logits.grad.isfinite().all())


def test_ranked_distillation_of_turned_images_takes_masked_classes():
    teacher, targets = masked(random_logits(2), 3), torch.tensor([0, 1, 2, 0, 1, 2])
    student = random_logits(1).requires_grad_()
    loss = ranked_kd_loss(student, teacher, targets, 4.0, 0.5)
    kept = kept_rows(teacher, targets, 0.5)
    wanted = 16 * F.kl_div((student / 4).log_softmax(1)[kept], (teacher / 4).softmax(1)[kept], reduction="batchmean")
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    loss.backward()
    assert bool(student.grad.isfinite().all())


def test_a_certain_yes_or_no_costs_nothing_where_it_is_right():
    logits = torch.tensor([[INF], [-INF], [0.0]], requires_grad=True)
    assert BINARY.loss(logits, torch.tensor([1, 0, 1])).item() == pytest.approx(0.6931 / 3, abs=1e-4)
    assert BINARY.loss(logits, torch.tensor([0, 0, 1])) == INF
    numbers = torch.linspace(-5, 5, 6)
    wanted = F.binary_cross_entropy_with_logits(numbers, (LABELS > 0).float())
    assert BINARY.loss(numbers[:, None], (LABELS > 0).long()).item() == pytest.approx(wanted.item())


# ---- tasks ----------------------------------------------------------------------------------------------------------


LABELS_ALONE = ["cross_entropy", "label_smoothing", "superclass_smoothing", "antisibling_smoothing"]


@pytest.mark.parametrize("method", [*LABELS_ALONE, "kd", "shuffled", "wrong_classes"])
def test_methods_that_learn_from_classes_refuse_labels_that_are_numbers(method):
    net = nn.Sequential(nn.Linear(2, 1))
    taught = net if METHODS[method].taught else None
    with pytest.raises(KdlibError, match=r"learns from classes, but the task of .* is regression; take label_loss"):
        METHODS[method].build(Setting(net, row_splits(REGRESSION).train, None, 0, taught))


def test_label_loss_is_the_loss_of_the_data_s_own_task():
    rows = row_splits(REGRESSION).train
    objective = METHODS["label_loss"].build(Setting(nn.Linear(2, 1), rows, None, 0))
    batch = TrainBatch(rows.inputs(slice(None)), rows.labels, torch.arange(len(rows)), torch.zeros(len(rows)).long())
    outputs = torch.zeros(len(rows), 1)
    assert objective(batch, outputs, {})["label_loss"] == rows.labels.square().mean()
