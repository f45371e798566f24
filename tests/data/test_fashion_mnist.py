"""Fashion-MNIST: the embedded subset, the official files, and concepts that are exact by construction."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from kdlib.data import embed_fashion_mnist, fashion_mnist
from kdlib.data.catalogue import concept_coverage
from kdlib.errors import KdlibError
from kdlib.vision import torchvision

WINDOW = (0.00025, 0.10)  # coverage at which IoU 0.05 can be reached at the quantile 0.005
OFFICIAL_ROOT = os.environ.get("KDLIB_DATA", "")
HAS_OFFICIAL = bool(OFFICIAL_ROOT) and fashion_mnist.is_present(OFFICIAL_ROOT)
needs_official = pytest.mark.skipif(not HAS_OFFICIAL, reason="$KDLIB_DATA holds no full Fashion-MNIST")


@pytest.fixture(scope="module")
def embedded():
    return fashion_mnist.load()


class TestEmbedded:
    def test_sizes_and_types(self, embedded):
        sizes = [len(part) for part in (embedded.train, embedded.val, embedded.test, embedded.probe)]
        assert sizes == [7000, 1000, 2000, 2000]
        assert embedded.train.image_size == (28, 28)
        assert embedded.train.channels == 1

    def test_every_part_is_class_balanced(self, embedded):
        for part in (embedded.train, embedded.val, embedded.test, embedded.probe):
            assert torch.bincount(part.labels).tolist() == [len(part) // 10] * 10

    def test_file_is_small_and_licensed(self):
        assert fashion_mnist.EMBEDDED_FILE.stat().st_size < 5_000_000
        licence = (fashion_mnist.EMBEDDED_FILE.parent / "FASHION_MNIST_LICENSE.txt").read_text()
        assert "MIT" in licence
        assert "2017 Zalando SE" in licence

    def test_no_image_of_val_or_test_is_in_train(self, embedded):
        def fingerprints(part):
            return {image.numpy().tobytes() for image in part.images}

        # The official set itself holds a few exact doubles within train; the indices, not the pixels, are disjoint.
        with np.load(fashion_mnist.EMBEDDED_FILE) as arrays:
            assert len(set(arrays["train_index"].tolist())) == 8000
            assert len(set(arrays["test_index"].tolist())) == 2000
        assert not fingerprints(embedded.train) & fingerprints(embedded.test)
        assert len(fingerprints(embedded.train) & fingerprints(embedded.val)) <= 5

    def test_probe_is_the_test_set_with_concepts(self, embedded):
        assert torch.equal(embedded.probe.images, embedded.test.images)
        assert [concept.category for concept in embedded.probe.concepts] == ["object", "part", "color"]
        assert embedded.test.concepts == ()

    def test_same_seed_same_data_and_test_never_depends_on_it(self, embedded):
        again, other = fashion_mnist.load(), fashion_mnist.load(seed=1)
        assert again.content_hash() == embedded.content_hash()
        assert other.content_hash() != embedded.content_hash()
        assert other.test.content_hash() == embedded.test.content_hash()

    def test_smaller_counts_are_balanced_beginnings(self, embedded):
        small = fashion_mnist.load(n_train=200, n_val=100, n_test=50, n_probe=30)
        assert torch.equal(small.train.images, embedded.train.images[:200])
        for part, count in ((small.train, 20), (small.val, 10), (small.test, 5), (small.probe, 3)):
            assert torch.bincount(part.labels).tolist() == [count] * 10

    def test_superclasses(self, embedded):
        owner = dict(
            zip(
                embedded.train.class_names,
                (embedded.train.superclass_names[i] for i in embedded.train.superclass_of),
                strict=True,
            )
        )
        assert {name for name in owner if owner[name] == "tops"} == {
            "T-shirt/top", "Pullover", "Dress", "Coat", "Shirt",
        }  # fmt: skip
        assert {name for name in owner if owner[name] == "footwear"} == {"Sandal", "Sneaker", "Ankle boot"}
        assert owner["Trouser"] == "bottoms"
        assert owner["Bag"] == "bags"

    def test_image_size_pads_with_background(self, embedded):
        wide = fashion_mnist.load(image_size=33)
        assert wide.train.image_size == (33, 33)
        assert torch.equal(wide.train.images[:, :, 2:30, 2:30], embedded.train.images)
        assert int(wide.train.images.int().sum()) == int(embedded.train.images.int().sum())
        for concept in embedded.probe.concepts:  # what lies in the image keeps its labels
            padded = wide.probe.concept_map(concept.category).labels
            assert torch.equal(padded[:, 2:30, 2:30], concept.labels)
            assert int((padded > 0).sum()) == int((concept.labels > 0).sum())


class TestConcepts:
    def test_foreground_is_every_non_zero_pixel(self, embedded):
        for part in (embedded.train, embedded.val, embedded.test, embedded.probe):
            assert torch.equal(part.foreground, part.images[:, 0] != 0)

    @pytest.mark.parametrize("image_size", [28, 32])
    def test_every_concept_can_be_detected(self, image_size):
        coverage = concept_coverage(fashion_mnist.load(image_size=image_size).probe)
        shares = {concept: share for concepts in coverage.values() for concept, share in concepts.items()}
        assert len(shares) == 10 + 6 + 10
        outside = {name: share for name, share in shares.items() if not WINDOW[0] <= share <= WINDOW[1]}
        assert outside == {}

    def test_object_is_the_class_on_its_foreground(self, embedded):
        probe = embedded.probe
        expected = (probe.labels + 1)[:, None, None] * probe.foreground
        assert torch.equal(probe.concept_map("object").labels.long(), expected)

    def test_grey_bands_equal_the_slow_twin(self, embedded):
        concept = embedded.probe.concept_map("color")
        pixels = embedded.probe.images[:3, 0].flatten().tolist()
        for value, label in zip(pixels, concept.labels[:3].flatten().tolist(), strict=True):
            if value == 0:
                assert label == 0
            else:
                low, high = (int(bound) for bound in concept.names[label].removeprefix("grey ")[:-1].split("-"))
                assert low * 255 < 100 * value <= high * 255

    def test_all_of_the_foreground_has_a_grey(self, embedded):
        assert torch.equal(embedded.probe.concept_map("color").labels > 0, embedded.probe.foreground)

    def test_parts_equal_the_slow_twin(self, embedded):
        probe = embedded.probe
        for index in range(0, 60, 7):
            expected = slow_parts(probe.foreground[index].tolist())
            assert probe.concept_map("part").labels[index].tolist() == expected

    def test_a_silhouette_by_hand(self):
        # trousers: a waistband of two rows, two legs of three columns
        rows = ["........", ".######.", ".######.", ".######.", ".######.", ".##..##.", ".##..##.", ".##..##."]
        zones = fashion_mnist.silhouette_parts(torch.tensor([[[c == "#" for c in row] for row in rows]]))[0]
        names = fashion_mnist.PART_NAMES
        assert names[zones[1, 3]] == "top rim"
        assert names[zones[7, 1]] == "corner"  # bottom and left
        assert names[zones[4, 3]] == "bottom rim"  # the crotch: last pixels of its column
        assert names[zones[3, 1]] == "left rim"
        assert names[zones[3, 6]] == "right rim"
        assert names[zones[6, 3]] == "gap"
        assert names[zones[0, 3]] == "unlabelled"


def slow_parts(foreground: list[list[int]]) -> list[list[int]]:
    """The zones of one silhouette, pixel by pixel from the module's definition."""
    height, width = len(foreground), len(foreground[0])
    result = [[0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            column, row = [foreground[i][x] for i in range(height)], foreground[y]
            if not foreground[y][x]:
                result[y][x] = 6 if any(row[:x]) and any(row[x + 1 :]) else 0
                continue
            claims = [
                sum(column[: y + 1]) <= 2,
                sum(column[y:]) <= 2,
                sum(row[: x + 1]) <= 2,
                sum(row[x:]) <= 2,
            ]
            result[y][x] = 5 if sum(claims) > 1 else claims.index(True) + 1 if any(claims) else 0
    return result


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_train": 7001}, "n_train=7,001 exceeds the 7,000 images that n_val=1,000 leaves of the training part"),
            ({"n_test": 2001}, "n_test=2,001 exceeds the 2,000 images of the test part of the embedded Fashion-MNIST"),
            ({"n_probe": 9999}, "n_probe=9,999 exceeds the 2,000"),
            ({"image_size": 27}, "image_size=27 is below Fashion-MNIST's own 28"),
            ({"image_size": 32.5}, "image_size must be a whole number"),
            ({"root": "somewhere"}, "root='somewhere' is only read with full=True"),
            ({"full": True, "root": "no/such/folder"}, "there is no folder no/such/folder; give an existing one"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(KdlibError, match=message):
            fashion_mnist.load(**options)

    def test_damaged_embedded_file(self, tmp_path, monkeypatch):
        content = bytearray(fashion_mnist.EMBEDDED_FILE.read_bytes())
        content[len(content) // 2] ^= 1
        damaged = tmp_path / "subset.npz"
        damaged.write_bytes(content)
        monkeypatch.setattr(fashion_mnist, "EMBEDDED_FILE", damaged)
        with pytest.raises(KdlibError, match=r"subset.npz is damaged \(sha256 .*reinstall kdlib"):
            fashion_mnist.load()
        damaged.unlink()
        with pytest.raises(KdlibError, match=r"subset.npz is missing; .*reinstall kdlib"):
            fashion_mnist.load()


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def official(tmp_path, monkeypatch) -> Path:
    """A data root with a tiny set in the official layout, which the module takes for the official one."""
    generator = np.random.default_rng(0)
    folder = tmp_path / fashion_mnist.FOLDER
    folder.mkdir(parents=True)
    table = {}
    for prefix, count in (("train", 60), ("t10k", 20)):
        arrays = {
            f"{prefix}-images-idx3-ubyte": generator.integers(0, 256, (count, 28, 28)),
            f"{prefix}-labels-idx1-ubyte": np.arange(count) % 10,
        }
        for name, array in arrays.items():
            content = idx_bytes(array)
            (folder / name).write_bytes(content)
            table[name] = (len(content), hashlib.md5(content).hexdigest())
    monkeypatch.setattr(fashion_mnist, "OFFICIAL_FILES", table)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", refuse)


class TestOfficialFiles:
    def test_are_read(self, official):
        splits = fashion_mnist.load(full=True, root=official, n_val=20)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [40, 20, 20, 20]
        written = (official / fashion_mnist.FOLDER / "t10k-images-idx3-ubyte").read_bytes()[16:]
        assert splits.test.images.numpy().tobytes() == written
        assert splits.test.labels.tolist() == [i % 10 for i in range(20)]

    def test_are_read_as_torchvision_reads_them(self, official):
        for (images, labels), train in zip(fashion_mnist.read_official(official), (True, False), strict=True):
            oracle = torchvision.datasets.FashionMNIST(official, train=train)
            assert torch.equal(images, oracle.data)
            assert torch.equal(labels, oracle.targets)

    @pytest.mark.parametrize("content", [b"", b"PK\3\4 a zip", idx_bytes(np.zeros((2, 3)))[:-1]])
    def test_what_is_no_idx_file_is_told(self, content):
        with pytest.raises(KdlibError, match=r"odd is no idx file of bytes; delete it and run"):
            fashion_mnist._read_idx(content, Path("odd"))

    def test_are_found_in_the_data_root(self, official, monkeypatch):
        monkeypatch.setenv("KDLIB_DATA", str(official))
        assert len(fashion_mnist.load(full=True, n_val=20).test) == 20

    def test_half_download_is_told(self, official):
        path = official / fashion_mnist.FOLDER / "train-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(
            KdlibError, match=r"train-images-idx3-ubyte is a half download, 1,000 bytes .*delete it and"
        ):
            fashion_mnist.load(full=True, root=official, n_val=20)

    def test_damage_is_told(self, official):
        path = official / fashion_mnist.FOLDER / "t10k-labels-idx1-ubyte"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        with pytest.raises(KdlibError, match=r"t10k-labels-idx1-ubyte is damaged \(md5 .*kdlib data get fashion_mnist"):
            fashion_mnist.load(full=True, root=official, n_val=20)

    @pytest.mark.usefixtures("no_network")
    def test_misnamed_file_and_failed_download_are_one_sentence(self, official):
        path = official / fashion_mnist.FOLDER / "train-images-idx3-ubyte"
        path.rename(path.with_name("train-images.idx3-ubyte"))
        with pytest.raises(KdlibError) as error:
            fashion_mnist.load(full=True, root=official, n_val=20)
        message = str(error.value)
        assert "could not be downloaded" in message
        assert "no network" in message
        assert str(path.parent) in message
        assert "train-images-idx3-ubyte" in message
        assert path.with_name("train-images.idx3-ubyte").exists()  # what the user has is never removed
        assert "\n" not in message

    def test_unreadable_file_is_told(self, official):
        path = official / fashion_mnist.FOLDER / "train-labels-idx1-ubyte"
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(KdlibError, match=r"train-labels-idx1-ubyte cannot be read \(Permission denied\)"):
            fashion_mnist.load(full=True, root=official, n_val=20)
        official.chmod(0)
        try:
            with pytest.raises(KdlibError, match=r"cannot be reached \(Permission denied\); change the folder"):
                fashion_mnist.load(full=True, root=official, n_val=20)
        finally:
            official.chmod(0o755)

    def test_a_folder_in_place_of_a_file_is_told(self, official):
        path = official / fashion_mnist.FOLDER / "train-labels-idx1-ubyte"
        path.unlink()
        path.mkdir()
        with pytest.raises(KdlibError, match=r"train-labels-idx1-ubyte cannot be read \(Is a directory\)"):
            fashion_mnist.load(full=True, root=official, n_val=20)


class TestMakingTheEmbeddedFile:
    def test_equal_arrays_give_equal_bytes_that_numpy_reads(self, tmp_path):
        arrays = {"a": np.arange(12, dtype=np.uint8).reshape(3, 4), "b": np.array([7], dtype=np.uint16)}
        content = embed_fashion_mnist.pack(arrays)
        assert content == embed_fashion_mnist.pack({name: array.copy() for name, array in arrays.items()})
        path = tmp_path / "packed.npz"
        path.write_bytes(content)
        with np.load(path) as read:
            assert all(np.array_equal(read[name], array) for name, array in arrays.items())

    @needs_official
    def test_the_embedded_arrays_are_those_of_the_official_files(self):
        with np.load(fashion_mnist.EMBEDDED_FILE) as file:
            shipped = {name: file[name] for name in file.files}
        made = embed_fashion_mnist.make_arrays(OFFICIAL_ROOT)
        assert embed_fashion_mnist.content_hash(made) == embed_fashion_mnist.content_hash(shipped)


@needs_official
def test_the_full_set():
    splits = fashion_mnist.load(full=True, root=OFFICIAL_ROOT)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [55_000, 5_000, 10_000]
    assert torch.bincount(splits.val.labels).tolist() == [500] * 10
    assert splits.test.labels[:5].tolist() == [9, 2, 1, 1, 6]  # the first five of the official test labels
    shares = [s for concepts in concept_coverage(splits.probe).values() for s in concepts.values()]
    assert WINDOW[0] <= min(shares)
    assert max(shares) <= WINDOW[1]
