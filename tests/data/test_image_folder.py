"""Trees of photographs: both layouts, the splits they give, and one sentence for whatever is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import paint, plant
from PIL import Image

from kdlib.data import image_folder
from kdlib.data.class_tree import list_images
from kdlib.errors import KdlibError

COUNTS = {"cat": 20, "dog": 20, "truck": 10}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("pets"), COUNTS)


@pytest.fixture
def own_tree(tmp_path) -> Path:
    """A small tree of its own for tests that damage it."""
    return plant(tmp_path / "pets", {"cat": 6, "dog": 6})


def images_of(*parts) -> set[bytes]:
    return {image.numpy().tobytes() for part in parts for image in part.images}


class TestOneFolderPerClass:
    def test_is_split_class_by_class_with_nothing_in_two_parts(self, tree):
        splits = image_folder.load(tree, image_size=8)
        assert splits.train.class_names == ("cat", "dog", "truck")
        assert torch.bincount(splits.test.labels).tolist() == [4, 4, 2]  # a fifth
        assert torch.bincount(splits.val.labels).tolist() == pytest.approx(
            [1.6, 1.6, 0.8], abs=1
        )  # a tenth of the rest
        assert len(splits.train) + len(splits.val) + len(splits.test) == 50
        assert len(images_of(splits.train, splits.val, splits.test)) == 50

    def test_images_are_rgb_of_the_size_asked_for(self, tree):
        splits = image_folder.load(tree, image_size=8)
        assert splits.train.images.shape[1:] == (3, 8, 8)
        assert image_folder.load(tree, n_train=2, n_val=2, n_test=2).train.image_size == (64, 64)

    def test_seed_decides_the_split(self, tree):
        one, again, other = (image_folder.load(tree, image_size=8, seed=seed) for seed in (0, 0, 1))
        assert one.content_hash() == again.content_hash()
        assert one.content_hash() != other.content_hash()

    def test_counts(self, tree):
        splits = image_folder.load(tree, image_size=8, n_train=10, n_val=5, n_test=15, n_probe=5)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [10, 5, 15, 5]
        assert torch.bincount(splits.train.labels).tolist() == [4, 4, 2]
        assert images_of(splits.probe) <= images_of(splits.test)

    def test_probe_bears_the_colours_of_its_pixels(self, tree):
        probe = image_folder.load(tree, image_size=8).probe
        assert probe.concept_map("color").labels.shape == (10, 8, 8)
        assert int(probe.concept_map("color").labels.min()) > 0

    def test_everything_belongs_to_one_superclass_unless_said(self, tree):
        train = image_folder.load(tree, image_size=8).train
        assert (train.superclass_names, train.superclass_of) == (("all",), (0, 0, 0))

    def test_short_side_is_resized_and_the_centre_cut_out(self, tmp_path):
        # left third red, middle green, right blue: the square centre of a 3:1 image is all green
        pixels = np.zeros((30, 90, 3), np.uint8)
        for third in range(3):
            pixels[:, 30 * third : 30 * (third + 1), third] = 255
        for name in ("a.png", "b.png", "c.png"):
            for flag in ("one", "other"):
                (tmp_path / flag).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / flag / name)
        image = image_folder.load(tmp_path, image_size=30).train.images[0]
        assert image.flatten(1).float().mean(1).tolist() == [0, 255, 0]

    @pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("P", "png"), ("RGBA", "png"), ("RGB", "JPG")])
    def test_grey_palette_transparent_and_jpeg_files_are_read(self, tmp_path, mode, suffix):
        for index in range(3):
            for number, thing in enumerate(("one", "other")):
                paint(tmp_path / thing / f"{index}.{suffix}", 10 * index + number, mode=mode)
        assert len(image_folder.load(tmp_path, image_size=8).train) == 4


class TestSplitTree:
    def test_the_split_that_is_there_is_kept(self, tmp_path):
        for seed, (part, count) in enumerate({"train": 6, "val": 2, "test": 3}.items()):
            plant(tmp_path / part, {"cat": count, "dog": count}, 100 * seed)
        splits = image_folder.load(tmp_path, image_size=8)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [12, 4, 6]
        assert len(images_of(splits.train, splits.val, splits.test)) == 22

    def test_a_lone_val_folder_is_the_test_and_selection_gets_its_own(self, tmp_path):
        plant(tmp_path / "train", {"cat": 10, "dog": 10})
        plant(tmp_path / "val", {"cat": 3, "dog": 3}, 100)
        splits = image_folder.load(tmp_path, image_size=8)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [18, 2, 6]
        reported = image_folder._decode_all(list_images(tmp_path / "val"), 8)
        assert torch.equal(splits.test.images, reported)
        assert not images_of(splits.test) & images_of(splits.train, splits.val)

    def test_a_lone_train_folder_is_split(self, tmp_path):
        plant(tmp_path / "train", {"cat": 10, "dog": 10})
        splits = image_folder.load(tmp_path, image_size=8)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [14, 2, 4]

    def test_labels_follow_the_classes_of_train(self, tmp_path):
        plant(tmp_path / "train", {"ant": 5, "bee": 5, "cow": 5})
        plant(tmp_path / "test", {"cow": 2, "bee": 1}, 100)
        assert image_folder.load(tmp_path, image_size=8).test.labels.tolist() == [1, 2, 2]

    def test_a_class_that_train_lacks_is_refused(self, tmp_path):
        plant(tmp_path / "train", {"cat": 5, "dog": 5})
        plant(tmp_path / "test", {"cat": 1, "dgo": 1})
        with pytest.raises(KdlibError, match=r"unknown class folder in .*test 'dgo'; did you mean 'dog'"):
            image_folder.load(tmp_path)

    def test_without_train_it_is_refused(self, tmp_path):
        plant(tmp_path / "val", {"cat": 2})
        with pytest.raises(KdlibError, match=r"holds a val or test folder but no train folder; add .*train"):
            image_folder.load(tmp_path)


class TestSuperclasses:
    def test_are_read(self, own_tree):
        plant(own_tree, {"truck": 6}, 50)
        (own_tree / "superclasses.csv").write_text("class,superclass\ntruck, vehicle\n\ncat,animal\ndog,animal\n")
        train = image_folder.load(own_tree, image_size=8).train
        assert train.superclass_names == ("animal", "vehicle")
        assert train.superclass_of == (0, 0, 1)
        assert train.siblings(0) == [1]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("class,superclass\ncat,animal\n", r"superclasses.csv gives no superclass to class 'dog'; add a line"),
            ("class,superclass\ncat,a\ndgo,a\n", r"unknown class in .*superclasses.csv 'dgo'; did you mean 'dog'"),
            ("cat,animal\ndog,animal\n", r"superclasses.csv must hold the header 'class,superclass'"),
            ("class,superclass\ncat\ndog,animal\n", r"superclasses.csv must hold .* two cells a line"),
            ("", r"superclasses.csv must hold the header"),
        ],
    )
    def test_mistakes_are_told(self, own_tree, text, message):
        (own_tree / "superclasses.csv").write_text(text)
        with pytest.raises(KdlibError, match=message):
            image_folder.load(own_tree, image_size=8)

    def test_a_file_that_is_no_text_is_told(self, own_tree):
        (own_tree / "superclasses.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(KdlibError, match=r"superclasses.csv is UTF-16 text; save it as UTF-8"):
            image_folder.load(own_tree, image_size=8)


class TestRefusals:
    def test_no_folder(self, tmp_path):
        with pytest.raises(KdlibError, match=r"there is no folder .*nowhere; give the folder that holds one folder"):
            image_folder.load(tmp_path / "nowhere")

    def test_a_file_as_root(self, own_tree):
        with pytest.raises(KdlibError, match=r"000.png is a file; give the folder"):
            image_folder.load(own_tree / "cat" / "000.png")

    def test_empty_folder(self, tmp_path):
        with pytest.raises(
            KdlibError, match=r"holds no class folders; give the folder that holds one folder of images"
        ):
            image_folder.load(tmp_path)

    def test_a_class_folder_as_root(self, own_tree):
        with pytest.raises(KdlibError, match=r"cat holds no class folders"):
            image_folder.load(own_tree / "cat")

    def test_empty_class(self, own_tree):
        (own_tree / "bird").mkdir()
        (own_tree / "bird" / "notes.txt").write_text("no image")
        with pytest.raises(
            KdlibError,
            match=r"folder .*bird holds no image \(.*.png.*\) but 1 .txt files .not read.; put some in or remove it",
        ):
            image_folder.load(own_tree)

    @pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
    def test_a_file_that_is_no_whole_image(self, own_tree, damage):
        path = own_tree / "dog" / "003.png"
        whole = path.read_bytes()
        path.write_bytes({"text": b"not an image", "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
        with pytest.raises(KdlibError, match=r"dog.003.png holds no whole image \(PNG, .* or PPM\); replace or remove"):
            image_folder.load(own_tree, image_size=8)

    def test_unreadable(self, own_tree):
        path = own_tree / "dog" / "003.png"
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(KdlibError, match=r"003.png cannot be read \(Permission denied\)"):
            image_folder.load(own_tree, image_size=8)
        for folder in (own_tree / "dog", own_tree, own_tree.parent):
            folder.chmod(0)
            try:
                with pytest.raises(KdlibError, match=r"(dog|pets) cannot be re.* \(Permission denied\); change"):
                    image_folder.load(own_tree, image_size=8)
            finally:
                folder.chmod(0o755)

    def test_too_many_for_memory_before_any_is_decoded(self, own_tree):
        (own_tree / "dog" / "003.png").write_bytes(b"would fail if it were decoded")
        refusal = (
            r"the 12 images of .*pets take 0.0017 GiB at image_size=224, more than memory_limit=0.001; "
            r"give a smaller image_size or n_train, or read them with FolderStream"
        )
        with pytest.raises(KdlibError, match=refusal):
            image_folder.load(own_tree, image_size=224, memory_limit=0.001)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_train": 10}, r"n_train=10 exceeds the 9 images that n_val=1 leaves of .*pets"),
            ({"n_test": 13}, r"n_test=13 exceeds the 12 images of .*pets"),
            ({"n_probe": 3}, r"n_probe=3 exceeds the 2 images of the test part of .*pets"),
            ({"image_size": 0}, r"image_size must be a whole number from 1 to 13377, not 0"),
            ({"image_size": 10**400}, r"image_size must be a whole number from 1 to 13377, not 1000"),
            ({"memory_limit": 0}, r"memory_limit must be a finite number greater than 0"),
        ],
    )
    def test_options(self, own_tree, options, message):
        with pytest.raises(KdlibError, match=message):
            image_folder.load(own_tree, **options)
