"""All judged claims of a paper in one figure: how large each effect is against what would matter, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from kdlib.claims.claim import Claim
from kdlib.claims.on_file import Drawn, strongest
from kdlib.claims.records import Record
from kdlib.claims.rule import WORDS
from kdlib.claims.verdicts import Verdict, in_smallest_effects

# Okabe and Ito; the shape says the same, for readers who see no colour.
VERDICT_LOOKS = {
    "supported": ("#009E73", "o"),
    "not supported": ("#56B4E9", "s"),
    "contradicted": ("#D55E00", "X"),
    "inconclusive": ("#777777", "d"),
    "no test": ("#CC79A7", "^"),
}
_LIMIT = 12.0  # smallest effects; longer intervals are cut off there
_ROW = 0.42  # inches a claim


def at_a_glance(claims: Mapping[str, Claim], records: Sequence[Record]) -> Drawn:
    """Every judged claim's contrast with its interval, in units of the smallest effect that would matter.

    Turned so that the claimed direction is to the right. A claim's name stands above its interval, so that the figure
    fits a phone. The counts in the title leave exploratory claims out.
    """
    judged: list[tuple[Claim, Verdict]] = []
    for claim in claims.values():
        best = strongest(records, claim.id)
        if best is not None:
            judged.append((claim, best[1]))
    if not judged:
        return None
    figure, axis = plt.subplots(figsize=(4.8, _ROW * len(judged) + 1.6))
    axis.axvspan(-1, 1, color="0.93", zorder=0)
    axis.axvline(0, color="0.4", linewidth=1)
    for place, (claim, found) in enumerate(judged):
        mean, low, high = in_smallest_effects(claim, found)
        colour, marker = VERDICT_LOOKS[found.word]
        axis.plot(np.clip([low, high], -_LIMIT, _LIMIT), [place, place], color=colour, linewidth=2)
        for end in (low, high):
            if abs(end) > _LIMIT:
                axis.plot([np.sign(end) * _LIMIT], [place], marker="<" if end < 0 else ">", color=colour, markersize=5)
        axis.plot([np.clip(mean, -_LIMIT, _LIMIT)], [place], marker=marker, color=colour, markersize=7)
        axis.text(-_LIMIT - 0.4, place - 0.27, _named(claim), fontsize=9, va="center")
    axis.set_ylim(len(judged) - 0.5, -0.75)
    axis.set_yticks([])
    axis.set_xlim(-_LIMIT - 0.6, _LIMIT + 0.6)
    axis.set_xlabel("difference in the claimed direction,\nin smallest effects that would matter", fontsize=10)
    kept = [found.word for claim, found in judged if not claim.conditions.exploratory]
    counts = [f"{kept.count(word)} {word}" for word in WORDS]
    figure.suptitle(f"{', '.join(counts[:2])},\n{', '.join(counts[2:])}", fontsize=11)
    for word, (colour, marker) in VERDICT_LOOKS.items():
        axis.plot([], [], marker=marker, color=colour, linestyle="-", label=word)
    figure.legend(fontsize=9, loc="outside lower center", ncols=2)
    words = [f"{_named(claim)}: {found.word}" for claim, found in judged]
    return figure, f"{', '.join(counts)}. " + "; ".join(words) + "."


def _named(claim: Claim) -> str:
    return f"{claim.short_id} {claim.short}{' (exploratory)' if claim.conditions.exploratory else ''}"
