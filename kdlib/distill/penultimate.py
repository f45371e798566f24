"""What a network's classifier reads: its globally pooled features, which CRD and SSKD compare."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kdlib.capture import capture, shapes_of
from kdlib.distill.setting import Setting
from kdlib.errors import KdlibError

POOLED = "avgpool"


def pooled_widths(setting: Setting) -> tuple[int, int]:
    """How many features an image `avgpool` hands to the last linear layer, of the student and of the teacher.

    Refused: a net without a layer `avgpool`, one whose last linear layer reads something else, and two nets with
    different numbers of classes.

    >>> from kdlib.data.augment import Augmentation
    >>> from kdlib.data.image_set import ImageSet
    >>> from kdlib.models import build
    >>> images = ImageSet("toy", torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"),
    ...                   ("all",), (0, 0))
    >>> student, teacher = (build("small_resnet", num_classes=2, features=features) for features in (16, 32))
    >>> pooled_widths(Setting(student, images, Augmentation("none"), 0, teacher))
    (16, 32)
    """
    image = setting.train.inputs(torch.arange(1, device=setting.train.device))
    student, teacher = (_classifier(model, image) for model in (setting.student, setting.taught()))
    setting.same_classes()
    return student.in_features, teacher.in_features


def _classifier(model: nn.Module, image: Tensor) -> nn.Linear:
    """The last linear layer, which must read what `avgpool` gives."""
    width = math.prod(shapes_of(model, image, POOLED)[POOLED])
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1].in_features != width:
        reads = f"its last linear layer reads {linear[-1].in_features}" if linear else "it has no linear layer"
        raise KdlibError(
            f"layer '{POOLED}' of this model gives {width} features an image, but {reads}; "
            "CRD and SSKD need a network that classifies its pooled features by one linear layer, such as a ResNet"
        )
    return linear[-1]


def observe_pooled(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits (B, K) and pooled features (B, d) of a batch.

    >>> from kdlib.models import build
    >>> seen = observe_pooled(build("small_resnet", num_classes=10, features=32).eval(), torch.rand(2, 3, 32, 32))
    >>> seen["logits"].shape, seen["pooled"].shape
    (torch.Size([2, 10]), torch.Size([2, 32]))
    """
    with capture(model, POOLED) as captured:
        logits = model(images)
    return {"logits": logits, "pooled": captured[POOLED].flatten(1)}
