"""Class-similarity measures against loops written from their definitions, ideal targets and scipy."""

from __future__ import annotations

import itertools
import math

import pytest
import scipy.stats
import torch

from kdlib.errors import KdlibError
from kdlib.metrics.class_similarity import (
    PRIMARY,
    class_similarity,
    nontarget_divergence,
    rank_correlation,
    sibling_mass_ratio,
    similarity_matrix,
)

SUPERCLASS_OF = (0, 0, 0, 1, 1, 2, 0)  # superclasses of 4, 2 and 1 classes
K = len(SUPERCLASS_OF)


def random_case(images: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, teacher's logits, labels and features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (images,), generator=generator)
    logits, teacher = (3 * torch.randn(images, K, generator=generator) for _ in range(2))
    return logits, teacher, labels, torch.randn(images, 9, generator=generator)


# Slow twins: plain Python, one image at a time.


def softmax(row: list[float], temperature: float) -> list[float]:
    weights = [math.exp(z / temperature) for z in row]
    return [weight / sum(weights) for weight in weights]


def entropy(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities)


def normalised(values: list[float]) -> list[float]:
    return [value / sum(values) for value in values]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def slow_class_similarity(logits, teacher_logits, labels, features, temperature) -> dict[str, float]:
    outputs = [softmax(row, temperature) for row in logits.double().tolist()]
    teacher = [softmax(row, temperature) for row in teacher_logits.double().tolist()]
    targets = labels.tolist()
    group = {y: [c for c in range(K) if SUPERCLASS_OF[c] == SUPERCLASS_OF[y]] for y in range(K)}
    siblings = {y: [c for c in group[y] if c != y] for y in range(K)}
    others = {y: [c for c in range(K) if c != y] for y in range(K)}
    pairs = [(p, y) for p, y in zip(outputs, targets, strict=True) if siblings[y]]
    several = [(p, y) for p, y in pairs if len(siblings[y]) >= 2]

    def ratio(p, y):
        return sum(p[c] for c in siblings[y]) / sum(p[c] for c in others[y])  # 1 - p[y] without cancellation

    def divergence(p, q, y):
        student, truth = (normalised([r[c] for c in others[y]]) for r in (p, q))
        return sum(t * math.log(t / s) for t, s in zip(truth, student, strict=True))

    def log_matrix(rows):
        return {
            (i, c): mean(math.log(p[c]) for p, y in zip(rows, targets, strict=True) if y == i)
            for i in set(targets)
            for c in range(K)
            if c != i
        }

    partial, conditional = [], []
    for members in {tuple(group[y]) for y in range(K)}:
        rows = [p for p, y in zip(outputs, targets, strict=True) if y in members]
        if len(members) >= 2 and rows:
            average = [mean(p[c] for p in rows) for c in members]
            partial.append(entropy(average))
            conditional.append(entropy(normalised(average)))
    ours, theirs = log_matrix(outputs), log_matrix(teacher)
    same = [float(SUPERCLASS_OF[i] == SUPERCLASS_OF[c]) for i, c in ours]

    points = features.double().tolist()
    centres = {
        y: [mean(x[d] for x, t in zip(points, targets, strict=True) if t == y) for d in range(len(points[0]))]
        for y in set(targets)
    }
    between = {(a, b): math.dist(centres[a], centres[b]) for a, b in itertools.combinations(sorted(centres), 2)}
    near = mean(d for (a, b), d in between.items() if SUPERCLASS_OF[a] == SUPERCLASS_OF[b])
    far = mean(d for (a, b), d in between.items() if SUPERCLASS_OF[a] != SUPERCLASS_OF[b])
    spread = math.sqrt(mean(math.dist(x, centres[y]) ** 2 for x, y in zip(points, targets, strict=True)))
    return {
        "sibling_mass_ratio": mean(ratio(p, y) for p, y in pairs),
        "sibling_mass_ratio_chance": mean(len(siblings[y]) / (K - 1) for _, y in pairs),
        "full_entropy": mean(entropy(p) for p in outputs),
        "partial_entropy": mean(entropy([p[c] for c in group[y]]) for p, y in pairs),
        "conditional_entropy": mean(entropy(normalised([p[c] for c in group[y]])) for p, y in pairs),
        "sibling_preference_entropy": mean(
            entropy(normalised([p[c] for c in siblings[y]])) / math.log(len(siblings[y])) for p, y in several
        ),
        "mean_output_partial_entropy": mean(partial),
        "mean_output_conditional_entropy": mean(conditional),
        "superclass_rank_correlation": scipy.stats.spearmanr(list(ours.values()), same).statistic,
        "teacher_rank_correlation": scipy.stats.spearmanr(list(ours.values()), list(theirs.values())).statistic,
        "teacher_sibling_mass_ratio": mean(ratio(p, y) for p, y in zip(teacher, targets, strict=True) if siblings[y]),
        "nontarget_divergence": mean(divergence(*row) for row in zip(outputs, teacher, targets, strict=True)),
        "sibling_distance": near,
        "nonsibling_distance": far,
        "sibling_distance_ratio": near / far,
        "within_class_spread": spread,
        "relative_spread": spread / mean(between.values()),
        "images": len(targets),
        "images_without_siblings": len(targets) - len(pairs),
        "images_without_sibling_preference": len(targets) - len(several),
    }


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_measure_equals_its_slow_twin(seed, temperature):
    logits, teacher, labels, features = random_case(seed=seed)
    found = class_similarity(logits, labels, SUPERCLASS_OF, teacher, features, temperature)
    expected = slow_class_similarity(logits, teacher, labels, features, temperature)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_classes_without_images_are_left_out():
    logits, teacher, labels, features = random_case()
    labels = torch.where((labels == 1) | (labels == 4), 0, labels)
    found = class_similarity(logits, labels, SUPERCLASS_OF, teacher, features)
    assert found == pytest.approx(slow_class_similarity(logits, teacher, labels, features, 1.0), rel=1e-9)


def test_by_hand():
    # p = (1/2, 1/4, 1/8, 1/8), y = 0, S(y) = {0, 1, 2}.
    logits = torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log()
    found = class_similarity(logits, torch.tensor([0]), (0, 0, 0, 1))
    assert found["sibling_mass_ratio"] == pytest.approx((1 / 4 + 1 / 8) / (1 / 2))
    assert found["sibling_mass_ratio_chance"] == pytest.approx(2 / 3)
    assert found["full_entropy"] == pytest.approx(1.75 * math.log(2))
    assert found["partial_entropy"] == pytest.approx((1 / 2 + 2 / 4 + 3 / 8) * math.log(2))
    assert found["conditional_entropy"] == pytest.approx(entropy([4 / 7, 2 / 7, 1 / 7]))
    assert found["sibling_preference_entropy"] == pytest.approx(entropy([2 / 3, 1 / 3]) / math.log(2))


# Targets with known answers.


def smoothed_targets(classes: int, alpha: float, members: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """Logits that give exactly the label-smoothing targets, for the classes of one superclass of `members` classes."""
    targets = torch.full((members, classes), alpha / classes, dtype=torch.float64)
    targets[torch.arange(members), torch.arange(members)] += 1 - alpha
    return targets.log(), torch.arange(members), tuple(int(c >= members) for c in range(classes))


# K = 1000, alpha = 0.1: the table of section 3.2 of the paper's file.
@pytest.mark.parametrize("members, mean_output", [(5, 1.544), (19, 2.749), (118, 4.434)])
def test_ideal_label_smoothing_reads_high_or_low_by_definition(members, mean_output):
    found = class_similarity(*smoothed_targets(1000, 0.1, members))
    assert found["full_entropy"] == pytest.approx(1.015, abs=5e-4)
    assert 0.004 <= round(found["conditional_entropy"], 3) <= 0.13
    assert found["sibling_preference_entropy"] == pytest.approx(1)
    assert 0.095 <= found["partial_entropy"] <= 0.205
    assert found["mean_output_partial_entropy"] == pytest.approx(mean_output, abs=5e-4)
    assert found["mean_output_conditional_entropy"] == pytest.approx(math.log(members))
    # R alone says what happened: siblings are like any wrong class.
    assert found[PRIMARY] == pytest.approx((members - 1) / 999)
    assert found[PRIMARY] == pytest.approx(found["sibling_mass_ratio_chance"])


def test_the_ends_of_the_ranges_of_the_table():
    few, many = (class_similarity(*smoothed_targets(1000, 0.1, members)) for members in (5, 118))
    assert few["conditional_entropy"] == pytest.approx(0.004, abs=1e-3)
    assert many["conditional_entropy"] == pytest.approx(0.13, abs=6e-3)
    assert few["partial_entropy"] == pytest.approx(0.10, abs=5e-3)
    assert many["partial_entropy"] == pytest.approx(0.20, abs=5e-3)


def test_uniform_outputs_are_at_chance():
    labels = torch.arange(K)
    ratio, chance = sibling_mass_ratio(torch.zeros(K, K), labels, SUPERCLASS_OF)
    assert torch.allclose(ratio, chance)
    assert chance.tolist() == pytest.approx([3 / 6, 3 / 6, 3 / 6, 1 / 6, 1 / 6, 0, 3 / 6])


def test_all_wrong_mass_on_siblings_is_one_and_off_them_zero():
    labels = torch.zeros(2, dtype=torch.long)
    logits = torch.tensor([[5.0, 3.0, 3.0, -900.0, -900.0], [5.0, -900.0, -900.0, 3.0, 3.0]])
    ratio, _ = sibling_mass_ratio(logits, labels, (0, 0, 0, 1, 1))
    assert ratio.tolist() == [1, 0]


def test_a_network_that_is_certain_still_has_a_ratio():
    certain = torch.tensor([[400.0, 2.0, 1.0, 0.0, 0.0]])  # p_y is exactly 1 in float64
    assert torch.softmax(certain.double(), 1)[0, 0] == 1
    assert 1e-170 > torch.softmax(certain.double(), 1)[0, 1] > 0
    modest = torch.tensor([[0.0, 2.0, 1.0, 0.0, 0.0]])
    case = torch.tensor([0]), (0, 0, 0, 1, 1)
    for key in (PRIMARY, "sibling_preference_entropy"):
        assert class_similarity(certain, *case)[key] == pytest.approx(class_similarity(modest, *case)[key])
    far = torch.tensor([[4000.0, 2.0, 1.0, 0.0, 0.0]])  # and where every other probability underflows to 0
    assert class_similarity(far, *case)[PRIMARY] == pytest.approx(class_similarity(modest, *case)[PRIMARY])
    assert nontarget_divergence(far, modest, case[0]).item() == pytest.approx(0, abs=1e-12)
    assert all(math.isfinite(value) for value in class_similarity(far, *case).values())


def test_superclasses_of_one_class_are_left_out_and_counted():
    # As Fashion-MNIST's trouser and bag: class 5 has no sibling; 3 and 4 have one each, which allows no preference.
    logits, _, _, _ = random_case(images=6)
    labels = torch.tensor([0, 5, 3, 5, 4, 1])
    found = class_similarity(logits, labels, SUPERCLASS_OF)
    assert (found["images"], found["images_without_siblings"]) == (6, 2)
    assert found["images_without_sibling_preference"] == 4
    keep = labels != 5
    rest = class_similarity(logits[keep], labels[keep], SUPERCLASS_OF)
    for key in (PRIMARY, "partial_entropy", "conditional_entropy", "sibling_preference_entropy"):
        assert found[key] == pytest.approx(rest[key])


def test_no_siblings_at_all_gives_nan_not_a_number_made_up():
    found = class_similarity(torch.randn(3, 3), torch.arange(3), (0, 1, 2))
    for key in (PRIMARY, "partial_entropy", "mean_output_partial_entropy", "superclass_rank_correlation"):
        assert math.isnan(found[key])
    assert found["images_without_siblings"] == 3
    assert math.isfinite(found["full_entropy"])


# Invariants.


def test_a_constant_added_to_the_logits_changes_nothing():
    logits, teacher, labels, _ = random_case()
    logits, teacher = logits.double(), teacher.double()
    shifted = class_similarity(logits + 7, labels, SUPERCLASS_OF, teacher - 3)
    assert shifted == pytest.approx(class_similarity(logits, labels, SUPERCLASS_OF, teacher), rel=1e-9)


def test_temperature_is_a_division_of_the_logits():
    logits, teacher, labels, _ = random_case()
    assert class_similarity(logits, labels, SUPERCLASS_OF, teacher, temperature=4.0) == class_similarity(
        logits / 4, labels, SUPERCLASS_OF, teacher / 4
    )


def test_order_of_images_and_names_of_classes_change_nothing():
    logits, teacher, labels, features = random_case()
    expected = class_similarity(logits, labels, SUPERCLASS_OF, teacher, features)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))
    shuffled = class_similarity(logits[order], labels[order], SUPERCLASS_OF, teacher[order], features[order])
    assert shuffled == pytest.approx(expected, rel=1e-9)
    renamed = torch.randperm(K, generator=torch.Generator().manual_seed(4))  # class renamed[i] becomes class i
    superclass_of = tuple(SUPERCLASS_OF[c] for c in renamed.tolist())
    found = class_similarity(
        logits[:, renamed], renamed.argsort()[labels], superclass_of, teacher[:, renamed], features
    )
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_teacher_is_like_itself():
    logits, _, labels, _ = random_case()
    found = class_similarity(logits, labels, SUPERCLASS_OF, logits)
    assert found["nontarget_divergence"] == 0
    assert found["teacher_rank_correlation"] == pytest.approx(1)
    assert found["teacher_sibling_mass_ratio"] == found[PRIMARY]


def test_nontarget_divergence_ignores_the_target():
    logits, teacher, labels, _ = random_case()
    logits, teacher = logits.double(), teacher.double()
    surer = logits.clone()
    surer[torch.arange(len(labels)), labels] += 5
    assert torch.allclose(nontarget_divergence(surer, teacher, labels), nontarget_divergence(logits, teacher, labels))
    assert (nontarget_divergence(logits, teacher, labels) > 0).all()


def test_similarity_matrix_rows_are_class_means():
    logits, _, labels, _ = random_case()
    matrix = similarity_matrix(logits, labels)
    for row in range(K):
        expected = torch.log_softmax(logits[labels == row].double(), 1).mean(0)
        assert torch.allclose(matrix[row], expected, rtol=1e-12)
    assert similarity_matrix(logits, labels.clamp(max=3))[5].isnan().all()


@pytest.mark.parametrize("ties", [1, 5, 1000])
def test_rank_correlation_is_scipys(ties):
    generator = torch.Generator().manual_seed(ties)
    a, b = (torch.randint(0, ties + 1, (300,), generator=generator).double() for _ in range(2))
    b += a / 2
    assert rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_rank_correlation_of_what_is_not_finite_is_refused(bad):
    for pair in ([1.0, bad, 2.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [1.0, 2.0, bad]):
        with pytest.raises(KdlibError, match="a rank correlation is of finite numbers; leave out the pairs"):
            rank_correlation(*map(torch.tensor, pair))
    with pytest.raises(KdlibError, match="of two rows of one length"):
        rank_correlation(torch.rand(2), torch.rand(3))


def test_rank_correlation_of_a_constant_is_not_a_number():
    assert math.isnan(rank_correlation(torch.ones(4), torch.arange(4)))


# What is refused.


def test_refusals():
    logits, teacher, labels, features = random_case()
    for arguments, message in [
        ((logits, labels[:-1], SUPERCLASS_OF), "labels must be"),
        ((logits, labels.float(), SUPERCLASS_OF), "labels must be"),
        ((logits, labels + 1, SUPERCLASS_OF), f"label {K} is not one of the classes 0 to {K - 1}; give the"),
        ((logits, labels, SUPERCLASS_OF[:-1]), "superclass_of names 6 classes, .* give each class one"),
        ((logits[:, :1], labels * 0, (0,)), "at least two classes, not of 1"),
        ((logits[0], labels, SUPERCLASS_OF), "shape"),
        ((logits * math.nan, labels, SUPERCLASS_OF), "not all finite"),
        ((logits, labels, SUPERCLASS_OF, teacher[:, :-1]), "teacher's logits"),
        ((logits, labels, SUPERCLASS_OF, None, features[:-1]), "features must be"),
        ((logits[:0], labels[:0], SUPERCLASS_OF), "labels must be"),
    ]:
        with pytest.raises(KdlibError, match=message):
            class_similarity(*arguments)
    for temperature in (0, -1.0, math.inf):
        with pytest.raises(KdlibError, match="temperature must be"):
            class_similarity(logits, labels, SUPERCLASS_OF, temperature=temperature)


def test_values_that_differ_in_their_last_bits_are_ties_for_the_rank_correlation():
    # Unequal class counts: the means of equal rows then differ in their last bits.
    superclass_of = [index // 4 for index in range(24)]
    labels = torch.randint(0, 24, (500,), generator=torch.Generator().manual_seed(0))
    groups = torch.tensor(superclass_of)
    siblings = (groups[:, None] == groups) & ~torch.eye(24, dtype=torch.bool)
    targets = (0.9 * torch.eye(24, dtype=torch.float64) + 0.1 * siblings / 3).clamp(min=1e-4)[labels]
    assert class_similarity(targets.log(), labels, superclass_of)["superclass_rank_correlation"] == pytest.approx(1)
    even = (0.9 * torch.eye(24, dtype=torch.float64) + 0.1 / 24)[labels]
    assert math.isnan(class_similarity(even.log(), labels, superclass_of)["superclass_rank_correlation"])


def test_a_label_that_is_no_class_is_refused_by_the_divergence_too():
    with pytest.raises(KdlibError, match="label 9 is not one of the classes 0 to 3"):
        nontarget_divergence(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([9]))
