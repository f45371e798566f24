"""The forest plot as one still picture, for the README: an SVG that is text, the same bytes from the same records.

It is written here, line by line, and not by matplotlib, whose bytes change with its version and its fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap

from kdlib.claims.forest_rows import (
    ARROWS,
    LIMIT,
    TICKS,
    ForestRow,
    by_paper,
    cited,
    counts,
    exploratory_in_words,
    place,
)
from kdlib.claims.rule import INCONCLUSIVE, WORDS
from kdlib.plotting.tables import with_minus

_WIDTH = 840  # pixels, about a README's on a screen
_PLOT, _PLOT_WIDTH = 356, 330  # where the axis begins, and its width
_WORDS = 698  # where the verdicts stand
_LETTERS = 50  # of a claim's text in a line of this type
_LINE, _HEAD = 17, 52
_LEGEND = (
    "Mean and 95 % interval in each claim's smallest effect that would matter; grey: too small to matter; "
    f"arrows: beyond {LIMIT:g}"
)
_INK, _GREY, _RULE = "#1b1f24", "#4f5862", "#dde1e6"


def forest_svg(rows: Sequence[ForestRow]) -> str:
    """The picture of all claims on a white ground, so that it can be read on a dark page too.

    >>> forest_svg([]).count("<svg")
    1
    """
    body: list[str] = []
    body.append(_text(12, 22, _LEGEND, f' font-size="12" fill="{_GREY}"'))
    top = 30
    for paper, own in by_paper(rows).items():
        lines = [wrap(_named(row), _LETTERS) for row in own]
        heights = [_LINE * len(text) + 6 for text in lines]
        body += _head(cited(paper), top, _HEAD + sum(heights))
        top += _HEAD
        for row, text, height in zip(own, lines, heights, strict=True):
            body += _row(row, text, top, height)
            top += height
        top += 14
    words = escape(forest_in_words(rows))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" '
            f'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{_INK}" role="img">',
            f"<title>{words}</title>",
            f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>',
            *body,
            "</svg>\n",
        ]
    )


def forest_in_words(rows: Sequence[ForestRow]) -> str:
    """The picture's text alternative: how many claims have which verdict, and how it is drawn.

    >>> forest_in_words([]).split(":")[0]
    'Forest plot of 0 claims'
    """
    told = ", ".join(f"{number} {word}" for word, number in counts(rows).items())
    plural = "" if len(rows) == 1 else "s"
    drawn = (
        "Each claim's mean difference and 95 % interval in the smallest effects that would matter; right of 0 is the "
        "direction that the claim says"
    )
    counted = f"Forest plot of {len(rows)} claim{plural}: {told}."
    return " ".join(filter(None, (counted, exploratory_in_words(rows), drawn)))


def _named(row: ForestRow) -> str:
    return f"{row.claim.short_id}  {row.claim.short}{' (exploratory)' if row.exploratory else ''}"


def _at(value: float) -> float:
    return _PLOT + _PLOT_WIDTH * place(value) / 100


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'


def _head(title: str, top: int, height: int) -> list[str]:
    """A paper's name, the numbers of the axis, and the band and the zero line that run down its rows."""
    middle, small = ' text-anchor="middle"', f' font-size="12" fill="{_GREY}"'
    end, band = _PLOT + _PLOT_WIDTH, (_at(-1), _at(1))
    return [
        _text(12, top + 40, title, ' font-size="15" font-weight="bold"'),
        _text(_PLOT, top + 20, "against the claim", small),
        _text(end, top + 20, "as claimed", f'{small} text-anchor="end"'),
        *(_text(_at(tick), top + 40, with_minus(f"{tick:+d}") if tick else "0", small + middle) for tick in TICKS),
        f'<rect x="{band[0]:.1f}" y="{top + 46}" width="{band[1] - band[0]:.1f}" height="{height - 46}" '
        'fill="#e3e6ea"/>',
        f'<path d="M{_at(0):.1f} {top + 46}V{top + height}" stroke="{_GREY}"/>',
    ]


def _row(row: ForestRow, lines: Sequence[str], top: int, height: int) -> list[str]:
    colour, shape = row.look
    middle = top + height / 2
    first = middle - _LINE * (len(lines) - 1) / 2 + 4.5
    parts = [f'<path d="M12 {top}H{_WIDTH - 12}" stroke="{_RULE}"/>']
    parts += [_text(12, first + _LINE * i, line) for i, line in enumerate(lines)]
    if row.interval:
        low, high = map(_at, row.interval)
        parts.append(f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{colour}" stroke-width="3"/>')
    for side in row.beyond:
        parts.append(_shape(ARROWS[side], _at(-LIMIT if side == "left" else LIMIT), middle, colour))
    if shape and abs(row.effect) <= LIMIT:
        parts.append(_shape(shape, _at(row.effect), middle, colour))
    if shape:
        parts.append(_shape(shape, _WORDS + 6, middle, colour))
    weight = ' font-weight="bold"' if row.word in WORDS and row.word != INCONCLUSIVE else f' fill="{_GREY}"'
    parts.append(_text(_WORDS + 17, middle + 4.5, row.word, weight))
    return parts


def _shape(path: str, x: float, y: float, colour: str) -> str:
    return (
        f'<path transform="translate({x:.1f} {y:.1f})" d="{path}" fill="{colour}" stroke="{_INK}" stroke-width="0.8"/>'
    )
