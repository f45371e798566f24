"""For maintainers: make the embedded Fashion-MNIST subset from the official files.

    python -m kdlib.data.embed_fashion_mnist [--root DIR]

The file is written to `kdlib/data/embedded/` and its SHA-256 printed; copy it to
`kdlib.data.fashion_mnist.EMBEDDED_SHA256`. Which images are taken depends on `SEED` alone; the bytes of the file also
depend on the version of zlib, so `content_hash`, over the arrays, is printed too and shows whether the data changed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import zipfile

import numpy as np

from kdlib.data.fashion_mnist import EMBEDDED_FILE, read_official
from kdlib.data.splitting import balanced_order

SEED = 2017
N_TRAIN, N_TEST = 8000, 2000


def make_arrays(root: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of the embedded file: images, labels and index in the official part, of train and test.

    `*_images` (N, 28, 28) uint8, `*_labels` (N,) uint8, `*_index` (N,) uint16; in ascending order of index.
    """
    arrays = {}
    for part, count, (images, labels) in zip(("train", "test"), (N_TRAIN, N_TEST), read_official(root), strict=True):
        index = balanced_order(labels, SEED)[:count].sort().values
        arrays[f"{part}_images"] = images[index].numpy()
        arrays[f"{part}_labels"] = labels[index].numpy().astype(np.uint8)
        arrays[f"{part}_index"] = index.numpy().astype(np.uint16)
    return arrays


def content_hash(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and values.

    >>> content_hash({"a": np.zeros(1, np.uint8)}) == content_hash({"a": np.zeros(2, np.uint8)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed npz with no time stamps: equal arrays give equal bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980 by default
            file.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="data root that holds FashionMNIST/raw (default: kdlib's)")
    arrays = make_arrays(parser.parse_args().root)
    content = pack(arrays)
    EMBEDDED_FILE.parent.mkdir(exist_ok=True)
    half = EMBEDDED_FILE.with_suffix(".half")
    half.write_bytes(content)
    half.replace(EMBEDDED_FILE)
    print(f"{EMBEDDED_FILE.name}: {len(content):,} bytes")
    print(f"sha256  {hashlib.sha256(content).hexdigest()}")
    print(f"content {content_hash(arrays)}")


if __name__ == "__main__":
    main()
