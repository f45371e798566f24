"""The ledger: every claim, what we measured, the verdict, what the paper reports, in one MyST page.

Built from claims and records alone, so every verdict in it is backed by a record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdlib.claims.claim import PROVENANCE, Claim
from kdlib.claims.claim_files import all_claims
from kdlib.claims.forest import forest_html
from kdlib.claims.forest_rows import NOT_YET, ForestRow, by_paper, exploratory_in_words, forest_rows, run_in_words
from kdlib.claims.records import Record, read_records
from kdlib.claims.rule import MINIMUM_REPLICATES, RULE, WORDS
from kdlib.claims.verdicts import measured_in_words
from kdlib.errors import KdlibError
from kdlib.names import PRESETS, strength


def compile_ledger(
    claims: Mapping[str, Claim], records: Iterable[Record], *, title: str | None = "Ledger of claims"
) -> str:
    """The ledger as a MyST page: a summary, the forest plot of all claims, what each paper reports and what was fixed
    beforehand, how verdicts are reached, where the numbers come from.

    A claim measured at several presets stands in the plot with the largest, and in a table with the others; one that
    no record measures says "not yet measured". Records of the smoke preset are left out. Raises `KdlibError` where a
    record judges an unknown claim or a verdict does not follow from its measurements. `title=None` leaves the page's
    heading to the caller.

    >>> from kdlib.claims import load_claims
    >>> page = compile_ledger(load_claims("han2023"), [])
    >>> page.count(">not yet measured</strong>") == len(load_claims("han2023"))
    True
    """
    kept = backing(claims, records)
    rows = forest_rows(claims, kept)
    lines = [f"# {title}", ""] if title else []
    lines += [_summary(rows, kept), "", "## All claims", ""]
    lines += [
        "````{raw} html",
        forest_html(rows),
        "````",
        "",
        "## What the papers report, and what was fixed beforehand",
        "",
    ]
    for paper, of_paper in by_paper(rows).items():
        own = [row.claim for row in of_paper]
        # The target is where links point, and it names the paper whose claims the rows below are.
        lines += [f"(ledger-{paper.key})=", f"### {_text(paper.title)}", ""]
        lines += [f"{_text(paper.authors)}. {_text(paper.venue)}.", "", *_sources(own)]
        lines += table(("Claim", own[0].reported_as.capitalize()), [(_head(c), _text(c.paper_says)) for c in own])
        notes = [f"- {claim.short_id}: {_text(claim.note)}" for claim in own if claim.note]
        lines += ["", *_elsewhere(of_paper, kept), *_fixed(own), ""]
        lines += ["````{dropdown} Notes on the claims", *notes, "````", ""] if notes else []
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


def backing(claims: Mapping[str, Claim], records: Iterable[Record]) -> list[Record]:
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


def _summary(rows: Sequence[ForestRow], records: list[Record]) -> str:
    """How many claims have which verdict, for each preset, null results included and exploratory claims left out."""
    counted = {row.claim.id for row in rows if not row.exploratory}
    measured = counted & {claim_id for record in records for claim_id in record.verdicts}
    missing = len(counted) - len(measured)
    parts = [f"**{len(counted)} claims on file, {len(measured)} measured, {missing} {NOT_YET}.**"]
    for preset in dict.fromkeys(record.preset for record in records):
        found = [record.verdicts for record in records if record.preset == preset]
        words = Counter(v.word for verdicts in found for v in verdicts.values() if v.claim_id in counted)
        if words:
            sizes = f" ([{PRESETS[preset].meaning}](using.md))" if preset in PRESETS else ""
            parts.append(f"At preset `{preset}`{sizes}: {', '.join(f'{words[word]} {word}' for word in WORDS)}.")
    return " ".join(filter(None, (*parts, exploratory_in_words(rows))))


def _elsewhere(rows: Sequence[ForestRow], records: list[Record]) -> list[str]:
    """A table of the verdicts at presets other than the one in the plot; nothing where there are none."""
    lines = []
    for row in rows:
        for record in records:
            found = record.verdicts.get(row.claim.id)
            if found is None or record is row.record:
                continue
            run = f"{{doc}}`{run_in_words(record, found)} </notebooks/{record.notebook}>`"
            lines.append((_head(row.claim), f"**{found.word}**", _text(measured_in_words(row.claim, found)), run))
    if not lines:
        return []
    columns = ("Claim", "Verdict", "We measured (95 % interval)", "Seeds")
    return ["Measured at other presets than the plot shows:", "", *table(columns, lines), ""]


def _head(claim: Claim) -> str:
    return _text(claim.in_a_table)


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
        "measure in the other, over paired replicates (same first weights, same order of the data). One 95 % interval "
        "of the mean difference is taken, Student's t.",
        "",
        *(f"- **{word}**: {RULE[word]}." for word in WORDS),
        "",
        "A supported effect survives its controls if it is larger than what each control does alone: the 95 % interval "
        "of the rest lies on the claimed side of zero. It does not if what is left is too small to matter; else the "
        "question is open. A paper makes many claims, and of forty about effects that do not exist one would be called "
        "supported and one contradicted. So beside the verdict of each tested claim stands a p-value with Holm's "
        "correction for all tested claims of its paper; it does not change the verdict. A claim that was added after "
        "its result was seen is marked exploratory and is neither counted nor corrected. A verdict is about our "
        "images, networks and replicates; it neither reproduces nor refutes the paper's own numbers.",
    ]


def _fixed(claims: list[Claim]) -> list[str]:
    """What was fixed before measuring, folded away: contrast, direction, smallest effect and its reason."""
    lines = []
    for claim in claims:
        side = "above" if claim.direction == "greater" else "below"
        text = (
            f"{claim.statement} ({claim.where}.) Contrast: {claim.contrast_in_words}, claimed to lie {side} zero; "
            f"smallest effect that would matter: {claim.smallest}. {claim.smallest_effect_reason} At least "
            f"{max(claim.minimum_seeds, MINIMUM_REPLICATES)} replicates.{_conditions(claim)}"
        )
        lines.append(f"- {claim.short_id}: {_text(text)}")
    return ["````{dropdown} What was fixed before measuring", *lines, "````"]


def _conditions(claim: Claim) -> str:
    """Gates, controls and marks of a claim, as sentences that follow others."""
    found = claim.conditions
    parts = [f"Gate: {gate.sentence}" for gate in found.gates]
    parts += [f"Control: {control.name}. {control.because}" for control in found.controls]
    if found.exploratory_since is not None:
        parts.append(f"Exploratory since {found.exploratory_since}: {found.exploratory_why}")
    return "".join(f" {part}" for part in parts)


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


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
