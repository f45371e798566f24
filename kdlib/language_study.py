"""The language experiment's common ground: sentences, sizes and nets of each preset, and word attributions of its nets.

The nets, recipes and sizes were fixed on accuracies of teachers and students from scratch, before any attribution
was looked at: a student is small enough to have something to learn from its teacher.
"""

from __future__ import annotations

from kdlib.data import sentences, sst2
from kdlib.errors import choose
from kdlib.experiments import Preset, Study
from kdlib.metrics.word_attribution import attribution_summary, word_attributions
from kdlib.train import Recipe

ARMS = ("scratch", "label_smoothing", "kd", "kd_t4")


def _recipe(epochs: int, learning_rate: float, weight_decay: float) -> Recipe:
    return Recipe(
        epochs,
        batch_size=64,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        optimizer="adamw",
        augment="none",
        channels_last=False,
    )


PRESETS = {
    # seconds: everything runs, nothing is learned
    "smoke": Preset(
        n_train=400,
        n_val=100,
        n_test=200,
        n_probe=None,
        n_seeds=2,
        teacher={"depth": 2, "width": 16, "heads": 2},
        student={"depth": 1, "width": 8, "heads": 2},
        teacher_recipe=_recipe(2, 5e-3, 0.01),
        student_recipe=_recipe(2, 5e-3, 0.01),
    ),
    # minutes on two cores
    "quick": Preset(
        n_train=8000,
        n_val=1000,
        n_test=2000,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 4, "width": 64, "heads": 4},
        student={"depth": 1, "width": 8, "heads": 2},
        teacher_recipe=_recipe(7, 1.5e-3, 0.1),
        student_recipe=_recipe(6, 5e-3, 0.01),
    ),
    # the paper's depths, 12 layers and 3
    "gpu": Preset(
        n_train=40_000,
        n_val=4000,
        n_test=10_000,
        n_probe=None,
        n_seeds=8,
        teacher={"depth": 12, "width": 128, "heads": 8},
        student={"depth": 3, "width": 16, "heads": 2},
        teacher_recipe=_recipe(12, 5e-4, 0.1),
        student_recipe=_recipe(8, 3e-3, 0.01),
    ),
}


def language_study(
    preset: str = "quick",
    seed: int = 0,
    n_seeds: int | None = None,
    device: str = "auto",
    *,
    sst_folder: str = "",
    temperature: float = 1.0,
    alpha: float = 0.5,
    smoothing: float = 0.1,
) -> Study:
    """A `Study` of small transformers on sentences: the grammar's, or SST-2 from `sst_folder` if one is named.

    The preset's numbers of sentences are upper bounds for SST-2; its dev part, which is reported on, is always whole.
    """
    sizes = PRESETS[choose(preset, PRESETS, "preset")]
    counts = {"n_train": sizes.n_train or 0, "n_val": sizes.n_val or 0}
    if sst_folder:
        splits = sst2.load(sst_folder, **counts, seed=seed)
    else:
        splits = sentences.load(**counts, n_test=sizes.n_test or 0, seed=seed)
    return Study(
        splits,
        preset,
        seed,
        n_seeds,
        device,
        temperature=temperature,
        alpha=alpha,
        smoothing=smoothing,
        presets=PRESETS,
        network="small_transformer",
    )


def attributed(study: Study, arm: str, seed: int | None = None, which: str = "last") -> dict[str, float]:
    """`attribution_summary` of one of the study's nets on the probe sentences, by gradient x input."""
    probe = study.part("probe")
    return attribution_summary(word_attributions(study.model(arm, seed, which), probe), probe)
