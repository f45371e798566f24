"""CIFAR-10: 60,000 photographs of 32x32 pixels in ten classes (Krizhevsky 2009).

It carries no formal licence, so kdlib never ships it: it is read from the data root, as the official binary version
(cifar-10-batches-bin, preferred: plain bytes) or as torchvision's folder (cifar-10-batches-py). The latter is a pickle,
which could run anything: nothing is unpickled before its MD5 matches the publisher's.

The probe's one concept category is the basic colour of each pixel, by a rule that makes the masks exact
(`kdlib.data.colours`). Over the 10,000 test images the shares of all pixels are: black 0.115, blue 0.054, brown 0.149,
grey 0.480, green 0.058, orange 0.0029, pink 0.0043, purple 0.0025, red 0.011, white 0.107, yellow 0.016. Those above
0.10 (black, brown, grey, white) stay as they are, though at the quantile 0.005 no unit can reach an IoU of 0.05 with
them: a photograph's colours are not evenly spread. There is no foreground mask.
"""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.data.checksums import is_there, read_verified
from kdlib.data.colours import basic_colours
from kdlib.data.image_set import ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.root import data_root
from kdlib.data.splitting import split_off_val, take
from kdlib.errors import KdlibError, positive_integer

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SUPERCLASS_NAMES = ("vehicles", "animals")
SUPERCLASS_OF = (0, 0, 1, 1, 1, 1, 1, 1, 0, 0)

NATIVE_SIZE = 32
RECORD = 1 + 3 * NATIVE_SIZE * NATIVE_SIZE  # one label byte, then the red, green and blue planes
BINARY_FOLDER = "cifar-10-batches-bin"
PYTHON_FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES = ("test_batch.bin",)
IMAGES_PER_FILE = 10_000
# MD5 of the official binary version's files.
BINARY_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
REMEDY = "put back the official file, or delete the whole folder and run `kdlib data get cifar10`"
# The binary version's list of class names; optional, since the classes are known.
NAMES_FILE = "batches.meta.txt"

Part = tuple[Tensor, Tensor]  # images (N, 3, 32, 32) uint8, labels (N,) int64


def load(
    root: str | Path | None = None,
    seed: int = 0,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    n_probe: int | None = None,
    image_size: int | None = None,
) -> Splits:
    """CIFAR-10 as train, val, test and probe; the probe with colour concepts.

    root: the folder that holds cifar-10-batches-bin or cifar-10-batches-py; None is `kdlib.data.root.data_root()`.
        If neither is there, torchvision downloads the second.
    seed: which images are val, and which ones a smaller n_* keeps; all choices are class-balanced.
    n_train, n_val, n_test: by default 45,000, 5,000 and 10,000.
    n_probe: the probe is the test set, never trained on, with concepts.
    image_size: 32 by default; others are resized bilinearly (antialiased) before colours are named.

    Raises KdlibError for missing, half-downloaded or damaged files and for counts beyond what there is.
    Example: `load(n_train=10_000).train.image_size` is (32, 32).
    """
    size = positive_integer(NATIVE_SIZE if image_size is None else image_size, "image_size")
    training, testing = read_official(root)
    n_val = n_val if n_val is not None else 5000
    train, val = split_off_val(training[1], n_train, n_val, seed, "the training part of CIFAR-10")
    test = take(testing[1], n_test, seed, "n_test", "the test part of CIFAR-10")
    probe = take(testing[1], n_probe, seed, "n_probe", "the test part of CIFAR-10")
    return Splits(
        name="cifar10",
        train=_image_set("train", training, train, size),
        val=_image_set("val", training, val, size),
        test=_image_set("test", testing, test, size),
        probe=_image_set("probe", testing, probe, size, with_concepts=True),
    )


def read_official(root: str | Path | None = None) -> tuple[Part, Part]:
    """The official (training, test) images and labels, verified; downloaded first if there are none."""
    place = download(root)
    if present_folder(place) == BINARY_FOLDER:
        _check_names(place / BINARY_FOLDER / NAMES_FILE)
        return _read_binary(place, TRAIN_FILES), _read_binary(place, TEST_FILES)
    return _read_python(place, train=True), _read_python(place, train=False)


def present_folder(root: Path) -> str | None:
    """Which of the two layouts `root` holds: the binary one, else torchvision's, else None."""
    return next((name for name in (BINARY_FOLDER, PYTHON_FOLDER) if is_there(root / name)), None)


def download(root: str | Path | None = None) -> Path:
    """Fetch CIFAR-10 through torchvision unless one of its folders is there; returns the data root."""
    place = data_root(root)
    if root is not None and not is_there(place):
        raise KdlibError(f"there is no folder {place}; give an existing one as root, or none for the data root")
    if place.name in (BINARY_FOLDER, PYTHON_FOLDER):
        raise KdlibError(f"root must be the folder above {place.name}: give {place.parent}")
    if present_folder(place):
        return place
    from kdlib.vision import torchvision

    try:
        torchvision.datasets.CIFAR10(place, download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise KdlibError(
            f"CIFAR-10 could not be downloaded ({reason}); put the unpacked folder {BINARY_FOLDER} or {PYTHON_FOLDER} "
            f"into {place}"
        ) from error
    return place


def _read_binary(root: Path, names: tuple[str, ...]) -> Part:
    parts = []
    for name in names:
        path = root / BINARY_FOLDER / name
        content = read_verified(path, size=IMAGES_PER_FILE * RECORD, digest=BINARY_MD5[name], remedy=REMEDY)
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, RECORD))
        worst = int(parts[-1][:, 0].max())
        if worst >= len(CLASS_NAMES):
            raise KdlibError(
                f"{path} holds class label {worst}, but CIFAR-10 has labels 0 to 9; delete it and {REMEDY}"
            )
    records = np.concatenate(parts)
    images = records[:, 1:].reshape(-1, 3, NATIVE_SIZE, NATIVE_SIZE)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(records[:, 0].astype(np.int64))


def _check_names(path: Path) -> None:
    if not is_there(path):
        return
    try:
        names = tuple(path.read_text(errors="replace").split())
    except OSError as error:
        raise KdlibError(f"{path} cannot be read ({error.strerror}); make it readable or delete it") from error
    if names != CLASS_NAMES:
        raise KdlibError(f"{path} names other classes ({', '.join(names)}) than CIFAR-10; delete it")


def _read_python(root: Path, train: bool) -> Part:
    from kdlib.vision import torchvision

    reader = torchvision.datasets.CIFAR10
    # The guard: every file's MD5 before torchvision (which checks again) unpickles any.
    files = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    for name, md5 in files:
        path = root / PYTHON_FOLDER / name
        read_verified(path, digest=md5, remedy=REMEDY)
    part = reader(root, train=train)
    labels = torch.tensor(part.targets, dtype=torch.int64)
    return torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), labels


def _image_set(part: str, source: Part, indices: Tensor, size: int, with_concepts: bool = False) -> ImageSet:
    images = _resize(source[0][indices], size)
    return ImageSet(
        name=f"cifar10/{part}",
        images=images,
        labels=source[1][indices],
        class_names=CLASS_NAMES,
        superclass_names=SUPERCLASS_NAMES,
        superclass_of=SUPERCLASS_OF,
        concepts=(basic_colours(images),) if with_concepts else (),
    )


def _resize(images: Tensor, size: int) -> Tensor:
    if size == images.shape[-1]:
        return images
    pieces = [
        F.interpolate(piece.float(), size=(size, size), mode="bilinear", antialias=True).round_().clamp_(0, 255).byte()
        for piece in images.split(1024)
    ]
    return torch.cat(pieces)
