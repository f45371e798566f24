"""Files of a cohort with accuracies that a test chooses: the networks in them are untrained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from kdlib.cohort.population import Population
from kdlib.cohort.weights import arm_file, pack
from kdlib.models import build

INPUTS = {"num_classes": 20, "channels": 3, "mean": [0.5] * 3, "std": [0.2] * 3}


def write_cohort(
    place: Path,
    population: Population,
    accuracies: Mapping[str, Mapping[int, float]],
    *,
    block: int = 4,
    date: str = "2026-11-29T00:00:00Z",
) -> None:
    """Write files of these arms into `place`. accuracies: arm -> replicate -> test accuracy in percent."""
    index: dict[str, dict[str, dict[str, object]]] = {}
    place.mkdir(parents=True)
    for arm, of_arm in accuracies.items():
        spec = population.spec(arm, 0)
        state = build(spec.model, **(INPUTS | dict(spec.model_options))).state_dict()
        for first in range(0, len(of_arm), block):
            replicates = sorted(of_arm)[first : first + block]
            record = {
                "data": population.data,
                "arm": arm,
                "replicates": replicates,
                "inputs": INPUTS,
                "test_accuracy": [of_arm[one] / 100 for one in replicates],
                "provenance": [{"date": date} for _ in replicates],
            }
            predictions = torch.zeros(len(replicates), 8, dtype=torch.int64)
            content = arm_file(pack([state] * len(replicates)), predictions, record)
            name = f"{arm}.{replicates[0]}-{replicates[-1]}.safetensors"
            (place / name).write_bytes(content)
            checksum = hashlib.sha256(content).hexdigest()
            row = {"replicates": replicates, "sha256": checksum, "bytes": len(content)}
            index.setdefault(arm, {})[name] = row
    (place / "index.json").write_text(json.dumps(index))
