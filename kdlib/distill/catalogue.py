"""The distillation methods by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdlib.distill import Objective
from kdlib.distill.cross_entropy import CrossEntropy
from kdlib.distill.kd import KnowledgeDistillation
from kdlib.distill.label_smoothing import LabelSmoothing
from kdlib.distill.setting import Setting


@dataclass(frozen=True)
class Method:
    """How a method is set up; `taught` tells whether it needs a teacher."""

    build: Callable[..., Objective]
    taught: bool = True


def _cross_entropy(setting: Setting) -> Objective:
    return CrossEntropy()


def _label_smoothing(setting: Setting, *, alpha: float = 0.1) -> Objective:
    return LabelSmoothing(alpha)


def _kd(setting: Setting, *, temperature: float = 1.0, alpha: float = 0.5) -> Objective:
    return KnowledgeDistillation(setting.teacher(), temperature, alpha)


METHODS = {
    "cross_entropy": Method(_cross_entropy, taught=False),
    "label_smoothing": Method(_label_smoothing, taught=False),
    "kd": Method(_kd),
}
