"""Train a sample of the cohort anew and compare: bit for bit on a like machine, by accuracy elsewhere."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch

from kdlib.cohort.cohort import Cohort
from kdlib.cohort.weights import pack, unpack
from kdlib.errors import KdlibError, check_seed, positive_integer
from kdlib.runs.parallel import train_missing
from kdlib.runs.store import get_or_train
from kdlib.temporary import temporary_folder
from kdlib.train.predict import score

MOST_DEVIATIONS = 4  # of an arm's accuracies over its replicates; a new training may lie as far from their mean
_FEWEST = 3  # replicates that have a spread


@dataclass(frozen=True)
class Comparison:
    """What a second training of one network gave. Accuracies on test, in [0, 1]; low, high: what they may be."""

    arm: str
    replicate: int
    same_bits: bool
    published: float
    retrained: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the bits are the same, or the accuracy is one that the arm's replicates have."""
        return self.same_bits or self.low <= self.retrained <= self.high

    def row(self) -> dict[str, object]:
        """For a table, accuracies in percent."""
        percent = {name: f"{100 * getattr(self, name):.2f}" for name in ("published", "retrained", "low", "high")}
        bits = "the same" if self.same_bits else "others"
        return {"arm": self.arm, "replicate": self.replicate, "weights": bits, **percent, "passed": self.passed}


def verify(
    cohort: Cohort, sample: int, *, seed: int = 0, arms: Sequence[str] = (), workers: int | None = None
) -> list[Comparison]:
    """Train `sample` networks anew, chosen at random by `seed` of all (or of these arms), and compare each.

    They are trained in a run store of their own, so that none is read that was trained before; a student's teacher is
    trained with it. On another kind of processor the last bits of sums differ and grow with the epochs; then the
    accuracy decides: it must lie within 4 standard deviations of the arm's mean over its replicates.
    """
    check_seed(seed)  # Python's own generator takes any number, and -1 for 1
    everything = [(arm, replicate) for arm in arms or cohort.arms for replicate in cohort.replicates(arm)]
    positive_integer(sample, "sample", maximum=len(everything))
    chosen = sorted(random.Random(seed).sample(everything, sample))
    for arm, _ in chosen:
        if len(cohort.replicates(arm)) < _FEWEST:
            raise KdlibError(f"{arm} has {len(cohort.replicates(arm))} replicates, and a spread needs {_FEWEST}")
    found = []
    with temporary_folder("verify") as folder, _run_store(folder):
        for arm, replicate in chosen:
            spec, splits = cohort.population.spec(arm, replicate), cohort.population.splits(replicate)
            train_missing([spec], splits, device="cpu", workers=workers)
            run = get_or_train(spec, splits, device="cpu")
            state = unpack(pack([run.state("last")]), 0)
            published = cohort.model(arm, replicate).cpu()
            same = all(torch.equal(state[name], tensor) for name, tensor in published.state_dict().items())
            model = run.model("last")
            model.load_state_dict(state)
            accuracies = [cohort.accuracy(arm, one) for one in cohort.replicates(arm)]
            middle, spread = mean(accuracies), MOST_DEVIATIONS * stdev(accuracies)
            on_file = cohort.accuracy(arm, replicate)
            again = score(model, splits.test)
            found.append(Comparison(arm, replicate, same, on_file, again, middle - spread, middle + spread))
    return found


@contextmanager
def _run_store(folder: Path) -> Iterator[None]:
    before = os.environ.get("KDLIB_RUNS")
    os.environ["KDLIB_RUNS"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["KDLIB_RUNS"]
        else:
            os.environ["KDLIB_RUNS"] = before
