"""Dissections of a study's networks, in parallel on a CPU, each made once and kept in the run store."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdlib.cores import cores
from kdlib.data.image_set import ImageSet
from kdlib.metrics.dissection.activations import concept_names_of
from kdlib.metrics.dissection.controls import dissect_with_mixture
from kdlib.metrics.dissection.dissect import QUANTILE, Dissection, dissect, score_tally
from kdlib.metrics.dissection.tally import Tally
from kdlib.papers.study import ImageStudy
from kdlib.runs.measurements import measure_once, measurement_key, stored_measurement
from kdlib.runs.parallel import in_processes, worth_processes
from kdlib.runs.source import source_hash
from kdlib.train.device import watched

_KIND = "dissections"
_IN_IMAGES = 3  # a dissection of one image takes as long as training on so many


@dataclass(frozen=True)
class DissectionPlan:
    """What is dissected, and how: a layer, with the settings of `kdlib.metrics.dissection.dissect.dissect`."""

    layer: str
    quantile: float = QUANTILE
    denominator: str = "lite"


def dissect_arms(
    study: ImageStudy,
    arms: Sequence[str],
    plan: DissectionPlan,
    *,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
) -> dict[str, list[Dissection]]:
    """Arm -> the dissection of its network at every seed (the study's if None), in their order.

    "untrained" is the students' network before training, "deeper_untrained" that of "deeper_scratch". workers:
    processes; by default one a core, and none besides this one where there is little to do.
    """
    found = _dissected(study, arms, plan, seeds, workers, mixed=False)
    return {arm: [own for own, _ in networks] for arm, networks in found.items()}


def dissect_mixtures(
    study: ImageStudy,
    arms: Sequence[str],
    plan: DissectionPlan,
    *,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
) -> dict[str, list[Dissection]]:
    """`dissect_arms` of random mixtures of the same units: the layer in a basis rotated by the seed of the network."""
    found = _dissected(study, arms, plan, seeds, workers, mixed=True)
    return {arm: [mixture for _, mixture in networks if mixture] for arm, networks in found.items()}


class _Task(NamedTuple):
    """One network by its weights; rotation: the seed of its mixture, None for none."""

    key: str
    model: nn.Module
    rotation: int | None


def _dissected(
    study: ImageStudy,
    arms: Sequence[str],
    plan: DissectionPlan,
    seeds: Sequence[int] | None,
    workers: int | None,
    *,
    mixed: bool,
) -> dict[str, list[tuple[Dissection, Dissection | None]]]:
    probe = study.part("probe")
    chosen = study.seeds if seeds is None else seeds
    if not isinstance(probe, ImageSet):  # a folder that is read image by image, by processes of its own
        return {
            arm: [_pair(probe, plan, _network(study, arm, seed), seed if mixed else None) for seed in chosen]
            for arm in arms
        }
    common = [probe.content_hash(), json.dumps(vars(plan), sort_keys=True), source_hash([__name__])]
    tasks: dict[tuple[str, int], _Task] = {}
    for arm in dict.fromkeys(arms):
        for seed in chosen:
            model = _network(study, arm, seed)
            rotation = seed if mixed else None
            tasks[arm, seed] = _Task(measurement_key([_weights(model), str(rotation), *common]), model, rotation)
    missing = [task for task in tasks.values() if stored_measurement(_KIND, task.key) is None]
    if workers is None:
        work = _IN_IMAGES * len(missing) * len(probe) * (2 if mixed else 1)
        workers = cores() if worth_processes(work, str(study.device)) else 1
    bar = tqdm(total=len(missing), desc="dissection", unit="network", disable=not (missing and watched()), leave=False)
    with bar:
        made = in_processes(_measured, (probe, plan), missing, workers, bar)
    fresh = {task.key: values for task, values in zip(missing, made, strict=True)}
    names = concept_names_of(probe)
    found: dict[str, list[tuple[Dissection, Dissection | None]]] = {arm: [] for arm in arms}
    for (arm, _), task in tasks.items():
        values = fresh.get(task.key) or _measured((probe, plan), task)
        own, *mixture = (_read(one, names, plan) for one in values)
        found[arm].append((own, mixture[0] if mixture else None))
    return found


def _measured(shared: tuple[Any, DissectionPlan], task: _Task) -> list[dict[str, Any]]:
    return measure_once(_KIND, task.key, functools.partial(_fresh, *shared, task))


def _fresh(probe: Any, plan: DissectionPlan, task: _Task) -> list[dict[str, Any]]:
    return [_written(one) for one in _pair(probe, plan, task.model, task.rotation) if one]


def _pair(
    probe: Any, plan: DissectionPlan, model: nn.Module, rotation: int | None
) -> tuple[Dissection, Dissection | None]:
    """The dissection of a network, and that of its mixture if a rotation is given."""
    how: dict[str, Any] = {"quantile": plan.quantile, "denominator": plan.denominator}
    if rotation is None:
        return dissect(model, probe, plan.layer, **how), None
    return dissect_with_mixture(model, probe, plan.layer, seed=rotation, **how)


def _network(study: ImageStudy, arm: str, seed: int) -> nn.Module:
    if arm.endswith("untrained"):
        return study.untrained_of(study.spec(f"{arm.removesuffix('untrained')}scratch", seed))
    return study.model(arm, seed)


def _written(found: Dissection) -> dict[str, Any]:
    """What a dissection follows from, as JSON has it: pixel counts, thresholds, dead units."""
    tally = found.tally
    return {
        "layer": found.layer,
        "thresholds": found.thresholds.double().tolist(),
        "dead": found.dead.tolist(),
        "intersection": _lists(tally.intersection),
        "concept_area": _lists(tally.concept_area),
        "activated_area": {name: _lists(areas) for name, areas in tally.activated_area.items()},
        "activated_pixels": tally.activated_pixels.tolist(),
        "total_pixels": tally.total_pixels,
    }


def _read(values: Mapping[str, Any], names: Mapping[str, tuple[str, ...]], plan: DissectionPlan) -> Dissection:
    tally = Tally(
        _tensors(values["intersection"]),
        _tensors(values["concept_area"]),
        {name: _tensors(areas) for name, areas in values["activated_area"].items()},
        torch.tensor(values["activated_pixels"]),
        values["total_pixels"],
    )
    labelled = {category: tuple(listed[1:]) for category, listed in names.items() if len(listed) > 1}
    thresholds = torch.tensor(values["thresholds"], dtype=torch.float64).float()
    dead = torch.tensor(values["dead"])
    return score_tally(tally, labelled, values["layer"], plan.quantile, plan.denominator, thresholds, dead)


def _lists(by_category: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    return {category: counts.tolist() for category, counts in by_category.items()}


def _tensors(by_category: Mapping[str, list[Any]]) -> dict[str, Tensor]:
    return {category: torch.tensor(counts, dtype=torch.int64) for category, counts in by_category.items()}


def _weights(model: nn.Module) -> str:
    """Hash of a network's weights and of what kind of network it is."""
    digest = hashlib.sha256(str(model).encode())
    for name, tensor in model.state_dict().items():
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
