"""Trees of photographs of any size, decoded again in each pass; ImageNet is trained, tested and dissected with it.

The layouts are those of `kdlib.data.image_folder`. What a training sees is a function of the seed, the epoch and the
image alone: it does not depend on how many processes decode or train, so an interrupted training resumes bit for bit.
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdlib.data.augment import RESIZED_CROP
from kdlib.data.class_tree import Listing, existing_folder, list_images, subfolders
from kdlib.data.colours import COLOUR_NAMES, basic_colours
from kdlib.data.decode import MAX_SIDE
from kdlib.data.decoding import Files, decoded_batches, draw_seed, random_decoder
from kdlib.data.folder_parts import find_parts, part_of, split_listings, tell
from kdlib.data.image_folder import centre_decoder
from kdlib.data.image_set import Batch, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.data.repeated_files import tell_repeated
from kdlib.data.superclasses import SUPERCLASS_FILE, read_superclasses
from kdlib.data.task import CLASSIFICATION, Task
from kdlib.data.text_tables import same_form
from kdlib.errors import KdlibError, choose, names_in_order, positive_integer

STREAMED_AUGMENTATIONS = ("none", RESIZED_CROP)
# Of ImageNet's photographs scaled to [0, 1]; the recipe of Han et al. 2023 and of torchvision.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VAL_IMAGES_PER_CLASS = 10  # taken out of a large train folder for selection, at most


class FolderStream:
    """The images of one class tree, decoded at each pass: `ImageSet`'s reading interface for folders of any size.

    root: a folder of class folders, such as imagenet/val. image_size: as in `load`, 224 by default. resize: length of
    the short side before the centre is cut out; image_size if not given, 256 in ImageNet's usual evaluation.
    workers: processes of torch's DataLoader that decode ahead; 0 decodes in this one. device: where batches go.
    class_names: the classes in the order of the labels, where they are more than root's folders. The superclasses.csv
    of the folder above is read where root is its train, val or test.

    Has len(), `name`, `num_classes`, `channels`, `image_size`, `class_names`, `superclass_names`, `superclass_of`,
    `labels` (N,), `device`, `to`, `inputs`, `model_options`, `content_hash` and `batches(batch_size)` in order, as an
    ImageSet has, and `training_batches`. Batches have the basic colours as concepts, named in `concept_names`, so that
    a stream can be dissected; there is no foreground.
    Example: `sum(len(batch.labels) for batch in FolderStream("imagenet/val", workers=8).batches(256))`.
    """

    task: ClassVar[Task] = CLASSIFICATION
    channels = 3
    foreground = None
    concept_names: ClassVar[dict[str, tuple[str, ...]]] = {"color": COLOUR_NAMES}

    def __init__(
        self,
        root: str | Path,
        image_size: int = 224,
        workers: int = 0,
        device: torch.device | str = "cpu",
        class_names: tuple[str, ...] | None = None,
        resize: int | None = None,
    ) -> None:
        self._size = positive_integer(image_size, "image_size", maximum=MAX_SIDE)
        self._workers = positive_integer(workers, "workers", minimum=0)
        self._resize = positive_integer(self._size if resize is None else resize, "resize", self._size, MAX_SIDE)
        folder = existing_folder(root)
        if parts := find_parts(folder)[0]:
            raise KdlibError(
                f"{folder} holds the parts {', '.join(parts)}; give the folder of one, or use stream_splits"
            )
        above = folder.parent if part_of(folder.name) and not (folder / SUPERCLASS_FILE).exists() else folder
        if class_names is not None:
            class_names = _checked_names(class_names)
        listing = list_images(folder, class_names)
        tell(folder, {folder.name: listing}, _missing_here(folder, listing) if class_names is None else None)
        self._hold(listing, folder.name, read_superclasses(above, listing.class_names), torch.device(device))

    def _hold(
        self, listing: Listing, name: str, superclasses: tuple[tuple[str, ...], tuple[int, ...]], device: torch.device
    ) -> None:
        self._listing, self.name, self.device = listing, name, device
        self.labels = listing.labels.to(device)
        self.class_names = listing.class_names
        self.superclass_names, self.superclass_of = superclasses
        self._hash = ""

    @classmethod
    def of_listing(
        cls, listing: Listing, name: str, superclasses, *, image_size: int, resize: int, workers: int = 0
    ) -> FolderStream:
        """A stream of files already listed; superclasses: what `read_superclasses` gives."""
        stream = cls.__new__(cls)
        stream._size, stream._resize, stream._workers = image_size, resize, workers
        stream._hold(listing, name, superclasses, torch.device("cpu"))
        return stream

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> tuple[int, int]:
        return self._size, self._size

    @property
    def mask_size(self) -> tuple[int, int]:
        return self.image_size

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, (3, H, W)."""
        return self.channels, self._size, self._size

    def siblings(self, class_index: int) -> list[int]:
        """The other classes of `class_index`'s superclass."""
        mine = self.superclass_of[class_index]
        return [i for i, other in enumerate(self.superclass_of) if other == mine and i != class_index]

    def to(self, device: torch.device | str) -> FolderStream:
        """The same stream with batches on `device`."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        moved.labels = self.labels.to(moved.device)
        return moved

    def subset(self, indices: Tensor) -> FolderStream:
        """The images at `indices` alone, in that order."""
        superclasses = self.superclass_names, self.superclass_of
        part = FolderStream.of_listing(
            self._listing.at(torch.as_tensor(indices).cpu()),
            self.name,
            superclasses,
            image_size=self._size,
            resize=self._resize,
            workers=self._workers,
        )
        return part.to(self.device)

    def load(self) -> ImageSet:
        """Everything in memory, for few images."""
        [batch] = self.batches(len(self))
        colours = ConceptMap("color", batch.concepts["color"], COLOUR_NAMES)
        names = self.class_names, self.superclass_names, self.superclass_of
        return ImageSet(self.name, batch.images, batch.labels, *names, concepts=(colours,))

    def model_options(self) -> dict[str, Any]:
        """What `kdlib.models.build` must know: classes, channels, and ImageNet's statistics for any photographs."""
        return {
            "num_classes": self.num_classes,
            "channels": self.channels,
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
        }

    def content_hash(self) -> str:
        """SHA-256 over each file's place and number of bytes, labels, names and sizes.

        The files' content is not read (for ImageNet it would take an hour): one that is replaced by another of the same
        length goes unnoticed. The folder's location does not count.
        """
        if not self._hash:
            digest = hashlib.sha256()
            names = (self.class_names, self.superclass_names, self.superclass_of, self._size, self._resize)
            digest.update(repr(names).encode())
            digest.update(self._listing.labels.numpy().tobytes())
            for path in map(Path, self._listing.paths):
                try:
                    size = path.stat().st_size
                except OSError as error:
                    raise KdlibError(f"{path} cannot be reached ({error.strerror}); list the folder again") from error
                name = path.relative_to(self._listing.folder).as_posix()
                digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
            self._hash = digest.hexdigest()
        return self._hash

    def inputs(self, indices: Tensor | slice) -> Tensor:
        """Images at `indices` as float32 in [0, 1], (B, 3, H, W): what models take, in their evaluation cut."""
        decode = centre_decoder(self._size, self._resize)
        chosen = torch.arange(len(self))[indices if isinstance(indices, slice) else indices.cpu()].tolist()
        with ThreadPoolExecutor(max(1, self._workers)) as pool:  # Pillow decodes outside of Python's lock
            images = list(pool.map(decode, (self._listing.paths[index] for index in chosen)))
        return torch.stack(images).to(self.device).float().div_(255)

    def batches(self, batch_size: int = 256) -> Iterator[Batch]:
        """Consecutive images with labels, in order; the last batch may be smaller."""
        positive_integer(batch_size, "batch_size")
        for images, labels, _ in self.evaluation_batches(torch.arange(len(self)).split(batch_size)):
            yield Batch(images, labels, {"color": basic_colours(images).labels})

    def evaluation_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(images (B, 3, H, W) uint8, labels, indices) of each of `batches` of indices, in their evaluation cut."""
        files = Files(self._listing, centre_decoder(self._size, self._resize))
        return decoded_batches(files, batches, self._workers, self.device)

    def training_batches(
        self, batches: Sequence[Tensor], augmentation: str, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(images (B, 3, H, W) uint8, labels, indices) of each of `batches` of indices, augmented.

        augmentation: "resized_crop" (a random part of 8 to 100 % of the picture's area, sides 3:4 to 4:3, enlarged to
        the whole, mirrored every second time; torchvision's RandomResizedCrop and RandomHorizontalFlip) or "none". The
        cut of an image depends on seed, epoch and the image alone.
        """
        if choose(augmentation, STREAMED_AUGMENTATIONS, "augmentation of a streamed folder") == "none":
            return self.evaluation_batches(batches)
        files = Files(self._listing, random_decoder(self._size), partial(draw_seed, seed, epoch))
        return decoded_batches(files, batches, self._workers, self.device)


def _checked_names(class_names: Any) -> tuple[str, ...]:
    names = names_in_order(class_names, "class_names")
    for name, count in Counter(map(same_form, names)).items():
        if count > 1 or not name:
            what = f"'{name}' {count} times" if name else "an empty name"
            raise KdlibError(f"class_names holds {what}, and a label must have one name of its own; correct it")
    return names


def _missing_here(folder: Path, listing: Listing) -> dict[str, int]:
    """How many classes of the train beside it a val or test lacks, for then its labels are not those of train."""
    if part_of(folder.name) in (None, "train"):
        return {}
    beside = [place for name, place in subfolders(folder.parent).items() if part_of(name) == "train"]
    classes = {same_form(name) for place in beside[:1] for name in subfolders(place)}
    lacking = len(classes - set(listing.class_names))
    what = "classes of train less than there, so that labels are others (give the class_names of train)"
    return {what: lacking} if lacking else {}


def stream_splits(
    root: str | Path, seed: int = 0, *, image_size: int = 224, workers: int = 0, n_val: int | None = None
) -> Splits[FolderStream]:
    """A folder of photographs as streamed train, val and test; the probe is the test set with its basic colours.

    root: the tree, in either layout of `kdlib.data.image_folder`. Pictures are evaluated as ImageNet's are: short side
    to 256/224 of image_size, then the centre. n_val: images taken out of train for selection where there is no val
    folder besides a test folder; by default a tenth of train, but no more than 10 a class.

    Files that are not read, and equal files in two parts (of at most 200,000 files), are named in a warning.
    Raises KdlibError for anything that is wrong with the folder, before anything is decoded.
    """
    folder = existing_folder(root)
    positive_integer(image_size, "image_size", maximum=MAX_SIDE)
    positive_integer(workers, "workers", minimum=0)
    positive_integer(seed, "seed", minimum=0)
    listings = split_listings(folder, seed, None, n_val, None, VAL_IMAGES_PER_CLASS)
    tell_repeated(folder, {part: listing.paths for part, listing in listings.items()})
    superclasses = read_superclasses(folder, listings["train"].class_names)
    resize = round(image_size * 256 / 224)
    parts = {
        part: FolderStream.of_listing(
            listing, f"{folder.name}/{part}", superclasses, image_size=image_size, resize=resize, workers=workers
        )
        for part, listing in listings.items()
    }
    return Splits(name=folder.name, **parts, probe=parts["test"])
