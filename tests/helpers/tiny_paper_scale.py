"""`kdlib paper-scale` with nets and a recipe that take seconds, to be started by torchrun with the same arguments."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from kdlib.cli import main
from kdlib.papers.han2023 import presets
from kdlib.papers.presets import Preset

RECIPE = replace(presets.PAPER_SCALE.student_recipe, epochs=3, batch_size=16, learning_rate=0.05, milestones=(2,))
TINY = replace(
    presets.PAPER_SCALE,
    teacher={"depth": 8, "width": 6, "features": 16},
    student={"depth": 8, "width": 4, "features": 16},
    teacher_model="small_resnet",
    student_model="small_resnet",
    teacher_recipe=replace(RECIPE, epochs=12),
    student_recipe=RECIPE,
    streamed_size=14,
)
assert isinstance(TINY, Preset)

if __name__ == "__main__":
    torch.set_num_threads(1)
    store = Path(os.environ["KDLIB_RUNS"])
    store.mkdir(parents=True, exist_ok=True)
    (store / f"process_{os.environ['RANK']}").write_text(str(os.getpid()))  # for the test that kills it
    presets.PRESETS["gpu"] = replace(presets.PRESETS["gpu"], for_folder=TINY)
    sys.exit(main())
