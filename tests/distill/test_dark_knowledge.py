"""Rearranged dark knowledge: what it keeps of the teacher, what it spoils, and training with it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from small_nets import batch_of, setting_of, student_net, teacher_net

from kdlib.distill.dark_knowledge import (
    PermutedDarkKnowledge,
    build_shuffled,
    build_wrong_classes,
    shuffled_per_image,
    with_wrong_classes,
    wrong_classes,
)
from kdlib.distill.kd import KnowledgeDistillation, kd_loss
from kdlib.distill.teacher import Teacher
from kdlib.errors import KdlibError
from kdlib.metrics.class_similarity import sibling_mass_ratio
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe

SUPERCLASS_OF = (0, 0, 0, 1, 1, 2, 0)  # superclasses of 4, 2 and 1 classes
K = len(SUPERCLASS_OF)


def random_case(images: int = 50) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, labels and indices."""
    return 3 * torch.randn(images, K), torch.randint(K, (images,)), torch.randperm(10_000)[:images]


def shuffled(logits, labels, index):
    return shuffled_per_image(logits, labels, index, seed=3)


def moved(logits, labels, index):
    return with_wrong_classes(logits, labels, wrong_classes(SUPERCLASS_OF, seed=3))


@pytest.mark.parametrize("rearranged", [shuffled, moved])
class TestWhatBothKeep:
    def test_the_true_class_keeps_its_logit_and_the_others_exchange_theirs(self, rearranged):
        logits, labels, index = random_case()
        result = rearranged(logits, labels, index)
        for before, after, label in zip(logits.tolist(), result.tolist(), labels.tolist(), strict=True):
            assert before[label] == after[label]
            assert sorted(before) == sorted(after)

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
    def test_probability_of_the_true_class_and_entropy_are_the_teachers(self, rearranged, temperature):
        logits, labels, index = random_case()
        before = (logits.double() / temperature).log_softmax(1)
        after = (rearranged(logits, labels, index).double() / temperature).log_softmax(1)
        assert torch.allclose(before.gather(1, labels[:, None]), after.gather(1, labels[:, None]))
        assert torch.allclose((before.exp() * before).sum(1), (after.exp() * after).sum(1))

    def test_an_image_has_the_same_permutation_wherever_it_stands_and_in_every_view(self, rearranged):
        logits, labels, index = random_case()
        order = torch.randperm(len(logits))
        result = rearranged(logits, labels, index)
        assert torch.equal(rearranged(logits[order], labels[order], index[order]), result[order])
        # another view: other logits, the same places
        ranks = torch.arange(K).float().repeat(len(logits), 1)
        assert torch.equal(logits.gather(1, rearranged(ranks, labels, index).long()), result)

    def test_the_given_logits_are_left_alone(self, rearranged):
        logits, labels, index = random_case()
        before = logits.clone()
        rearranged(logits, labels, index)
        assert torch.equal(logits, before)


class TestShuffledPerImage:
    def test_equals_sorting_by_a_hash_computed_with_pythons_integers(self):
        def mixed(number: int) -> int:  # splitmix64 in unsigned arithmetic modulo 2^64
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
                number = ((number ^ (number >> shift)) * factor) % 2**64
            return number

        def signed(number: int) -> int:
            return number - 2**64 if number >= 2**63 else number

        step = 0x9E3779B97F4A7C15
        logits, labels, index = random_case()
        expected = logits.tolist()
        for row, label, place in zip(expected, labels.tolist(), index.tolist(), strict=True):
            image = mixed((mixed(5 * step % 2**64) + place * step) % 2**64)
            others = [c for c in range(K) if c != label]
            giving = sorted(others, key=lambda c, image=image: signed(mixed((image + (c + 1) * step) % 2**64)))
            values = [row[c] for c in giving]
            for c, value in zip(others, values, strict=True):
                row[c] = value
        assert shuffled_per_image(logits, labels, index, seed=5).tolist() == expected

    def test_all_permutations_are_equally_likely(self):
        count = 24_000
        logits = torch.arange(5.0).repeat(count, 1)
        result = shuffled_per_image(logits, torch.full((count,), 2), torch.arange(count), seed=0)
        found = result[:, [0, 1, 3, 4]].long().tolist()
        tally = dict.fromkeys(itertools.permutations((0, 1, 3, 4)), 0)
        for row in found:
            tally[tuple(row)] += 1
        # 24 equally likely orders, 1000 each; chi-square with 23 degrees of freedom exceeds 50 once in a thousand
        assert sum((n - 1000) ** 2 / 1000 for n in tally.values()) < 50

    def test_images_and_seeds_have_permutations_of_their_own(self):
        logits, labels = torch.arange(20.0).repeat(200, 1), torch.zeros(200, dtype=torch.long)
        rows = {tuple(row) for row in shuffled_per_image(logits, labels, torch.arange(200), seed=0).tolist()}
        assert len(rows) == 200
        others = [shuffled_per_image(logits, labels, torch.arange(200), seed=seed) for seed in (0, 1)]
        assert (others[0] == others[1]).float().mean() < 0.15  # 1 of 20 fixed, 1 of 19 of the others by chance

    def test_no_similarity_is_left_on_average(self):
        # a teacher that gives all its doubt to siblings
        labels = torch.arange(20).repeat(400)
        superclass_of = [c // 4 for c in range(20)]
        groups = torch.tensor(superclass_of)
        logits = 5.0 * (groups[labels][:, None] == groups).float()
        logits[torch.arange(len(labels)), labels] = 8
        before, chance = sibling_mass_ratio(logits, labels, superclass_of)
        after, _ = sibling_mass_ratio(shuffled_per_image(logits, labels, torch.arange(8000), 0), labels, superclass_of)
        assert before.mean() > 0.9
        assert after.mean().item() == pytest.approx(chance.mean().item(), abs=0.01)


class TestWrongClasses:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize(
        "superclass_of",
        [SUPERCLASS_OF, (0, 0, 1), (0, 1, 2), (0, 0, 0, 0, 0, 1), tuple(c // 4 for c in range(20)), (0,) * 5],
    )
    def test_each_row_deranges_the_wrong_classes_and_siblings_give_to_non_siblings_where_they_can(
        self, superclass_of, seed
    ):
        classes = len(superclass_of)
        table = wrong_classes(superclass_of, seed).tolist()
        for label, row in enumerate(table):
            assert row[label] == label
            assert sorted(row) == list(range(classes))
            assert all(row[c] != c for c in range(classes) if c != label)
            siblings = [c for c in range(classes) if superclass_of[c] == superclass_of[label] and c != label]
            others = [c for c in range(classes) if superclass_of[c] != superclass_of[label]]
            assert sum(row[c] in siblings for c in others) == min(len(siblings), len(others))

    def test_the_seed_alone_decides_and_matters(self):
        superclass_of = tuple(c // 4 for c in range(20))
        torch.manual_seed(1)
        first = wrong_classes(superclass_of, 0)
        torch.manual_seed(2)
        assert torch.equal(first, wrong_classes(superclass_of, 0))
        assert not torch.equal(first, wrong_classes(superclass_of, 1))

    def test_siblings_share_falls_to_nothing_where_they_held_everything(self):
        superclass_of = (0, 0, 0, 1, 1, 1, 1)
        logits, labels = torch.full((1, 7), -20.0), torch.tensor([0])
        logits[0, :3] = torch.tensor([3.0, 1.0, 2.0])
        result = with_wrong_classes(logits, labels, wrong_classes(superclass_of, 0))
        before, after = (sibling_mass_ratio(z, labels, superclass_of)[0].item() for z in (logits, result))
        assert before > 0.999 and after < 0.001

    def test_images_of_one_class_are_said_to_resemble_the_same_classes(self):
        ranks = torch.arange(K).float().repeat(50, 1)
        places = moved(ranks, torch.full((50,), 2), torch.arange(50))
        assert torch.equal(places, places[:1].expand(50, K))


@pytest.mark.parametrize("make", [build_shuffled, build_wrong_classes])
class TestTheObjectives:
    def test_it_is_kd_from_the_rearranged_logits(self, splits, make):
        setting = setting_of(splits, seed=4)
        objective = make(setting, alpha=0.3, temperature=2.0)
        batch, logits = batch_of(splits, torch.arange(10)), torch.randn(10, 4, requires_grad=True)
        terms = objective(batch, logits, {})
        teacher_logits = setting.taught()(batch.images)
        if make is build_shuffled:
            targets = shuffled_per_image(teacher_logits, batch.labels, batch.index, 4)
        else:
            targets = with_wrong_classes(teacher_logits, batch.labels, wrong_classes((0, 0, 1, 1), 4))
        assert torch.allclose(terms["kd"], 0.3 * kd_loss(logits, targets, 2.0), atol=1e-5)
        hard = torch.nn.functional.cross_entropy(logits, batch.labels)
        assert torch.allclose(terms["cross_entropy"], 0.7 * hard)
        sum(terms.values()).backward()
        assert (logits.grad != 0).all()
        assert all(p.grad is None and not p.requires_grad for p in setting.taught().parameters())

    def test_the_memory_is_that_of_plain_kd(self, splits, make):
        setting = setting_of(splits)
        objective = make(setting)
        assert objective.teacher is setting.teacher()
        live = PermutedDarkKnowledge(Teacher(setting.taught()), objective.permute)
        for view in (0, 1):
            batch, logits = batch_of(splits, torch.randperm(128)[:10], view), torch.randn(10, 4)
            remembered, asked = objective(batch, logits, {}), live(batch, logits, {})
            assert all(torch.allclose(remembered[name], asked[name], atol=1e-5) for name in asked)

    def test_training_lowers_it(self, splits, make):
        recipe = Recipe(epochs=5, batch_size=32, learning_rate=0.05)
        run = fit(student_net, splits, make(setting_of(splits), alpha=0.9), recipe, 0, device="cpu")
        assert run.history[-1]["kd"] < run.history[0]["kd"]

    def test_two_classes_are_too_few(self, splits, make):
        two = replace(splits.train, labels=splits.train.labels % 2, class_names=("a", "b"), superclass_of=(0, 1))
        with pytest.raises(KdlibError, match="where there are at least 3 classes, not 2"):
            make(setting_of(splits, train=two))

    def test_options_out_of_range_are_refused(self, splits, make):
        with pytest.raises(KdlibError, match="alpha must be a finite number"):
            make(setting_of(splits), alpha=2.0)
        with pytest.raises(KdlibError, match="temperature must be a finite number"):
            make(setting_of(splits), temperature=0.0)


def test_without_a_rearrangement_it_is_kd(splits):
    batch, logits = batch_of(splits, torch.arange(10)), torch.randn(10, 4)
    teacher = Teacher(teacher_net())
    unchanged = PermutedDarkKnowledge(teacher, lambda teacher_logits, batch: teacher_logits, 4.0, 0.7)
    assert unchanged(batch, logits, {}) == KnowledgeDistillation(teacher, 4.0, 0.7)(batch, logits, {})


def test_a_table_for_other_classes_is_refused():
    with pytest.raises(KdlibError, match="the table is for 3 classes, but the teacher's logits have 4"):
        with_wrong_classes(torch.zeros(2, 4), torch.tensor([0, 1]), wrong_classes((0, 0, 1), 0))
