"""The door to all data sets: names, options, the data root, and what `kdlib data` tells and fetches."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from PIL import Image

from kdlib.data import cifar10, fashion_mnist
from kdlib.data.catalogue import dataset_info, get_dataset, list_datasets
from kdlib.data.registry import load
from kdlib.data.root import data_root
from kdlib.errors import KdlibError
from kdlib.names import DATA_SETS
from kdlib.vision import torchvision


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """No test here downloads, and the user's data root is not looked into."""

    def refuse(self):
        raise URLError("no network")

    def refuse_late(self):
        Path(self.raw_folder).mkdir(parents=True)
        refuse(self)

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", refuse_late)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", refuse)
    monkeypatch.setattr(torchvision.datasets.voc, "download_and_extract_archive", lambda *_, **__: refuse(None))
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "data"))


class TestDataRoot:
    def test_is_the_environment_variable(self, tmp_path):
        assert data_root() == tmp_path / "data"

    def test_a_root_that_is_given_goes_first(self):
        assert data_root("elsewhere") == Path("elsewhere")
        assert data_root("~/elsewhere") == Path.home() / "elsewhere"

    def test_home_is_understood(self, monkeypatch):
        monkeypatch.setenv("KDLIB_DATA", "~/sets")
        assert data_root() == Path.home() / "sets"

    @pytest.mark.parametrize("value", [None, ""])
    def test_default(self, monkeypatch, value):
        if value is None:
            monkeypatch.delenv("KDLIB_DATA")
        else:
            monkeypatch.setenv("KDLIB_DATA", value)
        assert data_root() == Path.home() / ".cache" / "kdlib" / "data"


class TestLoad:
    def test_passes_options_on(self):
        splits = load("fashion_mnist", n_train=30, n_val=10, n_test=20, n_probe=10, image_size=32)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [30, 10, 20, 10]
        assert splits.train.image_size == (32, 32)

    def test_needs_no_network_nor_data_root_for_what_ships_with_kdlib(self):
        assert len(load("fashion_mnist").train) == 7000
        assert not data_root().exists()

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("fashion-mnist", {}, "unknown data set 'fashion-mnist'; did you mean 'fashion_mnist'"),
            ("mnist", {}, r"unknown data set 'mnist'.*: concept_world, cells, .*, voc, cub, image_folder"),
            ("fashion_mnist", {"n_trian": 5}, "unknown fashion_mnist option 'n_trian'; did you mean 'n_train'"),
            ("cifar10", {"full": True}, "unknown cifar10 option 'full'"),
            ("image_folder", {}, "data set 'image_folder' needs the option root; give root="),
            ("garment_scenes", {"background": "plan"}, "unknown background 'plan'; did you mean 'plain'"),
            ("voc", {}, r"there is no VOCdevkit.VOC2012 in .*data; unpack VOCtrainval_11-May-2012.tar there \(`kdlib"),
            ("cub", {}, r"there is no CUB_200_2011 in .*data; unpack CUB_200_2011.tgz and segmentations.tgz there"),
            ("cifar10", {}, r"CIFAR-10 could not be downloaded \(.*no network.*\); put the unpacked folder"),
        ],
    )
    def test_mistakes_are_one_sentence(self, name, options, message):
        with pytest.raises(KdlibError, match=message):
            load(name, **options)

    @pytest.mark.parametrize("name", ["concept_world", "cells", "fashion_mnist", "garment_scenes"])
    def test_data_sets_that_need_no_file_hold_what_training_and_dissection_need(self, name):
        splits = load(name, n_train=40, n_val=20, n_test=20, n_probe=20)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [40, 20, 20, 20]
        assert splits.probe.concepts
        for part in (splits.train, splits.val, splits.test, splits.probe):
            assert part.images.dtype == torch.uint8
            assert part.foreground is not None
        again = load(name, n_train=40, n_val=20, n_test=20, n_probe=20)
        assert again.content_hash() == splits.content_hash()


class TestCatalogue:
    def test_lists_every_data_set_that_can_be_loaded(self):
        rows = {row.name: row for row in list_datasets()}
        assert {name.split()[0] for name in rows} == set(DATA_SETS)
        assert rows["fashion_mnist"].present
        assert not rows["fashion_mnist (full)"].present
        assert not any(rows[name].present for name in ("cifar10", "voc", "cub"))
        assert "MIT" in rows["fashion_mnist"].licence

    def test_sees_what_is_in_the_data_root(self):
        root = data_root()
        (root / cifar10.PYTHON_FOLDER).mkdir(parents=True)
        (root / fashion_mnist.FOLDER).mkdir(parents=True)
        for name in fashion_mnist.OFFICIAL_FILES:
            (root / fashion_mnist.FOLDER / name).touch()
        rows = {row.name: row for row in list_datasets()}
        assert rows["cifar10"].present
        assert rows["cifar10"].where == str(root / cifar10.PYTHON_FOLDER)
        assert rows["fashion_mnist (full)"].present
        assert not {row.name: row for row in list_datasets(root / "elsewhere")}["cifar10"].present

    def test_info_counts_and_names(self):
        info = dataset_info("fashion_mnist", n_train=20, n_probe=50)
        assert info.images == {"train": 20, "val": 1000, "test": 2000, "probe": 50}
        assert (info.image_size, info.channels, info.has_foreground) == ((28, 28), 1, True)
        assert info.classes["Bag"] == "bags"
        assert set(info.coverage) == {"object", "part", "color"}

    def test_coverage_equals_the_slow_twin(self):
        probe = load("fashion_mnist", n_probe=20).probe
        coverage = dataset_info("fashion_mnist", n_probe=20).coverage
        for concept in probe.concepts:
            pixels = concept.labels.flatten().tolist()
            for index, name in enumerate(concept.names[1:], start=1):
                assert coverage[concept.category][name] == pytest.approx(pixels.count(index) / len(pixels))

    def test_info_of_concept_world(self):
        info = dataset_info("concept_world", n_train=20, n_val=20, n_test=20, n_probe=20)
        assert len(info.classes) == 20
        assert len(set(info.classes.values())) == 5

    def test_info_of_a_folder(self, tmp_path):
        for index in range(4):
            name = ("cat", "dog")[index % 2]
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (0, 0, 60 * index)).save(tmp_path / "pets" / name / f"{index}.png")
        info = dataset_info("image_folder", root=tmp_path / "pets", image_size=8)
        assert info.images == {"train": 2, "val": 1, "test": 1, "probe": 1}
        assert info.classes == {"cat": "all", "dog": "all"}

    @pytest.mark.parametrize(
        ("name", "options"), [("cifar10", {}), ("cifar10", {"root": "elsewhere"}), ("fashion_mnist", {"full": True})]
    )
    def test_info_never_downloads(self, name, options):
        with pytest.raises(KdlibError, match=rf"{name} is not in .*; run `kdlib data get {name}`, or name its folder"):
            dataset_info(name, **options)

    def test_info_of_what_is_made_of_another_set_names_that_one(self):
        with pytest.raises(KdlibError, match=r"fashion_mnist is not in .*; run `kdlib data get fashion_mnist`"):
            dataset_info("garment_scenes", full=True)

    @pytest.mark.parametrize("name", ["voc", "cub"])
    def test_info_of_an_archive_that_is_not_there_says_which_one(self, name):
        with pytest.raises(KdlibError, match=r"there is no .* in .*; unpack .*\.t.* there"):
            dataset_info(name)

    @pytest.mark.parametrize("function", [dataset_info, get_dataset])
    def test_unknown_name(self, function):
        with pytest.raises(KdlibError, match="unknown data set 'cifar'; did you mean 'cifar10'"):
            function("cifar")


class TestGet:
    @pytest.mark.parametrize("name", ["concept_world", "cells", "garment_scenes", "image_folder"])
    def test_says_so_where_there_is_nothing_to_fetch(self, name):
        assert "nothing to fetch" in get_dataset(name)

    @pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "voc"])
    def test_failure_is_one_sentence_with_the_place_for_the_files(self, name, tmp_path):
        with pytest.raises(KdlibError, match="could not be downloaded") as error:
            get_dataset(name, tmp_path / "new")
        assert list((tmp_path / "new").iterdir()) == []
        assert str(tmp_path / "new") in str(error.value)
        assert "\n" not in str(error.value)

    def test_an_archive_that_is_fetched_by_hand_is_named_with_its_place(self, tmp_path):
        with pytest.raises(KdlibError, match=r"unpack CUB_200_2011.tgz and segmentations.tgz there \(www.vision"):
            get_dataset("cub", tmp_path)

    def test_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(KdlibError, match=r"the folder .*file.new cannot be made \(Not a directory\)"):
            get_dataset("cifar10", tmp_path / "file" / "new")

    def test_what_is_there_is_verified_not_believed(self):
        folder = data_root() / cifar10.BINARY_FOLDER
        folder.mkdir(parents=True)
        (folder / "data_batch_1.bin").write_bytes(b"half")
        with pytest.raises(KdlibError, match=r"data_batch_1.bin is a half download, 4 bytes instead of 30,730,000"):
            get_dataset("cifar10")
