"""One unit on images of one kind: brightness and shares are those of the definition, and the choices follow a rule."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdlib.capture import features_of
from kdlib.data.broden import BrodenFolder, export_broden
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.image_set import Batch, ConceptMap, ImageSet
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.dissect import dissect
from kdlib.models import build
from kdlib.papers.han2023.figures.activation_maps import (
    UnitOnConcept,
    activation_gallery,
    as_brightness,
    first_that_show,
    inside_in_words,
    inside_table,
    shared_concept,
    unit_on_concept,
    whole_object_in_words,
)

LAYER = "layer3"


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(80, seed=1)


@pytest.fixture(scope="module")
def models():
    seeds = enumerate(("teacher", "scratch", "label_smoothing", "kd"))
    return {name: build("small_resnet", num_classes=20, width=4, features=12, seed=seed) for seed, name in seeds}


@pytest.fixture(scope="module")
def networks(models, scenes):
    return {name: [dissect(model, scenes, LAYER, quantile=0.02)] for name, model in models.items()}


def on_concept(inside: int, active: int = 10, concept: int = 20) -> UnitOnConcept:
    """One image with the concept, one without on which the unit is active too."""
    return UnitOnConcept(
        0, 0.1, torch.tensor([concept, 0]), torch.tensor([active, 90]), torch.tensor([inside, 0]), 100, 1.0
    )


class TestBrightness:
    IMAGE = torch.randint(0, 256, (3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def test_a_silent_unit_leaves_a_fifth_of_every_pixel(self):
        pixels = self.IMAGE.permute(1, 2, 0).float() / 255
        for silent in (torch.zeros(2, 2), torch.full((2, 2), -1.0)):
            assert torch.allclose(as_brightness(self.IMAGE, silent, 5.0), 0.2 * pixels)
        assert torch.allclose(as_brightness(self.IMAGE, torch.zeros(2, 2), 0.0), 0.2 * pixels)  # a dead unit

    def test_the_strongest_activation_leaves_the_image_as_it_is(self):
        pixels = self.IMAGE.permute(1, 2, 0).float() / 255
        assert torch.allclose(as_brightness(self.IMAGE, torch.full((2, 2), 5.0), 5.0), pixels)
        assert torch.allclose(as_brightness(self.IMAGE, torch.full((2, 2), 9.0), 5.0), pixels)

    def test_between_them_it_is_linear_in_the_upsampled_activation(self):
        activation = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
        larger = F.interpolate(activation[None, None], (6, 6), mode="bilinear", align_corners=False)[0, 0]
        expected = self.IMAGE.permute(1, 2, 0) / 255 * (0.2 + 0.8 * larger / 4)[..., None]
        assert torch.allclose(as_brightness(self.IMAGE, activation, 4.0), expected)


class TestShares:
    def test_a_hand_example(self):
        # Identity layer, one unit. Object: the left half of image 0 alone. Active above the threshold: 3 pixels of
        # image 0, of which 2 on the object; 1 pixel of image 1, which does not count.
        images = torch.zeros(2, 1, 2, 4, dtype=torch.uint8)
        images[0, 0] = torch.tensor([[250, 0, 250, 0], [0, 240, 0, 0]])
        images[1, 0, 0, 0] = 255
        masks = torch.zeros(2, 2, 4, dtype=torch.int64)
        masks[0, :, :2] = 1
        probe = ImageSet(
            "toy", images, torch.tensor([0, 0]), ("thing",), ("all",), (0,),
            concepts=(ConceptMap("object", masks, ("unlabelled", "cat")),),
        )  # fmt: skip
        model = nn.Sequential(nn.Identity())
        found = unit_on_concept(dissect(model, probe, "0", quantile=0.25), model, probe, "cat")
        assert (found.concept.tolist(), found.active.tolist(), found.both.tolist()) == ([4, 0], [3, 1], [2, 0])
        assert found.inside == pytest.approx(2 / 3)
        assert found.found == pytest.approx(2 / 4)
        assert found.chance == pytest.approx(4 / 8)
        assert found.strongest == pytest.approx(250 / 255)

    def test_pixels_are_those_that_dissection_counted(self, networks, models, scenes):
        concept = shared_concept(networks)
        for name, (dissection,) in networks.items():
            found = unit_on_concept(dissection, models[name], scenes, concept)
            column = dissection.concept_names["object"].index(concept)
            assert found.iou == pytest.approx(float(dissection.iou["object"][:, column].max()))
            assert int(found.both.sum()) == int(dissection.tally.intersection["object"][found.unit, column])
            assert int(found.active.sum()) == int(dissection.tally.activated_pixels[found.unit])
            assert int(found.concept.sum()) == int(dissection.tally.concept_area["object"][column])

    def test_a_folder_read_image_by_image_gives_the_same(self, models, scenes, tmp_path):
        folder = BrodenFolder(export_broden(scenes, tmp_path / "world"))
        model = models["kd"]
        streamed = dissect(model, folder, LAYER, quantile=0.02)
        concept = shared_concept({"kd": [streamed]})
        one = unit_on_concept(streamed, model, folder, concept)
        other = unit_on_concept(dissect(model, folder.load(), LAYER, quantile=0.02), model, folder.load(), concept)
        assert (one.unit, one.inside, one.found, one.strongest) == (
            other.unit, other.inside, other.found, other.strongest,
        )  # fmt: skip
        figure = activation_gallery({"kd": one}, {"kd": model}, folder, LAYER, concept, count=2)
        assert len(figure.axes) == 4

    def test_a_pixel_may_have_several_labels(self):
        class Layered:
            concept_names = {"object": ("unlabelled", "wheel", "car")}  # noqa: RUF012

            def __len__(self):
                return 1

            def batches(self, batch_size=256):
                images = torch.tensor([[[[250, 0, 0, 0]]]], dtype=torch.uint8)
                labels = torch.tensor([[[[2, 2, 0, 0]], [[1, 0, 0, 0]]]])  # a wheel on a car
                yield Batch(images, torch.tensor([0]), {"object": labels})

        model, probe = nn.Sequential(nn.Identity()), Layered()
        dissection = dissect(model, probe, "0", quantile=0.25)
        for concept, area in (("wheel", 1), ("car", 2)):
            found = unit_on_concept(dissection, model, probe, concept)
            assert (found.concept.tolist(), found.both.tolist(), found.inside) == ([area], [1], 1.0)

    def test_without_active_area_there_is_no_share(self):
        assert np.isnan(on_concept(0, active=0).inside)

    def test_another_probe_set_is_refused(self, networks, models, scenes):
        concept = shared_concept(networks)
        objects = scenes.concept_map("object")
        shows = (objects.labels == objects.names.index(concept)).flatten(1).any(1)
        with pytest.raises(KdlibError, match=f"no probe image shows '{concept}'"):
            unit_on_concept(networks["kd"][0], models["kd"], scenes.subset(~shows), concept)


class TestChoices:
    def test_the_concept_is_the_one_with_the_highest_mean_best_iou(self, networks):
        names = networks["kd"][0].concept_names["object"]
        mean = {
            name: np.mean([float(d.iou["object"][:, place].max()) for (d,) in networks.values()])
            for place, name in enumerate(names)
        }
        assert shared_concept(networks) == max(mean, key=mean.__getitem__)

    def test_seeds_are_averaged_before_networks(self, networks):
        (one,), (other,) = networks["kd"], networks["scratch"]
        best = (one.iou["object"].amax(0) + other.iou["object"].amax(0)) / 2
        mean = (best + one.iou["object"].amax(0)) / 2
        expected = one.concept_names["object"][int(mean.argmax())]
        assert shared_concept({"kd": [one, other], "scratch": [one]}) == expected

    def test_data_without_objects_has_none(self, networks, scenes, models):
        colours = ImageSet(
            "colours", scenes.images, scenes.labels, scenes.class_names, scenes.superclass_names, scenes.superclass_of,
            concepts=(scenes.concept_map("color"),),
        )  # fmt: skip
        assert shared_concept({"kd": [dissect(models["kd"], colours, LAYER)]}) is None
        assert shared_concept(networks, "color") is not None
        assert shared_concept({}) is None

    def test_images_are_the_first_that_show_enough(self):
        areas = torch.tensor([0, 30, 2, 20, 0, 3, 40, 10])
        assert first_that_show(areas, 3).tolist() == [1, 3, 6]  # the median of those that show any is 10
        assert first_that_show(areas, 9).tolist() == [1, 3, 6, 7]


class TestGallery:
    def test_each_row_is_a_network_and_each_picture_its_brightness(self, networks, models, scenes):
        concept = shared_concept(networks)
        units = {name: unit_on_concept(found[0], models[name], scenes, concept) for name, found in networks.items()}
        figure = activation_gallery(units, models, scenes, LAYER, concept, count=2)
        indices = first_that_show(units["kd"].concept, 2)
        grid = np.array(figure.axes).reshape(len(units) + 1, len(indices))
        assert [axis.get_ylabel().split("\n")[0] for axis in grid[:, 0]] == [
            "Image", "Teacher", "Scratch", "Label smoothing", "Distilled (KD)",
        ]  # fmt: skip
        maps = features_of(models["kd"], scenes.inputs(indices), LAYER)[:, units["kd"].unit]
        for axis, index, activation in zip(grid[-1], indices.tolist(), maps, strict=True):
            expected = as_brightness(scenes.images[index], activation, units["kd"].strongest)
            assert np.allclose(axis.images[0].get_array(), expected.numpy())


UNITS = {
    "scratch": [on_concept(5), on_concept(6), on_concept(5)],
    "label_smoothing": [on_concept(5), on_concept(5), on_concept(6)],
    "kd": [on_concept(8), on_concept(9), on_concept(8)],
}


class TestWords:
    def test_a_row_a_network(self):
        rows = inside_table(UNITS | {"teacher": [on_concept(7)]})
        assert [row["network"] for row in rows] == ["Scratch", "Label smoothing", "Distilled (KD)", "Teacher"]
        precision, coverage = list(rows[0])[2:]
        assert precision.startswith("precision") and coverage.startswith("coverage")
        shares = [row[precision] for row in rows]
        assert shares == ["53.3 (50 to 60)", "53.3 (50 to 60)", "83.3 (80 to 90)", "70.0"]
        assert rows[2][coverage] == "41.7 (40 to 45)"
        assert inside_table({"kd": [on_concept(0, active=0)]})[0][precision] == "–"

    def test_only_what_excludes_zero_is_called_a_difference(self):
        kd, smoothing = (
            inside_in_words(UNITS)
            .removeprefix("Distilled (KD) minus scratch: ")
            .split("Label smoothing minus scratch: ")
        )
        assert kd.startswith("precision +30") and "coverage +15" in kd
        assert "It covers more of the object; more of its active area lies on it." in kd
        assert "These 3 seeds can't tell either from chance." in smoothing

    def test_precision_and_coverage_are_judged_apart(self):
        # Twice the active area at the same share on the object: more coverage, the same precision.
        larger = {"kd": [on_concept(2 * found.both[0], active=20) for found in UNITS["scratch"]]}
        kd = inside_in_words(UNITS | larger).split("Label smoothing")[0]
        assert "It covers more of the object; no difference in precision is shown." in kd
        smaller = {"kd": [on_concept(5, active=5), on_concept(6, active=6), on_concept(5, active=5)]}
        kd = inside_in_words(UNITS | smaller).split("Label smoothing")[0]
        assert "No difference in coverage is shown; more of its active area lies on it." in kd

    def test_one_seed_and_silent_units_are_said(self):
        first = {name: found[:1] for name, found in UNITS.items()}
        assert inside_in_words(first).count("One seed can't tell either from chance.") == 2
        silent = UNITS | {"kd": [on_concept(0, active=0)] * 3}
        assert "Distilled (KD) minus scratch: no comparison" in inside_in_words(silent)

    def test_coverage_has_a_ceiling_that_the_size_of_a_region_sets(self):
        # 2 images of 100 pixels, 20 of them the object: a unit active on 5 % of all reaches half of it.
        words = whole_object_in_words(UNITS, "dog", 0.05)
        assert "More than about 50 % can't be" in words and "active on 5 % of all cells" in words
        mean = np.mean([found.found for by_seed in UNITS.values() for found in by_seed])
        assert f"active on {100 * mean:.1f} % of the area of “dog” (coverage)" in words
        assert "on the 1 images that show the object" in words and "would have 20.0 %" in words
        assert "More than about 100 % can't be" in whole_object_in_words(UNITS, "dog", 0.5)

    def test_a_concept_is_named_as_it_is_written(self):
        assert "$" not in whole_object_in_words(UNITS, "$5 to $10", 0.05)
