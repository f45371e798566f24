"""Distillation with self-supervision, SSKD (Xu, Liu, Li and Loy 2020; Han et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.data.augment import Augmentation
from kdlib.data.labelled_set import LabelledSet
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.kd import kd_loss
from kdlib.distill.penultimate import POOLED, observe_pooled, pooled_widths
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher
from kdlib.distill.terms import label_cross_entropy, unit_rows, weighted
from kdlib.errors import KdlibError, check_seed, finite_number, positive_integer

_TURNS = 4
# Stage 1 holds at most 2 GB of features. ImageNet's would take 10 GB: of more images it takes evenly spaced ones.
_MOST_FEATURES = 2**29


def rotations(images: Tensor) -> Tensor:
    """The images, then all of them turned by 90, by 180 and by 270 degrees (counter-clockwise).

    Here the augmented image is turned. The SSKD authors' code and torchdistill turn the image first and augment each
    turn by itself, so that the four of them differ in more than the angle.

    images: (B, C, H, H). Returns (4 B, C, H, H) in the images' memory format.

    >>> rotations(torch.tensor([[[[1, 2], [3, 4]]]])).flatten(1).tolist()
    [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    """
    height, width = images.shape[2:]
    if height != width:
        raise KdlibError(f"SSKD turns images by 90 degrees, so they must be square, not {height}x{width} pixels")
    turned = torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(_TURNS)])
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return turned.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def similarities(embeddings: Tensor) -> Tensor:
    """Cosine of each turned image's embedding with each original's.

    embeddings: (4 B, d) in the order of `rotations`. Returns (3 B, B); row k B + i is image i turned k + 1 times, whose
    own original is column i.

    >>> similarities(torch.tensor([[1.0, 0.0], [0.0, 2.0]]).repeat(4, 1))[:2]
    tensor([[1., 0.],
            [0., 1.]])
    """
    units = unit_rows(embeddings)
    originals = units[: len(units) // _TURNS]
    return units[len(originals) :] @ originals.T


def kept_rows(scores: Tensor, targets: Tensor, keep: float) -> Tensor:
    """Which rows a student learns from: all that the teacher gets right, and the fraction `keep` of the wrong ones.

    Of the wrong ones those with the smallest error stay. A row's error is the number of entries larger than its
    target's: 0 if it is right. scores: (R, M) of the teacher. targets: (R,) columns. keep in [0, 1]; of w wrong rows
    int(keep w) stay, of equal errors the earlier ones, and at least one row altogether. Returns (R,) bool.

    >>> scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 3.0, 1.0]])  # errors 0, 2 and 1 at target 0
    >>> kept_rows(scores, torch.tensor([0, 0, 0]), keep=0.5)
    tensor([ True, False,  True])
    """
    error = (scores > scores.gather(1, targets[:, None])).sum(dim=1)
    wrong = (error > 0).sum()
    stay = (len(scores) - wrong + (keep * wrong.double()).floor()).clamp(min=1)
    place = error.argsort(stable=True).argsort()
    return place < stay


def ranked_kd_loss(
    student_scores: Tensor, teacher_scores: Tensor, targets: Tensor, temperature: float, keep: float
) -> Tensor:
    """`kd_loss` over the rows (R, M) that `kept_rows` keeps by the teacher's scores, in nats.

    >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 9.0]])  # the second is wrong about target 0 and left out
    >>> ranked_kd_loss(teacher * torch.tensor([[1.0], [5.0]]), teacher, torch.tensor([0, 0]), 1.0, keep=0.5)
    tensor(0.)
    """
    kept = kept_rows(teacher_scores, targets, keep)
    return kd_loss(student_scores[kept], teacher_scores[kept], temperature)


def make_head(width: int, seed: int) -> nn.Sequential:
    """The self-supervised head: a two-layer perceptron width-width-width with a ReLU between, initialised by `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(check_seed(seed))
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def train_head(features: Tensor, *, epochs: int = 30, batch_size: int = 64, seed: int = 0) -> nn.Sequential:
    """Stage 1: teach a head to recognise a turned image's own original among a batch's, by the teacher's features.

    The loss is the cross-entropy of the cosines (`similarities`, not divided by any temperature) with the own original
    as target. SGD with learning rate 0.1, times 0.1 after one and two thirds of the epochs, momentum 0.9 and weight
    decay 5e-4, as released by Han et al. for their 30 epochs.

    features: (N, 4, d), each image's in the order of its turns. Returns the frozen head, on the features' device; the
    same features give the same head, whatever the random state, which is left as it was.

    >>> head = train_head(torch.rand(8, 4, 5), epochs=2)
    >>> head(torch.rand(3, 5)).shape
    torch.Size([3, 5])
    """
    positive_integer(epochs, "epochs")
    count, _, width = features.shape
    batch_size = min(batch_size, count)
    head = make_head(width, seed).to(features.device)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(seed)
    own = torch.arange(batch_size, device=features.device).repeat(_TURNS - 1)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.1 ** (3 * epoch // epochs)
        order = torch.randperm(count, generator=generator).to(features.device)
        for index in order[: count // batch_size * batch_size].split(batch_size):
            turned = features[index].transpose(0, 1).flatten(0, 1)
            loss = F.cross_entropy(similarities(head(turned)), own)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return head.eval().requires_grad_(False)


def observe_rotations(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits of the images (B, K) and of their turns (B, 3, K), and pooled features of all four (B, 4, d)."""
    # One turn after the other: four times the images at once no longer fit into a processor's caches. Channels last,
    # as in a training: it nearly halves the time that a CPU needs to fill a teacher's memory.
    shown = images.contiguous(memory_format=torch.channels_last)
    seen = [observe_pooled(model, turned) for turned in rotations(shown).chunk(_TURNS)]
    logits, pooled = (torch.stack([one[name] for one in seen], dim=1) for name in ("logits", "pooled"))
    return {"logits": logits[:, 0], "turned_logits": logits[:, 1:], "pooled": pooled}


def teacher_features(
    teacher: AnyTeacher, images: LabelledSet, augmentation: Augmentation, *, every: int = 1, seed: int = 0
) -> Tensor:
    """What stage 1 learns from: pooled features (N / every, 4, d) of images, each in one view drawn by `seed`.

    teacher: observed by `observe_rotations`. every: 1 for all images, 2 for every second one, ...
    """
    indices = torch.arange(0, len(images), every, device=images.device)
    batches = _drawn_views(images, augmentation, indices.split(256), seed)
    return torch.cat([teacher.answer(batch)["pooled"] for batch in batches])


def _drawn_views(
    images: LabelledSet, augmentation: Augmentation, indices: tuple[Tensor, ...], seed: int
) -> Iterator[TrainBatch]:
    streamed = getattr(images, "training_batches", None)
    if streamed is not None:  # folders too large for memory are augmented as they are read, and have no numbered views
        for found, labels, index in streamed(indices, augmentation.name, seed, 0):
            yield TrainBatch(found.float().div_(255), labels, index, torch.zeros_like(index))
        return
    generator = torch.Generator().manual_seed(check_seed(seed))
    views = torch.randint(augmentation.num_views, (len(images),), generator=generator).to(images.device)
    for index in indices:
        view = views[index]
        yield TrainBatch(augmentation(images.inputs(index), view), images.labels[index], index, view)


class SelfSupervision(Objective):
    r"""L = CE(y, p) + logits * T^2 KL + similarity * SS + turned * TF.

    The student sees each image and its turns by 90, 180 and 270 degrees. With `ranked_kd_loss`, R(scores; T, keep):

    - CE and T^2 KL (T = 4) see the images as they are
    - SS = R(cosines of student embeddings of turned images with those of the originals; T = 0.5, keep = 0.75), a row
      being right if its own original is the nearest to the teacher's head (`similarities`)
    - TF = R(logits of turned images; T = 4, keep = 1), a row being right if the teacher's largest logit is its label's

    logits, similarity, turned: weights 0.9, 10 and 2.7 in torchdistill, from which Han et al. work, with CE 1.0 (the
    SSKD authors' own code has CE 0.1). Han et al.'s released configuration has logits = 0, the arm "without logits"
    and the default here; but TF is itself a distillation of logits, so that arm is not free of them. Whether the
    paper's figures were made so is not known.

    teacher: observed by `observe_rotations`. teacher_head: from `train_head`. The student's head, of `student_width`
    and initialised by `seed`, is trained with the student; heads and teacher are not needed afterwards.

    >>> from kdlib.distill.teacher import Teacher
    >>> from kdlib.models import build
    >>> teacher = Teacher(build("small_resnet", num_classes=3, features=16), observe=observe_rotations)
    >>> objective = SelfSupervision(teacher, make_head(16, seed=0), student_width=8)
    >>> shown = objective.student_images(torch.rand(2, 3, 32, 32))
    >>> batch = TrainBatch(shown[:2], torch.tensor([0, 1]), torch.tensor([0, 1]), torch.zeros(2).long())
    >>> sorted(objective(batch, torch.zeros(8, 3), {"avgpool": torch.rand(8, 8, 1, 1)}))
    ['cross_entropy', 'similarity', 'turned_kd']
    """

    student_layers: tuple[str, ...] = (POOLED,)
    temperature = 4.0
    similarity_temperature = 0.5
    similarity_keep = 0.75
    turned_keep = 1.0

    def __init__(
        self,
        teacher: AnyTeacher,
        teacher_head: nn.Module,
        student_width: int,
        *,
        logits: float = 0.0,
        similarity: float = 10.0,
        turned: float = 2.7,
        seed: int = 0,
    ) -> None:
        self.teacher = teacher
        self.teacher_head = teacher_head.eval().requires_grad_(False)
        self.module: nn.Module = make_head(student_width, seed)
        self.logits = finite_number(logits, "logits", minimum=0)
        self.similarity = finite_number(similarity, "similarity", minimum=0)
        self.turned = finite_number(turned, "turned", minimum=0)

    def student_images(self, images: Tensor) -> Tensor:
        return rotations(images)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        answer = self.teacher.answer(batch)
        count, turns = len(batch.labels), _TURNS - 1
        embeddings = self.module(features[POOLED].flatten(1).float())
        with torch.no_grad():
            teacher_embeddings = self.teacher_head(answer["pooled"].float().transpose(0, 1).flatten(0, 1))
        own = torch.arange(count, device=logits.device).repeat(turns)
        terms = {
            "cross_entropy": label_cross_entropy(logits[:count], batch.labels),
            "similarity": self.similarity
            * ranked_kd_loss(
                similarities(embeddings),
                similarities(teacher_embeddings),
                own,
                self.similarity_temperature,
                self.similarity_keep,
            ),
            "turned_kd": weighted(
                self.turned,
                ranked_kd_loss(
                    logits[count:],
                    answer["turned_logits"].transpose(0, 1).flatten(0, 1),
                    batch.labels.repeat(turns),
                    self.temperature,
                    self.turned_keep,
                ),
            ),
        }
        if self.logits:
            terms["kd"] = self.logits * kd_loss(logits[:count], answer["logits"], self.temperature)
        return terms


def build_self_supervision(
    setting: Setting, *, logits: float = 0.0, similarity: float = 10.0, turned: float = 2.7, epochs: int = 30
) -> SelfSupervision:
    """SSKD between the setting's teacher and student; see `SelfSupervision`.

    logits: 0 without, 0.9 with distillation of the originals' logits. epochs: of stage 1, whose head is the same for
    all students of a teacher; it depends on no student's seed.
    """
    student_width, teacher_width = pooled_widths(setting)
    teacher = setting.teacher(f"{POOLED} of turned images", observe_rotations)
    every = -(-len(setting.train) * _TURNS * teacher_width // _MOST_FEATURES)

    def head() -> nn.Module:
        return train_head(teacher_features(teacher, setting.train, setting.augmentation, every=every), epochs=epochs)

    teacher_head = setting.shared(f"head for turned images, {epochs} epochs", head)
    return SelfSupervision(
        teacher, teacher_head, student_width, logits=logits, similarity=similarity, turned=turned, seed=setting.seed
    )
