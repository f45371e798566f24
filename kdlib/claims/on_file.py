"""What a chapter's figures take from the records on file: of several presets, the largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap

from matplotlib.figure import Figure

from kdlib.claims.claim import Claim
from kdlib.claims.records import Record
from kdlib.claims.rule import WORDS
from kdlib.claims.verdicts import Verdict
from kdlib.names import STRONGEST_FIRST

Drawn = tuple[Figure, str] | None
Drawer = Callable[[Mapping[str, Claim], Sequence[Record]], Drawn]
#: Characters of a title's line in a figure as wide as a phone.
TITLE_WIDTH = 50


def strongest(records: Sequence[Record], claim_id: str) -> tuple[Record, Verdict] | None:
    """The record that judges a claim and its verdict, of the largest preset measured; None without one."""
    for preset in STRONGEST_FIRST:
        for record in records:
            if record.preset == preset and claim_id in record.verdicts:
                return record, record.verdicts[claim_id]
    return None


def measured(records: Sequence[Record], notebook: str) -> Record | None:
    """The record of a notebook, of the largest preset measured; None without one."""
    for preset in STRONGEST_FIRST:
        for record in records:
            if (record.notebook, record.preset) == (notebook, preset):
                return record
    return None


def values_of(record: Record, metric: str, arms: Sequence[str]) -> dict[str, Sequence[float]]:
    """Seed values per arm, of those arms that were measured."""
    found = {arm: record.measurements.get(f"{metric}/{arm}") for arm in arms}
    return {arm: item.values for arm, item in found.items() if item is not None}


def judged_in_words(
    record: Record, claims: Mapping[str, Claim], ids: Sequence[str], *, width: int = TITLE_WIDTH
) -> str:
    """What a record says of some claims, a line each, to stand over a panel: "KD raises accuracy: supported"."""
    lines = []
    for id_ in ids:
        if id_ in record.verdicts and id_ in claims:
            short = claims[id_].short
            mark = " (exploratory)" if claims[id_].conditions.exploratory else ""
            lines += wrap(f"{short[0].upper()}{short[1:]}{mark}: {record.verdicts[id_].word}", width)
    return "\n".join(lines)


def names_by_word(record: Record, named: Mapping[str, str], *, width: int = TITLE_WIDTH) -> str:
    """The same claim about several arms in few words: "supported: SSKD; inconclusive: AT, FT".

    named: claim id -> its text.
    """
    found = {name: record.verdicts[id_].word for id_, name in named.items() if id_ in record.verdicts}
    parts = [f"{word}: {', '.join(name for name in found if found[name] == word)}" for word in WORDS]
    return "\n".join(wrap("; ".join(part for part in parts if not part.endswith(": ")), width))
