"""Whole objectives that learn from features, at the edge: half precision on either side, masked classes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kdlib.distill import TrainBatch
from kdlib.distill.attention_transfer import AttentionTransfer, attention_loss, attention_map
from kdlib.distill.contrastive import ContrastiveDistillation, ContrastiveMemory, log_mean_normaliser, moved_rows
from kdlib.distill.factor_transfer import (
    FactorTransfer,
    Paraphraser,
    factor_encoder,
    factor_loss,
    factors_of,
    observe_factors,
)
from kdlib.distill.layer_mse import LayerMSE
from kdlib.distill.self_supervision import SelfSupervision, make_head, similarities
from kdlib.distill.teacher import KnownOutputs
from kdlib.distill.terms import unit_rows
from kdlib.errors import KdlibError

INF = torch.inf
HALVES = [torch.float16, torch.bfloat16]
LABELS = torch.tensor([0, 1, 2, 0])
BATCH = TrainBatch(torch.rand(4, 1, 4, 4), LABELS, torch.arange(4), torch.zeros(4).long())
Terms = dict[str, Tensor]
Cast = Callable[[Tensor], Tensor]


def numbers(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def logits_of(rows: int, cast: Cast, seed: int, masked: int | None) -> Tensor:
    logits = numbers(seed, rows, 4)
    return cast(logits if masked is None else logits.index_fill(1, torch.tensor([masked]), -INF))


def attention(cast: Cast, masked: int | None = None) -> Terms:
    answers = {"logits": logits_of(4, cast, 1, masked), "theirs": cast(attention_map(numbers(2, 4, 5, 4, 4)))}
    objective = AttentionTransfer(KnownOutputs(answers), (("mine", "theirs"),), alpha=0.5, temperature=100.0)
    return objective(BATCH, logits_of(4, cast, 3, masked), {"mine": cast(numbers(4, 4, 6, 4, 4))})


def factors(cast: Cast, masked: int | None = None) -> Terms:
    torch.manual_seed(0)
    translator, answers = factor_encoder(6, 3), numbers(2, 4, 3 * 16) / 100
    known = KnownOutputs({"logits": logits_of(4, cast, 1, masked), "factors": cast(answers)})
    objective = FactorTransfer(known, translator, "mine", alpha=0.5, temperature=100.0)
    return objective(BATCH, logits_of(4, cast, 3, masked), {"mine": cast(numbers(4, 4, 6, 4, 4))})


def contrast(cast: Cast, masked: int | None = None) -> Terms:
    memory = ContrastiveMemory(8, 7, LABELS, negatives=5, dimension=4)
    known = KnownOutputs({"logits": logits_of(4, cast, 1, masked), "pooled": cast(numbers(2, 4, 7))})
    objective = ContrastiveDistillation(known, memory, alpha=0.5, temperature=100.0)
    torch.manual_seed(0)
    return objective(BATCH, logits_of(4, cast, 3, masked), {"avgpool": cast(numbers(4, 4, 8))})


def turns(cast: Cast, masked: int | None = None, turned: float = 2.7, teacher_masks: bool = True) -> Terms:
    theirs = masked if teacher_masks else None
    answers = {
        "logits": logits_of(4, cast, 1, theirs),
        "turned_logits": logits_of(12, cast, 5, theirs).unflatten(0, (4, 3)),
        "pooled": cast(numbers(2, 4, 4, 7)),
    }
    objective = SelfSupervision(KnownOutputs(answers), make_head(7, 0), 8, turned=turned, logits=0.9 * teacher_masks)
    return objective(BATCH, logits_of(16, cast, 3, masked), {"avgpool": cast(numbers(4, 16, 8))})


def layer(cast: Cast, masked: int | None = None) -> Terms:
    known = KnownOutputs({"logits": logits_of(4, cast, 1, masked), "layer": cast(numbers(2, 4, 6))})
    return LayerMSE("fc", known)(BATCH, logits_of(4, cast, 3, masked), {"fc": cast(numbers(4, 4, 6))})


OBJECTIVES = {
    "attention transfer": attention,
    "factor transfer": factors,
    "contrastive": contrast,
    "self-supervision": turns,
    "layer mse": layer,
}
every_objective = pytest.mark.parametrize("terms", OBJECTIVES.values(), ids=OBJECTIVES.keys())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@every_objective
def test_half_precision_of_student_and_teacher_gives_what_float32_of_the_same_numbers_gives(terms, dtype):
    half, wanted = terms(lambda x: x.to(dtype)), terms(lambda x: x.to(dtype).float())
    for name, term in half.items():
        assert term.dtype == torch.float32 and torch.equal(term, wanted[name]), name


@every_objective
def test_a_class_that_both_nets_mask_leaves_every_term_and_gradient_finite(terms):
    """Class 3 is nobody's label."""
    seen: list[Tensor] = []

    def watched(numbers: Tensor) -> Tensor:
        seen.append(numbers.clone().requires_grad_())
        return seen[-1]

    found = terms(watched, masked=3)
    assert all(bool(term.isfinite()) for term in found.values())
    gradients = torch.autograd.grad(torch.stack(list(found.values())).sum(), seen, allow_unused=True)
    reached = [gradient for gradient in gradients if gradient is not None]
    assert reached and all(bool(gradient.isfinite().all()) for gradient in reached)


def test_turned_images_without_weight_cost_nothing_even_where_their_loss_is_infinite():
    def as_it_is(numbers: Tensor) -> Tensor:
        return numbers

    assert turns(as_it_is, masked=3, teacher_masks=False)["turned_kd"] == INF
    assert turns(as_it_is, masked=3, turned=0, teacher_masks=False)["turned_kd"] == 0


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_normaliser_of_half_precision_is_that_of_float32(dtype):
    scores = torch.linspace(-14, 14, 6).view(2, 3).to(dtype)
    assert torch.equal(log_mean_normaliser(scores, 50_000), log_mean_normaliser(scores.float(), 50_000))


def test_factors_of_a_teacher_whose_layer_gives_half_precision():
    class Halved(nn.Conv2d):
        def forward(self, maps: Tensor) -> Tensor:
            return super().forward(maps).half()

    class Widened(nn.Linear):
        def forward(self, maps: Tensor) -> Tensor:
            return super().forward(maps.float())

    net = nn.Sequential(Halved(1, 4, 1), nn.Flatten(), Widened(64, 3)).eval()
    with torch.no_grad():
        seen = observe_factors("0", Paraphraser(4))(net, torch.rand(2, 1, 4, 4))
    assert seen["factors"].dtype == torch.float32 and bool(seen["factors"].isfinite().all())


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e-13, 1e-9, 1e10, 1e19, 1e25])
def test_a_direction_does_not_depend_on_the_length_of_the_vector(scale):
    maps, embeddings = numbers(1, 2, 3, 4, 4), numbers(2, 8, 6)
    for of, small in ((factors_of, maps), (similarities, embeddings), (unit_rows, embeddings)):
        given = (small * scale).requires_grad_()
        found = of(given)
        assert torch.allclose(found, of(small), atol=1e-5)
        (gradient,) = torch.autograd.grad((found * torch.linspace(0, 1, found.numel()).view_as(found)).sum(), given)
        assert bool(gradient.isfinite().all()) and bool(gradient.any())
    moved = moved_rows(embeddings * scale, embeddings.flip(0) * scale, 0.5)
    assert torch.allclose(moved, moved_rows(embeddings, embeddings.flip(0), 0.5), atol=1e-5)


def test_a_direction_of_usual_length_has_the_bits_of_torchs_own():
    rows = numbers(1, 16, 9) * torch.logspace(-8, 12, 16)[:, None]
    assert torch.equal(unit_rows(rows), torch.nn.functional.normalize(rows, dim=1))
    assert torch.equal(unit_rows(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_maps_and_factors_in_half_precision_are_compared_in_float32(dtype):
    mine, its = torch.full((1, 10), 1e-4).to(dtype), torch.full((1, 10), 3e-4).to(dtype)
    for loss in (attention_loss, factor_loss):
        assert torch.equal(loss(mine, its), loss(mine.float(), its.float()))


def test_a_layer_without_channels_has_no_attention_map():
    with pytest.raises(KdlibError, match=r"must have shape .*, not \(2, 0, 3, 3\)"):
        attention_map(torch.zeros(2, 0, 3, 3))
