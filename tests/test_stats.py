"""What a contrast over paired seeds must be: checked against scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from kdlib import stats
from kdlib.errors import KdlibError

A = [61.0, 63.0, 62.5, 60.0, 66.0, 59.5]
B = [54.0, 57.5, 56.0, 57.0, 58.0, 60.0]


class TestPairedContrast:
    def test_it_is_a_minus_b_seed_by_seed(self) -> None:
        contrast = stats.paired_contrast([3.0, 5.0, 10.0], [1.0, 6.0, 4.0], name="x")
        assert contrast.differences == (2.0, -1.0, 6.0)
        assert contrast.mean_difference == pytest.approx(7 / 3)
        assert (contrast.n, contrast.name) == (3, "x")

    def test_student_interval_is_scipys_paired_t_test(self) -> None:
        contrast = stats.paired_contrast(A, B)
        oracle = scipy_stats.ttest_rel(A, B).confidence_interval(0.95)
        assert (contrast.low, contrast.high) == pytest.approx((oracle.low, oracle.high), rel=1e-12)

    def test_student_interval_by_hand(self) -> None:
        # 1, 2, 3: mean 2, s = 1, t(0.975; 2) = 4.302653, so 2 +- 4.302653 / sqrt(3).
        assert stats.student_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)

    def test_swapping_the_arms_mirrors_everything(self) -> None:
        there, back = stats.paired_contrast(A, B), stats.paired_contrast(B, A)
        assert back.mean_difference == -there.mean_difference
        assert back.interval == pytest.approx((-there.high, -there.low))

    def test_what_the_seed_does_to_both_arms_drops_out(self) -> None:
        seed_effect = np.array([0.0, 50.0, -30.0, 20.0, 5.0, 80.0])
        shifted = stats.paired_contrast(np.add(A, seed_effect), np.add(B, seed_effect))
        plain = stats.paired_contrast(A, B)
        assert shifted.interval == pytest.approx(plain.interval)

    def test_one_seed_has_no_interval_and_concludes_nothing(self) -> None:
        contrast = stats.paired_contrast([100.0], [0.0])
        assert all(math.isnan(end) for end in contrast.interval)
        assert not contrast.excludes_zero

    def test_zero_is_excluded_where_the_interval_lies_on_one_side_of_it(self) -> None:
        # Three seeds 1, 2, 3: Student's t says -0.5 to 4.5.
        assert not stats.paired_contrast([1, 2, 3], [0, 0, 0]).excludes_zero
        assert stats.paired_contrast([3.0, 3.1, 3.2], [0, 0, 0]).excludes_zero
        assert stats.paired_contrast([0, 0, 0], [3.0, 3.1, 3.2]).excludes_zero

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ([], [], "holds no value"),
            ([1, 2], [1], "2 and 1 seeds"),
            ([1, float("nan")], [1, 2], "nan at position 1"),
            ([1, 2], [float("inf"), 2], "inf at position 0"),
            ([[1, 2]], [[1, 2]], "flat list"),
            (["many"], [1], "list of numbers"),
        ],
    )
    def test_bad_arms_are_refused_in_one_sentence(self, a: list, b: list, message: str) -> None:
        with pytest.raises(KdlibError, match=message):
            stats.paired_contrast(a, b)

    @pytest.mark.parametrize("options", [{"confidence": 1.0}, {"confidence": 95}, {"digits": 0}])
    def test_bad_options_are_refused(self, options: dict) -> None:
        with pytest.raises(KdlibError, match=next(iter(options))):
            stats.paired_contrast(A, B, **options)


class TestRoundedValues:
    """Values filed with few digits: what rounding alone can bring about is no difference."""

    @staticmethod
    def rounded(counts: list[int], of: int, digits: int = 6) -> list[float]:
        return [float(f"{100 * count / of:.{digits}g}") for count in counts]

    def test_a_mean_that_is_exactly_zero_in_fractions_is_zero_after_rounding(self) -> None:
        random = np.random.default_rng(0)
        uneven = 0  # how often plain arithmetic on the rounded values would have said otherwise
        for _ in range(300):
            of, n = int(random.integers(3, 400)), int(random.integers(2, 9))
            a, b = random.integers(0, of + 1, (2, n)).tolist()
            b[-1] += sum(a) - sum(b)
            if not 0 <= b[-1] <= of:
                continue
            contrast = stats.paired_contrast(self.rounded(a, of), self.rounded(b, of), digits=6)
            assert contrast.mean_difference == 0
            uneven += np.mean(contrast.differences) != 0
        assert uneven > 20

    def test_the_smallest_real_difference_of_counts_stays(self) -> None:
        for of, n in ((128, 3), (2000, 8), (10_000, 8)):  # one image more, in one seed of n
            a, b = self.rounded([of // 3] * n, of), self.rounded([of // 3 - 1] + [of // 3] * (n - 1), of)
            contrast = stats.paired_contrast(a, b, digits=6)
            assert contrast.mean_difference == pytest.approx(100 / of / n, abs=1e-4)
            assert contrast.mean_difference > 0

    def test_a_bound_that_is_zero_but_for_rounding_does_not_exclude_zero(self) -> None:
        half = stats.student_interval([0.0, 10.0, 20.0])[1] - 10.0  # of the differences below, whose mean is as large
        shifted = [half + 1e-7, half + 10.0 + 1e-7, half + 20.0 + 1e-7]
        raw = stats.paired_contrast(shifted, [10.0, 10.0, 10.0])
        contrast = stats.paired_contrast(shifted, [10.0, 10.0, 10.0], digits=6)
        assert raw.low > 0 and raw.excludes_zero
        assert contrast.low == 0 and not contrast.excludes_zero

    def test_by_default_only_the_last_bits_of_a_float_are_no_difference(self) -> None:
        assert 0.1 + 0.2 - 0.3 != 0
        assert stats.paired_contrast([0.1 + 0.2, 0.5], [0.3, 0.5]).mean_difference == 0
        assert stats.paired_contrast([1e-9, 3e-9], [0.0, 0.0]).mean_difference == pytest.approx(2e-9)
        assert stats.paired_contrast([1 + 1e-9], [1.0]).mean_difference == pytest.approx(1e-9)

    @pytest.mark.parametrize(
        ("largest", "digits", "resolution"),
        [(44.5312, 6, 1e-4), (100.0, 6, 1e-3), (99.9999, 6, 1e-4), (0.72, 6, 1e-6), (0.0, 6, 0.0), (123_456.0, 6, 1.0)],
    )
    def test_resolution_is_one_unit_of_the_largest_values_last_digit(
        self, largest: float, digits: int, resolution: float
    ) -> None:
        assert stats.rounding_resolution([-largest, 0.0], [largest / 2, 0.0], digits) == pytest.approx(resolution)
        assert stats.rounding_resolution([largest / 2, 0.0], [0.0, largest], digits) == pytest.approx(resolution)

    def test_digits_must_be_a_positive_number(self) -> None:
        with pytest.raises(KdlibError, match="digits"):
            stats.paired_contrast([1.0], [2.0], digits=0)


class TestCoverage:
    """How often the interval covers the truth, simulated with normal differences."""

    @pytest.mark.parametrize("n", [3, 5, 8])
    def test_it_covers_the_truth_as_often_as_it_says(self, n: int) -> None:
        draws = np.random.default_rng(0).normal(1.0, 2.0, (1500, n))
        intervals = [stats.student_interval(values) for values in draws]
        assert np.mean([low <= 1.0 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.02)


class TestHolm:
    def test_by_hand(self) -> None:
        # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; made monotone the last is 0.06.
        adjusted = stats.holm({"KD-scratch": 0.01, "LS-scratch": 0.04, "KD-LS": 0.03, "C1-KD": 0.005})
        assert list(adjusted) == ["KD-scratch", "LS-scratch", "KD-LS", "C1-KD"]
        assert adjusted == pytest.approx({"KD-scratch": 0.03, "LS-scratch": 0.06, "KD-LS": 0.06, "C1-KD": 0.02})

    def test_never_smaller_than_raw_never_above_one_and_order_kept(self) -> None:
        generator = np.random.default_rng(5)
        for _ in range(50):
            raw = {str(i): float(p) for i, p in enumerate(generator.uniform(0, 1, 7))}
            adjusted = stats.holm(raw)
            assert all(raw[k] <= adjusted[k] <= 1 for k in raw)
            order = sorted(raw, key=lambda k: raw[k])
            assert [adjusted[k] for k in order] == sorted(adjusted.values())

    def test_one_or_none(self) -> None:
        assert stats.holm({"only": 0.2}) == {"only": 0.2}
        assert stats.holm({}) == {}

    @pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
    def test_what_is_no_p_value_is_refused(self, p: float) -> None:
        with pytest.raises(KdlibError, match="p-value of x"):
            stats.holm({"x": p})


def test_mean_interval_of_one_arm() -> None:
    interval = stats.mean_interval(A, name="kd")
    oracle = scipy_stats.ttest_1samp(A, 0).confidence_interval(0.95)
    assert interval.mean == pytest.approx(np.mean(A))
    assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high))
    assert interval.low < interval.mean < interval.high
    assert math.isnan(stats.mean_interval([3.0]).low)
    with pytest.raises(KdlibError, match="kd holds no value"):
        stats.mean_interval([], name="kd")
