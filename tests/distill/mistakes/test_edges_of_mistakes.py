"""The gallery at the edge: a wrong loss is wrong as its docstring says, and not in half precision or masks as well."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.distill.kd import kd_loss
from kdlib.distill.mistakes import losses as gallery
from kdlib.distill.mistakes.checks import definition
from kdlib.distill.mistakes.losses import SOFT_MISTAKES, TOTAL_MISTAKES

HALVES = [torch.float16, torch.bfloat16]
LABELS = torch.tensor([0, 1, 2, 0])
# Whose value is not a number by its very mistake, or where a class that all images mask has no distribution over them.
NO_VALUE = {"log_target_forgotten", "softmax_over_batch"}


def logits(*masked: int, seed: int) -> Tensor:
    drawn = 3 * torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
    return drawn.index_fill(1, torch.tensor(masked, dtype=torch.long), -torch.inf)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("loss", [*SOFT_MISTAKES])
def test_half_precision_adds_no_mistake_to_a_soft_term(loss, dtype):
    student, teacher = logits(seed=1).to(dtype), logits(seed=2).to(dtype)
    found = SOFT_MISTAKES[loss].function(student, teacher, 20.0)
    wanted = SOFT_MISTAKES[loss].function(student.float(), teacher.float(), 20.0)
    assert found.dtype == torch.float32 and torch.equal(found.nan_to_num(), wanted.nan_to_num())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("loss", [gallery.total_loss, *(mistake.function for mistake in TOTAL_MISTAKES.values())])
def test_half_precision_adds_no_mistake_to_a_whole_loss(loss, dtype):
    student, teacher = logits(seed=1).to(dtype), logits(seed=2).to(dtype)
    found, wanted = (loss(cast(student), cast(teacher), LABELS, 20.0, 0.3) for cast in (Tensor.clone, Tensor.float))
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


@pytest.mark.parametrize("loss", sorted(set(SOFT_MISTAKES) - NO_VALUE))
def test_a_class_that_both_mask_adds_no_mistake_to_a_soft_term(loss):
    student, teacher = logits(4, seed=1).requires_grad_(), logits(4, seed=2)
    found = SOFT_MISTAKES[loss].function(student, teacher, 2.0)
    assert bool(found.isfinite())
    if found.requires_grad:
        found.backward()
        assert bool(student.grad.isfinite().all())


@pytest.mark.parametrize("loss", ["mean_over_classes", "reverse_direction", "teacher_not_detached"])
def test_masked_classes_count_as_in_four_classes(loss):
    student, teacher = logits(4, seed=1), logits(4, seed=2)
    four = SOFT_MISTAKES[loss].function(student[:, :4], teacher[:, :4], 2.0)
    share = 4 / 5 if loss == "mean_over_classes" else 1  # its mean counts the fifth class too
    assert SOFT_MISTAKES[loss].function(student, teacher, 2.0).item() == pytest.approx(share * four.item(), rel=1e-5)


@pytest.mark.parametrize("mine, theirs", [((4,), (4,)), ((), (4,)), ((4,), (3, 4)), ((3,), (4,))], ids=str)
def test_the_definition_is_right_for_masked_classes(mine, theirs):
    student, teacher = logits(*mine, seed=1), logits(*theirs, seed=2)
    found = definition(student, teacher, 2.0)
    assert found == pytest.approx(kd_loss(student.double(), teacher.double(), 2.0).item())
    if 3 in mine:
        assert found == torch.inf


def test_a_part_without_weight_costs_nothing_even_where_it_is_infinite():
    student, teacher = logits(0, seed=1), logits(0, seed=2)  # two labels are class 0
    assert gallery.total_loss(student, teacher, LABELS, 2.0, 1.0) == kd_loss(student, teacher, 2.0)
    assert gallery.total_loss(student, teacher, LABELS, 2.0, 0.5) == torch.inf
    student, teacher = logits(4, seed=1), logits(seed=2)
    assert gallery.total_loss(student, teacher, LABELS, 2.0, 0.0) == F.cross_entropy(student, LABELS)
