"""Garment scenes: an exact foreground, grounds that tell the class or do not, and the same garments in each regime."""

from __future__ import annotations

import math

import pytest
import torch

from kdlib.data import fashion_mnist
from kdlib.data.catalogue import concept_coverage
from kdlib.data.drawn.garment_scenes import (
    BACKGROUNDS,
    PAINT_NAMES,
    TEXTURE_NAMES,
    draw_garment_scenes,
    draw_parameters,
    load,
)
from kdlib.data.drawn.garment_scenes_drawing import GROUNDS, paste_garments
from kdlib.data.fashion_mnist import silhouette_parts
from kdlib.errors import KdlibError

FEW = {"n_train": 120, "n_val": 60, "n_test": 60, "n_probe": 60}


@pytest.fixture(scope="module")
def garments():
    """(images (100, 28, 28), labels) of Fashion-MNIST, ten of each class."""
    test = fashion_mnist.load(n_test=100).test
    return test.images[:, 0], test.labels


@pytest.fixture(scope="module")
def regimes():
    """The same few scenes in each of the three regimes."""
    return {background: load(seed=2, background=background, **FEW) for background in BACKGROUNDS}


def texture_numbers(part):
    """Texture of each scene's ground, -1 without one."""
    return part.concept_map("texture").labels.flatten(1).amax(1).long() - 1


# ---- the foreground -------------------------------------------------------------------------------------------------


def test_a_garment_of_its_own_size_has_the_foreground_and_the_parts_of_fashion_mnist(garments):
    scenes = draw_garment_scenes(*garments, image_size=28, scale=(1.0, 1.0))
    assert torch.equal(scenes.foreground, garments[0] > 0)
    assert torch.equal(scenes.concept_map("part").labels, silhouette_parts(garments[0] > 0))


@pytest.mark.parametrize("size", [32, 64])
def test_the_garment_paints_its_foreground_and_nothing_else(garments, size):
    images, labels = garments
    here = draw_garment_scenes(images, labels, seed=3, image_size=size, noise=0.0)
    bare = draw_garment_scenes(torch.zeros_like(images), labels, seed=3, image_size=size, noise=0.0)
    assert not bare.foreground.any()
    changed = (here.images != bare.images).any(1)
    assert not (changed & ~here.foreground).any()
    assert float(changed[here.foreground].float().mean()) > 0.99, "the rest has the ground's colour by chance"


@pytest.mark.parametrize("scale", [(0.6, 0.9), (0.3, 0.3), (1.0, 1.0)])
def test_pasting_equals_the_slow_twin(garments, scale):
    images, labels = (tensor[:12] for tensor in garments)
    zones = silhouette_parts(images > 0)
    random = draw_parameters(labels, torch.Generator().manual_seed(0), 0.0, scale)
    size = 32
    ground = torch.rand(12, 3, size, size)
    pasted = ground.clone()
    foreground, parts = paste_garments(pasted, images, zones, random)
    for n in range(0, 12, 3):
        side, centre_x, centre_y = (float(random[key][n]) for key in ("scale", "centre_x", "centre_y"))
        paint = random["paint_colour"][n].flatten().double()
        for row in range(size):
            for column in range(size):
                # Where the middle of this pixel lies in the garment's picture, whose pixel k spans k to k + 1.
                x = ((2 * (column + 0.5) / size - 1 - centre_x) / side + 1) * 14
                y = ((2 * (row + 0.5) / size - 1 - centre_y) / side + 1) * 14
                if min(abs(x - round(x)), abs(y - round(y))) < 1e-4:
                    continue  # on the border of two pixels rounding decides
                inside = 0 <= x < 28 and 0 <= y < 28
                own = int(images[n, math.floor(y), math.floor(x)]) if inside else 0
                assert bool(foreground[n, row, column]) == (own > 0)
                assert int(parts[n, row, column]) == (int(zones[n, math.floor(y), math.floor(x)]) if inside else 0)
                if not own:
                    assert torch.equal(pasted[n, :, row, column], ground[n, :, row, column])
                    continue
                total = weights = 0.0
                for i in (math.floor(y - 0.5), math.floor(y - 0.5) + 1):
                    for j in (math.floor(x - 0.5), math.floor(x - 0.5) + 1):
                        if 0 <= i < 28 and 0 <= j < 28 and images[n, i, j] > 0:
                            weight = (1 - abs(y - 0.5 - i)) * (1 - abs(x - 0.5 - j))
                            total += weight * int(images[n, i, j])
                            weights += weight
                expected = (0.45 + 0.55 * total / weights / 255) * paint
                assert torch.allclose(pasted[n, :, row, column].double(), expected, atol=1e-4)


def test_every_garment_is_seen_whole_and_in_its_size(garments):
    images, labels = garments
    scenes = draw_garment_scenes(images, labels, seed=1, image_size=64, scale=(0.5, 0.5))
    native, pasted = ((images > 0).sum((1, 2)).float(), scenes.foreground.sum((1, 2)).float())
    # Half of 64 pixels for 28: each pixel of the garment becomes (32 / 28)^2.
    assert torch.allclose(pasted, native * (32 / 28) ** 2, rtol=0.08, atol=6)
    assert not (scenes.foreground[:, :, 0].all(1) | scenes.foreground[:, 0].all(1)).any()


def test_sizes_and_places_fill_their_ranges(garments):
    labels = garments[1].repeat(30)
    random = draw_parameters(labels, torch.Generator().manual_seed(0), 0.0, (0.6, 0.9))
    scale = random["scale"].flatten()
    assert float(scale.min()) == pytest.approx(0.6, abs=0.005) and float(scale.max()) == pytest.approx(0.9, abs=0.005)
    for centre in ("centre_x", "centre_y"):
        reach = random[centre].flatten() / (1 - scale)
        assert float(reach.min()) == pytest.approx(-1, abs=0.01) and float(reach.max()) == pytest.approx(1, abs=0.01)


def test_the_whole_range_of_greys_is_seen_in_the_paint(garments):
    images = torch.zeros(2, 28, 28, dtype=torch.uint8)
    images[0, 5:20, 5:20], images[1, 5:20, 5:20] = 1, 255
    scenes = draw_garment_scenes(images, garments[1][:2], noise=0.0)
    random = draw_parameters(garments[1][:2], torch.Generator().manual_seed(0), 0.0, (0.6, 0.9))
    for index, shade in enumerate((0.45 + 0.55 / 255, 1.0)):
        expected = (random["paint_colour"][index].flatten() * shade).clamp(0, 1) * 255
        colours = scenes.images[index].permute(1, 2, 0)[scenes.foreground[index]].float()
        assert float((colours - expected).abs().max()) <= 0.51


# ---- the three regimes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "val", "test", "probe"])
def test_all_regimes_show_the_same_garments_in_the_same_places(regimes, part):
    one, *others = (getattr(splits, part) for splits in regimes.values())
    for other in others:
        assert torch.equal(one.labels, other.labels) and torch.equal(one.foreground, other.foreground)
        for category in ("object", "part", "color"):
            assert torch.equal(one.concept_map(category).labels, other.concept_map(category).labels)
        assert not torch.equal(one.images, other.images) or part in ("test", "probe")


def test_test_and_probe_of_correlated_are_those_of_independent(regimes):
    for part in ("test", "probe"):
        independent, correlated = (getattr(regimes[name], part) for name in ("independent", "correlated"))
        assert independent.content_hash() == correlated.content_hash()


def test_the_ground_tells_the_class_in_train_and_val_only():
    splits = load(n_train=2000, n_val=1000, n_test=1000, n_probe=1000, image_size=16, scale=(0.3, 0.5), distractors=0)
    # 0.8 and a tenth of the rest.
    for part, expected in (("train", 0.82), ("val", 0.82), ("test", 0.1), ("probe", 0.1)):
        scenes = getattr(splits, part)
        own = float((texture_numbers(scenes) == scenes.labels).float().mean())
        assert own == pytest.approx(expected, abs=4 * (expected * (1 - expected) / len(scenes)) ** 0.5), part


def test_the_correlation_may_be_none_or_whole():
    options = {"scale": (0.3, 0.5), "distractors": 0, "image_size": 16, **FEW}
    whole = load(correlation=1.0, **options).train
    assert torch.equal(texture_numbers(whole), whole.labels)
    assert load(correlation=0.0, **options).train.content_hash() == (
        load(background="independent", **options).train.content_hash()
    )


def test_nothing_but_the_texture_depends_on_the_class():
    labels = torch.arange(4000) % 10
    random = draw_parameters(labels, torch.Generator().manual_seed(0), 0.0, (0.6, 0.9))
    for name, kinds in (("texture", 10), ("paint", len(PAINT_NAMES))):
        table = torch.zeros(10, kinds).index_put_((labels, random[name]), torch.ones(4000), accumulate=True)
        expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / 4000
        degrees = 9 * (kinds - 1)
        # Chi-squared of independent tables: mean = degrees, variance = 2 degrees; far beyond is dependence.
        assert float(((table - expected) ** 2 / expected).sum()) < degrees + 4 * (2 * degrees) ** 0.5
    other = draw_parameters(labels.flip(0), torch.Generator().manual_seed(0), 0.8, (0.6, 0.9))
    assert all(torch.equal(random[key], other[key]) for key in random if key != "texture")


def test_a_plain_ground_has_one_colour_and_no_texture():
    scenes = load(background="plain", noise=0.0, **FEW).train
    assert not scenes.concept_map("texture").labels.any()
    for image, foreground in zip(scenes.images, scenes.foreground, strict=True):
        assert len(image.permute(1, 2, 0)[~foreground].unique(dim=0)) == 1


# ---- grounds --------------------------------------------------------------------------------------------------------


def test_every_class_has_a_texture_of_its_own():
    assert len(TEXTURE_NAMES) == len(GROUNDS) == 10


@pytest.mark.parametrize("name", TEXTURE_NAMES)
def test_a_texture_shows_both_its_colours(name):
    ticks = torch.linspace(-1, 1, 200)
    distance = GROUNDS[name](ticks.view(1, 1, -1).expand(1, 200, 200), ticks.view(1, -1, 1).expand(1, 200, 200))
    assert 0.15 < float((distance < 0).float().mean()) < 0.75


def test_textures_differ_from_each_other():
    ticks = torch.linspace(-1, 1, 200)
    u, v = ticks.view(1, 1, -1).expand(1, 200, 200), ticks.view(1, -1, 1).expand(1, 200, 200)
    patterns = torch.stack([(shape(u, v) < 0).flatten().float() for shape in GROUNDS.values()])
    alike = torch.corrcoef(patterns).fill_diagonal_(0)
    assert float(alike.abs().max()) < 0.6


def test_grounds_are_textured_and_garments_stand_out(garments):
    labels = garments[1].repeat(10)
    random = draw_parameters(labels, torch.Generator().manual_seed(0), 0.0, (0.6, 0.9))
    paint, ground = random["paint_colour"].view(-1, 1, 3), random["ground"].view(-1, 2, 3)
    contrast = (ground - paint).norm(dim=2).amin(1)
    pattern = (ground[:, 0] - ground[:, 1]).norm(dim=1)
    for distance in (contrast, pattern):
        assert float((distance > 0.25).float().mean()) > 0.98


def test_texture_is_labelled_on_the_visible_ground(garments):
    clean, blobs = (draw_garment_scenes(*garments, seed=5, distractors=number) for number in (0, 4))
    assert torch.equal(clean.concept_map("texture").labels > 0, ~clean.foreground)
    covered = (clean.concept_map("texture").labels > 0) & (blobs.concept_map("texture").labels == 0)
    changed = (clean.images != blobs.images).any(1)
    assert not (changed & ~covered).any(), "only blobs change"
    assert 0.03 < float(covered.float().mean()) < 0.2
    assert torch.equal(clean.foreground, blobs.foreground), "no blob hides a garment"


def test_coverage_stands_where_a_unit_can_be_told_a_detector():
    coverage = concept_coverage(load(**(FEW | {"n_probe": 1000})).probe)
    assert set(coverage) == {"object", "part", "texture", "color"}
    for concepts in coverage.values():
        for name, share in concepts.items():
            assert 0.00025 < share < 0.10, name


# ---- chance and parts -----------------------------------------------------------------------------------------------


def test_same_seed_same_bits_other_seed_other_scenes(regimes):
    assert load(seed=2, **FEW).content_hash() == regimes["correlated"].content_hash()
    assert not torch.equal(load(seed=3, **FEW).train.images, regimes["correlated"].train.images)


@pytest.mark.parametrize("pixels_at_once", [1, 32 * 32 * 7, 32 * 32 * 41])
def test_the_size_of_pieces_changes_nothing(garments, pixels_at_once):
    whole = draw_garment_scenes(*garments, seed=7, correlation=0.5)
    pieces = draw_garment_scenes(*garments, seed=7, correlation=0.5, pixels_at_once=pixels_at_once)
    assert pieces.content_hash() == whole.content_hash()


def test_drawing_leaves_global_random_numbers_and_threads_alone(garments):
    torch.manual_seed(0)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    draw_garment_scenes(*garments, image_size=16)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_the_same_scenes_at_every_size(garments):
    small, large = (draw_garment_scenes(*garments, seed=4, image_size=size, noise=0.0) for size in (32, 64))
    shrunk, reference = (
        torch.nn.functional.interpolate(s.images.float() / 255, (16, 16), mode="area") for s in (large, small)
    )
    assert float((shrunk - reference).abs().mean()) < 0.03
    assert float((small.foreground.float().mean((1, 2)) - large.foreground.float().mean((1, 2))).abs().max()) < 0.03


def test_a_part_does_not_change_with_the_size_of_another():
    small, large = load(seed=1, **FEW), load(seed=1, **(FEW | {"n_train": 240}))
    assert torch.equal(small.test.images, large.test.images)
    assert torch.equal(small.train.labels, large.train.labels[:120])


def test_the_probe_shows_the_garments_of_test_in_other_scenes(regimes):
    test, probe = regimes["independent"].test, regimes["independent"].probe
    assert torch.equal(test.labels, probe.labels)
    assert not torch.equal(test.images, probe.images)


def test_more_scenes_than_garments_paste_them_again_elsewhere():
    train = load(**(FEW | {"n_train": 7100, "n_val": 1000}), image_size=16, scale=(1.0, 1.0)).train
    assert len(train) == 7100
    assert torch.equal(train.labels[:100], train.labels[7000:])
    assert torch.equal(train.foreground[:100], train.foreground[7000:]), "at scale 1 there is but one place"
    assert not (train.images[:100] == train.images[7000:]).flatten(1).all(1).any()


def test_classes_and_superclasses_are_those_of_fashion_mnist(regimes):
    train = regimes["plain"].train
    assert train.class_names == fashion_mnist.CLASS_NAMES
    assert train.superclass_of == fashion_mnist.SUPERCLASS_OF
    assert torch.bincount(train.labels).tolist() == [12] * 10


# ---- bad arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"background": "plane"}, "unknown background 'plane'; did you mean 'plain'"),
        ({"correlation": 1.2}, "correlation must be a finite number at least 0 and at most 1, not 1.2"),
        ({"scale": 0.5}, r"scale must be a pair \(least, largest\), not 0.5"),
        ({"scale": (0.2, 0.5)}, "the least scale must be .* at least 0.3 and at most 1, not 0.2"),
        ({"scale": (0.8, 0.5)}, "the largest scale must be .* at least 0.8 and at most 1, not 0.5"),
        ({"distractors": 9}, "distractors must be a whole number of at most 8, not 9"),
        ({"distractors": -1}, "distractors must be"),
        ({"noise": 2}, "noise must be"),
        ({"image_size": 15}, "image_size must be a whole number of at least 16, not 15"),
        ({"seed": -1}, "seed must be"),
        ({"n_train": 0}, "n_train must be"),
        ({"n_test": 2001}, "n_test=2,001 exceeds the 2,000 images"),
        ({"root": "somewhere"}, "root='somewhere' is only read with full=True"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(KdlibError, match=message):
        load(**(FEW | arguments))


@pytest.mark.parametrize(
    ("garments", "labels", "message"),
    [
        (torch.zeros(2, 30, 30, dtype=torch.uint8), torch.zeros(2).long(), r"garments must be uint8 of shape \(N, 28"),
        (torch.zeros(2, 28, 28), torch.zeros(2).long(), "not torch.float32 of shape"),
        (torch.zeros(0, 28, 28, dtype=torch.uint8), torch.zeros(0).long(), "with at least one"),
        (torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(3).long(), "labels must be 2 class numbers"),
        (
            torch.zeros(2, 28, 28, dtype=torch.uint8),
            torch.zeros(2),
            "labels must be 2 class numbers, not torch.float32",
        ),
        (torch.zeros(2, 28, 28, dtype=torch.uint8), torch.full((2,), 10), "labels must lie between 0 and 9"),
    ],
)
def test_other_pictures_than_garments_are_refused(garments, labels, message):
    with pytest.raises(KdlibError, match=message):
        draw_garment_scenes(garments, labels)
