"""CRD: the noise-contrastive loss, the memory banks and the objective, against twins written from the definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.data.augment import Augmentation
from kdlib.distill import TrainBatch, contrastive
from kdlib.distill.contrastive import (
    ContrastiveMemory,
    bank_products,
    build_contrastive,
    default_negatives,
    log_mean_normaliser,
    moved_rows,
    nce_loss,
    weighted_rows,
)
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import kd_loss
from kdlib.distill.penultimate import observe_pooled
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe


def slow_nce(anchors: Tensor, bank: Tensor, rows: Tensor, normaliser: float, temperature: float) -> float:
    """-log h(true pair) - sum log(1 - h(noise pair)) with h = s / (s + n/N), averaged over the anchors; floats."""
    noise = (rows.shape[1] - 1) / len(bank)
    total = 0.0
    for anchor, choice in zip(anchors.tolist(), rows.tolist(), strict=True):
        for place, row in enumerate(choice):
            dot = sum(a * b for a, b in zip(anchor, bank[row].tolist(), strict=True))
            score = math.exp(dot / temperature) / normaliser
            total -= math.log(score / (score + noise)) if place == 0 else math.log(noise / (score + noise))
    return total / len(anchors)


def slow_normaliser(anchors: Tensor, bank: Tensor, rows: Tensor, temperature: float) -> float:
    """N times the mean of exp(v . w / tau) over all pairs of the batch."""
    scores = [
        math.exp(sum(a * b for a, b in zip(anchor, bank[row].tolist(), strict=True)) / temperature)
        for anchor, choice in zip(anchors.tolist(), rows.tolist(), strict=True)
        for row in choice
    ]
    return len(bank) * sum(scores) / len(scores)


def units(count: int, dimension: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return F.normalize(torch.randn(count, dimension, dtype=dtype), dim=1)


LABELS = torch.tensor([0, 0, 1, 2, 2, 1, 0, 2])


def small_memory(**options) -> ContrastiveMemory:
    """Banks of eight images, of classes `LABELS`."""
    settings = {"negatives": 6, "dimension": 4, "temperature": 0.2, **options}
    return ContrastiveMemory(5, 7, LABELS, **settings)


def setting_of(splits, seed: int = 0, augmentation: str = "flip") -> Setting:
    student = build("small_resnet", num_classes=4, width=4, features=16, seed=seed)
    teacher = build("small_resnet", num_classes=4, width=4, features=24, seed=7)
    return Setting(student, splits.train, Augmentation(augmentation), seed, teacher)


def batch_of(images, index: Tensor) -> TrainBatch:
    return TrainBatch(images.inputs(index), images.labels[index], index, torch.zeros_like(index))


# --- the loss


def test_nce_equals_its_definition():
    anchors, bank = units(5, 3), units(20, 3)
    rows = torch.randint(20, (5, 9))
    products = bank_products(anchors, bank, rows, whole=True)
    loss = nce_loss(products / 0.3, torch.tensor(30.0, dtype=torch.float64).log(), len(bank))
    assert loss.item() == pytest.approx(slow_nce(anchors, bank, rows, 30.0, 0.3), rel=1e-9)


def test_nce_by_hand():
    # N = 4 images, n = 2 negatives: n/N = 1/2. Z = 2: scores 1 and 1/2, 1/2, so 2/3 for the true pair, 1/2 for noise
    scores = torch.tensor([[2.0, 1.0, 1.0]]).log()
    loss = nce_loss(scores, torch.tensor(2.0).log(), num_images=4)
    assert loss.item() == pytest.approx(-math.log(2 / 3) - 2 * math.log(1 / 2))


def test_nce_rewards_a_nearer_own_and_farther_others():
    scores = torch.zeros(2, 4, requires_grad=True)
    nce_loss(scores, torch.tensor(5.0).log(), num_images=10).backward()
    assert (scores.grad[:, 0] < 0).all() and (scores.grad[:, 1:] > 0).all()


def test_nce_survives_extreme_scores():
    scores = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    loss = nce_loss(scores, torch.tensor(0.0), num_images=2)
    loss.backward()
    # n/N = 1/2 adds log 2 to both: -log h = 500 - log 2, and 500 + log 2
    assert loss.item() == pytest.approx(1000)
    assert torch.isfinite(scores.grad).all()


def test_the_first_normaliser_is_n_times_the_mean_score():
    anchors, bank = units(5, 3), units(20, 3)
    rows = torch.randint(20, (5, 9))
    z = log_mean_normaliser(bank_products(anchors, bank, rows, whole=True) / 0.3, len(bank)).exp()
    assert z.item() == pytest.approx(slow_normaliser(anchors, bank, rows, 0.3), rel=1e-9)


# --- the whole bank at once, or rows looked up


@pytest.mark.parametrize("at_once", [1, 7 * 3 * 4, 2**24], ids=["one column", "four columns", "all"])
def test_the_whole_bank_and_rows_looked_up_give_the_same(monkeypatch, at_once):
    monkeypatch.setattr(contrastive, "_MOST_LOOKED_UP", at_once)
    anchors, bank, weights = units(7, 3), units(30, 3), torch.randn(7, 11, dtype=torch.float64)
    rows = torch.randint(30, (7, 11))
    rows[:, 3] = rows[:, 5]  # drawn with replacement
    for compute, first in ((bank_products, anchors), (weighted_rows, weights)):
        whole, looked_up = (compute(first, bank, rows, whole=way) for way in (True, False))
        assert torch.allclose(whole, looked_up, atol=1e-12)
    slow = torch.stack([torch.stack([bank[row] @ anchor for row in choice]) for anchor, choice in zip(anchors, rows)])  # noqa: B905
    assert torch.allclose(bank_products(anchors, bank, rows, whole=True), slow)


def test_a_batch_has_the_same_loss_and_gradients_either_way(monkeypatch):
    results = []
    for way in (False, True):
        monkeypatch.setattr(contrastive, "_whole_is_faster", lambda rows, bank, way=way: way)
        memory = small_memory()
        torch.manual_seed(1)
        memory(torch.ones(3, 5), torch.ones(3, 7), torch.tensor([0, 3, 5])).backward()
        results.append([memory.embed_student.weight.grad, memory.embed_teacher.weight.grad, memory.log_normalisers])
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(*results, strict=True))


def test_a_million_images_are_looked_up_and_a_few_thousand_are_not():
    def faster(batch, negatives, images):
        return contrastive._whole_is_faster(
            torch.empty(batch, 1 + negatives, device="meta"), torch.empty(images, 128, device="meta")
        )

    assert faster(64, default_negatives(5000), 5000)
    assert not faster(256, default_negatives(1_281_167), 1_281_167)


# --- the memory


def test_negatives_are_never_of_the_anchors_class_and_every_other_image_comes_up():
    memory = small_memory(negatives=400)
    rows = memory.draw(torch.arange(8))
    assert torch.equal(rows[:, 0], torch.arange(8))
    for image in range(8):
        assert set(rows[image, 1:].tolist()) == {other for other in range(8) if LABELS[other] != LABELS[image]}


def test_negatives_are_uniform_over_the_other_classes():
    drawn = small_memory(negatives=20_000).draw(torch.tensor([2]))[0, 1:]
    share = torch.bincount(drawn, minlength=8) / 20_000
    expected = torch.tensor([1, 1, 0, 1, 1, 0, 1, 1]) / 6
    # six standard deviations of a share of 1/6
    assert torch.allclose(share, expected, atol=6 * math.sqrt(5 / 36 / 20_000))


def test_moved_rows_equal_their_definition():
    rows, seen = units(4, 3), units(4, 3)
    expected = []
    for row, new in zip(rows.tolist(), seen.tolist(), strict=True):
        mixed = [0.7 * a + 0.3 * b for a, b in zip(row, new, strict=True)]
        length = math.sqrt(sum(x * x for x in mixed))
        expected.append([x / length for x in mixed])
    assert torch.allclose(moved_rows(rows, seen, 0.7), torch.tensor(expected, dtype=torch.float64))


def test_a_step_equals_its_definition_and_moves_the_rows_seen_alone():
    memory = small_memory().double()
    index = torch.tensor([6, 2, 3])
    student_features, teacher_features = torch.randn(3, 5).double(), torch.randn(3, 7).double()
    before = {side: getattr(memory, f"{side}_bank").clone() for side in ("student", "teacher")}
    student = F.normalize(memory.embed_student(student_features), dim=1).detach()
    teacher = F.normalize(memory.embed_teacher(teacher_features), dim=1).detach()
    state = torch.get_rng_state()
    loss = memory(student_features, teacher_features, index)
    torch.set_rng_state(state)
    rows = memory.draw(index)
    expected = 0.0
    for anchors, bank in ((student, before["teacher"]), (teacher, before["student"])):
        z = slow_normaliser(anchors, bank, rows, 0.2)
        expected += slow_nce(anchors, bank, rows, z, 0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    for side, seen in (("student", student), ("teacher", teacher)):
        bank, old = getattr(memory, f"{side}_bank"), before[side]
        assert torch.allclose(bank[index], moved_rows(old[index], seen, 0.5))
        others = [image for image in range(8) if image not in index]
        assert torch.equal(bank[others], old[others])


def test_gradients_are_those_of_autograd_though_the_banks_move_before_backward():
    memory = small_memory(seed=3).double()
    memory.log_normalisers.fill_(math.log(9.0))
    index = torch.tensor([6, 2, 3])
    student_features = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher_features = torch.randn(3, 7, dtype=torch.float64)
    banks = memory.teacher_bank.clone(), memory.student_bank.clone()
    embeddings = [
        F.normalize(memory.embed_student(student_features), dim=1),
        F.normalize(memory.embed_teacher(teacher_features), dim=1),
    ]
    state = torch.get_rng_state()
    loss = memory(student_features, teacher_features, index)
    torch.set_rng_state(state)
    rows = memory.draw(index)
    plain = sum(
        nce_loss(torch.einsum("bd,bnd->bn", anchors, bank[rows]) / 0.2, memory.log_normalisers[0], 8)
        for anchors, bank in zip(embeddings, banks, strict=True)
    )
    wanted = [student_features, memory.embed_student.weight, memory.embed_teacher.weight]
    ours = torch.autograd.grad(3 * loss, wanted)
    assert all(torch.allclose(a, 3 * b) for a, b in zip(ours, torch.autograd.grad(plain, wanted), strict=True))


def test_banks_stay_unit_length_and_normalisers_stay_as_first_set():
    memory = small_memory(dimension=16)
    assert memory.log_normalisers.isnan().all()
    memory(torch.randn(4, 5), torch.randn(4, 7), torch.arange(4)).backward()
    first = memory.log_normalisers.clone()
    for _ in range(20):
        index = torch.randperm(8)[:4]
        memory(10 * torch.randn(4, 5), torch.randn(4, 7), index).backward()
    for bank in (memory.student_bank, memory.teacher_bank):
        assert torch.allclose(bank.norm(dim=1), torch.ones(8))
        assert not bank.requires_grad
    assert torch.equal(memory.log_normalisers, first) and first.isfinite().all()


def test_the_first_values_depend_on_the_seed_alone_and_leave_the_random_state():
    before = torch.get_rng_state()
    first = small_memory(seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again, other = small_memory(seed=1).state_dict(), small_memory(seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first if name != "log_normalisers")
    assert not torch.equal(first["teacher_bank"], other["teacher_bank"])


def test_what_goes_on_after_an_interruption_is_parameters_banks_and_normalisers():
    names = set(small_memory().state_dict())
    assert names == {
        *(f"embed_{side}.{part}" for side in ("student", "teacher") for part in ("weight", "bias")),
        "student_bank",
        "teacher_bank",
        "log_normalisers",
    }


def test_images_of_one_class_alone_are_refused():
    with pytest.raises(KdlibError, match="all 5 training images are of class 2; give at least two classes"):
        ContrastiveMemory(3, 3, torch.full((5,), 2), negatives=4)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"negatives": 0}, "negatives must be a whole number of at least 1, not 0"),
        ({"dimension": 0}, "dimension must be a whole number of at least 1, not 0"),
        ({"temperature": 0}, "nce_temperature must be a finite number greater than 1e-09 and less than 1e.06, not 0"),
        ({"momentum": 1.5}, "momentum must be a finite number at least 0 and at most 1, not 1.5"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(KdlibError, match=message):
        small_memory(**option)


def test_a_true_pair_alone_is_nothing_to_tell_apart():
    with pytest.raises(KdlibError, match="the number of negatives must be a whole number of at least 1, not 0"):
        nce_loss(torch.zeros(2, 1), torch.tensor(0.0), 3)


# --- the objective


def test_embeddings_and_banks_start_from_the_students_seed(splits):
    setting = setting_of(splits)
    memories = [build_contrastive(replace(setting, seed=seed)).module for seed in (1, 1, 2)]
    for name in ("embed_student.weight", "embed_teacher.weight", "student_bank", "teacher_bank"):
        first, again, other = (memory.state_dict()[name] for memory in memories)
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_terms_are_cross_entropy_and_the_weighted_contrast(splits):
    setting = setting_of(splits)
    batch = batch_of(splits.train, torch.arange(6))
    logits, features = torch.randn(6, 4), {"avgpool": torch.randn(6, 16, 1, 1)}
    values = {}
    for weight in (0.8, 1.6):
        torch.manual_seed(2)
        terms = build_contrastive(setting, weight=weight)(batch, logits, features)
        assert set(terms) == {"cross_entropy", "contrastive"}
        assert torch.allclose(terms["cross_entropy"], F.cross_entropy(logits, batch.labels))
        values[weight] = terms["contrastive"].item()
    assert values[1.6] == pytest.approx(2 * values[0.8])


def test_with_logits_the_cross_entropy_gives_way_to_the_kd_loss(splits):
    setting = setting_of(splits)
    batch, logits = batch_of(splits.train, torch.arange(6)), torch.randn(6, 4)
    terms = build_contrastive(setting, alpha=0.3, temperature=2.0)(batch, logits, {"avgpool": torch.randn(6, 16, 1, 1)})
    assert torch.allclose(terms["cross_entropy"], 0.7 * F.cross_entropy(logits, batch.labels))
    with torch.no_grad():
        teacher_logits = setting.taught()(batch.images)
    assert torch.allclose(terms["kd"], 0.3 * kd_loss(logits, teacher_logits, 2.0), atol=1e-6)


def test_the_gradient_reaches_student_and_both_embeddings_and_no_teacher_parameter(splits):
    setting = setting_of(splits)
    teacher = setting.taught()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective = build_contrastive(setting)
    batch, student = batch_of(splits.train, torch.arange(8)), setting.student.train()
    seen = observe_pooled(student, batch.images)
    terms = objective(batch, seen["logits"], {"avgpool": seen["pooled"]})
    terms["contrastive"].backward()
    reached = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == {name for name, _ in student.named_parameters()} - {"fc.weight", "fc.bias"}
    assert all(p.grad.abs().sum() > 0 for p in objective.module.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_a_remembering_teacher_gives_the_loss_of_a_live_one(splits):
    setting = setting_of(splits)
    index = torch.tensor([5, 80, 3, 41])
    view = torch.tensor([0, 1, 1, 0])
    batch = TrainBatch(setting.augmentation(splits.train.inputs(index), view), splits.train.labels[index], index, view)
    losses = []
    for teacher in (setting.teacher("pooled", observe_pooled), Teacher(setting.taught(), observe=observe_pooled)):
        objective = build_contrastive(setting)
        objective.teacher = teacher
        torch.manual_seed(0)
        losses.append(objective(batch, torch.zeros(4, 4), {"avgpool": torch.ones(4, 16, 1, 1)}))
    assert torch.allclose(losses[0]["contrastive"], losses[1]["contrastive"], atol=1e-5)
    assert setting.teacher("pooled", observe_pooled).asked == 2 * len(splits.train)


def own_is_nearer(memory: ContrastiveMemory, labels: Tensor) -> float:
    """How often an image's student embedding is nearer to its own teacher embedding than to an other class' one."""
    cosines = memory.student_bank @ memory.teacher_bank.T
    others = labels[:, None] != labels[None]
    return float((cosines.diagonal()[:, None] > cosines)[others].float().mean())


def test_a_training_brings_both_embeddings_of_an_image_together(splits):
    recipe = Recipe(epochs=24, batch_size=32, learning_rate=0.05)
    make_teacher = partial(build, "small_resnet", num_classes=4, width=4, features=24, seed=7)
    teacher = fit(make_teacher, splits, CrossEntropy(), replace(recipe, epochs=4), 0, device="cpu").model()
    objective = build_contrastive(replace(setting_of(splits), teacher_model=teacher))
    assert own_is_nearer(objective.module, splits.train.labels) == pytest.approx(0.5, abs=0.1)
    make = partial(build, "small_resnet", num_classes=4, width=4, features=16, seed=0)
    history = fit(make, splits, objective, recipe, 0, device="cpu").history
    assert history[-1]["contrastive"] < 0.7 * history[0]["contrastive"]
    assert own_is_nearer(objective.module, splits.train.labels) > 0.8


def test_an_interrupted_training_goes_on_with_the_same_bits(splits):
    make = partial(build, "small_resnet", num_classes=4, width=4, features=16, seed=0)
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=0.05)
    kept = []
    whole = fit(make, splits, build_contrastive(setting_of(splits)), recipe, 0, device="cpu", after_epoch=kept.append)
    objective = build_contrastive(setting_of(splits))
    resumed = fit(make, splits, objective, recipe, 0, device="cpu", resume=kept[0])
    assert all(torch.equal(whole.states["last"][name], value) for name, value in resumed.states["last"].items())
    assert all(torch.equal(kept[-1].beside[name], value) for name, value in objective.module.state_dict().items())


def test_nets_of_other_class_counts_are_refused(splits):
    student = build("small_resnet", num_classes=3, width=4, features=16)
    with pytest.raises(KdlibError, match="the teacher has 4 outputs and the student 3"):
        build_contrastive(replace(setting_of(splits), student=student))


def test_nets_without_a_linear_layer_on_pooled_features_are_refused(splits):
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 4))

        def forward(self, images):
            return self.fc(self.avgpool(images).flatten(1))

    with pytest.raises(KdlibError, match="gives 3 features an image, but its last linear layer reads 8"):
        build_contrastive(replace(setting_of(splits), student=Deep()))
    with pytest.raises(KdlibError, match="no layer 'avgpool'"):
        build_contrastive(replace(setting_of(splits), student=nn.Sequential(nn.Flatten(), nn.Linear(768, 4))))
