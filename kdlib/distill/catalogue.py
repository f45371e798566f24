"""The distillation methods by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdlib.distill import Objective
from kdlib.distill.attention_transfer import build_attention_transfer
from kdlib.distill.contrastive import build_contrastive
from kdlib.distill.cross_entropy import build_cross_entropy
from kdlib.distill.dark_knowledge import build_shuffled, build_wrong_classes
from kdlib.distill.factor_transfer import build_factor_transfer
from kdlib.distill.kd import build_kd
from kdlib.distill.label_loss import build_label_loss
from kdlib.distill.label_smoothing import build_label_smoothing
from kdlib.distill.layer_mse import build_layer_mse
from kdlib.distill.self_supervision import build_self_supervision
from kdlib.distill.similarity_smoothing import build_antisibling_smoothing, build_superclass_smoothing


@dataclass(frozen=True)
class Method:
    """How a method is set up.

    taught: whether it needs a teacher. cost: of a training step of a small student, in steps of plain KD, roughly (see
    `benchmarks/distillation_methods.py`): long trainings are begun first.
    """

    build: Callable[..., Objective]
    taught: bool = True
    cost: float = 1.0


METHODS = {
    "cross_entropy": Method(build_cross_entropy, taught=False),
    "label_loss": Method(build_label_loss, taught=False),
    "label_smoothing": Method(build_label_smoothing, taught=False),
    "superclass_smoothing": Method(build_superclass_smoothing, taught=False),
    "antisibling_smoothing": Method(build_antisibling_smoothing, taught=False),
    "kd": Method(build_kd),
    "layer_mse": Method(build_layer_mse),
    "shuffled": Method(build_shuffled),
    "wrong_classes": Method(build_wrong_classes),
    "attention_transfer": Method(build_attention_transfer),
    "factor_transfer": Method(build_factor_transfer, cost=2.5),
    "contrastive": Method(build_contrastive, cost=1.3),
    "self_supervision": Method(build_self_supervision, cost=4.5),
}
