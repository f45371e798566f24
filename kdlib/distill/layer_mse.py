"""Distillation of one layer by its mean squared error (Cheng et al. 2020, as their released code does it)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlib.capture import capture
from kdlib.data.task import at_least_float32
from kdlib.distill import Objective, TrainBatch
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import AnyTeacher, Observe
from kdlib.errors import KdlibError, finite_number, yes_or_no
from kdlib.models.probed import layer_path


class LayerMSE(Objective):
    r"""L = mean over the batch and the layer's outputs of (f_s(x) - f_t(x))^2, and nothing else.

    f_s, f_t: what one layer of student and teacher gives before its ReLU, of one shape; no labels, no temperature, and
    no logits unless the layer gives them. What lies behind the layer takes no gradient and stays as it is: a classifier
    is trained afterwards on the frozen layers (`RunSpec.start` and `RunSpec.frozen_up_to`).

    student_layer: a module path. teacher: a `Teacher` that observes the "layer" of its own. scale: what the loss is
    divided by; 1 as published.

    >>> from kdlib.distill.teacher import Teacher
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> objective = LayerMSE("1", Teacher(net, observe=observe_layer("1")))
    >>> batch = TrainBatch(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> {name: term.item() for name, term in objective(batch, net(batch.images), {"1": net(batch.images) + 2}).items()}
    {'layer_mse': 4.0}
    """

    def __init__(self, student_layer: str, teacher: AnyTeacher, scale: float = 1.0) -> None:
        self.student_layers = (student_layer,)
        self.teacher = teacher
        self.scale = finite_number(scale, "scale", minimum=0, exclusive=True)

    def __call__(self, batch: TrainBatch, logits: Tensor, features: dict[str, Tensor]) -> dict[str, Tensor]:
        wanted = at_least_float32(self.teacher.answer(batch)["layer"])
        given = at_least_float32(features[self.student_layers[0]])
        if given.shape != wanted.shape:
            raise KdlibError(
                f"a mean squared error needs layers of one shape, but the student's gives {tuple(given.shape)} and the "
                f"teacher's {tuple(wanted.shape)}; name layers with as many outputs"
            )
        return {"layer_mse": F.mse_loss(given, wanted) / self.scale}


def observe_layer(layer: str) -> Observe:
    """What a teacher gives for a batch: its "logits", and as "layer" what one layer gives.

    >>> seen = observe_layer("0")(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.rand(2, 1, 2, 2))
    >>> seen["layer"].shape, seen["logits"].shape
    (torch.Size([2, 4]), torch.Size([2, 3]))
    """

    def observe(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        with capture(model, layer) as captured:
            logits = model(images)
        return {"logits": logits, "layer": captured[layer]}

    return observe


def build_layer_mse(setting: Setting, *, layer: str = "fc1", relative: float = 0.0) -> Objective:
    """layer: "conv", "fc1", "fc2" or "fc3" of nets that name them so, or any module path; the same in both nets.

    relative: 1 divides the loss by the variance of the teacher's outputs over (at most 512) training images, so that it
    has the size of a cross-entropy and can be trained at the same learning rates; 0 for the published loss.
    """
    student, teacher = setting.student, setting.taught()
    own, theirs = layer_path(student, layer), layer_path(teacher, layer)
    image = setting.train.inputs(torch.arange(1, device=setting.train.device))
    with torch.no_grad():
        shapes = [
            tuple(observe_layer(path)(model.eval(), image)["layer"].shape[1:])
            for model, path in ((student, own), (teacher, theirs))
        ]
    if shapes[0] != shapes[1]:
        raise KdlibError(
            f"the student's layer '{layer}' gives {shapes[0]} and the teacher's {shapes[1]}: a mean squared error "
            "needs one shape; choose nets with as many outputs there, or another layer"
        )
    scale = 1.0
    if yes_or_no(relative, "relative"):
        scale = output_variance(teacher, setting.train.inputs(slice(0, 512)), theirs)
        if not scale > 0:
            raise KdlibError(
                f"the teacher's layer '{layer}' gives the same for all images: there is nothing to learn; train it"
            )
    return LayerMSE(own, setting.teacher(f"layer {theirs}", observe_layer(theirs)), scale)


@torch.no_grad()
def output_variance(model: nn.Module, images: Tensor, layer: str) -> float:
    """Variance over images of what a layer gives, averaged over its outputs.

    >>> output_variance(nn.Sequential(nn.Flatten()), torch.tensor([[0.0, 1.0], [4.0, 1.0]]), "0")
    2.0
    """
    outputs = observe_layer(layer)(model.eval(), images)["layer"].flatten(1).double()
    return float(outputs.var(0, correction=0).mean())
