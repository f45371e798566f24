"""Reads and checks the `claims.toml` of each paper's folder: the paper, what its claims share, the claims."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from kdlib.claims.claim import NOT_KNOWN, Claim, Paper, Reported
from kdlib.claims.conditions import KEYS as CONDITION_KEYS
from kdlib.claims.conditions import read_conditions, read_control, read_gate
from kdlib.claims.controls import Control
from kdlib.claims.gates import Gate
from kdlib.errors import KdlibError, choose

#: Where each paper has a folder; the engine knows none of them.
PAPERS = Path(__file__).parents[1] / "papers"
Shared = TypeVar("Shared", Gate, Control)


def _checked(
    table: object, kind: type, what: str, given: tuple[str, ...] = (), read_elsewhere: tuple[str, ...] = ()
) -> dict[str, Any]:
    """`table` as keyword arguments of the dataclass `kind`; names what is unknown or missing.

    given: fields that do not come from the table. read_elsewhere: keys of it that are no fields.
    """
    if not isinstance(table, dict):
        raise KdlibError(f"{what} must be a table of keys and values, not {table!r}")
    keys = [field.name for field in fields(kind) if field.name not in given]
    for key in table:
        choose(key, (*keys, *read_elsewhere), f"key of {what}")
    needed = [f.name for f in fields(kind) if f.name in keys and f.default is MISSING]
    missing = [key for key in needed if key not in table]
    if missing:
        raise KdlibError(f"{what} lacks {', '.join(missing)}; add what is missing")
    return dict(table)


def parse_claims(text: str, source: str) -> dict[str, Claim]:
    """The claims in a TOML `text`, by id in the order of the file; `source` names the file in errors."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KdlibError(f"{source} is not valid TOML ({error}); mend it there") from error
    for key in content:
        choose(key, ("paper", "gate", "control", "claim"), f"key of {source}")
    paper = Paper(**_checked(content.get("paper"), Paper, f"[paper] of {source}"))
    entries = content.get("claim", [])
    if not isinstance(entries, list) or not entries:
        raise KdlibError(f"{source} holds no [[claim]]; add one for each claim of the paper")
    gates = _shared(content, "gate", source, read_gate)
    controls = _shared(content, "control", source, read_control)
    claims: dict[str, Claim] = {}
    for number, entry in enumerate(entries, 1):
        what = f"claim {entry['id']}" if isinstance(entry, dict) and "id" in entry else f"claim number {number}"
        what = f"{what} of {source}"
        values = _checked(entry, Claim, what, given=("paper", "conditions"), read_elsewhere=CONDITION_KEYS)
        conditions = read_conditions(values, what, gates, controls)
        values = {key: value for key, value in values.items() if key not in CONDITION_KEYS}
        values["reported"] = _reported(values["reported"], what)
        experiments = values["experiments"]
        if not isinstance(experiments, list) or not all(isinstance(item, str) for item in experiments):
            raise KdlibError(f"{what}: experiments must be a list of names, not {experiments!r}")
        values["experiments"] = tuple(experiments)
        claim = Claim(paper=paper, conditions=conditions, **values)
        if claim.id in claims:
            raise KdlibError(f"{source} holds {claim.id} twice; every claim needs its own id")
        claims[claim.id] = claim
    for kind, shared in (("gate", gates), ("control", controls)):
        used = {name for entry in entries for name in entry.get(f"{kind}s", []) if isinstance(name, str)}
        for name in shared:
            if name not in used:
                raise KdlibError(f"no claim of {source} names the {kind} '{name}'; name it in one, or take it out")
    return claims


def _shared(
    content: Mapping[str, Any], kind: str, source: str, read: Callable[[object, str], Shared]
) -> dict[str, Shared]:
    """What the tables `[gate.NAME]` or `[control.NAME]` hold, by name."""
    tables = content.get(kind, {})
    if not isinstance(tables, dict):
        raise KdlibError(f"{kind} of {source} must be tables like [{kind}.NAME], not {tables!r}")
    return {name: read(table, f"[{kind}.{name}] of {source}") for name, table in tables.items()}


def _reported(value: object, what: str) -> tuple[Reported, ...]:
    """The reported values: `"not known"` or a list of tables."""
    if value == NOT_KNOWN:
        return ()
    if not isinstance(value, list) or not value:
        raise KdlibError(f'{what}: reported must be a list of tables or "{NOT_KNOWN}", not {value!r}')
    return tuple(Reported(**_checked(item, Reported, f"reported of {what}")) for item in value)


def papers() -> tuple[str, ...]:
    """The short names of the papers in the book: the folders of `kdlib/papers` that have a `settings.py`.

    >>> "han2023" in papers()
    True
    """
    return tuple(sorted(path.parent.name for path in PAPERS.glob("*/settings.py")))


def load_claims(paper: str) -> dict[str, Claim]:
    """The claims of one paper, by id, from `kdlib/papers/<paper>/claims.toml`.

    >>> claim = load_claims("han2023")["han2023.2b"]
    >>> claim.direction, claim.contrast_name
    ('less', 'detectors: label_smoothing - scratch')
    """
    path = PAPERS / choose(paper, papers(), "paper") / "claims.toml"
    if not path.is_file():
        raise KdlibError(f"the paper {paper} has no {path.name} in its folder; write its claims there")
    source = f"{paper}/{path.name}"
    claims = parse_claims(path.read_text(encoding="utf-8"), source)
    key = next(iter(claims.values())).paper.key
    if key != paper:
        raise KdlibError(f"{source} says it is about '{key}'; the folder's name and the paper's key must agree")
    return claims


def all_claims(only: Mapping[str, object] | None = None) -> dict[str, Claim]:
    """The claims of every paper, by id, in the order of the book.

    only: claim ids; the claims of their papers alone.
    """
    wanted = papers() if only is None else {claim_id.split(".")[0] for claim_id in only}
    by_number: dict[int, dict[str, Claim]] = {}
    for key in sorted(wanted):
        claims = load_claims(key)
        paper = next(iter(claims.values())).paper
        if paper.number in by_number:
            other = next(iter(by_number[paper.number].values())).paper
            raise KdlibError(f"the papers {other.key} and {key} both have the number {paper.number}; give each its own")
        by_number[paper.number] = claims
    return {id_: claim for number in sorted(by_number) for id_, claim in by_number[number].items()}
