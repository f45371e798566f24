"""Figures of information discarding: every map, path and count is drawn where it is."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from kdlib.names import MODEL_COLOURS
from kdlib.papers.cheng2020.figures.information import (
    COUNTS,
    against_samples,
    counts_against,
    early_against_converged,
    entropy_maps,
    maps_in_pairs,
    search_paths,
)
from kdlib.widgets.cells import MARK_COLOURS, border

NAN = float("nan")


@pytest.fixture
def entropy():
    return -2.8 + 0.2 * torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def foreground():
    inside = torch.zeros(2, 4, 4, dtype=torch.bool)
    inside[:, 1:3, 1:3] = True
    return inside


def legend_words(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_search_paths_end_where_a_search_was_left():
    paths = {"slow": torch.tensor([-3.2, -3.1, -3.0]), "fast": torch.tensor([-3.2, -2.7, NAN])}
    [axis] = search_paths(paths, target=-2.8, dashed={"fast": torch.tensor([-3.2, -2.75, NAN])}).axes
    slow, fast, dashed, stop = axis.lines
    assert slow.get_ydata() == pytest.approx([-3.2, -3.1, -3.0])
    assert fast.get_ydata()[:2] == pytest.approx([-3.2, -2.7]) and np.isnan(fast.get_ydata()[2])
    assert (dashed.get_color() == fast.get_color()).all() and dashed.get_linestyle() == "--"
    assert list(stop.get_ydata()) == [-2.8, -2.8]
    assert "nats" in axis.get_ylabel()


def test_each_map_has_its_own_scale(entropy, foreground):
    figure = maps_in_pairs({"a": entropy[0], "b": entropy[1] - 1}, foreground[0])
    pictures = [axis.images[0] for axis in figure.axes if axis.get_title() in ("a", "b")]
    for shown, values in zip(pictures, (entropy[0], entropy[1] - 1), strict=True):
        assert np.array_equal(shown.get_array(), values.numpy())
        assert shown.get_clim() == pytest.approx((float(values.min()), float(values.max())))


class TestEntropyMaps:
    def test_all_maps_share_one_scale_and_concepts_are_outlined(self, entropy, foreground):
        images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
        concepts = entropy < -2.9
        columns = {"Student": (entropy, concepts), "Baseline": (entropy - 0.1, ~concepts)}
        figure = entropy_maps(images, ["taxi", "ship"], columns, foreground)
        rows = np.array(figure.axes[:6]).reshape(2, 3)
        assert [axis.get_title() for axis in rows[0]] == ["taxi", "Student", "Baseline"]
        limits = set()
        for number, row in enumerate(rows):
            for axis, (values, found) in zip(row[1:], columns.values(), strict=True):
                assert np.array_equal(axis.images[0].get_array(), values[number].numpy())
                limits.add(axis.images[0].get_clim())
                outlines = [c for c in axis.collections if isinstance(c, LineCollection)]
                own = [c for c in outlines if to_hex(c.get_color()[0]).upper() == MARK_COLOURS["background"]]
                assert len(own) == 1 and len(own[0].get_segments()) == len(border(found[number]))
        assert len(limits) == 1
        assert legend_words(figure) == ["concept cells", "border of the object's cells"]

    def test_many_columns_stand_below_each_other_for_a_phone(self, entropy, foreground):
        images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
        columns = {name: (entropy + number, entropy < -2.9) for number, name in enumerate(("conv", "FC1", "FC2"))}
        figure = entropy_maps(images, ["taxi", "ship"], columns, foreground)
        pictures, *layers = np.array(figure.axes[:8]).reshape(4, 2)
        assert [axis.get_title() for axis in pictures] == ["taxi", "ship"]
        assert [row[0].get_ylabel() for row in layers] == ["conv", "FC1", "FC2"]
        for number, row in enumerate(layers):
            for picture, axis in enumerate(row):
                assert np.array_equal(axis.images[0].get_array(), entropy[picture].numpy() + number)
        assert figure.get_figwidth() < 3.5

    def test_an_image_without_a_map_leaves_the_scale_alone(self, entropy, foreground):
        images, missing = torch.zeros(2, 1, 8, 8, dtype=torch.uint8), entropy.clone()
        missing[1] = NAN
        figure = entropy_maps(images, ["a", "b"], {"Student": (missing, missing < -2.9)}, foreground)
        low, high = figure.axes[1].images[0].get_clim()
        assert [low, high] == pytest.approx(np.quantile(entropy[0].numpy(), (0.01, 0.99)).tolist())


def test_early_and_converged_maps_are_drawn_about_their_means(entropy):
    early = entropy.mean() + 0.25 * (entropy - entropy.mean())
    left, right = early_against_converged(early, entropy + 3, threshold=0.2).axes
    points = left.lines[0]
    assert points.get_ydata() == pytest.approx(0.25 * points.get_xdata())
    assert points.get_xdata() == pytest.approx((entropy - entropy.mean()).flatten().numpy())
    assert right.lines[0].get_xdata()[0] == -0.2
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["stopped early", "minimum"]


def test_images_and_means_stand_at_their_number_of_samples():
    by_samples = {16: [0.2, 0.4, NAN], 64: [0.6, 0.8, 1.0]}
    arms = {"baseline": {"two runs": by_samples}, "student": {"two runs": by_samples, "exact": {16: [NAN], 64: [0.5]}}}
    figure = against_samples({"agreement (IoU)": arms})
    [axis] = figure.axes
    means = [line for line in axis.lines if line.get_markersize() == 8]
    assert [to_hex(line.get_color()).upper() for line in means] == [
        MODEL_COLOURS[arm] for arm in ("baseline", "student", "student")
    ]
    for line in means[:2]:
        assert line.get_ydata() == pytest.approx([0.3, 0.8])
        assert line.get_xdata() == pytest.approx([16, 64], rel=0.06)
    assert np.isnan(means[2].get_ydata()[0]) and means[2].get_linestyle() == "--"
    assert [text.get_text() for text in axis.get_xticklabels()] == ["16", "64"]
    assert legend_words(figure) == ["Baseline", "Student", "two runs", "exact"]


def test_counts_have_a_panel_each_and_a_line_for_each_network_and_stop():
    summaries = {b: {"n_foreground": 9 - b, "n_background": 5 - b, "share": 0.1 * b} for b in (1.0, 2.0)}
    values = {"stopped early": {"student": summaries, "teacher": summaries}, "minimum": {"student": summaries}}
    figure = counts_against(values, xlabel="b (nats)", chosen=1.5)
    assert [axis.get_title() for axis in figure.axes] == list(COUNTS.values())
    for axis, key in zip(figure.axes, COUNTS, strict=True):
        *lines, chosen = axis.lines
        assert [line.get_linestyle() for line in lines] == ["-", "-", "--"]
        assert all(list(line.get_ydata()) == [summaries[b][key] for b in (1.0, 2.0)] for line in lines)
        assert list(chosen.get_xdata()) == [1.5, 1.5]
        assert axis.get_ylim()[0] == 0
    assert legend_words(figure) == ["Student", "Teacher", "stopped early", "minimum"]
