"""The experiments' common ground: paired students trained in several ways, their teacher, and the runs made of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.capture import last_stages
from kdlib.data.broden import BrodenFolder
from kdlib.data.image_set import Splits
from kdlib.errors import choose, finite_number, positive_integer
from kdlib.models import build
from kdlib.paper_settings import LS_TEACHER_ALPHA
from kdlib.presets import DATA_NAMES, PARTS, PRESETS, Preset, load_data, sizes_of
from kdlib.runs import RunSpec, get_or_train, make_spec
from kdlib.side_by_side import cores, train_missing_of
from kdlib.train import Run, predict, resolve_device

ARMS = ("scratch", "label_smoothing", "kd")
METHODS = {  # feature methods and their objectives; each has a second arm, `<method>_with_logits`
    "at": "attention_transfer",
    "ft": "factor_transfer",
    "crd": "contrastive",
    "sskd": "self_supervision",
}
TEACHER_TEMPERATURES = (1, 2, 3, 4, 8)  # of the students of a label-smoothed teacher
TEACHERS = ("teacher", "ls_teacher", "self_teacher")
_SELF_TEACHER_SEED = 1_000  # a self-teacher must not start from its student's weights


class Study:
    """Students trained in several ways on one data set from paired seeds, and their teacher.

    For each seed all arms start from the same weights and see the same images in the same order; only the objective
    differs, but at the paper's own scale some methods have a recipe of their own, as in the paper. Every model comes
    from the run store or is trained now. The teacher is one for all seeds, so intervals over seeds say nothing of other
    teachers.

    ==============================  ================================================================================
    scratch, label_smoothing, kd    cross-entropy; the same with smoothed labels; distillation from the teacher
    kd_t4                           kd at temperature 4
    self_kd                         kd from "self_teacher", a net of the student's own kind, trained from scratch
    ls_teacher_t1, _t2, ... _t8     kd at these temperatures, alpha 0.9, from "ls_teacher", trained with smoothed labels
    at, ft, crd, sskd               feature methods; with the suffix _with_logits, the teacher's logits besides
    kd_shuffled, kd_wrong_classes   kd with the teacher's wrong-class logits permuted per image, per class (C1, C2)
    superclass_smoothing            labels smoothed over the siblings only, no teacher (C3)
    antisibling_smoothing           labels smoothed over the other superclasses only, no teacher (C4)
    scratch_long                    scratch, twice as long; `matched` finds the epoch as accurate as another arm (C5)
    ==============================  ================================================================================

    n_seeds: None for the preset's number. alpha weights the soft term of KD and of the arms made from it; smoothing is
    label smoothing's alpha. presets: sizes by preset, `MANY_ARMS` for a chapter with many arms. student_epochs: None
    for the preset's number. data: a data set's name, or its splits themselves. network: the model of all
    arms, where the preset names none. probe_folder: a folder in Broden's layout, the probe in place of the data's own.
    """

    def __init__(
        self,
        data: str | Splits = "concept_world",
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
        presets: dict[str, Preset] = PRESETS,
        student_epochs: int | None = None,
        network: str = "small_resnet",
        probe_folder: str = "",
    ) -> None:
        sizes = sizes_of(data, preset, presets)
        positive_integer(seed, "seed", minimum=0)
        if n_seeds is not None:
            positive_integer(n_seeds, "n_seeds")
        self.temperature = finite_number(temperature, "temperature", minimum=0, exclusive=True)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)
        self.smoothing = finite_number(smoothing, "smoothing", minimum=0, maximum=1)
        self.device = resolve_device(device)
        self.data, self.preset, self.full, self.data_folder = data, preset, full, data_folder
        self.network = network
        self.presets, self.sizes = presets, sizes
        self.probe_folder = BrodenFolder(probe_folder, workers=cores()) if probe_folder else None
        if student_epochs is not None:
            epochs = positive_integer(student_epochs, "student_epochs")
            longer = replace(self.sizes.student_recipe, epochs=epochs)
            others = {method: replace(one, epochs=epochs) for method, one in self.sizes.method_recipes.items()}
            self.sizes = replace(self.sizes, student_recipe=longer, method_recipes=others)
        self.data_name = DATA_NAMES[data] if isinstance(data, str) else data.name
        self.seed = seed
        self.seeds = tuple(range(seed, seed + (n_seeds or self.sizes.n_seeds)))
        self.started = time.perf_counter()
        self._runs: dict[tuple[str, int], Run] = {}
        self._logits: dict[tuple[str, int, str, str], Tensor] = {}

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

    def nets(self) -> dict[str, dict[str, int]]:
        """Shape of the teacher and of the students."""
        return {"teacher": self.sizes.teacher, "student": self.sizes.student}

    def spec(self, arm: str, seed: int | None = None) -> RunSpec:
        """What makes the run of `arm` (one of `TEACHERS`, or an arm of the class's table) with `seed`."""
        sizes = self.sizes
        teachers = {
            "teacher": ("cross_entropy", {}, 0),
            "ls_teacher": ("label_smoothing", {"alpha": self.smoothing}, 0),
            "self_teacher": ("cross_entropy", {}, _SELF_TEACHER_SEED),
        }
        if arm in teachers:
            objective, options, offset = teachers[arm]
            own_kind = arm == "self_teacher"  # the student's
            return make_spec(
                (sizes.student_model if own_kind else sizes.teacher_model) or self.network,
                objective,
                sizes.student_recipe if own_kind else sizes.teacher_recipe,
                self.seed + offset,
                model_options=sizes.student if own_kind else sizes.teacher,
                objective_options=options,
            )
        arms = self._arms()
        objective, options, teacher = arms[choose(arm, arms, "arm")]
        method = "ls_teacher" if teacher == "ls_teacher" else arm.removesuffix("_with_logits")
        recipe = sizes.method_recipes.get(method, sizes.student_recipe)
        if arm == "scratch_long":
            recipe = replace(recipe, epochs=2 * recipe.epochs, checkpoints=tuple(range(1, 2 * recipe.epochs + 1)))
        return make_spec(
            sizes.student_model or self.network,
            objective,
            recipe,
            self.seed if seed is None else seed,
            model_options=sizes.student,
            objective_options=options,
            teacher=self.spec(teacher) if teacher else None,
        )

    def _arms(self) -> dict[str, tuple[str, dict[str, float], str]]:
        """Objective, its options and the teacher ("" without one) of each arm."""
        kd = {"alpha": self.alpha, "temperature": self.temperature}
        arms: dict[str, tuple[str, dict[str, float], str]] = {
            "scratch": ("cross_entropy", {}, ""),
            "scratch_long": ("cross_entropy", {}, ""),
            "label_smoothing": ("label_smoothing", {"alpha": self.smoothing}, ""),
            "superclass_smoothing": ("superclass_smoothing", {"alpha": self.smoothing}, ""),
            "antisibling_smoothing": ("antisibling_smoothing", {"alpha": self.smoothing}, ""),
            "kd": ("kd", kd, "teacher"),
            "kd_t4": ("kd", kd | {"temperature": 4.0}, "teacher"),
            "kd_shuffled": ("shuffled", kd, "teacher"),
            "kd_wrong_classes": ("wrong_classes", kd, "teacher"),
            "self_kd": ("kd", kd, "self_teacher"),
        }
        for temperature in TEACHER_TEMPERATURES:
            options = {"alpha": LS_TEACHER_ALPHA, "temperature": float(temperature)}
            arms[f"ls_teacher_t{temperature}"] = ("kd", options, "ls_teacher")
        for method, objective in METHODS.items():
            arms[method] = (objective, {}, "teacher")
            # SSKD has a weight of its own for the logits of the images themselves.
            with_logits = {"logits": 0.9} if method == "sskd" else kd
            arms[f"{method}_with_logits"] = (objective, with_logits, "teacher")
        return arms

    def run(self, arm: str, seed: int | None = None) -> Run:
        """The run of `arm` with `seed` (the first seed if None), from the store or trained now."""
        seed = self.seed if seed is None or arm in TEACHERS else seed
        if (arm, seed) not in self._runs:
            spec = self.spec(arm, seed)
            self._runs[arm, seed] = get_or_train(
                spec, self.splits, device=str(self.device), label=f"{arm}, seed {seed}"
            )
        return self._runs[arm, seed]

    def train(self, arms: Sequence[str] = ARMS) -> None:
        """Make sure of every arm's run at every seed and of their teachers, several side by side on a CPU."""
        train_together([self], arms)

    def matched(self, seed: int, arm: str = "kd") -> str:
        """The epoch of "scratch_long" (a state's name) with the val accuracy nearest to `arm`'s at its end (C5)."""
        wanted = self.run(arm, seed).history[-1]["val_accuracy"]
        rows = self.run("scratch_long", seed).history
        nearest = min(rows, key=lambda row: abs(row["val_accuracy"] - wanted))
        return f"epoch_{int(nearest['epoch'])}"

    def model(self, arm: str, seed: int | None = None, which: str = "last") -> nn.Module:
        """The trained network, in eval mode on the study's device."""
        return self.run(arm, seed).model(which, self.device)

    def logits(self, arm: str, seed: int | None = None, part: str = "test", which: str = "last") -> Tensor:
        """Logits (N, K) on one part of the data, computed once."""
        seed = self.seed if seed is None or arm in TEACHERS else seed
        name = (arm, seed, part, which)
        if name not in self._logits:
            self._logits[name] = predict(self.model(arm, seed, which), self.part(part))
        return self._logits[name]

    @cached_property
    def last_stage(self) -> str:
        """The last stage of the students' network, the layer that the paper dissects; the teacher's has its name."""
        return last_stages(self.untrained(), 1)[0]

    def untrained(self, seed: int | None = None) -> nn.Module:
        """The student's network before training, on the study's device: what a measure finds if nothing was learned."""
        spec = self.spec("scratch", seed)
        options = self.part("train").model_options() | dict(spec.model_options)
        return build(spec.model, seed=spec.seed, **options).to(self.device).eval()

    def part(self, part: str) -> Any:
        """One of the parts train, val, test, probe: an `ImageSet`, or what reads like one from a folder."""
        if part == "probe" and self.probe_folder:
            return self.probe_folder
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
        probe = {"probe set": self.probe_folder.name} if self.probe_folder else {}
        return {"data": self.splits.name, **parts, **probe, "seeds": len(self.seeds), "device": str(self.device)}


def train_together(studies: Sequence[Study], arms: Sequence[str] = ARMS) -> None:
    """`Study.train` for several studies on one device, the trainings of all of them side by side on a CPU."""
    runs = [[("teacher", study.seed), *((arm, seed) for seed in study.seeds for arm in arms)] for study in studies]
    specs = [[study.spec(*run) for run in own] for study, own in zip(studies, runs, strict=True)]
    splits = [study.splits for study in studies]
    train_missing_of(list(zip(specs, splits, strict=True)), device=str(studies[0].device))
    for study, own in zip(studies, runs, strict=True):
        for arm, seed in own:
            study.run(arm, seed)


def gallery_indices(labels: Tensor, per_class: int = 1) -> Tensor:
    """Indices of the first `per_class` images of each class, in the order of the classes.

    >>> gallery_indices(torch.tensor([1, 0, 1, 2]))
    tensor([1, 0, 3])
    """
    found = [torch.nonzero(labels == label).flatten()[:per_class] for label in labels.unique(sorted=True)]
    return torch.cat(found)
