"""The settings of Han et al. 2023 (ICML), all in one place, with where each is known from.

The paper's text was not at hand. "code" is its published code and configurations, "upstream" torchdistill, which they
are made from, "ours" a choice of this book where no source says.
"""

from __future__ import annotations

from dataclasses import replace

from kdlib.data.augment import RESIZED_CROP
from kdlib.metrics.dissection.dissect import QUANTILE, TAU
from kdlib.train.recipe import Recipe

__all__ = ["QUANTILE", "TAU"]  # 0.005 and 0.05 (code; Bau et al.'s own threshold is 0.04)

# ---- dissection ----------------------------------------------------------------------------------------------------

LAYER = "layer4"  # code: 512 units, 7x7 at 224x224
DENOMINATOR = "lite"  # code: it is built on NetDissect-Lite, whose denominator is the smaller one
# code: the weights of the epoch with the highest validation accuracy are kept. Here the last epoch counts, so that no
# selection stands between two arms, and the chapters' controls tell both.

# ---- training ------------------------------------------------------------------------------------------------------

TEACHER, STUDENT = "resnet34", "resnet18"  # code
IMAGE_SIZE = 224  # code: RandomResizedCrop and mirroring to train, short side 256 and the centre to evaluate
TEMPERATURE, ALPHA = 1.0, 0.5  # code; alpha is the soft term's, the code's own is the hard one's (equal at 0.5)
SMOOTHING = 0.1  # ours: the usual value
LS_TEACHER_ALPHA = 0.9  # code: the soft term's, for a label-smoothed teacher's students
SEEDS = 8  # ours: the paper's number of runs is not known

# code, for KD; that scratch, label smoothing and the teacher are trained in the same way is ours (the code takes
# torchvision's trained ResNet-34 as the teacher). 256 images a step in all; upstream has 85 in each of 3 processes.
RECIPE = Recipe(
    epochs=100,
    batch_size=256,
    learning_rate=0.1,
    momentum=0.9,
    nesterov=False,
    weight_decay=1e-4,
    schedule="step",
    milestones=(30, 60, 90),
    warmup=0,
    augment=RESIZED_CROP,
)

# code: where a method's own configuration differs. Epochs and batches then differ between arms, as they did in the
# paper: what such arms differ in is the whole recipe, not the loss alone.
_LARGE_BATCHES = replace(RECIPE, batch_size=512)
METHOD_RECIPES = {
    "ls_teacher": _LARGE_BATCHES,  # of its students
    "at": _LARGE_BATCHES,
    "ft": replace(RECIPE, epochs=90),  # and one epoch of the paraphraser before
    "sskd": replace(RECIPE, weight_decay=5e-4),
}
