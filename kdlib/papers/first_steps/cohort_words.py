"""What the cohort's chapter says about the files, in sentences and tables that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdlib.claims.interval_words import difference_in_words
from kdlib.claims.paired import t_interval
from kdlib.claims.phrases import signed
from kdlib.cohort.cohort import Cohort
from kdlib.cohort.fixed import content_hash, read_fixed
from kdlib.cohort.listing import read_index
from kdlib.cohort.population import Population
from kdlib.papers.first_steps.cohort_numbers import Accuracies, accuracies, gains, named
from kdlib.runs.arms import Arm

GAINS = ("kd_t4", "kd")
CONTROLS = ("kd_t4_shuffled", "kd_shuffled", "self_kd_t4", "self_kd")


def interval_in_words(values: Sequence[float], unit: str) -> str:
    """The mean of differences with its 95 % interval; one replicate has none.

    >>> interval_in_words([3.0, 2.0, 4.0, 3.0], "points"), interval_in_words([3.0], "points")
    ('+3.0 points (+1.7 to +4.3)', '+3.0 points (one replicate, no interval)')
    """
    if len(values) == 1:
        return f"{signed(values[0], 1)} {unit} (one replicate, no interval)"
    return difference_in_words(t_interval(values, "the differences"), unit)


def judged_in_words(values: Sequence[float]) -> str:
    """What an interval of gains says, to stand after it.

    >>> judged_in_words([3.0, 2.0, 4.0]), judged_in_words([3.0, -2.0]), judged_in_words([-3.0, -2.9, -3.1])
    ('more accurate', 'no difference is shown', 'less accurate')
    """
    if len(values) < 2:
        return "no difference is shown"
    found = t_interval(values, "the differences")
    if found.low > 0:
        return "more accurate"
    return "less accurate" if found.high < 0 else "no difference is shown"


def replicates_in_words(numbers: set[int]) -> str:
    """How many replicates stand behind several contrasts.

    >>> replicates_in_words({4}), replicates_in_words({4, 16}), replicates_in_words({1})
    ('4 replicates', '4 to 16 replicates', '1 replicate')
    """
    low, high = min(numbers), max(numbers)
    if low < high:
        return f"{low} to {high} replicates"
    return f"{high} replicate{'s' if high > 1 else ''}"


def nothing(data: str) -> str:
    """What stands where networks would be shown, if none is on file."""
    return f"No network of {data} is on file yet: the page shows the protocol and its premise."


def box_lines(
    data: str, population: Population, cohort: Cohort | None, most: int | None = None
) -> tuple[str, str, str]:
    """The box's three lines: whether KD raises accuracy here, how sure that is, what the controls say."""
    gained = gains(population, accuracies(cohort, most))
    shown = [arm for arm in GAINS if arm in gained]
    if not shown:
        lacking = (
            nothing(data) if cohort is None else "The networks on file lack KD or scratch, so no gain is known yet."
        )
        return lacking, "Nothing is measured here yet.", "None is measured here yet."
    answer = (
        f"Gain in accuracy over scratch, mean and 95 % interval over replicates: {_gains(population, gained, shown)}."
    )
    sure = (
        f"{replicates_in_words({len(gained[arm]) for arm in shown}).capitalize()} of teacher and students. The "
        "interval speaks of other teachers and students by this protocol, not of other data or networks."
    )
    controls = [arm for arm in CONTROLS if arm in gained]
    return answer, sure, f"{_gains(population, gained, controls)}." if controls else "None is on file yet."


def _gains(population: Population, gained: Accuracies, arms: Sequence[str]) -> str:
    parts = []
    for arm in arms:
        values = list(gained[arm].values())
        parts.append(f"{named(population, arm)} {interval_in_words(values, 'points')}, {judged_in_words(values)}")
    return "; ".join(parts)


def arms_table(population: Population, by_group: Mapping[str, Sequence[str]]) -> list[str]:
    """The protocol's arms as lines of a Markdown table."""
    lines = ["| arm | objective and settings | teacher | network | epochs |", "|---|---|---|---|---|"]
    for name in (name for names in by_group.values() for name in names):
        arm = population.arms[name]
        epochs = population.spec(name, 0).recipe.epochs
        lines.append(f"| `{name}` | {_objective(arm)} | {_code(arm.teacher)} | {arm.net} | {epochs} |")
    return lines


def _objective(arm: Arm) -> str:
    return _code(arm.objective) + "".join(f", {name} {value:g}" for name, value in arm.options.items())


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""


def fixed_in_words(data: str, cohort: Cohort | None) -> str:
    """When the protocol was fixed, whether it still says the same, and what of the networks on file came after."""
    fixed = read_fixed(data)
    same = "still says" if content_hash(data) == fixed.content else "**no longer says**"
    text = (
        f"It was fixed on {fixed.at:%Y-%m-%d at %H:%M} UTC by commit `{fixed.commit[:7]}` (`{fixed.commit}`); the file "
        f"{same} what it said then."
    )
    if cohort is None:
        return f"{text} {nothing(data)}"
    dates = [str(cohort.provenance(arm, one)["date"]) for arm in cohort.arms for one in cohort.replicates(arm)]
    before = sum(not fixed.before(date) for date in dates)
    if before:
        return f"{text} Of the {len(dates)} networks on file, {before} had been trained before."
    return (
        f"{text} All {len(dates)} networks on file were trained after it (the first training ended {min(dates)}); so "
        "no distilled network of this population had been dissected when the protocol was fixed."
    )


def accuracy_table(population: Population, measured: Accuracies) -> list[str]:
    """Every arm's accuracy and gain as lines of a Markdown table."""
    gained = gains(population, measured)
    lines = ["| arm | replicates | test accuracy, % | gain over its baseline |", "|---|---|---|---|"]
    for arm, values in measured.items():
        mean = sum(values.values()) / len(values)
        gain = interval_in_words(list(gained[arm].values()), "points") if arm in gained else ""
        lines.append(f"| `{arm}` | {len(values)} | {mean:.2f} | {gain} |")
    return lines


def files_table(cohort: Cohort) -> list[str]:
    """Every file with its size and checksum as lines of a Markdown table."""
    lines = ["| file | replicates | kB | SHA-256 |", "|---|---|---|---|"]
    for files in read_index(cohort.folder).values():
        for name, row in files.items():
            numbers = row["replicates"]
            lines.append(f"| `{name}` | {numbers[0]} to {numbers[-1]} | {row['bytes'] / 1e3:.0f} | `{row['sha256']}` |")
    return lines


def files_in_words(cohort: Cohort) -> str:
    """How much is on file."""
    rows = [row for files in read_index(cohort.folder).values() for row in files.values()]
    networks = sum(len(row["replicates"]) for row in rows)
    replicates = replicates_in_words({len(cohort.replicates(arm)) for arm in cohort.arms})
    size = sum(row["bytes"] for row in rows) / 1e6
    return (
        f"On file: {networks} networks of {len(cohort.arms)} arms, {replicates} an arm, in {len(rows)} files of "
        f"{size:.1f} MB together. The weights have the licence of this repository (MIT)."
    )
