"""Sizes of the experiments on Han et al. 2023, by preset."""

from __future__ import annotations

from dataclasses import replace

from kdlib.papers.han2023 import settings
from kdlib.papers.presets import PRESETS as IMAGE_PRESETS
from kdlib.papers.presets import Preset
from kdlib.train.recipe import Recipe

# The paper's own nets, recipe and image size, for ImageNet or another folder of one's own.
PAPER_SCALE = Preset(
    n_train=None,
    n_val=None,
    n_test=None,
    n_probe=None,
    n_seeds=settings.SEEDS,
    teacher_recipe=settings.RECIPE,
    student_recipe=settings.RECIPE,
    teacher_model=settings.TEACHER,
    student_model=settings.STUDENT,
    streamed_size=settings.IMAGE_SIZE,
    method_recipes=settings.METHOD_RECIPES,
)


# At preset gpu a folder of one's own, such as ImageNet, has the paper's own scale.
PRESETS = IMAGE_PRESETS | {"gpu": replace(IMAGE_PRESETS["gpu"], for_folder=PAPER_SCALE)}


def smaller(n_train: int, teacher_epochs: int, student_epochs: int, n_seeds: int = 3) -> dict[str, Preset]:
    """The presets with fewer images and epochs at `quick`, for a chapter that trains many networks; batches of 32."""
    quick = replace(
        PRESETS["quick"],
        n_train=n_train,
        n_seeds=n_seeds,
        teacher_recipe=Recipe(epochs=teacher_epochs, batch_size=32),
        student_recipe=Recipe(epochs=student_epochs, batch_size=32),
    )
    return PRESETS | {"quick": quick}


# At `quick`, a chapter of a dozen arms and three seeds has the time for fewer images and epochs than one of three arms.
MANY_ARMS = smaller(n_train=1900, teacher_epochs=9, student_epochs=3)
# The same networks in a chapter of two arms, which has the time for more seeds.
TWO_ARMS = smaller(n_train=1900, teacher_epochs=9, student_epochs=3, n_seeds=6)
