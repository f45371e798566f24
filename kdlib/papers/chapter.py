"""What every notebook of the book does around its science: the box under the title, claims, verdicts, provenance.

chapter = Chapter("han2023_concept_detectors")
chapter.box()                                   # under the title; filled when the run has ended
chapter.claims_table()                          # what the paper claims
record = chapter.start(study, preset=preset, seed=seed, ...)
chapter.measure("detectors", {"kd": [...], "scratch": [...]}, "percent of units")
chapter.figure("KD gains detectors", "A bar for ...")
chapter.verdicts()
chapter.conclude(answer, how_sure, controls)    # the box's three lines
chapter.provenance(study.describe())
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from IPython.display import Markdown, display, update_display

from kdlib.claims import Claim, Record, load_claims
from kdlib.claims.claim_files import papers
from kdlib.claims.interval_words import subject_of
from kdlib.claims.phrases import with_interval
from kdlib.claims.rule import rule_in_words
from kdlib.claims.verdicts import measured_in_words
from kdlib.errors import KdlibError
from kdlib.names import arm_in_prose
from kdlib.plotting.style import show, use_style
from kdlib.plotting.tables import Table, facts, with_minus
from kdlib.plotting.text import boxed, folded
from kdlib.runs.source import source_hash

_BOX = "what-we-found"
_TITLE = "What we found"
_KEPT = ("kdlib", "torch", "machine", "cores", "device", "date")


class Chapter:
    """One notebook of the book, by the name of its file.

    claims: those that this notebook judges, by id; empty for a chapter of no paper. Making it sets the book's figure
    style.
    """

    def __init__(self, name: str) -> None:
        use_style()
        self.name = name
        self.paper = name.partition("_")[0]
        on_file = load_claims(self.paper) if self.paper in papers() else {}
        self.claims: dict[str, Claim] = {id_: claim for id_, claim in on_file.items() if claim.notebook == name}
        self.figures = 0
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """What this run measured; there after `start`."""
        if self._record is None:
            raise KdlibError("this chapter has no record yet; call chapter.start(...) after the parameters")
        return self._record

    # ---- under the title ---------------------------------------------------------------------------------------------

    def box(self) -> None:
        """The box **what we found**, filled by `conclude` when the notebook has run to its end."""
        display(boxed(_TITLE, ["This run has not ended yet; its result will stand here."]), display_id=_BOX)

    def conclude(self, answer: str, how_sure: str, controls: str) -> None:
        """Fill the box with three lines, each a sentence or two made from the record; they go on file too.

        answer: to the chapter's question. how_sure: interval and seeds. controls: what they say.
        """
        lines = [with_minus(line.strip()) for line in (answer, how_sure, controls)]
        if not all(lines):
            raise KdlibError("the box needs three lines: the answer, how sure it is, and what the controls say")
        self.record.found = tuple(lines)
        names = ("**Answer.**", "**How sure.**", "**Controls.**")
        paragraphs = [f"{name} {line}" for name, line in zip(names, lines, strict=True)]
        update_display(boxed(_TITLE, paragraphs), display_id=_BOX)

    # ---- claims ------------------------------------------------------------------------------------------------------

    def claims_table(self) -> None:
        """The claims that this chapter tests, each with the difference that would matter, fixed beforehand.

        What the paper reports stands once, beside what was measured: see `verdicts`.
        """
        rows = [
            {
                "claim": claim.short_id,
                "statement": claim.statement,
                "would matter from": claim.smallest,
            }
            for claim in self.claims.values()
        ]
        display(Table(rows))

    def start(self, study: Any = None, **parameters: Any) -> Record:
        """Begin the record of this run. study: gives seeds and device, or None. parameters: those of the notebook."""
        if study is not None:
            parameters["n_seeds"] = len(study.seeds)
        loaded = [name for name in sys.modules if name.split(".")[0] == "kdlib"]
        device = None if study is None else str(study.device)
        self._record = Record(self.name, parameters, device=device, source_fingerprint=source_hash(loaded))
        self.seeds: Sequence[int] = () if study is None else study.seeds
        return self._record

    def measure(
        self, metric: str, values: Mapping[str, Sequence[float]], unit: str, *, units: int | None = None
    ) -> None:
        """File one number a seed for each arm, in the order of the study's seeds.

        units: of how many units a share is, where the unit is "percent of units".
        """
        for arm, by_seed in values.items():
            self.record.measure(f"{metric}/{arm}", dict(zip(self.seeds, by_seed, strict=True)), unit, units=units)

    def verdicts(self) -> None:
        """Judge every claim of this chapter that was measured: a row each, what failed or survived in a sentence each.

        The sentences in full and the rule stand behind a fold. Which claims were not judged, and what they lack, is
        said in one line.
        """
        record, missing = self.record, []
        for id_, claim in self.claims.items():
            lacking = record.lacks(id_)
            if lacking:
                missing.append(f"{claim.short_id} (lacks {subject_of(lacking[0])})")
            else:
                record.claim(id_)
        if missing:
            display(Markdown(f"Not judged on these data, which lack what they need: {', '.join(missing)}."))
        if not record.verdicts:
            return
        display(record.table())
        told = {self.claims[id_].short_id: found for id_, found in record.verdicts.items()}
        remarks = [f"- **{id_}**: {text}" for id_, found in told.items() for text in found.remarks]
        if remarks:
            display(Markdown("\n".join(remarks)))
        sentences = [f"- **{id_}**: {found.sentence}" for id_, found in told.items()]
        display(folded("The numbers in full, and the rule", [*sentences, "", rule_in_words()]))

    def verdict_in_words(self, short_id: str) -> str:
        """A judged claim in half a sentence, for the box.

        Such as "detectors, KD minus scratch: +2.3 (-1.0 to +5.7) points of the layer's units, 3 seeds, inconclusive".
        """
        id_ = f"{self.paper}.{short_id}"
        found, claim = self.record.verdicts[id_], self.claims[id_]
        seeds = "1 seed" if found.contrast.n == 1 else f"{found.contrast.n} seeds"
        return f"{claim.contrast_in_words}: {measured_in_words(claim, found)}, {seeds}, **{found.word}**"

    def contrast_in_words(self, metric: str, arm_a: str, arm_b: str, unit: str) -> str:
        """A contrast that no claim is about, in half a sentence."""
        contrast = self.record.contrast(metric, arm_a, arm_b)
        return f"{arm_in_prose(arm_a)} minus {arm_in_prose(arm_b)}: {with_interval(contrast, unit)}"

    # ---- figures and the end -----------------------------------------------------------------------------------------

    def figure(self, caption: str, alt: str) -> None:
        """Show the current figure with its number, a caption that says what to see, and a description of it."""
        show(alt)
        self.figures += 1
        display(Markdown(f"*Figure {self.figures}.* {with_minus(caption)}"))

    def provenance(self, described: Mapping[str, object] | None = None) -> None:
        """Write the record, and show what made it."""
        self.record.write()
        kept = {name: self.record.provenance[name] for name in _KEPT}
        display(facts(kept | dict(described or {})))
