"""Wrong ways to ask a teacher: right losses of wrong logits.

Each function takes the teacher and the epochs to come, and returns its logits batch by batch, as a training loop would
get them. `live_supply` is the right way, if the slowest; `kdlib.distill.teacher.Teacher` remembers by (image, view).
References as in `losses`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdlib.distill.mistakes.losses import Mistake, gallery

Epoch = list[tuple[Tensor, Tensor]]  # batches of (images (B, ...) as augmented, index (B,) of each in the data set)


def live_supply(teacher: nn.Module, epochs: list[Epoch]) -> list[list[Tensor]]:
    """The right way: eval mode, no graph, the very images that the student sees. One (B, K) tensor per batch."""
    teacher.eval()
    with torch.no_grad():
        return [[teacher(images) for images, _ in epoch] for epoch in epochs]


def teacher_in_train_mode(teacher: nn.Module, epochs: list[Epoch]) -> list[list[Tensor]]:
    """The teacher left in train mode.

    BatchNorm then uses the batch's statistics and overwrites its running ones, dropout adds noise: the targets depend
    on the companions in the batch, and the teacher afterwards is another one. `no_grad` does not prevent it.
    Noticed: two calls with one image differ; the teacher's buffers change.
    """
    teacher.train()
    with torch.no_grad():
        return [[teacher(images) for images, _ in epoch] for epoch in epochs]


def cached_by_position(teacher: nn.Module, epochs: list[Epoch]) -> list[list[Tensor]]:
    """Logits of the first epoch kept by batch number and used again, though the loader shuffles anew.

    The targets of later epochs belong to other images: the student is taught noise around the mean target.
    Noticed: the targets' argmax agrees with the labels in the first epoch and at chance level after it.
    """
    first = live_supply(teacher, epochs[:1])[0]
    return [first for _ in epochs]


def cached_before_augmentation(teacher: nn.Module, epochs: list[Epoch]) -> list[list[Tensor]]:
    """Logits kept by image index, but not by view: the student sees a flipped or cropped image, the teacher did not.

    The targets are the right image's, of another view; some methods do this on purpose, the cache should not decide it.
    Noticed: compare a cached target with a live one after the first epoch.
    """
    logits = torch.cat(live_supply(teacher, epochs[:1])[0])
    index = torch.cat([index for _, index in epochs[0]])
    cache = dict(zip(index.tolist(), logits, strict=True))
    return [[torch.stack([cache[int(i)] for i in index]) for _, index in epoch] for epoch in epochs]


SUPPLY_MISTAKES = gallery(
    Mistake(
        teacher_in_train_mode,
        ("vrvlive/knowlege-distillation#2", "clovaai/overhaul-distillation#37"),
        "a question in the first; on purpose in the second",
    ),
    Mistake(
        cached_by_position,
        ("haitongli/knowledge-distillation-pytorch#4", "haitongli/knowledge-distillation-pytorch#16"),
    ),
    Mistake(cached_before_augmentation, ("haitongli/knowledge-distillation-pytorch#23",)),
)
