"""Each wrong distillation loss is wrong in exactly the way its docstring says, and the checks find it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.distill.kd import kd_loss
from kdlib.distill.mistakes import losses as gallery
from kdlib.distill.mistakes import teachers as supply
from kdlib.distill.mistakes.checks import (
    definition,
    definition_gradient,
    diagnose,
    diagnose_supply,
    diagnose_total,
    failures,
    gradient,
)
from kdlib.distill.mistakes.losses import SOFT_MISTAKES, TOTAL_MISTAKES
from kdlib.distill.mistakes.teachers import SUPPLY_MISTAKES
from kdlib.errors import KdlibError

B, K = 6, 5
TEMPERATURES = (1.0, 2.0, 4.0)


def logits(seed: int = 1, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    first, second = scale * torch.randn(2, B, K, generator=draw, dtype=torch.float64)
    return first, second


def right_gradient(z_s: Tensor, z_t: Tensor, temperature: float) -> Tensor:
    return temperature / len(z_s) * ((z_s / temperature).softmax(1) - (z_t / temperature).softmax(1))


def numerical_gradient(loss, z_s: Tensor, z_t: Tensor, temperature: float, step: float = 1e-5) -> Tensor:
    slopes = torch.zeros_like(z_s)
    for i in range(B):
        for k in range(K):
            nudge = torch.zeros_like(z_s)
            nudge[i, k] = step
            slopes[i, k] = (loss(z_s + nudge, z_t, temperature) - loss(z_s - nudge, z_t, temperature)) / (2 * step)
    return slopes


class TestTheYardstick:
    """What the gallery is compared with: the definition in plain loops."""

    def test_by_hand(self):
        # p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 log(3/2) + 1/4 log(1/2)
        by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
        z_s, z_t = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
        assert definition(z_s, z_t, 1.0) == pytest.approx(by_hand)
        # at T = 2 the teacher's odds are sqrt(3) : 1
        p = math.sqrt(3) / (1 + math.sqrt(3))
        softened = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
        assert definition(z_s, z_t, 2.0) == pytest.approx(4 * softened, rel=1e-6)

    def test_agrees_with_pytorch_in_batchmean(self):
        z_s, z_t = logits()
        for t in TEMPERATURES:
            value = F.kl_div((z_s / t).log_softmax(1), (z_t / t).softmax(1), reduction="batchmean") * t**2
            assert definition(z_s, z_t, t) == pytest.approx(float(value))

    def test_its_gradient_is_the_finite_difference(self):
        z_s, z_t = logits()
        for t in TEMPERATURES:
            assert torch.allclose(
                definition_gradient(z_s, z_t, t), numerical_gradient(definition, z_s, z_t, t), atol=1e-8
            )

    def test_a_gradient_that_does_not_reach_the_student_is_zero(self):
        z_s, z_t = logits()
        assert not gradient(lambda s, t, temperature: t.sum(), z_s, z_t, 1.0).any()


# The wrong gradient over the right one, by temperature
RATIOS = {
    "mean_over_classes": lambda t: 1 / K,
    "sum_over_batch": lambda t: B,
    "doubled": lambda t: 2,
    "temperature_squared_missing": lambda t: 1 / t**2,
    "temperature_not_squared": lambda t: 1 / t,
}


class TestScaleMistakes:
    """Right direction, wrong size: the ratio to the right gradient is the whole story."""

    @pytest.mark.parametrize("name", RATIOS)
    @pytest.mark.parametrize("temperature", TEMPERATURES)
    def test_value_and_gradient_are_off_by_exactly_this_factor(self, name, temperature):
        z_s, z_t = logits()
        loss, ratio = SOFT_MISTAKES[name].function, RATIOS[name](temperature)
        assert float(loss(z_s, z_t, temperature)) == pytest.approx(ratio * definition(z_s, z_t, temperature))
        right = right_gradient(z_s, z_t, temperature)
        assert torch.allclose(gradient(loss, z_s, z_t, temperature), ratio * right)

    def test_the_default_reduction_of_pytorch_is_the_mistake(self):
        z_s, z_t = logits()
        with pytest.warns(UserWarning, match="batchmean"):
            default = nn.KLDivLoss()((z_s / 4).log_softmax(1), (z_t / 4).softmax(1)) * 16
        assert float(gallery.mean_over_classes(z_s, z_t, 4.0)) == pytest.approx(float(default))

    def test_a_sum_changes_its_weight_in_a_smaller_batch(self):
        z_s, z_t = logits()
        whole, half = (float(gallery.sum_over_batch(z_s[:n], z_t[:n], 2.0)) for n in (B, B // 2))
        rest = float(gallery.sum_over_batch(z_s[B // 2 :], z_t[B // 2 :], 2.0))
        assert whole == pytest.approx(half + rest)

    @pytest.mark.parametrize(("name", "power"), [("temperature_squared_missing", 2), ("temperature_not_squared", 1)])
    def test_without_the_square_the_gradient_falls_with_the_temperature(self, name, power):
        z_s, z_t = logits()
        norms = [float(gradient(SOFT_MISTAKES[name].function, z_s, z_t, t).norm()) for t in (200.0, 400.0)]
        assert norms[0] / norms[1] == pytest.approx(2**power, rel=0.01)
        right = [float(gradient(kd_loss, z_s, z_t, t).norm()) for t in (200.0, 400.0)]
        assert right[0] / right[1] == pytest.approx(1, rel=0.01)


class TestWrongTargets:
    def test_the_reverse_divergence_has_the_documented_gradient(self):
        z_s, z_t = logits()
        for t in TEMPERATURES:
            q, p = (z_s / t).softmax(1), (z_t / t).softmax(1)
            divergence = (q * (q / p).log()).sum(1, keepdim=True)
            expected = t / B * q * ((q / p).log() - divergence)
            assert torch.allclose(gradient(gallery.reverse_direction, z_s, z_t, t), expected)

    def test_the_reverse_divergence_is_the_right_one_with_the_roles_changed(self):
        z_s, z_t = logits()
        assert float(gallery.reverse_direction(z_s, z_t, 2.0)) == pytest.approx(definition(z_t, z_s, 2.0))
        assert float(gallery.reverse_direction(z_s, z_t, 2.0)) != pytest.approx(definition(z_s, z_t, 2.0), rel=0.01)

    def test_the_reverse_divergence_hides_at_high_temperature(self):
        z_s, z_t = logits()
        off = {
            t: float((gradient(gallery.reverse_direction, z_s, z_t, t) - right_gradient(z_s, z_t, t)).norm())
            for t in (1.0, 100.0, 1000.0)
        }
        assert off[1.0] > 0.3 * float(right_gradient(z_s, z_t, 1.0).norm())
        assert off[1000.0] < 0.01 * float(right_gradient(z_s, z_t, 1000.0).norm())
        assert off[100.0] / off[1000.0] == pytest.approx(10, rel=0.1)  # what is left falls as 1/T

    def test_an_overlooked_class_stays_overlooked_in_the_reverse_direction(self):
        z_t = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
        z_s = torch.tensor([[12.0, 0.0]], dtype=torch.float64)  # q of the second class: 6e-6
        assert float(right_gradient(z_s, z_t, 1.0)[0, 1]) == pytest.approx(-0.5, abs=1e-4)
        assert abs(float(gradient(gallery.reverse_direction, z_s, z_t, 1.0)[0, 1])) < 1e-4

    def test_probabilities_as_input_push_away_from_equality(self):
        _, z = logits()
        for t in TEMPERATURES:
            p = (z / t).softmax(1)
            expected = -t / B * p * (p - (p * p).sum(1, keepdim=True))
            found = gradient(gallery.probabilities_as_input, z, z, t)
            assert torch.allclose(found, expected)
            assert (found.gather(1, z.argmax(1, keepdim=True)) < 0).all()  # descent: more of the first choice

    def test_probabilities_as_input_are_negative(self):
        draws = [logits(seed) for seed in range(20)]
        assert sum(float(gallery.probabilities_as_input(a, b, 4.0)) < 0 for a, b in draws) == 20

    def test_a_forgotten_log_target_is_nan_but_trains_on(self):
        z_s, z_t = logits()
        assert math.isnan(float(gallery.log_target_forgotten(z_s, z_t, 2.0)))
        found = gradient(gallery.log_target_forgotten, z_s, z_t, 2.0)
        log_p, q = (z_t / 2).log_softmax(1), (z_s / 2).softmax(1)
        assert torch.allclose(found, 2 / B * (q * log_p.sum(1, keepdim=True) - log_p))
        assert float(gradient(gallery.log_target_forgotten, z_t, z_t, 2.0).norm()) > 0.1

    def test_temperature_on_one_side_is_satisfied_by_a_softened_student(self):
        _, z_t = logits()
        loss = gallery.temperature_on_teacher_only
        assert float(gradient(loss, z_t / 4, z_t, 4.0).norm()) < 1e-12
        assert float(gradient(loss, z_t, z_t, 4.0).norm()) > 1
        assert float(loss(z_t, z_t, 1.0)) == pytest.approx(0, abs=1e-12)  # nothing to see at T = 1

    def test_temperature_on_one_side_grows_with_the_square(self):
        z_s, z_t = logits()
        norms = [float(gradient(gallery.temperature_on_teacher_only, z_s, z_t, t).norm()) for t in (200.0, 400.0)]
        assert norms[1] / norms[0] == pytest.approx(4, rel=0.01)

    def test_the_teachers_first_choice_knows_no_temperature_and_no_second_choice(self):
        z_s, z_t = logits()
        values = {float(gallery.argmax_of_teacher(z_s, z_t, t)) for t in TEMPERATURES}
        assert len(values) == 1
        other = z_t.clone()
        lowest = z_t.argmin(1)
        other[torch.arange(B), lowest] -= 1.0
        assert float(gallery.argmax_of_teacher(z_s, other, 2.0)) in values
        assert float(kd_loss(z_s, other, 2.0)) != pytest.approx(float(kd_loss(z_s, z_t, 2.0)))

    def test_a_teacher_compared_with_itself_says_nothing(self):
        z_s, z_t = logits()
        assert float(gallery.teacher_against_itself(z_s, z_t, 4.0)) == pytest.approx(0, abs=1e-12)
        assert not gradient(gallery.teacher_against_itself, z_s, z_t, 4.0).any()


class TestWrongSoftmax:
    def test_over_the_batch_an_image_depends_on_its_companions(self):
        z_s, z_t = logits()
        loss = gallery.softmax_over_batch
        assert float(loss(z_s[:1], z_t[:1], 2.0)) == 0
        changed = z_s.clone()
        changed[1] += 1.0
        moved = gradient(loss, changed, z_t, 2.0)[0] - gradient(loss, z_s, z_t, 2.0)[0]
        assert float(moved.norm()) > 1e-3
        assert torch.allclose(gradient(kd_loss, changed, z_t, 2.0)[0], gradient(kd_loss, z_s, z_t, 2.0)[0])

    def test_twice_multiplies_by_the_jacobian_of_the_first(self):
        z_s, z_t = logits()
        s = z_s.softmax(1)
        inner = right_gradient(s, z_t.softmax(1), 2.0)
        expected = torch.stack([(torch.diag(a) - torch.outer(a, a)) @ g for a, g in zip(s, inner, strict=True)])
        assert torch.allclose(gradient(gallery.softmax_twice, z_s, z_t, 2.0), expected)

    def test_twice_leaves_a_confident_mistake_alone(self):
        z_t = torch.tensor([[0.0, 12.0]], dtype=torch.float64)
        z_s = torch.tensor([[12.0, 0.0]], dtype=torch.float64)
        found = gradient(gallery.softmax_twice, z_s, z_t, 1.0).norm() / right_gradient(z_s, z_t, 1.0).norm()
        assert float(found) < 1e-4

    def test_squared_error_has_the_documented_gradient_and_limit(self):
        z_s, z_t = logits()
        for t in (1.0, 4.0):
            q, p = (z_s / t).softmax(1), (z_t / t).softmax(1)
            d = q - p
            expected = 2 * t / (B * K) * q * (d - (q * d).sum(1, keepdim=True))
            assert torch.allclose(gradient(gallery.squared_error_of_probabilities, z_s, z_t, t), expected)
        ratio = (
            gradient(gallery.squared_error_of_probabilities, z_s, z_t, 1e3).norm()
            / right_gradient(z_s, z_t, 1e3).norm()
        )
        assert float(ratio) == pytest.approx(2 / K**2, rel=0.01)

    def test_the_logarithm_of_a_softmax_gives_up_where_the_student_is_most_wrong(self):
        z_s, z_t = torch.tensor([[60.0, 0.0]]), torch.tensor([[0.0, 60.0]])
        loss = gallery.log_of_softmax
        assert float(loss(z_s, z_t, 1.0)) == pytest.approx(-math.log(1e-8), rel=1e-4)  # right: 60
        assert definition(z_s, z_t, 1.0) == pytest.approx(60, rel=1e-4)
        assert float(gradient(loss, z_s, z_t, 1.0).norm()) < 1e-6
        assert float(gradient(kd_loss, z_s, z_t, 1.0).norm()) == pytest.approx(math.sqrt(2), rel=1e-4)


class TestGraph:
    def test_an_attached_teacher_is_pulled_towards_the_student(self):
        z_s, z_t = logits()
        z_t.requires_grad_()
        gallery.teacher_not_detached(z_s, z_t, 2.0).backward()
        q, p = (z_s / 2).softmax(1), (z_t.detach() / 2).softmax(1)
        divergence = (p * (p / q).log()).sum(1, keepdim=True)
        assert torch.allclose(z_t.grad, 2 / B * p * ((p / q).log() - divergence))
        nearer = z_t.detach() - 0.1 * z_t.grad
        assert definition(z_s, nearer, 2.0) < definition(z_s, z_t.detach(), 2.0)

    def test_its_value_and_the_students_gradient_are_right(self):
        z_s, z_t = logits()
        assert float(gallery.teacher_not_detached(z_s, z_t, 2.0)) == pytest.approx(definition(z_s, z_t, 2.0))
        assert torch.allclose(gradient(gallery.teacher_not_detached, z_s, z_t, 2.0), right_gradient(z_s, z_t, 2.0))


class TestWholeLoss:
    @pytest.fixture
    def case(self) -> tuple[Tensor, Tensor, Tensor]:
        z_s, z_t = logits()
        return z_s, z_t, torch.tensor([0, 1, 2, 3, 4, 0])

    def test_swapped_weights_are_those_of_the_other_convention(self, case):
        for alpha in (0.0, 0.1, 0.5, 0.9):
            swapped, other = gallery.alpha_swapped(*case, 4.0, alpha), gallery.total_loss(*case, 4.0, 1 - alpha)
            assert float(swapped) == pytest.approx(float(other))

    def test_swapped_weights_hide_at_one_half(self, case):
        assert float(gallery.alpha_swapped(*case, 4.0, 0.5)) == pytest.approx(
            float(gallery.total_loss(*case, 4.0, 0.5))
        )

    def test_the_square_on_both_terms_raises_the_hard_one_sixteenfold_at_four(self, case):
        z_s, _, labels = case
        assert float(gallery.temperature_squared_on_both(*case, 4.0, 0.0)) == pytest.approx(
            16 * float(F.cross_entropy(z_s, labels))
        )
        assert float(gallery.temperature_squared_on_both(*case, 4.0, 1.0)) == pytest.approx(
            float(gallery.total_loss(*case, 4.0, 1.0))
        )

    def test_a_softened_hard_term_wants_logits_t_times_larger(self, case):
        z_s, z_t, labels = case
        softened = float(gallery.temperature_in_hard_term(4 * z_s, z_t, labels, 4.0, 0.0))
        assert softened == pytest.approx(float(F.cross_entropy(z_s, labels)))

    def test_a_double_softmax_never_reaches_zero(self, case):
        _, z_t, labels = case
        perfect = 100 * F.one_hot(labels, K).double()
        hard = float(gallery.softmax_before_cross_entropy(perfect, z_t, labels, 4.0, 0.0))
        assert hard == pytest.approx(math.log(1 + (K - 1) / math.e))
        assert float(gallery.total_loss(perfect, z_t, labels, 4.0, 0.0)) == pytest.approx(0, abs=1e-12)


class TestSupply:
    @staticmethod
    def small_teacher() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    @staticmethod
    def two_epochs() -> tuple[Tensor, list]:
        draw = torch.Generator().manual_seed(3)
        images = torch.rand(8, 4, generator=draw)
        orders = [torch.randperm(8, generator=draw) for _ in range(2)]
        return images, [[(images[i], i) for i in order.split(4)] for order in orders]

    def test_train_mode_moves_the_teacher(self):
        teacher, (_, epochs) = self.small_teacher(), self.two_epochs()
        before = teacher[1].running_mean.clone()
        supply.live_supply(teacher, epochs)
        assert torch.equal(teacher[1].running_mean, before)
        supply.teacher_in_train_mode(teacher, epochs)
        assert not torch.equal(teacher[1].running_mean, before)

    def test_a_cache_by_position_hands_out_other_images_answers(self):
        teacher, (images, epochs) = self.small_teacher().eval(), self.two_epochs()
        given = supply.cached_by_position(teacher, epochs)
        first, second = epochs[0][0][1], epochs[1][0][1]
        assert not torch.equal(first, second)
        with torch.no_grad():
            assert torch.allclose(given[1][0], teacher(images[first]))  # not of images[second]
            assert not torch.allclose(given[1][0], teacher(images[second]))

    def test_a_cache_by_index_is_right_only_while_the_views_stay(self):
        teacher, (images, epochs) = self.small_teacher().eval(), self.two_epochs()
        right = supply.live_supply(teacher, epochs)
        kept = supply.cached_before_augmentation(teacher, epochs)
        assert all(torch.allclose(a, b) for a, b in zip(kept[1], right[1], strict=True))
        mirrored = [(images.flip(1)[index], index) for _, index in epochs[1]]
        kept = supply.cached_before_augmentation(teacher, [epochs[0], mirrored])
        right = supply.live_supply(teacher, [epochs[0], mirrored])
        assert not torch.allclose(kept[1][0], right[1][0])


def soft_cross_entropy(z_s: Tensor, z_t: Tensor, temperature: float) -> Tensor:
    target = (z_t.detach() / temperature).softmax(1)
    return -(target * (z_s / temperature).log_softmax(1)).sum(1).mean() * temperature**2


# What each check is for: the mistakes that it finds, and no others
CAUGHT = {
    "zero at equality": {
        "probabilities_as_input", "log_target_forgotten", "temperature_on_teacher_only", "argmax_of_teacher",
    },
    "never negative": {"probabilities_as_input", "log_target_forgotten"},
    "steady at high temperature": {
        "temperature_squared_missing", "temperature_not_squared", "temperature_on_teacher_only",
        "teacher_against_itself",
    },
    "mean of its images": {"sum_over_batch", "softmax_over_batch", "log_target_forgotten"},
    "shift of an image's logits": {"softmax_over_batch", "log_target_forgotten"},
    "nothing to the teacher": {"teacher_not_detached"},
    "something to the student": {"teacher_against_itself"},
}  # fmt: skip


class TestChecks:
    @pytest.mark.parametrize("seed", range(5))
    def test_the_right_loss_passes_every_check(self, seed):
        assert failures(diagnose(kd_loss, seed)) == []
        assert failures(diagnose_total(gallery.total_loss, seed)) == []
        assert failures(diagnose_supply(supply.live_supply, seed)) == []

    def test_another_right_spelling_passes_too(self):
        def with_log_target(z_s, z_t, temperature):
            log_q, log_p = (z_s / temperature).log_softmax(1), (z_t.detach() / temperature).log_softmax(1)
            return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2

        assert failures(diagnose(with_log_target)) == []

    @pytest.mark.parametrize("seed", range(5))
    def test_the_right_loss_in_single_precision_passes(self, seed):
        assert failures(diagnose(lambda z_s, z_t, t: kd_loss(z_s.float(), z_t.float(), t), seed)) == []

    @pytest.mark.parametrize("name", SOFT_MISTAKES)
    @pytest.mark.parametrize("seed", (0, 1))
    def test_every_wrong_soft_term_fails_one(self, name, seed):
        assert failures(diagnose(SOFT_MISTAKES[name].function, seed))

    @pytest.mark.parametrize("name", TOTAL_MISTAKES)
    @pytest.mark.parametrize("seed", (0, 1))
    def test_every_wrong_whole_fails_one(self, name, seed):
        assert failures(diagnose_total(TOTAL_MISTAKES[name].function, seed))

    @pytest.mark.parametrize("name", SUPPLY_MISTAKES)
    @pytest.mark.parametrize("seed", (0, 1))
    def test_every_wrong_supply_fails_one(self, name, seed):
        assert failures(diagnose_supply(SUPPLY_MISTAKES[name].function, seed))

    @pytest.mark.parametrize("check", CAUGHT)
    def test_a_check_catches_what_it_is_for(self, check):
        caught = {name for name, mistake in SOFT_MISTAKES.items() if check in failures(diagnose(mistake.function))}
        assert caught == CAUGHT[check]

    def test_the_unstable_logarithm_is_found_by_far_logits_alone(self):
        assert failures(diagnose(gallery.log_of_softmax)) == ["logits far apart"]

    def test_a_soft_cross_entropy_fails_on_its_value_but_not_on_its_gradient(self):
        found = failures(diagnose(soft_cross_entropy))
        assert found == ["zero at equality", "value", "every class split in two"]

    def test_an_undetached_cache_is_found(self):
        def attached(teacher, epochs):
            teacher.eval()
            return [[teacher(images) for images, _ in epoch] for epoch in epochs]

        assert failures(diagnose_supply(attached)) == ["no graph kept"]

    def test_a_loss_that_returns_no_scalar_is_refused(self):
        with pytest.raises(KdlibError, match=r"shape \(6, 5\).*average over the batch"):
            diagnose(lambda z_s, z_t, temperature: z_s - z_t)
        with pytest.raises(KdlibError, match="not float"):
            diagnose(lambda z_s, z_t, temperature: 0.0)


class TestReferences:
    def test_each_entry_tells_what_is_wrong_and_how_to_notice(self):
        for mistake in (*SOFT_MISTAKES.values(), *TOTAL_MISTAKES.values(), *SUPPLY_MISTAKES.values()):
            text = mistake.function.__doc__ or ""
            assert mistake.summary.endswith(".") and len(mistake.summary) > 20, mistake.name
            assert "Noticed:" in text, mistake.name

    def test_threads_and_files_become_links(self):
        links = SOFT_MISTAKES["doubled"].links
        assert "https://github.com/szagoruyko/attention-transfer/issues/7)" in links
        assert "https://github.com/haitongli/knowledge-distillation-pytorch/blob/HEAD/mnist/distill_mnist.py)" in links

    def test_without_a_reference_it_says_so(self):
        assert SOFT_MISTAKES["sum_over_batch"].links == "common, no reference kept"
