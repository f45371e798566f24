"""A population: many replicates of a teacher and one student of every arm, on one data set.

A replicate has a number, from which everything follows that differs between replicates: the teacher's weights and its
order of images, the students' (the same for all arms) and, where the data are drawn, the images of train and val. Test
and probe are the same for all. So replicates are independent given test and probe, and an interval over them speaks of
teachers and students alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kdlib.data.labelled_set import Splits
from kdlib.data.registry import load
from kdlib.errors import KdlibError, choose, shown
from kdlib.names import DATA_SETS
from kdlib.runs.arms import Arm, Net, arm_spec
from kdlib.runs.spec import RunSpec
from kdlib.train.recipe import Recipe

TEST_SEED = 1_000_000  # of test and probe; no replicate has this number
_NOT_HERE = ("seed", "root", "device", "full")


@dataclass(frozen=True)
class Population:
    """data: a data set that needs no files. options: of its loader. nets: "teacher", "student" and whatever else arms
    name. arms: name -> `Arm`.
    recipes: of arms whose students have a recipe of their own. tau: from which intersection over union on a unit counts
    as a concept detector, see `kdlib.cohort.threshold`; None where the data have no concepts.
    """

    data: str
    options: Mapping[str, Any]
    nets: Mapping[str, Net]
    arms: Mapping[str, Arm]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    tau: float | None = None

    def __post_init__(self) -> None:
        if DATA_SETS[choose(self.data, DATA_SETS, "data set")].needs != "nothing":
            raise KdlibError(
                f"a population's data must be at hand everywhere, and {self.data} needs files of one's own"
            )
        for option in self.options:
            if option in _NOT_HERE:
                raise KdlibError(f"{option} is no option of a population's data; leave it out")

    def splits(self, replicate: int) -> Splits:
        """The data of one replicate: train and val of its own number, test and probe that all have."""
        own = load(self.data, seed=replicate, **self.options)
        common = load(self.data, seed=TEST_SEED, **self.options)
        return replace(own, test=common.test, probe=common.probe)

    def spec(self, arm: str, replicate: int) -> RunSpec:
        """What makes the network of an arm in a replicate."""
        return arm_spec(self.arms, arm, replicate, self.nets, recipes=self.recipes)


def read_net(table: Mapping[str, Any], where: str) -> Net:
    """A network from a table with `model`, `options` and the fields of a `Recipe`; `where` it stands.

    >>> read_net({"model": "small_resnet", "options": {"width": 4}, "epochs": 2}, "here").recipe.epochs
    2
    """
    known = {"model", "options", *Recipe.__dataclass_fields__}
    for name in table:
        choose(name, known, f"entry of {where}")
    for name in ("model", "epochs"):
        if name not in table:
            raise KdlibError(f"{where} has no {name}; give one")
    own = {name: _value(value) for name, value in table.items() if name not in ("model", "options")}
    return Net(table["model"], dict(table.get("options", {})), Recipe(**own))


def read_arm(table: Mapping[str, Any], where: str) -> Arm:
    """An arm from a table of the fields of an `Arm`; `where` it stands.

    >>> read_arm({"objective": "kd", "options": {"temperature": 4.0}, "teacher": "teacher"}, "here").teacher
    'teacher'
    """
    for name in table:
        choose(name, Arm.__dataclass_fields__, f"entry of {where}")
    if not isinstance(table.get("objective"), str):
        raise KdlibError(f"{where} has the objective {shown(table.get('objective'))}; give the name of one")
    return Arm(**table)


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
