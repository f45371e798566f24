"""The forest plot of all claims as a part of a page: text that wraps and can be searched, an interval a row.

Everything stands there without a script; the small script beside this file filters and sorts the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from kdlib.claims.at_a_glance import VERDICT_LOOKS
from kdlib.claims.claim import Paper
from kdlib.claims.controls import NO, OPEN, YES
from kdlib.claims.forest_rows import (
    ARROWS,
    LIMIT,
    NOT_ASKED,
    NOT_YET,
    SHAPES,
    TICKS,
    ForestRow,
    by_paper,
    cited,
    exploratory_in_words,
    place,
)
from kdlib.claims.rule import WORDS
from kdlib.plotting.tables import with_minus
from kdlib.plotting.text import NO_MATHEMATICS

_BESIDE = Path(__file__).parent
_RANK = {word: rank for rank, word in enumerate((*WORDS, NOT_YET))}
_ANSWERS = {word: rank for rank, word in enumerate((YES, NO, OPEN, NOT_ASKED))}


@dataclass(frozen=True)
class Filter:
    """A choice above the plot: rows whose `value` is the chosen one stay.

    name: in the page's code. every: the choice of all rows. shown: how a value reads. order: of the values; where it
    is equal, that of the rows.
    """

    name: str
    label: str
    every: str
    value: Callable[[ForestRow], str]
    shown: Callable[[ForestRow], str]
    order: Callable[[ForestRow], int] = lambda row: 0


#: The script takes whatever stands here; a further filter is a further line.
FILTERS = (
    Filter("paper", "Paper", "all papers", lambda row: row.claim.paper.key, lambda row: cited(row.claim.paper)),
    Filter("verdict", "Verdict", "all verdicts", lambda row: row.word, lambda row: row.word, lambda r: _RANK[r.word]),
    Filter(
        "survives",
        "Survives its controls",
        "all answers",
        lambda row: row.survives,
        lambda row: row.survives,
        lambda row: _ANSWERS[row.survives],
    ),
)

#: How rows may be sorted within their paper: name -> (label, key).
ORDERS: dict[str, tuple[str, Callable[[ForestRow], float]]] = {
    "paper": ("as in the paper", lambda row: 0),
    "effect": ("largest effect first", lambda row: math.inf if math.isnan(row.effect) else -row.effect),
    "verdict": ("by verdict", lambda row: _RANK[row.word]),
}


def forest_html(rows: Sequence[ForestRow], *, page_of: str = "../notebooks/{}.html") -> str:
    """The plot with its style, controls and script; a sentence where there is no row.

    page_of: the address of a chapter, as seen from the page, with `{}` for the notebook's name.

    >>> forest_html([])
    '<p>No claims on file.</p>'
    """
    if not rows:
        return "<p>No claims on file.</p>"
    ranks = _ranks(rows)
    lines = [f'<div class="kdlib-forest {NO_MATHEMATICS}">', f"<style>{_read('forest.css')}</style>"]
    lines += [_controls(rows), _legend(rows)]
    for paper, own in by_paper(rows).items():
        lines += [f'<section class="forest-paper" aria-labelledby="forest-{escape(paper.key)}">', _heading(paper)]
        lines += [_axis(), '<ol class="forest-rows">']
        lines += [_row(row, ranks[row.claim.id], page_of) for row in own]
        lines += ["</ol>", "</section>"]
    return "\n".join([*lines, f"<script>{_read('forest.js')}</script>", "</div>"])


def _read(name: str) -> str:
    # A blank line would end the block for some readers of Markdown.
    return "\n".join(filter(str.strip, (_BESIDE / name).read_text(encoding="utf-8").splitlines()))


def _ranks(rows: Sequence[ForestRow]) -> dict[str, dict[str, int]]:
    """The place of each claim in every order, so that the script compares whole numbers only."""
    ranks: dict[str, dict[str, int]] = {row.claim.id: {} for row in rows}
    for name, (_, key) in ORDERS.items():
        for rank, row in enumerate(sorted(rows, key=key)):
            ranks[row.claim.id][name] = rank
    return ranks


def _controls(rows: Sequence[ForestRow]) -> str:
    """The choices and the count of what is shown, hidden until the script that serves them runs."""
    parts = []
    for choice in FILTERS:
        found = {choice.value(row): choice.shown(row) for row in sorted(rows, key=choice.order)}
        options = {"": choice.every, **found}
        parts.append(_select(choice.name, f'data-filter="{choice.name}"', choice.label, options))
    parts.append(_select("order", "data-order", "Order", {name: label for name, (label, _) in ORDERS.items()}))
    parts.append('<button type="reset">Show all</button>')
    status = f'<p role="status" data-total="{len(rows)}">{len(rows)} of {len(rows)} claims shown</p>'
    return f'<form class="forest-controls" autocomplete="off" hidden>{"".join(parts)}{status}</form>'


def _select(name: str, attribute: str, label: str, options: dict[str, str]) -> str:
    inner = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options.items())
    select = f'<select id="forest-choice-{name}" {attribute}>{inner}</select>'
    return f'<div class="forest-choice"><label for="forest-choice-{name}">{label}</label>{select}</div>'


def _legend(rows: Sequence[ForestRow]) -> str:
    """What the plot shows, and the mark of every verdict."""
    marks = [f"<li>{_mark(SHAPES[shape], colour)} {word}</li>" for word, (colour, shape) in VERDICT_LOOKS.items()]
    text = (
        "Each claim’s mean difference with its 95 % interval, in units of the smallest effect that would matter for "
        "it, fixed beforehand (for an effect in odds, on the scale of log odds). Right of 0 is the direction that the "
        "claim says. In the grey band, from −1 to +1, an "
        f"effect is too small to matter. The axis ends at −{LIMIT:g} and +{LIMIT:g}: arrow heads mark what goes on."
    )
    notes = "" if all(row.found for row in rows) else "<p>Claims without a mark are not measured yet.</p>"
    left_out = exploratory_in_words(rows)
    notes += f"<p>{left_out}</p>" if left_out else ""
    return f'<div class="forest-legend"><p>{text}</p><ul>{"".join(marks)}</ul>{notes}</div>'


def _heading(paper: Paper) -> str:
    return (
        f'<h3 id="forest-{escape(paper.key)}">{escape(cited(paper))}</h3>'
        f'<p class="forest-title">{escape(paper.title)}</p>'
    )


def _axis() -> str:
    """The numbers above the intervals of a paper, for the eye: each interval says its own in words."""
    texts = "".join(
        f'<text x="{place(tick):.2f}%" y="30" text-anchor="middle">{with_minus(f"{tick:+d}") if tick else 0}</text>'
        for tick in TICKS
    )
    sides = '<text x="0" y="12">against the claim</text><text x="100%" y="12" text-anchor="end">as claimed</text>'
    return f'<div class="forest-axis" aria-hidden="true"><svg width="100%" height="34">{sides}{texts}</svg></div>'


def _row(row: ForestRow, ranks: dict[str, int], page_of: str) -> str:
    """One claim, in one line."""
    claim = row.claim
    data = "".join(f' data-{choice.name}="{escape(choice.value(row))}"' for choice in FILTERS)
    data += "".join(f' data-order-{name}="{rank}"' for name, rank in ranks.items())
    name = escape(f"{claim.short_id}: {claim.short}")
    notebook = row.record.notebook if row.record else claim.notebook
    if row.record or claim.status == "in the book":
        name = f'<a href="{escape(page_of.format(notebook))}">{name}</a>'
    if row.exploratory:
        name = f'{name} <em class="forest-mark-word">exploratory</em>'
    said = "; ".join(filter(None, (row.measured, row.run)))
    beyond = f'<span class="forest-beyond">{row.beyond_in_words}</span>' if row.beyond else ""
    measured = "".join(f'<span class="forest-said">{escape(text)}</span>' for text in (said, *row.remarks) if text)
    colour, shape = row.look
    mark = f"{_mark(shape, colour)} " if shape else ""
    return (
        f'<li class="forest-row" id="forest-{escape(claim.id)}"{data}>'
        f'<div class="forest-text"><span class="forest-claim">{name}</span>{measured}{beyond}</div>'
        f'<strong class="forest-verdict">{mark}{escape(row.word)}</strong>{_interval(row)}</li>'
    )


def _mark(path: str, colour: str) -> str:
    return (
        f'<svg class="forest-mark" viewBox="-8 -8 16 16" width="16" height="16" aria-hidden="true">'
        f'<path d="{path}" fill="{colour}"/></svg>'
    )


def _interval(row: ForestRow) -> str:
    """The drawing of one interval; empty, with the band alone, for a claim that nothing measured."""
    left, right = place(-1), place(1)
    parts = [
        f'<rect class="forest-band" x="{left:.2f}%" width="{right - left:.2f}%" height="100%"/>',
        '<line class="forest-zero" x1="50%" x2="50%" y1="0" y2="100%"/>',
    ]
    colour, shape = row.look
    if row.interval:
        low, high = (f"{place(end):.2f}%" for end in row.interval)
        parts.append(f'<line class="forest-line" x1="{low}" x2="{high}" y1="50%" y2="50%" stroke="{colour}"/>')
    for side in row.beyond:
        edge = place(-LIMIT if side == "left" else LIMIT)
        parts.append(f'<svg x="{edge:.2f}%" y="50%"><path d="{ARROWS[side]}" fill="{colour}"/></svg>')
    # A mark at the end of the axis would say that the mean lies there.
    if shape and abs(row.effect) <= LIMIT:
        parts.append(f'<svg x="{place(row.effect):.2f}%" y="50%"><path d="{shape}" fill="{colour}"/></svg>')
    head = '<svg class="forest-interval" width="100%" height="24"'
    if row.found is None:
        return f'{head} aria-hidden="true">{"".join(parts)}</svg>'
    return f'{head} role="img" aria-label="{escape(in_smallest_effects(row))}">{"".join(parts)}</svg>'


def in_smallest_effects(row: ForestRow) -> str:
    """What the drawing of a measured claim shows, in words.

    >>> from kdlib.claims import Record, load_claims
    >>> record = Record("toy", {"preset": "quick"})
    >>> record.measure("detectors/kd", {0: 61.0, 1: 63.0, 2: 62.5}, "percent of units")
    >>> record.measure("detectors/scratch", {0: 54.0, 1: 55.0, 2: 56.0}, "percent of units")
    >>> found = record.claim("han2023.1b")
    >>> in_smallest_effects(ForestRow(load_claims("han2023")["han2023.1b"], record, found))
    'in smallest effects: mean +2.0, 95 % interval +1.5 to +2.6'
    """
    if row.interval is None:
        return with_minus(f"in smallest effects: mean {row.effect:+.1f}, no interval")
    low, high = row.interval
    return with_minus(f"in smallest effects: mean {row.effect:+.1f}, 95 % interval {low:+.1f} to {high:+.1f}")
