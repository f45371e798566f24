"""Networks of Cheng et al. 2020 on one data set, their maps and their visual concepts, from paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.registry import load
from kdlib.errors import MOST_STUDENT_EPOCHS, KdlibError, choose, finite_number, positive_integer
from kdlib.metrics.visual_concepts import THRESHOLD, VisualConcepts, visual_concepts
from kdlib.models.probed import probed_layers
from kdlib.names import DATA_SETS
from kdlib.papers.cheng2020.concept_maps import KeptMaps, MapPlan, MapTask, concept_maps
from kdlib.papers.cheng2020.images import (
    REGIMES,
    cells_of_telling_part,
    cells_on_object,
    data_options,
    with_object_and_background,
)
from kdlib.papers.cheng2020.presets import CONCEPT_PRESETS, ConceptSizes, recipe
from kdlib.papers.presets import images_in
from kdlib.papers.study import Study
from kdlib.runs.arms import later_seed
from kdlib.runs.spec import RunSpec, make_spec
from kdlib.train.recipe import Recipe

LAYERS = ("fc1", "fc2", "fc3")
TEACHER_IMAGES = ("more", "same")
# Arms that learn one layer: each is another network for each layer. The others are one network, probed at every layer.
BY_LAYER = ("student", "student_fast", "random_teacher", "self")
ARMS = ("teacher", "baseline", "baseline_slow", "kd", *BY_LAYER)
_OTHER_SEED = 1_000  # a random teacher must not start from its student's weights, nor be a fair one a baseline


class ConceptStudy(Study):
    """Teacher, baseline, students and controls; every network from the run store or trained now.

    ==============  =================================================================================================
    teacher         labels, more images than all others see unless `teacher_images` is "same"; one for all seeds
    baseline        labels alone
    student         the mean squared error to the teacher's output at one layer, no labels
    random_teacher  the same from an untrained teacher: does the error to anything give the pattern?
    self            the same from the baseline of the same seed
    kd              labels and the teacher's softened logits (T = 4, alpha = 0.9), what most people call distillation
    baseline_slow   baseline with the learning rates of a student of the same layer
    student_fast    student with the baseline's learning rates; its loss is divided by the variance of the teacher's
                    outputs, for the published one bursts at these rates
    ==============  =================================================================================================

    For each seed all arms but the teacher start from the same weights and see the same images in the same order.

    data: a data set with foreground masks. regime: how backgrounds go with classes in drawn data: "independent",
    "correlated" in training and not in test, or "plain"; "" leaves other data sets as they are. network: one with
    probed layers. part: "train", as published (images that students learnt), or "test". threshold: b in nats.
    estimator, n_images, student_epochs: None for the preset's. teacher_images: "more", as the paper's pretrained
    teachers, or "same", the fair regime: those of its students; it starts from weights of its own then, or it would be
    the baseline of the first seed over again. image_size: side in pixels, None for the data set's own.
    """

    def __init__(
        self,
        data: str = "concept_world",
        preset: str = "quick",
        seed: int = 0,
        n_seeds: int | None = None,
        device: str = "auto",
        *,
        regime: str = "correlated",
        network: str = "small_vgg",
        part: str = "train",
        threshold: float = THRESHOLD,
        estimator: str | None = None,
        n_images: int | None = None,
        student_epochs: int | None = None,
        data_folder: str = "",
        image_size: int | None = None,
        teacher_images: str = "more",
    ) -> None:
        choose(data, DATA_SETS, "data set")
        sizes = CONCEPT_PRESETS[choose(preset, CONCEPT_PRESETS, "preset")]
        super().__init__(preset, seed, sizes.n_seeds if n_seeds is None else n_seeds, device)
        if n_images is not None:
            sizes = replace(sizes, n_images=positive_integer(n_images, "n_images"))
        if student_epochs is not None:
            sizes = replace(sizes, epochs=positive_integer(student_epochs, "student_epochs", 2, MOST_STUDENT_EPOCHS))
        self.data = data
        self.regime = choose(regime, REGIMES, "regime") if data in ("concept_world", "garment_scenes") else ""
        self.network, self.measured_part = network, choose(part, ("train", "test"), "part")
        self.threshold = finite_number(threshold, "threshold", minimum=0, exclusive=True)
        self.data_folder, self.image_size = data_folder, image_size
        self.teacher_images = choose(teacher_images, TEACHER_IMAGES, "teacher_images")
        self.sizes: ConceptSizes = sizes
        self.plan = MapPlan(estimator=estimator or sizes.estimator, samples=sizes.samples)
        if network.startswith("resnet"):
            self.plan = replace(self.plan, search=replace(self.plan.search, weight=6.0))
        self._maps: dict[tuple[MapTask, MapPlan], dict[str, KeptMaps]] = {}

    # ---- data -------------------------------------------------------------------------------------------------------

    @cached_property
    def splits(self) -> Splits:
        sizes = self.sizes
        options = data_options(
            self.data, self.regime, full=self.preset == "gpu", folder=self.data_folder, image_size=self.image_size
        )
        wanted = {"train": sizes.n_train, "val": sizes.n_val, "test": sizes.n_test, "probe": sizes.n_images}
        if DATA_SETS[self.data].own_size:  # as many as there are
            there = images_in(self.data, self.data_folder, self.seed)
            wanted = {part: min(count or there[part], there[part]) for part, count in wanted.items()}
        counts = {f"n_{part}": count for part, count in wanted.items()}
        splits = load(self.data, seed=self.seed, **options, **counts).to(self.device)
        if splits.train.foreground is None:
            raise KdlibError(
                f"data set '{self.data}' has no foreground masks, without which concepts can't be told apart; take "
                "concept_world, garment_scenes, fashion_mnist, voc or cub"
            )
        return splits

    @property
    def n_student(self) -> int:
        return min(self.sizes.n_student, len(self.splits.train))

    @cached_property
    def measured(self) -> ImageSet:
        """The images whose maps are taken: drawn at random of those that students saw (or of test), each with cells on
        the object and beside it."""
        images = (
            self.splits.train.subset(slice(0, self.n_student)) if self.measured_part == "train" else self.splits.test
        )
        usable = with_object_and_background(images, self.plan.grid)
        if len(usable) < self.sizes.n_images:
            raise KdlibError(
                f"only {len(usable)} images of {images.name} have cells on and beside the object; ask for no more "
                "(n_images)"
            )
        order = torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))
        return images.subset(usable[order[: self.sizes.n_images]].to(images.device))

    @cached_property
    def foreground(self) -> Tensor:
        """(N, rows, columns) bool: the measured images' cells on the object."""
        return cells_on_object(self.measured, self.plan.grid).cpu()

    @cached_property
    def telling_cells(self) -> Tensor | None:
        """(N, rows, columns) bool: cells of the part that tells a class from its siblings; None where none is drawn."""
        return cells_of_telling_part(self.measured, self.plan.grid) if self.data == "concept_world" else None

    # ---- networks ---------------------------------------------------------------------------------------------------

    def spec(self, arm: str, seed: int | None = None, layer: str = "fc1") -> RunSpec:
        """What makes the run of an arm (see the class's table); `layer` counts for arms that learn one layer."""
        choose(arm, ARMS, "arm")
        choose(layer, self.layers, "layer")
        sizes, seed = self.sizes, self.seed if seed is None else seed
        by_labels = self._recipe(sizes.epochs, sizes.label_rates)
        by_layer = self._recipe(sizes.epochs, sizes.layer_rates[layer])
        net: dict[str, Any] = {"model_options": sizes.net if self.network.startswith("small_") else {}}
        few: dict[str, Any] = {"n_train": self.n_student, **net}
        if arm == "teacher":
            schedule = self._recipe(sizes.teacher_epochs, sizes.label_rates)
            if self.teacher_images == "same":
                return make_spec(self.network, "cross_entropy", schedule, later_seed(self.seed, _OTHER_SEED), **few)
            return make_spec(self.network, "cross_entropy", schedule, self.seed, **net)
        if arm in ("baseline", "baseline_slow"):
            schedule = by_labels if arm == "baseline" else by_layer
            return make_spec(self.network, "cross_entropy", schedule, seed, **few)
        if arm == "kd":
            by_logits = self._recipe(sizes.epochs, sizes.logit_rates)
            options = {"alpha": 0.9, "temperature": 4.0}
            return make_spec(
                self.network, "kd", by_logits, seed, objective_options=options, teacher=self.spec("teacher"), **few
            )
        teacher = {
            "random_teacher": lambda: make_spec(
                self.network, "cross_entropy", Recipe(epochs=0), later_seed(seed, _OTHER_SEED), **net
            ),
            "self": lambda: self.spec("baseline", seed),
        }.get(arm, lambda: self.spec("teacher"))()
        schedule = by_labels if arm == "student_fast" else by_layer
        taught: dict[str, float | str] = {"layer": layer} | ({"relative": 1.0} if arm == "student_fast" else {})
        return make_spec(self.network, "layer_mse", schedule, seed, objective_options=taught, teacher=teacher, **few)

    def classified(self, arm: str, seed: int | None = None, layer: str = "fc1") -> RunSpec:
        """The run that trains a classifier on an arm's frozen layer; the arm itself where that gives the logits or
        learnt from labels.

        Not the released schedule (section 7.4: 100 epochs at 1e-3, ResNets 1e-2, times 0.3 whenever the loss has stood
        still for 10 epochs), which needs more epochs than the small presets have: the preset's `classifier_epochs`,
        with one epoch of rising rates and then the baseline's rates, log-spaced.
        """
        spec = self.spec(arm, seed, layer)
        if arm not in BY_LAYER or layer == "fc3":
            return spec
        schedule = replace(self._recipe(self.sizes.classifier_epochs, self.sizes.label_rates), distances=())
        return make_spec(
            self.network,
            "cross_entropy",
            schedule,
            spec.seed,
            model_options=dict(spec.model_options),
            start=spec,
            frozen_up_to=self.paths[layer],
            n_train=self.n_student,
        )

    @cached_property
    def paths(self) -> dict[str, str]:
        """Layer, by the paper's name -> its path in the network."""
        return probed_layers(self.untrained())

    @property
    def layers(self) -> tuple[str, ...]:
        """The paper's names of the network's probed layers."""
        return tuple(self.paths)

    def _recipe(self, epochs: int, rates: tuple[float, float]) -> Recipe:
        return replace(recipe(epochs, *rates), distances=tuple(self.paths.values()))

    def untrained(self, seed: int | None = None) -> nn.Module:
        """The network before training."""
        return self.untrained_of(self._untrained_spec(seed))

    def _untrained_spec(self, seed: int | None) -> RunSpec:
        net = self.sizes.net if self.network.startswith("small_") else {}
        first = self.seed if seed is None else seed
        return make_spec(self.network, "cross_entropy", Recipe(epochs=0), first, model_options=net)

    def train(self, arms: Sequence[str], layers: Sequence[str] = LAYERS, *, classifiers: bool = False) -> None:
        """Make sure of the runs of these arms at these layers and all seeds, several in parallel on a CPU."""
        specs = [self.spec("teacher")]
        for arm, seed, layer in self._each(arms, layers):
            specs.append(self.spec(arm, seed, layer))
            specs += [self.classified(arm, seed, layer)] if classifiers else []
        self.train_specs(specs)

    def _each(self, arms: Sequence[str], layers: Sequence[str]) -> list[tuple[str, int, str]]:
        return [(arm, seed, layer) for arm in arms for seed in self.seeds for layer in layers]

    def accuracy(self, arm: str, seed: int | None = None, layer: str = "fc1", part: str = "test") -> float:
        """Fraction of images of `part` classified rightly, behind a layer arm with the classifier trained on it."""
        return self.score_of(self.classified(arm, seed, layer), part)

    # ---- maps and concepts ------------------------------------------------------------------------------------------

    def task(self, arm: str, seed: int | None = None, layer: str = "fc1", *, checkpoints: bool = False) -> MapTask:
        """What to measure of an arm: its last weights, or those of all checkpoints.

        "untrained" is the baseline before its first epoch.
        """
        if arm == "untrained":
            return MapTask(self.spec("baseline", seed), layer, ("epoch_0",))
        spec = self.spec(arm, seed, layer)
        states = self.states(spec)  # the last of them is the last epoch's
        return MapTask(spec, layer, states if checkpoints else states[-1:])

    @staticmethod
    def states(spec: RunSpec) -> tuple[str, ...]:
        """Names of the states that a run keeps for its checkpoints."""
        return tuple(f"epoch_{epoch}" for epoch in spec.recipe.checkpoints)

    def measure(
        self,
        arms: Sequence[str],
        layers: Sequence[str] = LAYERS,
        *,
        checkpoints: bool = False,
        plan: MapPlan | None = None,
    ) -> None:
        """Make sure of the maps of these arms at these layers and all seeds, several networks in parallel on a CPU."""
        tasks = [self.task(arm, seed, layer, checkpoints=checkpoints) for arm, seed, layer in self._each(arms, layers)]
        self._take(list(dict.fromkeys(tasks)), plan or self.plan)

    def _take(self, tasks: list[MapTask], plan: MapPlan) -> None:
        missing = [task for task in tasks if (task, plan) not in self._maps]
        images = self.measured.inputs(slice(None))
        found = concept_maps(missing, self.splits, images, plan, device=str(self.device)) if missing else []
        self._maps |= {(task, plan): maps for task, maps in zip(missing, found, strict=True)}

    def maps(
        self,
        arm: str,
        seed: int | None = None,
        layer: str = "fc1",
        *,
        checkpoints: bool = False,
        plan: MapPlan | None = None,
    ) -> Tensor:
        """(N, rows, columns) H in nats of the last weights, or (M, N, rows, columns) of all checkpoints; NaN where an
        image has no map. plan: another way to measure than the study's."""
        kept = self._kept(self.task(arm, seed, layer, checkpoints=checkpoints), plan)
        stacked = torch.stack([maps.entropy for maps in kept])
        return stacked if checkpoints else stacked[0]

    def reached(self, arm: str, seed: int | None = None, layer: str = "fc1", *, plan: MapPlan | None = None) -> Tensor:
        """(N,) bool: of the maps of the last weights, those whose search came to its target."""
        return self._kept(self.task(arm, seed, layer), plan)[0].reached

    def _kept(self, task: MapTask, plan: MapPlan | None) -> list[KeptMaps]:
        self._take([task], plan or self.plan)
        return [self._maps[task, plan or self.plan][state] for state in task.states]

    def not_reached(self) -> int:
        """Of all maps measured so far, how many did not reach the search's target."""
        return sum(int((~maps.reached).sum()) for kept in self._maps.values() for maps in kept.values())

    def concepts(
        self,
        arm: str,
        seed: int | None = None,
        layer: str = "fc1",
        *,
        threshold: float | None = None,
        keep: Tensor | None = None,
        plan: MapPlan | None = None,
    ) -> VisualConcepts:
        """Concepts of an arm's last weights."""
        maps = self.maps(arm, seed, layer, plan=plan)
        return visual_concepts(maps, self.foreground, threshold or self.threshold, keep=keep)
