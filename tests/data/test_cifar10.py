"""CIFAR-10 from either official layout, verified before it is believed; tiny files stand in for the real ones."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch

from kdlib.data import cifar10
from kdlib.data.catalogue import concept_coverage
from kdlib.errors import KdlibError
from kdlib.vision import torchvision

OFFICIAL_ROOT = Path(os.environ.get("KDLIB_DATA", "no data root"))
needs_official = pytest.mark.skipif(
    cifar10.present_folder(OFFICIAL_ROOT) is None, reason="$KDLIB_DATA holds no CIFAR-10"
)
PER_FILE = 20
SMALL = {"n_val": 20}


def record_files() -> dict[str, np.ndarray]:
    """Six files of records: one label byte and 3072 pixel bytes each."""
    generator = np.random.default_rng(0)
    files = {}
    for name in (*cifar10.TRAIN_FILES, *cifar10.TEST_FILES):
        pixels = generator.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)
        files[name] = np.concatenate([(np.arange(PER_FILE, dtype=np.uint8) % 10)[:, None], pixels], 1)
    return files


@pytest.fixture
def binary(tmp_path, monkeypatch) -> Path:
    """A data root in the official binary layout, with the checksums the module expects."""
    folder = tmp_path / cifar10.BINARY_FOLDER
    folder.mkdir()
    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", PER_FILE)
    digests = {}
    for name, records in record_files().items():
        (folder / name).write_bytes(records.tobytes())
        digests[name] = hashlib.md5(records.tobytes()).hexdigest()
    monkeypatch.setattr(cifar10, "BINARY_MD5", digests)
    return tmp_path


@pytest.fixture
def python_folder(tmp_path, monkeypatch) -> Path:
    """The same data in torchvision's layout."""
    folder = tmp_path / cifar10.PYTHON_FOLDER
    folder.mkdir()

    def write(name: str, content: dict) -> tuple[str, str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    entries = [
        write(name.removesuffix(".bin"), {"data": records[:, 1:], "labels": records[:, 0].tolist()})
        for name, records in record_files().items()
    ]
    reader = torchvision.datasets.CIFAR10
    _, meta_md5 = write("batches.meta", {"label_names": list(cifar10.CLASS_NAMES)})
    monkeypatch.setattr(reader, "train_list", entries[:5])
    monkeypatch.setattr(reader, "test_list", entries[5:])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": meta_md5})
    return tmp_path


class TestBinaryVersion:
    def test_every_byte_lands_where_the_format_says(self, binary):
        splits = cifar10.load(binary, **SMALL)
        records = record_files()["test_batch.bin"]
        assert splits.test.labels.tolist() == records[:, 0].tolist()
        for index, channel, y, x in ((0, 0, 0, 0), (3, 1, 5, 7), (19, 2, 31, 31)):
            assert splits.test.images[index, channel, y, x] == records[index, 1 + 1024 * channel + 32 * y + x]

    def test_splits(self, binary):
        splits = cifar10.load(binary, **SMALL)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [80, 20, 20, 20]
        assert torch.bincount(splits.val.labels).tolist() == [2] * 10
        assert splits.train.foreground is None
        vehicles = [
            name for name, owner in zip(cifar10.CLASS_NAMES, splits.train.superclass_of, strict=True) if not owner
        ]
        assert vehicles == ["airplane", "automobile", "ship", "truck"]

    def test_seed_decides_what_is_val_and_never_what_is_test(self, binary):
        one, again, other = (cifar10.load(binary, seed=seed, **SMALL) for seed in (0, 0, 1))
        assert one.content_hash() == again.content_hash()
        assert one.val.content_hash() != other.val.content_hash()
        assert one.test.content_hash() == other.test.content_hash()

    def test_smaller_counts(self, binary):
        splits = cifar10.load(binary, n_train=30, n_val=10, n_test=20, n_probe=10)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [30, 10, 20, 10]
        assert torch.bincount(splits.train.labels).tolist() == [3] * 10

    def test_concepts_are_the_colours_of_the_test_images(self, binary):
        splits = cifar10.load(binary, **SMALL)
        assert torch.equal(splits.probe.images, splits.test.images)
        assert [concept.category for concept in splits.probe.concepts] == ["color"]
        assert sum(concept_coverage(splits.probe)["color"].values()) == pytest.approx(1)

    def test_is_found_in_the_data_root(self, binary, monkeypatch):
        monkeypatch.setenv("KDLIB_DATA", str(binary))
        assert len(cifar10.load(**SMALL).test) == 20

    def test_image_size_resizes(self, binary):
        splits = cifar10.load(binary, image_size=16, **SMALL)
        assert splits.train.image_size == (16, 16)
        assert splits.probe.concept_map("color").labels.shape == (20, 16, 16)
        flat = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
        assert torch.equal(cifar10._resize(flat, 48), torch.full((2, 3, 48, 48), 77, dtype=torch.uint8))

    def test_list_of_class_names_is_checked_if_it_is_there(self, binary):
        path = binary / cifar10.BINARY_FOLDER / cifar10.NAMES_FILE
        path.write_text("\n".join(cifar10.CLASS_NAMES) + "\n\n")
        cifar10.load(binary, **SMALL)
        path.write_text("apple\nbear\n")
        with pytest.raises(KdlibError, match=r"batches.meta.txt names other classes \(apple, bear\) than CIFAR-10"):
            cifar10.load(binary, **SMALL)


class TestPythonVersion:
    def test_gives_the_same_data_as_the_binary_one(self, binary, python_folder):
        from_binary = cifar10.load(binary, **SMALL)
        for file in (binary / cifar10.BINARY_FOLDER).iterdir():
            file.unlink()
        (binary / cifar10.BINARY_FOLDER).rmdir()
        from_python = cifar10.load(python_folder, **SMALL)
        assert from_python.content_hash() == from_binary.content_hash()
        assert from_python.test.content_hash() == from_binary.test.content_hash()

    @pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
    def test_nothing_is_unpickled_before_it_is_verified(self, python_folder, tmp_path, name):
        trace = tmp_path / "code ran"

        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(trace),)

        (python_folder / cifar10.PYTHON_FOLDER / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(KdlibError, match=rf"{name} is damaged \(md5 .*delete the whole folder and run"):
            cifar10.load(python_folder, **SMALL)
        assert not trace.exists()

    def test_missing_file_is_told(self, python_folder):
        (python_folder / cifar10.PYTHON_FOLDER / "data_batch_2").unlink()
        with pytest.raises(KdlibError, match="data_batch_2 is missing; put back the official file, or delete"):
            cifar10.load(python_folder, **SMALL)


class TestRefusals:
    def test_missing_file(self, binary):
        (binary / cifar10.BINARY_FOLDER / "data_batch_4.bin").unlink()
        with pytest.raises(KdlibError, match=r"data_batch_4.bin is missing; put back the official file"):
            cifar10.load(binary, **SMALL)

    def test_half_download(self, binary):
        path = binary / cifar10.BINARY_FOLDER / "test_batch.bin"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(KdlibError, match=r"test_batch.bin is a half download, 61,360 bytes instead of 61,460"):
            cifar10.load(binary, **SMALL)

    def test_damaged_file(self, binary):
        path = binary / cifar10.BINARY_FOLDER / "data_batch_1.bin"
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(KdlibError, match=r"data_batch_1.bin is damaged \(md5"):
            cifar10.load(binary, **SMALL)

    def test_label_out_of_range(self, binary):
        path = binary / cifar10.BINARY_FOLDER / "data_batch_1.bin"
        content = b"\x0b" + path.read_bytes()[1:]
        path.write_bytes(content)
        cifar10.BINARY_MD5["data_batch_1.bin"] = hashlib.md5(content).hexdigest()
        with pytest.raises(KdlibError, match=r"data_batch_1.bin holds class label 11, but CIFAR-10 has labels 0 to 9"):
            cifar10.load(binary, **SMALL)

    def test_unreadable_file(self, binary):
        path = binary / cifar10.BINARY_FOLDER / "data_batch_1.bin"
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(KdlibError, match=r"data_batch_1.bin cannot be read \(Permission denied\)"):
            cifar10.load(binary, **SMALL)
        binary.chmod(0)
        try:
            with pytest.raises(KdlibError, match=r"cannot be reached \(Permission denied\); change the folder"):
                cifar10.load(binary, **SMALL)
        finally:
            binary.chmod(0o755)

    def test_wrong_folder(self, binary, tmp_path):
        with pytest.raises(KdlibError, match=r"there is no folder .*nowhere; give an existing one as root"):
            cifar10.load(tmp_path / "nowhere")
        with pytest.raises(KdlibError, match=rf"root must be the folder above cifar-10-batches-bin: give {binary}"):
            cifar10.load(binary / cifar10.BINARY_FOLDER)

    def test_more_images_than_there_are(self, binary):
        with pytest.raises(KdlibError, match="n_train=81 exceeds the 80 images that n_val=20 leaves"):
            cifar10.load(binary, n_train=81, **SMALL)

    def test_failed_download_says_where_to_put_the_files(self, tmp_path, monkeypatch):
        def refuse(self):
            raise URLError("no network")

        monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", refuse)
        with pytest.raises(KdlibError) as error:
            cifar10.load(tmp_path)
        message = str(error.value)
        assert "no network" in message
        assert f"put the unpacked folder cifar-10-batches-bin or cifar-10-batches-py into {tmp_path}" in message
        assert "\n" not in message


@needs_official
def test_the_real_files():
    splits = cifar10.load(OFFICIAL_ROOT)
    assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [
        45_000,
        5_000,
        10_000,
        10_000,
    ]
    for part in (splits.train, splits.val, splits.test):
        assert torch.bincount(part.labels).tolist() == [len(part) // 10] * 10
    mean, deviation = splits.train.channel_statistics()
    # CIFAR-10's well-known statistics
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.002)
    assert deviation == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.002)
    shares = concept_coverage(splits.probe)["color"]
    # The module's docstring: four colours are too common to be detected, all others can be.
    assert {name for name, share in shares.items() if share > 0.10} == {"black", "brown", "grey", "white"}
    assert min(shares.values()) > 0.00025
