"""What a distillation method may need to be set up: the nets, the data, and a teacher with a memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from kdlib.data.augment import Augmentation
from kdlib.data.labelled_set import LabelledSet
from kdlib.data.task import CLASSIFICATION
from kdlib.distill.teacher import AnyTeacher, KnownOutputs, Observe, Teacher, just_logits
from kdlib.errors import KdlibError

_REMEMBERED_VIEWS = 4  # with more views a training meets few of them twice: ask the teacher live
Made = TypeVar("Made")


@dataclass(frozen=True)
class Setting:
    """Nets and data of one training, as a method's builder sees them.

    student: freshly built, on the device, to read shapes from; it is not the one that is trained. train: the training
    images, on the device. seed: the student's. teacher_model: trained, on the device; None for methods without one.
    teacher_outputs: of a teacher that is no network: its outputs for each training row, named tensors (N, ...) with
    "logits" among them. memory: what all students of one teacher share within a process, such as remembered answers.
    """

    student: nn.Module
    train: LabelledSet
    augmentation: Augmentation
    seed: int
    teacher_model: nn.Module | None = None
    teacher_outputs: Mapping[str, Tensor] | None = None
    memory: dict[str, Any] = field(default_factory=dict)

    def taught(self) -> nn.Module:
        """The teacher's network; a method that needs one is refused without."""
        if self.teacher_outputs is not None:
            raise KdlibError(
                "this method looks inside its teacher, of which only the outputs are known; give a network as the "
                "teacher, or take kd"
            )
        if self.teacher_model is None:
            raise KdlibError("this method needs a teacher, and teacher is None; give the run of one")
        return self.teacher_model

    def classification(self) -> None:
        """Refuse data whose labels are no classes, for methods that learn from probabilities of classes."""
        if self.train.task is not CLASSIFICATION:
            raise KdlibError(
                f"this method learns from classes, but the task of {self.train.name} is {self.train.task.name}; take "
                "label_loss, or a method that imitates a layer"
            )

    def same_classes(self) -> None:
        """Refuse a teacher and a student whose logits are of different numbers of classes.

        For methods that learn from logits or compare what all classes share; a layer may be imitated without it.
        """
        self.classification()
        images = self.train.inputs(torch.arange(1, device=self.train.labels.device))
        student = num_outputs(self.student, images)
        known = self.teacher_outputs
        teacher = num_outputs(self.taught(), images) if known is None else known["logits"].shape[1]
        if student != teacher:
            raise KdlibError(
                f"the teacher has {teacher} outputs and the student {student}; train both on the same classes"
            )

    def teacher(self, name: str = "logits", observe: Observe = just_logits) -> AnyTeacher:
        """The teacher, observed by `observe`; its answers are kept where an image has few views.

        name: of what is observed (method and layers); students that observe the same share one memory.
        """

        if self.teacher_outputs is not None and observe is just_logits:
            return self._known(self.teacher_outputs)

        def make() -> Teacher:
            if self.augmentation.num_views > _REMEMBERED_VIEWS:
                return Teacher(self.taught(), observe=observe)
            teacher = Teacher(self.taught(), len(self.train), self.augmentation.num_views, observe)
            return teacher.fill(self.train, self.augmentation)

        return self.shared(f"teacher: {name}", make)

    def _known(self, outputs: Mapping[str, Tensor]) -> KnownOutputs:
        if self.augmentation.num_views > 1:
            raise KdlibError(
                f"the teacher's outputs are known for the rows as they are, not for views of augmentation "
                f"'{self.augmentation.name}'; train with augment='none'"
            )
        for name, known in outputs.items():
            if len(known) < len(self.train):
                raise KdlibError(
                    f"the teacher's '{name}' is known for {len(known)} rows, but there are {len(self.train)} to train "
                    "on; give one for each"
                )
        return KnownOutputs(outputs)

    def shared(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for all students of this teacher in this process."""
        if name not in self.memory:
            self.memory[name] = make()
        return self.memory[name]


@torch.no_grad()
def num_outputs(model: nn.Module, images: Tensor) -> int:
    """How many outputs a model gives for a row: a classifier's classes.

    >>> num_outputs(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.zeros(1, 1, 2, 2))
    3
    """
    was_training = model.training
    logits = model.eval()(images)
    model.train(was_training)
    return logits.shape[1]
