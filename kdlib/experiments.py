"""The experiments' common ground: which data, nets and recipes each preset stands for, and the runs made of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from kdlib import data as datasets
from kdlib.data.image_set import ImageSet, Splits
from kdlib.errors import KdlibError, choose, finite_number, positive_integer
from kdlib.runs import RunSpec, get_or_train, make_spec
from kdlib.train import Recipe, Run, predict, resolve_device

ARMS = ("scratch", "label_smoothing", "kd")
DATA_NAMES = {
    "concept_world": "Concept World",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "image_folder": "your images",
}
PARTS = ("train", "val", "test", "probe")


@dataclass(frozen=True)
class Preset:
    """Sizes of one preset. Numbers of images are upper bounds: a data set that has fewer gives all it has."""

    n_train: int | None
    n_val: int | None
    n_test: int | None
    n_probe: int | None
    n_seeds: int
    teacher: dict[str, int] = field(default_factory=dict)
    student: dict[str, int] = field(default_factory=dict)
    teacher_recipe: Recipe = field(default_factory=lambda: Recipe(epochs=12))
    student_recipe: Recipe = field(default_factory=lambda: Recipe(epochs=8))


PRESETS = {
    # seconds: everything runs, nothing is learned
    "smoke": Preset(
        n_train=640,
        n_val=200,
        n_test=300,
        n_probe=300,
        n_seeds=2,
        teacher={"depth": 8, "width": 8, "features": 32},
        student={"depth": 8, "width": 4, "features": 32},
        teacher_recipe=Recipe(epochs=2, batch_size=64),
        student_recipe=Recipe(epochs=2, batch_size=64),
    ),
    # minutes on two cores
    "quick": Preset(
        n_train=5000,
        n_val=1000,
        n_test=2000,
        n_probe=2000,
        n_seeds=3,
        teacher={"depth": 8, "width": 24, "features": 128},
        student={"depth": 8, "width": 8, "features": 128},
        teacher_recipe=Recipe(epochs=12, batch_size=64),
        student_recipe=Recipe(epochs=8, batch_size=64),
    ),
    # whole data sets, larger nets, eight seeds: meant for a GPU
    "gpu": Preset(
        n_train=None,
        n_val=None,
        n_test=None,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 20, "width": 64, "features": 512},
        student={"depth": 8, "width": 16, "features": 512},
        teacher_recipe=Recipe(epochs=60, augment="flip_shift", mixed_precision=True),
        student_recipe=Recipe(epochs=40, augment="flip_shift", mixed_precision=True),
    ),
}


def load_data(name: str, preset: str, *, seed: int = 0, full: bool = False, data_folder: str = "") -> Splits:
    """The data set at a preset's size; `full` takes the whole of it (downloaded or put in place beforehand)."""
    sizes = PRESETS[choose(preset, PRESETS, "preset")]
    choose(name, datasets.DATASETS, "data set")
    options: dict[str, object] = {"seed": seed}
    if name == "image_folder" or data_folder:
        if not data_folder:
            raise KdlibError("data=image_folder needs the folder of your images: give data_folder=PATH")
        options["root"] = data_folder
    whole = full or preset == "gpu"
    if name == "fashion_mnist":
        options["full"] = whole
    if not whole:
        wanted = {part: getattr(sizes, f"n_{part}") for part in PARTS}
        if name == "image_folder":
            there = _images_in(data_folder, seed)
            wanted = {part: min(count, there[part]) for part, count in wanted.items()}
        options |= {f"n_{part}": count for part, count in wanted.items()}
    return datasets.load(name, **options)


def _images_in(folder: str, seed: int) -> dict[str, int]:
    """How many images each part of a folder of one's own gets if nothing bounds it; none is decoded."""
    from kdlib.data import image_folder

    listings = image_folder.split_listings(image_folder.existing_folder(folder), seed, None, None, None)
    counts = {part: len(listing.paths) for part, listing in listings.items()}
    return counts | {"probe": counts["test"]}


class Study:
    """Students trained in several ways on one data set from paired seeds, and their teacher.

    For each seed all arms start from the same weights and see the same images in the same order; only the objective
    differs. Arms: "scratch" (cross-entropy), "label_smoothing" and "kd". Every model comes from the run store or is
    trained now. The teacher is one for all seeds, so intervals over seeds say nothing of other teachers.

    n_seeds: None for the preset's number. alpha weights the soft term of KD; smoothing is label smoothing's alpha.
    """

    def __init__(
        self,
        data: str = "concept_world",
        preset: str = "quick",
        seed: int = 0,
        n_seeds: int | None = None,
        device: str = "auto",
        *,
        temperature: float = 1.0,
        alpha: float = 0.5,
        smoothing: float = 0.1,
        full: bool = False,
        data_folder: str = "",
    ) -> None:
        choose(preset, PRESETS, "preset")
        choose(data, datasets.DATASETS, "data set")
        positive_integer(seed, "seed", minimum=0)
        if n_seeds is not None:
            positive_integer(n_seeds, "n_seeds")
        self.temperature = finite_number(temperature, "temperature", minimum=0, exclusive=True)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)
        self.smoothing = finite_number(smoothing, "smoothing", minimum=0, maximum=1)
        self.device = resolve_device(device)
        self.data, self.preset, self.full, self.data_folder = data, preset, full, data_folder
        self.sizes = PRESETS[preset]
        self.data_name = DATA_NAMES[data]
        self.seed = seed
        self.seeds = tuple(range(seed, seed + (n_seeds or self.sizes.n_seeds)))
        self.started = time.perf_counter()
        self._runs: dict[tuple[str, int], Run] = {}
        self._logits: dict[tuple[str, int, str, str], Tensor] = {}

    @cached_property
    def splits(self) -> Splits:
        """The data, on the study's device."""
        data = load_data(self.data, self.preset, seed=self.seed, full=self.full, data_folder=self.data_folder)
        return data.to(self.device)

    def spec(self, arm: str, seed: int | None = None) -> RunSpec:
        """What makes the run of `arm` ("teacher" or one of `ARMS`) with `seed`."""
        sizes = self.sizes
        if arm == "teacher":
            return make_spec(
                "small_resnet", "cross_entropy", sizes.teacher_recipe, self.seed, model_options=sizes.teacher
            )
        choose(arm, ARMS, "arm")
        objective, options = {
            "scratch": ("cross_entropy", {}),
            "label_smoothing": ("label_smoothing", {"alpha": self.smoothing}),
            "kd": ("kd", {"alpha": self.alpha, "temperature": self.temperature}),
        }[arm]
        return make_spec(
            "small_resnet",
            objective,
            sizes.student_recipe,
            self.seed if seed is None else seed,
            model_options=sizes.student,
            objective_options=options,
            teacher=self.spec("teacher") if objective == "kd" else None,
        )

    def run(self, arm: str, seed: int | None = None) -> Run:
        """The run of `arm` with `seed` (the first seed if None), from the store or trained now."""
        seed = self.seed if seed is None or arm == "teacher" else seed
        if (arm, seed) not in self._runs:
            spec = self.spec(arm, seed)
            self._runs[arm, seed] = get_or_train(
                spec, self.splits, device=str(self.device), label=f"{arm}, seed {seed}"
            )
        return self._runs[arm, seed]

    def train(self, arms: tuple[str, ...] = ARMS) -> None:
        """Make sure of the teacher and of every arm's run at every seed."""
        self.run("teacher")
        for seed in self.seeds:
            for arm in arms:
                self.run(arm, seed)

    def model(self, arm: str, seed: int | None = None, which: str = "last") -> nn.Module:
        """The trained network, in eval mode on the study's device."""
        return self.run(arm, seed).model(which, self.device)

    def logits(self, arm: str, seed: int | None = None, part: str = "test", which: str = "last") -> Tensor:
        """Logits (N, K) on one part of the data, computed once."""
        seed = self.seed if seed is None or arm == "teacher" else seed
        name = (arm, seed, part, which)
        if name not in self._logits:
            self._logits[name] = predict(self.model(arm, seed, which), self.part(part))
        return self._logits[name]

    def part(self, part: str) -> ImageSet:
        """One of the parts train, val, test, probe."""
        return getattr(self.splits, choose(part, PARTS, "part"))

    def accuracy(self, arm: str, seed: int | None = None, part: str = "test", which: str = "last") -> float:
        """Fraction of images of `part` whose largest logit is their label's."""
        predicted = self.logits(arm, seed, part, which).argmax(1)
        return float((predicted == self.part(part).labels).float().mean())

    def accuracies(self, arm: str, part: str = "test", which: str = "last") -> list[float]:
        """One accuracy a seed."""
        return [self.accuracy(arm, seed, part, which) for seed in self.seeds]

    def training_seconds(self) -> float:
        """Time that the trainings used so far took, whenever they ran."""
        return sum(run.seconds for run in self._runs.values())

    def describe(self) -> dict[str, object]:
        """Plain facts for a table: data, sizes, nets."""
        parts = {part: len(self.part(part)) for part in PARTS}
        return {"data": self.splits.name, **parts, "seeds": len(self.seeds), "device": str(self.device)}


def gallery_indices(labels: Tensor, per_class: int = 1) -> Tensor:
    """Indices of the first `per_class` images of each class, in the order of the classes.

    >>> gallery_indices(torch.tensor([1, 0, 1, 2]))
    tensor([1, 0, 3])
    """
    found = [torch.nonzero(labels == label).flatten()[:per_class] for label in labels.unique(sorted=True)]
    return torch.cat(found)
