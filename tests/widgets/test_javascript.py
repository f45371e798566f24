"""The widgets' JavaScript computes what Python computes: softmax, KL and entropy, regions, counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from widget_toys import toy_views

from kdlib.metrics.dissection import Dissection
from kdlib.widgets.common import source
from kdlib.widgets.dissection_explorer import region_masks

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def call(browser):
    """call(widget, expression, data): evaluate `expression` with the widget's module as `m` and `data` as `d`."""
    page = browser.new_page()

    def run(widget: str, expression: str, data: object) -> object:
        loader = "const m = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})));"
        return page.evaluate(f"async ([text, d]) => {{ {loader} return {expression}; }}", [source(widget, "js"), data])

    yield run
    page.close()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_softmax_kl_and_entropy_equal_torchs(call, temperature):
    teacher, student = torch.randn(2, 20, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 6
    got = call(
        "temperature_explorer",
        "d.teacher.map((z, i) => [m.softmax(z, d.t), m.divergence(z, d.student[i], d.t), m.entropy(z, d.t)])",
        {"teacher": teacher.tolist(), "student": student.tolist(), "t": temperature},
    )
    p, q = F.softmax(teacher / temperature, 1), F.log_softmax(student / temperature, 1)
    divergence = F.kl_div(q, p, reduction="none").sum(1)
    for i, (soft, kl, entropy) in enumerate(got):
        assert torch.allclose(torch.tensor(soft, dtype=torch.float64), p[i], rtol=1e-10, atol=1e-15)
        assert kl == pytest.approx(float(divergence[i]), rel=1e-9, abs=1e-12)
        assert entropy == pytest.approx(float(-torch.xlogy(p[i], p[i]).sum()), rel=1e-9, abs=1e-12)


def test_huge_logits_neither_overflow_nor_vanish(call):
    soft, kl, entropy = call(
        "temperature_explorer",
        "[m.softmax(d, 0.5), m.divergence(d, [0, 0, 0], 0.5), m.entropy(d, 0.5)]",
        [5000.0, 4999.0, -5000.0],
    )
    assert soft == pytest.approx([0.880797, 0.119203, 0.0], abs=1e-6)
    assert kl == pytest.approx(1.098612 - entropy, abs=1e-5) and 0.3 < entropy < 0.4


def test_a_model_against_itself_diverges_by_nothing(call):
    assert call("temperature_explorer", "m.divergence(d, d, 3)", [0.3, -1.7, 2.2, 9.1]) == 0


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (20, 31)])
@pytest.mark.parametrize("cells", [(8, 8), (7, 5), (1, 1), (32, 32)])
def test_regions_equal_torchs_upsampling_pixel_by_pixel(call, cells, size):
    generator = torch.Generator().manual_seed(7)
    maps = torch.rand(6, 2, *cells, generator=generator).clamp(min=0.3) - 0.3  # flat parts as after a ReLU
    # The last two meet their maps exactly: in flat parts at 0, and at the value of a corner cell.
    thresholds = torch.cat([maps.flatten(1).quantile(0.7, dim=1)[:4], torch.zeros(1), maps[5, 0, 0, 0].view(1)])
    if cells == (1, 1):
        thresholds *= 0.999  # the one cell is the whole map: a tie everywhere would be decided by rounding alone
    got = call(
        "dissection_explorer",
        "d.maps.map((unit, u) => unit.map((map) => [...m.regionMask(map, d.cells, d.size, d.thresholds[u])]))",
        {"maps": maps.flatten(2).tolist(), "cells": cells, "size": size, "thresholds": thresholds.tolist()},
    )
    masks = torch.tensor(got).bool().view(6, 2, *size)
    decided = torch.ones_like(masks)
    if size[0] % cells[0] or size[1] % cells[1]:
        # Where scales are not exact and the map meets its threshold, the processor's rounding decides.
        exact = F.interpolate(maps.double(), size, mode="bilinear", align_corners=False)
        decided = (exact - thresholds.double()[:, None, None, None]).abs() > 1e-6
    assert torch.equal(masks[decided], region_masks(maps, thresholds, size)[decided])
    assert decided.double().mean() > 0.6 and 0 < int(masks.sum()) < masks.numel()


def test_regions_of_a_whole_widget_equal_torchs(call, probe):
    views = toy_views(probe, 128, 0.8, 5)
    expected = region_masks(views.top_maps, views.thresholds, (32, 32))
    got = call(
        "dissection_explorer",
        "d.maps.map((unit, u) => unit.map((map) => m.regionMask(map, [8, 8], [32, 32], d.thresholds[u]).join('')))",
        {"maps": views.top_maps.flatten(2).tolist(), "thresholds": views.thresholds.tolist()},
    )
    wanted = [["".join("01"[bit] for bit in mask.tolist()) for mask in unit.flatten(1).int()] for unit in expected]
    assert got == wanted


def test_by_hand_two_cells_over_four_pixels(call):
    # Pixel centres lie at cells -0.25 (clamped to 0), 0.25, 0.75, 1.25 (clamped to 1): values 0, 1, 3, 4.
    run = "[0, 1, 3].map((t) => [...m.regionMask([0, 4], [1, 2], [1, 4], t)])"
    assert call("dissection_explorer", run, None) == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


def test_overlap_by_hand_and_bits_unpacked(call):
    run = "m.overlap(Uint8Array.from([1, 1, 0, 0]), Uint8Array.from([0, 1, 1, 0]))"
    assert call("dissection_explorer", run, None) == {"area": 0.5, "iou": pytest.approx(1 / 3)}
    assert call("dissection_explorer", "[...m.unpackBits([255, 160, 1], 1, 5)]", None) == [1, 0, 1, 0, 0]


def test_counts_equal_a_dissections(call):
    score = torch.tensor([0.05, 0.049999999, 0.2, 0.0, 0.05 + 1e-12], dtype=torch.float64)
    categories = ["object", "object", "part", "", "part"]
    empty: dict = {}
    dissection = Dissection(
        "l", 0.005, "lite", score, {"object": score, "part": score}, empty, categories, categories, score, empty, empty,
        score, score > 1, None,
    )  # fmt: skip
    got = call(
        "dissection_explorer", "[0.01, 0.05, 0.1].map((t) => m.countDetectors(d, t, 2))",
        {"scores": score.tolist(), "categories": [0, 0, 1, -1, 1]},
    )  # fmt: skip
    for tau, counts in zip((0.01, 0.05, 0.1), got, strict=True):
        assert counts == list(dissection.count_by_category(tau).values()) and sum(counts) == dissection.count(tau)
