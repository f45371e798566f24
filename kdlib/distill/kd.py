"""Knowledge distillation (Hinton, Vinyals and Dean 2015, section 2; Han et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdlib.data.task import at_least_float32
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher
from kdlib.distill.terms import divergence, label_cross_entropy, log_probabilities, weighted
from kdlib.errors import KdlibError, check_temperature, finite_number


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    r"""T^2 KL(p_t || p_s) with both softened by the temperature, averaged over the batch, in nats.

    With z the logits and p^T = softmax(z / T):

        L = T^2 / B * sum_i sum_k p_t^T[i, k] (log p_t^T[i, k] - log p_s^T[i, k])

    Its gradient with respect to a student's logit is T (p_s^T - p_t^T) / B; 1/T comes from the softmax, and the
    probabilities' difference itself shrinks like 1/T, so T^2 keeps the gradient's size as T grows.

    student_logits, teacher_logits: (B, K); a class that the teacher masks (-inf) contributes 0. The temperature
    lies between 1e-9 and 1e6. The loss is computed in float32 at least. No gradient flows to the teacher.

    >>> import torch
    >>> kd_loss(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log(), temperature=1.0)  # KL((3/4, 1/4) || (1/2, 1/2))
    tensor(0.1308)
    """
    check_temperature(temperature)
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        raise KdlibError(
            f"teacher and student must give logits of one shape (batch, classes), not {tuple(teacher_logits.shape)} "
            f"and {tuple(student_logits.shape)}"
        )
    student = log_probabilities(student_logits, temperature)
    teacher = log_probabilities(teacher_logits.detach(), temperature)
    loss = temperature**2 * divergence(teacher, student).mean()
    return loss.to(torch.promote_types(at_least_float32(student_logits).dtype, at_least_float32(teacher_logits).dtype))


def label_terms(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, temperature: float, alpha: float
) -> dict[str, Tensor]:
    """What a student learns from labels and from the teacher's logits: (1 - alpha) cross-entropy + alpha `kd_loss`.

    At alpha = 0 the teacher's logits are left out: the "without logits" arm of the feature methods. torchdistill's KD
    loss has alpha on the hard term, and its alpha = 0 returns the soft loss without the factor T^2; here T^2 stays at
    every alpha.

    >>> import torch
    >>> label_terms(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 2), 1.0, 0.5)
    {'cross_entropy': tensor(0.3466), 'kd': tensor(0.)}
    """
    hard = weighted(1 - alpha, label_cross_entropy(logits, labels))
    if alpha == 0:
        return {"cross_entropy": hard}
    return {"cross_entropy": hard, "kd": alpha * kd_loss(logits, teacher_logits, temperature)}


class KnowledgeDistillation(Objective):
    r"""L = (1 - alpha) CE(y, p_s) + alpha T^2 KL(p_t^T || p_s^T).

    alpha in [0, 1] weights the soft term, as in the paper's formula. The paper's released code (a configuration of
    torchdistill) has it the other way: its `alpha` weights the hard term. At 0.5 the two agree, which hides a
    mix-up; its setting for label-smoothed teachers, 0.1, means alpha = 0.9 here.

    teacher: a `Teacher`; give it a memory and its logits are computed once per image and view.

    >>> from kdlib.distill.teacher import Teacher
    >>> import torch
    >>> teacher = Teacher(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)))
    >>> batch = TrainBatch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> sorted(KnowledgeDistillation(teacher, temperature=4, alpha=0.9)(batch, torch.zeros(2, 3), {}))
    ['cross_entropy', 'kd']
    """

    def __init__(self, teacher: AnyTeacher, temperature: float = 1.0, alpha: float = 0.5) -> None:
        self.teacher = teacher
        self.temperature = check_temperature(temperature)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return label_terms(logits, batch.labels, self.teacher(batch), self.temperature, self.alpha)


def build_kd(setting: Setting, *, temperature: float = 1.0, alpha: float = 0.5) -> Objective:
    """temperature and alpha as `KnowledgeDistillation` has them."""
    setting.same_classes()
    return KnowledgeDistillation(setting.teacher(), temperature, alpha)
