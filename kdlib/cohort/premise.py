"""The premise, by accuracy alone: for each candidate protocol, does KD make a student more accurate, at what cost?

It settles data, sizes, epochs and KD's settings of the cohort before any measure of interpretability is taken. It reads
the accuracy on val, on which things may be chosen, and looks into no network. Its replicates are no part of the
cohort; their students from scratch set tau (`kdlib.cohort.threshold`).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlib.cohort.population import Population, read_net
from kdlib.errors import KdlibError, check_temperature, choose, finite_number, positive_integer
from kdlib.files import replace_file
from kdlib.runs.arms import Arm
from kdlib.runs.parallel import train_missing_of
from kdlib.runs.place import read_file, reason
from kdlib.runs.store import get_or_train
from kdlib.stats import paired_contrast

CANDIDATES = Path(__file__).parent / "premise.toml"
RESULTS = Path(__file__).parent / "premise.json"


@dataclass(frozen=True)
class Premise:
    """Candidates by name, and the replicates that judge them."""

    candidates: Mapping[str, Population]
    replicates: tuple[int, ...]


def read_premise(path: Path = CANDIDATES) -> Premise:
    """The candidates on file.

    >>> "Concept World, width 8" in read_premise().candidates
    True
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    arms = {"teacher": Arm("cross_entropy", net="teacher"), "scratch": Arm("cross_entropy")}
    for setting in table["kd"]:
        options = {
            "temperature": check_temperature(setting["temperature"]),
            "alpha": finite_number(setting["alpha"], "alpha", minimum=0, maximum=1),
        }
        arms[f"KD, T = {options['temperature']:g}, alpha = {options['alpha']:g}"] = Arm(
            "kd", options, teacher="teacher"
        )
    nets = {name: read_net(net, f"[nets.{name}]") for name, net in table["nets"].items()}
    found = {}
    for row in table["candidate"]:
        data = table["data"][choose(row["data"], table["data"], "data of a candidate")]
        pair = {role: nets[choose(row[role], nets, "net of a candidate")] for role in ("teacher", "student")}
        if row["name"] in found:
            raise KdlibError(f"two candidates are called '{row['name']}'; rename one")
        found[row["name"]] = Population(data["data"], data["options"], pair, arms)
    return Premise(found, tuple(table["replicates"]))


def judge(
    premise: Premise, names: Sequence[str] = (), replicates: int | None = None, *, workers: int | None = None
) -> list[dict[str, Any]]:
    """Train what the run store lacks of these candidates (all if none is named); a row for each of their arms.

    A row has the candidate, the arm, and the val accuracies in percent and seconds of training of each replicate.

    replicates: how many of those on file, the first ones; None for all.
    """
    for name in names:
        choose(name, premise.candidates, "candidate")
    most = len(premise.replicates)
    taken = premise.replicates[
        : positive_integer(most if replicates is None else replicates, "replicates", maximum=most)
    ]
    rows = []
    for name in names or premise.candidates:
        population = premise.candidates[name]
        data = {replicate: population.splits(replicate) for replicate in taken}
        specs = {one: {arm: population.spec(arm, one) for arm in population.arms} for one in taken}
        train_missing_of([(list(specs[one].values()), data[one]) for one in taken], device="cpu", workers=workers)
        for arm in population.arms:
            runs = [get_or_train(specs[one][arm], data[one], device="cpu") for one in taken]
            rows.append(
                {
                    "candidate": name,
                    "arm": arm,
                    "replicates": list(taken),
                    "val_accuracy": [100 * run.history[-1]["val_accuracy"] for run in runs],
                    "seconds": [sum(epoch["seconds"] for epoch in run.history) for run in runs],
                    "keys": [run.key for run in runs],
                }
            )
    return rows


def save(rows: Sequence[Mapping[str, Any]], path: Path = RESULTS) -> None:
    """Write the rows; those of candidates that were judged before and not now stay."""
    kept = read_results(path)
    now = {row["candidate"] for row in rows}
    everything = [*(row for row in kept if row["candidate"] not in now), *rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(everything, indent=1) + "\n")


def read_results(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows on file; none where there is no file. Raises KdlibError if they can't be read."""
    try:
        rows = json.loads(read_file(path))
        if not (isinstance(rows, list) and all("candidate" in row for row in rows)):
            raise ValueError("it holds no rows")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise KdlibError(f"the results in {path} can't be read ({reason(error)}); name another file") from error
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table: mean val accuracies, each KD's gain over scratch with its 95 % interval (Student's
    t over replicates), and the mean seconds of training of the teacher and of a student.

    >>> row = {"candidate": "toy", "seconds": [10.0, 12.0]}
    >>> taught = {"arm": "KD", "val_accuracy": [84.0, 86.0]}
    >>> alone = {"arm": "scratch", "val_accuracy": [80.0, 81.0]}
    >>> teacher = {"arm": "teacher", "val_accuracy": [90.0, 92.0]}
    >>> print(table([row | teacher, row | alone, row | taught]).splitlines()[-1])
    | toy | 2 | 91.0 | 80.5 | KD | 85.0 | +4.5 (-1.9 to +10.9) | 11 | 11 |
    """
    columns = ("candidate", "replicates", "teacher, %", "scratch, %", "taught by", "its student, %", "gain, points")
    lines = [f"| {' | '.join(columns)} | teacher, s | student, s |", "|---" * (len(columns) + 2) + "|"]
    by_candidate: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_candidate.setdefault(row["candidate"], {})[row["arm"]] = row
    for name, arms in by_candidate.items():
        teacher, scratch = arms["teacher"], arms["scratch"]
        for arm, row in arms.items():
            if arm in ("teacher", "scratch"):
                continue
            gain = paired_contrast(row["val_accuracy"], scratch["val_accuracy"])
            accuracies = [_mean(one["val_accuracy"]) for one in (teacher, scratch, row)]
            cells = [
                name,
                str(gain.n),
                *(f"{accuracy:.1f}" for accuracy in accuracies[:2]),
                arm,
                f"{accuracies[2]:.1f}",
                f"{gain.mean_difference:+.1f} ({gain.low:+.1f} to {gain.high:+.1f})",
                *(f"{_mean(one['seconds']):.0f}" for one in (teacher, row)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
