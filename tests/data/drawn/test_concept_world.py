"""Concept World: what it promises about its scenes, checked on drawn scenes."""

from __future__ import annotations

import math

import pytest
import torch

from kdlib.data.drawn.concept_world import contact_sheet, draw_scenes, load
from kdlib.data.drawn.concept_world_classes import (
    CLASS_NAMES,
    CUE_PARTS,
    SUPERCLASS_NAMES,
    SUPERCLASS_OF,
    SUPERCLASSES,
    parts_of,
)
from kdlib.data.drawn.concept_world_scenes import SCENE_NAMES, SCENES_PER_SUPERCLASS
from kdlib.data.drawn.concept_world_shapes import box, circle, ellipse, fold, polygon, segment
from kdlib.data.image_set import CATEGORIES
from kdlib.errors import KdlibError


@pytest.fixture(scope="module")
def probe():
    """The default probe split: 2,000 images of 32x32, scenes independent of the objects."""
    return load(n_train=20, n_val=20, n_test=20).probe


@pytest.fixture(scope="module")
def train():
    return load(n_train=4000, n_val=20, n_test=20, n_probe=20, image_size=16).train


def named(scenes, category, name):
    """Mask (N, H, W) of a concept."""
    concept = scenes.concept_map(category)
    return concept.labels == concept.names.index(name)


# ---- what is in the world -------------------------------------------------------------------------------------------


def test_twenty_classes_in_five_superclasses_of_four_siblings(probe):
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == 20
    assert len(SUPERCLASS_NAMES) == 5
    assert [SUPERCLASS_OF.count(s) for s in range(5)] == [4] * 5
    assert probe.class_names == CLASS_NAMES
    assert probe.superclass_of == SUPERCLASS_OF


@pytest.mark.parametrize("index", range(20), ids=CLASS_NAMES)
def test_siblings_share_every_part_but_the_cue(index):
    superclass = SUPERCLASSES[SUPERCLASS_OF[index]]
    shared = {part.name for part in (*superclass.behind, *superclass.before)}
    cue = set(CUE_PARTS[CLASS_NAMES[index]])
    assert {part.name for part in parts_of(index)} == shared | cue
    assert not cue & shared
    for sibling, other in CUE_PARTS.items():
        assert sibling == CLASS_NAMES[index] or not cue & set(other)


def test_classes_are_equal_in_number_and_in_random_order():
    labels = draw_scenes(210, seed=3, image_size=16).labels
    counts = torch.bincount(labels, minlength=20)
    assert int(counts.min()) == 10
    assert int(counts.max()) == 11
    assert not torch.equal(labels, labels.sort().values)


def test_all_six_categories_of_broden_in_their_order(probe):
    assert tuple(concept.category for concept in probe.concepts) == CATEGORIES


# ---- the masks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_concept_can_be_detected(probe, category):
    # A unit that is active on 0.5 % of all pixels reaches IoU 0.05 only on concepts that cover 0.025 % to 10 %.
    concept = probe.concept_map(category)
    pixels = torch.bincount(concept.labels.flatten().long(), minlength=len(concept.names))
    coverage = {name: int(count) / concept.labels.numel() for name, count in zip(concept.names, pixels, strict=True)}
    del coverage["unlabelled"]
    undetectable = {name: share for name, share in coverage.items() if not 0.00025 <= share <= 0.10}
    assert not undetectable


def test_the_foreground_is_the_object_of_the_image_and_nothing_else(probe):
    object_map = probe.concept_map("object")
    own = torch.tensor([object_map.names.index(name) for name in CLASS_NAMES])[probe.labels]
    assert torch.equal(probe.foreground, object_map.labels == own.view(-1, 1, 1))
    for index, name in enumerate(CLASS_NAMES):
        assert not named(probe, "object", name)[probe.labels != index].any()


def test_parts_and_textures_lie_inside_the_object(probe):
    parts, textures = probe.concept_map("part").labels > 0, probe.concept_map("texture").labels > 0
    assert torch.equal(parts, probe.foreground), "every pixel of an object belongs to one of its parts"
    assert not (textures & ~probe.foreground).any()


@pytest.mark.parametrize("index", range(20), ids=CLASS_NAMES)
def test_an_object_has_the_parts_of_its_class_and_no_other(probe, index):
    parts = probe.concept_map("part")
    seen = parts.labels[probe.labels == index].unique().tolist()
    assert {parts.names[code] for code in seen} - {"unlabelled"} == {part.name for part in parts_of(index)}


def test_every_object_is_visible_and_nearly_every_cue(probe):
    assert float(probe.foreground.float().mean((1, 2)).min()) > 0.02
    part = probe.concept_map("part")
    seen = [set(part.labels[i].unique().tolist()) for i in range(len(probe))]
    cues = [{part.names.index(name) for name in CUE_PARTS[CLASS_NAMES[label]]} for label in probe.labels.tolist()]
    cue = torch.tensor([bool(a & b) for a, b in zip(seen, cues, strict=True)])
    assert 0.9 < float(cue.float().mean()) < 1.0, "what stands in front hides a few cues, not many"


def test_fixed_materials_and_colours_follow_the_part(probe):
    for part, material, colour in (
        ("wheel", "rubber", "black"),
        ("roof", "roof tile", "brown"),
        ("funnel", "metal", "red"),
    ):
        mask = named(probe, "part", part)
        assert mask.any()
        assert named(probe, "material", material)[mask].all()
        assert named(probe, "color", colour)[mask].all()


def test_one_scene_per_image(probe):
    scenes = probe.concept_map("scene").labels
    assert scenes.stride()[1:] == (0, 0), "image-level labels cost no memory"
    assert int(scenes.min()) == 1
    assert int(scenes.max()) == len(SCENE_NAMES) == 30


def test_colours_look_like_their_names():
    # Plain daylight, no noise: the mean pixel of a colour is nearest to that colour among the strong ones.
    scenes = draw_scenes(600, seed=5, noise=0.0, occlusion=0.0)
    day = torch.tensor([name.endswith("by day") for name in SCENE_NAMES])[
        scenes.concept_map("scene").labels[:, 0, 0].long() - 1
    ]
    mean = {}
    for name in ("red", "green", "blue", "yellow"):
        mask = named(scenes, "color", name) & scenes.foreground & day.view(-1, 1, 1)
        mean[name] = scenes.images.permute(0, 2, 3, 1)[mask].float().mean(0)
    assert int(mean["red"].argmax()) == 0
    assert int(mean["green"].argmax()) == 1
    assert int(mean["blue"].argmax()) == 2
    assert int(mean["yellow"].argmin()) == 2


# ---- chance and determinism -----------------------------------------------------------------------------------------


def test_same_seed_same_bits_other_seed_other_scenes():
    first, again, other = (draw_scenes(60, seed=seed, image_size=24) for seed in (7, 7, 8))
    assert first.content_hash() == again.content_hash()
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("pixels_at_once", [1, 24 * 24 * 7, 24 * 24 * 41])
def test_the_size_of_pieces_changes_nothing(pixels_at_once):
    whole = draw_scenes(60, seed=7, image_size=24)
    assert draw_scenes(60, seed=7, image_size=24, pixels_at_once=pixels_at_once).content_hash() == whole.content_hash()


def test_drawing_leaves_global_random_numbers_and_threads_alone():
    torch.manual_seed(0)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    draw_scenes(20, image_size=16)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_splits_are_independent_of_each_other():
    small = load(seed=1, n_train=40, n_val=40, n_test=40, n_probe=40, image_size=16)
    larger = load(seed=1, n_train=80, n_val=40, n_test=40, n_probe=40, image_size=16)
    assert torch.equal(small.test.images, larger.test.images)
    parts = [small.train, small.val, small.test, small.probe]
    for i, one in enumerate(parts):
        for other in parts[:i]:
            same = (one.images[:, None] == other.images[None]).flatten(2).all(2)
            assert not same.any()


def share_in_own_scenes(scenes):
    scene = scenes.concept_map("scene").labels[:, 0, 0].long() - 1
    superclass = torch.tensor(SUPERCLASS_OF)[scenes.labels]
    return float((scene // SCENES_PER_SUPERCLASS == superclass).float().mean())


def test_train_scenes_tell_the_superclass_as_often_as_asked(train):
    # With rho = 0.7: own scene type deliberately (0.7) or by chance (0.3 / 5).
    expected = 0.7 + 0.3 / 5
    assert share_in_own_scenes(train) == pytest.approx(
        expected, abs=4 * math.sqrt(expected * (1 - expected) / len(train))
    )


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_extreme_background_correlations(rho):
    share = share_in_own_scenes(draw_scenes(1000, seed=2, image_size=16, background_correlation=rho))
    assert share == pytest.approx(0.2 + 0.8 * rho, abs=4 * math.sqrt(0.16 / 1000) * (1 - rho))


def test_probe_scenes_tell_nothing_of_the_superclass(probe):
    assert share_in_own_scenes(probe) == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / len(probe)))
    scene = probe.concept_map("scene").labels[:, 0, 0].long() - 1
    table = torch.zeros(5, 30)
    table.index_put_((torch.tensor(SUPERCLASS_OF)[probe.labels], scene), torch.ones(len(probe)), accumulate=True)
    expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table.sum()
    chi_squared = float(((table - expected) ** 2 / expected).sum())
    degrees = 4 * 29
    # Chi-squared of independent tables: mean = degrees, variance = 2 degrees; far beyond is dependence.
    assert chi_squared < degrees + 4 * math.sqrt(2 * degrees)


# ---- sizes and mirrors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [48, 64])
def test_the_same_scenes_at_every_size(size):
    small, large = (draw_scenes(60, seed=4, image_size=s, noise=0.0) for s in (32, size))
    assert torch.equal(small.labels, large.labels)
    shrunk, reference = (
        torch.nn.functional.interpolate(s.images.float() / 255, (16, 16), mode="area") for s in (large, small)
    )
    assert float((shrunk - reference).abs().mean()) < 0.02
    per_image = (large.foreground.float().mean((1, 2)) - small.foreground.float().mean((1, 2))).abs()
    assert float(per_image.max()) < 0.02


def test_objects_look_both_ways():
    # Headlights are in front: left of a vehicle's middle as often as right, so that mirroring keeps every class.
    scenes = draw_scenes(400, seed=6, occlusion=0.0)
    column = torch.arange(scenes.image_size[1], dtype=torch.float32).view(1, 1, -1)
    lamp, body = named(scenes, "part", "headlight"), named(scenes, "part", "bodywork")
    seen = lamp.flatten(1).any(1)

    def middle(mask):
        return (mask * column).sum((1, 2))[seen] / mask.sum((1, 2))[seen]

    to_the_right = float((middle(lamp) > middle(body)).float().mean())
    assert 0.3 < to_the_right < 0.7


def test_noise_has_the_standard_deviation_asked_for():
    clean, noisy = (draw_scenes(40, seed=9, noise=noise).images.float() / 255 for noise in (0.0, 0.05))
    mid_tones = (clean > 0.25) & (clean < 0.75)  # away from clipping
    assert float((noisy - clean)[mid_tones].std()) == pytest.approx(0.05, rel=0.03)


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_contact_sheet_places_images_in_reading_order():
    scenes = draw_scenes(40, seed=2, image_size=16)
    sheet, names = contact_sheet(scenes, columns=3, per_class=1, enlarge=2, gap=1)
    assert names == list(CLASS_NAMES)
    assert sheet.shape == (3, 7 * 33 + 1, 3 * 33 + 1)
    fifth = scenes.images[(scenes.labels == 4).nonzero()[0, 0]]
    assert torch.equal(sheet[:, 34:66:2, 34:66:2], fifth)  # second row, second column
    assert (sheet[:, 0] == 255).all()


# ---- shapes against hand-worked distances ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "point", "expected"),
    [
        (lambda u, v: circle(u, v, 0, 0, 1), (0.0, 0.0), -1.0),
        (lambda u, v: ellipse(u, v, 0, 0, 2, 1), (2.0, 0.0), 0.0),
        (lambda u, v: box(u, v, 0, 0, 1, 1), (4.0, 5.0), 5.0),
        (lambda u, v: box(u, v, 0, 0, 1, 2), (0.5, 0.0), -0.5),
        (lambda u, v: segment(u, v, 0, 0, 4, 0, 0.5), (2.0, 2.0), 1.5),
        (lambda u, v: segment(u, v, 0, 0, 4, 0, 0.5), (7.0, 4.0), 4.5),
        (lambda u, v: polygon(u, v, (0, 0), (2, 0), (2, 2), (0, 2)), (1.0, 0.5), -0.5),
        (lambda u, v: fold(u, 2.0), (3.25, 0.0), 0.75),
    ],
)
def test_signed_distances(shape, point, expected):
    u, v = (torch.full((1, 1, 1), value) for value in point)
    assert float(shape(u, v)) == pytest.approx(expected, abs=1e-6)


# ---- bad arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named_in_message"),
    [
        ({"n": 0}, "n must"),
        ({"n": -3}, "-3"),
        ({"n": 2.5}, "2.5"),
        ({"image_size": 15}, "image_size"),
        ({"seed": -1}, "seed"),
        ({"background_correlation": 1.2}, "background_correlation"),
        ({"background_correlation": -0.1}, "background_correlation"),
        ({"background_correlation": math.nan}, "background_correlation"),
        ({"noise": math.inf}, "noise"),
        ({"occlusion": 2.0}, "occlusion"),
        ({"cue_size": (1.0, 0.5)}, "cue_size"),
        ({"cue_size": 1.0}, "cue_size"),
        ({"pixels_at_once": 0}, "pixels_at_once"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, named_in_message):
    with pytest.raises(KdlibError, match=named_in_message):
        draw_scenes(**{"n": 20, **arguments})


@pytest.mark.parametrize(
    "arguments", [{"n_train": 0}, {"n_probe": -1}, {"image_size": 8}, {"background_correlation": math.nan}]
)
def test_load_refuses_bad_arguments_too(arguments):
    with pytest.raises(KdlibError, match=next(iter(arguments))):
        load(**{"n_train": 20, "n_val": 20, "n_test": 20, "n_probe": 20, **arguments})


# ---- the regimes of a background: independent, correlated in training only, plain -----------------------------------


def own_scenes(part):
    """Share of images whose scene is one of the six of their superclass; 0.2 if nothing tells."""
    scene = part.concept_map("scene").labels[:, 0, 0].long() - 1
    return float((scene // 6 == torch.tensor(part.superclass_of)[part.labels]).float().mean())


def test_scenes_may_tell_the_superclass_in_train_and_val_and_nothing_in_test():
    options = {"n_train": 600, "n_val": 600, "n_test": 600, "n_probe": 20, "image_size": 16}
    usual = load(background_correlation=0.8, **options)
    splits = load(background_correlation=0.8, test_correlation=0.0, **options)
    for part, expected in ((splits.train, 0.84), (splits.val, 0.84), (splits.test, 0.2), (usual.test, 0.84)):
        assert own_scenes(part) == pytest.approx(expected, abs=4 * (0.25 / 600) ** 0.5)
    assert splits.train.content_hash() == usual.train.content_hash()
    assert load(background_correlation=0.8, test_correlation=0.8, **options).test.content_hash() == (
        usual.test.content_hash()
    )
    with pytest.raises(KdlibError, match=r"test_correlation must be .* at most 1, not 2"):
        load(test_correlation=2, **options)


def test_a_plain_background_shows_the_same_objects_on_grey():
    usual, plain = (
        draw_scenes(60, seed=3, noise=0.0, occlusion=0.0, plain_background=value) for value in (False, True)
    )
    assert torch.equal(usual.labels, plain.labels) and torch.equal(usual.foreground, plain.foreground)
    for category in ("part", "texture"):
        assert torch.equal(usual.concept_map(category).labels, plain.concept_map(category).labels)
    for category in ("scene", "material", "object"):
        assert not plain.concept_map(category).labels[~plain.foreground].any()
    # One grey up to the outline, which ramps over a pixel on both sides (a little more at sharp corners).
    near = torch.nn.functional.max_pool2d(plain.foreground[:, None].float(), 5, 1, 2)[:, 0] > 0
    assert float((plain.images.permute(0, 2, 3, 1)[~near] == 191).float().mean()) > 0.998
    daylight = usual.concept_map("scene").labels[:, 0, 0] % 3 == 1
    inside = torch.nn.functional.max_pool2d((~plain.foreground)[:, None].float(), 5, 1, 2)[:, 0] == 0
    inside &= daylight[:, None, None]
    # Where two parts of an object meet, their soft edges let a little of the background through.
    difference = (usual.images.int() - plain.images.int()).abs().amax(1)[inside]
    assert len(difference) > 100 and int(difference.max()) <= 10
    assert float((difference == 0).float().mean()) > 0.98


def test_plain_backgrounds_are_those_of_all_parts():
    splits = load(n_train=20, n_val=20, n_test=20, n_probe=20, plain_background=True)
    for part in (splits.train, splits.val, splits.test, splits.probe):
        assert not part.concept_map("scene").labels.any()
