"""The published population of networks, read from its files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from torch import Tensor, nn

from kdlib.cohort.listing import FOLDER, INDEX, read_index, replicates_on_file
from kdlib.cohort.population import Population
from kdlib.cohort.protocol import read_protocol
from kdlib.cohort.weights import ArmFile
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError, choose, shown
from kdlib.models import build
from kdlib.train.device import resolve_device
from kdlib.train.predict import predict


class Cohort:
    """Trained networks of one data set: a replicate is a teacher and one student of every arm.

    Everything is computed from the published weights, in half precision on file. The data are drawn anew on first use.
    """

    def __init__(self, population: Population, folder: Path, device: str = "auto") -> None:
        self.population, self.folder = population, folder
        self.device = resolve_device(device)
        self._index = read_index(folder)
        self._files: dict[str, ArmFile] = {}
        self._splits: dict[int, Splits] = {}
        self._outputs: dict[tuple[str, int, str], Tensor] = {}

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms on file, in the protocol's order."""
        return tuple(arm for arm in self.population.arms if arm in self._index)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The replicates that every arm on file has."""
        on_file = [replicates_on_file(self._index[arm]) for arm in self.arms]
        return tuple(sorted(set.intersection(*on_file))) if on_file else ()

    def replicates(self, arm: str) -> tuple[int, ...]:
        """The replicates of an arm."""
        return tuple(sorted(replicates_on_file(self._index[choose(arm, self.arms, "arm of the cohort")])))

    def splits(self, replicate: int) -> Splits:
        """The replicate's data: train and val of its own, test and probe as all have them."""
        if replicate not in self._splits:
            own = self.population.splits(replicate).to(self.device)
            if self._splits:  # one copy of what all share
                first = next(iter(self._splits.values()))
                own = Splits(own.name, own.train, own.val, first.test, first.probe)
            self._splits[replicate] = own
        return self._splits[replicate]

    def model(self, arm: str, replicate: int) -> nn.Module:
        """A trained network, in eval mode on the cohort's device."""
        file = self._file(arm, replicate)
        spec = self.population.spec(arm, replicate)
        model = build(spec.model, **(file.record["inputs"] | dict(spec.model_options)))
        model.load_state_dict(file.state(replicate))
        return model.to(self.device).eval()

    def logits(self, arm: str, replicate: int, part: str = "test") -> Tensor:
        """Logits (N, K) on one part of the replicate's data, computed once."""
        name = (arm, replicate, part)
        if name not in self._outputs:
            self._outputs[name] = predict(self.model(arm, replicate), getattr(self.splits(replicate), part))
        return self._outputs[name]

    def accuracy(self, arm: str, replicate: int, part: str = "test") -> float:
        """The fraction of images of one part that the network classifies rightly; for val and test from the file."""
        if part in ("val", "test"):
            file = self._file(arm, replicate)
            return file.record[f"{part}_accuracy"][file.replicates.index(replicate)]
        rows = getattr(self.splits(replicate), part)
        return rows.task.mean_score(self.logits(arm, replicate, part), rows.labels)

    def accuracies(self, arm: str, part: str = "test") -> list[float]:
        """One accuracy a replicate that all arms have."""
        return [self.accuracy(arm, replicate, part) for replicate in self.seeds]

    def predictions(self, arm: str, replicate: int) -> Tensor:
        """(N,) the classes that the network gives the test images, from the file."""
        file = self._file(arm, replicate)
        return file.predictions[file.replicates.index(replicate)]

    def history(self, arm: str, replicate: int) -> list[dict[str, float]]:
        """What was recorded of each epoch of its training."""
        file = self._file(arm, replicate)
        return file.record["history"][file.replicates.index(replicate)]

    def provenance(self, arm: str, replicate: int) -> Mapping[str, Any]:
        """Where and with what it was trained."""
        file = self._file(arm, replicate)
        return file.record["provenance"][file.replicates.index(replicate)]

    def summary(self) -> list[dict[str, object]]:
        """A row an arm: replicates, mean test accuracy and its standard deviation in percent, bytes on file."""
        rows = []
        for arm in self.arms:
            accuracies = [100 * self.accuracy(arm, replicate) for replicate in self.replicates(arm)]
            spread = f"{stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
            size = sum(row["bytes"] for row in self._index[arm].values())
            cells = {"replicates": len(accuracies), "test accuracy": f"{mean(accuracies):.2f}", "deviation": spread}
            rows.append({"arm": arm, **cells, "bytes": size})
        return rows

    def _file(self, arm: str, replicate: int) -> ArmFile:
        choose(arm, self.arms, "arm of the cohort")
        for name, row in self._index[arm].items():
            if replicate in row["replicates"]:
                if name not in self._files:
                    file = ArmFile(self.folder / name, row["sha256"])
                    file.check_owner(self.population.data, arm, row["replicates"])
                    self._files[name] = file
                return self._files[name]
        there = self.replicates(arm)
        raise KdlibError(
            f"the cohort has no replicate {shown(replicate)} of {arm}; it has {there[0]} to {there[-1]}: take one of "
            "them, or train it by `kdlib cohort train`"
        )


def is_published(data: str, folder: Path = FOLDER) -> bool:
    """Whether networks of this data set are on file."""
    return (folder / data / INDEX).exists()


def load_cohort(data: str, *, device: str = "auto", folder: Path = FOLDER) -> Cohort:
    """The published networks of a data set.

    Raises KdlibError where the cohort has none of this data set, and for files that are damaged or of another version.
    """
    population = read_protocol().population(data)
    if not is_published(data, folder):
        raise KdlibError(f"no networks of {data} are published yet; make them by `kdlib cohort train --data {data}`")
    return Cohort(population, folder / data, device)
