"""The rule from a contrast to a word: over a grid of contrasts, against the rule written out a second way."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from kdlib.claims import WORDS, Claim, load_claims, verdict
from kdlib.claims.verdicts import RULE, number, word_of
from kdlib.errors import KdlibError
from kdlib.stats import Contrast, paired_contrast

GREATER = load_claims("han2023")["han2023.1b"]  # smallest effect 3.5, at least 3 seeds
LESS = load_claims("han2023")["han2023.2b"]
S = GREATER.smallest_effect


def contrast(low: float, high: float, t_low: float, t_high: float, n: int = 5) -> Contrast:
    middle = (t_low + t_high) / 2
    differences = tuple(middle + i - (n - 1) / 2 for i in range(n))
    return Contrast("", middle, low, high, t_low, t_high, 0.5, n, differences)


INTERVALS = [
    (low, high)
    for low, high in itertools.product((-9.0, -S, -2.0, -0.1, 0.0, 0.1, 2.0, S, 9.0), repeat=2)
    if low <= high
]
# The bootstrap interval is moved and shrunk against the t interval, so that the two may disagree.
GRID = [
    contrast(t_low + shift, t_high + shift, t_low, t_high, n)
    for (t_low, t_high), shift, n in itertools.product(INTERVALS, (-0.5, 0.0, 0.5), (1, 2, 3, 8))
]
GRID += [paired_contrast([value] * n, [value] * n) for value, n in itertools.product((0.0, 100.0), (1, 2, 3, 8))]


def word_by_bounds(claim: Claim, c: Contrast) -> str:
    """Slow twin: the four bounds, signed as claimed, looked at one by one."""
    if c.n < claim.minimum_seeds:
        return "inconclusive"
    if set(c.differences) == {0}:
        return "inconclusive"
    sign = 1 if claim.direction == "greater" else -1
    left = {sign * bound for bound in (c.low, c.high, c.t_low, c.t_high)}
    if all(bound > 0 for bound in left):
        return "supported"
    if all(bound < 0 for bound in left):
        return "contradicted"
    if all(abs(bound) <= claim.smallest_effect for bound in left):
        return "not supported"
    return "inconclusive"


def mirrored(c: Contrast) -> Contrast:
    return Contrast(
        "",
        -c.mean_difference,
        -c.high,
        -c.low,
        -c.t_high,
        -c.t_low,
        c.p_wilcoxon,
        c.n,
        tuple(-d for d in c.differences),
    )


class TestRule:
    @pytest.mark.parametrize("claim", [GREATER, LESS], ids=["greater", "less"])
    def test_over_the_grid_the_word_is_the_twins(self, claim: Claim) -> None:
        seen = set()
        for c in GRID:
            word = verdict(claim, c).word
            assert word == word_by_bounds(claim, c), c
            seen.add(word)
        assert seen == set(WORDS)  # the grid reaches every word

    def test_there_are_exactly_four_words_and_each_is_explained(self) -> None:
        assert set(WORDS) == {"supported", "not supported", "contradicted", "inconclusive"} == set(RULE)

    def test_the_opposite_claim_about_swapped_arms_gets_the_same_word(self) -> None:
        less = replace(GREATER, direction="less")
        for c in GRID:
            assert verdict(GREATER, c).word == verdict(less, mirrored(c)).word

    def test_the_opposite_claim_about_the_same_arms_swaps_supported_and_contradicted(self) -> None:
        less = replace(GREATER, direction="less")
        swapped = {"supported": "contradicted", "contradicted": "supported"}
        for c in GRID:
            word = verdict(GREATER, c).word
            assert verdict(less, c).word == swapped.get(word, word)

    def test_an_effect_is_called_only_where_the_contrast_excludes_zero(self) -> None:
        for c in GRID:
            if verdict(GREATER, c).word in ("supported", "contradicted"):
                assert c.excludes_zero

    def test_a_larger_smallest_effect_never_undoes_not_supported(self) -> None:
        wider = replace(GREATER, smallest_effect=2 * S)
        for c in GRID:
            if verdict(GREATER, c).word == "not supported":
                assert verdict(wider, c).word == "not supported"

    @pytest.mark.parametrize("n", [1, 2])
    def test_too_few_seeds_conclude_nothing_however_large_the_effect(self, n: int) -> None:
        result = verdict(GREATER, paired_contrast([90.0 + i / 100 for i in range(n)], [10.0] * n))
        assert result.word == "inconclusive"
        assert "too few seeds, the claim asks for at least 3" in result.sentence

    @pytest.mark.parametrize("claim", [GREATER, LESS], ids=["greater", "less"])
    def test_a_measure_at_its_floor_concludes_nothing(self, claim: Claim) -> None:
        result = verdict(claim, paired_contrast([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
        assert result.word == "inconclusive"
        assert result.sentence.endswith(
            "; both arms gave the same value in every seed: the measure is at its floor or ceiling here and can't tell "
            "them apart."
        )
        # One seed that differs is a measurement again, and a narrow one.
        assert verdict(claim, paired_contrast([0.0, 0.0, 0.1], [0.0, 0.0, 0.0])).word == "not supported"

    def test_one_interval_alone_does_not_decide(self) -> None:
        c = paired_contrast([1.0, 2.0, 3.0], [0.0, 0.0, 0.0])  # bootstrap above zero, Student's t not
        assert c.low > 0 > c.t_low
        assert verdict(GREATER, c).word == "inconclusive"

    def test_the_word_needs_no_claim_and_no_contrast(self) -> None:
        for c in GRID:
            word = word_of(c.differences, c.widest, direction="less", smallest_effect=S, minimum_seeds=3)
            assert word == word_by_bounds(replace(LESS, smallest_effect=S, minimum_seeds=3), c), c
        assert word_of([1.0], (math.nan, math.nan), direction="greater", smallest_effect=S, minimum_seeds=1) == (
            "inconclusive"
        )

    def test_zero_itself_is_on_neither_side(self) -> None:
        assert verdict(GREATER, contrast(0.0, 9.0, 0.0, 9.0)).word == "inconclusive"
        assert verdict(GREATER, contrast(0.0, S, 0.0, S)).word == "not supported"

    def test_measured_contrasts_end_to_end(self) -> None:
        scratch = [54.0, 55.0, 56.0, 54.5]
        words = {
            "supported": [61.0, 63.0, 62.5, 61.5],
            "contradicted": [44.0, 46.0, 45.0, 45.5],
            "not supported": [54.5, 54.8, 56.2, 54.1],
            "inconclusive": [70.0, 50.0, 40.0, 75.0],
        }
        for word, kd in words.items():
            assert verdict(GREATER, paired_contrast(kd, scratch)).word == word

    def test_another_confidence_is_refused(self) -> None:
        with pytest.raises(KdlibError, match="95% confidence, not at 80%"):
            verdict(GREATER, paired_contrast([1, 2, 3], [0, 0, 0], confidence=0.8))

    def test_a_contrast_of_other_arms_is_refused(self) -> None:
        with pytest.raises(KdlibError, match="judged by 'detectors: kd - scratch', not by 'detectors: scratch - kd'"):
            verdict(GREATER, paired_contrast([1, 2, 3], [0, 0, 0], name="detectors: scratch - kd"))


class TestSentence:
    def test_it_gives_difference_interval_seeds_and_unit(self) -> None:
        result = verdict(LESS, paired_contrast([44.0, 46.0, 45.0], [54.0, 55.0, 56.0]))
        assert result.sentence.startswith(
            "Detectors, label smoothing minus scratch: −10 percentage points of the layer's units on average over "
            "3 paired seeds (95 % interval −12.5 to −7.52 by Student's t, −11 to −9 by bootstrap); "
        )
        assert result.sentence.endswith("both intervals lie on the claimed side of zero.")
        assert (result.claim_id, result.contrast.n) == ("han2023.2b", 3)

    def test_one_seed_has_no_interval(self) -> None:
        sentence = verdict(GREATER, paired_contrast([61.0], [54.0])).sentence
        assert "+7 percentage points of the layer's units on average over 1 paired seed (no interval" in sentence
        assert "nan" not in sentence

    def test_a_real_but_small_effect_is_called_small(self) -> None:
        c = paired_contrast([55.0, 55.1, 55.2], [54.0, 54.0, 54.0])
        assert "though the effect is smaller than the 3.5" in verdict(GREATER, c).sentence
        assert "though the effect is smaller" in verdict(LESS, c).sentence
        assert "though" not in verdict(GREATER, paired_contrast([65.0, 65.1, 65.2], [54.0, 54.0, 54.0])).sentence
        # The interval holds 3.5: the effect may be large enough.
        assert "though" not in verdict(GREATER, contrast(2.0, 5.0, 1.5, 5.5)).sentence
        assert "though" not in verdict(LESS, contrast(2.0, 5.0, 1.5, 5.5)).sentence

    @pytest.mark.parametrize("claim", [GREATER, replace(GREATER, direction="less")], ids=["greater", "less"])
    def test_an_open_verdict_says_which_effects_stay_possible(self, claim: Claim) -> None:
        """In every inconclusive case of the grid, against the possible effects looked at one by one."""
        sign = 1 if claim.direction == "greater" else -1
        seen = set()
        for c in GRID:
            result = verdict(claim, c)
            if result.word != "inconclusive" or c.n < claim.minimum_seeds or set(c.differences) == {0}:
                continue

            def possible(effect: float, c: Contrast = c) -> bool:
                low, high = min(c.low, c.t_low), max(c.high, c.t_high)
                return low <= sign * effect <= high

            assert possible(0.0)
            reason = {
                (True, False): "both no effect and the 3.5 percentage points of the layer's units that would matter on "
                "the claimed side.",
                (True, True): "both no effect and the 3.5 percentage points of the layer's units that would matter on "
                "either side.",
                (
                    False,
                    True,
                ): "both intervals exclude the 3.5 percentage points of the layer's units that would "
                "matter on the claimed side, but not as large an effect the other way.",
            }[possible(S), possible(-S)]
            assert result.sentence.endswith(reason), c
            seen.add(reason)
        assert len(seen) == 3

    def test_an_effect_excluded_on_the_claimed_side_is_not_called_possible(self) -> None:
        claim = load_claims("han2023")["han2023.3a"]  # greater, smallest effect 2
        result = verdict(claim, contrast(-3.63, 1.28, -3.63, 1.28, n=3))
        assert "leave possible" not in result.sentence
        assert "both intervals exclude the 2 percentage points that would matter on the claimed side" in result.sentence

    def test_identical_differences_are_pointed_out(self) -> None:
        result = verdict(GREATER, paired_contrast([5.0, 6.0, 7.0], [4.0, 5.0, 6.0]))
        assert result.word == "supported"
        assert "check that the seeds differ" in result.sentence

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0"),
            (7.0, "+7"),
            (10.0, "+10"),
            (-0.5, "−0.5"),
            (123.456, "+123"),
            (1e-9, "+1.00e-09"),
            (math.nan, "none"),
        ],
    )
    def test_numbers_read_plainly(self, value: float, text: str) -> None:
        assert number(value) == text
