"""Whether a text gives only verdicts that records back."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kdlib.claims.claim_files import papers
from kdlib.claims.forest_rows import NOT_YET
from kdlib.claims.ledger import may_back
from kdlib.claims.records import Record
from kdlib.claims.rule import WORDS
from kdlib.errors import KdlibError

RUN = re.compile(r"(\w+), \d+ seeds?\b")
CLAIM_ID = re.compile(r"\b[a-z]+\d{4}\.\d+[a-z]?\b")
SHORT_ID = re.compile(r"\|\s*(\d+[a-z]?): ")  # how a row of a table in the ledger begins
VERDICT = re.compile("|".join((*WORDS, NOT_YET)))  # "not supported" starts before the "supported" in it, so it is found


def check_prose(text: str, records: Iterable[Record]) -> None:
    """Raise `KdlibError` where `text` gives a verdict that no record backs.

    A line that names claims (`han2023.1b`) and holds a verdict word must have that word on file for one of them;
    a row of a table in the ledger, which names its claim as `1b`, at the row's own preset and for the paper
    named last above it (`han2023`). "Not yet measured" must be true as well. Smoke records back nothing.

    >>> check_prose("Label smoothing lost detectors (han2023.2b: supported).", [])
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: line 1 says 'supported' of han2023.2b, and no record backs it; say what the records say
    """
    on_file = {
        (claim_id, found.word, record.preset)
        for record in records
        if may_back(record)
        for claim_id, found in record.verdicts.items()
    }
    judged = {claim_id for claim_id, _, _ in on_file}
    known = papers()
    above = list(known)  # the papers a row may be about; all of them until one is named
    for number_of_line, line in enumerate(text.splitlines(), 1):
        ids = list(dict.fromkeys(CLAIM_ID.findall(line)))
        words = VERDICT.findall(line.lower())
        above = [key for key in known if re.search(rf"\b{key}\b", line)] or above
        if line.lstrip().startswith("|"):
            if short := SHORT_ID.match(line.lstrip()):
                ids += [f"{key}.{short[1]}" for key in above]
            words = [cell for cell in (cell.strip(" *") for cell in line.split("|")) if VERDICT.fullmatch(cell)]
        runs = RUN.findall(line)
        for word in words if ids else []:
            backed = any(
                claim_id in ids and found == word and (not runs or preset in runs)
                for claim_id, found, preset in on_file
            )
            if word == NOT_YET:
                backed = any(claim_id not in judged for claim_id in ids)
            if not backed:
                raise KdlibError(
                    f"line {number_of_line} says '{word}' of {', '.join(ids)}, and no record backs it; say what the "
                    "records say"
                )
