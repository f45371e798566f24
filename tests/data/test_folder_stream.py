"""Streamed folders: what is read, cut and counted does not depend on who decodes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import plant
from PIL import Image
from torch import Tensor, nn

from kdlib.data import image_folder
from kdlib.data.augment import Augmentation
from kdlib.data.class_tree import Listing, list_images
from kdlib.data.colours import basic_colours
from kdlib.data.folder_stream import IMAGENET_MEAN, IMAGENET_STD, FolderStream, stream_splits
from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.dissect import dissect
from kdlib.vision import torchvision

COUNTS = {"cat": 20, "dog": 20, "truck": 10}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("pets"), COUNTS)


@pytest.fixture
def own_tree(tmp_path) -> Path:
    """A small tree of its own for tests that damage it."""
    return plant(tmp_path / "pets", {"cat": 6, "dog": 6})


def decoded(listing: Listing, size: int) -> Tensor:
    decode = image_folder.centre_decoder(size)
    return torch.stack([decode(path) for path in listing.paths])


class TestReadsLikeASetInMemory:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_yields_what_load_would_hold(self, tree, workers):
        stream = FolderStream(tree, image_size=8, workers=workers)
        listing = list_images(tree)
        batches = list(stream.batches(16))
        assert [len(batch.labels) for batch in batches] == [16, 16, 16, 2]
        assert torch.equal(torch.cat([batch.images for batch in batches]), decoded(listing, 8))
        assert torch.equal(torch.cat([batch.labels for batch in batches]), listing.labels)

    def test_tells_what_an_image_set_tells(self, tree):
        stream = FolderStream(tree, image_size=8)
        told = (len(stream), stream.num_classes, stream.channels, stream.image_size, stream.class_names)
        assert told == (50, 3, 3, (8, 8), ("cat", "dog", "truck"))
        assert stream.device == torch.device("cpu")
        assert torch.bincount(stream.labels).tolist() == [20, 20, 10]

    def test_can_be_read_again(self, tree):
        stream = FolderStream(tree, image_size=8)
        first, second = (torch.cat([batch.images for batch in stream.batches(20)]) for _ in range(2))
        assert torch.equal(first, second)

    def test_classes_of_a_model_that_knows_more(self, tree):
        stream = FolderStream(tree, image_size=8, class_names=("ant", "cat", "cow", "dog", "truck"))
        assert torch.bincount(stream.labels, minlength=5).tolist() == [0, 20, 0, 20, 10]

    def test_superclasses_of_the_folder_above_a_part(self, tmp_path):
        plant(tmp_path / "val", {"cat": 1, "truck": 1})
        (tmp_path / "superclasses.csv").write_text("class,superclass\ncat,animal\ntruck,vehicle\n")
        assert FolderStream(tmp_path / "val", image_size=8).superclass_of == (0, 1)

    def test_can_be_dissected_like_the_set_in_memory(self, tree):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
        listing = list_images(tree)
        images = decoded(listing, 8)
        in_memory = ImageSet(
            "pets", images, listing.labels, listing.class_names, ("all",), (0, 0, 0), concepts=(basic_colours(images),)
        )
        streamed = dissect(model, FolderStream(tree, image_size=8), "0", batch_size=16, quantile=0.05)
        held = dissect(model, in_memory, "0", batch_size=16, quantile=0.05)
        assert torch.equal(streamed.iou["color"], held.iou["color"])
        assert streamed.concept_names["color"][0] == "black"

    @pytest.mark.parametrize("workers", [0, 1])
    def test_damage_is_one_sentence_also_from_a_worker(self, own_tree, workers):
        (own_tree / "cat" / "000.png").write_bytes(b"not an image")
        with pytest.raises(KdlibError) as error:
            list(FolderStream(own_tree, image_size=8, workers=workers).batches(4))
        message = str(error.value)
        assert message == (
            f"{own_tree / 'cat' / '000.png'} holds no whole image (PNG, JPEG, GIF, BMP, TIFF, WEBP or PPM); "
            "replace or remove the file"
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"image_size": -1}, "image_size must be a whole number from 1 to 13377, not -1"),
            ({"image_size": 10**7}, "image_size must be a whole number from 1 to 13377, not 10000000"),
            ({"workers": -1}, "workers must be a whole number of at least 0"),
            ({"class_names": ("cat", "dogs")}, r"unknown class folder in .*pets 'dog'; did you mean 'dogs'"),
        ],
    )
    def test_options(self, own_tree, options, message):
        with pytest.raises(KdlibError, match=message):
            FolderStream(own_tree, **options)

    def test_batch_size(self, own_tree):
        with pytest.raises(KdlibError, match="batch_size must be a whole number"):
            next(FolderStream(own_tree, image_size=8).batches(0))

    def test_inputs_are_its_batches_as_floats(self, tree):
        stream = FolderStream(tree, image_size=8, workers=2)
        images = torch.cat([batch.images for batch in stream.batches(16)]).float() / 255
        assert torch.equal(stream.inputs(slice(10, 20)), images[10:20])
        assert torch.equal(stream.inputs(torch.tensor([30, 2])), images[[30, 2]])

    def test_a_part_of_it_can_be_held(self, tree):
        stream = FolderStream(tree, image_size=8, resize=9)
        part = stream.subset(torch.tensor([40, 3]))
        held = part.load()
        assert torch.equal(held.images.float() / 255, stream.inputs(torch.tensor([40, 3])))
        assert held.labels.tolist() == stream.labels[[40, 3]].tolist()
        assert torch.equal(held.concept_map("color").labels, basic_colours(held.images).labels)
        assert stream.mask_size == (8, 8)

    def test_photographs_are_normalised_by_imagenets_statistics(self, tree):
        options = FolderStream(tree).model_options()
        assert options == {"num_classes": 3, "channels": 3, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}

    def test_the_evaluation_cut_is_torchvisions(self, tree):
        stream = FolderStream(tree, image_size=7, resize=8)
        transforms = torchvision.transforms
        expected = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(7), transforms.PILToTensor()])
        path = sorted((tree / "cat").iterdir())[3]
        assert torch.equal(next(stream.batches(4)).images[3], expected(Image.open(path)))
        with pytest.raises(KdlibError, match="resize must be a whole number from 7 to 13377, not 6"):
            FolderStream(tree, image_size=7, resize=6)


class TestTrainingBatches:
    def cuts(self, tree, batches, *, seed=0, epoch=0, workers=0, augmentation="resized_crop") -> dict[int, Tensor]:
        stream = FolderStream(tree, image_size=8, workers=workers)
        found = {}
        for images, labels, indices in stream.training_batches(batches, augmentation, seed, epoch):
            assert torch.equal(labels, stream.labels[indices])
            found |= dict(zip(indices.tolist(), images, strict=True))
        return found

    def test_come_in_the_order_asked_for(self, tree):
        wanted = [torch.tensor([4, 40]), torch.tensor([7])]
        stream = FolderStream(tree, image_size=8)
        assert [index.tolist() for *_, index in stream.training_batches(wanted, "resized_crop", 0, 0)] == [[4, 40], [7]]

    def test_an_images_cut_depends_on_seed_epoch_and_image_alone(self, tree):
        reference = self.cuts(tree, [torch.arange(12)])
        torch.manual_seed(99)
        for others in (self.cuts(tree, torch.randperm(12).split(5)), self.cuts(tree, [torch.arange(12)], workers=2)):
            assert all(torch.equal(reference[index], others[index]) for index in range(12))
        for changed in ({"seed": 1}, {"epoch": 1}):
            other = self.cuts(tree, [torch.arange(12)], **changed)
            assert sum(torch.equal(reference[index], other[index]) for index in range(12)) < 3

    def test_the_global_generator_is_left_alone(self, tree):
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        self.cuts(tree, [torch.arange(6)])
        assert torch.equal(torch.rand(1), expected)

    def test_are_mirrored_every_second_time_and_cut_to_8_to_100_percent(self, tmp_path):
        """A picture whose red rises to the right and whose green rises downwards tells where it was cut."""
        ramp = torch.arange(200, dtype=torch.uint8)
        picture = torch.stack([ramp.expand(200, 200), ramp[:, None].expand(200, 200), torch.zeros(200, 200).byte()], -1)
        (tmp_path / "a").mkdir()
        Image.fromarray(picture.numpy()).save(tmp_path / "a" / "ramp.png")
        stream = FolderStream(tmp_path, image_size=16)
        mirrored, areas = 0, []
        for epoch in range(300):
            [(images, *_)] = stream.training_batches([torch.tensor([0])], "resized_crop", 0, epoch)
            red, green = images[0, 0].float(), images[0, 1].float()
            mirrored += bool(red[8, 0] > red[8, -1])
            width, height = (
                (abs(float(end - start)) / 15 * 16)
                for start, end in ((red[8, 0], red[8, -1]), (green[0, 8], green[-1, 8]))
            )
            areas.append(width * height / 200**2)
        assert 120 < mirrored < 180
        assert 0.05 < min(areas) < 0.2
        assert 0.85 < max(areas) < 1.1

    def test_none_is_the_evaluation_cut(self, tree):
        cuts = self.cuts(tree, [torch.arange(9)], augmentation="none")
        evaluated = next(FolderStream(tree, image_size=8).batches(9)).images
        assert torch.equal(torch.stack([cuts[index] for index in range(9)]), evaluated)

    def test_other_augmentations_are_refused(self, tree):
        with pytest.raises(KdlibError, match="unknown augmentation of a streamed folder 'flip'"):
            next(FolderStream(tree, image_size=8).training_batches([torch.arange(2)], "flip", 0, 0))

    def test_images_in_memory_cannot_be_cut_while_they_are_decoded(self):
        with pytest.raises(KdlibError, match="'resized_crop' is for folders that are streamed"):
            Augmentation("resized_crop")(torch.rand(1, 3, 4, 4), torch.zeros(1).long())


class TestContentHash:
    def test_is_of_names_sizes_and_labels_wherever_the_folder_lies(self, tree, tmp_path):
        moved = Path(shutil.copytree(tree, tmp_path / "elsewhere"))
        reference = FolderStream(tree, image_size=8).content_hash()
        assert FolderStream(moved, image_size=8, workers=1).content_hash() == reference
        assert FolderStream(moved, image_size=9).content_hash() != reference
        (moved / "cat" / "000.png").rename(moved / "cat" / "zzz.png")
        renamed = FolderStream(moved, image_size=8).content_hash()
        with (moved / "cat" / "zzz.png").open("ab") as file:
            file.write(b"x")
        assert len({reference, renamed, FolderStream(moved, image_size=8).content_hash()}) == 3

    def test_a_file_that_went_away_is_told(self, own_tree):
        stream = FolderStream(own_tree, image_size=8)
        (own_tree / "dog" / "003.png").unlink()
        with pytest.raises(KdlibError, match=r"003\.png cannot be reached"):
            stream.content_hash()


class TestStreamSplits:
    def test_gives_the_files_that_load_gives(self, tree):
        streams = stream_splits(tree, seed=3, image_size=7, n_val=5)
        held = image_folder.load(tree, seed=3, n_val=5, image_size=7)
        for part in ("train", "val", "test"):
            assert torch.equal(getattr(streams, part).labels, getattr(held, part).labels)
        assert streams.content_hash() == stream_splits(tree, seed=3, image_size=7, n_val=5).content_hash()
        assert streams.content_hash() != stream_splits(tree, seed=4, image_size=7, n_val=5).content_hash()

    def test_val_is_the_test_and_selection_gets_ten_images_a_class_out_of_train(self, tmp_path):
        """As in ImageNet: only val is public."""
        plant(tmp_path / "train", {"cat": 150, "dog": 170})
        plant(tmp_path / "val", {"cat": 3, "dog": 3})
        splits = stream_splits(tmp_path, image_size=7)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [300, 20, 6]
        assert splits.probe is splits.test

    def test_a_val_folder_beside_a_test_folder_is_taken_whole(self, tmp_path):
        for part, count in {"train": 9, "val": 4, "test": 3}.items():
            plant(tmp_path / part, {"cat": count, "dog": count})
        splits = stream_splits(tmp_path, image_size=7)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [18, 8, 6]

    def test_a_small_folder_gives_a_tenth_of_train(self, tree):
        splits = stream_splits(tree, image_size=7)
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [36, 4, 10]

    def test_goes_to_a_device_whole(self, tree):
        moved = stream_splits(tree, image_size=7).to("meta")
        assert moved.train.labels.device.type == moved.val.device.type == "meta"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"cat", "dog"}, "class_names must be names in a fixed order, such as a tuple, not {"),
        ({"cat": 0, "dog": 1}, "class_names must be names in a fixed order"),
        ("catdog", "class_names must be names in a fixed order, such as a tuple, not 'catdog'"),
        ((b"cat", b"dog"), "class_names must be texts, not b'cat'"),
        (("cat", "dog", None), "class_names must be texts, not None"),
        (("cat", "dog", "cat "), "class_names holds 'cat' 2 times, and a label must have one name of its own"),
        (("cat", "dog", ""), "class_names holds an empty name"),
    ],
)
def test_names_of_classes_that_say_no_order_are_refused(tmp_path, names, message):
    plant(tmp_path, {"cat": 2, "dog": 2})
    with pytest.raises(KdlibError, match=message):
        FolderStream(tmp_path, class_names=names)


def test_names_of_classes_in_any_sequence_give_one_hash(tmp_path):
    plant(tmp_path, {"cat": 2, "dog": 2})
    kinds = [("cat", "dog"), ["cat", "dog"], np.array(["cat", "dog"])]
    assert len({FolderStream(tmp_path, class_names=names).content_hash() for names in kinds}) == 1
