"""Specifications of trainings that take a second on the images of `stripes`."""

from __future__ import annotations

import torch

from kdlib.runs.place import store_root
from kdlib.runs.spec import RunSpec, make_spec
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=32, augment="flip")
NET = {"width": 4, "features": 16}
SCRATCH = make_spec("small_resnet", "cross_entropy", RECIPE, 0, model_options=NET)


def distilled(**options: float) -> RunSpec:
    return make_spec("small_resnet", "kd", RECIPE, 1, model_options=NET, objective_options=options, teacher=SCRATCH)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def leftovers() -> list[str]:
    """Names of half-written folders and unfinished trainings in the store."""
    return [p.name for p in store_root().iterdir() if p.name.startswith((".tmp", ".partial"))]
