"""SSKD: turned images, the self-supervised head and the ranked losses, against twins written from the definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.data.augment import Augmentation
from kdlib.distill import TrainBatch, self_supervision
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import kd_loss
from kdlib.distill.penultimate import observe_pooled
from kdlib.distill.self_supervision import (
    build_self_supervision,
    kept_rows,
    make_head,
    observe_rotations,
    ranked_kd_loss,
    rotations,
    similarities,
    teacher_features,
    train_head,
)
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe


def slow_similarities(embeddings: Tensor) -> list[list[float]]:
    """Cosine of every turned image with every original, one pair after another."""
    rows = embeddings.tolist()
    originals, turned = rows[: len(rows) // 4], rows[len(rows) // 4 :]

    def cosine(a: list[float], b: list[float]) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))

    return [[cosine(a, b) for b in originals] for a in turned]


def slow_kept(scores: list[list[float]], targets: list[int], keep: float) -> list[int]:
    """Numbers of the right rows and of the int(keep * wrong) wrong ones with the smallest error."""
    ranked = []
    for number, (row, target) in enumerate(zip(scores, targets, strict=True)):
        better = sorted(row, reverse=True).index(row[target])
        ranked.append((better, number))
    right = [number for error, number in ranked if error == 0]
    wrong = [number for error, number in sorted(ranked) if error > 0]
    return sorted(right + wrong[: int(keep * len(wrong))])


def slow_kl(student: list[float], teacher: list[float], temperature: float) -> float:
    """T^2 sum p log(p/q) of one row, in floats."""
    p, q = ([math.exp(x / temperature) for x in row] for row in (teacher, student))
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def slow_ranked(student, teacher, targets: list[int], temperature: float, keep: float) -> float:
    rows = slow_kept(teacher, targets, keep)
    return sum(slow_kl(student[row], teacher[row], temperature) for row in rows) / len(rows)


def setting_of(splits, seed: int = 0) -> Setting:
    student = build("small_resnet", num_classes=4, width=4, features=16, seed=seed)
    teacher = build("small_resnet", num_classes=4, width=4, features=24, seed=7)
    return Setting(student, splits.train, Augmentation("flip"), seed, teacher)


def batch_of(setting: Setting, index: Tensor, view: Tensor | None = None) -> TrainBatch:
    view = torch.zeros_like(index) if view is None else view
    images = setting.augmentation(setting.train.inputs(index), view)
    return TrainBatch(images, setting.train.labels[index], index, view)


# --- pictures


def test_rotations_are_the_images_and_three_quarter_turns_of_each():
    images = torch.rand(3, 2, 4, 4)
    turned = rotations(images)
    assert torch.equal(turned[:3], images)
    for turns in range(4):
        for number in range(3):
            one = turned[3 * turns + number]
            for row in range(4):
                for column in range(4):
                    # a counter-clockwise quarter turn takes the pixel (r, c) to (3 - c, r)
                    r, c = row, column
                    for _ in range(turns):
                        r, c = 3 - c, r
                    assert torch.equal(one[:, r, c], images[number, :, row, column])


def test_turned_images_keep_the_memory_format():
    images = torch.rand(2, 3, 4, 4)
    assert rotations(images).is_contiguous()
    assert rotations(images.contiguous(memory_format=torch.channels_last)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_oblong_images_are_refused():
    with pytest.raises(KdlibError, match="must be square, not 4x6 pixels"):
        rotations(torch.rand(1, 3, 4, 6))


def test_a_teacher_is_asked_about_all_four_turns():
    model = build("small_resnet", num_classes=4, width=4, features=8).eval()
    images = torch.rand(3, 3, 16, 16)
    seen = observe_rotations(model, images)
    for turns in range(4):
        alone = observe_pooled(model, torch.rot90(images, turns, (2, 3)))
        logits = seen["logits"] if turns == 0 else seen["turned_logits"][:, turns - 1]
        assert torch.allclose(logits, alone["logits"], atol=1e-5)
        assert torch.allclose(seen["pooled"][:, turns], alone["pooled"], atol=1e-5)


# --- losses


def test_similarities_equal_their_definition():
    embeddings = torch.randn(12, 5, dtype=torch.float64)
    assert torch.allclose(similarities(embeddings), torch.tensor(slow_similarities(embeddings), dtype=torch.float64))


def test_similarities_by_hand():
    # two originals along the axes; image 0 turned once lies half-way, image 1 turned once on the first axis
    embeddings = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [5.0, 0.0]]).repeat(2, 1)[:4]
    embeddings = torch.cat([embeddings, torch.ones(4, 2)])
    half = math.sqrt(0.5)
    assert torch.allclose(similarities(embeddings)[:2], torch.tensor([[half, half], [1.0, 0.0]]))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.5, 0.75, 1.0])
def test_kept_rows_equal_their_definition(keep):
    scores, targets = torch.randn(40, 6), torch.randint(6, (40,))
    expected = slow_kept(scores.tolist(), targets.tolist(), keep)
    assert kept_rows(scores, targets, keep).nonzero().flatten().tolist() == expected


def test_kept_rows_by_hand():
    # errors at target 0: 0, 3, 1, 2, 1; of the four wrong rows int(0.75 * 4) = 3 stay, the one with error 3 goes
    order = [[4, 3, 2, 1], [1, 2, 3, 4], [3, 4, 1, 2], [2, 3, 4, 1], [3, 1, 4, 2]]
    kept = kept_rows(torch.tensor(order).float(), torch.zeros(5, dtype=torch.long), 0.75)
    assert kept.tolist() == [True, False, True, True, True]


def test_rows_that_are_right_always_stay():
    scores = torch.eye(5)
    assert kept_rows(scores, torch.arange(5), keep=0.0).all()


def test_one_row_stays_where_all_are_wrong():
    scores = torch.tensor([[0.0, 1.0, 2.0], [1.0, 2.0, 0.0]])
    assert kept_rows(scores, torch.tensor([0, 0]), keep=0.0).tolist() == [False, True]


@pytest.mark.parametrize("keep", [0.5, 1.0])
def test_the_ranked_loss_equals_its_definition(keep):
    student, teacher, targets = torch.randn(30, 6), torch.randn(30, 6), torch.randint(6, (30,))
    expected = slow_ranked(student.double().tolist(), teacher.double().tolist(), targets.tolist(), 0.5, keep)
    assert ranked_kd_loss(student, teacher, targets, 0.5, keep).item() == pytest.approx(expected, rel=1e-5)


def test_a_row_left_out_pushes_nothing():
    student = torch.randn(20, 6, requires_grad=True)
    teacher, targets = torch.randn(20, 6), torch.randint(6, (20,))
    ranked_kd_loss(student, teacher, targets, 4.0, keep=0.5).backward()
    assert torch.equal(student.grad.abs().sum(1) > 0, kept_rows(teacher, targets, 0.5))


# --- stage 1


def turned_features(count: int = 96, width: int = 12) -> Tensor:
    """An image's features are its own pattern, to which each turn adds the same, larger one, and a little noise."""
    own, turn = torch.randn(count, 1, width), 3 * torch.randn(1, 4, width)
    return own + turn + 0.1 * torch.randn(count, 4, width)


def recognised(head, features: Tensor) -> float:
    """How many turned images have their own original as the nearest."""
    with torch.no_grad():
        cosines = similarities(head(features.transpose(0, 1).flatten(0, 1)))
    return float((cosines.argmax(1) == torch.arange(len(features)).repeat(3)).float().mean())


def test_the_head_learns_to_recognise_turned_images():
    features = turned_features()
    before, after = make_head(12, seed=0), train_head(features, batch_size=32)
    assert recognised(before, features) < 0.5
    assert recognised(after, features) > recognised(before, features) + 0.3


def test_the_head_depends_on_its_features_alone():
    features = turned_features(20)
    state = torch.get_rng_state()
    first = train_head(features, epochs=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    again = train_head(features, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not any(p.requires_grad for p in first.parameters())


def test_the_first_step_of_the_head_equals_its_definition():
    # one epoch of one batch: weight - 0.1 * (gradient + decay * weight), the gradient by autograd of the slow loss
    features = turned_features(6)
    trained = train_head(features, epochs=1, batch_size=6)
    head = make_head(12, seed=0)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    embeddings = head(torch.stack([features[number, turn] for turn in range(4) for number in order]))
    losses = []
    for turned in range(18):
        cosines = torch.stack([F.cosine_similarity(embeddings[6 + turned], embeddings[own], dim=0) for own in range(6)])
        losses.append(cosines.logsumexp(0) - cosines[turned % 6])
    torch.stack(losses).mean().backward()
    for ours, start in zip(trained.parameters(), head.parameters(), strict=True):
        assert torch.allclose(ours, start.detach() - 0.1 * (start.grad + 5e-4 * start.detach()), atol=1e-6)


def test_the_learning_rate_falls_after_each_third_of_the_epochs(monkeypatch):
    rates = []

    class Watched(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            return super().step()

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    train_head(turned_features(6), epochs=6, batch_size=6)
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_features_of_stage_1_are_the_teachers_of_one_drawn_view(splits):
    setting = setting_of(splits)
    teacher = setting.teacher("turned", observe_rotations)
    features = teacher_features(teacher, splits.train, setting.augmentation)
    assert features.shape == (128, 4, 24)
    views = [
        teacher.answer(batch_of(setting, torch.arange(128), torch.full((128,), view)))["pooled"] for view in (0, 1)
    ]
    which = [torch.isclose(features, view, atol=1e-5).flatten(1).all(1) for view in views]
    assert (which[0] | which[1]).all() and 40 < which[0].sum() < 88
    assert torch.equal(teacher_features(teacher, splits.train, setting.augmentation, every=3), features[::3])


def test_a_streamed_folder_is_augmented_as_it_is_read(splits):
    class Stream:
        device, asked = torch.device("cpu"), []

        def __len__(self):
            return 40

        def training_batches(self, batches, augmentation, seed, epoch):
            for index in batches:
                self.asked.append((augmentation, index))
                yield splits.train.images[index], splits.train.labels[index], index

    setting = setting_of(splits)
    teacher = Teacher(setting.taught(), observe=observe_rotations)
    features = teacher_features(teacher, Stream(), Augmentation("resized_crop"), every=2)
    assert [name for name, _ in Stream.asked] == ["resized_crop"]
    assert torch.equal(Stream.asked[0][1], torch.arange(0, 40, 2))
    assert torch.equal(features, teacher.answer(batch_of(setting, torch.arange(0, 40, 2)))["pooled"])


def test_the_head_is_made_once_for_all_students_and_does_not_depend_on_their_seeds(splits):
    setting = setting_of(splits)
    first = build_self_supervision(setting, epochs=1)
    second = build_self_supervision(replace(setting, seed=5), epochs=1)  # shares the setting's memory
    assert second.teacher_head is first.teacher_head and second.teacher is first.teacher
    assert first.teacher.asked == 2 * 128  # both views, once
    apart = build_self_supervision(setting_of(splits, seed=9), epochs=1)
    parameters = zip(first.teacher_head.parameters(), apart.teacher_head.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in parameters)


def test_a_students_head_starts_from_the_students_seed(splits):
    setting = setting_of(splits)
    heads = [build_self_supervision(replace(setting, seed=seed), epochs=1).module[0].weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_of_very_many_images_evenly_spaced_ones_teach_the_head(splits, monkeypatch):
    seen = []
    monkeypatch.setattr(self_supervision, "_MOST_FEATURES", 40 * 4 * 24)
    monkeypatch.setattr(
        self_supervision, "train_head", lambda features, epochs: seen.append(features) or make_head(24, 0)
    )
    build_self_supervision(setting_of(splits))
    assert len(seen[0]) == 32  # every fourth of 128, as every third would be 43 of at most 40


# --- stage 2


def test_terms_equal_their_definitions(splits):
    setting = setting_of(splits)
    objective = build_self_supervision(setting, logits=0.9, epochs=2)
    batch = batch_of(setting, torch.tensor([3, 9, 70, 100, 101]), torch.tensor([0, 1, 0, 1, 1]))
    logits, pooled = torch.randn(20, 4), torch.randn(20, 16)
    terms = objective(batch, logits, {"avgpool": pooled.view(20, 16, 1, 1)})
    with torch.no_grad():
        answers = [observe_pooled(setting.taught(), torch.rot90(batch.images, turns, (2, 3))) for turns in range(4)]
        heads = objective.module(pooled), objective.teacher_head(torch.cat([answer["pooled"] for answer in answers]))
    cosines = [slow_similarities(embeddings.double()) for embeddings in heads]
    turned = torch.cat([answer["logits"] for answer in answers[1:]]).double().tolist()
    labels = batch.labels.tolist()
    expected = {
        "cross_entropy": F.cross_entropy(logits[:5], batch.labels).item(),
        "kd": 0.9 * kd_loss(logits[:5], answers[0]["logits"], 4.0).item(),
        "similarity": 10 * slow_ranked(*cosines, [0, 1, 2, 3, 4] * 3, 0.5, 0.75),
        "turned_kd": 2.7 * slow_ranked(logits[5:].double().tolist(), turned, labels * 3, 4.0, 1.0),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_without_logits_the_originals_learn_from_labels_alone(splits):
    setting = setting_of(splits)
    objective = build_self_supervision(setting, epochs=1)
    logits = torch.randn(20, 4)
    terms = objective(batch_of(setting, torch.arange(5)), logits, {"avgpool": torch.randn(20, 16, 1, 1)})
    assert set(terms) == {"cross_entropy", "similarity", "turned_kd"}


def test_a_student_whose_head_is_the_teachers_has_no_similarity_left_to_learn(splits):
    setting = replace(setting_of(splits), student=setting_of(splits).teacher_model)
    objective = build_self_supervision(setting, logits=0.9, epochs=1)
    objective.module = objective.teacher_head
    batch = batch_of(setting, torch.arange(6))
    with torch.no_grad():
        seen = observe_pooled(setting.taught(), objective.student_images(batch.images))
    terms = objective(batch, seen["logits"], {"avgpool": seen["pooled"]})
    for name in ("similarity", "turned_kd", "kd"):
        assert terms[name].item() == pytest.approx(0, abs=1e-5)


def test_the_gradient_reaches_student_and_its_head_and_nothing_of_the_teacher(splits):
    setting = setting_of(splits)
    before = {name: value.clone() for name, value in setting.taught().state_dict().items()}
    objective = build_self_supervision(setting, epochs=1)
    batch, student = batch_of(setting, torch.arange(8)), setting.student.train()
    seen = observe_pooled(student, objective.student_images(batch.images))
    sum(objective(batch, seen["logits"], {"avgpool": seen["pooled"]}).values()).backward()
    for parameter in (*student.parameters(), *objective.module.parameters()):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    for parameter in (*setting.taught().parameters(), *objective.teacher_head.parameters()):
        assert parameter.grad is None and not parameter.requires_grad
    assert all(torch.equal(before[name], value) for name, value in setting.taught().state_dict().items())


def test_a_remembering_teacher_gives_the_terms_of_a_live_one(splits):
    setting = setting_of(splits)
    objective = build_self_supervision(setting, logits=0.9, epochs=1)
    batch = batch_of(setting, torch.tensor([5, 80, 3, 41]), torch.tensor([0, 1, 1, 0]))
    logits, features = torch.randn(16, 4), {"avgpool": torch.randn(16, 16, 1, 1)}
    remembered = objective(batch, logits, features)
    objective.teacher = Teacher(setting.taught(), observe=observe_rotations)
    live = objective(batch, logits, features)
    assert {name: term.item() for name, term in remembered.items()} == pytest.approx(
        {name: term.item() for name, term in live.items()}, rel=1e-4
    )


def test_a_training_lowers_what_the_student_lacks_of_its_teacher(splits):
    setting = setting_of(splits)
    make_teacher = partial(build, "small_resnet", num_classes=4, width=4, features=24, seed=7)
    recipe = Recipe(epochs=16, batch_size=32, learning_rate=0.05)
    teacher = fit(make_teacher, splits, CrossEntropy(), replace(recipe, epochs=12), 0, device="cpu").model()
    objective = build_self_supervision(replace(setting, teacher_model=teacher))
    make = partial(build, "small_resnet", num_classes=4, width=4, features=16, seed=0)
    history = fit(make, splits, objective, recipe, 0, device="cpu").history
    for name in ("similarity", "turned_kd", "cross_entropy"):
        assert history[-1][name] < 0.6 * history[0][name]


def test_an_interrupted_training_goes_on_with_the_same_bits(splits):
    make = partial(build, "small_resnet", num_classes=4, width=4, features=16, seed=0)
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=0.05)
    kept = []
    objective = build_self_supervision(setting_of(splits), epochs=2)
    whole = fit(make, splits, objective, recipe, 0, device="cpu", after_epoch=kept.append)
    objective = build_self_supervision(setting_of(splits), epochs=2)
    resumed = fit(make, splits, objective, recipe, 0, device="cpu", resume=kept[0])
    assert all(torch.equal(whole.states["last"][name], value) for name, value in resumed.states["last"].items())
    assert all(torch.equal(kept[-1].beside[name], value) for name, value in objective.module.state_dict().items())


def test_nets_of_other_class_counts_are_refused(splits):
    student = build("small_resnet", num_classes=3, width=4, features=16)
    with pytest.raises(KdlibError, match="the teacher has 4 outputs and the student 3"):
        build_self_supervision(replace(setting_of(splits), student=student))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"logits": -1}, "logits must be a finite number at least 0, not -1"),
        ({"similarity": float("nan")}, "similarity must be a finite number at least 0, not nan"),
        ({"turned": "x"}, "turned must be a finite number at least 0, not 'x'"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
    ],
)
def test_options_out_of_range_are_refused(splits, option, message):
    with pytest.raises(KdlibError, match=message):
        build_self_supervision(setting_of(splits), **{"epochs": 1, **option})
