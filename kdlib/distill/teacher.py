"""A frozen teacher with a memory of its answers, or a teacher of which only the outputs are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from kdlib.data.augment import Augmentation
from kdlib.data.labelled_set import LabelledSet
from kdlib.distill import TrainBatch
from kdlib.errors import KdlibError

Observe = Callable[[nn.Module, Tensor], dict[str, Tensor]]


def just_logits(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What most methods need of a teacher: its logits (B, K)."""
    return {"logits": model(images)}


class AnyTeacher(Protocol):
    """What an objective asks: a `Teacher`, or `KnownOutputs`."""

    def __call__(self, batch: TrainBatch) -> Tensor:
        """Logits (B, K), without gradient."""
        ...

    def answer(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Everything observed for this batch, each (B, ...), without gradient."""
        ...


class Teacher:
    """A trained model that answers and is never trained.

    It is kept in eval mode (no BatchNorm statistic moves, no dropout draws), is evaluated without gradients, and its
    parameters do not require any. With a memory, what was observed is kept per (image, view) and computed once; the
    key is the image's index in the training set and the number of its augmented view, never its place in a
    shuffled batch. Memory: 4 bytes per image, view and number observed.

    model: the trained network. num_images, num_views: sizes of the memory, needed only to remember.
    observe: what is computed of the model for a batch of images: named tensors (B, ...), "logits" (B, K) among them.

    >>> teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), num_images=10, num_views=1)
    >>> batch = TrainBatch(torch.rand(2, 1, 2, 2), torch.zeros(2).long(), torch.tensor([7, 3]), torch.zeros(2).long())
    >>> torch.equal(teacher(batch), teacher(batch)), teacher.asked
    (True, 2)
    """

    def __init__(
        self, model: nn.Module, num_images: int = 0, num_views: int = 0, observe: Observe = just_logits
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.num_images, self.num_views = num_images, num_views
        self.observe = observe
        self.asked = 0  # images that went through the network
        self._memory: dict[str, Tensor] = {}
        self._known: Tensor | None = None

    @property
    def remembers(self) -> bool:
        return self.num_images * self.num_views > 0

    def fill(self, images: LabelledSet, augmentation: Augmentation, batch_size: int = 512) -> Teacher:
        """Compute the answers for every view of every image beforehand, in a fixed order; returns this teacher.

        A network's answer can differ in its last bits with the other images of the batch. Computed during training, a
        shared memory would make one student's training depend on those before it; filled beforehand it does not.
        """
        for view in range(augmentation.num_views):
            for start in range(0, len(images), batch_size):
                index = torch.arange(start, min(start + batch_size, len(images)), device=images.device)
                views = torch.full_like(index, view)
                self.answer(TrainBatch(augmentation(images.inputs(index), views), images.labels[index], index, views))
        return self

    def __call__(self, batch: TrainBatch) -> Tensor:
        """The teacher's logits (B, K), without gradient."""
        return self.answer(batch)["logits"]

    def answer(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Everything observed of the teacher for this batch, each (B, ...), without gradient."""
        if not self.remembers:
            return self._ask(batch.images)
        if int(batch.index.max()) >= self.num_images or int(batch.view.max()) >= self.num_views:
            raise KdlibError(
                f"the teacher remembers {self.num_images} images in {self.num_views} views, but was shown image "
                f"{int(batch.index.max())} in view {int(batch.view.max())}; make its memory as large as the data"
            )
        key = batch.index * self.num_views + batch.view
        new = torch.ones_like(key, dtype=torch.bool) if self._known is None else ~self._known[key]
        if bool(new.any()):
            # The whole batch, not the new images alone: an answer's last bits depend on the size of the batch.
            self._remember(key, new, self._ask(batch.images))
        return {name: kept[key] for name, kept in self._memory.items()}

    def _remember(self, key: Tensor, new: Tensor, answers: dict[str, Tensor]) -> None:
        if self._known is None:
            size = self.num_images * self.num_views
            self._memory = {name: tensor.new_zeros(size, *tensor.shape[1:]) for name, tensor in answers.items()}
            self._known = torch.zeros(size, dtype=torch.bool, device=key.device)
        for name, tensor in answers.items():
            self._memory[name][key[new]] = tensor[new]
        self._known[key[new]] = True

    @torch.no_grad()
    def _ask(self, images: Tensor) -> dict[str, Tensor]:
        self.model.eval()  # whoever holds the model may have switched it
        self.asked += len(images)
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)  # up to twice as fast on a CPU
        return {name: tensor.float() for name, tensor in self.observe(self.model, images).items()}


class KnownOutputs:
    """A teacher of which only the outputs for every training row are known, whatever made them, such as boosted trees.

    outputs: named tensors (N, ...), "logits" among them, in the order of the training set; they are looked up by a
    row's index. It is used like a `Teacher`.

    >>> teacher = KnownOutputs({"logits": torch.tensor([[0.0], [1.0], [4.0]])})
    >>> batch = TrainBatch(torch.zeros(2, 3), torch.zeros(2), torch.tensor([2, 0]), torch.zeros(2).long())
    >>> teacher(batch).tolist()
    [[4.0], [0.0]]
    """

    def __init__(self, outputs: Mapping[str, Tensor]) -> None:
        if "logits" not in outputs:
            raise KdlibError(f"a teacher's outputs must include 'logits', not only {', '.join(outputs) or 'nothing'}")
        self.outputs = dict(outputs)

    def __call__(self, batch: TrainBatch) -> Tensor:
        """The teacher's logits (B, K)."""
        return self.answer(batch)["logits"]

    def answer(self, batch: TrainBatch) -> dict[str, Tensor]:
        """All that is known of the teacher for this batch, each (B, ...)."""
        return {name: known[batch.index] for name, known in self.outputs.items()}
