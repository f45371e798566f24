"""What an ImageSet promises: it refuses what does not fit together, and keeps images and masks together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kdlib.data.image_set import Batch, ConceptMap, ImageSet
from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError

N, SIZE = 6, 4


def make_set(**changes) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    parts = torch.randint(3, (N, SIZE, SIZE), generator=generator)
    scenes = (torch.arange(N) % 3).view(N, 1, 1).expand(N, SIZE, SIZE)
    fields = {
        "name": "tiny",
        "images": torch.randint(256, (N, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        "labels": torch.arange(N) % 3,
        "class_names": ("cat", "dog", "car"),
        "superclass_names": ("animal", "vehicle"),
        "superclass_of": (0, 0, 1),
        "foreground": parts > 0,
        "concepts": (
            ConceptMap("part", parts, ("unlabelled", "ear", "wheel")),
            ConceptMap("scene", scenes, ("unlabelled", "street", "meadow")),
        ),
    }
    return ImageSet(**{**fields, **changes})


class TestConceptMap:
    def test_image_level_map_takes_no_memory_per_pixel(self):
        scenes = make_set().concept_map("scene").labels
        assert scenes.stride()[1:] == (0, 0)
        assert scenes.untyped_storage().nbytes() == N * 8

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"category": "colour"}, "unknown concept category 'colour'; did you mean 'color'"),
            ({"labels": torch.zeros(2, 4)}, r"'object' must hold integers of shape \(N, H, W\).*\(2, 4\)"),
            ({"labels": torch.zeros(2, 4, 4)}, "must hold integers.*torch.float32"),
            ({"labels": torch.zeros(2, 4, 4, dtype=torch.bool)}, "must hold integers.*torch.bool"),
            ({"names": ("cat", "dog")}, "first name of concept map 'object' must be 'unlabelled'"),
            ({"names": ()}, "first name of concept map 'object' must be 'unlabelled'"),
            ({"labels": torch.full((2, 4, 4), 2)}, "holds label 2, but only labels 0 to 1 have names"),
            ({"labels": torch.tensor([1, 5]).view(2, 1, 1).expand(2, 4, 4)}, "holds label 5"),
        ],
    )
    def test_refuses_in_one_sentence(self, changes, message):
        fields = {"category": "object", "labels": torch.zeros(2, 4, 4, dtype=torch.int64), "names": ("unlabelled", "a")}
        with pytest.raises(KdlibError, match=message):
            ConceptMap(**{**fields, **changes})

    def test_refuses_a_negative_label(self):
        with pytest.raises(KdlibError, match="concept map 'object'"):
            ConceptMap("object", torch.full((1, 2, 2), -1), ("unlabelled", "cat"))


class TestValidation:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"images": torch.zeros(N, 3, SIZE, SIZE)}, r"images of 'tiny' must be uint8 of shape \(N, C, H, W\)"),
            ({"images": torch.zeros(N, SIZE, SIZE, dtype=torch.uint8)}, r"not torch.uint8 of shape \(6, 4, 4\)"),
            ({"images": torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)}, "'tiny' holds no image"),
            ({"labels": torch.zeros(5, dtype=torch.int64)}, r"labels of 'tiny' must be int64 of shape \(6,\)"),
            ({"labels": torch.zeros(N, dtype=torch.int32)}, "not torch.int32"),
            ({"labels": torch.full((N,), 3)}, "holds label 3, but it names 3 classes"),
            ({"labels": torch.full((N,), -1)}, "holds label -1"),
            ({"superclass_of": (0, 1)}, "gives a superclass to 2 of 3 classes"),
            ({"superclass_of": (0, 0, 2)}, "names 2 superclasses, but superclass_of runs from"),
            ({"foreground": torch.zeros(N, SIZE, SIZE)}, r"foreground of 'tiny' must be bool of shape \(6, 4, 4\)"),
            ({"foreground": torch.zeros(N, 2, 2, dtype=torch.bool)}, "foreground of 'tiny' must be bool"),
            (
                {"concepts": (ConceptMap("part", torch.zeros(5, 4, 4, dtype=torch.int64), ("unlabelled",)),)},
                "concept map 'part' of 'tiny' has 5 images, not 6",
            ),
            (
                {"concepts": (ConceptMap("part", torch.zeros(N, 4, 4, dtype=torch.int64), ("unlabelled",)),) * 2},
                "two concept maps of one category: part, part",
            ),
        ],
    )
    def test_refuses_in_one_sentence(self, changes, message):
        with pytest.raises(KdlibError, match=message):
            make_set(**changes)

    def test_masks_may_be_coarser_than_images(self):
        half = ConceptMap("object", torch.zeros(N, 2, 2, dtype=torch.uint8), ("unlabelled", "cat"))
        assert make_set(concepts=(half,)).concept_map("object").labels.shape == (N, 2, 2)

    def test_absent_category_is_refused_by_name(self):
        with pytest.raises(KdlibError, match=r"unknown concept category of 'tiny' 'object'.*part, scene"):
            make_set().concept_map("object")


class TestSubset:
    @pytest.mark.parametrize("chosen", [[4, 1], torch.tensor([4, 1]), slice(1, 5, 3)])
    def test_takes_images_with_their_labels_and_masks(self, chosen):
        whole = make_set()
        part = whole.subset(chosen)
        order = [1, 4] if isinstance(chosen, slice) else [4, 1]
        assert torch.equal(part.images, torch.stack([whole.images[i] for i in order]))
        assert part.labels.tolist() == [int(whole.labels[i]) for i in order]
        assert torch.equal(part.foreground, torch.stack([whole.foreground[i] for i in order]))
        for concept in whole.concepts:
            expected = torch.stack([concept.labels[i] for i in order])
            assert torch.equal(part.concept_map(concept.category).labels, expected)

    def test_image_level_maps_stay_expanded(self):
        assert make_set().subset([5, 0, 2]).concept_map("scene").labels.stride()[1:] == (0, 0)
        assert make_set().to("cpu").concept_map("scene").labels.stride()[1:] == (0, 0)

    def test_name(self):
        assert make_set().subset([0]).name == "tiny"
        assert make_set().subset([0], name="one").name == "one"


class TestContentHash:
    def test_same_data_same_hash_whatever_the_set_is_called(self):
        assert make_set().content_hash() == make_set(name="other").content_hash()

    def test_a_subset_of_everything_is_the_same_data(self):
        assert make_set().subset(slice(None)).content_hash() == make_set().content_hash()

    def test_order_is_content(self):
        assert make_set().subset([1, 0, 2, 3, 4, 5]).content_hash() != make_set().content_hash()

    @pytest.mark.parametrize(
        "changes",
        [
            {"images": make_set().images ^ 1},
            {"labels": make_set().labels.flip(0)},
            {"class_names": ("cat", "wolf", "car")},
            {"superclass_of": (0, 1, 1)},
            {"foreground": None},
            {"foreground": ~make_set().foreground},
            {"concepts": ()},
            {"concepts": make_set().concepts[:1]},
        ],
    )
    def test_any_change_of_content_changes_it(self, changes):
        assert make_set(**changes).content_hash() != make_set().content_hash()

    def test_splits_hash_what_shapes_a_training(self):
        parts = {part: make_set() for part in ("train", "val", "test", "probe")}
        splits = Splits("tiny", **parts)
        other = make_set(labels=torch.zeros(N, dtype=torch.int64))
        assert dataclasses.replace(splits, test=other, probe=other).content_hash() == splits.content_hash()
        assert dataclasses.replace(splits, train=other).content_hash() != splits.content_hash()
        assert dataclasses.replace(splits, val=other).content_hash() != splits.content_hash()


class TestBatches:
    def test_cover_everything_once_in_order(self):
        whole = make_set()
        batches = list(whole.batches(4))
        assert [len(batch.images) for batch in batches] == [4, 2]
        assert all(isinstance(batch, Batch) and set(batch.concepts) == {"part", "scene"} for batch in batches)
        assert torch.equal(torch.cat([batch.images for batch in batches]), whole.images)
        assert torch.equal(torch.cat([batch.labels for batch in batches]), whole.labels)
        for concept in whole.concepts:
            seen = torch.cat([batch.concepts[concept.category] for batch in batches])
            assert torch.equal(seen, concept.labels)

    @pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
    def test_refuse_a_batch_size_that_is_no_count(self, batch_size):
        with pytest.raises(KdlibError, match="batch_size must be a whole number of at least 1"):
            next(make_set().batches(batch_size))

    def test_inputs_scales_to_the_unit_interval(self):
        images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).repeat(N, 1, SIZE, SIZE)
        batch = make_set(images=images).inputs(slice(0, 1))
        assert batch.dtype == torch.float32
        assert batch[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.2, 1.0])
        assert images[0, 2, 0, 0] == 255  # the stored images are untouched


class TestChannelStatistics:
    def test_equal_the_slow_twin_in_float64(self):
        whole = make_set()
        mean, deviation = whole.channel_statistics()
        for channel in range(3):
            values = [v / 255 for v in whole.images[:, channel].flatten().tolist()]
            slow_mean = sum(values) / len(values)
            slow_deviation = (sum((v - slow_mean) ** 2 for v in values) / len(values)) ** 0.5
            assert mean[channel] == pytest.approx(slow_mean, abs=1e-12)
            assert deviation[channel] == pytest.approx(slow_deviation, abs=1e-12)

    def test_by_hand(self):
        images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        half = ImageSet("half", images, torch.tensor([0, 0]), ("a",), ("all",), (0,))
        assert half.channel_statistics() == ((0.5,), (0.5,))

    def test_constant_images_can_be_divided_by(self):
        images = torch.full((N, 3, SIZE, SIZE), 7, dtype=torch.uint8)
        assert min(make_set(images=images).channel_statistics()[1]) > 0


class TestSplits:
    def test_parts_must_agree(self):
        whole = make_set()
        for odd in (
            make_set(class_names=("cat", "dog", "bus")),
            make_set(images=torch.zeros(N, 3, 8, 8, dtype=torch.uint8), foreground=None),
        ):
            with pytest.raises(KdlibError, match="parts of one data set have the same classes and the same size"):
                Splits("tiny", train=whole, val=odd, test=whole, probe=whole)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_to_moves_all_four_and_their_masks(self):
        whole = make_set()
        moved = Splits("tiny", whole, whole, whole, whole).to("cuda")
        for part in (moved.train, moved.val, moved.test, moved.probe):
            tensors = [part.images, part.labels, part.foreground, *(concept.labels for concept in part.concepts)]
            assert {tensor.device.type for tensor in tensors} == {"cuda"}
            assert part.content_hash() == whole.content_hash()


def test_shape_properties_and_siblings():
    whole = make_set()
    assert (len(whole), whole.num_classes, whole.channels, whole.image_size) == (N, 3, 3, (SIZE, SIZE))
    assert whole.siblings(0) == [1]
    assert whole.siblings(2) == []
    assert whole.concept_map("part").num_concepts == 2


@pytest.mark.parametrize("kind", [list, np.array])
def test_names_and_superclasses_in_any_sequence_give_one_hash(kind):
    def make(kind):
        images, labels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 2])
        return ImageSet("pets", images, labels, kind(["cat", "dog", "car"]), kind(["animal", "thing"]), kind([0, 0, 1]))

    assert make(kind).content_hash() == make(tuple).content_hash()
    assert make(kind).class_names == ("cat", "dog", "car") and make(kind).superclass_of == (0, 0, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"class_names": "abc"}, "class_names of 'pets' must be names in a fixed order, such as a tuple, not 'abc'"),
        ({"class_names": {"a", "b", "c"}}, "class_names of 'pets' must be names in a fixed order, .*, not {"),
        ({"class_names": (b"a", b"b", b"c")}, "class_names of 'pets' must be texts, not b'a'; write it as one"),
        ({"superclass_names": (None,)}, "superclass_names of 'pets' must be texts, not None"),
        ({"superclass_of": None}, "superclass_of of 'pets' must be a whole number for each class, not None"),
        ({"superclass_of": (0, 0, "0")}, "superclass_of of 'pets' must be a whole number for each class, not "),
        ({"labels": [0, 1, 2]}, "images and labels of 'pets' must be tensors of torch; make them by torch.tensor"),
    ],
)
def test_what_is_no_sequence_of_names_or_numbers_is_refused(given, message):
    whole = {"images": torch.zeros(3, 1, 4, 4, dtype=torch.uint8), "labels": torch.tensor([0, 1, 2])}
    whole |= {"class_names": ("a", "b", "c"), "superclass_names": ("all",), "superclass_of": (0, 0, 0)}
    with pytest.raises(KdlibError, match=message):
        ImageSet(name="pets", **(whole | given))
