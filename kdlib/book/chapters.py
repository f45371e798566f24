"""Chapters of prose whose figures and numbers come from the records: filled in when the book is staged.

A chapter is a Markdown file in `book/`. A line of its own of one of these forms is replaced:

    <!-- figure: NAME PAPER: caption -->   a figure of kdlib.papers.han2023.figures.overview or concepts_overview
    <!-- verdict: CLAIM_ID -->             what was measured for this claim, and the word it leads to
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from kdlib.claims import Claim, Record, all_claims, read_records
from kdlib.errors import choose

_FIGURE = re.compile(r"^<!-- figure: (\w+) (\w+): (.+) -->$", re.MULTILINE)
_VERDICT = re.compile(r"^<!-- verdict: ([\w.]+) -->$", re.MULTILINE)


def fill_chapters(folder: Path, results: Sequence[Path]) -> None:
    """Fill in, in place, every chapter below `folder` (a staged copy of `book/`) from the records in `results`."""
    records: list[Record] | None = None
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if not (_FIGURE.search(text) or _VERDICT.search(text)):
            continue
        if records is None:
            records = read_records(results)
        path.write_text(fill(text, all_claims(), records, path.parent), encoding="utf-8")


def fill(text: str, claims: Mapping[str, Claim], records: Sequence[Record], folder: Path) -> str:
    """The chapter with figures, written into `folder`, and verdicts in place of their marks."""

    def drawn(mark: re.Match[str]) -> str:
        from kdlib.papers.cheng2020.figures import overview as concepts_overview
        from kdlib.papers.han2023.figures import overview
        from kdlib.plotting.style import use_style

        name, paper, caption = mark.groups()
        use_style()
        own = {key: claim for key, claim in claims.items() if claim.paper.key == paper}
        figures = overview.FIGURES | concepts_overview.FIGURES
        made = figures[choose(name, figures, "figure of a chapter")](own, records)
        if made is None:
            return "*This figure needs results that are not yet on file.*"
        figure, description = made
        file = f"{paper}_{name}.png"
        figure.savefig(folder / file, dpi=130, metadata={"Software": None})
        plt.close(figure)
        described = re.sub(r"\s+", " ", description)
        return f":::{{figure}} {file}\n:alt: {described}\n:width: 100%\n\n{caption}\n:::"

    def judged(mark: re.Match[str]) -> str:
        from kdlib.claims.on_file import strongest
        from kdlib.claims.phrases import measured_in_words

        claim = claims[choose(mark[1], claims, "claim")]
        found = strongest(records, claim.id)
        head = f"- Claim {claim.short_id}, *{claim.short}*"
        if found is None:
            return f"{head}: not yet measured."
        record, verdict = found
        return (
            f"{head}: **{verdict.word}**, {measured_in_words(claim, verdict)} "
            f"([{record.preset}, {verdict.contrast.n} seeds](../notebooks/{record.notebook}.ipynb))"
        )

    return _VERDICT.sub(judged, _FIGURE.sub(drawn, text))
