"""The results in the README: how many claims have which verdict, a line a paper, and the forest plot as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kdlib.claims.claim_files import all_claims
from kdlib.claims.forest_picture import forest_in_words, forest_svg
from kdlib.claims.forest_rows import ForestRow, by_paper, cited, counts, exploratory_in_words, forest_rows
from kdlib.claims.ledger import backing, table
from kdlib.claims.records import Record
from kdlib.errors import KdlibError
from kdlib.files import replace_file
from kdlib.names import PRESETS

#: Where the picture lies, as seen from the README.
PICTURE = "book/_static/claims.svg"


def results_in_readme(records: Iterable[Record]) -> tuple[str, str | None]:
    """The Markdown of the README's results, and the picture (SVG) that it shows; a sentence and no picture where
    nothing is measured yet.

    >>> results_in_readme([])
    ('No results yet.\\n', None)
    """
    claims = all_claims()
    kept = backing(claims, records)
    rows = forest_rows(claims, kept)
    if not any(row.found for row in rows):
        return "No results yet.\n", None
    lines = table(("Paper", *counts(rows)), _lines(rows))
    picture = f"![{forest_in_words(rows)}]({PICTURE})"
    return "\n".join([*lines, "", _presets(rows), "", picture]) + "\n", forest_svg(rows)


def _lines(rows: Sequence[ForestRow]) -> list[tuple[str, ...]]:
    papers = by_paper(rows)
    lines = [(cited(paper), *map(str, counts(own).values())) for paper, own in papers.items()]
    if len(papers) > 1:
        lines.append(("all", *map(str, counts(rows).values())))
    return lines


def _presets(rows: Sequence[ForestRow]) -> str:
    """At which presets the counted verdicts were reached."""
    used = [row.record.preset for row in rows if row.record]
    told = [
        f"{used.count(preset)} at preset `{preset}`"
        + (f" ([{PRESETS[preset].meaning}](book/using.md))" if preset in PRESETS else "")
        for preset in dict.fromkeys(used)
    ]
    return f"Measured: {', '.join(told)}. {exploratory_in_words(rows)}".rstrip()


def refresh_between_markers(text: str, name: str, body: str) -> str:
    """`text` with what is between `<!-- name:begin -->` and `<!-- name:end -->` replaced by `body`.

    A README is current when this changes nothing. Raises `KdlibError` unless both markers stand there once, in order.

    >>> refresh_between_markers("a\\n<!-- results:begin -->\\nold\\n<!-- results:end -->\\nb\\n", "results", "new")
    'a\\n<!-- results:begin -->\\n\\nnew\\n\\n<!-- results:end -->\\nb\\n'
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise KdlibError(f"the text needs '{begin}' and after it '{end}', each once")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n\n{body.strip()}\n\n{end}{after}"


def refresh_readme(path: str | Path, records: Iterable[Record], name: str = "results") -> list[Path]:
    """Bring the results between the markers of a README, and the picture they show, up to date; the files that changed.

    Each file is written whole or not at all. Raises `KdlibError` where one cannot be read or written, or the README
    has no markers.
    """
    path = Path(path)
    picture = path.parent / PICTURE
    body, svg = results_in_readme(records)
    try:
        text = path.read_text(encoding="utf-8")
        wanted = {path: refresh_between_markers(text, name, body)}
        if svg is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            wanted[picture] = svg
        old = {file: file.read_text(encoding="utf-8") if file.is_file() else None for file in wanted}
        stale = [file for file in wanted if wanted[file] != old[file]]
        for file in stale:
            replace_file(file, wanted[file])
    except OSError as error:
        raise KdlibError(f"cannot refresh {path}: {error.strerror}; check that it exists and can be written") from error
    return stale
