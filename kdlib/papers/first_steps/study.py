"""The study of the first chapters: a teacher, a student from scratch, one by label smoothing and a distilled one."""

from __future__ import annotations

from typing import Any

from kdlib.data.image_set import Splits
from kdlib.papers.arms import basic_arms
from kdlib.papers.study import ImageStudy


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
