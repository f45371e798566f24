"""A study of replicates: each has a teacher of its own, and networks that are published need no training.

A replicate is a seed, from which everything follows that differs between replicates (see `kdlib.cohort.population`). A
network whose specification equals a published one's is taken from the cohort; whatever the parameters make different is
trained here, and `origin` says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import nn

from kdlib.cohort.cohort import Cohort, is_published, load_cohort
from kdlib.cohort.population import TEST_SEED, Population
from kdlib.cohort.protocol import read_protocol
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError, choose
from kdlib.metrics.dissection.dissect import TAU
from kdlib.names import DATA_SETS
from kdlib.papers.presets import PRESETS, Preset, load_data
from kdlib.papers.study import ImageStudy
from kdlib.runs.arms import Arm
from kdlib.runs.spec import RunSpec
from kdlib.runs.teachers import KnownNetwork, keep_network


class ReplicateStudy(ImageStudy):
    """An `ImageStudy` whose seeds are replicates.

    Every replicate has a teacher of its own and, of data that the package has or draws, images of its own for train and
    val; test and probe are the same for all. Data of one's own are the same for all replicates.

    one_teacher: one for all seeds, and the same images: intervals then speak of students alone. Always so for data of
    one's own, whose teachers take days.

    arms, presets, others: as `ImageStudy` has them. At preset quick, data that the cohort has are measured at its own
    sizes, in as many replicates as are on file unless n_seeds asks for fewer; at retrain they have these sizes too, and
    every network is trained here.

    A published network has the weights of its last epoch alone: KdlibError for another state of it.
    """

    def __init__(
        self,
        arms: Mapping[str, Arm],
        data: str | Splits = "concept_world",
        preset: str = "quick",
        seed: int = 0,
        n_seeds: int | None = None,
        device: str = "auto",
        *,
        presets: Mapping[str, Preset] = PRESETS,
        one_teacher: bool = False,
        **others: Any,
    ) -> None:
        at_hand = isinstance(data, str) and choose(data, DATA_SETS, "data set") and DATA_SETS[data].needs == "nothing"
        self.one_teacher = one_teacher or not at_hand or bool(others.get("data_folder"))
        if not self.one_teacher:
            arms = {name: replace(arm, one_for_all=False) for name, arm in arms.items()}
            presets = cohort_presets(data, presets)
        super().__init__(arms, data, preset, seed, n_seeds, device, presets=presets, **others)
        self.cohort: Cohort | None = None
        if preset == "quick" and not self.one_teacher and not self.full and is_published(str(data)):
            self.cohort = load_cohort(str(data), device=str(self.device))
        self._replicate_of: dict[RunSpec, int] = {}
        self._own: dict[int, Splits] = {}
        self._teachers: dict[RunSpec, KnownNetwork] = {}

    # ---- data --------------------------------------------------------------------------------------------------------

    @cached_property
    def splits(self) -> Splits:
        """Test and probe, which all replicates share; where replicates have their own, train and val are nobody's."""
        return self._load(self.seed if self.one_teacher else TEST_SEED)

    def replicate(self, seed: int) -> Splits:
        """The data of one replicate."""
        if self.one_teacher:
            return self.splits
        if seed not in self._own:
            self._own[seed] = replace(self._load(seed), test=self.splits.test, probe=self.splits.probe)
        return self._own[seed]

    def _load(self, seed: int) -> Splits:
        if isinstance(self.data, Splits):
            return self.data.to(self.device)
        folder = self.data_folder
        found = load_data(self.data, self.preset, seed=seed, full=self.full, data_folder=folder, presets=self.presets)
        return found.to(self.device)

    def part(self, part: str) -> Any:
        """Test or probe of all replicates, train or val of the first."""
        if part in ("train", "val"):
            return getattr(self.replicate(self.seed), part)
        return super().part(part)

    def splits_of(self, spec: RunSpec) -> Splits:
        """The data of the replicate that a network is of."""
        return self.replicate(self._replicate_of[spec])

    def rows_of(self, spec: RunSpec, part: str) -> Any:
        """One of the parts, as the network's replicate has it."""
        return getattr(self.splits_of(spec), part) if part in ("train", "val") else self.part(part)

    @property
    def tau(self) -> float:
        """From which intersection over union on a unit is a detector: the population's, else Han et al.'s."""
        population = None if self.one_teacher else read_protocol().populations.get(str(self.data))
        return TAU if population is None or population.tau is None else population.tau

    # ---- networks ----------------------------------------------------------------------------------------------------

    def spec(self, arm: str, seed: int | None = None) -> RunSpec:
        """What makes the network of `arm` in a replicate (the study's first if None).

        Of one that is not published, a teacher that is published is not trained again.
        """
        spec = super().spec(arm, seed)
        if spec not in self._published and spec.teacher in self._published:
            spec = replace(spec, teacher=self._known(spec.teacher))
        self._replicate_of[spec] = self.seed if seed is None else seed
        return spec

    def _known(self, teacher: RunSpec) -> KnownNetwork:
        """A published network as a teacher."""
        if teacher not in self._teachers:
            assert self.cohort is not None
            weights = self.cohort.model(*self._published[teacher]).state_dict()
            self._teachers[teacher] = keep_network(teacher.model, dict(teacher.model_options), weights)
        return self._teachers[teacher]

    @cached_property
    def _published(self) -> dict[RunSpec, tuple[str, int]]:
        """Specification -> arm and replicate of what is on file."""
        if self.cohort is None:
            return {}
        return {
            self.cohort.population.spec(arm, replicate): (arm, replicate)
            for arm in self.cohort.arms
            for replicate in self.cohort.replicates(arm)
        }

    def origin(self, arm: str, seed: int | None = None) -> str:
        """Where a network comes from: "published", or "trained here"."""
        return "published" if self.spec(arm, seed) in self._published else "trained here"

    def model_of(self, spec: RunSpec, which: str = "last") -> nn.Module:
        if spec not in self._published:
            return super().model_of(spec, which)
        if which != "last":
            raise KdlibError(
                f"the cohort has the weights of the last epoch alone, not '{which}'; take preset=retrain, which trains "
                "the networks here"
            )
        assert self.cohort is not None
        return self.cohort.model(*self._published[spec])

    def score_of(self, spec: RunSpec, part: str = "test", which: str = "last") -> float:
        if spec in self._published and which == "last":
            assert self.cohort is not None
            return self.cohort.accuracy(*self._published[spec], part)
        return super().score_of(spec, part, which)

    def history(self, arm: str, seed: int | None = None) -> list[dict[str, float]]:
        """What was recorded of each epoch of a network's training."""
        spec = self.spec(arm, seed)
        if spec in self._published:
            assert self.cohort is not None
            return self.cohort.history(*self._published[spec])
        return self.run_of(spec).history

    def wanted(self, arms: Sequence[str]) -> list[tuple[list[RunSpec], Splits]]:
        """The runs of these arms that are not published, replicate by replicate with its data."""
        if self.one_teacher:
            return super().wanted(arms)
        found = []
        for seed in self.seeds:
            specs = [spec for spec in (self.spec(arm, seed) for arm in arms) if spec not in self._published]
            if specs:
                found.append((specs, self.replicate(seed)))
        return found

    def describe(self) -> dict[str, object]:
        """Plain facts for a table: data, sizes, nets, and where the networks come from."""
        parts = {part: len(self.part(part)) for part in ("test", "probe")}
        if self._own or self.one_teacher:
            parts = {part: len(self.part(part)) for part in ("train", "val")} | parts
        probe = {"probe set": self.probe_folder.name} if self.probe_folder else {}
        found = {"data": self.data_name, **parts, **probe, "replicates": len(self.seeds), "device": str(self.device)}
        return found | {"networks": self.origin_in_words()}

    def origin_in_words(self) -> str:
        """How many of the networks asked for so far are published, and how many were trained here."""
        published = sum(spec in self._published for spec in self._replicate_of)
        return f"{published} published, {len(self._runs)} trained here"


def cohort_presets(data: str | Splits, presets: Mapping[str, Preset]) -> dict[str, Preset]:
    """The presets, with the cohort's own sizes at quick and retrain where the data are one of its populations."""
    protocol = read_protocol()
    if not isinstance(data, str) or data not in protocol.populations:
        return dict(presets)
    population = protocol.populations[data]
    on_file = len(load_cohort(data, device="cpu").seeds) if is_published(data) else 0
    return dict(presets) | {
        "quick": _sizes(population, on_file or presets["quick"].n_seeds),
        "retrain": _sizes(population, protocol.replicates),
    }


def _sizes(population: Population, n_seeds: int) -> Preset:
    options = population.options
    nets = population.nets
    return Preset(
        n_train=options.get("n_train"),
        n_val=options.get("n_val"),
        n_test=options.get("n_test"),
        n_probe=options.get("n_probe"),
        n_seeds=n_seeds,
        teacher=dict(nets["teacher"].options),
        student=dict(nets["student"].options),
        teacher_recipe=nets["teacher"].recipe,
        student_recipe=nets["student"].recipe,
        teacher_model=nets["teacher"].model,
        student_model=nets["student"].model,
        other_nets={name: net for name, net in nets.items() if name not in ("teacher", "student")},
    )
