"""Gates, controls and marks of a claim, from its table in a `claims.toml`.

    [gate.good_teacher]                       # shared: a claim names it
    kind = "at least"
    reads = "accuracy/teacher"
    threshold = 85
    sentence = "A poor teacher has little to teach."

    [control.shuffled]
    name = "a shuffled teacher"
    reads = "detectors/kd_shuffled"
    minus = "detectors/scratch"
    because = "It has no similarity of classes."

    [[claim]]
    ...
    gates = ["good_teacher", { kind = "premise", reads = "accuracy/kd", minus = "accuracy/scratch", sentence = "..." }]
    controls = ["shuffled"]
    effect_in = "odds"                        # "difference" where it is left out
    smallest_odds_ratio = 1.16
    exploratory = true                        # with the day and the reason
    exploratory_since = 2026-11-27
    exploratory_why = "Added after the students' detectors had been seen."

Whether an arm or a measurement exists is known to the record that is judged, not here.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from kdlib.claims.controls import Control
from kdlib.claims.gates import Gate
from kdlib.claims.odds import smallest_log_ratio
from kdlib.errors import KdlibError, choose, shown

#: The keys of a claim's table that are read here.
KEYS = (
    "gates",
    "controls",
    "effect_in",
    "smallest_odds_ratio",
    "exploratory",
    "exploratory_since",
    "exploratory_why",
)
EFFECTS = ("difference", "odds")
T = TypeVar("T", Gate, Control)
_GATE_KEYS = tuple(field.name for field in fields(Gate))
_CONTROL_KEYS = tuple(field.name for field in fields(Control))


@dataclass(frozen=True)
class Conditions:
    """What a claim's verdict hangs on besides its contrast.

    smallest_odds_ratio: above 1, for an effect in odds; None for one in the unit of its differences. exploratory_since:
    the day on which a claim was added whose result had been seen, None for one that was written down before.
    """

    gates: tuple[Gate, ...] = ()
    controls: tuple[Control, ...] = ()
    smallest_odds_ratio: float | None = None
    exploratory_since: datetime.date | None = None
    exploratory_why: str = ""

    @property
    def exploratory(self) -> bool:
        """Whether the claim was added after its result was seen; it stands in no headline count then.

        >>> Conditions().exploratory
        False
        """
        return self.exploratory_since is not None


def read_gate(table: object, what: str) -> Gate:
    """A gate from its table; `what` names the place in errors.

    Raises KdlibError for an unknown key or kind, a missing field, a text that is none.

    >>> read_gate({"kind": "at least", "reads": "accuracy/teacher", "sentence": "It must know."}, "gate 1 of claim 1b")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: gate 1 of claim 1b: the gate 'at least' on 'accuracy/teacher' lacks its threshold; add it
    """
    values = _checked(table, _GATE_KEYS, ("kind", "reads", "sentence"), what)
    reads = values["reads"] if isinstance(values["reads"], list) else [values["reads"]]
    _check_texts({key: values[key] for key in ("kind", "sentence", "minus", "unit", "subject") if key in values}, what)
    _check_texts({f"reads number {place}": name for place, name in enumerate(reads, 1)}, what)
    return _made(Gate, {**values, "reads": tuple(reads)}, what)


def read_control(table: object, what: str) -> Control:
    """A control from its table; `what` names the place in errors. Raises KdlibError as `read_gate` does.

    >>> read_control({"name": "a shuffled teacher", "reads": "detectors/kd_shuffled", "because": "No similarity."},
    ...              "control 1 of claim 1b").named
    "the control 'a shuffled teacher'"
    """
    values = _checked(table, _CONTROL_KEYS, ("name", "reads", "because"), what)
    _check_texts(values, what)
    return _made(Control, values, what)


def read_conditions(
    claim: Mapping[str, Any],
    source: str,
    shared_gates: Mapping[str, Gate] | None = None,
    shared_controls: Mapping[str, Control] | None = None,
) -> Conditions:
    """The conditions in a claim's table; its other keys are not looked at.

    source: names the claim in errors. shared_gates, shared_controls: name -> what claims may name instead of writing it
    out.

    Raises KdlibError with the claim, the value and the remedy.

    >>> teacher = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)
    >>> table = {"gates": ["teacher"], "effect_in": "odds", "smallest_odds_ratio": 1.16}
    >>> found = read_conditions(table, "claim 1b", {"teacher": teacher})
    >>> found.gates[0].threshold, found.smallest_odds_ratio, found.exploratory
    (85.0, 1.16, False)
    """
    gates = _listed(claim.get("gates", []), "gate", source, shared_gates or {}, read_gate)
    controls = _listed(claim.get("controls", []), "control", source, shared_controls or {}, read_control)
    effect_in = choose(claim.get("effect_in", "difference"), EFFECTS, f"effect_in of {source}")
    ratio = claim.get("smallest_odds_ratio")
    if (effect_in == "odds") != (ratio is not None):
        raise KdlibError(
            f"{source} has effect_in = {effect_in!r} and smallest_odds_ratio = {ratio!r}; an effect in odds "
            "needs both, another one neither"
        )
    if ratio is not None:
        smallest_log_ratio(ratio, f"smallest_odds_ratio of {source}")
    return Conditions(gates, controls, ratio, *_exploratory(claim, source))


def _exploratory(claim: Mapping[str, Any], source: str) -> tuple[datetime.date | None, str]:
    mark = claim.get("exploratory", False)
    since, why = claim.get("exploratory_since"), claim.get("exploratory_why", "")
    if not isinstance(mark, bool):
        raise KdlibError(f"exploratory of {source} must be true or false, not {shown(mark)}")
    if not mark and (since is not None or why):
        raise KdlibError(f"{source} says since when or why it is exploratory, and exploratory = {mark}; make it true")
    if mark:
        _check_texts({"exploratory_why": why}, source)
        if not isinstance(since, datetime.date) or isinstance(since, datetime.datetime):
            raise KdlibError(f"exploratory_since of {source} must be a day like 2026-11-27, not {shown(since)}")
    return since, why


def _listed(
    items: object, kind: str, source: str, shared: Mapping[str, T], read: Callable[[object, str], T]
) -> tuple[T, ...]:
    if not isinstance(items, list):
        raise KdlibError(f"{kind}s of {source} must be a list of tables and names, not {shown(items)}")
    return tuple(
        shared[choose(item, shared, f"{kind} of {source}")]
        if isinstance(item, str)
        else read(item, f"{kind} {place} of {source}")
        for place, item in enumerate(items, 1)
    )


def _checked(table: object, known: tuple[str, ...], needed: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise KdlibError(f"{what} must be a table of keys and values, not {shown(table)}")
    for key in table:
        choose(key, known, f"key of {what}")
    missing = [key for key in needed if key not in table]
    if missing:
        raise KdlibError(f"{what} lacks {', '.join(missing)}; add what is missing")
    return dict(table)


def _check_texts(texts: Mapping[str, object], what: str) -> None:
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise KdlibError(f"{key} of {what} must be a text, not {shown(text)}")


def _made(kind: Callable[..., T], values: dict[str, Any], what: str) -> T:
    try:
        return kind(**values)
    except KdlibError as error:
        raise KdlibError(f"{what}: {error}") from error
