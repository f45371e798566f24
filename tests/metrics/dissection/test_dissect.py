"""The dissector against its definition, worked examples, and the traps of the published implementations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dissection_twin import slow_dissection, slow_thresholds

from kdlib.errors import KdlibError
from kdlib.metrics.dissection import active_pixels, tally
from kdlib.metrics.dissection.dissect import Dissection, dissect_activations

NAMES = {
    "object": ("unlabelled", "cat", "dog", "cow"),
    "part": ("unlabelled", "ear", "leg"),
    "scene": ("unlabelled", "field", "street"),
}
NUM_CONCEPTS = {category: len(names) - 1 for category, names in NAMES.items()}


def random_case(
    seed: int = 0, images: int = 12, units: int = 6, cells: tuple[int, int] = (5, 4), size: tuple[int, int] = (17, 22)
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Post-ReLU maps, masks of another size and shape; some images lack a category, scenes are image-level."""
    generator = torch.Generator().manual_seed(seed)
    activations = torch.randn(images, units, *cells, generator=generator).relu()
    objects = torch.randint(0, 4, (images, 4, 4), generator=generator)
    objects = F.interpolate(objects[:, None].float(), size=size)[:, 0].to(torch.uint8)
    parts = torch.randint(0, 3, (images, *size), generator=generator)
    parts[torch.rand(images, *size, generator=generator) < 0.8] = 0
    objects[1], parts[:4] = 0, 0
    scenes = torch.randint(0, 3, (images, 1, 1), generator=generator).expand(images, *size)
    return activations, {"object": objects, "part": parts, "scene": scenes}


def batched(activations: torch.Tensor, masks: dict[str, torch.Tensor], batch_size: int = 5) -> list:
    return [
        (activations[i : i + batch_size], {category: m[i : i + batch_size] for category, m in masks.items()})
        for i in range(0, len(activations), batch_size)
    ]


def dissected(activations, masks, batch_size: int = 5, names=NAMES, **options) -> Dissection:
    return dissect_activations(batched(activations, masks, batch_size), names, **options)


def assert_same(a: Dissection, b: Dissection) -> None:
    """Equal to the bit in every field."""
    for field in dataclasses.fields(Dissection):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right), field.name
        elif field.name in ("iou", "coverage", "ceiling"):
            assert all(torch.equal(left[key], right[key]) for key in left), field.name
        elif field.name != "tally":
            assert left == right, field.name


# The definition.


@pytest.mark.parametrize("denominator", ["lite", "original"])
@pytest.mark.parametrize("quantile", [0.005, 0.1])
@pytest.mark.parametrize(
    "sizes",
    [((5, 4), (17, 22)), ((7, 7), (28, 28)), ((8, 8), (8, 8)), ((1, 1), (6, 5)), ((9, 6), (4, 6)), ((3, 2), (20, 3))],
)
def test_equals_the_slow_twin(sizes, quantile, denominator):
    activations, masks = random_case(seed=sum(sizes[0]), cells=sizes[0], size=sizes[1])
    iou, pixels = slow_dissection(activations, masks, NUM_CONCEPTS, denominator, quantile)
    found = dissected(activations, masks, denominator=denominator, quantile=quantile)
    assert np.array_equal(found.thresholds.numpy(), slow_thresholds(activations, quantile))
    assert np.array_equal(found.tally.activated_pixels.numpy(), pixels)
    for category, expected in iou.items():
        assert np.array_equal(found.iou[category].numpy(), expected), category
    assert any((expected > 0).any() for expected in iou.values())


def test_two_images_by_hand():
    # Two images, one unit of 1x2 cells, masks of 1x4 pixels: pixels read the cells at -1/4, 1/4, 3/4, 5/4.
    activations = torch.tensor([[[[0.0, 8.0]]], [[[4.0, 1.0]]]])
    masks = {
        "object": torch.tensor([[[0, 1, 1, 1]], [[2, 2, 0, 1]]]),
        "part": torch.tensor([[[1, 0, 0, 0]], [[0, 0, 0, 0]]]),
        "scene": torch.tensor([1, 0]).view(2, 1, 1).expand(2, 1, 4),
    }
    # Sorted 0, 1, 4, 8; position (1 - 0.5) * 3 = 1.5: threshold 1 + 0.5 * 3 = 2.5.
    # Upsampled: image 0: 0, 2, 6, 8 -> pixels 2, 3; image 1: 4, 3.25, 1.75, 1 -> pixels 0, 1. Four active pixels.
    found = dissected(activations, masks, quantile=0.5)
    assert found.thresholds.tolist() == [2.5]
    assert found.tally.activated_pixels.tolist() == [4]
    assert found.activated_fraction.tolist() == [0.5]
    # object: cat 2 of 2 + 4 - 2... I = 2, A = 4, G = 4; dog: I = 2, A = 4, G = 2.
    assert found.tally.intersection["object"].tolist() == [[2, 2, 0]]
    assert found.tally.concept_area["object"].tolist() == [4, 2, 0]
    assert found.iou["object"][0].tolist() == pytest.approx([2 / 6, 2 / 4, 0], abs=1e-9)
    # part: the ear lies outside the active region: "lite" counts no active pixel, "original" those of image 0.
    assert found.tally.activated_area["lite"]["part"].tolist() == [0]
    assert found.tally.activated_area["original"]["part"].tolist() == [2]
    # scene: a field in image 0 only, on all its 4 pixels: I = 2, A = 2, G = 4.
    assert found.iou["scene"][0].tolist() == pytest.approx([2 / 4, 0], abs=1e-9)
    assert (found.best_category, found.best_concept) == (["object"], ["dog"])
    assert found.score.item() == pytest.approx(0.5, abs=1e-9)
    assert found.coverage["object"].tolist() == [4 / 8, 2 / 8, 0]
    assert found.ceiling["object"].tolist() == [1.0, 0.5, 0]


@pytest.mark.parametrize("cells, size", [((7, 7), (112, 112)), ((4, 6), (13, 5)), ((6, 6), (6, 6)), ((5, 3), (2, 2))])
def test_sparse_masks_are_those_of_interpolate(cells, size):
    activations = torch.randn(3, 4, *cells, generator=torch.Generator().manual_seed(2))
    thresholds = torch.tensor([0.0, 0.7, 1.5, 9.0])
    dense = F.interpolate(activations, size=size, mode="bilinear", align_corners=False) > thresholds.view(1, 4, 1, 1)
    sparse = torch.zeros(3, 4, size[0] * size[1], dtype=torch.bool)
    for found in active_pixels.active_pixels(activations, thresholds, size):
        image, unit = found.image[found.map_index], found.unit[found.map_index]
        sparse[image, unit, found.pixel - image * size[0] * size[1]] = True
        assert torch.equal(found.area, torch.bincount(found.map_index, minlength=len(found.unit)))
    assert torch.equal(sparse.view_as(dense), dense)


# The acceptance tests of a dissector (papers/han2023, 7.5).


def test_a_planted_unit_comes_near_its_ceiling_under_the_right_label():
    # The dog fills 5x5 of 8x8 cells in one image of twenty; the cat stands elsewhere, in other images.
    cells = torch.zeros(1000, 2, 8, 8, dtype=torch.long)
    cells[0::20, 0, 1:6, 2:7] = 1
    cells[3::20, 1, 3:8, 0:5] = 1
    pixels = cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
    # The unit is the dog's mask, stronger in some images than in others.
    strength = (6 * torch.rand(1000, 1, 1, generator=torch.Generator().manual_seed(4))).exp()
    planted = (cells[:, 0] * strength)[:, None]
    found = dissected(planted, {"object": pixels[:, 1] + 2 * pixels[:, 0]}, 50, {"object": NAMES["object"]})
    ceiling = found.ceiling["object"][1].item()
    assert (found.best_category, found.best_concept) == (["object"], ["dog"])
    assert ceiling == pytest.approx(0.005 / (25 / 64 / 20))
    assert 0.85 * ceiling < found.score.item() < 1.05 * ceiling


def test_a_noise_unit_scores_near_chance():
    generator = torch.Generator().manual_seed(5)
    labels = (torch.rand(500, 8, 8, generator=generator) < 0.05).long()
    noise = torch.randn(500, 40, 8, 8, generator=generator)
    found = dissected(noise, {"object": labels}, 100, {"object": ("unlabelled", "cat")}, denominator="original")
    # Independent: I = a g, so IoU = a g / (a + g - a g), less than a = 0.005 whatever g.
    a, g = 0.005, found.coverage["object"].item()
    assert found.score.mean().item() == pytest.approx(a * g / (a + g - a * g), rel=0.1)
    assert found.score.max() < 0.02
    assert found.count() == 0


def test_constant_dead_and_saturated_units_are_never_detectors():
    activations, masks = random_case(units=4)
    activations[:, 0] = 0
    activations[:, 1] = 3.5
    activations[:, 2] = (activations[:, 2] > 0).float()  # reaches its maximum on half of the cells
    found = dissected(activations, masks)
    assert found.dead.tolist() == [True, True, True, False]
    assert found.score[:3].tolist() == [0, 0, 0]
    assert found.best_concept[:3] == ["", "", ""]
    assert found.best_category[:3] == ["", "", ""]
    assert found.activated_fraction[:3].tolist() == [0, 0, 0]
    assert found.detectors(1e-9).tolist() == [False, False, False, True]


def test_iou_is_that_of_the_data_set_not_the_mean_over_images():
    # Image 0 overlaps perfectly on one pixel of four, image 1 on one of two active against four labelled.
    activations = torch.tensor([[[[9.0, 0.0, 0.0, 0.0]]], [[[9.0, 9.5, 0.0, 0.0]]]])
    masks = {"object": torch.tensor([[[1, 0, 0, 0]], [[1, 0, 1, 1]]])}
    found = dissected(activations, masks, names={"object": ("unlabelled", "cat")}, quantile=0.6)
    per_image = [1 / 1, 1 / 4]
    assert found.iou["object"].item() == pytest.approx(2 / 5, abs=1e-9)  # I = 2, A = 3, G = 4
    assert found.iou["object"].item() != pytest.approx(sum(per_image) / 2, abs=0.1)


def test_every_labelled_pixel_counts_for_exactly_one_concept():
    # The published one-hot table became all ones under NumPy 1.23: activated areas six times too large.
    activations, masks = random_case()
    masks = {category: labels.clamp(min=1) for category, labels in masks.items()}  # every pixel labelled
    found = dissected(activations, masks, quantile=0.1)
    for category in masks:
        assert torch.equal(found.tally.intersection[category].sum(1), found.tally.activated_pixels)
        assert torch.equal(found.tally.activated_area["lite"][category], found.tally.activated_pixels)
        assert int(found.tally.concept_area[category].sum()) == found.tally.total_pixels


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64, torch.uint16])
def test_labels_above_255_keep_their_own_column(dtype):
    names = {"object": ("unlabelled", *(f"concept {i}" for i in range(1, 1200)))}
    activations = torch.tensor([[[[0.0, 5.0], [0.0, 0.0]]]])
    masks = torch.tensor([[[44, 1068], [44, 44]]]).to(dtype)  # 1068 = 44 + 4 * 256
    found = dissected(activations, {"object": masks}, names=names, quantile=0.3)
    assert found.best_concept == ["concept 1068"]
    assert found.score.item() == pytest.approx(1, abs=1e-9)


def test_maps_are_upsampled_first_and_thresholded_then():
    # Cells 0 and 4, threshold 3: the 4 pixels read 0, 1, 3, 4, of which one exceeds 3.
    # Thresholding first gives the binary cells 0, 1, whose upsampling 0, 0.25, 0.75, 1 marks two pixels.
    activations = torch.tensor([[[[0.0, 4.0]]]])
    masks = {"object": torch.tensor([[[0, 0, 1, 1]]])}
    found = dissected(activations, masks, names={"object": ("unlabelled", "cat")}, quantile=0.25)
    assert found.thresholds.tolist() == [3.0]
    assert found.tally.activated_pixels.tolist() == [1]
    binary = F.interpolate((activations > 3).float(), size=(1, 4), mode="bilinear", align_corners=False)
    assert int((binary > 0.5).sum()) == 2


def test_the_mask_is_strictly_above_the_threshold():
    # Half of the cells are at the threshold itself.
    activations = torch.tensor([[[[2.0, 2.0, 2.0, 5.0]]]])
    masks = {"object": torch.tensor([[[1, 1, 1, 1]]])}
    found = dissected(activations, masks, names={"object": ("unlabelled", "cat")}, quantile=0.5)
    assert found.thresholds.tolist() == [2.0]
    assert found.tally.activated_pixels.tolist() == [1]


def test_an_image_without_a_category_adds_nothing_to_its_denominator():
    activations, masks = random_case()
    found = dissected(activations, masks, quantile=0.1)
    # Taking the objects out of half of the images leaves the other half to count, and other categories alone.
    fewer = {**masks, "object": masks["object"].clone()}
    fewer["object"][6:] = 0
    less = dissected(activations, fewer, quantile=0.1)
    one_image = [dissected_at(activations[i : i + 1], found.thresholds) for i in range(6)]
    labelled = [bool(fewer["object"][i].any()) for i in range(6)]
    assert labelled.count(False) == 1
    counting = sum(area for area, has in zip(one_image, labelled, strict=True) if has)
    assert torch.equal(less.tally.activated_area["original"]["object"], counting)
    assert (less.tally.activated_area["lite"]["object"] <= counting).all()
    for rule in ("lite", "original"):
        assert torch.equal(less.tally.activated_area[rule]["part"], found.tally.activated_area[rule]["part"])
        assert torch.equal(less.tally.activated_area[rule]["scene"], found.tally.activated_area[rule]["scene"])


def dissected_at(activations: torch.Tensor, thresholds: torch.Tensor) -> torch.Tensor:
    """Active pixels of each unit, (U,), by dense upsampling."""
    dense = F.interpolate(activations, size=(17, 22), mode="bilinear", align_corners=False)
    return (dense > thresholds.view(1, -1, 1, 1)).sum((0, 2, 3))


def test_a_lower_tau_finds_at_least_as_many_detectors():
    found = dissected(*random_case(units=40), quantile=0.05)
    counts = found.curve([0.02, 0.04, 0.05, 0.15, 0.5])
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]
    assert counts[2] == found.count() == int((found.score >= 0.05).sum())
    best = found.score.max().item()
    assert (found.count(best), found.count(best * (1 + 1e-12))) == (1, 0)  # reaching tau is enough


def test_the_area_under_the_curve_is_what_many_thresholds_add_up_to():
    found = dissected(*random_case(units=40), quantile=0.05)
    taus = [(step + 0.5) / 1000 for step in range(1000)]
    assert found.curve_area == pytest.approx(sum(found.curve(taus)) / 40 / 1000, abs=5e-4)
    assert found.curve_area > 0


# The two denominators and the ways of counting.


def test_both_denominators_come_from_one_pass():
    activations, masks = random_case()
    lite = dissected(activations, masks, quantile=0.1)
    original = dissected(activations, masks, quantile=0.1, denominator="original")
    assert_same(lite.with_denominator("original"), original)
    assert_same(original.with_denominator("lite"), lite)
    assert all((lite.iou[category] >= original.iou[category]).all() for category in NAMES)
    assert any((lite.iou[category] > original.iou[category]).any() for category in NAMES)


def test_a_unit_has_one_label_but_may_count_in_several_categories():
    activations = torch.tensor([[[[0.0, 5.0], [0.0, 0.0]]]])
    masks = {"object": torch.tensor([[[0, 1], [1, 0]]]), "part": torch.tensor([[[0, 2], [0, 0]]])}
    names = {category: NAMES[category] for category in masks}
    found = dissected(activations, masks, names=names, quantile=0.3)
    assert (found.best_category, found.best_concept) == (["part"], ["leg"])
    assert found.count_by_category() == {"object": 0, "part": 1}
    assert found.count_by_category(exclusive=False) == {"object": 1, "part": 1}


def test_units_are_counted_not_concepts():
    activations = torch.zeros(1, 3, 2, 2)
    activations[0, 0, 0, 1] = activations[0, 1, 0, 1] = activations[0, 2, 1, 0] = 1.0
    masks = {"object": torch.tensor([[[0, 1], [2, 0]]])}
    found = dissected(activations, masks, names={"object": NAMES["object"]}, quantile=0.3)
    assert found.best_concept == ["cat", "cat", "dog"]
    assert (found.count(), found.unique_concepts()) == (3, 2)


def test_exclusive_counts_sum_to_the_count():
    found = dissected(*random_case(units=40), quantile=0.05)
    for tau in (0.02, 0.05, 0.1):
        assert sum(found.count_by_category(tau).values()) == found.count(tau)
        assert sum(found.count_by_category(tau, exclusive=False).values()) >= found.count(tau)


def test_score_is_the_best_iou_of_all_categories():
    found = dissected(*random_case(units=20), quantile=0.05)
    everything = torch.cat(list(found.iou.values()), 1)
    assert torch.equal(found.score, everything.amax(1))
    for unit, (category, concept) in enumerate(zip(found.best_category, found.best_concept, strict=True)):
        assert found.iou[category][unit, found.concept_names[category].index(concept)] == found.score[unit]


def test_no_unit_exceeds_the_ceiling_of_its_own_activated_fraction():
    activations, masks = random_case(units=20)
    masks = {**masks, "scene": masks["scene"].clamp(min=1)}  # in every image: all active pixels count
    found = dissected(activations, masks, quantile=0.05, denominator="original")
    a, g = found.activated_fraction[:, None], found.coverage["scene"][None]
    reachable = torch.minimum(a, g) / torch.maximum(a, g)
    assert (found.iou["scene"] <= reachable + 1e-12).all()
    assert (found.iou["scene"] > 0.5 * reachable).any()


@pytest.mark.parametrize("g, ceiling", [(0.00025, 0.05), (0.02, 0.25), (0.05, 0.10), (0.10, 0.05), (0.20, 0.025)])
def test_ceiling_of_the_paper_file(g, ceiling):
    pixels = round(g * 20000)
    labels = (torch.arange(20000) < pixels).long().view(1, 100, 200)
    activations = torch.randn(1, 1, 10, 20, generator=torch.Generator().manual_seed(0))
    found = dissected(activations, {"object": labels}, names={"object": ("unlabelled", "cat")})
    assert found.coverage["object"].item() == pytest.approx(g)
    assert found.ceiling["object"].item() == pytest.approx(ceiling)


def test_a_concept_that_never_occurs_has_no_coverage_no_ceiling_and_no_detector():
    activations, masks = random_case()
    masks["object"] = torch.where(masks["object"] == 3, 0, masks["object"])
    found = dissected(activations, masks, quantile=0.1)
    assert found.coverage["object"][2] == found.ceiling["object"][2] == 0
    assert (found.iou["object"][:, 2] == 0).all()


def test_summary_is_plain_numbers():
    found = dissected(*random_case(units=20), quantile=0.05)
    summary = found.summary()
    assert all(type(value) in (int, float) for value in summary.values())
    assert summary["units"] == 20
    assert summary["detectors"] == sum(summary[f"detectors_{category}"] for category in NAMES)


# Sparse units.


def test_a_unit_that_fires_on_too_few_cells_has_threshold_zero_and_says_so():
    activations, masks = random_case(images=60, units=2, cells=(8, 8), size=(16, 16))
    activations[:, 0] = 0
    activations[7, 0, 3, 3] = 2.0  # one cell of 3,840, not 0.5 %
    found = dissected(activations, masks)
    assert found.thresholds[0] == 0
    assert not found.dead[0]
    assert 0 < found.activated_fraction[0] < 0.005
    iou, _ = slow_dissection(activations, masks, NUM_CONCEPTS, "lite")
    assert all(np.array_equal(found.iou[category].numpy(), iou[category]) for category in NAMES)


# Invariances, all to the bit.


@pytest.mark.parametrize("batch_size", [1, 3, 12, 100])
def test_batch_size_changes_nothing(batch_size):
    activations, masks = random_case()
    assert_same(dissected(activations, masks, batch_size), dissected(activations, masks, 5))


def test_order_of_images_changes_nothing():
    activations, masks = random_case()
    order = torch.randperm(len(activations), generator=torch.Generator().manual_seed(9))
    shuffled = {category: labels[order] for category, labels in masks.items()}
    assert_same(dissected(activations[order], shuffled), dissected(activations, masks))


def test_order_of_units_only_reorders_them():
    activations, masks = random_case()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    straight, permuted = dissected(activations, masks), dissected(activations[:, order], masks)
    assert torch.equal(permuted.score, straight.score[order])
    assert permuted.best_concept == [straight.best_concept[unit] for unit in order]


def test_scale_of_a_units_activations_changes_nothing_but_its_threshold():
    activations, masks = random_case()
    scale = torch.tensor([0.25, 0.5, 1, 2, 1024, 2**-20]).view(1, 6, 1, 1)  # powers of two: exact in floating point
    straight, scaled = dissected(activations, masks), dissected(activations * scale, masks)
    assert torch.equal(scaled.thresholds, straight.thresholds * scale.view(-1))
    assert all(torch.equal(scaled.iou[category], straight.iou[category]) for category in NAMES)


def test_an_image_level_label_equals_the_same_label_on_every_pixel():
    activations, masks = random_case()
    spread = {category: labels.clone(memory_format=torch.contiguous_format) for category, labels in masks.items()}
    assert tally.is_whole_image(masks["scene"]) and not tally.is_whole_image(spread["scene"])
    assert_same(dissected(activations, spread, quantile=0.1), dissected(activations, masks, quantile=0.1))


def test_pieces_of_bounded_memory_change_nothing(monkeypatch):
    activations, masks = random_case()
    expected = dissected(activations, masks, quantile=0.1)
    monkeypatch.setattr(active_pixels, "PIXELS_AT_ONCE", 50)
    assert len(list(active_pixels.active_pixels(activations, expected.thresholds, (17, 22)))) > 10
    assert_same(dissected(activations, masks, quantile=0.1), expected)


def test_half_precision_activations_are_dissected_in_single_precision():
    activations, masks = random_case()
    half = activations.half()
    assert_same(dissected(half, masks), dissected(half.float(), masks))


# What is refused.


def test_refusals():
    activations, masks = random_case()
    for options, message in [
        ({"quantile": 0}, "quantile must be"),
        ({"quantile": 1.5}, "quantile must be"),
        ({"denominator": "light"}, "did you mean 'lite'"),
        ({"names": {}}, "no concept masks"),
        ({"names": {**NAMES, "color": ("unlabelled", "red")}}, "no masks of category 'color'"),
        ({"names": {**NAMES, "object": ("unlabelled", "cat")}}, "'object' holds label 3, but only labels 0 to 1"),
        ({"num_images": 11}, "announced"),
        ({"num_images": 13}, "announced"),
    ]:
        with pytest.raises(KdlibError, match=message):
            dissected(activations, masks, **options)
    with pytest.raises(KdlibError, match="read twice"):
        dissect_activations(iter(batched(activations, masks)), NAMES)
    with pytest.raises(KdlibError, match="no images"):
        dissect_activations([], NAMES)
    with pytest.raises(KdlibError, match="shape"):
        dissected(activations.flatten(2), masks)
    with pytest.raises(KdlibError, match="tau must be"):
        dissected(activations, masks).count(0)
    with pytest.raises(KdlibError, match="all masks must have one size"):
        dissected(activations, {**masks, "part": masks["part"][:, :5]})
    with pytest.raises(KdlibError, match="must have shape"):
        dissect_activations([(activations, {category: m[:3] for category, m in masks.items()})], NAMES)
    with pytest.raises(KdlibError, match="all images must have one size"):
        dissect_activations([*batched(activations, masks), (activations[..., :2], masks)], NAMES)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_are_refused(value):
    activations, masks = random_case()
    activations[5, 2, 1, 1] = value
    with pytest.raises(KdlibError, match="not finite"):
        dissected(activations, masks)


def test_reachable_concepts_are_those_whose_ceiling_reaches_the_threshold():
    masks = torch.zeros(10, 10, 10, dtype=torch.int64)
    masks[0, 0, :5] = 1  # covers 0.005
    masks[1:3] = 2  # covers 0.2
    found = dissect_activations([(torch.rand(10, 2, 10, 10), {"part": masks})], {"part": ("unlabelled", "a", "b")})
    assert found.reachable(0.05) == sum(int((ceiling >= 0.05).sum()) for ceiling in found.ceiling.values()) == 1
    assert found.reachable(0.02) == 2  # 0.005 / 0.2 = 0.025
    assert found.reachable(0.05, fraction=0.02) == 2
    assert found.reachable(0.05, fraction=1e-5) == 0
