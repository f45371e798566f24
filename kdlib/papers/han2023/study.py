"""The study of Han et al. 2023: their teacher, their students and the controls on one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kdlib.data.labelled_set import Splits
from kdlib.papers.han2023.arms import han2023_arms
from kdlib.papers.han2023.presets import PRESETS
from kdlib.papers.presets import Preset
from kdlib.papers.replicates import ReplicateStudy
from kdlib.runs.arms import Net


class HanStudy(ReplicateStudy):
    """A `ReplicateStudy` of the arms in `kdlib.papers.han2023.arms`.

    temperature, alpha: of KD and the arms made from it; alpha weights the soft term. smoothing: label smoothing's
    alpha. deeper: depth of the deeper students, 6 n + 2. others: as `ReplicateStudy` has them.
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
        deeper: int = 14,
        presets: Mapping[str, Preset] = PRESETS,
        **others: Any,
    ) -> None:
        arms = han2023_arms(temperature, alpha, smoothing)
        self._deeper = deeper
        super().__init__(arms, data, preset, seed, n_seeds, device, presets=presets, **others)

    def nets(self) -> dict[str, Net]:
        """Teacher, student, and a student of another depth, alike in all else."""
        nets = super().nets()
        student = nets["student"]
        return nets | {"deeper": replace(student, options=dict(student.options) | {"depth": self._deeper})}
