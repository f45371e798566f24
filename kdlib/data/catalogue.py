"""Which data sets exist, what they contain and how to get them: the functions behind `kdlib data`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlib.data import on_disk
from kdlib.data.root import data_root
from kdlib.errors import KdlibError, choose
from kdlib.names import DATA_SETS

if TYPE_CHECKING:
    from kdlib.data.image_set import ImageSet

SPLITS = ("train", "val", "test", "probe")


@dataclass(frozen=True)
class DatasetRow:
    """One line of `kdlib data list`; `present` says whether it can be loaded without a download."""

    name: str
    images: str
    size: str
    classes: str
    licence: str
    where: str
    present: bool


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set holds as loaded with its default (or the given) options.

    images: count per split. classes: class name -> superclass name.
    coverage: category -> concept -> its share of all pixels of the probe, in [0, 1].
    """

    name: str
    licence: str
    images: dict[str, int]
    image_size: tuple[int, int]
    channels: int
    classes: dict[str, str]
    has_foreground: bool
    coverage: dict[str, dict[str, float]] = field(default_factory=dict)


def list_datasets(root: str | Path | None = None) -> list[DatasetRow]:
    """One row per data set; Fashion-MNIST has two, the embedded subset and the full set.

    >>> [row.name for row in list_datasets()]  # doctest: +NORMALIZE_WHITESPACE
    ['concept_world', 'cells', 'fashion_mnist', 'fashion_mnist (full)', 'garment_scenes', 'cifar10', 'voc', 'cub',
     'image_folder']
    """
    place = data_root(root)
    found = {name: _row(name, place) for name in DATA_SETS}
    small = found["fashion_mnist"]
    where, present = on_disk.fashion_mnist(place)
    full = replace(small, name="fashion_mnist (full)", images="60,000 + 10,000", where=str(where), present=present)
    return [row for name in found for row in ((small, full) if name == "fashion_mnist" else (found[name],))]


def _row(name: str, place: Path) -> DatasetRow:
    """The line of one data set, below the data root `place`."""
    kept = DATA_SETS[name]
    present = True
    if name in on_disk.FILES:
        folder, present = on_disk.FILES[name](place)
        where = str(folder)
    elif kept.needs == "folder":
        where = "the folder named by root="
    else:
        where = "drawn from a seed" if kept.drawn else "ships with kdlib"
    return DatasetRow(name, kept.images, kept.size, kept.classes, kept.licence, where, present)


def get_dataset(name: str, root: str | Path | None = None) -> str:
    """Fetch a data set into the data root if it is not there; returns one sentence that says where it is.

    Raises KdlibError, in one sentence with the remedy, if the download fails or what is there is damaged.

    >>> get_dataset("concept_world")
    'concept_world is drawn from a seed: nothing to fetch'
    """
    if DATA_SETS[choose(name, DATA_SETS, "data set")].drawn:
        return f"{name} is drawn from a seed: nothing to fetch"
    if name == "image_folder":
        return "image_folder reads your own folder of images: nothing to fetch, give it as root"
    from kdlib.data import cifar10, cub, fashion_mnist, voc

    if name == "cub":
        return f"cub is in {cub.find_folders(root)[0]}; its files are checked when they are read"
    fetch: Callable[[str | Path | None], object]
    fetch, folder = {
        "fashion_mnist": (fashion_mnist.read_official, fashion_mnist.FOLDER),
        "cifar10": (cifar10.read_official, None),
        "voc": (voc.download, None),
    }[name]
    place = data_root(root)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KdlibError(f"the folder {place} cannot be made ({error.strerror}); give another root") from error
    fetch(place)
    if name == "voc":
        return f"voc is in {voc.find_folder(place)}; its files are checked when they are read"
    sentence = f"{name} is complete in {place / (folder or cifar10.present_folder(place) or '')}"
    if name == "fashion_mnist":
        sentence += " (full=True reads it; the embedded subset ships with kdlib and needs no download)"
    return sentence


def dataset_info(name: str, **options: Any) -> DatasetInfo:
    """Counts, classes and concept coverage of a data set; options are those of its `load`. Never downloads.

    >>> info = dataset_info("fashion_mnist")
    >>> info.images, info.classes["Sandal"]
    ({'train': 7000, 'val': 1000, 'test': 2000, 'probe': 2000}, 'footwear')
    """
    choose(name, DATA_SETS, "data set")
    place = data_root(options.get("root"))
    absent = (name == "cifar10" and not on_disk.cifar10(place)[1]) or (
        name in ("fashion_mnist", "garment_scenes") and options.get("full") and not on_disk.fashion_mnist(place)[1]
    )
    if absent:
        source = "fashion_mnist" if name == "garment_scenes" else name
        raise KdlibError(f"{source} is not in {place}; run `kdlib data get {source}`, or name its folder by root")
    from kdlib.data.registry import load

    splits = load(name, **options)
    probe = splits.probe
    owners = (probe.superclass_names[index] for index in probe.superclass_of)
    return DatasetInfo(
        name=name,
        licence=DATA_SETS[name].licence,
        images={part: len(getattr(splits, part)) for part in SPLITS},
        image_size=splits.train.image_size,
        channels=splits.train.channels,
        classes=dict(zip(probe.class_names, owners, strict=True)),
        has_foreground=splits.train.foreground is not None,
        coverage=concept_coverage(probe),
    )


def concept_coverage(image_set: ImageSet) -> dict[str, dict[str, float]]:
    """Share of all pixels that each concept labels, in [0, 1], by category and concept name.

    At the quantile 0.005 a unit can reach an IoU of 0.05 only for concepts between 0.00025 and 0.10.

    >>> import torch
    >>> from kdlib.data.image_set import ConceptMap, ImageSet
    >>> labels = torch.tensor([[[0, 1], [1, 1]]])
    >>> tiny = ImageSet("tiny", torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0]), ("a",), ("b",), (0,),
    ...                 concepts=(ConceptMap("color", labels, ("unlabelled", "red")),))
    >>> concept_coverage(tiny)
    {'color': {'red': 0.75}}
    """
    import torch

    coverage = {}
    for concept in image_set.concepts:
        counts = torch.zeros(len(concept.names), dtype=torch.int64, device=concept.labels.device)
        for piece in concept.labels.split(1024):  # image-level maps are expanded: never all at once
            counts += torch.bincount(piece.reshape(-1).long(), minlength=len(concept.names))
        shares = (counts.double() / concept.labels.numel()).tolist()
        coverage[concept.category] = dict(zip(concept.names[1:], shares[1:], strict=True))
    return coverage
