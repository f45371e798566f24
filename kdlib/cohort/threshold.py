"""The threshold tau of a concept detector, set on students from scratch alone.

A small network on drawn scenes overlaps with concepts more easily than a ResNet on photographs: at the published
tau = 0.05 nearly all of its units are detectors, and no method can raise their number. So tau is set where about half
of the units of a student from scratch are detectors. The students belong to replicates on which nothing is measured
(those that judged the premise), and no student that was taught has a say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from kdlib.capture import last_stages
from kdlib.cohort.population import Population
from kdlib.errors import KdlibError
from kdlib.files import replace_file
from kdlib.metrics.dissection.dissect import dissect
from kdlib.runs.parallel import train_missing_of
from kdlib.runs.place import read_file, reason
from kdlib.runs.store import get_or_train

RESULTS = Path(__file__).parent / "threshold.json"
TAUS = tuple(step / 100 for step in range(1, 31))


def scratch_shares(
    population: Population, replicates: Sequence[int], *, workers: int | None = None
) -> dict[int, list[float]]:
    """Replicate -> the percentage of its scratch student's units, in the dissected layer, that are detectors at each of
    `TAUS`. Trains the students that the run store lacks.
    """
    data = {replicate: population.splits(replicate) for replicate in replicates}
    specs = {replicate: population.spec("scratch", replicate) for replicate in replicates}
    train_missing_of([([specs[one]], data[one]) for one in replicates], device="cpu", workers=workers)
    found = {}
    for replicate in replicates:
        model = get_or_train(specs[replicate], data[replicate], device="cpu").model("last")
        dissection = dissect(model, data[replicate].probe, last_stages(model, 1)[0])
        found[replicate] = [100 * count / dissection.num_units for count in dissection.curve(TAUS)]
    return found


def threshold(shares: Mapping[int, Sequence[float]]) -> float:
    """Of `TAUS`, the one at which the mean share over replicates is nearest to half; of two, the lower.

    >>> threshold({1: [90.0, 60.0, *[10.0] * 28], 2: [80.0, 42.0, *[0.0] * 28]})
    0.02
    """
    means = [mean(column) for column in zip(*shares.values(), strict=True)]
    return min(zip(TAUS, means, strict=True), key=lambda pair: (abs(pair[1] - 50), pair[0]))[0]


def save(data: str, shares: Mapping[int, Sequence[float]], path: Path = RESULTS) -> None:
    """Write the shares of one population; those of others stay."""
    kept = read_results(path)
    rows = {str(replicate): list(values) for replicate, values in shares.items()}
    kept[data] = {"taus": list(TAUS), "shares": rows, "tau": threshold(shares)}
    replace_file(path, json.dumps(kept, indent=1, sort_keys=True) + "\n")


def read_results(path: Path = RESULTS) -> dict[str, Any]:
    """Data set -> the shares on file and the tau that follows from them; none where there is no file.

    Raises KdlibError if they can't be read.
    """
    try:
        found = json.loads(read_file(path))
        if not (isinstance(found, dict) and all("shares" in row for row in found.values())):
            raise ValueError("it holds no shares")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise KdlibError(f"the shares in {path} can't be read ({reason(error)}); name another file") from error
    return found


def table(shares: Mapping[int, Sequence[float]]) -> str:
    """The shares as a Markdown table: a row a tau, a column a replicate.

    >>> print(table({7: [100.0] * 30}).splitlines()[2])
    | 0.01 | 100.0 | 100.0 |
    """
    lines = [f"| tau | {' | '.join(map(str, shares))} | mean |", "|---" * (len(shares) + 2) + "|"]
    for tau, values in zip(TAUS, zip(*shares.values(), strict=True), strict=True):
        lines.append(f"| {tau:g} | {' | '.join(f'{value:.1f}' for value in values)} | {mean(values):.1f} |")
    return "\n".join(lines)
