"""The cohort's protocol: data, networks, recipes, arms and the number of replicates, from one committed file.

It is chosen on accuracy alone (`kdlib.cohort.premise`), before any measure of interpretability is taken of one of
its distilled students. Whoever changes it afterwards makes another cohort.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdlib.cohort.listing import PROTOCOL
from kdlib.cohort.population import Population, read_arm, read_net
from kdlib.errors import KdlibError, choose, finite_number, positive_integer

_TABLES = ("data", "options", "nets", "arms", "epochs", "tau")


@dataclass(frozen=True)
class Protocol:
    """populations: by data set. replicates: how many there are of each, numbered from 0. block: of how many a file is
    made."""

    populations: Mapping[str, Population]
    replicates: int
    block: int

    def population(self, data: str) -> Population:
        """The population of a data set; KdlibError where the cohort has none."""
        return self.populations[choose(data, self.populations, "data set of the cohort")]

    def blocks(self, replicates: int | None = None) -> list[tuple[int, ...]]:
        """The replicates (the first ones), as they are stacked in files; the last block may be shorter.

        >>> Protocol({}, 10, 4).blocks()
        [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
        """
        most = self.replicates
        count = most if replicates is None else positive_integer(replicates, "replicates", maximum=most)
        return [tuple(range(first, min(first + self.block, count))) for first in range(0, count, self.block)]


def read_protocol(path: Path = PROTOCOL) -> Protocol:
    """The protocol on file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    replicates, block = (positive_integer(table.pop(name, None), name) for name in ("replicates", "block"))
    return Protocol({name: _population(name, one) for name, one in table.items()}, replicates, block)


def _population(name: str, table: Mapping[str, Any]) -> Population:
    for entry in table:
        choose(entry, _TABLES, f"entry of [{name}]")
    nets = {role: read_net(net, f"[{name}.nets.{role}]") for role, net in table["nets"].items()}
    arms = {arm: read_arm(row, f"[{name}.arms.{arm}]") for arm, row in table["arms"].items()}
    for arm, row in arms.items():
        if row.teacher and row.teacher not in arms:
            raise KdlibError(f"[{name}.arms.{arm}] is taught by '{row.teacher}', which is no arm; add it")
        if row.one_for_all:
            raise KdlibError(f"[{name}.arms.{arm}] is one for all, but each replicate has its own; leave it out")
    recipes = {}
    for arm, epochs in table.get("epochs", {}).items():
        choose(arm, arms, f"arm of [{name}.epochs]")
        recipes[arm] = replace(nets["student"].recipe, epochs=positive_integer(epochs, f"epochs of {arm}"))
    tau = finite_number(table["tau"], f"tau of [{name}]", minimum=0, maximum=1) if "tau" in table else None
    return Population(table["data"], table.get("options", {}), nets, arms, recipes, tau)
