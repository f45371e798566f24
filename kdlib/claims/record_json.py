"""The file form of a record: JSON with sorted keys and numbers of six significant digits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdlib.claims.verdicts import WORDS, Verdict
from kdlib.errors import KdlibError, choose
from kdlib.plotting.tables import MINUS
from kdlib.stats import Contrast

#: Significant digits of a number on file.
DIGITS = 6
FORMAT = 1
_KEYS = ("format", "notebook", "preset", "parameters", "provenance", "measurements", "contrasts", "verdicts")


@dataclass(frozen=True)
class Measurement:
    """One number per seed, in a unit; `seeds` names the seeds where they were given."""

    values: tuple[float, ...]
    unit: str
    seeds: tuple[int, ...] | None = None


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def plain(value: Any) -> Any:
    """`value` as JSON: floats to six significant digits, NaN and infinities as null, tuples as lists."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return rounded(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise KdlibError(f"a record holds numbers, texts, lists and tables only, not {type(value).__name__} {value!r}")


def as_text(content: Mapping[str, Any]) -> str:
    """The content of a record as JSON: keys sorted, numbers as in `plain`, hyphens for minus signs in its sentences."""
    text = json.dumps(
        plain({"format": FORMAT, **content}), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
    )
    return text.replace(MINUS, "-") + "\n"


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
        raise ValueError(f"its format is {content['format']!r}, this kdlib reads {FORMAT}")
    measurements = {
        name: Measurement(
            tuple(float(value) for value in item["values"]),
            str(item["unit"]),
            None if item["seeds"] is None else tuple(int(seed) for seed in item["seeds"]),
        )
        for name, item in content["measurements"].items()
    }
    numbers: Sequence[str] = ("mean_difference", "low", "high", "t_low", "t_high", "p_wilcoxon", "confidence")
    contrasts = {
        name: Contrast(
            name=item["name"],
            n=int(item["n"]),
            differences=tuple(float(value) for value in item["differences"]),
            **{key: _number(item[key]) for key in numbers},
        )
        for name, item in content["contrasts"].items()
    }
    verdicts = {
        claim_id: Verdict(claim_id, item["word"], item["sentence"], contrasts[item["contrast"]])
        for claim_id, item in content["verdicts"].items()
    }
    for item in verdicts.values():
        choose(item.word, WORDS, f"verdict on {item.claim_id}")
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
