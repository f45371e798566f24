"""Chapters of prose whose figures and numbers come from the records: filled in when the book is staged.

A chapter is a Markdown file in `book/`. A line of its own of one of these forms is replaced:

    <!-- figure: NAME PAPER: caption -->   a figure of kdlib.papers.PAPER.figures.overview, or at_a_glance of any paper
    <!-- verdict: CLAIM_ID -->             what was measured for this claim, and the word it leads to
    <!-- found: NOTEBOOK -->               the answer that this chapter of the book came to
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path

import matplotlib.pyplot as plt

from kdlib.claims import Claim, Record, all_claims, papers, read_records
from kdlib.errors import choose

_FIGURE = re.compile(r"^<!-- figure: (\w+) (\w+): (.+) -->$", re.MULTILINE)
_VERDICT = re.compile(r"^<!-- verdict: ([\w.]+) -->$", re.MULTILINE)
_FOUND = re.compile(r"^<!-- found: (\w+) -->$", re.MULTILINE)
_DPI = 200


def fill_chapters(folder: Path, results: Sequence[Path]) -> None:
    """Fill in, in place, every chapter below `folder` (a staged copy of `book/`) from the records in `results`."""
    records: list[Record] | None = None
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if not any(mark.search(text) for mark in (_FIGURE, _VERDICT, _FOUND)):
            continue
        if records is None:
            records = read_records(results)
        path.write_text(fill(text, all_claims(), records, path.parent), encoding="utf-8")


def fill(text: str, claims: Mapping[str, Claim], records: Sequence[Record], folder: Path) -> str:
    """The chapter with figures, written into `folder`, verdicts and answers in place of their marks.

    Figures are numbered in the order of the page.
    """
    numbers = count(1)

    def drawn(mark: re.Match[str]) -> str:
        from kdlib.claims.at_a_glance import at_a_glance
        from kdlib.plotting.style import use_style

        name, paper, caption = mark.groups()
        own = {key: claim for key, claim in claims.items() if claim.paper.key == paper}
        choose(paper, papers(), "paper of a figure")
        figures = import_module(f"kdlib.papers.{paper}.figures.overview").FIGURES | {"at_a_glance": at_a_glance}
        use_style()
        made = figures[choose(name, figures, "figure of a chapter")](own, records)
        if made is None:
            return "*This figure needs results that are not yet on file.*"
        figure, description = made
        file = f"{paper}_{name}.png"
        # 100 pixels of the page an inch, so that letters are as large as the text around them.
        width = round(100 * figure.get_size_inches()[0])
        figure.savefig(folder / file, dpi=_DPI, metadata={"Software": None})
        plt.close(figure)
        described = re.sub(r"\s+", " ", description)
        numbered = f"*Figure {next(numbers)}.* {caption}"
        return f":::{{figure}} {file}\n:alt: {described}\n:width: {width}px\n\n{numbered}\n:::"

    def judged(mark: re.Match[str]) -> str:
        from kdlib.claims.on_file import strongest
        from kdlib.claims.verdicts import measured_in_words

        claim = claims[choose(mark[1], claims, "claim")]
        found = strongest(records, claim.id)
        head = f"- Claim {claim.short_id}, *{claim.short}*{' (exploratory)' if claim.conditions.exploratory else ''}"
        if found is None:
            return f"{head}: not yet measured."
        record, verdict = found
        text = (
            f"{head}: **{verdict.word}**, {measured_in_words(claim, verdict)} "
            f"([{record.preset}, {verdict.contrast.n} seeds](../notebooks/{record.notebook}.ipynb))"
        )
        return ". ".join([text, *(f"{remark[0].upper()}{remark[1:]}".rstrip(".") for remark in verdict.remarks)])

    def answered(mark: re.Match[str]) -> str:
        from kdlib.claims.on_file import measured
        from kdlib.plotting.tables import with_minus

        record = measured(records, mark[1])
        # A link without a text takes the title of the page that it leads to.
        head = f"- [](../notebooks/{mark[1]}.ipynb): "
        if record is None or not record.found:
            return f"{head}this chapter has not been run with this version of the book."
        return head + with_minus(" ".join(record.found[0].split()))

    return _FOUND.sub(answered, _VERDICT.sub(judged, _FIGURE.sub(drawn, text)))
