"""The one door to torchvision.

A CPU-only torch beside a CUDA-linked torchvision wheel (the only Linux wheel there is) dies on import with
"operator torchvision::nms does not exist": the compiled extension cannot load, so the operator schemas that
torchvision's Python code registers against are missing. Declaring the two schemas first is enough for models,
datasets and transforms; `ops.nms` and `torchvision.io` stay out of reach, and kdlib uses neither.

Nothing else in kdlib or its notebooks imports torchvision directly.

>>> from kdlib.vision import torchvision
>>> torchvision.models.resnet18(num_classes=10).fc.out_features
10
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
# The declarations live only as long as this object.
_library: torch.library.Library | None = None


def _declare_missing_operators() -> None:
    global _library
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        _library.define(operator + _SCHEMA)


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring its two missing operator schemas if that very error occurs.

    Where the plain import works nothing else happens; any other error is passed on unchanged.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    # The failed import leaves half-initialised modules behind.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_missing_operators()
    return importlib.import_module("torchvision")


torchvision = import_torchvision()
