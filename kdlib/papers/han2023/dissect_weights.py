"""Dissect a network whose weights are in a file: one's own, torchvision's, or ImageNet's ResNet-50 as Keras has it.

    kdlib dissect resnet50_keras.npz                         # on drawn scenes of Concept World
    kdlib dissect resnet18.pth --model resnet18 --classes 1000 --probe /broden1_224

Weights that are missing or do not fit are bad input: nothing is ever dissected with random ones.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from kdlib.cores import cores
from kdlib.data.broden import BrodenFolder
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.folder_stream import IMAGENET_MEAN, IMAGENET_STD
from kdlib.data.image_set import ImageSet
from kdlib.data.root import data_root
from kdlib.errors import KdlibError, positive_integer
from kdlib.metrics.dissection.activations import concept_names_of, layer_activations
from kdlib.metrics.dissection.dissect import Dissection, dissect, dissect_activations
from kdlib.models import build
from kdlib.models.checkpoint import load_checkpoint
from kdlib.models.keras_resnet50 import FILE, load_keras_resnet50
from kdlib.papers.han2023 import settings as paper_settings
from kdlib.train.device import resolve_device

_MOST_SCENES, _MOST_SIDE = 10**6, 4096
_PROBE_SEED = 20_230  # of scenes that no network of this book is trained on


def imagenet_resnet50_file() -> Path:
    """Where the ImageNet ResNet-50 lies if it is there: resnet50_keras.npz in the folder of data sets."""
    return data_root() / FILE


def dissect_imagenet_resnet50(
    weights: Path | str | None = None,
    *,
    images: int = 500,
    image_size: int = 128,
    layer: str = paper_settings.LAYER,
    quantile: float = paper_settings.QUANTILE,
    denominator: str = paper_settings.DENOMINATOR,
    device: str = "auto",
) -> tuple[Dissection, nn.Module, ImageSet]:
    """What the units of a ResNet-50 that knows ImageNet's photographs detect in Concept World's drawn scenes.

    weights: the Keras file; `imagenet_resnet50_file()` if not given. images, image_size: scenes to draw, their side.
    Returns the dissection, the network and the scenes. Takes about 0.03 s of one core an image at 128 and 0.06 s at
    160; the activations are held (500 images at 224: 200 MB), so that the network runs once.
    """
    model = load_keras_resnet50(weights or imagenet_resnet50_file()).to(resolve_device(device))
    scenes = draw_scenes(images, seed=_PROBE_SEED, image_size=image_size, background_correlation=0.0)
    with layer_activations(model, scenes, layer, batch_size=32) as batches:
        held = list(batches)
    found = dissect_activations(
        held, concept_names_of(scenes), quantile=quantile, denominator=denominator, layer=layer, num_images=images
    )
    return found, model, scenes


def load_network(name: str, weights: Path | str, num_classes: int) -> nn.Module:
    """A network by name with the weights of a file, in eval mode: .npz as Keras' ResNet-50, else `load_checkpoint`.

    Photographs are normalised by ImageNet's statistics unless the file holds others.
    """
    if Path(weights).suffix == ".npz":
        if name != "resnet50":
            raise KdlibError(f"{weights} is taken for a Keras ResNet-50, not for a {name}; leave --model out")
        return load_keras_resnet50(weights)
    return load_checkpoint(build(name, num_classes=num_classes, mean=IMAGENET_MEAN, std=IMAGENET_STD), weights)


def report(found: Dissection, tau: float, best: int = 10) -> str:
    """The count, per category and unique, and the best units, for reading."""
    categories = ", ".join(f"{category} {count}" for category, count in found.count_by_category(tau).items())
    lines = [
        f"{found.count(tau)} of {found.num_units} units of {found.layer} are concept detectors (IoU >= {tau:g}, "
        f"quantile {found.quantile:g}, {found.denominator} denominator): {categories}",
        f"{found.unique_concepts(tau)} different concepts; {int(found.dead.sum())} units never fire; on average "
        f"{100 * float(found.activated_fraction.mean()):.3f} % of the pixels are active",
    ]
    for unit in found.score.argsort(descending=True, stable=True)[:best].tolist():
        lines.append(
            f"  unit {unit}: {found.best_concept[unit]} ({found.best_category[unit]}), {found.score[unit]:.3f}"
        )
    return "\n".join(lines)


def dissect_file(
    weights: Path | str,
    *,
    model: str = "resnet50",
    classes: int = 1000,
    probe: Path | str | None = None,
    images: int = 500,
    image_size: int = 128,
    layer: str = paper_settings.LAYER,
    quantile: float = paper_settings.QUANTILE,
    tau: float = paper_settings.TAU,
    denominator: str = paper_settings.DENOMINATOR,
    device: str = "auto",
) -> str:
    """The report on the network `model` with the weights of a file.

    classes: of the network. probe: a Broden folder, else `images` drawn scenes of Concept World of `image_size` pixels.
    """
    positive_integer(images, "images", maximum=_MOST_SCENES)
    positive_integer(image_size, "image_size", maximum=_MOST_SIDE)
    network = load_network(model, weights, classes)
    scenes = (
        BrodenFolder(probe, workers=cores())
        if probe
        else draw_scenes(images, _PROBE_SEED, image_size, background_correlation=0.0)
    )
    found = dissect(
        network.to(resolve_device(device)), scenes, layer, quantile=quantile, denominator=denominator, batch_size=64
    )
    return report(found, tau)
