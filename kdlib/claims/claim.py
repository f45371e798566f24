"""What a paper claims: one claim, what the paper reports about it, and how both read.

A claim is fixed before its result is known: the contrast that tests it (metric and two arms), the claimed
direction, the smallest effect that would matter, the fewest seeds a verdict needs, and the gates and controls on which
its verdict hangs. `kdlib.claims.rule` turns what was measured into one of five words and looks at nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kdlib.claims.conditions import Conditions
from kdlib.claims.interval_words import size
from kdlib.claims.odds import ODDS_RATIO, smallest_log_ratio
from kdlib.claims.terms import DIFFERENCE_UNITS, DIRECTIONS
from kdlib.errors import KdlibError, choose, finite_number, positive_integer
from kdlib.names import MEASURES, arm_in_prose

STATUSES = ("in the book", "not yet measured")
TESTS = ("paired_contrast",)
NOT_KNOWN = "not known"
#: The sources a reported value may name; for han2023 the paper's own text was not available to us.
PROVENANCE = {
    "paper": "the paper's own text",
    "abstract": "the paper's abstract",
    "repo": "the paper's official code",
    "page:fig": "a figure",
    "page:note": "a third-party reading note",
    "page:blog": "a blog post",
    "page:draft": "an early draft of it",
    "inference": "our own deduction",
    "memory": "what we remember of the paper and could not look up",
}

_SMOOTHED_TEACHER = re.compile(r"ls_teacher_t(\d+)")


@dataclass(frozen=True)
class Paper:
    """The paper a claim is from; `key` is its short name (`han2023`) in files, results and claim ids.

    `number` is its place in the book. `text_open` says whether we could read the paper's own text.
    """

    key: str
    title: str
    authors: str
    venue: str
    number: int
    text_open: bool

    def __post_init__(self) -> None:
        positive_integer(self.number, f"number of the paper {self.key}")
        if not isinstance(self.text_open, bool):
            raise KdlibError(f"text_open of the paper {self.key} must be true or false, not {self.text_open!r}")


@dataclass(frozen=True)
class Reported:
    """One thing the paper reports, as far as known: a value with its unit, or a direction in words.

    `value` is a text, the number with the digits of the source ("70.80"). `provenance` holds the tags of the sources
    we have it from, separated by commas.
    """

    what: str
    provenance: str
    value: str | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) != (self.unit is None):
            raise KdlibError(
                f"reported '{self.what}': value and unit go together, not {self.value!r} and {self.unit!r}; give both "
                "or neither"
            )
        text = self.value if isinstance(self.value, str) else ""
        if self.value is not None and not re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
            raise KdlibError(
                f"the reported value of '{self.what}' must be a number in quotes, with the digits of the source, "
                f'like "70.80", not {self.value!r}'
            )
        for tag in self.provenance.split(","):
            choose(tag.strip(), PROVENANCE, f"provenance of '{self.what}'")


@dataclass(frozen=True)
class Claim:
    """One claim and the contrast that tests it: `metric` of `arm_a` minus `metric` of `arm_b`, paired by seed.

    `direction` says on which side of zero the paper puts that difference. `unit` is the unit of the metric;
    `smallest_effect` is in the unit of its differences. `status` is "not yet measured" until a notebook of the
    book measures it. `reported` is empty where the value is not known. `note` is what a reader should know beside
    a verdict; empty where there is nothing. `conditions`: its gates, controls and marks.

    >>> from kdlib.claims import load_claims
    >>> load_claims("han2023")["han2023.4c"].note.split(";")[0]
    'Rests on an unpublished draft of a blog post only'
    """

    id: str
    paper: Paper
    short: str
    statement: str
    where: str
    direction: str
    reported: tuple[Reported, ...]
    metric: str
    arm_a: str
    arm_b: str
    unit: str
    smallest_effect: float
    smallest_effect_reason: str
    minimum_seeds: int
    test: str
    notebook: str
    status: str
    experiments: tuple[str, ...]
    note: str = ""
    conditions: Conditions = field(default_factory=Conditions)

    def __post_init__(self) -> None:
        if not re.fullmatch(re.escape(self.paper.key) + r"\.\d+[a-z]?", self.id):
            raise KdlibError(f"claim id '{self.id}' must read {self.paper.key}.NUMBER or {self.paper.key}.NUMBERletter")
        for key in ("short", "statement", "where", "metric", "arm_a", "arm_b", "unit", "smallest_effect_reason"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value.strip():
                raise KdlibError(f"claim {self.id}: {key} must be a text, not {value!r}")
        if not re.fullmatch(r"[a-z0-9_]+", str(self.notebook)):
            raise KdlibError(
                f"claim {self.id}: notebook must be a bare name like han2023_methods, not {self.notebook!r}"
            )
        choose(self.direction, DIRECTIONS, f"direction of claim {self.id}")
        choose(self.status, STATUSES, f"status of claim {self.id}")
        choose(self.test, TESTS, f"test of claim {self.id}")
        finite_number(self.smallest_effect, f"smallest_effect of claim {self.id}", minimum=0, exclusive=True)
        positive_integer(self.minimum_seeds, f"minimum_seeds of claim {self.id}", minimum=2)
        if self.arm_a == self.arm_b:
            raise KdlibError(f"claim {self.id} compares '{self.arm_a}' with itself; name two different arms")

    @property
    def short_id(self) -> str:
        """The id without the paper, for tables that say which paper they are about.

        >>> from kdlib.claims import load_claims
        >>> load_claims("han2023")["han2023.1a"].short_id
        '1a'
        """
        return self.id.removeprefix(f"{self.paper.key}.")

    @property
    def in_a_table(self) -> str:
        """Short id and name, with the mark of an exploratory claim.

        >>> from kdlib.claims import load_claims
        >>> load_claims("han2023")["han2023.1a"].in_a_table
        '1a: KD raises accuracy'
        """
        return f"{self.short_id}: {self.short}{' (exploratory)' if self.conditions.exploratory else ''}"

    @property
    def difference_unit(self) -> str:
        """The unit of a difference: percentage points where the metric is in percent."""
        return DIFFERENCE_UNITS.get(self.unit, self.unit)

    @property
    def smallest(self) -> str:
        """The smallest effect that would matter, with its unit.

        >>> from kdlib.claims import load_claims
        >>> claims = load_claims("han2023")
        >>> claims["han2023.1a"].smallest, claims["han2023.7e"].smallest
        ('0.5 percentage points', '1 percentage point')
        """
        ratio = self.conditions.smallest_odds_ratio
        if ratio is not None:
            return size(smallest_log_ratio(ratio), ODDS_RATIO)
        unit = self.difference_unit
        if self.smallest_effect == 1:
            unit = unit.replace("percentage points", "percentage point")
        return f"{self.smallest_effect:g} {unit}"

    @property
    def contrast_in_words(self) -> str:
        """The contrast as prose, from measure to arms.

        >>> from kdlib.claims import load_claims
        >>> claims = load_claims("han2023")
        >>> claims["han2023.1b"].contrast_in_words
        'detectors, KD minus scratch'
        >>> claims["han2023.6a"].contrast_in_words
        'with a label-smoothed teacher, detectors at T = 8 minus T = 1'
        """
        metric = MEASURES.get(self.metric, self.metric.replace("_", " "))
        arms = f"{arm_in_prose(self.arm_a)} minus {arm_in_prose(self.arm_b)}"
        if _SMOOTHED_TEACHER.fullmatch(self.arm_a) and _SMOOTHED_TEACHER.fullmatch(self.arm_b):
            return f"with a label-smoothed teacher, {metric} at {arms}"
        return f"{metric}, {arms}"

    @property
    def reported_as(self) -> str:
        """Heading of what the paper reports: second-hand where its text was not open to us.

        >>> from kdlib.claims import load_claims
        >>> load_claims("han2023")["han2023.1b"].reported_as
        'reported (second-hand)'
        """
        return "the paper says" if self.paper.text_open else "reported (second-hand)"

    @property
    def effects_read(self) -> tuple[str, ...]:
        """The measurements whose differences are effects: of the claim's arms, and of its controls that have two."""
        names = [f"{self.metric}/{self.arm_a}", f"{self.metric}/{self.arm_b}"]
        for control in self.conditions.controls:
            names += [control.reads, control.minus] if control.minus else []
        return tuple(dict.fromkeys(names))

    @property
    def needs(self) -> tuple[str, ...]:
        """The measurements that a verdict needs: those of both arms, then those of the gates.

        >>> from kdlib.claims import load_claims
        >>> load_claims("han2023")["han2023.1b"].needs[:2]
        ('detectors/kd', 'detectors/scratch')
        """
        names = [f"{self.metric}/{self.arm_a}", f"{self.metric}/{self.arm_b}"]
        for gate in self.conditions.gates:
            names += [*gate.reads, *([gate.minus] if gate.minus else [])]
        return tuple(dict.fromkeys(names))

    @property
    def reads(self) -> tuple[str, ...]:
        """The measurements that a verdict may read: those it needs, then those of the controls.

        A control that was not measured leaves a supported claim open; of others it is not asked.
        """
        names = list(self.needs)
        for control in self.conditions.controls:
            names += control.measurements
        return tuple(dict.fromkeys(names))

    @property
    def contrast_name(self) -> str:
        """The name of this claim's contrast in a record."""
        return contrast_name(self.metric, self.arm_a, self.arm_b)

    @property
    def paper_says(self) -> str:
        """What the paper reports, in one line with provenance tags.

        >>> from kdlib.claims import load_claims
        >>> load_claims("han2023")["han2023.1b"].paper_says
        'scratch 275, KD 312 detectors of 512 units [page:fig, page:note]'
        >>> load_claims("han2023")["han2023.3d"].paper_says
        'not known'
        """
        parts = []
        for i, item in enumerate(self.reported):
            last = i + 1 == len(self.reported)
            value = "" if item.value is None else f" {item.value}"
            unit = f" {item.unit}" if item.unit and (last or self.reported[i + 1].unit != item.unit) else ""
            tags = f" [{item.provenance}]"
            shown = last or self.reported[i + 1].provenance != item.provenance
            parts.append(item.what + value + unit + (tags if shown else ""))
        return ", ".join(parts) or NOT_KNOWN


def contrast_name(metric: str, arm_a: str, arm_b: str) -> str:
    """The name under which a record files metric of `arm_a` minus metric of `arm_b`.

    >>> contrast_name("detectors", "kd", "scratch")
    'detectors: kd - scratch'
    """
    return f"{metric}: {arm_a} - {arm_b}"
