"""torchvision's ResNet behind the normalisation of its data.

Imports torchvision; `kdlib.models.resnet` imports this module where such a network is built.
"""

from __future__ import annotations

from torch import Tensor

from kdlib.models.normalise import Normalise
from kdlib.vision import torchvision


class TorchvisionResNet(torchvision.models.ResNet):  # type: ignore[name-defined]
    """torchvision's ResNet, unchanged but for the normalisation in front; layer names stay the same.

    block: "BasicBlock" or "Bottleneck".
    """

    def __init__(self, block: str, layers: list[int], num_classes: int, mean, std) -> None:
        super().__init__(getattr(torchvision.models.resnet, block), layers, num_classes=num_classes)
        self.normalise = Normalise(mean, std)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.normalise(x))
