"""PASCAL VOC 2012 as its archive lays it out: which objects become pictures, what is foreground, what is refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from archives import VOC_CLASSES, Thing, list_voc_part, plant_voc, plant_voc_photograph, save_palette
from PIL import Image

from kdlib.data import voc
from kdlib.data.on_disk import VOC_FOLDERS
from kdlib.data.registry import load
from kdlib.errors import KdlibError
from kdlib.vision import torchvision


@pytest.fixture
def root(tmp_path):
    plant_voc(tmp_path)
    return tmp_path


@pytest.fixture
def folder(root):
    return root / "VOCdevkit" / "VOC2012"


def objects_of(tmp_path, things, **options):
    """What becomes of one photograph with these things."""
    folder = tmp_path / "one"
    plant_voc_photograph(folder, "2007_000001", things)
    list_voc_part(folder, "train", ["2007_000001"])
    return voc.list_objects(folder, "train", **options)


class TestParts:
    def test_the_official_split_is_kept_and_val_taken_from_train(self, root):
        splits = load("voc", root=root, image_size=20)
        assert [len(part) for part in (splits.train, splits.val, splits.test, splits.probe)] == [18, 2, 12, 12]
        assert splits.train.class_names == tuple(VOC_CLASSES)
        assert splits.train.image_size == (20, 20)
        assert torch.equal(splits.test.images, splits.probe.images)

    def test_both_objects_of_a_photograph_are_in_one_part(self, root):
        splits = voc.load(root, image_size=20, n_val=4)
        # Each photograph shows one bird and one car.
        assert torch.bincount(splits.val.labels, minlength=20)[[2, 6]].tolist() == [2, 2]
        assert torch.bincount(splits.train.labels, minlength=20)[[2, 6]].tolist() == [8, 8]

    @pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
    def test_root_may_be_any_of_the_folders(self, root, below):
        assert voc.find_folder(root / below) == root / "VOCdevkit" / "VOC2012"

    def test_superclasses_are_the_branches_of_voc(self, root):
        train = voc.load(root, image_size=16).train
        owner = dict(zip(train.class_names, (train.superclass_names[s] for s in train.superclass_of), strict=True))
        assert (owner["cat"], owner["train"], owner["person"], owner["tvmonitor"]) == (
            "animal", "vehicle", "person", "indoor",
        )  # fmt: skip
        assert [train.superclass_of.count(index) for index in range(4)] == [7, 6, 6, 1]


class TestObjects:
    def test_every_masked_object_is_one_with_its_own_box(self, tmp_path):
        found = objects_of(tmp_path, [Thing("dog", (2, 3, 22, 33)), Thing("cow", (30, 10, 50, 30))])
        assert [(one.number, VOC_CLASSES[one.label], one.box) for one in found] == [
            (1, "dog", (2, 3, 22, 33)),
            (2, "cow", (30, 10, 50, 30)),
        ]

    def test_two_of_one_class_keep_their_boxes_whatever_the_order_in_the_annotation(self, tmp_path):
        things = [Thing("sheep", (2, 3, 22, 33)), Thing("sheep", (18, 10, 50, 30))]
        objects_of(tmp_path, things)
        path = tmp_path / "one" / "Annotations" / "2007_000001.xml"
        first, second = path.read_text().split("<object>")[1:]
        body, end = second.split("</annotation>")
        path.write_text(f"<annotation><object>{body}<object>{first}</annotation>{end}")
        found = voc.list_objects(tmp_path / "one", "train")
        assert [one.box for one in found] == [(2, 3, 22, 33), (18, 10, 50, 30)]

    def test_a_difficult_object_is_void_and_no_picture(self, tmp_path):
        things = [Thing("dog", (2, 3, 22, 33)), Thing("cow", (30, 10, 50, 30), difficult=True)]
        assert [VOC_CLASSES[one.label] for one in objects_of(tmp_path, things)] == ["dog"]
        assert len(objects_of(tmp_path, things, difficult=True)) == 1, "there is no mask of it"

    def test_a_difficult_object_with_a_mask_is_a_picture_if_asked_for(self, tmp_path):
        things = [Thing("dog", (2, 3, 22, 33)), Thing("cow", (30, 10, 50, 30))]
        objects_of(tmp_path, things)
        path = tmp_path / "one" / "Annotations" / "2007_000001.xml"
        before, after = path.read_text().rsplit("<difficult>0", 1)
        path.write_text(f"{before}<difficult>1{after}")
        assert [one.number for one in voc.list_objects(tmp_path / "one", "train")] == [1]
        assert [one.number for one in voc.list_objects(tmp_path / "one", "train", difficult=True)] == [1, 2]

    def test_an_object_without_a_mask_is_no_picture(self, tmp_path):
        things = [Thing("dog", (2, 3, 22, 33)), Thing("cow", (30, 10, 50, 30), masked=False)]
        assert [one.number for one in objects_of(tmp_path, things)] == [1]

    def test_a_truncated_object_is_one_like_any_other(self, tmp_path):
        (found,) = objects_of(tmp_path, [Thing("bus", (0, 0, 30, 40), truncated=True)])
        assert found.truncated and not found.difficult


class TestPictures:
    def picture(self, tmp_path, things, size=(60, 40), **options):
        """The first test picture of a folder with copies of this photograph in all parts."""
        folder = tmp_path / "one"
        for name in ("a", "b", "c"):
            plant_voc_photograph(folder, name, things, size)
        list_voc_part(folder, "train", ["a", "b"])
        list_voc_part(folder, "val", ["c"])
        return voc.load(folder, **options).probe

    def test_the_box_is_enlarged_by_a_fifth(self, tmp_path):
        # 20x20 at (20, 10), enlarged to 24x24: two pixels of ground on each side, then void, then the object.
        probe = self.picture(tmp_path, [Thing("cat", (20, 10, 40, 30))], image_size=24)
        bright = probe.images[0, 0] > 120
        assert bright[2:22, 2:22].all() and bright.sum() == 400
        inside = torch.zeros(24, 24, dtype=torch.bool)
        inside[3:21, 3:21] = True
        assert torch.equal(probe.foreground[0], inside)

    def test_what_leaves_the_photograph_is_black_and_no_foreground(self, tmp_path):
        probe = self.picture(tmp_path, [Thing("bus", (0, 0, 20, 40), truncated=True)], image_size=48)
        # The box becomes (-2, -4, 22, 44): 24x48, each pixel of the photograph's width twice.
        # Photographs are interpolated, so that the last black line has something of its neighbour.
        for outside in (probe.images[0, :, :, :3], probe.images[0, :, :3], probe.images[0, :, 45:]):
            assert not outside.any()
        assert (probe.images[0, 0, 5:43, 6:42] > 120).all()
        assert probe.foreground[0, 5:43, 6:42].all()
        assert probe.foreground[0].sum() == 38 * 36

    def test_only_the_object_itself_is_foreground_unless_any_value_is_asked_for(self, tmp_path):
        things = [Thing("cat", (20, 10, 40, 30)), Thing("dog", (34, 20, 54, 36))]
        own = self.picture(tmp_path, things, image_size=24)
        every = self.picture(tmp_path, things, image_size=24, foreground="any")
        mask = np.asarray(Image.open(tmp_path / "one" / "SegmentationObject" / "a.png"))[8:32, 18:42]
        assert np.array_equal(own.foreground[0], mask == 1)
        assert np.array_equal(every.foreground[0], mask > 0), "other objects and void as well"

    def test_the_probe_tells_the_class_of_every_pixel_void_apart(self, tmp_path):
        probe = self.picture(tmp_path, [Thing("cat", (20, 10, 40, 30)), Thing("dog", (34, 20, 54, 36))], image_size=24)
        mask = np.asarray(Image.open(tmp_path / "one" / "SegmentationClass" / "a.png"))[8:32, 18:42]
        objects = probe.concept_map("object")
        assert np.array_equal(objects.labels[0], np.where(mask == 255, 0, mask))
        assert {objects.names[value] for value in objects.labels[0].unique()} == {"unlabelled", "cat", "dog"}
        assert probe.concept_map("color").labels.shape == objects.labels.shape


class TestRefusals:
    @pytest.mark.parametrize("name", VOC_FOLDERS)
    def test_half_unpacked(self, root, folder, name):
        (folder / name).rename(root / "away")
        with pytest.raises(KdlibError, match=rf"{name} is missing; the archive is half unpacked: unpack VOCtrainval"):
            voc.load(root)

    @pytest.mark.parametrize(
        "name",
        ["JPEGImages/2007_000003.jpg", "Annotations/2007_000003.xml", "SegmentationClass/2007_000003.png",
         "SegmentationObject/2007_000003.png", "ImageSets/Segmentation/val.txt"],
    )  # fmt: skip
    def test_a_file_is_missing(self, root, folder, name):
        (folder / name).unlink()
        with pytest.raises(KdlibError, match=rf"{name} is missing; .*unpack VOCtrainval_11-May-2012.tar again"):
            voc.load(root)

    @pytest.mark.parametrize("name", ["SegmentationObject/2007_000003.png", "SegmentationClass/2007_000003.png"])
    def test_a_damaged_mask(self, root, folder, name):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(KdlibError, match=rf"{name} holds no whole image \(PNG, .* or PPM\); unpack"):
            voc.load(root)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("</annotation>", "", r"2007_000003.xml is no whole XML file \(.*\); unpack"),
            (
                "<annotation>",
                '<?xml version="1.0" encoding="x"?><annotation>',
                r"is no whole XML file \(unknown encoding",
            ),
            ("<name>bird</name>", "<name>brid</name>", r"unknown class of object 1 in .* 'brid'; did you mean 'bird'"),
            ("<name>bird</name>", "", r"unknown class of object 1 in .*2007_000003.xml ''"),
            ("<xmin>9</xmin>", "<xmin>left</xmin>", r"object 1 in .*2007_000003.xml has no box of four numbers"),
            ("<xmin>9</xmin>", "", r"object 1 in .*2007_000003.xml has no box of four numbers"),
            ("<name>bird</name>", "<name>cat</name>", r"has no bird where SegmentationObject has object 1; they"),
            ("<xmin>9</xmin>", "<xmin>59</xmin>", r"has no bird where SegmentationObject has object 1"),
        ],
    )
    def test_a_damaged_annotation(self, root, folder, old, new, message):
        path = folder / "Annotations" / "2007_000003.xml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(KdlibError, match=message):
            voc.load(root)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
    def test_an_annotation_that_is_a_pipe(self, root, folder):
        path = folder / "Annotations" / "2007_000003.xml"
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(KdlibError, match=r"000003.xml is a folder, pipe or device, not a file"):
            voc.load(root)

    def test_a_photograph_in_both_parts(self, root, folder):
        with (folder / "ImageSets" / "Segmentation" / "val.txt").open("a") as file:
            file.write("2007_000003\n")
        for look in (voc.load, voc.available):
            with pytest.raises(KdlibError, match=r"2007_000003 is in train.txt and in val.txt of"):
                look(root)

    def test_a_box_outside_the_photograph(self, root, folder):
        for path in (folder / "Annotations").iterdir():
            path.write_text(path.read_text().replace("<ymax>30.0</ymax>", "<ymax>3000000</ymax>"))
        with pytest.raises(KdlibError, match=r"xml in .*Annotations has the box .*, which is none in 60x40 pixels"):
            voc.load(root)

    def test_masks_painted_in_colours_are_told(self, root, folder):
        path = folder / "SegmentationObject" / "2007_000003.png"
        Image.open(path).convert("RGB").save(path)
        with pytest.raises(KdlibError, match=r"000003.png is a picture of mode RGB, not a palette of numbers"):
            voc.load(root)

    def test_masks_of_another_size_than_each_other_or_the_photograph(self, root, folder):
        for name, message in (
            ("SegmentationClass", "the masks of 2007_000003 in .* are of two sizes"),
            ("SegmentationObject", "photograph and masks of 2007_000003 in .* are of two sizes"),
        ):
            pixels = np.asarray(Image.open(folder / name / "2007_000003.png"))
            save_palette(folder / name / "2007_000003.png", pixels[:-1])
            with pytest.raises(KdlibError, match=message):
                voc.load(root, n_val=1)

    def test_an_object_that_the_class_mask_does_not_know(self, root, folder):
        save_palette(folder / "SegmentationClass" / "2007_000003.png", np.zeros((40, 60)))
        with pytest.raises(KdlibError, match=r"SegmentationClass gives object 1 of 2007_000003 in .* no class"):
            voc.load(root)
        save_palette(folder / "SegmentationClass" / "2007_000003.png", np.full((40, 60), 21))
        with pytest.raises(KdlibError, match=r"SegmentationClass gives object 1 of 2007_000003 in .* no class"):
            voc.load(root)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("2007_000001 1\n", r"train.txt must hold one photograph's name a line, not '2007_000001 1'; unpack"),
            ("2007_000001\n2007_000001\n", r"train.txt names the photograph 2007_000001 twice; unpack"),
            ("2007_999999\n", r"2007_999999.jpg is missing; the archive is half unpacked"),
            ("\n", r"train.txt names no photograph with a segmented object"),
        ],
    )
    def test_a_list_that_is_none(self, root, folder, text, message):
        (folder / "ImageSets" / "Segmentation" / "train.txt").write_text(text)
        with pytest.raises(KdlibError, match=message):
            voc.load(root)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_train": 19}, "n_train=19 exceeds the 18 crops that n_val=2 leaves of the official train part of"),
            ({"foreground": "all"}, "unknown foreground 'all'"),
        ],
    )
    def test_options(self, root, options, message):
        with pytest.raises(KdlibError, match=message):
            voc.load(root, **options)

    def test_a_half_unpacked_archive_is_not_downloaded_over(self, root, folder, monkeypatch):
        monkeypatch.setattr(torchvision.datasets, "VOCSegmentation", None)
        (folder / "Annotations").rename(root / "away")
        with pytest.raises(KdlibError, match=r"Annotations is missing; the archive is half unpacked"):
            voc.download(root)
