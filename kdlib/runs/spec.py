"""What makes a run: model, objective, recipe, seed and the runs that it builds on."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kdlib.distill.catalogue import METHODS
from kdlib.errors import (
    LEAST_TEMPERATURE,
    MOST_EPOCHS,
    MOST_TEMPERATURE,
    KdlibError,
    check_seed,
    choose,
    finite_number,
    positive_integer,
    shown,
    yes_or_no,
)
from kdlib.models import check_model
from kdlib.runs.teachers import KnownNetwork, KnownTeacher
from kdlib.train.recipe import Recipe

# What these options mean is the same in every method.
_RANGES: dict[str, dict[str, Any]] = {
    "alpha": {"minimum": 0, "maximum": 1},
    **{
        option: {"minimum": LEAST_TEMPERATURE, "maximum": MOST_TEMPERATURE, "exclusive": True}
        for option in ("temperature", "nce_temperature")
    },
    **{option: {"minimum": 0} for option in ("weight", "logits", "similarity", "turned")},
    "rate": {"minimum": 0, "maximum": 1},
}
_MOST_WHOLE = {"negatives": 10**6, "dimension": 65_536, "epochs": MOST_EPOCHS}
_NOT_THE_NETWORKS = {"seed": "specification's seed"} | dict.fromkeys(
    ("num_classes", "channels", "mean", "std", "vocabulary", "length"), "data"
)


@dataclass(frozen=True)
class RunSpec:
    """What makes a run: model, objective, recipe, seed and, for distillation, the run of the teacher.

    model and objective are a name with its options, as sorted (name, value) pairs; see `make_spec`. start: a run of the
    same network whose last weights are this run's first; frozen_up_to: the layer up to which they stay (a module
    path). n_train: only this many training images, the first ones, are seen; a teacher may see more than its student
    (both normalise by the statistics of all).
    """

    model: str
    model_options: tuple[tuple[str, int], ...]
    objective: str
    objective_options: tuple[tuple[str, float | str], ...]
    recipe: Recipe
    seed: int
    teacher: RunSpec | KnownTeacher | KnownNetwork | None = None
    start: RunSpec | None = None
    frozen_up_to: str = ""
    n_train: int | None = None

    def __post_init__(self) -> None:
        if self.start and (self.start.model, self.start.model_options) != (self.model, self.model_options):
            raise KdlibError(
                f"a run of {self.model} can't start from the weights of {self.start.model} with other options; "
                "start from a run of the same network"
            )
        if self.frozen_up_to and not self.start:
            raise KdlibError(
                f"layers up to '{self.frozen_up_to}' are frozen, but there is no run to start from: they would stay "
                "random; give start"
            )
        if self.n_train is not None:
            positive_integer(self.n_train, "n_train")
        for option, _ in self.model_options:
            if option in _NOT_THE_NETWORKS:
                raise KdlibError(
                    f"{option} is no option of {self.model}: it follows from the {_NOT_THE_NETWORKS[option]}"
                )
        check_model(self.model, self.model_options)
        choose(self.objective, METHODS, "objective")
        _check_objective(self.objective, self.objective_options)
        if METHODS[self.objective].taught != (self.teacher is not None):
            word = "takes no" if self.teacher else "needs a"
            raise KdlibError(f"objective '{self.objective}' {word} teacher")
        check_seed(self.seed)

    def needs(self) -> tuple[RunSpec, ...]:
        """The runs that must be there before this one: its teacher, if that is a run, and the one it starts from."""
        return tuple(run for run in (self.teacher, self.start) if isinstance(run, RunSpec))

    def others(self) -> tuple[RunSpec, ...]:
        """All runs that this one builds on, those first that the others need."""
        found: dict[RunSpec, None] = {}
        for run in self.needs():
            found |= dict.fromkeys((*run.others(), run))
        return tuple(found)

    def canonical(self) -> str:
        """The specification as JSON with sorted keys: equal specifications give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def _check_objective(name: str, options: tuple[tuple[str, Any], ...]) -> None:
    """Raise KdlibError for an option that the method does not have, or a value that no such option can have."""
    known = dict(inspect.signature(METHODS[name].build).parameters)
    known.pop("setting", None)
    for option, value in options:
        if not known:
            raise KdlibError(f"objective '{name}' has no options, but {shown(option)} is given; leave it out")
        default = known[choose(option, known, f"option of objective '{name}'")].default
        if isinstance(default, str):
            if not isinstance(value, str):
                raise KdlibError(f"{option} of objective '{name}' must be text, not {shown(value)}")
        elif value is None and default is None:
            continue
        elif option == "relative":
            yes_or_no(value, option)
        elif option in _MOST_WHOLE:
            positive_integer(value, option, maximum=_MOST_WHOLE[option])
        else:
            finite_number(value, option, **_RANGES.get(option, {}))


def make_spec(
    model: str,
    objective: str,
    recipe: Recipe,
    seed: int,
    *,
    model_options: Mapping[str, int] | None = None,
    objective_options: Mapping[str, float | str] | None = None,
    teacher: RunSpec | KnownTeacher | KnownNetwork | None = None,
    start: RunSpec | None = None,
    frozen_up_to: str = "",
    n_train: int | None = None,
) -> RunSpec:
    """A `RunSpec` from plain dictionaries.

    >>> spec = make_spec("small_resnet", "label_smoothing", Recipe(epochs=2), 0, objective_options={"alpha": 0.1})
    >>> spec.objective_options
    (('alpha', 0.1),)
    """
    return RunSpec(
        model,
        tuple(sorted((model_options or {}).items())),
        objective,
        tuple(sorted((objective_options or {}).items())),
        recipe,
        seed,
        teacher,
        start,
        frozen_up_to,
        n_train,
    )
