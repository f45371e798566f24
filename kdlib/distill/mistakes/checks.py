"""Bring your own distillation loss: checks that the right one passes and every wrong one of `losses` fails.

Notation as in `losses`: logits z_s, z_t (B, K), temperature T, q = softmax(z_s / T), p = softmax(z_t / T).
Everything is compared with float64 arithmetic written from the definition, never with another implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdlib.distill.mistakes.losses import SoftLoss
from kdlib.distill.mistakes.teachers import Epoch
from kdlib.errors import KdlibError, check_seed

TotalLoss = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
Supply = Callable[[nn.Module, list[Epoch]], list[list[Tensor]]]
TEMPERATURES = (1.0, 2.0, 4.0)
TOLERANCE = 1e-4  # relative; wide enough for a loss that computes in float32


class Finding(NamedTuple):
    """The outcome of one check, and the number that decided it."""

    passed: bool
    detail: str


def definition(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> float:
    """T² · 1/B · Σ p log(p / q), one image and one class after another, in float64 (nats); p = 0 contributes 0.

    >>> round(definition(torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log(), 1.0), 4)
    0.1308
    """
    total = 0.0
    for z_s, z_t in zip(student_logits.double(), teacher_logits.double(), strict=True):
        log_q = z_s / temperature - torch.logsumexp(z_s / temperature, 0)
        log_p = z_t / temperature - torch.logsumexp(z_t / temperature, 0)
        total += sum(float(a.exp() * (a - b)) for a, b in zip(log_p, log_q, strict=True) if float(a.exp()))
    return temperature**2 * total / len(student_logits)


def definition_gradient(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T/B · (q - p), shape (B, K), float64: the gradient of `definition` with respect to the student's logits."""
    q = (student_logits.double() / temperature).softmax(1)
    p = (teacher_logits.double() / temperature).softmax(1)
    return temperature / len(student_logits) * (q - p)


def gradient(loss: SoftLoss, student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """The gradient of `loss` with respect to the student's logits (B, K); zeros if none reaches them."""
    student_logits = student_logits.detach().clone().requires_grad_()
    return _pull(loss(student_logits, teacher_logits, temperature), student_logits)


def diagnose(loss_function: SoftLoss, seed: int = 0) -> dict[str, Finding]:
    """Examine the soft term of a distillation loss: `loss_function(student_logits, teacher_logits, temperature)`.

    loss_function takes two (B, K) tensors of logits and the temperature, and returns a scalar. A soft cross-entropy,
    -Σ p log q, fails checks of the value alone: it differs by the teacher's entropy and trains alike.

    >>> from kdlib.distill.kd import kd_loss
    >>> failures(diagnose(kd_loss))
    []
    >>> failures(diagnose(lambda z_s, z_t, T: kd_loss(z_s, z_t, T) / T**2))
    ['value', 'gradient', 'steady at high temperature', 'high temperature matches logits']
    """
    draw = torch.Generator().manual_seed(check_seed(seed))
    z_s, z_t = (2 * torch.randn(6, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    _require_scalar(loss_function(z_s, z_t, 2.0))

    def value(student: Tensor, teacher: Tensor, temperature: float) -> float:
        return float(loss_function(student, teacher, temperature).detach())

    def push(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return gradient(loss_function, student, teacher, temperature)

    usual = {t: definition(z_s, z_t, t) for t in TEMPERATURES}
    findings: dict[str, Finding] = {}

    worst = _worst(value(z_t, z_t, t) / usual[t] for t in TEMPERATURES)
    findings["zero at equality"] = Finding(worst <= TOLERANCE, f"{worst:.2g} of the usual value")

    worst = _worst(_ratio(push(z_t, z_t, t), definition_gradient(z_s, z_t, t)) for t in TEMPERATURES)
    findings["no push at equality"] = Finding(worst <= TOLERANCE, f"{worst:.2g} of the usual gradient")

    draws = [4 * torch.randn(2, 6, 5, generator=draw, dtype=torch.float64) for _ in range(20)]
    lowest = min(torch.tensor([value(a, b, t) for a, b in draws for t in TEMPERATURES]).nan_to_num(-torch.inf).tolist())
    findings["never negative"] = Finding(lowest >= -TOLERANCE, f"lowest of 60 values {lowest:.3g}")

    ratios = {t: value(z_s, z_t, t) / usual[t] for t in TEMPERATURES}
    findings["value"] = Finding(
        _worst(ratio - 1 for ratio in ratios.values()) <= TOLERANCE,
        ", ".join(f"{ratio:.3g} times the definition at T = {t:g}" for t, ratio in ratios.items()),
    )

    pairs = {t: (push(z_s, z_t, t), definition_gradient(z_s, z_t, t)) for t in TEMPERATURES}
    findings["gradient"] = Finding(
        _worst(_ratio(got - right, right) for got, right in pairs.values()) <= TOLERANCE,
        ", ".join(
            f"{_ratio(*pair):.3g} times T (q - p) / B, cosine {_cosine(*pair):.3f}, at T = {t:g}"
            for t, pair in pairs.items()
        ),
    )

    at_200, at_400 = push(z_s, z_t, 200.0), push(z_s, z_t, 400.0)
    growth = _ratio(at_400, at_200)
    findings["steady at high temperature"] = Finding(
        abs(growth - 1) <= 0.05, f"gradient at T = 400 is {growth:.3g} times that at T = 200"
    )

    matching = (_centred(z_s) - _centred(z_t)) / z_s.numel()
    error = _ratio(push(z_s, z_t, 1000.0) - matching, matching)
    findings["high temperature matches logits"] = Finding(
        error <= 0.02, f"relative distance to (z_s - z_t) / (K B): {error:.2g} at T = 1000"
    )

    alone = sum(value(z_s[i : i + 1], z_t[i : i + 1], 2.0) for i in range(6)) / 6
    together = value(z_s, z_t, 2.0)
    findings["mean of its images"] = Finding(
        abs(together - alone) <= TOLERANCE * usual[2.0], f"{together:.4g} for the batch, {alone:.4g} on average alone"
    )

    shift = torch.randn(6, 1, generator=draw, dtype=torch.float64)
    change = _worst(value(a, b, 2.0) - together for a, b in ((z_s + 3 * shift, z_t), (z_s, z_t - 3 * shift)))
    findings["shift of an image's logits"] = Finding(change <= TOLERANCE * usual[2.0], f"value changes by {change:.2g}")

    split = value(z_s.repeat(1, 2), z_t.repeat(1, 2), 2.0) - together
    findings["every class split in two"] = Finding(
        abs(split) <= TOLERANCE * usual[2.0], f"value changes by {split:.2g}, from {together:.4g}"
    )

    listening = z_t.clone().requires_grad_()
    leak = float(_pull(loss_function(z_s.clone().requires_grad_(), listening, 2.0), listening).norm())
    findings["nothing to the teacher"] = Finding(leak <= 1e-9, f"gradient norm {leak:.2g}")

    reach = float(push(z_s, z_t, 2.0).norm())
    findings["something to the student"] = Finding(reach > 1e-9, f"gradient norm {reach:.2g}")

    far_s, far_t = torch.tensor([[60.0, 0.0, -60.0]]), torch.tensor([[-60.0, 0.0, 60.0]])
    ratio = value(far_s, far_t, 1.0) / definition(far_s, far_t, 1.0)
    right = definition_gradient(far_s, far_t, 1.0)
    error = _ratio(push(far_s, far_t, 1.0).double() - right, right)
    findings["logits far apart"] = Finding(
        abs(ratio - 1) <= 1e-3 and error <= 1e-3, f"{ratio:.3g} times the definition, gradient off by {error:.2g}"
    )
    return findings


def diagnose_total(loss_function: TotalLoss, seed: int = 0) -> dict[str, Finding]:
    """Examine the whole loss, `loss_function(student_logits, teacher_logits, labels, temperature, alpha)`.

    Right is alpha · soft + (1 - alpha) · cross-entropy with the labels at T = 1: alpha weights the soft term.

    >>> from kdlib.distill.mistakes.losses import alpha_swapped, total_loss
    >>> failures(diagnose_total(total_loss)), failures(diagnose_total(alpha_swapped))
    ([], ['alpha 0 is the labels', 'alpha 1 is the teacher', 'hard term without temperature'])
    """
    draw = torch.Generator().manual_seed(check_seed(seed))
    z_s, z_t = (2 * torch.randn(6, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(5, (6,), generator=draw)
    _require_scalar(loss_function(z_s, z_t, labels, 4.0, 0.5))

    def value(temperature: float, alpha: float) -> float:
        return float(loss_function(z_s, z_t, labels, temperature, alpha).detach())

    hard = -float(z_s.log_softmax(1)[torch.arange(6), labels].mean())
    soft = definition(z_s, z_t, 4.0)
    middle = value(4.0, 0.5) - (value(4.0, 0.0) + value(4.0, 1.0)) / 2
    drift = value(8.0, 0.0) - value(2.0, 0.0)
    return {
        "alpha 0 is the labels": Finding(
            abs(value(4.0, 0.0) - hard) <= TOLERANCE * hard, f"{value(4.0, 0.0):.4g}, cross-entropy {hard:.4g}"
        ),
        "alpha 1 is the teacher": Finding(
            abs(value(4.0, 1.0) - soft) <= TOLERANCE * soft, f"{value(4.0, 1.0):.4g}, soft term {soft:.4g}"
        ),
        "straight in alpha": Finding(abs(middle) <= TOLERANCE * hard, f"alpha 0.5 is off the middle by {middle:.2g}"),
        "hard term without temperature": Finding(
            abs(drift) <= TOLERANCE * hard, f"at alpha 0 the value changes by {drift:.2g} from T = 2 to T = 8"
        ),
    }


def diagnose_supply(supply: Supply, seed: int = 0) -> dict[str, Finding]:
    """Examine how a teacher's logits are fetched over two shuffled epochs, the second with mirrored images.

    supply(teacher, epochs): `epochs` holds per epoch a list of batches (images, index); it returns, nested alike, the
    logits of each batch.

    >>> from kdlib.distill.mistakes.teachers import cached_by_position, live_supply
    >>> failures(diagnose_supply(live_supply)), failures(diagnose_supply(cached_by_position))
    ([], ['of the very image'])
    """
    draw = torch.Generator().manual_seed(check_seed(seed))
    images = torch.rand(12, 4, generator=draw)
    teacher = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    epochs: list[Epoch] = []
    for view in (images, images.flip(1)):
        order = torch.randperm(12, generator=draw)
        epochs.append([(view[index], index) for index in order.split(4)])

    teacher.eval()
    with torch.no_grad():
        right = [[teacher(batch) for batch, _ in epoch] for epoch in epochs]
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    given = supply(teacher, epochs)
    changed = [name for name, tensor in teacher.state_dict().items() if not torch.equal(tensor, before[name])]
    pairs = [(a, b) for got, want in zip(given, right, strict=True) for a, b in zip(got, want, strict=True)]
    error = _worst(float((a.detach() - b).abs().max()) for a, b in pairs)
    kept = sum(a.requires_grad for a, _ in pairs)
    return {
        "of the very image": Finding(error <= 1e-5, f"largest difference to the live logits: {error:.2g}"),
        "teacher unchanged": Finding(not changed, f"changed: {', '.join(changed) or 'nothing'}"),
        "no graph kept": Finding(kept == 0, f"{kept} of {len(pairs)} batches require a gradient"),
    }


def failures(findings: dict[str, Finding]) -> list[str]:
    """The names of the checks that did not pass."""
    return [name for name, finding in findings.items() if not finding.passed]


def _require_scalar(result: object) -> None:
    if not isinstance(result, Tensor) or result.ndim != 0:
        what = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else f"{type(result).__name__}"
        raise KdlibError(f"a loss must return one number as a tensor of shape (), not {what}; average over the batch")


def _pull(result: Tensor, variable: Tensor) -> Tensor:
    if not result.requires_grad:
        return torch.zeros_like(variable)
    (found,) = torch.autograd.grad(result, variable, allow_unused=True)
    return torch.zeros_like(variable) if found is None else found


def _worst(values) -> float:
    """The largest absolute value; nan counts as infinite, so that no comparison lets it through."""
    return max(float("inf") if value != value else abs(value) for value in values)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> float:
    return float(a.norm() / b.norm())


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
