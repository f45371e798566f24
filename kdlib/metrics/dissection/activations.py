"""Activation maps of one layer, batch by batch, with the concept masks of the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdlib.capture import capture
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.joint_labels import label_batches

ActivationBatches = Iterable[tuple[Tensor, Mapping[str, Tensor]]]


class Checked:
    """Activation batches, each checked to be finite maps of one size; iterating again starts again."""

    def __init__(self, batches: ActivationBatches, layer: str) -> None:
        if isinstance(batches, Iterator):
            raise KdlibError("the activations are read twice: give a list of batches, not an iterator that ends")
        self.batches = batches
        self.layer = layer

    def __iter__(self) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        shape = None
        for activations, concepts in self.batches:
            if activations.ndim != 4 or not activations.is_floating_point() or not activations.numel():
                raise KdlibError(
                    f"layer '{self.layer}' gives {activations.dtype} of shape {tuple(activations.shape)}; "
                    "dissection needs real-valued maps of shape (images, units, height, width)"
                )
            shape = shape or activations.shape[1:]
            if activations.shape[1:] != shape:
                raise KdlibError(
                    f"layer '{self.layer}' gives maps of shape {tuple(activations.shape[1:])} after "
                    f"{tuple(shape)}; all images must have one size"
                )
            low, high = torch.aminmax(activations)
            if not bool(torch.isfinite(low) & torch.isfinite(high)):
                raise KdlibError(f"layer '{self.layer}' gives activations that are not finite; check the weights")
            half = activations.dtype in (torch.float16, torch.bfloat16)
            yield (activations.float() if half else activations), concepts


class Kept:
    """Activation batches that are made once: what the first whole round gives is kept if it is small enough.

    images: how many there are in all. Of larger ones nothing is kept, and each round makes them again.
    """

    MOST = 512 * 2**20  # bytes

    def __init__(self, batches: ActivationBatches, images: int) -> None:
        self._batches, self._images = batches, images
        self._pairs: list[tuple[Tensor, Mapping[str, Tensor]]] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        if self._pairs:
            yield from self._pairs
            return
        pairs: list[tuple[Tensor, Mapping[str, Tensor]]] = []
        fits = True
        for activations, concepts in self._batches:
            if not pairs:
                bytes_an_image = (activations.nbytes + sum(map(_size, concepts.values()))) / max(1, len(activations))
                fits = bytes_an_image * self._images <= self.MOST
            if fits:
                pairs.append((activations, concepts))
            yield activations, concepts
        self._pairs = pairs


def _size(labels: Tensor) -> int:
    """Bytes of labels; those of whole images stand once an image."""
    return labels[..., :1, :1].nbytes if labels.stride()[-2:] == (0, 0) else labels.nbytes


class _LayerBatches:
    """(activations, masks) of one captured layer for every batch of a probe set."""

    def __init__(
        self, model: nn.Module, seen: dict[str, Tensor], layer: str, probe, batch_size: int, device: torch.device
    ) -> None:
        self.model, self.seen, self.layer = model, seen, layer
        self.probe, self.batch_size, self.device = probe, batch_size, device

    def __iter__(self) -> Iterator[tuple[Tensor, Mapping[str, Tensor]]]:
        for batch_images, labels in label_batches(self.probe, self.batch_size):
            images = batch_images.to(self.device).float().div_(255)
            try:
                self.model(images)
            except KdlibError:
                raise
            except torch.OutOfMemoryError as error:
                raise KdlibError(f"batch_size {self.batch_size} does not fit into memory; lower it") from error
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                raise KdlibError(
                    f"the model can't take images of shape {tuple(images.shape[1:])} ({reason}); "
                    "give a probe set with the channels and the size it was built for"
                ) from error
            if self.layer not in self.seen:
                raise KdlibError(f"layer '{self.layer}' takes no part in the forward pass; name a layer that does")
            yield self.seen.pop(self.layer), labels


def _require_finite(model: nn.Module) -> None:
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise KdlibError(f"the model's '{name}' is not finite; train it again, or load other weights")


def _home(model: nn.Module) -> torch.device:
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    return torch.device("cpu") if first is None else first.device


def _moved(model: nn.Module, device: torch.device | str) -> torch.device:
    """Move the model, in place, and say where it is."""
    try:
        target = torch.device(device)
        model.to(target)
    except (RuntimeError, AssertionError) as error:  # an unknown name; a GPU that torch was built without
        reason = str(error).splitlines()[0]
        raise KdlibError(f"device '{device}' can't be used ({reason}); leave it out to use the model's own") from error
    return target


def concept_names_of(probe) -> dict[str, tuple[str, ...]]:
    """Names per category of an `ImageSet`, or of a streamed set that has `concept_names`."""
    if hasattr(probe, "concept_names"):
        return {category: tuple(names) for category, names in probe.concept_names.items()}
    return {concept.category: concept.names for concept in probe.concepts}


@contextmanager
def layer_activations(
    model: nn.Module, probe, layer: str, *, batch_size: int = 128, device: torch.device | str | None = None
) -> Iterator[ActivationBatches]:
    """Within the block: ((B, U, h, w) activations of `layer`, {category: (B, H, W) labels}) for all of `probe`.

    Labels are (B, L, H, W) where pixels of the batch have several of a category, as a `BrodenFolder` gives them. It can
    be iterated several times; the model runs again each time, unless all of it is small enough to be kept. It runs in
    eval mode and without gradients. On leaving, also by an error, it is in the mode and on the device it was in.
    """
    home = _home(model)
    try:
        with torch.no_grad(), capture(model, layer) as seen:
            target = _moved(model, device or home)
            model.eval()
            _require_finite(model)
            yield Kept(_LayerBatches(model, seen, layer, probe, batch_size, target), len(probe))
    finally:
        model.to(home)
