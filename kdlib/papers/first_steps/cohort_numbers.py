"""The published population in numbers: accuracies, gains within replicates, and how draws of a few would judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdlib.claims.paired import TInterval, subtract, t_interval
from kdlib.claims.rule import OUTCOMES
from kdlib.cohort.cohort import Cohort, load_cohort
from kdlib.cohort.listing import FOLDER, INDEX
from kdlib.cohort.population import Population
from kdlib.cohort.protocol import read_protocol
from kdlib.names import MODEL_NAMES, arm_in_prose
from kdlib.widgets import Replicates
from kdlib.widgets.seed_draws import word_shares
from kdlib.widgets.seed_lottery import SIZES

SMALLEST_GAIN = 0.5  # percentage points: the yardstick of the claims about accuracy
FEWEST = 3  # replicates that the lottery draws

#: Arm -> replicate -> test accuracy in percent.
Accuracies = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Row:
    """A line of a figure. name: as readers see it. arm: whose colour and marker it has. values: one a replicate."""

    name: str
    arm: str
    values: tuple[float, ...]

    @property
    def interval(self) -> TInterval | None:
        """Mean and 95 % interval; None for a single replicate, which has none."""
        return t_interval(self.values, self.name) if len(self.values) > 1 else None


def on_file(data: str, device: str = "auto", folder: Path = FOLDER) -> Cohort | None:
    """The published networks of a data set; None where there is none yet. KdlibError for one that is no population."""
    read_protocol().population(data)
    return load_cohort(data, device=device, folder=folder) if (folder / data / INDEX).exists() else None


def accuracies(cohort: Cohort | None, most: int | None = None) -> dict[str, dict[int, float]]:
    """Test accuracies in percent of the first `most` replicates (None: all) of every arm on file."""
    if cohort is None:
        return {}
    return {arm: {one: 100 * cohort.accuracy(arm, one) for one in cohort.replicates(arm)[:most]} for arm in cohort.arms}


def baseline(population: Population, arm: str) -> str | None:
    """The arm that an arm's gain is measured against: the same network, taught by labels alone, for as long; None for
    that arm itself and for the teachers' network.

    >>> population = read_protocol().population("concept_world")
    >>> [baseline(population, arm) for arm in ("kd", "deeper_kd", "scratch", "teacher")]
    ['scratch', 'deeper_scratch', None, None]
    """
    alone = {"student": "scratch", "deeper": "deeper_scratch"}.get(population.arms[arm].net)
    return None if alone == arm else alone


def named(population: Population, arm: str) -> str:
    """An arm in a sentence, with its temperature.

    >>> population = read_protocol().population("concept_world")
    >>> named(population, "kd"), named(population, "kd_t4"), named(population, "label_smoothing")
    ('KD at T = 1', 'KD at T = 4', 'label smoothing')
    """
    prose = arm_in_prose(arm)
    temperature = population.arms[arm].options.get("temperature")
    return prose if temperature is None or "T = " in prose else f"{prose} at T = {temperature:g}"


def gains(population: Population, measured: Accuracies) -> dict[str, dict[int, float]]:
    """Of every arm with a baseline: accuracy minus the baseline's within each replicate that has both, in points."""
    found = {}
    for arm, values in measured.items():
        alone = measured.get(baseline(population, arm) or "", {})
        shared = [one for one in values if one in alone]
        if shared:
            pair = [{one: of[one] for one in shared} for of in (values, alone)]
            found[arm] = subtract(pair[0], pair[1], (arm, "baseline"), "the gain in accuracy")
    return found


def groups(population: Population, arms: Sequence[str]) -> dict[str, list[str]]:
    """These arms by what they are about, each once, in the protocol's order.

    >>> groups(read_protocol().population("concept_world"), ("teacher", "kd", "at", "deeper_kd", "self_kd", "scratch"))
    {'Labels alone': ['teacher', 'scratch'], 'KD': ['kd'], 'KD by other teachers': ['self_kd'], \
'Features': ['at'], 'Deeper students': ['deeper_kd']}
    """
    found: dict[str, list[str]] = {
        name: [] for name in ("Labels alone", "KD", "KD by other teachers", "Features", "Deeper students")
    }
    for name in arms:
        arm = population.arms[name]
        if arm.net == "deeper":
            kind = "Deeper students"
        elif not arm.teacher:
            kind = "Labels alone"
        elif arm.teacher != "teacher":
            kind = "KD by other teachers"
        else:
            kind = "KD" if arm.objective in ("kd", "shuffled", "wrong_classes") else "Features"
        found[kind].append(name)
    return {kind: names for kind, names in found.items() if names}


def rows_of(by_group: Mapping[str, Sequence[str]], measured: Accuracies) -> dict[str, list[Row]]:
    """A line of a figure for each arm that was measured, group by group; groups without one are left out."""
    found = {
        group: [Row(MODEL_NAMES.get(arm, arm), arm, tuple(measured[arm].values())) for arm in arms if arm in measured]
        for group, arms in by_group.items()
    }
    return {group: rows for group, rows in found.items() if rows}


def signs(by_group: Mapping[str, Sequence[Row]]) -> tuple[int, int]:
    """How many rows have an interval above zero, and how many one below.

    >>> signs({"KD": [Row("a", "kd", (1.0, 1.1)), Row("b", "kd", (1.0, -1.0)), Row("c", "kd", (5.0,))]})
    (1, 0)
    """
    found = [row.interval for rows in by_group.values() for row in rows]
    known = [interval for interval in found if interval is not None]
    return sum(interval.low > 0 for interval in known), sum(interval.high < 0 for interval in known)


def premise_rows(judged: Sequence[Mapping[str, Any]]) -> dict[str, list[Row]]:
    """Of each candidate protocol that was judged, the gain in val accuracy of each KD over scratch, in points."""
    alone = {row["candidate"]: row for row in judged if row["arm"] == "scratch"}
    found: dict[str, list[Row]] = {}
    for row in judged:
        if row["arm"] in ("teacher", "scratch"):
            continue
        pair = [
            dict(zip(one["replicates"], one["val_accuracy"], strict=True)) for one in (row, alone[row["candidate"]])
        ]
        gain = subtract(pair[0], pair[1], (row["arm"], "scratch"), "the premise")
        colour = "kd_t4" if "T = 4" in row["arm"] else "kd"
        found.setdefault(row["candidate"], []).append(Row(row["arm"], colour, tuple(gain.values())))
    return found


def contrasts(population: Population, gained: Accuracies, arms: Sequence[str]) -> list[Replicates]:
    """What the lottery draws from: of these arms, the gains of those that have enough replicates for it."""
    return [
        Replicates(
            f"accuracy of {named(population, arm)} minus {arm_in_prose(baseline(population, arm) or '')}",
            "percentage points",
            "greater",
            SMALLEST_GAIN,
            list(gained[arm].values()),
        )
        for arm in arms
        if len(gained.get(arm, {})) >= FEWEST
    ]


def other_verdicts(contrast: Replicates) -> tuple[str, dict[int, float]]:
    """The verdict by all replicates, and for each size of draw the share of draws, in percent, that give another one.

    >>> other_verdicts(Replicates("gain", "points", "greater", 0.5, [1.0, 1.1, 0.9, -1.0]))
    ('inconclusive', {3: 25.0})
    """
    values = np.asarray(contrast.differences, dtype=np.float64)
    rule = {"direction": contrast.direction, "smallest_effect": contrast.smallest_effect}
    everything = _counts(values, len(values), rule)
    place = everything.index(max(everything))
    shares = {}
    for size in (size for size in SIZES if size < len(values)):
        counts = _counts(values, size, rule)
        shares[size] = 100 * (sum(counts) - counts[place]) / sum(counts)
    return OUTCOMES[place], shares


def _counts(values: np.ndarray, size: int, rule: Mapping[str, Any]) -> list[int]:
    counts = word_shares(values, size, **rule)["counts"]
    assert isinstance(counts, list)
    return counts
