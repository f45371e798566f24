"""A gallery of wrong distillation losses, each seen in public code, and what gives them away.

Notation: z_s, z_t are the logits of student and teacher, shape (B, K): B images, K classes. T is the temperature,
q = softmax(z_s / T), p = softmax(z_t / T). The right soft term (Hinton, Vinyals and Dean 2015, section 2) is

    L = T² · 1/B · Σ_images Σ_k p_k log(p_k / q_k)     with gradient     dL/dz_s = T/B · (q - p).

Every function of `SOFT_MISTAKES` replaces L and has its signature `(student_logits, teacher_logits, temperature)`.
Those of `TOTAL_MISTAKES` replace alpha · L + (1 - alpha) · cross-entropy. Ways of asking the teacher wrongly are in
`teachers`; `checks` finds what is wrong with each of them, and with a loss of your own.

References name the public thread or file where the mistake was reported or read; some were corrected long ago, and some
are deliberate choices of their authors. They are given to be learnt from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.data.task import at_least_float32
from kdlib.distill.kd import kd_loss
from kdlib.distill.terms import label_cross_entropy, weighted

SoftLoss = Callable[[Tensor, Tensor, float], Tensor]


def _log_softmax(logits: Tensor, temperature: float = 1.0, dim: int = 1) -> Tensor:
    """log softmax(z / T); in float32 at least, as all losses here: half precision would be a mistake of its own."""
    return F.log_softmax(at_least_float32(logits) / temperature, dim=dim)


def _softmax(logits: Tensor, temperature: float = 1.0, dim: int = 1) -> Tensor:
    return F.softmax(at_least_float32(logits) / temperature, dim=dim)


def _kl_div(log_input: Tensor, target: Tensor) -> Tensor:
    """`F.kl_div` of each image and class; one of target 0 gives 0 where torch has nan for an input of -inf."""
    return F.kl_div(log_input.masked_fill(target == 0, 0), target, reduction="none")


def _kl_div_of_logs(log_input: Tensor, log_target: Tensor) -> Tensor:
    """The same with `log_target=True`."""
    none = log_target.exp() == 0
    inputs, targets = log_input.masked_fill(none, 0), log_target.masked_fill(none, 0)
    return F.kl_div(inputs, targets, reduction="none", log_target=True)


def _batchmean(terms: Tensor) -> Tensor:
    return terms.sum() / len(terms)


def mean_over_classes(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`F.kl_div` with its default reduction "mean", which averages over classes as well as over images.

    Value and gradient: both divided by K. With alpha fixed, the soft term weighs K times less than it says.
    Noticed: the loss halves when every class is split into two equal ones, which no KL divergence does.

    >>> z_s, z_t = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.zeros(1, 4)
    >>> round(float(kd_loss(z_s, z_t, 2.0) / mean_over_classes(z_s, z_t, 2.0)), 4)
    4.0
    """
    log_q = _log_softmax(student_logits, temperature)
    p = _softmax(teacher_logits.detach(), temperature)
    # spelt out, since PyTorch announces that "mean" will come to mean "batchmean"
    return _kl_div(log_q, p).mean() * temperature**2


def sum_over_batch(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Reduction "sum": the loss is added up over the batch instead of averaged.

    Value and gradient: both multiplied by B, so the soft term's weight changes with the batch size and in the last,
    smaller batch of an epoch.
    Noticed: showing every image twice doubles the loss.
    """
    return kd_loss(student_logits, teacher_logits, temperature) * len(student_logits)


def doubled(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """A stray factor 2 in front of the soft term.

    Value and gradient: both doubled; the effective weight of the soft term is 2 alpha.
    Noticed: only by comparing the value with the definition.
    """
    return 2.0 * kd_loss(student_logits, teacher_logits, temperature)


def reverse_direction(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL(student || teacher) in place of KL(teacher || student): arguments of the divergence swapped.

    Value: T²/B · Σ q log(q / p). Gradient: T/B · q · (log(q / p) - KL(q || p)); where q is small it vanishes, so a
    class that the student overlooks stays overlooked. Both directions agree at equality, and as T goes to infinity.
    Noticed: right at equality, never negative, right scale with T, but another value and another gradient at T = 1.
    """
    log_q = _log_softmax(student_logits, temperature)
    log_p = _log_softmax(teacher_logits.detach(), temperature)
    return _batchmean(_kl_div_of_logs(log_p, log_q)) * temperature**2


def probabilities_as_input(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Probabilities where `F.kl_div` wants log-probabilities: softmax instead of log_softmax for the student.

    Value: T²/B · Σ p (log p - q), negative as a rule. Gradient: -T/B · q · (p - Σ p q), not zero at q = p: the optimum
    is all probability on the teacher's first choice.
    Noticed: the loss is negative, and not zero for a student that equals the teacher.

    >>> z = torch.tensor([[2.0, 0.0, -1.0]])
    >>> bool(probabilities_as_input(z, z, 1.0) < 0)
    True
    """
    q = _softmax(student_logits, temperature)
    p = _softmax(teacher_logits.detach(), temperature)
    return F.kl_div(q, p, reduction="batchmean") * temperature**2


def log_target_forgotten(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the teacher as target, but without `log_target=True`.

    Value: not a number, since `F.kl_div` takes the logarithm of negative targets. Gradient: finite all the same,
    T/B · (q Σ log p - log p), so training goes on: not zero at q = p, and the loss behind it has no lower bound.
    Noticed: the printed loss is nan while the weights stay finite.
    """
    log_q = _log_softmax(student_logits, temperature)
    log_p = _log_softmax(teacher_logits.detach(), temperature)
    return F.kl_div(log_q, log_p, reduction="batchmean") * temperature**2


def temperature_squared_missing(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The factor T² left out.

    Value: divided by T². Gradient: (q - p) / (T B), which falls as 1/T²: at T = 4 the soft term weighs 16 times less
    than alpha says. Harmless if alpha is tuned anew for every T, or without a hard term if the learning rate follows.
    Noticed: the gradient at T = 400 is a quarter of that at T = 200; right, the two are equal.
    """
    return kd_loss(student_logits, teacher_logits, temperature) / temperature**2


def temperature_not_squared(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The factor T where T² belongs.

    Value: divided by T. Gradient: (q - p) / B, which falls as 1/T. One T undoes the inner derivative d(z/T)/dz, the
    other one the flattening of q - p; both are needed.
    Noticed: the gradient at T = 400 is half of that at T = 200.
    """
    return kd_loss(student_logits, teacher_logits, temperature) / temperature


def temperature_on_teacher_only(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The teacher's logits divided by T, the student's not.

    Value: T²/B · Σ p log(p / softmax(z_s)). Gradient: T²/B · (softmax(z_s) - p), zero at z_s = z_t / T: the student
    learns to be as undecided as the softened teacher, and the gradient grows as T².
    Noticed: right at T = 1; at any other T not zero for a student that equals the teacher.
    """
    log_q = _log_softmax(student_logits)
    p = _softmax(teacher_logits.detach(), temperature)
    return _batchmean(_kl_div(log_q, p)) * temperature**2


def softmax_over_batch(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Softmax over dimension 0, the images, instead of dimension 1, the classes.

    Value and gradient: each class becomes a distribution over the images of the batch, so an image's gradient depends
    on its companions, and a constant added to one image's logits changes the loss.
    Noticed: a batch of one image has loss zero whatever the logits.

    >>> float(softmax_over_batch(torch.tensor([[5.0, 0.0]]), torch.tensor([[0.0, 5.0]]), 1.0))
    0.0
    """
    log_q = _log_softmax(student_logits, temperature, dim=0)
    p = _softmax(teacher_logits.detach(), temperature, dim=0)
    return _batchmean(_kl_div(log_q, p)) * temperature**2


def softmax_twice(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The networks already end in a softmax, and the loss applies another to their probabilities.

    Value: nearly zero, since "logits" between 0 and 1 give nearly uniform p and q. Gradient: multiplied by the Jacobian
    diag(s) - s sᵀ of s = softmax(z_s), which vanishes for a confident student, right or wrong.
    Noticed: zero at equality and never negative, but far below the right value.
    """
    return kd_loss(_softmax(student_logits), _softmax(teacher_logits), temperature)


def argmax_of_teacher(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Cross-entropy with the teacher's first choice: pseudo-labels, called distillation.

    Value: -1/B · Σ log softmax(z_s)[argmax z_t]. Gradient: (softmax(z_s) - onehot) / B, whatever the temperature. All
    that the teacher says of the other classes, the point of soft targets, is lost. (A method of its own, "hard
    distillation", when it is meant.)
    Noticed: the temperature changes nothing; not zero for a student that equals the teacher.
    """
    return label_cross_entropy(student_logits, teacher_logits.detach().argmax(dim=1))


def squared_error_of_probabilities(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Mean squared error between softened probabilities.

    Value: T²/(B K) · Σ (q - p)². Gradient: 2T/(B K) · q · (d - Σ q d) with d = q - p; at high temperature 2/K² times
    the right one, and next to nothing where the student is confidently wrong.
    Noticed: zero at equality and a steady scale with T, but far too small.
    """
    q = _softmax(student_logits, temperature)
    p = _softmax(teacher_logits.detach(), temperature)
    return F.mse_loss(q, p) * temperature**2


def log_of_softmax(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`log(softmax(z) + 1e-8)` in place of `log_softmax(z)`.

    Value: right for moderate logits, capped near T² · 18.4. Gradient: the factor q / (q + 1e-8) removes it just where
    the student is most wrong; without the 1e-8 it is nan there.
    Noticed: only with logits some twenty T apart.
    """
    log_q = torch.log(_softmax(student_logits, temperature) + 1e-8)
    p = _softmax(teacher_logits.detach(), temperature)
    return _batchmean(_kl_div(log_q, p)) * temperature**2


def teacher_against_itself(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """A slip of the variable: the teacher's logits on both sides.

    Value: zero. Gradient: none; the student trains on the hard labels alone.
    Noticed: a soft term that is exactly zero from the first step; no gradient reaches the student.
    """
    return kd_loss(teacher_logits.detach(), teacher_logits, temperature)


def teacher_not_detached(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The teacher's logits left in the graph.

    Value and gradient for the student: right. The teacher gets T/B · p · (log(p / q) - KL(p || q)), and if an
    optimiser holds its parameters, it is pulled towards the student; if none does, a backward pass is wasted.
    Noticed: the teacher's parameters have a gradient.
    """
    log_q = _log_softmax(student_logits, temperature)
    log_p = _log_softmax(teacher_logits, temperature)
    return _batchmean(_kl_div_of_logs(log_q, log_p)) * temperature**2


def total_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """The right sum, alpha · soft + (1 - alpha) · cross-entropy. labels: (B,); alpha in [0, 1] weights the soft."""
    return weighted(alpha, kd_loss(student_logits, teacher_logits, temperature)) + weighted(
        1 - alpha, label_cross_entropy(student_logits, labels)
    )


def alpha_swapped(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """alpha and 1 - alpha exchanged, or an alpha taken from a paper of the other convention.

    Value and gradient: those of 1 - alpha. At alpha = 0.5 nothing is wrong, which hides it (han2023's KD runs use 0.5;
    in their code alpha weights the hard term).
    Noticed: at alpha = 0 the teacher still matters.
    """
    return weighted(1 - alpha, kd_loss(student_logits, teacher_logits, temperature)) + weighted(
        alpha, label_cross_entropy(student_logits, labels)
    )


def temperature_squared_on_both(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """T² over the whole sum, hard term included.

    Value and gradient: the soft term is right, the hard term T² times too large, so the student hears the labels T²
    times louder than alpha says.
    Noticed: at alpha = 0 the loss depends on the temperature.
    """
    return weighted(alpha, kd_loss(student_logits, teacher_logits, temperature)) + weighted(
        (1 - alpha) * temperature**2, label_cross_entropy(student_logits, labels)
    )


def temperature_in_hard_term(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """The hard term at temperature T too; it belongs at T = 1, where the student will be used.

    Value: that of softened predictions. Gradient of the hard term: (q - y) / (T B), smaller by T and aimed at logits
    T times larger.
    Noticed: at alpha = 0 the loss depends on the temperature.
    """
    return weighted(alpha, kd_loss(student_logits, teacher_logits, temperature)) + weighted(
        1 - alpha, label_cross_entropy(at_least_float32(student_logits) / temperature, labels)
    )


def softmax_before_cross_entropy(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, alpha: float
) -> Tensor:
    """`F.cross_entropy` of probabilities, though it applies log_softmax itself.

    Value of the hard term: never below log(1 + (K - 1)/e), however sure and right the student is. Gradient: vanishes
    for confident mistakes.
    Noticed: a perfect student has a hard term well above zero.
    """
    return weighted(alpha, kd_loss(student_logits, teacher_logits, temperature)) + weighted(
        1 - alpha, label_cross_entropy(_softmax(student_logits), labels)
    )


@dataclass(frozen=True)
class Mistake:
    """One wrong way: the function, and where it was seen ("owner/repository#thread" or "owner/repository:path")."""

    function: Callable[..., Any]
    references: tuple[str, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def title(self) -> str:
        """The name as prose has it."""
        return self.name.replace("_", " ")

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]

    @property
    def links(self) -> str:
        """The references as Markdown links; without any, "common, no reference kept"."""
        if not self.references:
            return "common, no reference kept"
        found = []
        for reference in self.references:
            repository, hash_sign, thread = reference.partition("#")
            repository, _, path = repository.partition(":")
            target = f"issues/{thread}" if hash_sign else f"blob/HEAD/{path}"
            found.append(f"[{reference}](https://github.com/{repository}/{target})")
        return ", ".join(found) + (f" ({self.note})" if self.note else "")


def gallery(*mistakes: Mistake) -> dict[str, Mistake]:
    """The mistakes by name, in the given order."""
    return {mistake.name: mistake for mistake in mistakes}


SOFT_MISTAKES = gallery(
    Mistake(
        mean_over_classes,
        ("haitongli/knowledge-distillation-pytorch#2", "facebookresearch/deit#61", "GMvandeVen/continual-learning#5"),
        "kept on purpose in the second, corrected in the third",
    ),
    Mistake(sum_over_batch),
    Mistake(
        doubled,
        ("szagoruyko/attention-transfer#7", "haitongli/knowledge-distillation-pytorch:mnist/distill_mnist.py"),
    ),
    Mistake(reverse_direction, ("paiml/aprender#2153",), "corrected there"),
    Mistake(probabilities_as_input, ("microsoft/ProDA#20",), "confirmed by its authors"),
    Mistake(log_target_forgotten, ("jongwooko/Pytorch-MiniLM#2",), "a question"),
    Mistake(
        temperature_squared_missing,
        ("IntelLabs/distiller#122", "keras-team/keras-io#869"),
        "acknowledged in the first; left out on purpose in the second",
    ),
    Mistake(temperature_not_squared),
    Mistake(temperature_on_teacher_only, ("yuanli2333/Teacher-free-Knowledge-Distillation#24",), "a question"),
    Mistake(softmax_over_batch, ("fxia22/pointnet.pytorch#27",), "the same slip in a classifier, corrected"),
    Mistake(
        softmax_twice,
        ("yuanli2333/Teacher-free-Knowledge-Distillation:my_loss_function.py", "tflearn/tflearn#562"),
        "of the target only in the first, where it is a hand-made one; in a classifier in the second, corrected",
    ),
    Mistake(argmax_of_teacher, ("gmboquet/mixle#96",), "the pull request that adds soft targets"),
    Mistake(
        squared_error_of_probabilities,
        ("SforAiDl/KD_Lib:KD_Lib/KD/vision/vanilla/vanilla_kd.py",),
        "its default, another loss can be passed",
    ),
    Mistake(log_of_softmax, ("yzd-v/cls_KD#13",), "the variant without the constant, corrected"),
    Mistake(teacher_against_itself, ("labmlai/annotated_deep_learning_paper_implementations#66",), "corrected there"),
    Mistake(teacher_not_detached, ("pytorch/translate#391",), "the pull request that detaches it"),
)

TOTAL_MISTAKES = gallery(
    Mistake(alpha_swapped, ("lucidrains/vit-pytorch#91",), "corrected there"),
    Mistake(temperature_squared_on_both, ("akimach/tensorflow-distillation-examples#1",), "an issue"),
    Mistake(temperature_in_hard_term),
    Mistake(
        softmax_before_cross_entropy,
        ("haitongli/knowledge-distillation-pytorch#10",),
        "proposed there, not adopted",
    ),
)
