"""AT, attention transfer (Zagoruyko and Komodakis 2017; Han et al. 2023 compare it with other methods)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.capture import capture
from kdlib.data.task import at_least_float32
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.feature_maps import matched_stages
from kdlib.distill.kd import label_terms
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher, Observe
from kdlib.errors import KdlibError, check_temperature, finite_number


def attention_map(features: Tensor) -> Tensor:
    """Q(F) = flatten(mean over channels of F^2), divided by its Euclidean norm: where a layer is active.

    features: (B, C, H, W), any floating type. Returns (B, H * W) in float32 at least, each row of norm 1; a layer that
    is silent at an image gives a row of zeros. Neither the scale of the features nor the number of channels matters,
    so a mean over channels and a sum give the same map.

    >>> attention_map(torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]]))  # energies 9/2 and 4/2
    tensor([[0.9138, 0.4061]])
    """
    if features.ndim != 4 or 0 in features.shape[1:]:
        raise KdlibError(f"features must have shape (batch, channels, height, width), not {tuple(features.shape)}")
    features = at_least_float32(features)
    # The scale cancels in the end; taken out first, squares neither vanish nor overflow.
    largest = features.detach().abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    features = features / torch.where(largest == 0, 1, largest)
    return F.normalize(features.pow(2).mean(1).flatten(1), dim=1)


def attention_loss(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    r"""L = 1 / (B P) * sum_i sum_p (Q_s[i, p] - Q_t[i, p])^2 of one pair of layers; P = H W positions.

    student_map, teacher_map: (B, P), from `attention_map`. Between 0 and 2 / P. No gradient flows to the teacher.

    >>> attention_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))  # (0.4^2 + 0.8^2) / 2
    tensor(0.4000)
    """
    if student_map.shape != teacher_map.shape:
        raise KdlibError(
            f"attention maps of student and teacher must have one shape (batch, positions), not "
            f"{tuple(student_map.shape)} and {tuple(teacher_map.shape)}"
        )
    return (at_least_float32(student_map) - teacher_map.detach()).square().mean()


def observe_attention(layers: tuple[str, ...]) -> Observe:
    """What AT asks of a teacher: its logits, and under each layer's name the layer's attention map (B, H * W).

    The maps and not the features are kept: they need one number a position instead of one a channel and position.
    """

    def observe(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        with capture(model, *layers) as captured:
            logits = model(images)
        return {"logits": logits, **{layer: attention_map(captured[layer]) for layer in layers}}

    return observe


class AttentionTransfer(Objective):
    r"""L = CE(y, p_s) + weight * sum over pairs of layers of `attention_loss`.

    With alpha > 0 the cross-entropy gives way to KD's loss, (1 - alpha) CE + alpha T^2 KL: the arm "with logits".

    teacher: a `Teacher` with `observe_attention`. pairs: (student's layer, teacher's layer), of one spatial size.
    weight: 1000 in the literature and here. Others weigh and normalise differently:

    - torchdistill, from which Han et al. start: cross-entropy 1, weight 1000, batches of 256, as here
    - Han et al.'s released configuration: cross-entropy 0.1, weight 1000, batches of 512; up to the scale of the whole
      loss that is weight = 10000 here. Whether the paper's figures were made so is not known.
    - the formula of the AT paper: the norm of the difference instead of its square, not divided by the positions,
      1 / B * sum_i ||Q_s[i] - Q_t[i]||; a weight does not carry over from one to the other.

    >>> from kdlib.distill.teacher import Teacher
    >>> stem = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    >>> batch = TrainBatch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> objective = AttentionTransfer(Teacher(stem, observe=observe_attention(("0",))), (("stage", "0"),))
    >>> terms = objective(batch, torch.zeros(2, 3), {"stage": stem[0](batch.images)})
    >>> sorted(terms), terms["attention_transfer"].item()  # the student's layer is the teacher's
    (['attention_transfer', 'cross_entropy'], 0.0)
    """

    def __init__(
        self,
        teacher: AnyTeacher,
        pairs: tuple[tuple[str, str], ...],
        weight: float = 1000.0,
        alpha: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        self.teacher, self.pairs = teacher, pairs
        self.student_layers = tuple(student_layer for student_layer, _ in pairs)
        self.weight = finite_number(weight, "weight", minimum=0)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)
        self.temperature = check_temperature(temperature)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        answer = self.teacher.answer(batch)
        losses = [attention_loss(attention_map(features[mine]), answer[its]) for mine, its in self.pairs]
        terms = label_terms(logits, batch.labels, answer["logits"], self.temperature, self.alpha)
        return {**terms, "attention_transfer": self.weight * torch.stack(losses).sum()}


def build_attention_transfer(
    setting: Setting, *, weight: float = 1000.0, alpha: float = 0.0, temperature: float = 1.0
) -> AttentionTransfer:
    """AT at the last two stages of both nets; see `AttentionTransfer`.

    Stages of different height and width are refused.
    """
    pairs = tuple((pair.student_layer, pair.teacher_layer) for pair in matched_stages(setting, 2, "attention transfer"))
    layers = tuple(teacher_layer for _, teacher_layer in pairs)
    teacher = setting.teacher(f"attention maps of {', '.join(layers)}", observe_attention(layers))
    return AttentionTransfer(teacher, pairs, weight, alpha, temperature)
