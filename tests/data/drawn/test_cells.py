"""Synthetic cells: every class as described, and a truth that agrees with what is drawn."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import label as connected_pieces

from kdlib.data.drawn.cells import PART_NAMES, draw_cells, draw_parameters, load
from kdlib.data.drawn.cells_drawing import (
    BACKGROUNDS,
    BLANK,
    CLASS_NAMES,
    DISCRIMINATIVE,
    FIXED_BORDER,
    TAILS,
    paint_background,
    smooth_field,
    tail_directions,
    wave,
)
from kdlib.data.drawn.concept_world_scenes import Canvas
from kdlib.errors import KdlibError


@pytest.fixture(scope="module")
def cells():
    """400 pictures of 48x48, forty of each class."""
    return draw_cells(400, seed=11, image_size=48)


def truth_of(pictures):
    return pictures.concept_map("part").labels


def as_class(label: int, n: int = 40, **options):
    """The same `n` cells, of one class, without noise."""
    return draw_cells(n, seed=5, labels=torch.full((n,), label), noise=0.0, **options)


def changed(one, other):
    """(N, H, W): the two pictures differ in the pixel."""
    return (one.images != other.images).any(1)


def near(mask, pixels):
    """The mask and what is at most so many pixels from it."""
    return torch.nn.functional.max_pool2d(mask[:, None].float(), 2 * pixels + 1, 1, pixels)[:, 0] > 0


def assert_within(difference, mask):
    """All changed pixels are in the mask or its soft edge: nearly all within one pixel, none beyond two.

    An edge ramps over one pixel; where its noise runs along with it, a little more.
    """
    assert not (difference & ~near(mask, 2)).any()
    assert int((difference & ~near(mask, 1)).sum()) < 0.02 * int(mask.sum())


# ---- what is in the pictures ----------------------------------------------------------------------------------------


def test_ten_classes_in_four_superclasses(cells):
    assert cells.num_classes == 10
    assert [cells.superclass_names[s] for s in cells.superclass_of] == (
        ["round"] * 3 + ["rectangular"] * 3 + ["tailed"] * 3 + ["blank"]
    )


def test_classes_are_equal_in_number_and_in_random_order():
    labels = draw_cells(105, image_size=16).labels
    assert set(torch.bincount(labels, minlength=10).tolist()) == {10, 11}
    assert not torch.equal(labels, labels.sort().values)


@pytest.mark.parametrize("label", range(BLANK), ids=CLASS_NAMES[:BLANK])
def test_every_class_but_the_blank_one_has_all_three_zones_in_every_picture(cells, label):
    for truth in truth_of(cells)[cells.labels == label]:
        assert set(truth.unique().tolist()) == {0, 1, 2}


def test_blank_pictures_have_no_truth_but_are_not_empty(cells):
    assert not truth_of(cells)[cells.labels == BLANK].any()
    assert cells.images[cells.labels == BLANK].float().std() > 10


def test_the_truth_travels_with_the_set(cells):
    assert cells.concept_map("part").names == PART_NAMES == ("unlabelled", "localisation", "discriminative")
    assert torch.equal(cells.foreground, truth_of(cells) > 0)
    few = cells.subset([3, 1, 2])
    assert torch.equal(truth_of(few), truth_of(cells)[[3, 1, 2]])


@pytest.mark.parametrize("size", [32, 48, 64])
def test_coverage_stands_where_scores_mean_something(size):
    # Of all pixels: enough of both zones for a unit to detect them (0.025 % to 10 %), and mostly background.
    truth = truth_of(draw_cells(500, seed=2, image_size=size))
    shares = torch.bincount(truth.flatten().long(), minlength=3) / truth.numel()
    assert 0.05 < float(shares[1]) < 0.10
    assert 0.02 < float(shares[2]) < 0.05


def test_no_cell_leaves_the_picture(cells):
    edge = torch.ones(48, 48, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert not cells.foreground[:, edge].any()


# ---- the truth is what is drawn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", range(BLANK), ids=CLASS_NAMES[:BLANK])
def test_the_cell_is_where_the_picture_differs_from_the_blank_one(label):
    here, blank = as_class(label), as_class(BLANK)
    assert_within(changed(here, blank), here.foreground)
    share = float(changed(here, blank)[here.foreground].float().mean())
    assert share > 0.99, "the rest has the background's colour by chance"


@pytest.mark.parametrize(("label", "other"), [(3, 4), (4, 5), (3, 5)])
def test_rectangles_differ_only_in_the_colour_of_their_border_which_is_the_discriminative_part(label, other):
    one, two = as_class(label), as_class(other)
    assert torch.equal(truth_of(one), truth_of(two))
    border = truth_of(one) == 2
    assert_within(changed(one, two), border)
    assert changed(one, two)[border].all()
    colour = torch.stack([p.images.permute(0, 2, 3, 1)[border].float().mean(0) for p in (one, two)])
    assert colour.argmax(1).tolist() == [label - 3, other - 3], "red, green, blue"


@pytest.mark.parametrize(("label", "within"), [(1, (0,)), (2, (0, 1))])
def test_bar_and_pole_are_what_a_round_cell_has_more_than_its_siblings(label, within):
    here = as_class(label, image_size=48)
    for other in within:
        extra = changed(here, as_class(other, image_size=48))
        assert_within(extra, truth_of(here) == 2)
        assert extra.flatten(1).any(1).all()
        assert torch.equal(here.foreground, as_class(other, image_size=48).foreground)


@pytest.mark.parametrize(("label", "number"), [(6, 1), (7, 3), (8, 8)])
@pytest.mark.parametrize("size", [32, 48])
def test_one_three_or_eight_tails(label, number, size):
    # At 32x32 two tails may touch at their roots in a few pictures; each piece is one tail.
    tails = truth_of(as_class(label, 60, image_size=size)) == 2
    counts = [connected_pieces(picture.numpy(), structure=torch.ones(3, 3).numpy())[1] for picture in tails]
    assert sum(count == number for count in counts) >= 0.9 * len(counts)


@pytest.mark.parametrize("label", TAILS)
def test_tails_are_all_that_a_tailed_cell_has_more_than_a_round_one(label):
    here, bare = as_class(label), as_class(0)
    tails = truth_of(here) == 2
    assert torch.equal(here.foreground & ~tails, bare.foreground)
    assert_within(changed(here, bare), tails)


@pytest.mark.parametrize("label", [0, 3, 4, 5])
def test_a_border_surrounds_the_inside(label):
    truth = torch.nn.functional.pad(truth_of(as_class(label, image_size=64)), (1, 1, 1, 1))
    inside = truth == 1
    for shift, dimension in ((1, 1), (-1, 1), (1, 2), (-1, 2)):
        assert not (inside & (truth.roll(shift, dimension) == 0)).any(), "the inside never touches the background"


def test_directions_of_tails_are_120_and_45_degrees_apart():
    for count, degrees in ((3, 120), (8, 45)):
        directions = torch.tensor(tail_directions(count))
        cosines = (directions * directions.roll(-1, 0)).sum(1)
        assert torch.allclose(cosines, torch.tensor(degrees).deg2rad().cos(), atol=1e-6)


def test_every_class_but_the_blank_one_has_a_discriminative_part():
    assert set(DISCRIMINATIVE) == set(range(10)) - {BLANK}
    assert set(FIXED_BORDER) | set(TAILS) | {0, 1, 2, BLANK} == set(range(10))


# ---- chance ---------------------------------------------------------------------------------------------------------


def test_nothing_but_the_class_depends_on_the_class():
    # Backgrounds, border colours and sizes tell nothing: they are drawn before the class is looked at.
    random = draw_parameters(3000, torch.Generator().manual_seed(0), 0.03)
    for name, kinds in (("background", 3), ("border", 6)):
        table = torch.zeros(10, kinds).index_put_((random["label"], random[name]), torch.ones(3000), accumulate=True)
        expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / 3000
        degrees = 9 * (kinds - 1)
        # Chi-squared of independent tables: mean = degrees, variance = 2 degrees; far beyond is dependence.
        assert float(((table - expected) ** 2 / expected).sum()) < degrees + 4 * (2 * degrees) ** 0.5


def test_cells_are_turned_by_up_to_60_degrees():
    random = draw_parameters(3000, torch.Generator().manual_seed(0), 0.03)
    degrees = torch.atan2(random["across_y"], random["across"]).rad2deg()
    assert float(degrees.min()) == pytest.approx(-60, abs=0.5)
    assert float(degrees.max()) == pytest.approx(60, abs=0.5)


def test_the_three_backgrounds():
    random = draw_parameters(300, torch.Generator().manual_seed(0), 0.03)
    ticks = (torch.arange(32) + 0.5) / 16 - 1
    canvas = Canvas(
        ticks.view(1, 1, 32), ticks.view(1, 32, 1), torch.empty(300, 3, 32, 32), torch.zeros(300, 32, 32), 1 / 16
    )
    paint_background(canvas, random)
    none, patches, rings = (canvas.image[random["background"] == kind] for kind in range(len(BACKGROUNDS)))
    assert len(none) and not none.any()
    for pictures in (patches, rings):
        assert 0.19 < float(pictures.min()) < 0.3
        assert 0.6 < float(pictures.max()) < 0.71
        assert (pictures.flatten(1).std(1) > 0.01).all()


def test_same_seed_same_bits_other_seed_other_cells():
    first, again, other = (draw_cells(60, seed=seed, image_size=24) for seed in (7, 7, 8))
    assert first.content_hash() == again.content_hash()
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("pixels_at_once", [1, 24 * 24 * 7, 24 * 24 * 41])
def test_the_size_of_pieces_changes_nothing(pixels_at_once):
    whole = draw_cells(60, seed=7, image_size=24)
    assert draw_cells(60, seed=7, image_size=24, pixels_at_once=pixels_at_once).content_hash() == whole.content_hash()


def test_drawing_leaves_global_random_numbers_and_threads_alone():
    torch.manual_seed(0)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    draw_cells(20, image_size=16)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_splits_are_independent_of_each_other():
    small = load(seed=1, n_train=40, n_val=40, n_test=40, n_probe=40, image_size=16)
    larger = load(seed=1, n_train=80, n_val=40, n_test=40, n_probe=40, image_size=16)
    assert torch.equal(small.test.images, larger.test.images)
    parts = [small.train, small.val, small.test, small.probe]
    for i, one in enumerate(parts):
        for other in parts[:i]:
            assert not (one.images[:, None] == other.images[None]).flatten(2).all(2).any()


@pytest.mark.parametrize("size", [48, 64])
def test_the_same_cells_at_every_size(size):
    small, large = (draw_cells(60, seed=4, image_size=s, noise=0.0) for s in (32, size))
    assert torch.equal(small.labels, large.labels)
    shrunk, reference = (
        torch.nn.functional.interpolate(s.images.float() / 255, (16, 16), mode="area") for s in (large, small)
    )
    assert float((shrunk - reference).abs().mean()) < 0.02
    areas = [s.foreground.float().mean((1, 2)) for s in (small, large)]
    assert float((areas[0] - areas[1]).abs().max()) < 0.02


def test_border_noise_makes_the_outline_ragged():
    smooth, ragged = (as_class(0, image_size=64, border_noise=b).foreground for b in (0.0, 0.05))

    def edges(mask):
        return int((mask[:, 1:] != mask[:, :-1]).sum() + (mask[:, :, 1:] != mask[:, :, :-1]).sum())

    assert edges(ragged) > 1.1 * edges(smooth)


# ---- the pieces they are made of ------------------------------------------------------------------------------------


def test_the_wave_is_near_a_sine():
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    assert float((wave(x) - (torch.pi * x).sin()).abs().max()) < 0.06


def test_a_smooth_field_stays_within_its_nodes_and_runs_through_them():
    nodes = torch.rand(4, 3, 5, 5)
    field = smooth_field(nodes, 400)
    assert float(field.min()) >= float(nodes.min()) and float(field.max()) <= float(nodes.max())
    assert torch.allclose(field[:, :, [0, -1]][..., [0, -1]], nodes[:, :, [0, -1]][..., [0, -1]], atol=1e-3)
    assert torch.allclose(field[:, :, 100, 200], nodes[:, :, 1, 2], atol=1e-3)
    steps = (field[..., 1:] - field[..., :-1]).abs().max()
    assert float(steps) < 0.02


# ---- bad arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be"),
        ({"image_size": 15}, "image_size must be a whole number of at least 16, not 15"),
        ({"seed": -1}, "seed"),
        ({"noise": 1.5}, "noise"),
        ({"border_noise": 0.2}, "border_noise must be .*at most 0.1, not 0.2"),
        ({"pixels_at_once": 0}, "pixels_at_once"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "labels must be 20 class numbers"),
        ({"labels": torch.zeros(20)}, "labels must be 20 class numbers, not torch.float32"),
        ({"labels": torch.full((20,), 10)}, "labels must lie between 0 and 9"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(KdlibError, match=message):
        draw_cells(**{"n": 20, **arguments})


@pytest.mark.parametrize("arguments", [{"n_train": 0}, {"n_probe": -1}, {"image_size": 8}, {"seed": -2}])
def test_load_refuses_bad_arguments_too(arguments):
    with pytest.raises(KdlibError, match=next(iter(arguments))):
        load(**{"n_train": 20, "n_val": 20, "n_test": 20, "n_probe": 20, **arguments})
