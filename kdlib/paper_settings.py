"""The settings of Han et al. 2023 (ICML), all in one place, with where each is known from.

The paper's text was not at hand. "code" is its published code and configurations, "upstream" torchdistill, which they
are made from, "ours" a choice of this book where no source tells.
"""

from __future__ import annotations

from kdlib.data.augment import RESIZED_CROP
from kdlib.metrics.dissection import QUANTILE, TAU
from kdlib.train import Recipe

__all__ = ["QUANTILE", "TAU"]  # 0.005 and 0.05 (code; Bau et al.'s own threshold is 0.04)

# ---- dissection ----------------------------------------------------------------------------------------------------

LAYER = "layer4"  # code: 512 units, 7x7 at 224x224
DENOMINATOR = "lite"  # code: it is built on NetDissect-Lite, whose denominator is the smaller one
WEIGHTS = "best"  # code: the epoch with the highest validation accuracy is kept

# ---- training ------------------------------------------------------------------------------------------------------

TEACHER, STUDENT = "resnet34", "resnet18"  # code
IMAGE_SIZE = 224  # code: RandomResizedCrop and mirroring to train, short side 256 and the centre to evaluate
TEMPERATURE, ALPHA = 1.0, 0.5  # code; alpha is the soft term's, the code's own is the hard one's (equal at 0.5)
SMOOTHING = 0.1  # ours: the usual value
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
