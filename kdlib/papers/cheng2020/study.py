"""Networks of Cheng et al. 2020 on one data set, their maps and their visual concepts, from paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.capture import features_of
from kdlib.data.drawn.concept_world_classes import CUE_PARTS
from kdlib.data.image_set import ImageSet, Splits
from kdlib.data.registry import load
from kdlib.errors import KdlibError, choose, finite_number, positive_integer
from kdlib.metrics.learning_dynamics import LearningSpeed, Stability, learning_speed, stability
from kdlib.metrics.visual_concepts import (
    THRESHOLD,
    Discards,
    VisualConcepts,
    agreement,
    discards,
    foreground_cells,
    visual_concepts,
)
from kdlib.models.probed import probed_layers
from kdlib.names import DATA_SETS
from kdlib.papers.cheng2020.concept_maps import KeptMaps, MapPlan, MapTask, concept_maps
from kdlib.papers.cheng2020.presets import CONCEPT_PRESETS, ConceptSizes, recipe
from kdlib.papers.cheng2020.settings import first_judged
from kdlib.papers.presets import images_in
from kdlib.papers.study import Study
from kdlib.runs.spec import RunSpec, make_spec
from kdlib.train.recipe import Recipe

LAYERS = ("fc1", "fc2", "fc3")
REGIMES = ("independent", "correlated", "plain")
TEACHER_IMAGES = ("more", "same")
# Arms that learn one layer: each is another network for each layer. The others are one network, probed at every layer.
BY_LAYER = ("student", "student_fast", "random_teacher", "self")
ARMS = ("teacher", "baseline", "baseline_slow", "kd", *BY_LAYER)
_CORRELATION = 0.8
_AT_ONCE = 256  # images
_OTHER_SEED = 1_000  # a random teacher must not start from its student's weights, nor be a fair one a baseline


@dataclass(frozen=True)
class Dynamics:
    """What one run's concepts did over its checkpoints: epochs (M,), counts (M, N) on foreground and background, means
    where several noise seeds are asked for, distances (M,), concepts (M, N, rows, columns), and what section 4 and 5
    make of them."""

    epochs: tuple[int, ...]
    distances: Tensor
    foreground_counts: Tensor
    background_counts: Tensor
    concepts: Tensor
    speed: LearningSpeed
    stability: Stability


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
            sizes = replace(sizes, epochs=positive_integer(student_epochs, "student_epochs", 2))
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
        sizes, options = self.sizes, self._data_options()
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

    def _data_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"root": self.data_folder} if self.data_folder else {}
        if self.image_size is not None:
            options["image_size"] = positive_integer(self.image_size, "image_size", 16)
        if self.data in ("fashion_mnist", "garment_scenes"):
            options["full"] = self.preset == "gpu"
        if self.data == "garment_scenes":
            options |= {"background": self.regime, "correlation": _CORRELATION}
        elif self.data == "concept_world":
            options |= {
                "independent": {"background_correlation": 0.0},
                "correlated": {"background_correlation": _CORRELATION, "test_correlation": 0.0},
                "plain": {"background_correlation": 0.0, "plain_background": True},
            }[self.regime]
        return options

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
        cells = self._cells(images).flatten(1)
        usable = (cells.any(1) & ~cells.all(1)).nonzero().flatten().cpu()
        if len(usable) < self.sizes.n_images:
            raise KdlibError(
                f"only {len(usable)} images of {images.name} have cells on and beside the object; ask for no more "
                "(n_images)"
            )
        order = torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))
        return images.subset(usable[order[: self.sizes.n_images]].to(images.device))

    def _cells(self, images: ImageSet) -> Tensor:
        assert images.foreground is not None  # checked when the data were loaded
        return foreground_cells(images.foreground, self.plan.grid)

    @cached_property
    def foreground(self) -> Tensor:
        """(N, rows, columns) bool: the measured images' cells on the object."""
        return self._cells(self.measured).cpu()

    @cached_property
    def telling_cells(self) -> Tensor | None:
        """(N, rows, columns) bool: cells of the part that tells a class from its siblings; None where none is drawn."""
        parts = [concept for concept in self.measured.concepts if concept.category == "part"]
        if self.data != "concept_world" or not parts:
            return None
        [part] = parts
        telling = torch.zeros(len(self.measured), *self.measured.image_size, dtype=torch.bool)
        for number, label in enumerate(self.measured.labels.tolist()):
            cues = CUE_PARTS[self.measured.class_names[label]]
            wanted = torch.tensor([part.names.index(name) for name in cues if name in part.names])
            telling[number] = torch.isin(part.labels[number].cpu().long(), wanted)
        return foreground_cells(telling, self.plan.grid)

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
                return make_spec(self.network, "cross_entropy", schedule, self.seed + _OTHER_SEED, **few)
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
                self.network, "cross_entropy", Recipe(epochs=0), seed + _OTHER_SEED, **net
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
            frozen_up_to=self._paths[layer],
            n_train=self.n_student,
        )

    @cached_property
    def _paths(self) -> dict[str, str]:
        return probed_layers(self.untrained())

    @property
    def layers(self) -> tuple[str, ...]:
        """The paper's names of the network's probed layers."""
        return tuple(self._paths)

    def _recipe(self, epochs: int, rates: tuple[float, float]) -> Recipe:
        return replace(recipe(epochs, *rates), distances=tuple(self._paths.values()))

    def untrained(self, seed: int | None = None) -> nn.Module:
        """The network before training."""
        return self.untrained_of(self._untrained_spec(seed))

    def _untrained_spec(self, seed: int | None) -> RunSpec:
        net = self.sizes.net if self.network.startswith("small_") else {}
        first = self.seed if seed is None else seed
        return make_spec(self.network, "cross_entropy", Recipe(epochs=0), first, model_options=net)

    def train(self, arms: Sequence[str], layers: Sequence[str] = LAYERS, *, classifiers: bool = False) -> None:
        """Make sure of the runs of these arms at these layers and all seeds, several side by side on a CPU."""
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

    def explained(self, arm: str, seed: int | None = None, layer: str = "fc1", part: str = "val") -> float:
        """Percent of its own teacher's outputs at a layer that a layer arm gives on images of `part`: 100 % less its
        mean squared error over their variance, so 0 for who always gives their mean, and less for who does worse."""
        choose(arm, BY_LAYER, "arm that learns one layer")
        spec = self.spec(arm, seed, layer)
        assert isinstance(spec.teacher, RunSpec)  # a layer arm has one
        images: ImageSet = self.part(part)
        pieces = [slice(start, start + _AT_ONCE) for start in range(0, len(images), _AT_ONCE)]
        models = [self.model_of(one) for one in (spec, spec.teacher)]
        given, wanted = (
            torch.cat([features_of(model, images.inputs(piece), self._paths[layer]) for piece in pieces]).double()
            for model in models
        )
        error = (given - wanted).square().mean()
        return 100 * (1 - float(error / wanted.var(0, correction=0).mean()))

    # ---- maps and concepts ------------------------------------------------------------------------------------------

    def task(self, arm: str, seed: int | None = None, layer: str = "fc1", *, checkpoints: bool = False) -> MapTask:
        """What to measure of an arm: its last weights, or those of all checkpoints."""
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
        """Make sure of the maps of these arms at these layers and all seeds, several networks side by side on a CPU."""
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

    def agreement_of_seeds(self, arm: str, layer: str = "fc1") -> tuple[float, float]:
        """How far networks that differ in their seed have the same concepts: intersection over union, mean over pairs
        of seeds and images; and the same of as many cells drawn blindly, to first order. NaN if no image has any."""
        if len(self.seeds) < 2:
            raise KdlibError("the agreement of seeds needs at least two of them; raise n_seeds")
        sets = [self.concepts(arm, seed, layer).concepts for seed in self.seeds]
        shared, blind = [], []
        for one, other in combinations(sets, 2):
            shared.append(agreement(one, other))
            a, b = (cells.flatten(1).sum(1).double() for cells in (one, other))
            both = a * b / one[0].numel()
            blind.append(both / (a + b - both))
        return float(torch.cat(shared).nanmean()), float(torch.cat(blind).nanmean())

    def discarded(self, arm: str, seed: int | None = None, layer: str = "fc1") -> Discards:
        """Images that the published selection drops for one run, over its checkpoints."""
        epochs = self.spec(arm, seed, layer).recipe.checkpoints
        maps = self.maps(arm, seed, layer, checkpoints=True)
        return discards(maps, self.foreground, list(epochs), first_judged(epochs[-1]))

    def distances(
        self,
        arm: str,
        seed: int | None = None,
        layer: str = "fc1",
        *,
        up_to: bool = False,
        by_epoch: bool = False,
    ) -> Tensor:
        """(M,) float64: the way of the layer's weight at each checkpoint, summed over updates, in norms of the first
        weights. up_to: of all parameters up to the layer. by_epoch: summed over epochs, straight from the weights
        before one to those after it."""
        spec = self.spec(arm, seed, layer)
        name = f"{'epoch_' if by_epoch else ''}distance{'_up_to' if up_to else ''}/{self._paths[layer]}"
        rows = torch.tensor([row[name] for row in self.run_of(spec).history], dtype=torch.float64)
        ways = torch.cat([torch.zeros(1, dtype=torch.float64), rows.cumsum(0)])
        return ways[list(spec.recipe.checkpoints)]

    def dynamics(
        self,
        arm: str,
        seed: int | None = None,
        layer: str = "fc1",
        *,
        threshold: float | None = None,
        keep: Tensor | None = None,
        up_to: bool = False,
        by_epoch: bool = False,
        noise_seeds: int = 1,
    ) -> Dynamics:
        """How the concepts of one run came and went over its checkpoints.

        up_to, by_epoch: as `distances` has them. noise_seeds: with more than one, counts are means over maps of so many
        noise seeds, which makes peaks less of a lottery where maps are sampled; concepts are the first seed's.
        """
        first = self.plan.noise_seed
        seeds = range(first, first + positive_integer(noise_seeds, "noise_seeds"))
        plans = [replace(self.plan, noise_seed=number) for number in seeds]
        taken = [self.maps(arm, seed, layer, checkpoints=True, plan=plan) for plan in plans]
        usable = ~torch.stack(taken).isnan().flatten(3).any(3).any(1).any(0)
        usable = usable if keep is None else usable & keep
        if not bool(usable.any()):
            raise KdlibError(
                f"arm '{arm}', seed {self.spec(arm, seed, layer).seed}, layer {layer}: no image has a map at every "
                "checkpoint (the layer is dead for them, or they are not kept); train with other rates or more images"
            )
        threshold = threshold or self.threshold
        found = [
            [visual_concepts(entropy, self.foreground, threshold, keep=usable) for entropy in maps] for maps in taken
        ]
        on, off = (
            torch.stack([torch.stack([getattr(one, side)[usable] for one in each]) for each in found])
            for side in ("on_foreground", "on_background")
        )
        on, off = (counts[0] if noise_seeds == 1 else counts.double().mean(0) for counts in (on, off))
        concepts = torch.stack([one.concepts for one in found[0]])
        distances = self.distances(arm, seed, layer, up_to=up_to, by_epoch=by_epoch)
        skip_first = self.network.startswith("resnet")
        return Dynamics(
            epochs=self.spec(arm, seed, layer).recipe.checkpoints,
            distances=distances,
            foreground_counts=on,
            background_counts=off,
            concepts=concepts,
            speed=learning_speed(on, distances, skip_first=skip_first),
            stability=stability(concepts[:, usable], self.foreground[usable]),
        )
