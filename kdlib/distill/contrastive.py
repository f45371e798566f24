"""Contrastive representation distillation, CRD (Tian, Krishnan and Isola 2020, section 3; Han et al. 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.data.task import at_least_float32
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.kd import label_terms
from kdlib.distill.penultimate import POOLED, observe_pooled, pooled_widths
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher
from kdlib.distill.terms import unit_rows
from kdlib.errors import KdlibError, check_seed, check_temperature, finite_number, positive_integer

_MOST_NEGATIVES = 16_384  # the paper's number
# One matrix product with the whole bank does some 40 rows in the time in which one row is looked up and multiplied
# (CPU and GPU alike), as long as the scores of all its rows have room: 2^27 float32 are half a gigabyte.
_ROWS_PER_LOOKUP = 40
_MOST_SCORES = 2**27
_MOST_LOOKED_UP = 2**24  # numbers of rows gathered at once: 64 MB


def nce_loss(scores: Tensor, log_normaliser: Tensor, num_images: int) -> Tensor:
    r"""Noise-contrastive estimation: find the teacher's embedding of the same image among those of n others.

    With the similarity v . w of unit vectors, the score of a pair is s = exp(v . w / tau) / Z. If the pair is drawn
    from n noise pairs (uniform over the N images) and one true pair, it is true with probability s / (s + n / N), so

        L = -1/B sum_i [ log(s_i0 / (s_i0 + n/N)) + sum_{j=1..n} log((n/N) / (s_ij + n/N)) ]    (nats)

    scores: (B, 1 + n), v . w / tau, the true pair first. log_normaliser: scalar, log Z. num_images: N.
    Tian et al. 2020, section 3. Both logarithms are softplus functions of log s - log(n/N), so that no score overflows.
    Their released code adds 1e-7 to the denominators, which changes the loss by 0.128 nats at ImageNet's size; it has
    banks that start uniformly within a cube, and negatives drawn without replacement (`ContrastiveMemory` has unit
    vectors and replacement).

    >>> scores = torch.tensor([[1.0, 0.0]]).log()  # s = 1/2 and 0 for Z = 2; n/N = 1/2
    >>> nce_loss(scores, torch.tensor(2.0).log(), num_images=2)  # -log(1/2) - log(1)
    tensor(0.6931)
    """
    num_negatives = positive_integer(scores.shape[1] - 1, "the number of negatives")
    scores = at_least_float32(scores)
    log_odds = scores - (log_normaliser + math.log(num_negatives / num_images))
    sign = torch.ones_like(scores[0])
    sign[0] = -1
    return F.softplus(sign * log_odds).sum() / len(scores)


def log_mean_normaliser(scores: Tensor, num_images: int) -> Tensor:
    """log Z for Z = N * mean of exp(score) over all pairs (B, 1 + n): the scores then are probabilities on average.

    >>> log_mean_normaliser(torch.zeros(2, 3), num_images=10).exp()
    tensor(10.)
    """
    return at_least_float32(scores).flatten().logsumexp(0) - math.log(scores.numel()) + math.log(num_images)


def bank_products(anchors: Tensor, bank: Tensor, rows: Tensor, *, whole: bool) -> Tensor:
    """The inner product of each anchor with its own choice of the bank's rows.

    anchors: (B, d). bank: (N, d). rows: (B, n) indices. whole: multiply with the whole bank and pick, which is faster
    for a small bank, or look the rows up, some of them at a time. Returns (B, n).

    >>> bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> bank_products(torch.tensor([[0.0, 1.0]]), bank, torch.tensor([[2, 0]]), whole=True)
    tensor([[0.8000, 0.0000]])
    """
    if whole:
        return (anchors @ bank.T).gather(1, rows)
    pieces = [torch.einsum("bd,bnd->bn", anchors, bank[some]) for some in _pieces(rows, bank)]
    return torch.cat(pieces, dim=1)


def weighted_rows(weights: Tensor, bank: Tensor, rows: Tensor, *, whole: bool) -> Tensor:
    """Each anchor's weighted sum of its rows, (B, d): the gradient of `bank_products` with respect to the anchors.

    weights, rows: (B, n); a row that is named twice counts twice.

    >>> bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    >>> weighted_rows(torch.tensor([[2.0, 4.0, 1.0]]), bank, torch.tensor([[0, 2, 0]]), whole=True)
    tensor([[5., 2.]])
    """
    if whole:
        return weights.new_zeros(len(rows), len(bank)).scatter_add_(1, rows, weights) @ bank
    result = weights.new_zeros(len(rows), bank.shape[1])
    pieces = _pieces(rows, bank)
    for some, weight in zip(pieces, weights.split(pieces[0].shape[1], dim=1), strict=True):
        result += torch.einsum("bn,bnd->bd", weight, bank[some])
    return result


def _pieces(rows: Tensor, bank: Tensor) -> tuple[Tensor, ...]:
    return rows.split(max(1, _MOST_LOOKED_UP // (len(rows) * bank.shape[1])), dim=1)


class _Contrast(torch.autograd.Function):
    """`nce_loss` of anchors against a bank, with the gradient worked out at once.

    The bank changes before `backward` is called, so autograd can't be left to come back to it; keeping a copy of a
    bank of a million rows, or of all rows looked up, is what this avoids.
    """

    @staticmethod
    def forward(ctx: Any, anchors: Tensor, bank: Tensor, rows: Tensor, log_normaliser: Tensor, temperature: float):
        whole = _whole_is_faster(rows, bank)
        scores = bank_products(anchors / temperature, bank, rows, whole=whole)
        with torch.enable_grad():
            scores.requires_grad_()
            loss = nce_loss(scores, log_normaliser, len(bank))
        (push,) = torch.autograd.grad(loss, scores)
        ctx.save_for_backward(weighted_rows(push, bank, rows, whole=whole) / temperature)
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):
        return gradients[0] * ctx.saved_tensors[0], None, None, None, None


def _whole_is_faster(rows: Tensor, bank: Tensor) -> bool:
    batch, looked_up = rows.shape
    return len(bank) <= _ROWS_PER_LOOKUP * looked_up and batch * len(bank) <= _MOST_SCORES


def moved_rows(rows: Tensor, embeddings: Tensor, momentum: float) -> Tensor:
    """A bank's rows after they have met new embeddings: momentum * row + (1 - momentum) * embedding, unit length again.

    rows, embeddings: (B, d). momentum in [0, 1].

    >>> moved_rows(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), momentum=0.5)
    tensor([[0.7071, 0.7071]])
    """
    return unit_rows(momentum * rows + (1 - momentum) * embeddings)


class ContrastiveMemory(nn.Module):
    """Both nets' linear embeddings, and a bank each of the unit embeddings that their images last had.

    student_width, teacher_width: features of the two nets. labels: (N,) of all training images; the negatives of an
    image are drawn uniformly, with replacement, from the images of other classes. negatives: how many for each anchor.
    dimension: of the embeddings. momentum: share of a bank's row that stays when its image is seen again.
    temperature: tau of the scores. seed: of the embeddings' and the banks' first values.

    The banks start as random unit vectors. The normalisers Z are set by the first batch and stay; they and the banks
    are buffers, so that an interrupted training goes on from where it was.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    log_normalisers: Tensor
    order: Tensor
    after: Tensor
    others: Tensor

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        labels: Tensor,
        *,
        negatives: int,
        dimension: int = 128,
        momentum: float = 0.5,
        temperature: float = 0.07,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_images = len(labels)
        self.negatives = positive_integer(negatives, "negatives")
        self.momentum = finite_number(momentum, "momentum", minimum=0, maximum=1)
        self.temperature = check_temperature(temperature, "nce_temperature")
        positive_integer(dimension, "dimension")
        labels = labels.cpu()
        sizes = torch.bincount(labels)
        if int(sizes.max()) == len(labels):
            raise KdlibError(
                f"CRD contrasts each image with images of other classes, but all {len(labels)} training images are of "
                f"class {int(labels[0])}; give at least two classes"
            )
        with torch.random.fork_rng():
            torch.manual_seed(check_seed(seed))
            self.embed_student = nn.Linear(student_width, dimension)
            self.embed_teacher = nn.Linear(teacher_width, dimension)
            banks = [F.normalize(torch.randn(self.num_images, dimension), dim=1) for _ in range(2)]
        self.register_buffer("student_bank", banks[0])
        self.register_buffer("teacher_bank", banks[1])
        self.register_buffer("log_normalisers", torch.full((2,), torch.nan))
        # Images in the order of their classes, twice: what is not of a class follows right after it.
        for name, values in {
            "order": labels.argsort(stable=True).repeat(2),
            "after": sizes.cumsum(0)[labels],
            "others": (len(labels) - sizes)[labels],
        }.items():
            self.register_buffer(name, values, persistent=False)

    def draw(self, index: Tensor) -> Tensor:
        """For each image of `index` (B,) its own number, then `negatives` numbers of images of other classes."""
        shape = len(index), 1 + self.negatives
        # In float64 a number below 1 times m stays below m.
        drawn = torch.rand(shape, dtype=torch.float64, device=index.device).mul_(self.others[index][:, None])
        places = drawn.long().add_(self.after[index][:, None])
        rows = self.order.index_select(0, places.flatten()).view(shape)
        rows[:, 0] = index
        return rows

    def forward(self, student_features: Tensor, teacher_features: Tensor, index: Tensor) -> Tensor:
        """The two contrastive losses' sum; afterwards the banks know these embeddings.

        student_features: (B, d_s). teacher_features: (B, d_t). index: (B,) the images' numbers, none twice.
        """
        student = unit_rows(self.embed_student(student_features))
        teacher = unit_rows(self.embed_teacher(teacher_features))
        rows = self.draw(index)
        loss = student.new_zeros(())
        for side, (anchors, bank) in enumerate([(student, self.teacher_bank), (teacher, self.student_bank)]):
            if bool(self.log_normalisers[side].isnan()):
                products = bank_products(anchors.detach(), bank, rows, whole=_whole_is_faster(rows, bank))
                self.log_normalisers[side] = log_mean_normaliser(products / self.temperature, self.num_images)
            loss = loss + _Contrast.apply(anchors, bank, rows, self.log_normalisers[side], self.temperature)
        for bank, seen in ((self.student_bank, student), (self.teacher_bank, teacher)):
            bank[index] = moved_rows(bank[index], seen.detach(), self.momentum)
        return loss


class ContrastiveDistillation(Objective):
    r"""L = (1 - alpha) CE + alpha T^2 KL + weight * (NCE(student anchors) + NCE(teacher anchors)).

    An image's student embedding is to be found among the teacher's embeddings of it and of n images of other classes,
    and its teacher embedding among the student's (`nce_loss`). Embeddings are linear, of the pooled features that the
    classifier reads, and of unit length; those of other images come from two memory banks (`ContrastiveMemory`).
    Both linear layers are trained with the student; the teacher itself is not.

    alpha in [0, 1] and temperature T belong to the logits: 0 leaves the teacher's logits out. weight: 0.8, with
    cross-entropy 1.0, as in torchdistill, from which Han et al. work. Their released configuration weights
    cross-entropy by 0.0 (and CRD by 1.0); taken literally, the classifier then gets no gradient at all.

    teacher: observed by `observe_pooled`. memory: the trained and remembered part, `module`.

    >>> from kdlib.distill.teacher import Teacher
    >>> from kdlib.models import build
    >>> model = build("small_resnet", num_classes=3, features=16).eval()
    >>> memory = ContrastiveMemory(16, 16, torch.tensor([0, 1, 2, 0]), negatives=5, dimension=8)
    >>> objective = ContrastiveDistillation(Teacher(model, observe=observe_pooled), memory)
    >>> images, index = torch.rand(2, 3, 32, 32), torch.tensor([3, 1])
    >>> batch = TrainBatch(images, torch.tensor([0, 1]), index, torch.zeros(2).long())
    >>> sorted(objective(batch, torch.zeros(2, 3), {"avgpool": torch.rand(2, 16, 1, 1)}))
    ['contrastive', 'cross_entropy']
    """

    student_layers: tuple[str, ...] = (POOLED,)

    def __init__(
        self,
        teacher: AnyTeacher,
        memory: ContrastiveMemory,
        *,
        weight: float = 0.8,
        alpha: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        self.teacher = teacher
        self.module: nn.Module = memory
        self.weight = finite_number(weight, "weight", minimum=0)
        self.alpha = finite_number(alpha, "alpha", minimum=0, maximum=1)
        self.temperature = check_temperature(temperature)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        answer = self.teacher.answer(batch)
        terms = label_terms(logits, batch.labels, answer["logits"], self.temperature, self.alpha)
        contrast = self.module(features[POOLED].flatten(1).float(), answer["pooled"].float(), batch.index)
        return {**terms, "contrastive": self.weight * contrast}


def default_negatives(num_images: int) -> int:
    """A third of the images, as the paper's 16,384 are of CIFAR-100's 50,000, but at most those 16,384.

    >>> default_negatives(5000), default_negatives(1_281_167)
    (1666, 16384)
    """
    return min(_MOST_NEGATIVES, max(1, num_images // 3))


def build_contrastive(
    setting: Setting,
    *,
    weight: float = 0.8,
    negatives: int | None = None,
    dimension: int = 128,
    nce_temperature: float = 0.07,
    alpha: float = 0.0,
    temperature: float = 1.0,
) -> ContrastiveDistillation:
    """CRD between the pooled features of the setting's teacher and student; see `ContrastiveDistillation`.

    negatives: per anchor; None for `default_negatives`. nce_temperature: tau of the contrastive scores; temperature: T
    of the logit term, which alpha = 0 leaves out.
    """
    memory = ContrastiveMemory(
        *pooled_widths(setting),
        setting.train.labels,
        negatives=default_negatives(len(setting.train)) if negatives is None else negatives,
        dimension=dimension,
        temperature=nce_temperature,
        seed=setting.seed,
    )
    teacher = setting.teacher(f"logits and {POOLED}", observe_pooled)
    return ContrastiveDistillation(
        teacher, memory.to(setting.train.device), weight=weight, alpha=alpha, temperature=temperature
    )
