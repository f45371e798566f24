"""Arms: how the networks of an experiment are trained, in parallel from paired seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kdlib.errors import MOST_SEED, check_seed, check_temperature, finite_number


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
    longer: times as many epochs, with a checkpoint after each if more than 1.
    """

    objective: str
    options: Mapping[str, float] = field(default_factory=dict)
    teacher: str = ""
    net: str = "student"
    one_for_all: bool = False
    seed_offset: int = 0
    recipe: str = ""
    longer: int = 1


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
