"""The file form of a record: JSON with sorted keys, every number with all its digits.

A float is written as Python writes it, so that it is the same float when it is read: whoever has the file recomputes
every contrast and verdict exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdlib.claims.paired import TInterval
from kdlib.claims.rule import WORDS
from kdlib.claims.verdicts import Verdict
from kdlib.errors import KdlibError, choose
from kdlib.plotting.tables import MINUS
from kdlib.stats import Contrast

FORMAT = 2
_KEYS = ("format", "notebook", "preset", "parameters", "provenance", "measurements", "contrasts", "verdicts")


@dataclass(frozen=True)
class Measurement:
    """One number per seed, in a unit; `seeds` names the seeds where they were given.

    units: of how many units a share is, where the values are shares of a layer's units.
    """

    values: tuple[float, ...]
    unit: str
    seeds: tuple[int, ...] | None = None
    units: int | None = None

    @property
    def by_replicate(self) -> dict[int, float]:
        """Seed -> value; where no seeds were given, they count from 0.

        >>> Measurement((61.0, 63.0), "percent", seeds=(4, 5)).by_replicate
        {4: 61.0, 5: 63.0}
        """
        return dict(zip(self.seeds or range(len(self.values)), self.values, strict=True))


def plain(value: Any) -> Any:
    """`value` as JSON: NaN and infinities as null, tuples as lists, numpy's numbers as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise KdlibError(f"a record holds numbers, texts, lists and tables only, not {type(value).__name__} {value!r}")


def as_text(content: Mapping[str, Any]) -> str:
    """The content of a record as JSON: keys sorted, values as in `plain`, hyphens for minus signs in its sentences."""
    text = json.dumps(
        plain({"format": FORMAT, **content}), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return text.replace(MINUS, "-") + "\n"


class OtherFormat(Exception):
    """A record whose file has another format than this kdlib reads."""

    def __init__(self, found: object) -> None:
        super().__init__(f"is of format {found!r}, this kdlib reads {FORMAT}")


def verdict_as_table(found: Verdict) -> dict[str, Any]:
    """A verdict as its record files it."""
    interval = {"mean": found.interval.mean, "low": found.interval.low, "high": found.interval.high}
    return {
        "word": found.word,
        "sentence": found.sentence,
        "contrast": found.contrast.name,
        "interval": interval | {"values": found.interval.values},
        "unit": found.unit,
        "smallest_effect": found.smallest_effect,
        "needed": found.needed,
        "survives": found.survives,
        "failed_gates": found.failed_gates,
        "controls": found.controls,
        "exploratory": found.exploratory,
        "tested": found.tested,
    }


def _verdict(claim_id: str, item: Mapping[str, Any], contrasts: Mapping[str, Contrast]) -> Verdict:
    interval = item["interval"]
    mean, low, high = (_number(interval[key]) for key in ("mean", "low", "high"))
    return Verdict(
        claim_id,
        choose(item["word"], WORDS, f"verdict on {claim_id}"),
        str(item["sentence"]),
        contrasts[item["contrast"]],
        TInterval(mean, low, high, tuple(float(value) for value in interval["values"])),
        str(item["unit"]),
        float(item["smallest_effect"]),
        None if item["needed"] is None else int(item["needed"]),
        str(item["survives"]),
        tuple(str(line) for line in item["failed_gates"]),
        tuple(str(line) for line in item["controls"]),
        bool(item["exploratory"]),
        bool(item["tested"]),
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def fields_of(content: Any) -> dict[str, Any]:
    """The fields of a record from its parsed JSON; raises an everyday error for anything that does not fit."""
    if not isinstance(content, dict):
        raise ValueError("it holds no table")
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    if content["format"] != FORMAT:
        raise OtherFormat(content["format"])
    measurements = {
        name: Measurement(
            tuple(float(value) for value in item["values"]),
            str(item["unit"]),
            None if item["seeds"] is None else tuple(int(seed) for seed in item["seeds"]),
            None if item["units"] is None else int(item["units"]),
        )
        for name, item in content["measurements"].items()
    }
    numbers: Sequence[str] = ("mean_difference", "low", "high", "confidence")
    contrasts = {
        name: Contrast(
            name=item["name"],
            n=int(item["n"]),
            differences=tuple(float(value) for value in item["differences"]),
            **{key: _number(item[key]) for key in numbers},
        )
        for name, item in content["contrasts"].items()
    }
    verdicts = {claim_id: _verdict(claim_id, item, contrasts) for claim_id, item in content["verdicts"].items()}
    if not content["provenance"]:
        raise ValueError("it says nothing of where it comes from")
    return {
        "notebook": str(content["notebook"]),
        "parameters": content["parameters"],
        "preset": str(content["preset"]),
        "measurements": measurements,
        "contrasts": contrasts,
        "verdicts": verdicts,
        "provenance": dict(content["provenance"]),
        "found": tuple(str(line) for line in content.get("found", ())),
    }
