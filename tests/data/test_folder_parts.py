"""Parts by any of their names, classes that are called like one, and everything between, which is refused."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import paint, plant

from kdlib.data import image_folder
from kdlib.data.folder_parts import PART_NAMES, find_parts, part_of, split_listings
from kdlib.data.folder_stream import FolderStream, stream_splits
from kdlib.errors import KdlibError

CLASSES = ("cat", "dog", "emu")


def plant_parts(root: Path, *parts: str, count: int = 4, classes=CLASSES) -> Path:
    for number, part in enumerate(parts):
        plant(root / part, dict.fromkeys(classes, count), 1000 * number)
    return root


def counts(root: Path) -> tuple[int, ...]:
    return tuple(len(listing.paths) for listing in split_listings(root, 0, None, None, None).values())


class TestNames:
    @pytest.mark.parametrize("train", ["train", "Train", "TRAINING", "training_set", "trainset", "Train Images"])
    @pytest.mark.parametrize("val", ["val", "valid", "Validation", "DEV", "val-data"])
    def test_parts_are_known_by_their_usual_names(self, tmp_path, train, val):
        plant_parts(tmp_path, train, val, "Testing", count=2)
        assert counts(tmp_path) == (6, 6, 6)
        assert split_listings(tmp_path, 0, None, None, None)["train"].class_names == CLASSES

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from([(part, name) for part, known in PART_NAMES.items() for name in known]), st.data())
    def test_in_any_case(self, known, data):
        part, name = known
        assert part_of("".join(data.draw(st.sampled_from([sign, sign.upper()])) for sign in name)) == part

    @pytest.mark.parametrize("name", ["trains", "trainer", "vale", "devil", "testament", "cat", "", "test2", "contest"])
    def test_other_words_are_none(self, name):
        assert part_of(name) is None

    def test_streams_read_the_same_parts_and_the_superclasses_above(self, tmp_path):
        plant_parts(tmp_path, "Training", "valid", "TEST")
        (tmp_path / "superclasses.csv").write_text("class,superclass\ncat,animal\ndog,animal\nemu,bird\n")
        splits = stream_splits(tmp_path, image_size=8)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [12, 12, 12]
        assert FolderStream(tmp_path / "valid", image_size=8).superclass_of == (0, 0, 1)

    def test_a_stream_of_all_parts_is_none(self, tmp_path):
        plant_parts(tmp_path, "train", "val")
        paint(tmp_path / "train" / "stray.png", 9000)
        with pytest.raises(
            KdlibError, match=r"holds the parts train, val; give the folder of one, or use stream_splits"
        ):
            FolderStream(tmp_path)

    def test_a_stream_of_a_part_without_all_classes_of_train_says_so(self, tmp_path):
        plant_parts(tmp_path, "train")
        plant_parts(tmp_path, "val", classes=CLASSES[1:])
        with pytest.warns(UserWarning, match=r"holds 1 classes of train less than there, so that labels are others"):
            FolderStream(tmp_path / "val")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert FolderStream(tmp_path / "val", class_names=CLASSES).labels.unique().tolist() == [1, 2]

    def test_two_folders_of_one_part_are_refused(self, tmp_path):
        plant_parts(tmp_path, "train", "val", "dev")
        with pytest.raises(KdlibError, match=r"the folders dev and val of .* are both its val part; join them"):
            counts(tmp_path)

    def test_pictures_beside_the_parts_are_told(self, tmp_path):
        plant_parts(tmp_path, "train", "test")
        paint(tmp_path / "stray.png", 9000)
        with pytest.warns(UserWarning, match=rf"holds 1 pictures right in {tmp_path.name}, of no class \(not read\)"):
            counts(tmp_path)

    def test_a_count_that_is_none(self, tmp_path):
        plant(tmp_path, {"cat": 4, "dog": 4})
        with pytest.raises(KdlibError, match=r"n_test must be a whole number of at least 1, not array"):
            split_listings(tmp_path, 0, None, None, np.array([1, 2]))

    def test_parts_of_unknown_names_whose_classes_are_written_differently_are_refused(self, tmp_path):
        plant_parts(tmp_path, "entrenamiento", classes=("Cat", "Dog"))
        plant_parts(tmp_path, "prueba", classes=("cat", "dog"))
        with pytest.raises(KdlibError, match=r"entrenamiento and prueba in .* hold no picture but the same folders, "):
            counts(tmp_path)
        shutil.move(tmp_path / "entrenamiento", tmp_path / "train")
        plant_parts(tmp_path, "test", classes=("Cat", "Dog"))
        with pytest.raises(KdlibError, match=r"beside the part train of .* lies prueba, which is no part by its name"):
            counts(tmp_path)

    def test_a_hidden_part_is_none(self, tmp_path):
        plant_parts(tmp_path, "train", "test", ".val")
        assert counts(tmp_path)[2] == 12


class TestClassesCalledLikeParts:
    @pytest.mark.parametrize("name", ["train", "test", "dev", "Validation"])
    def test_with_pictures_right_in_them_are_classes(self, tmp_path, name):
        plant(tmp_path, {"bus": 4, "car": 4, name: 4})
        assert set(split_listings(tmp_path, 0, None, None, None)["train"].class_names) == {"bus", "car", name}

    def test_with_folders_in_them_beside_classes_are_refused(self, tmp_path):
        plant(tmp_path, {"bus": 4, "car": 4})
        plant(tmp_path / "train", {"steam": 4, "electric": 4})
        with pytest.raises(KdlibError, match=r"beside the part train of .* lies bus, which is no part by its name"):
            counts(tmp_path)

    @pytest.mark.parametrize(
        "folders",
        [
            ["seg_train/seg_train/cat", "seg_train/seg_train/dog", "seg_test/seg_test/cat", "seg_pred"],
            ["train2017/cat", "train2017/dog", "test2017"],
            ["x-Train/cat", "x-Train/dog", "x-Valid/cat"],
            ["cats_train", "cats_test", "dogs_train", "dogs_test"],
            ["trainA", "trainB", "testA", "testB"],
        ],
    )
    def test_by_a_part_of_their_names_are_refused(self, tmp_path, folders):
        plant(tmp_path, dict.fromkeys(folders, 3))
        with pytest.raises(KdlibError, match=r" and .* are called like parts, and are none by these names; call them"):
            counts(tmp_path)

    def test_even_with_a_stray_picture_in_them(self, tmp_path):
        plant_parts(tmp_path, "train2017", "val2017")
        paint(tmp_path / "train2017" / "stray.png", 9000)
        with pytest.raises(KdlibError, match=r"train2017 and val2017 of .* are called like parts"):
            counts(tmp_path)

    def test_by_one_word_of_two_are_classes(self, tmp_path):
        plant(tmp_path, {"train_station": 4, "test_tube": 4, "bus_station": 4})
        assert len(split_listings(tmp_path, 0, None, None, None)["train"].class_names) == 3

    def test_parts_below_a_class_are_refused(self, tmp_path):
        plant(tmp_path, {"cat/train": 4, "cat/test": 4, "dog": 4})
        with pytest.raises(KdlibError, match=r"folder cat of .* holds the parts test and train; give .*cat if they"):
            counts(tmp_path)

    def test_in_every_part(self, tmp_path):
        plant_parts(tmp_path, "train", "test", classes=("bus", "train"))
        assert split_listings(tmp_path, 0, None, None, None)["test"].class_names == ("bus", "train")

    def test_parts_without_class_folders_are_refused(self, tmp_path):
        plant(tmp_path, {"train": 4, "test": 4})
        with pytest.raises(KdlibError, match=r"holds test and train without class folders in them"):
            counts(tmp_path)


class TestWhatLiesBeside:
    def test_another_folder_of_the_same_classes_is_refused(self, tmp_path):
        plant_parts(tmp_path, "train", "test", "holdout")
        with pytest.raises(
            KdlibError, match=r"lies holdout, which is no part by its name and would not be read; call it"
        ):
            counts(tmp_path)

    def test_other_pictures_are_told(self, tmp_path):
        plant_parts(tmp_path, "train", "test")
        plant(tmp_path, {"unlabelled": 3}, 9000)
        paint(tmp_path / "train" / "loose.png", 9100)
        (tmp_path / "docs").mkdir()
        (tmp_path / "val.zip").write_bytes(b"x")
        with pytest.warns(
            UserWarning, match=r"holds .*folder of pictures beside the parts, unlabelled \(not read\)"
        ) as caught:
            counts(tmp_path)
        assert "1 pictures right in" in str(caught[0].message) and len(caught) == 1
        assert "1 archives right in" in str(caught[0].message)

    def test_a_class_that_a_part_lacks_is_told(self, tmp_path):
        plant_parts(tmp_path, "train", "val")
        plant_parts(tmp_path, "test", classes=CLASSES[:2])
        with pytest.warns(UserWarning, match=r"holds 1 classes of train without a picture in test$"):
            counts(tmp_path)

    def test_a_test_without_labels_is_refused(self, tmp_path):
        """As ImageNet's."""
        plant_parts(tmp_path, "train", "val")
        plant(tmp_path, {"test": 3})
        with pytest.raises(KdlibError, match=r"test holds no class folders but pictures"):
            counts(tmp_path)

    def test_one_folder_linked_as_two_parts_is_refused(self, tmp_path):
        plant_parts(tmp_path, "train")
        (tmp_path / "test").symlink_to("train")
        with pytest.raises(KdlibError, match=r"is the same folder as"):
            counts(tmp_path)

    def test_parts_that_are_linked_from_elsewhere_are_read(self, tmp_path):
        plant_parts(tmp_path / "disk", "a", "b")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "train").symlink_to(tmp_path / "disk" / "a")
        (tmp_path / "data" / "test").symlink_to("../disk/b")
        assert counts(tmp_path / "data") == (11, 1, 12)


class TestTooFew:
    def test_a_single_class_is_refused(self, tmp_path):
        plant(tmp_path, {"cat": 9})
        for load in (image_folder.load, stream_splits):
            with pytest.raises(KdlibError, match=r"holds one class only, 'cat', and at least 2 are needed; give the"):
                load(tmp_path)

    def test_and_so_is_the_wrapper_of_parts(self, tmp_path):
        plant_parts(tmp_path / "archive", "train", "test")
        with pytest.raises(KdlibError, match=rf"'archive', .* but the folders test, train; give {tmp_path}/archive"):
            find_parts(tmp_path)
            counts(tmp_path)

    @pytest.mark.parametrize("sizes", [(1, 1), (2, 1), (1, 1, 1)])
    def test_pictures_of_one_class_left_to_train_on_are_refused(self, tmp_path, sizes):
        plant(tmp_path, dict(zip(CLASSES, sizes, strict=False)))
        with pytest.raises(KdlibError, match=r"has [01] pictures of [01] of its . classes to train on, and at least 2"):
            counts(tmp_path)

    def test_so_they_are_where_val_takes_the_rest(self, tmp_path):
        plant_parts(tmp_path, "train", "test", count=1, classes=CLASSES[:2])
        with pytest.raises(KdlibError, match=r"besides val and test, .*train has 1 pictures of 1 of its 2 classes"):
            counts(tmp_path)

    def test_a_test_of_all_is_refused_by_its_number(self, tmp_path):
        plant(tmp_path, {"cat": 4, "dog": 4})
        with pytest.raises(KdlibError, match=r"n_test=8 leaves none of the 8 images of .* to train on; give fewer"):
            split_listings(tmp_path, 0, None, None, 8)

    def test_classes_without_a_picture_to_train_on_are_told(self, tmp_path):
        plant(tmp_path / "few", {f"c{number}": 1 for number in range(20)})
        with pytest.warns(
            UserWarning, match=r"^no picture of 'c\d+', 'c\d+', 'c\d+' and \d more of .*few is among the 14 "
        ):
            counts(tmp_path / "few")
        plant_parts(tmp_path / "parts", "train", "val", "test", classes=CLASSES[:2])
        with pytest.warns(
            UserWarning, match=r"no picture of '(cat|dog)' of .*train is among the 1 to train on, .* learn it"
        ):
            split_listings(tmp_path / "parts", 0, 1, None, None)

    def test_nothing_is_told_of_a_plain_tree(self, tmp_path):
        plant(tmp_path, {"cat": 5, "dog": 5})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image_folder.load(tmp_path, image_size=8)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=4), st.integers(0, 2**31))
def test_a_tree_that_is_split_loses_nothing_and_has_nothing_twice(tmp_path_factory, sizes, seed):
    root = tmp_path_factory.mktemp("tree")
    for name, size in zip("abcd", sizes, strict=False):
        (root / name).mkdir()
        for index in range(size):
            (root / name / f"{index}.png").write_bytes(b"never opened")
    try:
        parts = split_listings(root, seed, None, None, None)
    except KdlibError as error:
        assert sum(sizes) < 6 and "besides val and test" in str(error)
        return
    paths = [path for listing in parts.values() for path in listing.paths]
    assert len(paths) == len(set(paths)) == sum(sizes)
    for listing in parts.values():
        assert [listing.class_names[label] for label in listing.labels.tolist()] == [
            Path(path).parent.name for path in listing.paths
        ]
