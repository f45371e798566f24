"""Whether the files of a data set lie in the data root, by name: reading them checks more, and loads torch."""

from __future__ import annotations

from pathlib import Path

from kdlib.data.checksums import is_there

_CIFAR10 = ("cifar-10-batches-bin", "cifar-10-batches-py")
_FASHION_MNIST = Path("FashionMNIST", "raw")
_VOC = Path("VOCdevkit", "VOC2012")
_CUB = Path("CUB_200_2011")
_VOC_FOLDERS = ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation")
_CUB_FILES = ("images", "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
_FASHION_MNIST_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def cifar10(root: Path) -> tuple[Path, bool]:
    """Where the files belong, and whether they are there; so are the others."""
    found = next((root / name for name in _CIFAR10 if is_there(root / name)), None)
    return found or root / _CIFAR10[0], found is not None


def fashion_mnist(root: Path) -> tuple[Path, bool]:
    folder = root / _FASHION_MNIST
    return folder, all(is_there(folder / name) for name in _FASHION_MNIST_FILES)


def voc(root: Path) -> tuple[Path, bool]:
    for folder in (root / _VOC, root / _VOC.name, root):
        if is_there(folder / _VOC_FOLDERS[-1]) or (folder.name == _VOC.name and is_there(folder)):
            return root / _VOC, all(is_there(folder / name) for name in _VOC_FOLDERS)
    return root / _VOC, False


def cub(root: Path) -> tuple[Path, bool]:
    for folder in (root / _CUB, root):
        if is_there(folder / "images.txt") or (folder.name == _CUB.name and is_there(folder / "images")):
            masks = any(is_there(place / "segmentations") for place in (folder, folder.parent))
            return root / _CUB, masks and all(is_there(folder / name) for name in _CUB_FILES)
    return root / _CUB, False


FILES = {"cifar10": cifar10, "voc": voc, "cub": cub}
