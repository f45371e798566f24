"""The widgets' JavaScript computes what Python computes: softmax, KL and entropy, regions, counts, ranks, bands,
concepts, draws and verdicts."""

from __future__ import annotations

import base64
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from browser_checks import MOST_MILLISECONDS
from scipy.stats import spearmanr
from widget_toys import toy_bands, toy_replicates, toy_views

from kdlib.claims.phrases import number
from kdlib.metrics.dissection.dissect import Dissection
from kdlib.metrics.five_band import MEASURES, five_band_scores, soft_thresholds
from kdlib.widgets import (
    DissectionExplorer,
    DynamicsPlayer,
    EntropyExplorer,
    FiveBandViewer,
    MethodComparison,
    Replicates,
    SeedLottery,
    SimilarityExplorer,
    TemperatureExplorer,
    five_band_viewer,
    seed_lottery,
)
from kdlib.widgets.dissection_explorer import region_masks

pytestmark = pytest.mark.browser
SOURCES = {
    "dissection_explorer": DissectionExplorer._esm,
    "dynamics_player": DynamicsPlayer._esm,
    "entropy_explorer": EntropyExplorer._esm,
    "five_band_viewer": FiveBandViewer._esm,
    "method_comparison": MethodComparison._esm,
    "seed_lottery": SeedLottery._esm,
    "similarity_explorer": SimilarityExplorer._esm,
    "temperature_explorer": TemperatureExplorer._esm,
}


@pytest.fixture(scope="module")
def call(browser):
    """call(widget, expression, data): evaluate `expression` with the widget's module as `m` and `data` as `d`."""
    page = browser.new_page()
    page.set_default_timeout(MOST_MILLISECONDS)

    def run(widget: str, expression: str, data: object) -> object:
        loader = "const m = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})));"
        return page.evaluate(f"async ([text, d]) => {{ {loader} return {expression}; }}", [SOURCES[widget], data])

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


def test_units_of_two_networks_are_compared_as_in_python(call, comparison):
    steps = comparison.threshold_steps
    got = call(
        "method_comparison",
        "d.steps.map((t) => m.compareUnits(d.left, d.right, t))",
        {"steps": steps, "left": comparison._entry("teacher"), "right": comparison._entry("kd")},
    )
    comparison.left, comparison.right = "teacher", "kd"
    for tau, found in zip(steps, got, strict=True):
        assert list(found.values()) == [
            comparison.shared(tau)[k] for k in ("both", "same_category", "left_only", "right_only")
        ]


@pytest.mark.parametrize("levels", [3, 1000])
def test_the_rank_correlation_equals_scipys_with_and_without_ties(call, levels):
    generator = torch.Generator().manual_seed(levels)
    a, b = -torch.randint(1, levels + 1, (2, 12, 12), generator=generator).double()
    run = "m.rankCorrelation(Float64Array.from(d.a), Float64Array.from(d.b), 12)"
    off = ~torch.eye(12, dtype=torch.bool)
    data = {"a": a.flatten().tolist(), "b": b.flatten().tolist()}
    assert call("similarity_explorer", run, data) == pytest.approx(spearmanr(a[off], b[off]).statistic, abs=1e-12)
    a[3], data["a"][36:48] = -1.0, [None] * 12  # a class without images
    off[3] = False
    got = call("similarity_explorer", run.replace("d.a", "d.a.map((v) => v ?? NaN)"), data)
    assert got == pytest.approx(spearmanr(a[off], b[off]).statistic, abs=1e-12)


def test_matrices_and_their_means_are_read_as_in_python(call, similarity):
    run = (
        "(() => { const all = m.decode(new Uint16Array(d.codes), d.lowest, 65534);"
        " const one = all.subarray(d.start * 100, d.start * 100 + 100);"
        " return [[...one], m.groupMeans(one, d.groups)]; })()"
    )
    for entry in similarity.models:
        codes = list(memoryview(similarity.values).cast("H"))
        data = {
            "codes": codes,
            "lowest": similarity.lowest,
            "start": entry["start"],
            "groups": similarity.superclass_of,
        }
        values, means = call("similarity_explorer", run, data)
        matrix = similarity.matrix(entry["name"])
        assert torch.allclose(torch.tensor(values, dtype=torch.float64).view(10, 10), matrix, rtol=0, atol=1e-12)
        assert means == pytest.approx(similarity.numbers(entry["name"]), abs=1e-12)


def test_signs_and_what_is_not_known_are_written_for_readers(call):
    assert call("similarity_explorer", "d.map((v) => m.signed(v ?? NaN))", [-1.234, 0.5, -0.001, None]) == [
        "−1.23", "0.50", "0.00", "unknown",
    ]  # fmt: skip


@pytest.mark.parametrize("variant", ["v1", "v2", "v1_clamped"])
def test_five_band_scores_equal_the_metrics_at_every_threshold(call, variant):
    toy = toy_bands(4)
    viewer = five_band_viewer(**{**toy, "predictions": None}, variant=variant)
    run = (
        "(async () => { const raw = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;"
        " const bytes = async (text) => new Int8Array(await m.unpack(new DataView(raw(text))));"
        " const [levels, truth] = [await bytes(d.levels), await bytes(d.truth)];"
        " return d.places.map(([model, image]) => { const n = d.pixels, at = (model * d.images + image) * n;"
        " const counts = m.tally(levels.subarray(at, at + n), truth.subarray(image * n, image * n + n));"
        " return d.cuts.map((pair) => m.scoresOf(counts, pair)); }); })()"
    )
    places = [[model, image] for model in range(4) for image in range(4)]
    data = {
        "levels": base64.b64encode(viewer.levels).decode(), "truth": base64.b64encode(viewer.truth).decode(),
        "places": places, "pixels": 48 * 48, "images": 4, "cuts": viewer.cuts,
    }  # fmt: skip
    got = call("five_band_viewer", f"await {run}", data)
    names = list(toy["saliency"])
    for (model, image), curve in zip(places, got, strict=True):
        maps = toy["saliency"][names[model]][image, None, None]
        expected = five_band_scores(maps, toy["truth_bands"][image, None], soft_thresholds(variant))
        for measure in MEASURES:
            mine = torch.tensor([scores[measure] for scores in curve], dtype=torch.float64)
            assert torch.allclose(mine, getattr(expected, measure)[0], rtol=0, atol=1e-12)


def test_by_hand_a_hit_in_the_wrong_band_is_a_false_positive(call):
    # Bands 2, 1, 1, 0, -1 against 2, 2, 0, 0, 1: one hit, three wrong, one rest.
    run = "m.scoresOf(m.tally(Int8Array.from([90, 60, 60, 10, -60]), Int8Array.from([2, 2, 0, 0, 1])), [56, 90])"
    assert call("five_band_viewer", run, None) == pytest.approx(
        {"accuracy": 2 / 5, "precision": 1 / 4, "recall": 1.0, "false_positive_rate": 3 / 4}, abs=1e-5
    )


@pytest.mark.parametrize("place", range(5))
def test_concepts_are_counted_as_in_python_at_every_threshold(call, entropy, place):
    entry = entropy.maps[place]
    levels = np.frombuffer(entropy.levels, "<i2").reshape(len(entropy.maps), 6, 256)[place]
    inside = entropy._foreground.flatten(1)
    run = (
        "(() => { const levels = Int16Array.from(d.levels.flat()), insides = d.inside.map((i) => Uint8Array.from(i));"
        " return d.cuts.map((cut) => [m.meanCounts(levels, insides, cut), insides.map((inside, i) =>"
        " { const found = m.conceptsAt(levels.subarray(i * 256, i * 256 + 256), inside, cut);"
        " return [...found.foreground, ...found.background].sort((a, b) => a - b); })]); })()"
    )
    cuts = [round(1000 * b) for b in entropy.thresholds]
    data = {"levels": levels.tolist(), "inside": inside.int().tolist(), "cuts": cuts}
    for threshold, (means, cells) in zip(entropy.thresholds, call("entropy_explorer", run, data), strict=True):
        entropy.threshold = threshold
        expected = entropy.concepts(entry).flatten(1)
        assert cells == [each.nonzero()[:, 0].tolist() for each in expected]
        counts = entropy.counts(entry)
        assert means == pytest.approx({name: counts[f"mean_{name}"] for name in means}, abs=1e-12)


def test_progress_is_told_as_in_python_at_every_checkpoint(call, dynamics):
    for name in ("scratch", "kd", "teacher"):
        sets = dynamics._concepts[name].flatten(2)
        run = (
            "d.sets.map((_, place) => d.inside.map((inside, i) =>"
            " m.progressOf(d.sets.slice(0, place + 1).map((images) => Uint8Array.from(images[i])),"
            " Uint8Array.from(inside))))"
        )
        data = {"sets": sets.int().tolist(), "inside": dynamics._foreground.flatten(1).int().tolist()}
        got = call("dynamics_player", run, data)
        for epoch, images in zip(dynamics.entry(name)["epochs"], got, strict=True):
            dynamics.step = dynamics.epochs.index(epoch)
            for dynamics.image, found in enumerate(images):
                expected = dynamics.progress(name)
                peak = found.pop("peak")
                assert found == pytest.approx({key: expected[key] for key in found}, abs=1e-12)
                assert dynamics.entry(name)["distances"][peak] == expected["peak"] if found["most"] else peak == -1


def test_by_hand_one_concept_is_new_one_kept_and_one_vanished(call):
    assert call("dynamics_player", "m.changesOf([1, 1, 0, 0], [0, 1, 1, 0])", None) == {
        "vanished": [0], "kept": [1], "new": [2],
    }  # fmt: skip
    assert call("dynamics_player", "m.changesOf(null, [0, 1])", None) == {"vanished": [], "kept": [], "new": [1]}
    assert call("dynamics_player", "[0, 3, 5, 90].map((e) => m.checkpointAt([0, 2, 5], e))", None) == [0, 1, 2, 2]


def test_draws_intervals_and_verdicts_equal_pythons_to_the_last_bit(call):
    # Beside drawn numbers some that meet the rule's borders: zeros, one value only, and means at the smallest effect.
    steps = [-1.0, 0.0, 1.0, 0.0, 0.1, -0.1, 0.3, 0.1, 1.0, -1.0]
    border = [Replicates("steps", "points", "less", 1.0, steps), Replicates("same", "points", "less", 0.1, [0.1] * 9)]
    lottery = seed_lottery([*toy_replicates(), *border], seed=2**32 - 1)
    run = (
        "d.contrasts.map((c) => d.sizes.map((size) => Array.from({ length: d.draws }, (_, draw) => {"
        " const places = m.drawReplicates(d.seed, draw, c.differences.length, size || c.differences.length);"
        " const found = m.judge(places.map((p) => c.differences[p]), c, d.quantiles);"
        " return [places, [found.word, found.mean, found.low, found.high]]; })))"
    )
    data = {key: getattr(lottery, key) for key in ("contrasts", "sizes", "seed", "quantiles")} | {"draws": 200}
    seen = set()
    for place, by_size in enumerate(call("seed_lottery", run, data)):
        lottery.contrast = place
        for size, draws in zip(lottery.sizes, by_size, strict=True):
            lottery.size = size
            for draw, (places, found) in enumerate(draws):
                assert places == lottery.drawn(draw) and tuple(found) == lottery.judge(places)
                seen.add(found[0])
    assert seen == set(lottery.words)


def test_numbers_and_shares_are_written_as_in_python(call):
    values = [m * 10.0**e for m, e in itertools.product((0.0, 1.234, -5.678, 9.996), range(-4, 4))]
    assert call("seed_lottery", "d.map(m.signed)", values) == [number(value) for value in values]
    parts = [0, 1, 4, 5, 415, 994, 996, 999, 1000]
    expected = ["0 %", "<1 %", "<1 %", "1 %", "42 %", "99 %", ">99 %", ">99 %", "100 %"]
    assert call("seed_lottery", "d.map((part) => m.percentOf(part, 1000))", parts) == expected
