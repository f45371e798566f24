"""One step of a training, the same whether images lie in memory or stream in, on one device or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdlib.capture import capture
from kdlib.distill import Objective, TrainBatch

if TYPE_CHECKING:
    from kdlib.train import Recipe


class Lesson(nn.Module):
    """One step's forward pass: the student sees the batch, the objective judges it.

    A module, so that it can be wrapped whole where several processes train one student; teachers are not part of it.
    """

    def __init__(self, model: nn.Module, objective: Objective, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.beside = model, objective.module
        self._objective = (objective,)  # in a tuple: an objective that is a module must not become a part
        self.recipe = recipe
        self.features: dict[str, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block the layers are captured that the objective must see."""
        layers = self._objective[0].student_layers
        catching: AbstractContextManager[dict[str, Tensor]] = (
            capture(self.model, *layers) if layers else nullcontext({})
        )
        with catching as self.features:
            yield

    def begin(self) -> None:
        """Put the student into train mode, but for BatchNorm layers whose parameters are frozen."""
        self.model.train()
        for module in self.model.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and own and not any(p.requires_grad for p in own):
                module.eval()

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, view: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The loss terms, and how many images were given their label."""
        [objective] = self._objective
        batch = TrainBatch(laid_out(images, self.recipe), labels, index, view)
        shown = laid_out(objective.student_images(batch.images), self.recipe)
        # Under autocast only the forward pass runs in bfloat16; losses are computed in float32.
        half = self.recipe.mixed_precision and images.device.type == "cuda"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
            logits = self.model(shown)
        terms = objective(batch, logits.float(), self.features)
        return terms, (logits[: len(labels)].argmax(1) == labels).sum()


class Totals:
    """Sums of the loss terms and of the hits over the steps of an epoch, kept on the device."""

    def __init__(self) -> None:
        self.terms: dict[str, Tensor] = {}
        self.hits = torch.zeros(())

    def add(self, terms: dict[str, Tensor], hits: Tensor) -> None:
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0) + value.detach()
        self.hits = self.hits.to(hits.device) + hits

    def means(self, steps: int, images: int) -> dict[str, float]:
        """Mean of each term over the steps and the accuracy on the (augmented) images."""
        means = {name: float(total) / steps for name, total in self.terms.items()}
        return means | {"train_accuracy": float(self.hits) / images}


def training_step(
    lesson: Callable[..., tuple[dict[str, Tensor], Tensor]],
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    totals: Totals,
) -> None:
    """One step downhill. lesson: a `Lesson`, wrapped or not; batch: images, labels, index and view."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    terms, hits = lesson(*batch)
    loss = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    totals.add({"loss": loss, **terms}, hits)


def laid_out(images: Tensor, recipe: Recipe) -> Tensor:
    """The images in the memory format of the recipe."""
    return images.contiguous(memory_format=torch.channels_last) if recipe.channels_last else images
