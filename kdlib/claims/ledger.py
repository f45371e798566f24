"""The ledger: every claim, what the paper reports, what we measured, the verdict, in one MyST page.

Built from claims and records alone, so every verdict in it is backed by a record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdlib.claims.claim import PROVENANCE, Claim
from kdlib.claims.claim_files import all_claims
from kdlib.claims.phrases import measured_in_words
from kdlib.claims.records import Record, read_records
from kdlib.claims.verdicts import RULE, WORDS, Verdict
from kdlib.errors import KdlibError
from kdlib.files import replace_file
from kdlib.names import PRESETS, strength

NOT_YET = "not yet measured"
# The verdict comes second: on a phone, and in 700 pixels of text, it must not hide behind a scroll bar.
_COLUMNS = ("Claim", "Verdict", "We measured (95 % interval)")


def compile_ledger(
    claims: Mapping[str, Claim], records: Iterable[Record], *, title: str | None = "Ledger of claims"
) -> str:
    """The ledger as a MyST page: a summary, one table per paper, how verdicts are reached, where the numbers come from.

    A claim measured at several presets has one row for each; one that no record measures says "not yet measured".
    Records of the smoke preset are left out. Raises `KdlibError` where a record judges an unknown claim or a
    verdict does not follow from its measurements. `title=None` leaves the page's heading to the caller.

    >>> from kdlib.claims import load_claims
    >>> page = compile_ledger(load_claims("han2023"), [])
    >>> "not yet measured" in page and "| **supported** |" not in page
    True
    """
    kept = _backing(claims, records)
    lines = [f"# {title}", ""] if title else []
    lines += [_summary(claims, kept, link="using.md"), ""]
    for key in dict.fromkeys(claim.paper.key for claim in claims.values()):
        own = [claim for claim in claims.values() if claim.paper.key == key]
        paper = own[0].paper
        # The target is where links point, and it names the paper whose claims the rows below are.
        lines += [f"(ledger-{key})=", f"## {_text(paper.title)}", ""]
        lines += [f"{_text(paper.authors)}. {_text(paper.venue)}.", "", *_sources(own)]
        columns = (*_COLUMNS, own[0].reported_as.capitalize(), "Seeds")
        lines += _table(columns, [row for claim in own for row in _rows(claim, kept)])
        notes = [f"- {claim.short_id}: {_text(claim.note)}" for claim in own if claim.note]
        lines += ["", *_fixed(own), ""]
        lines += ["Notes on the claims:", "", *notes, ""] if notes else []
    lines += [*_how(), ""]
    if kept:
        lines += ["## Where the numbers come from", "", *_provenance(kept)]
    return "\n".join(lines).rstrip() + "\n"


def ledger_page(folders: Iterable[str | Path], *, title: str | None = "Ledger of claims") -> str:
    """The ledger of every paper on file, from the results below `folders`; see `read_records` for which wins."""
    return compile_ledger(all_claims(), read_records(folders), title=title)


def may_back(record: Record) -> bool:
    """Whether a record's preset learns enough to say anything about a claim."""
    return strength(record.preset) > 0


def _backing(claims: Mapping[str, Claim], records: Iterable[Record]) -> list[Record]:
    """The records that may back verdicts, rechecked, ordered by notebook and preset."""
    kept = [record for record in records if may_back(record)]
    kept.sort(key=lambda record: (record.notebook, strength(record.preset)))
    for record in kept:
        unknown = [claim_id for claim_id in record.verdicts if claim_id not in claims]
        if unknown:
            raise KdlibError(
                f"{record.notebook} ({record.preset}) judges {', '.join(unknown)}, which no paper's file holds; "
                "run the notebook again"
            )
        record.recheck()
    return kept


def _summary(claims: Mapping[str, Claim], records: list[Record], link: str) -> str:
    """How many claims have which verdict, for each preset, null results included; `link` explains the presets."""
    measured = {claim_id for record in records for claim_id in record.verdicts}
    parts = [f"**{len(claims)} claims on file, {len(measured)} measured, {len(claims) - len(measured)} {NOT_YET}.**"]
    for preset in dict.fromkeys(record.preset for record in records):
        words = Counter(v.word for record in records if record.preset == preset for v in record.verdicts.values())
        if words:
            sizes = f" ([{PRESETS[preset].meaning}]({link}))" if preset in PRESETS else ""
            parts.append(f"At preset `{preset}`{sizes}: {', '.join(f'{words[word]} {word}' for word in WORDS)}.")
    return " ".join(parts)


def _rows(claim: Claim, records: list[Record]) -> Sequence[tuple[str, ...]]:
    """The rows of one claim: one per record that judges it, or one that says it is not yet measured."""
    head, reported = _head(claim), _text(claim.paper_says)
    rows = []
    for record in records:
        found = record.verdicts.get(claim.id)
        if found is not None:
            run = f"{{doc}}`{_run(record, found)} </notebooks/{record.notebook}>`"
            rows.append((head, f"**{found.word}**", _text(measured_in_words(claim, found)), reported, run))
    return rows or [(head, NOT_YET, "–", reported, "–")]


def _head(claim: Claim) -> str:
    return f"{claim.short_id}: {_text(claim.short)}"


def _run(record: Record, found: Verdict) -> str:
    n = found.contrast.n
    return f"{record.preset}, {n} seed{'s' if n > 1 else ''}"


def _sources(claims: list[Claim]) -> list[str]:
    """One paragraph on where the values of one paper are from, with the tags in use."""
    used = {tag.strip() for claim in claims for item in claim.reported for tag in item.provenance.split(",")}
    tags = [f"{meaning} (`{tag}`)" for tag, meaning in PROVENANCE.items() if tag in used]
    if not tags:
        return []
    listed = " or ".join(part for part in (", ".join(tags[:-1]), tags[-1]) if part)
    text = "The paper's" if claims[0].paper.text_open else "The text of the paper was not open to us: its"
    return [f"{text} numbers are from {listed}; *not known* means that none of these has it.", ""]


def _how() -> list[str]:
    """The rule of the verdicts, for readers."""
    return [
        "## How the verdicts are reached",
        "",
        "A claim is tested by one contrast fixed beforehand: a measure in one arm (one way of training) minus the same "
        "measure in the other, over paired seeds (same initialisation, same order of the data). Two 95 % intervals of "
        "the mean difference are taken, a percentile bootstrap and Student's t, because the bootstrap is too "
        "narrow with few seeds; the table shows the span of both.",
        "",
        *(f"- **{word}**: {RULE[word]}." for word in WORDS),
        "",
        "Each claim stands for itself: the intervals are not widened for the number of claims, so of forty claims "
        "about effects that do not exist one would be called supported and one contradicted. A verdict is about our "
        "images, networks and seeds; it neither reproduces nor refutes the paper's own numbers.",
    ]


def _fixed(claims: list[Claim]) -> list[str]:
    """What was fixed before measuring, folded away: contrast, direction, smallest effect and its reason."""
    lines = []
    for claim in claims:
        side = "above" if claim.direction == "greater" else "below"
        text = (
            f"{claim.statement} ({claim.where}.) Contrast: {claim.contrast_in_words}, claimed to lie {side} zero; "
            f"smallest effect that would matter: {claim.smallest}. {claim.smallest_effect_reason} At least "
            f"{claim.minimum_seeds} seeds."
        )
        lines.append(f"- {claim.short_id}: {_text(text)}")
    return ["````{dropdown} What was fixed before measuring", *lines, "````"]


def _provenance(records: list[Record]) -> list[str]:
    lines = []
    for record in records:
        made = {key: "not known" if value is None else value for key, value in record.provenance.items()}
        seconds = made["seconds"] if isinstance(made["seconds"], str) else f"{made['seconds']:.0f} s"
        commit = re.sub(r"^(\w{12})\w*", r"\1", str(made["git_commit"])).replace("+changes", " with changes")
        text = (
            f", {record.preset}: {made['date']}, {seconds} on {made['device']} ({made['machine']}, "
            f"{made['cores']} cores); kdlib {made['kdlib']}, commit {commit}, torch {made['torch']}."
        )
        lines.append(f"- {{doc}}`{record.notebook} </notebooks/{record.notebook}>`{_text(text)}")
    return lines


def _text(text: str) -> str:
    """`text` so that Markdown and a table cell show it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|$#])", r"\\\1", " ".join(text.split()))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def readme_table(records: Iterable[Record]) -> str:
    """The measured claims as a plain Markdown table, for the README; a sentence where nothing is measured yet.

    >>> readme_table([])
    'No results yet.\\n'
    """
    records = list(records)
    claims = all_claims({claim_id: None for record in records for claim_id in record.verdicts})
    kept = _backing(claims, records)
    rows: dict[str, list[tuple[str, ...]]] = {}
    for claim in claims.values():
        for record in kept:
            found = record.verdicts.get(claim.id)
            if found is not None:
                run = f"[{_run(record, found)}](notebooks/{record.notebook}.ipynb)"
                row = (_head(claim), f"**{found.word}**", _text(measured_in_words(claim, found)), run)
                rows.setdefault(claim.paper.key, []).append(row)
    if not rows:
        return "No results yet.\n"
    lines = []
    for key, own in rows.items():
        paper = next(claim.paper for claim in claims.values() if claim.paper.key == key)
        lines += [f"{_text(paper.authors)}: *{_text(paper.title)}* (`{key}`)", ""]
        lines += [*_table((*_COLUMNS, "Seeds"), own), ""]
    return "\n".join([*lines, _summary(claims, kept, link="book/using.md")]) + "\n"


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


def refresh_readme(path: str | Path, records: Iterable[Record], name: str = "results") -> bool:
    """Bring the table of results between the markers of a README up to date; True where the file changed.

    The file is written whole or not at all. Raises `KdlibError` where it cannot be read or has no markers.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        fresh = refresh_between_markers(text, name, readme_table(records))
        if fresh == text:
            return False
        replace_file(path, fresh)
    except OSError as error:
        raise KdlibError(f"cannot refresh {path}: {error.strerror}; check that it exists and can be written") from error
    return True
