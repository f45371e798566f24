"""Which files of a class tree are pictures of which class, and what is told of the others."""

from __future__ import annotations

import os
import shutil
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import paint, plant

from kdlib.data.class_tree import in_one_line, list_images
from kdlib.data.folder_parts import find_parts
from kdlib.errors import KdlibError
from kdlib.vision import torchvision


@pytest.fixture
def tree(tmp_path) -> Path:
    return plant(tmp_path / "pets", {"cat": 4, "dog": 3})


def names(listing) -> list[str]:
    return [Path(path).relative_to(listing.folder).as_posix() for path in listing.paths]


def told(listing) -> str:
    return in_one_line(listing.remarks)


class TestWhatIsRead:
    def test_a_plain_tree_in_torchvisions_order_and_nothing_to_tell(self, tree):
        listing = list_images(tree)
        assert [(path, label) for path, label in zip(listing.paths, listing.labels.tolist(), strict=True)] == (
            torchvision.datasets.ImageFolder(str(tree)).samples
        )
        assert told(listing) == ""

    def test_subfolders_of_a_class_are_read_in_torchvisions_order_and_told(self, tree):
        paint(tree / "cat" / "b" / "deep" / "1.png", 50)
        paint(tree / "cat" / "a.b" / "2.PNG", 51)
        paint(tree / "cat" / "zz.png", 52)
        listing = list_images(tree)
        assert listing.paths == tuple(path for path, _ in torchvision.datasets.ImageFolder(str(tree)).samples)
        assert told(listing) == "2 pictures in sub-folders (read as their class's)"

    @pytest.mark.parametrize(
        "hidden",
        [
            ".ipynb_checkpoints",
            "@eaDir",
            "@__thumb",
            "__MACOSX",
            ".hidden",
            "$RECYCLE.BIN",
            "#recycle",
            "@Recycle",
            "~snapshot",
            "FOUND.000",
            "TheVolumeSettingsFolder",
        ],
    )
    @pytest.mark.parametrize("where", [".", "cat", "cat/sub"])
    def test_hidden_and_foreign_folders_are_left_out_at_every_depth(self, tree, hidden, where):
        before = names(list_images(tree))
        (tree / where).mkdir(exist_ok=True)
        shutil.copytree(tree / "cat", tree / where / hidden, ignore=shutil.ignore_patterns("sub"))
        assert names(list_images(tree)) == before

    def test_hidden_and_foreign_files_too(self, tree):
        for name in ("._000.png", ".hidden.jpg", "Thumbs.db", "desktop.ini", ".DS_Store"):
            (tree / "cat" / name).write_bytes(b"x")
        listing = list_images(tree)
        assert len(listing.paths) == 7 and told(listing) == ""

    @pytest.mark.parametrize("suffix", [".gif", ".jfif", ".webp", ".bmp", ".tif", ".JPEG", ".PnG", ".JPE"])
    def test_every_format_that_is_decoded_counts_in_any_case(self, tree, suffix):
        (tree / "cat" / f"new{suffix}").write_bytes(b"not looked at")
        assert f"cat/new{suffix}" in names(list_images(tree))

    def test_other_files_are_counted_by_kind_in_one_line(self, tree):
        for name in ("1.heic", "2.HEIC", "3.avif", "README"):
            (tree / "dog" / name).write_bytes(b"x")
        paint(tree / "loose.png", 60)
        (tree / "notes.txt").write_text("beside the classes")
        text = told(list_images(tree))
        for part in ("2 .heic files", "1 .avif files", "1 other files", "1 pictures right in pets"):
            assert part in text
        assert "\n" not in text and ".txt" not in text

    def test_archives_that_were_not_unpacked_are_counted(self, tree):
        for name in ("cat.tar", "emu.zip", "gnu.tar.gz", "notes.txt"):
            (tree / name).write_bytes(b"x")
        assert told(list_images(tree)) == "2 archives right in pets (not unpacked and not read)"

    def test_a_class_folder_may_be_a_link_and_so_may_a_file(self, tree, tmp_path):
        plant(tmp_path / "elsewhere", {"emu": 3}, 100)
        (tree / "emu").symlink_to(tmp_path / "elsewhere" / "emu")
        (tree / "cat" / "linked.png").symlink_to(tmp_path / "elsewhere" / "emu" / "000.png")
        listing = list_images(tree)
        assert listing.class_names == ("cat", "dog", "emu") and len(listing.paths) == 11


class TestLinks:
    @pytest.mark.parametrize("target", [".", "..", "../..", "../dog", "/"])
    def test_to_folders_inside_a_class_are_passed_over_and_told(self, tree, target):
        (tree / "cat" / "more").symlink_to(target)
        (tree / "cat" / "again").symlink_to(target)
        listing = list_images(tree)
        assert len(listing.paths) == 7
        assert told(listing) == "2 links to folders inside a class (not followed)"

    @pytest.mark.parametrize("target", [".", "..", "/"])
    def test_to_what_holds_them_are_refused_and_not_walked(self, tree, target):
        (tree / "emu").symlink_to(target)
        with pytest.raises(KdlibError, match=r"emu is a link to .*, which holds it; remove the link"):
            list_images(tree)

    @pytest.mark.parametrize("target", ["cat", "dog"])
    def test_that_would_read_pictures_twice_are_refused(self, tree, target):
        (tree / "emu").symlink_to(target)
        with pytest.raises(KdlibError, match=r"is the same folder as .*, by a link; remove the link"):
            list_images(tree)

    def test_to_themselves_and_to_nothing_are_refused(self, tree):
        (tree / "cat" / "x.png").symlink_to("x.png")
        with pytest.raises(KdlibError, match=r"x.png cannot be read"):
            list_images(tree)
        (tree / "cat" / "x.png").unlink()
        (tree / "cat" / "x.png").symlink_to("gone.png")
        with pytest.raises(KdlibError, match=r"x.png is a link to nothing; remove it"):
            list_images(tree)

    @pytest.mark.parametrize("target", ["gone", "emu"])
    def test_a_class_or_part_that_is_a_link_to_nothing_is_refused(self, tree, target):
        (tree / "emu").symlink_to(target)
        for look in (list_images, find_parts):
            with pytest.raises(KdlibError, match=r"emu is a link to nothing; mend or remove it"):
                look(tree)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
    def test_pipes_and_devices_called_pictures_are_refused(self, tree):
        os.mkfifo(tree / "cat" / "x.png")
        with pytest.raises(KdlibError, match=r"x.png is a pipe or device, not a file; remove it"):
            list_images(tree)
        (tree / "cat" / "x.png").unlink()
        (tree / "cat" / "x.png").symlink_to("/dev/zero")
        with pytest.raises(KdlibError, match=r"x.png is a pipe or device, not a file; remove it"):
            list_images(tree)


class TestNames:
    def test_are_compared_in_one_unicode_form(self, tmp_path):
        for part, form in (("a", "NFC"), ("b", "NFD")):
            plant(tmp_path / part, {unicodedata.normalize(form, name): 1 for name in ("caf\u00e9", "z\u00fcrich")})
        first = list_images(tmp_path / "a")
        other = list_images(tmp_path / "b", first.class_names)
        assert other.class_names == ("caf\u00e9", "z\u00fcrich") and other.labels.tolist() == [0, 1]

    def test_twice_in_two_forms_is_refused(self, tmp_path):
        plant(tmp_path, {unicodedata.normalize(form, "caf\u00e9"): 1 for form in ("NFC", "NFD")})
        if len(list(tmp_path.iterdir())) < 2:
            pytest.skip("this file system knows one form only")
        with pytest.raises(KdlibError, match=r"holds two folders called 'caf\u00e9' \(accents or spaces .*\); join"):
            list_images(tmp_path)

    @pytest.mark.parametrize("twin", ["Big cat", "big\u00a0cat", "big cat\u200b", "bigcat"])
    def test_that_look_alike_are_told(self, tmp_path, twin):
        plant(tmp_path, {twin: 1, "big cat": 1, "dog": 1})
        if len(list(tmp_path.iterdir())) < 3:
            pytest.skip("this file system knows one case only")
        assert told(list_images(tmp_path)) == "2 classes whose names differ in case or spaces alone (each is its own)"

    @pytest.mark.parametrize("name", ["two\nlines", "esc\x1b[31m", os.fsdecode(b"\xff\xfe")])
    def test_that_are_no_plain_text_are_refused_in_plain_text(self, tmp_path, name):
        try:
            plant(tmp_path, {name: 1, "cat": 1})
        except OSError:
            pytest.skip("this file system takes no such name")
        with pytest.raises(
            KdlibError, match=r"the name of class folder '.*' in .* is no plain text; rename it"
        ) as error:
            list_images(tmp_path)
        assert str(error.value).isprintable()


class TestLevels:
    def test_one_folder_too_high(self, tmp_path):
        plant(tmp_path / "photos", {"cat": 2, "dog": 2})
        with pytest.raises(
            KdlibError, match=rf"holds one class folder only, 'photos', .* cat, dog; give {tmp_path}/photos"
        ):
            list_images(tmp_path)

    def test_parts_of_unknown_names(self, tmp_path):
        for part in ("fold1", "fold2"):
            plant(tmp_path / part, {"cat": 2, "dog": 2})
        with pytest.raises(KdlibError, match=r"the folders fold1 and fold2 in .* hold no picture but the same folders"):
            list_images(tmp_path)

    def test_parts_that_are_wrapped_once_more(self, tmp_path):
        for part in ("fold1", "fold2"):
            plant(tmp_path / part / part, {"cat": 2, "dog": 2})
        with pytest.raises(KdlibError, match=r"the folders fold1 and fold2 in .* hold no picture but the same folders"):
            list_images(tmp_path)

    def test_wrapped_classes_with_folders_of_the_same_names_are_none(self, tmp_path):
        for name in ("n1", "n2"):
            plant(tmp_path / name / "images", {"2019": 1, "2020": 1})
            plant(tmp_path / name, {"images": 1})
        assert list_images(tmp_path).labels.tolist() == [0, 0, 0, 1, 1, 1]

    def test_a_folder_of_the_same_name_in_every_class_is_none(self, tmp_path):
        """As in Tiny ImageNet: train/n01443537/images/*.JPEG."""
        for name in ("n1", "n2"):
            plant(tmp_path / name, {"images": 2})
        assert list_images(tmp_path).labels.tolist() == [0, 0, 1, 1]

    def test_a_class_folder_without_a_picture_says_what_it_holds(self, tree):
        (tree / "emu").mkdir()
        (tree / "emu" / "1.heic").write_bytes(b"x")
        with pytest.raises(
            KdlibError, match=r"emu holds no image \(.jpg, .*\) but 1 .heic files .not read.; put some in or remove"
        ):
            list_images(tree)


PLAIN = st.text(st.characters(categories=("Ll", "Lu", "Nd")), min_size=1, max_size=6)
FILE = st.tuples(
    st.lists(st.one_of(PLAIN, st.just(".hidden"), st.just("@eaDir")), max_size=2),
    st.one_of(PLAIN, st.just("._x")),
    st.sampled_from([".png", ".PNG", ".gif", ".heic", ".txt", ""]),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(PLAIN.map(str.casefold), st.lists(FILE, max_size=6), min_size=2, max_size=4))
def test_whatever_lies_in_a_tree_each_visible_picture_is_listed_once_or_the_tree_is_refused(classes):
    with tempfile.TemporaryDirectory() as home:
        root, expected = Path(home), set()
        for name, files in classes.items():
            (root / name / "own").mkdir(parents=True)
            for inner, stem, suffix in files:
                path = root.joinpath(name, *inner, stem + suffix)
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"")
                except OSError:  # a file and a folder of one name
                    continue
                visible = not any(part.startswith((".", "@")) for part in path.relative_to(root).parts)
                if visible and suffix.lower() in (".png", ".gif"):
                    expected.add(str(path))
        try:
            listing = list_images(root)
        except KdlibError as error:
            assert "\n" not in str(error)
            return
        assert len(listing.paths) == len(expected) and set(listing.paths) == expected
        owners = [listing.class_names[label] for label in listing.labels.tolist()]
        assert owners == [unicodedata.normalize("NFC", Path(path).relative_to(root).parts[0]) for path in listing.paths]
        hidden = sum(count for what, count in listing.remarks.items() if "sub-folders" in what)
        assert hidden == sum(len(Path(path).relative_to(root).parts) > 2 for path in expected)
