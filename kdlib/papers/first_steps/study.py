"""The study of the first chapters: a teacher, a student from scratch, one by label smoothing and a distilled one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdlib.data.labelled_set import Splits
from kdlib.papers.study import ImageStudy
from kdlib.runs.arms import basic_arms
from kdlib.runs.parallel import train_missing_of


class FirstStudy(ImageStudy):
    """An `ImageStudy` of the basic arms; temperature and alpha are KD's, alpha weights the soft term.

    others: as `ImageStudy` has them.
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
        **others: Any,
    ) -> None:
        super().__init__(basic_arms(temperature, alpha, smoothing), data, preset, seed, n_seeds, device, **others)


def train_with_scenes(study: ImageStudy, scenes: ImageStudy, arms: Sequence[str]) -> None:
    """Train the study's arms at every seed, and on other data one student from scratch, in parallel on a CPU.

    The second training fills a core that would wait for the teacher.
    """
    specs = [study.spec("teacher"), *(study.spec(arm, seed) for seed in study.seeds for arm in arms)]
    wanted = [(specs, study.splits)]
    if scenes is not study:
        wanted.append(([scenes.spec("scratch")], scenes.splits))
    train_missing_of(wanted, device=str(study.device))
