"""Arms: how the networks of an experiment are trained, from paired seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kdlib.errors import MOST_SEED, check_seed, check_temperature, choose, finite_number
from kdlib.runs.spec import RunSpec, make_spec
from kdlib.train.recipe import Recipe


def later_seed(seed: int, steps: int) -> int:
    """The seed `steps` after this one, for a network that must not start as another does; 0 follows the largest seed.

    >>> later_seed(3, 1000), later_seed(2**32 - 1, 1)
    (1003, 0)
    """
    return (check_seed(seed) + steps) % (MOST_SEED + 1)


@dataclass(frozen=True)
class Arm:
    """One way to train a network.

    objective, options: a method of `kdlib.distill.catalogue`. teacher: the arm that teaches, "" without one. net:
    "student" or "teacher", whose size and recipe it has. one_for_all: one network for all seeds, not one a seed.
    seed_offset: added to the seed. recipe: name of the method whose own recipe it has, where a preset has some.
    length: of its training, in that of its recipe; the whole schedule is stretched with it.
    """

    objective: str
    options: Mapping[str, float] = field(default_factory=dict)
    teacher: str = ""
    net: str = "student"
    one_for_all: bool = False
    seed_offset: int = 0
    recipe: str = ""
    length: float = 1.0


@dataclass(frozen=True)
class Net:
    """A network by its name in `kdlib.models` with its options, and the recipe of those that have none of their own."""

    model: str
    options: Mapping[str, int]
    recipe: Recipe


def arm_spec(
    arms: Mapping[str, Arm],
    arm: str,
    seed: int,
    nets: Mapping[str, Net],
    *,
    first_seed: int | None = None,
    recipes: Mapping[str, Recipe] | None = None,
) -> RunSpec:
    """What makes the network of an arm: for each seed all arms start alike and differ in what their rows name alone.

    nets: "teacher", "student" and whatever else arms name. first_seed: that of the arms which are one for all seeds
    (None for `seed`). recipes: of students that have one of their own, by the arm's name or by its `recipe`.

    >>> net = Net("small_resnet", {"width": 4}, Recipe(epochs=2))
    >>> spec = arm_spec(basic_arms(4.0, 0.9, 0.1), "kd", 3, {"teacher": net, "student": net})
    >>> spec.objective, spec.seed, spec.teacher.objective
    ('kd', 3, 'cross_entropy')
    """
    row = arms[choose(arm, arms, "arm")]
    net = nets[row.net]
    own = (recipes or {}) if row.net == "student" else {}
    first = first_seed if row.one_for_all and first_seed is not None else seed
    teacher = arm_spec(arms, row.teacher, seed, nets, first_seed=first_seed, recipes=recipes) if row.teacher else None
    return make_spec(
        net.model,
        row.objective,
        stretched(own.get(row.recipe or arm, net.recipe), row.length),
        later_seed(first, row.seed_offset),
        model_options=net.options,
        objective_options=row.options,
        teacher=teacher,
    )


def stretched(recipe: Recipe, length: float) -> Recipe:
    """The recipe with `length` times its epochs, at least one, and its milestones where they were in proportion.

    >>> longer = stretched(Recipe(epochs=14, schedule="step", milestones=(7,)), 10 / 7)
    >>> longer.epochs, longer.milestones
    (20, (10,))
    """
    if length == 1:
        return recipe
    epochs = max(1, round(length * recipe.epochs))
    milestones = tuple(min(epochs, max(1, round(length * milestone))) for milestone in recipe.milestones)
    return replace(recipe, epochs=epochs, milestones=milestones)


def basic_arms(temperature: float, alpha: float, smoothing: float) -> dict[str, Arm]:
    """What every image experiment compares: a teacher, and students from scratch, by label smoothing and by KD.

    >>> basic_arms(4.0, 0.9, 0.1)["kd"].options
    {'alpha': 0.9, 'temperature': 4.0}

    temperature: above 0. alpha: of the soft term, in [0, 1]. smoothing: label smoothing's alpha, in [0, 1].
    """
    kd = {
        "alpha": finite_number(alpha, "alpha", minimum=0, maximum=1),
        "temperature": check_temperature(temperature),
    }
    smoothed = {"alpha": finite_number(smoothing, "smoothing", minimum=0, maximum=1)}
    return {
        "teacher": Arm("cross_entropy", net="teacher", one_for_all=True),
        "scratch": Arm("cross_entropy"),
        "label_smoothing": Arm("label_smoothing", smoothed),
        "kd": Arm("kd", kd, teacher="teacher"),
    }
