"""Maps of information discarding of trained networks, measured once and kept in the run store.

On a CPU networks are measured in parallel, one process a core; the maps are the same whichever way.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.capture import shapes_of
from kdlib.cores import cores
from kdlib.data.labelled_set import Splits
from kdlib.errors import choose, positive_integer
from kdlib.metrics.information.linear import linear_information
from kdlib.metrics.information.maps import SAMPLES, InformationMaps, information_discarding
from kdlib.metrics.information.search import Converged, EarlyStopped
from kdlib.models.probed import layer_path
from kdlib.runs.measurements import measure_once, measurement_key, stored_measurement
from kdlib.runs.parallel import in_processes, worth_processes
from kdlib.runs.source import source_hash
from kdlib.runs.spec import RunSpec
from kdlib.runs.store import get_or_train, run_key
from kdlib.train.device import deterministic, resolve_device, watched

ESTIMATORS = ("linear", "sampled")
_KIND = "concept_maps"


@dataclass(frozen=True)
class MapPlan:
    """How maps are made.

    estimator: "sampled", the published recipe, or "linear", its steps on the layer's exact derivative (no noise, a
    hundred times cheaper). samples, noise_seed: of "sampled". search: `EarlyStopped` or `Converged`. projections: of
    "linear", random signs instead of a pass for each feature where a layer has more than these. chunk: as
    `information_discarding` has it.
    """

    estimator: str = "linear"
    samples: int = SAMPLES
    noise_seed: int = 0
    search: EarlyStopped | Converged = field(default_factory=EarlyStopped)
    grid: int = 16
    projections: int = 256
    relu: bool = True
    chunk: int | None = None

    def __post_init__(self) -> None:
        choose(self.estimator, ESTIMATORS, "estimator")
        positive_integer(self.samples, "samples", 2)
        positive_integer(self.noise_seed, "noise_seed", minimum=0)
        positive_integer(self.projections, "projections")

    def measure(self, model: nn.Module, images: Tensor, layer: str) -> InformationMaps:
        """The maps of `images`, (N, C, H, W) floats in [0, 1], at a layer given by the paper's name or its path.

        Misses are marked, for a study counts them: `reached` is False, and a dead image's map NaN.
        """
        path = layer_path(model, layer)
        if self.estimator == "linear":
            many = features_of(model, images, path) > self.projections
            return linear_information(
                model,
                images,
                path,
                search=self.search,
                grid=self.grid,
                projections=self.projections if many else None,
                seed=self.noise_seed,
                relu=self.relu,
                if_not_reached="mark",
            )
        return information_discarding(
            model,
            images,
            path,
            search=self.search,
            grid=self.grid,
            samples=self.samples,
            seed=self.noise_seed,
            relu=self.relu,
            chunk=self.chunk,
            if_not_reached="mark",
        )

    def shaping(self) -> dict[str, Any]:
        """What of the plan decides the maps: settings of the other estimator, and the chunk, do not."""
        settings = asdict(self) | {"search": [type(self.search).__name__, asdict(self.search)]}
        del settings["chunk"], settings["samples" if self.estimator == "linear" else "projections"]
        return settings


def features_of(model: nn.Module, images: Tensor, path: str) -> int:
    """How many numbers a layer gives for an image.

    >>> features_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(2, 1, 2, 2), "1")
    3
    """
    device = next(model.parameters()).device
    return math.prod(shapes_of(model, images[:1].to(device), path)[path])


@dataclass(frozen=True)
class MapTask:
    """The maps of one run at one layer, in some of its states ("last", "best", "epoch_0", ...)."""

    spec: RunSpec
    layer: str
    states: tuple[str, ...] = ("last",)


@dataclass(frozen=True)
class KeptMaps:
    """What is kept of one state's maps: entropy (N, rows, columns) float32, NaN where an image has none; reached:
    (N,) bool, the search's target was."""

    entropy: Tensor
    reached: Tensor


def concept_maps(
    tasks: Sequence[MapTask],
    splits: Splits,
    images: Tensor,
    plan: MapPlan,
    *,
    device: str = "auto",
    workers: int | None = None,
) -> list[dict[str, KeptMaps]]:
    """For each task, state -> its maps, from the store or measured now; runs that lack are trained.

    images: (N, C, H, W) floats in [0, 1]. workers: processes; by default one a core, and none besides this one where
    there is little to do.
    """
    shared = _Shared(splits, images, plan, device)
    missing = [task for task in tasks if any(stored_measurement(_KIND, key) is None for key in _keys(shared, task))]
    if workers is None:
        # In the time of training on as many images; the published search runs each noisy copy through its steps.
        one_map = 30 * plan.samples if plan.estimator == "sampled" else 10
        work = sum(len(task.states) for task in missing) * len(images) * one_map
        workers = cores() if worth_processes(work, device) else 1
    bar = tqdm(total=len(missing), desc="information", unit="run", disable=not (missing and watched()), leave=False)
    with bar:
        fresh = dict(zip(missing, in_processes(_measure, shared, missing, workers, bar), strict=True))
    # What could not be stored is not measured twice.
    return [fresh[task] if task in fresh else _measure(shared, task) for task in tasks]


class _Shared(NamedTuple):
    splits: Splits
    images: Tensor
    plan: MapPlan
    device: str


def _keys(shared: _Shared, task: MapTask) -> list[str]:
    splits, images, plan, device = shared
    source = source_hash([__name__])
    pictures = hashlib.sha256(repr(tuple(images.shape)).encode() + images.cpu().numpy().tobytes()).hexdigest()
    settings = json.dumps(plan.shaping(), sort_keys=True)
    run = run_key(task.spec, splits, device)
    return [measurement_key([run, state, task.layer, pictures, settings, source]) for state in task.states]


def _measure(shared: _Shared, task: MapTask) -> dict[str, KeptMaps]:
    found = {}
    for state, key in zip(task.states, _keys(shared, task), strict=True):
        values = measure_once(_KIND, key, functools.partial(_fresh, shared, task, state))
        entropy = np.frombuffer(base64.b64decode(values["entropy"]), dtype="<f4").reshape(values["shape"])
        found[state] = KeptMaps(torch.from_numpy(entropy.copy()), torch.tensor(values["reached"]))
    return found


def _fresh(shared: _Shared, task: MapTask, state: str) -> dict[str, Any]:
    splits, images, plan, device = shared
    target = resolve_device(device)
    model = get_or_train(task.spec, splits, device=device).model(state, target)
    with deterministic():
        maps = plan.measure(model, images.to(target), task.layer)
    entropy = maps.entropy.float().contiguous().numpy()
    return {
        "entropy": base64.b64encode(entropy.astype("<f4").tobytes()).decode(),
        "shape": list(entropy.shape),
        "reached": maps.reached.tolist(),
    }
