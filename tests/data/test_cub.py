"""CUB-200-2011 as its two archives lay it out: split, labels, votes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from archives import plant_cub
from PIL import Image

from kdlib.data import cub
from kdlib.data.registry import load
from kdlib.errors import KdlibError


@pytest.fixture
def root(tmp_path):
    plant_cub(tmp_path)
    return tmp_path


@pytest.fixture
def folder(root):
    return root / "CUB_200_2011"


def counts(splits):
    return [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)]


class TestParts:
    def test_the_official_split_is_kept_and_val_taken_from_train(self, root, folder):
        splits = load("cub", root=root, image_size=50)
        assert counts(splits) == [7, 1, 8, 8]
        assert splits.test.labels.tolist() == [0] * 4 + [1] * 4
        # How far right the bird stands tells the number of the photograph: even ones are the official test part.
        assert (splits.test.foreground.any(1).int().argmax(1) - 4).tolist() == [0, 2, 4, 6] * 2
        for part in (splits.train, splits.val):
            assert ((part.foreground.any(1).int().argmax(1) - 4) % 2 == 1).all()

    def test_no_image_is_in_two_parts(self, root):
        splits = cub.load(root, image_size=30, n_val=3)
        seen = [{image.numpy().tobytes() for image in part.images} for part in (splits.train, splits.val, splits.test)]
        assert [len(images) for images in seen] == [5, 3, 8]
        assert len(set.union(*seen)) == 16

    def test_train_is_what_the_index_marks_with_1(self, root, folder):
        rows = (folder / "train_test_split.txt").read_text().splitlines()
        (folder / "train_test_split.txt").write_text("\n".join(f"{i} {int(i > 2)}" for i in range(1, len(rows) + 1)))
        assert counts(cub.load(root, image_size=16, n_val=2)) == [12, 2, 2, 2]

    def test_root_may_be_the_folder_itself_and_masks_may_lie_in_it(self, root, folder):
        beside = cub.load(folder, image_size=16)
        (root / "segmentations").rename(folder / "segmentations")
        assert cub.load(root, image_size=16).content_hash() == beside.content_hash()

    def test_names_and_superclasses_are_read_from_the_folders(self, tmp_path):
        birds = ("007.Parakeet_Auklet", "120.Fox_Sparrow", "009.Brewer_Blackbird", "121.Le_Conte_Sparrow")
        plant_cub(tmp_path, birds, 2)
        train = cub.load(tmp_path, image_size=16, n_val=1).train
        assert train.class_names == ("Parakeet Auklet", "Fox Sparrow", "Brewer Blackbird", "Le Conte Sparrow")
        assert train.superclass_names == ("auklet", "sparrow", "blackbird")
        assert train.superclass_of == (0, 1, 2, 1)

    def test_lines_may_stand_in_any_order(self, root, folder):
        before = cub.load(root, image_size=16)
        for name in ("image_class_labels.txt", "train_test_split.txt"):
            lines = (folder / name).read_text().splitlines()
            (folder / name).write_text("\n".join(reversed(lines)))
        assert cub.load(root, image_size=16).content_hash() == before.content_hash()


class TestPictures:
    def test_the_whole_photograph_is_stretched_to_a_square(self, root):
        probe = cub.load(root, image_size=50).probe
        # 30 rows become 50: rows 6 to 17 of the mask lie at 10 to 29.
        assert probe.foreground.any(2)[0].nonzero().flatten()[[0, -1]].tolist() == [10, 29]
        assert probe.foreground.any(1)[0].sum() == 20
        assert int(probe.images[0, 0][probe.foreground[0]].min()) > 120

    def test_any_vote_is_foreground_unless_more_are_asked_for(self, root):
        some, most = (cub.load(root, image_size=50, least_vote=vote).test.foreground for vote in (1, 128))
        assert torch.equal(some, cub.load(root, image_size=50, least_vote=51).test.foreground)
        assert (most & ~some).sum() == 0
        assert most.any(1)[0].sum() == 16

    def test_crop_cuts_out_the_enlarged_box(self, root):
        probe = cub.load(root, image_size=24, crop=True).probe
        # 20x12 becomes 24x14.4, rounded outwards to 16 rows, of which 12 are the bird's.
        assert probe.foreground.any(1).sum(1).tolist() == [20] * 8
        assert probe.foreground.any(2).sum(1).tolist() == [18] * 8

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
    def test_masks_of_other_modes_hold_the_same_votes(self, root, mode):
        before = cub.load(root, image_size=30).content_hash()
        for path in (root / "segmentations").rglob("*.png"):
            Image.open(path).convert(mode).save(path)
        assert cub.load(root, image_size=30).content_hash() == before


class TestRefusals:
    @pytest.mark.parametrize("name", ["images", "images.txt", "image_class_labels.txt", "train_test_split.txt"])
    def test_half_unpacked(self, root, folder, name):
        (folder / name).rename(root / "away")
        with pytest.raises(KdlibError, match=rf"{name} is missing; the archive is half unpacked: unpack CUB_200"):
            cub.load(root)

    def test_without_the_archive_of_masks(self, root):
        (root / "segmentations").rename(root / "away")
        with pytest.raises(KdlibError, match=r"CUB_200_2011 has no masks; unpack segmentations.tgz"):
            cub.load(root)

    def test_an_image_without_mask(self, root):
        next((root / "segmentations").rglob("*.png")).unlink()
        with pytest.raises(KdlibError, match=r"Albatross.*png is missing; a photograph has no mask: unpack segm"):
            cub.load(root)

    def test_a_missing_photograph(self, root, folder):
        next((folder / "images").rglob("*.jpg")).unlink()
        with pytest.raises(KdlibError, match=r"Albatross.*jpg is missing; the archive is half unpacked: unpack CUB"):
            cub.load(root)

    @pytest.mark.parametrize(("where", "remedy"), [("CUB_200_2011/images", "CUB_200_2011"), ("segmentations",) * 2])
    def test_damaged_files(self, root, where, remedy):
        for path in (root / where).rglob("*.*g"):
            path.write_bytes(path.read_bytes()[:90])
        with pytest.raises(KdlibError, match=rf"holds no whole image \(PNG, .* or PPM\); unpack {remedy}.tgz again"):
            cub.load(root)

    def test_a_mask_of_another_size(self, root):
        for path in (root / "segmentations").rglob("*.png"):
            Image.fromarray(np.zeros((40, 50), np.uint8)).save(path)
        with pytest.raises(KdlibError, match=r"png is 50x40 pixels and its photograph 50x30; unpack segmentations.tgz"):
            cub.load(root)

    @pytest.mark.parametrize(
        ("name", "line", "message"),
        [
            ("images.txt", "3", r"line 3 of .*images.txt must hold an image number and a file name, not '3'"),
            ("images.txt", "three a/b.jpg", r"line 3 of .*images.txt must hold an image number and a file name"),
            ("image_class_labels.txt", "3 one", r"line 3 of .*labels.txt must hold an image number and a class number"),
            ("train_test_split.txt", "3 2", r"line 3 of .*split.txt must hold an image number and 0 or 1, not '3 2'"),
            ("bounding_boxes.txt", "3 1 2 3", r"line 3 of .*boxes.txt must hold an image number and a box of four"),
            ("bounding_boxes.txt", "3 1 2 0 5", r"jpg in .*bounding_boxes.txt has the box .* which is none in 50x30"),
            ("train_test_split.txt", "", r"train_test_split.txt has no line for image 3; unpack"),
            ("image_class_labels.txt", "3 2", r"class 2 has images in 001.Black_footed_Albatross and 002.Laysan"),
        ],
    )
    def test_a_line_that_is_none(self, root, folder, name, line, message):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join([*lines[:2], line, *lines[3:]]))
        with pytest.raises(KdlibError, match=message):
            cub.load(root, crop=True)

    @pytest.mark.parametrize(
        ("name", "line", "message"),
        [
            ("images.txt", "3 001.Black_footed_Albatross/b.jpg", r"line 17 of .*images.txt is the second for image 3"),
            ("train_test_split.txt", "3 1", r"line 17 of .*train_test_split.txt is the second for image 3; unpack"),
            ("train_test_split.txt", "17 1", r"images.txt has no line for image 17, but train_test_split.txt has"),
        ],
    )
    def test_a_line_that_says_something_else_than_another(self, root, folder, name, line, message):
        with (folder / name).open("a") as file:
            file.write(line + "\n")
        with pytest.raises(KdlibError, match=message):
            cub.load(root)

    def test_one_photograph_under_two_numbers(self, root, folder):
        """Else it could be in train and in test."""
        lines = (folder / "images.txt").read_text().splitlines()
        lines[1] = f"2 {lines[0].split()[1]}"
        (folder / "images.txt").write_text("\n".join(lines))
        with pytest.raises(KdlibError, match=r"images.txt gives 2 numbers to 001.*_0000_1.jpg; unpack"):
            cub.load(root)

    def test_one_class_under_two_numbers(self, root, folder):
        text = (folder / "image_class_labels.txt").read_text()
        (folder / "image_class_labels.txt").write_text(text.replace("1 1\n", "1 9\n", 1))
        with pytest.raises(KdlibError, match=r"labels.txt gives 2 numbers to 001.Black_footed_Albatross; unpack"):
            cub.load(root)

    def test_a_mask_in_colours(self, root):
        for path in (root / "segmentations").rglob("*.png"):
            votes = Image.open(path).convert("L")
            Image.merge("RGB", (Image.new("L", votes.size), votes, votes)).save(path)
        with pytest.raises(KdlibError, match=r"png is coloured, and a mask holds votes in grey; unpack segm"):
            cub.load(root)

    @pytest.mark.parametrize("palette", [[0, 0, 1, 0, 0, 2], [64, 0, 64, 200, 0, 0]])
    def test_a_mask_in_the_colours_of_a_palette(self, root, palette):
        for path in (root / "segmentations").rglob("*.png"):
            numbers = Image.open(path).convert("L").point(lambda vote: min(vote, 1))
            mask = Image.frombytes("P", numbers.size, numbers.tobytes())
            mask.putpalette(palette)
            mask.save(path)
        with pytest.raises(KdlibError, match=r"png is coloured, and a mask holds votes in grey; unpack segm"):
            cub.load(root)

    def test_an_empty_index_and_a_split_of_one_part(self, root, folder):
        text = (folder / "train_test_split.txt").read_text()
        (folder / "train_test_split.txt").write_text(text.replace(" 0\n", " 1\n"))
        with pytest.raises(KdlibError, match=r"train_test_split.txt gives no image to one of the two parts"):
            cub.load(root)
        (folder / "images.txt").write_text("")
        with pytest.raises(KdlibError, match=r"images.txt is empty"):
            cub.load(root)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_train": 8}, "n_train=8 exceeds the 7 images that n_val=1 leaves of the official training part of"),
            ({"n_val": 8}, "n_val=8 leaves none of the 8 images of the official training part"),
            ({"least_vote": 0}, "least_vote must be a whole number of at least 1"),
            ({"least_vote": 256}, "least_vote must be a grey level from 1 to 255, not 256"),
        ],
    )
    def test_options(self, root, options, message):
        with pytest.raises(KdlibError, match=message):
            cub.load(root, **options)
