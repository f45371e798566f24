"""Whether the files of a data set are in the data root, by name: reading them checks more, and loads torch."""

from __future__ import annotations

from pathlib import Path

from kdlib.data.checksums import is_there

_CIFAR10 = ("cifar-10-batches-bin", "cifar-10-batches-py")
_FASHION_MNIST = Path("FashionMNIST", "raw")
VOC = Path("VOCdevkit", "VOC2012")
CUB, CUB_MASKS = Path("CUB_200_2011"), "segmentations"
VOC_FOLDERS = ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation")
CUB_FILES = ("images", "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
_FASHION_MNIST_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def cifar10(root: Path) -> tuple[Path, bool]:
    """Where the files belong, and whether they are there; so are the others."""
    found = next((root / name for name in _CIFAR10 if is_there(root / name)), None)
    return found or root / _CIFAR10[0], found is not None


def fashion_mnist(root: Path) -> tuple[Path, bool]:
    folder = root / _FASHION_MNIST
    return folder, all(is_there(folder / name) for name in _FASHION_MNIST_FILES)


def voc_folder(root: Path) -> Path | None:
    """VOC2012 in or at `root`; None where there is none. Parts of it may be missing."""
    for folder in (root / VOC, root / VOC.name, root):
        if is_there(folder / VOC_FOLDERS[-1]) or (folder.name == VOC.name and is_there(folder)):
            return folder
    return None


def voc(root: Path) -> tuple[Path, bool]:
    folder = voc_folder(root)
    return root / VOC, folder is not None and all(is_there(folder / name) for name in VOC_FOLDERS)


def cub_folder(root: Path) -> Path | None:
    """CUB_200_2011 in or at `root`; None where there is none. Parts of it may be missing."""
    for folder in (root / CUB, root):
        if is_there(folder / "images.txt") or (folder.name == CUB.name and is_there(folder / "images")):
            return folder
    return None


def cub_masks(folder: Path) -> Path | None:
    """The folder of the masks, in CUB_200_2011 or beside it."""
    return next((place / CUB_MASKS for place in (folder, folder.parent) if is_there(place / CUB_MASKS)), None)


def cub(root: Path) -> tuple[Path, bool]:
    folder = cub_folder(root)
    if folder is None or cub_masks(folder) is None:
        return root / CUB, False
    return root / CUB, all(is_there(folder / name) for name in CUB_FILES)


FILES = {"cifar10": cifar10, "voc": voc, "cub": cub}
