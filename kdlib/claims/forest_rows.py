"""What a forest plot of all claims shows of each: its effect in the claim's own smallest effects, and its verdict.

The page of the ledger and the README's picture are drawn from these rows, so they cannot differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kdlib.claims.at_a_glance import VERDICT_LOOKS
from kdlib.claims.claim import Claim, Paper
from kdlib.claims.holm import holm_within_paper
from kdlib.claims.phrases import number
from kdlib.claims.records import Record
from kdlib.claims.rule import WORDS
from kdlib.claims.verdicts import Verdict, in_smallest_effects, measured_in_words
from kdlib.names import strength

NOT_YET = "not yet measured"
NOT_ASKED = "not asked"
LIMIT = 10.0  # smallest effects on either side of 0; what lies beyond is an arrow head
TICKS = (-10, -5, 0, 5, 10)
_MARGIN = 6.0  # percent of the axis' width beside its ends, for arrow heads and numbers

#: The shapes of the marks about (0, 0), as paths of SVG, by matplotlib's names for them.
SHAPES = {
    "o": "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
    "s": "M-5-5h10v10h-10z",
    "X": "M-6-3l3-3l3 3l3-3l3 3l-3 3l3 3l-3 3l-3-3l-3 3l-3-3l3-3z",
    "d": "M0-6.5l4.5 6.5l-4.5 6.5l-4.5-6.5z",
    "^": "M0-6.5l6.2 11h-12.4z",
}
#: Arrow heads likewise: they begin at (0, 0), where the line ends, and point outwards.
ARROWS = {"left": "M-8 0l8-5v10z", "right": "M8 0l-8-5v10z"}


@dataclass(frozen=True)
class ForestRow:
    """A claim with the verdict of its largest preset; without record and verdict where nothing measured it.

    corrected: the p-value after Holm's correction within the paper; None for a claim that takes no part in it.
    """

    claim: Claim
    record: Record | None = None
    found: Verdict | None = None
    corrected: float | None = None

    @property
    def word(self) -> str:
        """The verdict, or that there is none."""
        return self.found.word if self.found else NOT_YET

    @property
    def look(self) -> tuple[str, str]:
        """The verdict's colour and the path of its mark; no mark without one."""
        if self.found is None:
            return "#777777", ""
        colour, marker = VERDICT_LOOKS[self.found.word]
        return colour, SHAPES[marker]

    @property
    def exploratory(self) -> bool:
        """Whether the claim was added after its result was seen; no count holds it then."""
        return self.claim.conditions.exploratory

    @property
    def survives(self) -> str:
        """Whether the effect survives its controls, "yes", "no" or "open"; `NOT_ASKED` where there is no such question.

        It is asked of supported claims with controls.
        """
        return (self.found.survives if self.found else "") or NOT_ASKED

    @property
    def effect(self) -> float:
        """The mean difference in smallest effects, positive in the claimed direction; NaN without a measurement."""
        return in_smallest_effects(self.claim, self.found)[0] if self.found else math.nan

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the 95 % interval likewise, which may be infinite; None where there is no interval."""
        if self.found is None:
            return None
        _, low, high = in_smallest_effects(self.claim, self.found)
        return None if math.isnan(low) or math.isnan(high) else (low, high)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What stands beside the verdict: failed gates, controls, what would decide, the corrected p-value."""
        if self.found is None:
            return ()
        p = "" if self.corrected is None else f"p {p_in_words(self.corrected)} with Holm's correction"
        return tuple(filter(None, (*self.found.remarks, self.found.would_decide, p)))

    @property
    def run(self) -> str:
        """The preset and the number of seeds that measured it; empty where nothing did."""
        return run_in_words(self.record, self.found) if self.record and self.found else ""

    @property
    def measured(self) -> str:
        """Mean and interval in the claim's unit."""
        if self.found is None:
            return ""
        contrast = self.found.contrast
        if contrast.n > 1 and not self.found.has_interval:
            return f"{number(contrast.mean_difference)} {self.claim.difference_unit} (no finite interval)"
        return measured_in_words(self.claim, self.found)

    @property
    def beyond(self) -> tuple[str, ...]:
        """The ends of the axis, "left" and "right", beyond which the interval goes on, or the mean without one."""
        low, high = self.interval or (self.effect, self.effect)
        return tuple(side for side, out in (("left", low < -LIMIT), ("right", high > LIMIT)) if out)

    @property
    def beyond_in_words(self) -> str:
        """That the interval leaves the axis, and where; empty where it does not."""
        if not self.beyond:
            return ""
        low, high = self.interval or (self.effect, self.effect)
        if len(self.beyond) == 2:
            return "runs beyond both ends of the axis"
        verb = "lies" if low > LIMIT or high < -LIMIT else "runs"
        return f"{verb} beyond the {self.beyond[0]} end of the axis"


def forest_rows(claims: Mapping[str, Claim], records: Iterable[Record]) -> tuple[ForestRow, ...]:
    """One row a claim, in the order of `claims`; of several records that judge it, the one of the largest preset.

    Holm's correction is over all tested claims of a paper that are not exploratory.

    >>> from kdlib.claims import load_claims
    >>> forest_rows(load_claims("han2023"), [])[0].word
    'not yet measured'
    """
    records = list(records)
    rows = []
    for claim in claims.values():
        judging = [record for record in records if claim.id in record.verdicts]
        best = max(judging, key=lambda record: strength(record.preset), default=None)
        rows.append(ForestRow(claim, best, best.verdicts[claim.id] if best else None))
    corrected = _corrected(rows)
    return tuple(replace(row, corrected=corrected.get(row.claim.id)) for row in rows)


def _corrected(rows: Iterable[ForestRow]) -> dict[str, float]:
    found: dict[str, float] = {}
    for own in by_paper(rows).values():
        tested = {r.claim.id: r.found.interval for r in own if r.found and r.found.tested and not r.exploratory}
        found |= holm_within_paper(tested) if tested else {}
    return found


def p_in_words(p: float) -> str:
    """A p-value in two significant digits, with its sign of relation.

    >>> p_in_words(0.0312), p_in_words(0.00004), p_in_words(1.0)
    ('= 0.031', '< 0.0001', '= 1')
    """
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}"


def run_in_words(record: Record, found: Verdict) -> str:
    """The preset and the number of seeds of a verdict: "quick, 3 seeds"."""
    seeds = found.contrast.n
    return f"{record.preset}, {seeds} seed{'s' if seeds > 1 else ''}"


def by_paper(rows: Iterable[ForestRow]) -> dict[Paper, list[ForestRow]]:
    """The rows of each paper, papers in the order of their first row."""
    papers: dict[Paper, list[ForestRow]] = {}
    for row in rows:
        papers.setdefault(row.claim.paper, []).append(row)
    return papers


def counts(rows: Iterable[ForestRow]) -> dict[str, int]:
    """How many rows have each verdict, and how many have none; exploratory claims are not counted.

    >>> counts([])["supported"], list(counts([]))[-1]
    (0, 'not yet measured')
    """
    words = [row.word for row in rows if not row.exploratory]
    return {word: words.count(word) for word in (*WORDS, NOT_YET)}


def exploratory_in_words(rows: Iterable[ForestRow]) -> str:
    """How many claims the counts leave out, as a sentence; empty where there are none.

    >>> exploratory_in_words([])
    ''
    """
    left_out = sum(row.exploratory for row in rows)
    if not left_out:
        return ""
    which = "1 exploratory claim is" if left_out == 1 else f"{left_out} exploratory claims are"
    return f"{which} not counted: added after the result was seen."


def place(value: float) -> float:
    """Where a number of smallest effects lies on the axis, in percent of its width; cut off at the ends.

    >>> place(0), place(10), place(math.inf) == place(12)
    (50.0, 94.0, True)
    """
    return 50 + (50 - _MARGIN) * max(-LIMIT, min(LIMIT, value)) / LIMIT


def cited(paper: Paper) -> str:
    """A paper in few words.

    >>> from kdlib.claims import load_claims
    >>> cited(load_claims("han2023")["han2023.1a"].paper)
    'Han et al. 2023'
    """
    first, *others = paper.authors.split(", ")
    return f"{first}{' et al.' if others else ''} {paper.key.removeprefix(first.lower())}"
