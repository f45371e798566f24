"""A study: networks trained by several methods on one data set from paired seeds, and the runs made of them.

It knows no paper's arms and no paper's sizes; each paper's own study names them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from kdlib import names
from kdlib.capture import last_stages
from kdlib.cores import cores
from kdlib.data.broden import BrodenFolder
from kdlib.data.labelled_set import Splits
from kdlib.errors import MOST_SEEDS, MOST_STUDENT_EPOCHS, check_seeds, choose, positive_integer
from kdlib.models import build
from kdlib.papers.presets import PARTS, PRESETS, Preset, load_data, need_a_batch, sizes_of
from kdlib.runs.arms import Arm, Net, arm_spec
from kdlib.runs.parallel import train_missing, train_missing_of
from kdlib.runs.spec import RunSpec
from kdlib.runs.store import get_or_train
from kdlib.train.device import resolve_device
from kdlib.train.predict import predict
from kdlib.train.state import Run


class Study:
    """What every study has: seeds, a device, data, and runs that come from the run store or are trained now.

    For each seed all arms start from the same weights and see the same images in the same order; only what their specs
    name differs. A subclass gives `splits` and the specs of its arms.
    """

    splits: Any  # Splits, given by the subclass on first use

    def __init__(self, preset: str, seed: int, n_seeds: int, device: str) -> None:
        positive_integer(n_seeds, "n_seeds", maximum=MOST_SEEDS)
        check_seeds(seed, n_seeds)
        self.preset, self.seed = preset, seed
        self.seeds = tuple(range(seed, seed + n_seeds))
        self.device = resolve_device(device)
        self._runs: dict[RunSpec, Run] = {}
        self._outputs: dict[tuple[RunSpec, str, str], Tensor] = {}

    def part(self, part: str) -> Any:
        """One of the parts train, val, test, probe."""
        return getattr(self.splits, choose(part, PARTS, "part"))

    def splits_of(self, spec: RunSpec) -> Any:
        """The data that a run is trained on and measured by: the study's, where all its runs have the same."""
        return self.splits

    def run_of(self, spec: RunSpec, label: str = "") -> Run:
        """The run of a specification, from the store or trained now."""
        if spec not in self._runs:
            self._runs[spec] = get_or_train(spec, self.splits_of(spec), device=str(self.device), label=label)
        return self._runs[spec]

    def train_specs(self, specs: Sequence[RunSpec]) -> None:
        """Make sure of these runs and of those they build on, several in parallel on a CPU."""
        train_missing(list(dict.fromkeys(specs)), self.splits, device=str(self.device))

    def model_of(self, spec: RunSpec, which: str = "last") -> nn.Module:
        """The trained network, in eval mode on the study's device."""
        return self.run_of(spec).model(which, self.device)

    def rows_of(self, spec: RunSpec, part: str) -> Any:
        """One of the parts train, val, test, probe, as the network of a specification has it."""
        return self.part(part)

    def outputs_of(self, spec: RunSpec, part: str = "test", which: str = "last") -> Tensor:
        """A network's outputs for one part of the data (N, ...), computed once."""
        name = (spec, part, which)
        if name not in self._outputs:
            self._outputs[name] = predict(self.model_of(spec, which), self.rows_of(spec, part))
        return self._outputs[name]

    def score_of(self, spec: RunSpec, part: str = "test", which: str = "last") -> float:
        """A network's score on one part of the data, as its task has it: a classifier's is its accuracy in [0, 1]."""
        rows = self.rows_of(spec, part)
        return rows.task.mean_score(self.outputs_of(spec, part, which), rows.labels)

    def untrained_of(self, spec: RunSpec) -> nn.Module:
        """The network before training, on the study's device: what a measure finds if nothing was learned."""
        options = self.part("test").model_options() | dict(spec.model_options)
        return build(spec.model, seed=spec.seed, **options).to(self.device).eval()


class ImageStudy(Study):
    """A study of a teacher and students on one data set at a preset's size.

    The teacher is one for all seeds, so intervals over seeds say nothing of other teachers. At a paper's own scale some
    methods have a recipe of their own, as in the paper.

    arms: name -> `Arm`, "teacher" and "scratch" among them. data: a data set's name, or its splits themselves. presets:
    sizes by preset. n_seeds, student_epochs: None for the preset's number. network: the model of all arms, where the
    preset names none. probe_folder: a folder in Broden's layout, the probe in place of the data's own.
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
        full: bool = False,
        data_folder: str = "",
        presets: Mapping[str, Preset] = PRESETS,
        student_epochs: int | None = None,
        network: str = "small_resnet",
        probe_folder: str = "",
    ) -> None:
        self.sizes = sizes_of(data, preset, presets)
        super().__init__(preset, seed, self.sizes.n_seeds if n_seeds is None else n_seeds, device)
        self.arms = arms
        self.data, self.full, self.data_folder = data, full, data_folder
        self.network, self.presets = network, presets
        self.probe_folder = BrodenFolder(probe_folder, workers=cores()) if probe_folder else None
        if student_epochs is not None:
            epochs = positive_integer(student_epochs, "student_epochs", maximum=MOST_STUDENT_EPOCHS)
            self.sizes = self.sizes.with_student_epochs(epochs)
        self.data_name = names.DATA_SETS[data].title if isinstance(data, str) else data.name

    @cached_property
    def splits(self) -> Splits:
        """The data, on the study's device."""
        if isinstance(self.data, Splits):
            return self.data.to(self.device)
        data = load_data(
            self.data,
            self.preset,
            seed=self.seed,
            full=self.full,
            data_folder=self.data_folder,
            presets=self.presets,
        )
        return data.to(self.device)

    def part(self, part: str) -> Any:
        """One of the parts train, val, test, probe: an `ImageSet`, or what reads like one from a folder."""
        if part == "probe" and self.probe_folder:
            return self.probe_folder
        return super().part(part)

    def nets(self) -> dict[str, Net]:
        """The networks that arms name: teacher, student, and what else the preset has."""
        sizes = self.sizes
        return {
            "teacher": Net(sizes.teacher_model or self.network, sizes.teacher, sizes.teacher_recipe),
            "student": Net(sizes.student_model or self.network, sizes.student, sizes.student_recipe),
            **sizes.other_nets,
        }

    def spec(self, arm: str, seed: int | None = None) -> RunSpec:
        """What makes the run of `arm` with `seed` (the study's first if None)."""
        which, own = self.seed if seed is None else seed, self.sizes.method_recipes
        return arm_spec(self.arms, arm, which, self.nets(), first_seed=self.seed, recipes=own)

    def run(self, arm: str, seed: int | None = None) -> Run:
        """The run of `arm` with `seed`, from the store or trained now."""
        return self.run_of(self.spec(arm, seed), f"{arm}, seed {self.seed if seed is None else seed}")

    def train(self, arms: Sequence[str]) -> None:
        """Make sure of every arm's run at every seed and of their teachers, several in parallel on a CPU."""
        train_together([self], arms)

    def wanted(self, arms: Sequence[str]) -> list[tuple[list[RunSpec], Splits]]:
        """The runs of these arms at every seed, and of the teacher, with the data that they are trained on."""
        runs = [("teacher", self.seed), *((arm, seed) for seed in self.seeds for arm in arms)]
        return [([self.spec(*run) for run in runs], self.splits)]

    def model(self, arm: str, seed: int | None = None, which: str = "last") -> nn.Module:
        """The trained network, in eval mode on the study's device."""
        return self.model_of(self.spec(arm, seed), which)

    def logits(self, arm: str, seed: int | None = None, part: str = "test", which: str = "last") -> Tensor:
        """Logits (N, K) on one part of the data, computed once."""
        return self.outputs_of(self.spec(arm, seed), part, which)

    def accuracy(self, arm: str, seed: int | None = None, part: str = "test", which: str = "last") -> float:
        """Fraction of images of `part` whose largest logit is their label's."""
        return self.score_of(self.spec(arm, seed), part, which)

    def accuracies(self, arm: str, part: str = "test", which: str = "last") -> list[float]:
        """One accuracy a seed."""
        return [self.accuracy(arm, seed, part, which) for seed in self.seeds]

    @cached_property
    def last_stage(self) -> str:
        """The last stage of the students' network, the one that is dissected; the teacher's has its name."""
        return last_stages(self.untrained(), 1)[0]

    def untrained(self, seed: int | None = None) -> nn.Module:
        """The student's network before training."""
        return self.untrained_of(self.spec("scratch", seed))

    def describe(self) -> dict[str, object]:
        """Plain facts for a table: data, sizes, nets."""
        parts = {part: len(self.part(part)) for part in PARTS}
        probe = {"probe set": self.probe_folder.name} if self.probe_folder else {}
        return {"data": self.data_name, **parts, **probe, "seeds": len(self.seeds), "device": str(self.device)}


def train_together(studies: Sequence[ImageStudy], arms: Sequence[str]) -> None:
    """`ImageStudy.train` for several studies on one device, the trainings of all of them in parallel on a CPU."""
    wanted = [(study, specs, splits) for study in studies for specs, splits in study.wanted(arms)]
    for _, specs, splits in wanted:
        for spec in specs:  # before any of them is trained
            need_a_batch(len(splits.train), spec.recipe.batch_size, splits.name)
    train_missing_of([(specs, splits) for _, specs, splits in wanted], device=str(studies[0].device))
    for study, specs, _ in wanted:
        for spec in specs:
            study.run_of(spec)


def gallery_indices(labels: Tensor, per_class: int = 1) -> Tensor:
    """Indices of the first `per_class` images of each class, in the order of the classes.

    >>> gallery_indices(torch.tensor([1, 0, 1, 2]))
    tensor([1, 0, 3])
    """
    found = [torch.nonzero(labels == label).flatten()[:per_class] for label in labels.unique(sorted=True)]
    return torch.cat(found)
