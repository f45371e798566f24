"""Reading files, cutting out boxes and splitting by photograph, for data sets with masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from kdlib.data.masked_photographs import (
    check_box,
    check_memory,
    cut,
    enlarge,
    need,
    read_lines,
    split_by_photograph,
)
from kdlib.errors import KdlibError


class TestCut:
    def test_an_enlarged_box_keeps_its_centre(self):
        left, top, right, bottom = enlarge((10, 20, 30, 70), 1.2)
        assert (left + right, top + bottom) == (40, 90)
        assert (right - left, bottom - top) == pytest.approx((24, 60))

    def test_a_box_in_the_image_is_cut_as_it_is(self):
        pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
        assert np.array_equal(cut(Image.fromarray(pixels), (2, 1, 6, 5), 4, smooth=False), pixels[1:5, 2:6])

    def test_what_lies_outside_the_image_is_zero(self):
        found = cut(Image.fromarray(np.full((4, 4), 9, np.uint8)), (-2, 0, 2, 4), 4, smooth=False)
        assert np.array_equal(found, [[0, 0, 9, 9]] * 4)

    def test_parts_of_pixels_are_rounded_outwards(self):
        found = cut(Image.fromarray(np.full((4, 4), 9, np.uint8)), (0.9, 0.2, 2.1, 2.9), 3, smooth=False)
        assert (found == 9).all()
        diagonal = Image.fromarray(np.eye(4, dtype=np.uint8))
        assert np.array_equal(cut(diagonal, (0.9, 0.9, 2.1, 2.1), 3, smooth=False), np.eye(3))

    def test_photographs_are_averaged_and_masks_are_not(self):
        pixels = np.zeros((8, 8), np.uint8)
        pixels[:, ::2] = 200
        image = Image.fromarray(pixels)
        assert set(np.unique(cut(image, None, 4, smooth=False))) <= {0, 200}
        assert np.abs(cut(image, None, 4, smooth=True).astype(int) - 100).max() < 20

    def test_the_numbers_of_a_palette_are_kept(self):
        image = Image.fromarray(np.array([[0, 3], [255, 20]], np.uint8), mode="P")
        image.putpalette([7] * 768)
        assert np.array_equal(cut(image, None, 2, smooth=False), [[0, 3], [255, 20]])

    @pytest.mark.parametrize(
        "box", [(3, 0, 3, 4), (3, 0, 2, 4), (0, 0, float("nan"), 4), (0, 0, 9e9, 4), (-5, 0, 4, 4)]
    )
    def test_a_box_that_is_none_is_refused(self, box):
        image = Image.new("L", (10, 8))
        check_box((-1, 0, 11, 8), image, "a bird", "unpack it")
        with pytest.raises(KdlibError, match=r"a bird has the box \(.*\), which is none in 10x8 pixels; unpack it"):
            check_box(box, image, "a bird", "unpack it")


class TestFiles:
    def test_lines_without_the_blank_ones(self, tmp_path):
        (tmp_path / "list.txt").write_text("one\n\n  two \r\n")
        assert read_lines(tmp_path / "list.txt", "unpack it") == ["one", "two"]

    def test_what_is_missing_is_told_with_the_remedy(self, tmp_path):
        for use in (lambda path, remedy: need([path], remedy), read_lines):
            with pytest.raises(KdlibError, match=r"nothing.png is missing; unpack it$"):
                use(tmp_path / "nothing.png", "unpack it")

    def test_no_text(self, tmp_path):
        (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(KdlibError, match=r"list.txt is UTF-16 text; save it as UTF-8"):
            read_lines(tmp_path / "list.txt", "unpack it")

    def test_more_pictures_than_memory(self):
        check_memory(1000, 64, 0.1, "a folder")
        with pytest.raises(KdlibError, match=r"the 10,000 pictures of a folder take 0.11 GiB at image_size=64"):
            check_memory(10_000, 64, 0.1, "a folder")


class TestSplitByPhotograph:
    photographs = tuple(f"{number // 3}" for number in range(60))
    labels = torch.arange(60) % 4

    def split(self, n_train=None, n_val=None, seed=0):
        return split_by_photograph(self.photographs, self.labels, n_train, n_val, seed, "a toy")

    @pytest.mark.parametrize("n_val", [1, 5, 12, 57])
    def test_no_photograph_is_in_both_parts(self, n_val):
        train, val = self.split(n_val=n_val)
        assert len(val) == n_val
        assert not {self.photographs[i] for i in train} & {self.photographs[i] for i in val}
        assert len({*train.tolist(), *val.tolist()}) == len(train) + len(val)

    def test_train_is_all_that_the_photographs_of_val_leave(self):
        train, val = self.split(n_val=5)
        assert len(train) == 60 - 6
        assert len(self.split()[1]) == 6, "a tenth by default"
        assert set(val.tolist()) < set(range(60)) - set(train.tolist())

    def test_a_smaller_part_is_the_beginning_of_a_larger_one(self):
        large, small = self.split(n_train=40, n_val=10), self.split(n_train=20, n_val=5)
        assert torch.equal(large[0][:20], small[0]) and torch.equal(large[1][:5], small[1])

    def test_another_seed_is_another_choice(self):
        assert not torch.equal(self.split(n_val=10)[1], self.split(n_val=10, seed=1)[1])
        assert torch.equal(self.split(n_val=10)[1], self.split(n_val=10)[1])

    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            ({"n_val": 60}, "n_val=60 leaves none of the 60 crops of a toy to train on; give fewer"),
            ({"n_val": 61}, "n_val=61 leaves none"),
            ({"n_val": 10, "n_train": 49}, "n_train=49 exceeds the 48 crops that n_val=10 leaves of a toy"),
            ({"n_val": 0}, "n_val must be a whole number of at least 1"),
            ({"n_train": 0}, "n_train must be a whole number of at least 1"),
            ({"seed": -1}, "seed must be"),
        ],
    )
    def test_counts_beyond_what_there_is(self, counts, message):
        with pytest.raises(KdlibError, match=message):
            self.split(**counts)
