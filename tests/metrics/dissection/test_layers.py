"""Pixels with several labels: a folder with layers of labels is dissected as the definition says, I = |M and L_c|.

L_c is the set of pixels that carry label c in any layer of any mask (NetDissect-Lite's feature_operation concatenates
all layers; `papers/han2023_network_dissection.md`, 2.2 to 2.4); a number of several categories counts in one of them.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dissection_twin import slow_thresholds
from PIL import Image
from torch import nn

from kdlib.data.broden import BrodenFolder
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.controls import dissect_held_out, dissect_with_mixture
from kdlib.metrics.dissection.dissect import Dissection, dissect, dissect_activations

IMAGES, SIDE, MASK = 11, 8, (6, 5)
# Per category number -> (name, coverage). Wood is above all a material, glass a part, 300 needs the green channel;
# fur lies in three tables with equal coverages: the first category has it.
TABLES = {
    "object": {7: ("dog", 2.0), 300: ("cat", 4.0), 3: ("wood", 1.0), 9: ("fur", 1.0)},
    "part": {5: ("leg", 1.5), 6: ("ear", 0.5), 8: ("glass", 3.0), 9: ("fur", 1.0)},
    "scene": {12: ("beach", 3.0), 13: ("street", 1.0)},
    "material": {3: ("wood", 2.5), 8: ("glass", 1.0), 4: ("metal", 1.0), 9: ("fur", 1.0)},
}
PRIMARY = {3: "material", 8: "part", 9: "object"}


class Both(nn.Module):
    """Six units from three channels, exact whatever the batch: the pictures and their negatives."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, 1 - images], 1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return nn.Sequential(Both(), nn.AvgPool2d(2))


@pytest.fixture(scope="module")
def layered(tmp_path_factory):
    """A folder written by hand: up to three items a cell, masks and numbers mixed, labels that come twice, zeros."""
    home, random = tmp_path_factory.mktemp("layers") / "broden", np.random.default_rng(5)
    (home / "images").mkdir(parents=True)
    lines = [f"image,split,ih,iw,sh,sw,{','.join(TABLES)}"]
    for image in range(IMAGES):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(picture).save(home / "images" / f"{image}.png")
        cells = []
        for category, table in TABLES.items():
            items = []
            for layer in range(random.integers(0, 4) if image else 0):  # image 0 has no label at all
                if category == "scene" or random.random() < 0.25:
                    items.append(str(random.choice([0, *table])))
                    continue
                numbers = random.choice([0, 0, *table], MASK)
                mask = np.stack([numbers % 256, numbers // 256, random.integers(0, 256, MASK)], -1).astype(np.uint8)
                items.append(f"{image}_{category}_{layer}.png")
                Image.fromarray(mask).save(home / "images" / items[-1])
            cells.append(";".join(items))
        lines.append(f"{image}.png,train,{SIDE},{SIDE},{MASK[0]},{MASK[1]},{','.join(cells)}")
    (home / "index.csv").write_text("\n".join(lines) + "\n")
    for category, table in TABLES.items():
        rows = [f"{code},{n},{name},9,{share}" for code, (n, (name, share)) in enumerate(table.items(), start=1)]
        (home / f"c_{category}.csv").write_text("code,number,name,frequency,coverage\n" + "\n".join(rows) + "\n")
    return home


def labels_of_pixels(home, one_category: bool) -> list[dict[tuple[int, int], set[tuple[str, str]]]]:
    """Per image and pixel, the set of its (category, name): every item of every cell, one pixel at a time."""
    found = []
    with (home / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        pixels: dict[tuple[int, int], set[tuple[str, str]]] = {}
        for y in range(MASK[0]):
            for x in range(MASK[1]):
                pixels[y, x] = set()
                for category, table in TABLES.items():
                    for item in filter(None, row[category].split(";")):
                        if item.endswith(".png"):
                            with Image.open(home / "images" / item) as mask:
                                red, green, _ = mask.getpixel((x, y))
                            number = red + 256 * green
                        else:
                            number = int(item)
                        if number:
                            where = PRIMARY.get(number, category) if one_category else category
                            pixels[y, x].add((where, table[number][0]))
        found.append(pixels)
    return found


def slow_iou(
    activations: torch.Tensor, labels: list[dict[tuple[int, int], set[tuple[str, str]]]], denominator: str, quantile
) -> dict[tuple[str, str], list[float]]:
    """IoU of each unit with each (category, name) that occurs, by counting pixels."""
    thresholds, units = slow_thresholds(activations, quantile), activations.shape[1]
    everything = set().union(*(marks for pixels in labels for marks in pixels.values()))
    found: dict[tuple[str, str], list[float]] = {concept: [] for concept in everything}
    for unit in range(units):
        both, area, activated = dict.fromkeys(everything, 0), dict.fromkeys(everything, 0), dict.fromkeys(TABLES, 0)
        for image, pixels in enumerate(labels):
            raised = F.interpolate(activations[image, unit][None, None], size=MASK, mode="bilinear")[0, 0]
            active = {place for place in pixels if raised[place] > float(thresholds[unit])}
            for place, marks in pixels.items():
                for concept in marks:
                    area[concept] += 1
                    both[concept] += place in active
            for category in TABLES:
                region = pixels if denominator == "original" else active
                if any(category == mark[0] for place in region for mark in pixels[place]):
                    activated[category] += len(active)
        for concept in everything:
            union = activated[concept[0]] + area[concept] - both[concept]
            found[concept].append(both[concept] / (union + 1e-10))
    return found


def activations_of(model: nn.Module, folder: BrodenFolder) -> torch.Tensor:
    return model(torch.stack([folder.image(index) for index in range(len(folder))]).float() / 255)


def assert_equal(found: Dissection, expected: dict[tuple[str, str], list[float]]) -> None:
    seen = {(category, name) for category, names in found.concept_names.items() for name in names}
    assert set(expected) <= seen
    for category, name in seen:
        column = found.iou[category][:, found.concept_names[category].index(name)].tolist()
        assert column == expected.get((category, name), [0.0] * found.num_units), (category, name)


def assert_same(a: Dissection, b: Dissection) -> None:
    """Equal to the bit, down to the counts."""
    for field in ("intersection", "concept_area"):
        for category, counts in getattr(a.tally, field).items():
            assert torch.equal(counts, getattr(b.tally, field)[category]), (field, category)
    for rule, areas in a.tally.activated_area.items():
        assert all(torch.equal(counts, b.tally.activated_area[rule][category]) for category, counts in areas.items())
    assert torch.equal(a.thresholds, b.thresholds)
    assert torch.equal(a.score, b.score)
    assert (a.best_concept, a.best_category, a.concept_names) == (b.best_concept, b.best_category, b.concept_names)


# ---- the definition -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("denominator", ["lite", "original"])
@pytest.mark.parametrize("one_category", [True, False])
def test_a_folder_with_layers_equals_the_slow_twin(model, layered, one_category, denominator):
    folder = BrodenFolder(layered, one_category=one_category)
    expected = slow_iou(
        activations_of(model, folder), labels_of_pixels(layered, one_category), denominator, quantile=0.2
    )
    found = dissect(model, folder, "1", quantile=0.2, denominator=denominator, batch_size=4)
    assert_equal(found, expected)
    assert any(max(scores) > 0.05 for scores in expected.values())


@pytest.mark.parametrize("denominator", ["lite", "original"])
def test_activations_at_hand_equal_the_slow_twin(model, layered, denominator):
    folder = BrodenFolder(layered)
    activations = activations_of(model, folder)
    [batch] = folder.batches(IMAGES)
    assert {category: labels.ndim for category, labels in batch.concepts.items()} == dict.fromkeys(TABLES, 4)
    found = dissect_activations(
        [(activations, batch.concepts)], folder.concept_names, quantile=0.2, denominator=denominator
    )
    assert_equal(found, slow_iou(activations, labels_of_pixels(layered, True), denominator, quantile=0.2))


def test_the_dominant_labels_alone_are_another_result(model, layered):
    folder = BrodenFolder(layered)
    all_layers, dominant = (dissect(model, probe, "1", quantile=0.2) for probe in (folder, folder.load()))
    assert all_layers.concept_names == dominant.concept_names
    for category, area in all_layers.tally.concept_area.items():
        assert (area >= dominant.tally.concept_area[category]).all()
        assert area.sum() > dominant.tally.concept_area[category].sum()


def test_one_image_by_hand():
    # One unit of 1x2 cells, masks of 1x4 pixels, read at -1/4, 1/4, 3/4 and 5/4: pixels 2 and 3 are active.
    activations = torch.tensor([[[[0.0, 1.0]]]])
    masks = {
        "object": torch.tensor([[[[1, 1, 1, 0]], [[2, 0, 2, 2]]]]),  # a cat on pixels 0 to 2, a dog on 0, 2 and 3
        "part": torch.tensor([[[[1, 0, 0, 0]], [[0, 0, 0, 2]]]]),  # of these only the second layer's is active
        "texture": torch.tensor([[[[1, 0, 0, 0]], [[2, 2, 0, 0]]]]),  # neither layer lies in the active region
        "scene": torch.tensor([[1, 2]]).view(1, 2, 1, 1).expand(1, 2, 1, 4),  # two labels of the whole image
        "color": torch.tensor([[[0, 0, 1, 0]]]),
    }
    names = dict.fromkeys(masks, ("unlabelled", "first", "second"))
    found = dissect_activations([(activations, masks)], names, quantile=0.5)
    assert found.tally.activated_pixels.tolist() == [2]
    assert {c: counts.tolist() for c, counts in found.tally.concept_area.items()} == {
        "object": [3, 3], "part": [1, 1], "texture": [1, 2], "scene": [4, 4], "color": [1, 0],
    }  # fmt: skip
    assert {c: counts.tolist() for c, counts in found.tally.intersection.items()} == {
        "object": [[1, 2]], "part": [[0, 1]], "texture": [[0, 0]], "scene": [[2, 2]], "color": [[1, 0]],
    }  # fmt: skip
    lite, original = (found.tally.activated_area[rule] for rule in ("lite", "original"))
    assert {c: area.tolist() for c, area in lite.items()} == {
        "object": [2], "part": [2], "texture": [0], "scene": [2], "color": [2],
    }  # fmt: skip
    assert [area.tolist() for area in original.values()] == [[2]] * 5
    assert found.iou["object"][0].tolist() == pytest.approx([1 / 4, 2 / 3], abs=1e-9)
    assert found.iou["scene"][0].tolist() == pytest.approx([2 / 4, 2 / 4], abs=1e-9)


# ---- invariances, to the bit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 0), (3, 2), (7, 0)])
def test_neither_batches_nor_workers_change_anything(model, layered, batch_size, workers):
    expected = dissect(model, BrodenFolder(layered), "1", quantile=0.2, batch_size=IMAGES)
    found = dissect(model, BrodenFolder(layered, workers=workers), "1", quantile=0.2, batch_size=batch_size)
    assert_same(found, expected)


def test_one_layer_is_the_same_with_or_without_its_dimension(model, layered):
    folder = BrodenFolder(layered)
    activations, flat = activations_of(model, folder), {c.category: c.labels for c in folder.load().concepts}
    padded = {c: torch.stack([m, torch.zeros_like(m)], 1) for c, m in flat.items()}
    single = {c: m[:, None] for c, m in flat.items()}
    expected = dissect_activations([(activations, flat)], folder.concept_names, quantile=0.2)
    for masks in (single, padded):
        assert_same(dissect_activations([(activations, masks)], folder.concept_names, quantile=0.2), expected)


def test_whole_image_layers_equal_the_same_labels_on_every_pixel(model, layered):
    folder = BrodenFolder(layered)
    activations, [batch] = activations_of(model, folder), folder.batches(IMAGES)
    assert batch.concepts["scene"].stride()[-2:] == (0, 0)
    spread = {category: labels.contiguous() for category, labels in batch.concepts.items()}
    assert spread["scene"].stride()[-2:] != (0, 0)
    dissected = [
        dissect_activations([(activations, masks)], folder.concept_names, quantile=0.2)
        for masks in (batch.concepts, spread)
    ]
    assert_same(*dissected)


# ---- the controls ---------------------------------------------------------------------------------------------------


def test_the_held_out_score_counts_all_layers(model, layered):
    folder = BrodenFolder(layered)
    found = dissect_held_out(model, folder, "1", seed=1, quantile=0.2, batch_size=3)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1))
    first, second = (piece.sort().values for piece in order.tensor_split(2))
    assert_same(found.chosen, dissect(model, folder.subset(first), "1", quantile=0.2))
    activations, labels = activations_of(model, folder), labels_of_pixels(layered, True)
    held = activations[second] - found.chosen.thresholds.view(1, -1, 1, 1)
    for unit, concept in enumerate(zip(found.chosen.best_category, found.chosen.best_concept, strict=True)):
        both = area = activated = 0
        for image, pixels in zip(held, (labels[index] for index in second.tolist()), strict=True):
            raised = F.interpolate(image[unit][None, None], size=MASK, mode="bilinear")[0, 0]
            active = {place for place in pixels if raised[place] > 0}
            both += sum(concept in pixels[place] for place in active)
            area += sum(concept in marks for marks in pixels.values())
            if any(concept[0] == mark[0] for place in active for mark in pixels[place]):
                activated += len(active)
        assert found.score[unit].item() == pytest.approx(both / (activated + area - both + 1e-10), abs=1e-12)


def test_a_rotated_basis_counts_all_layers(model, layered):
    folder = BrodenFolder(layered)
    _, turned = dissect_with_mixture(model, folder, "1", quantile=0.2)
    upright = dissect(model, folder, "1", quantile=0.2)
    for category, area in upright.tally.concept_area.items():
        assert torch.equal(turned.tally.concept_area[category], area)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[[[1, 2]], [[0, 2]]]]), "category 'part' has 'leg' twice at one pixel"),
        (torch.tensor([2, 2]).view(1, 2, 1, 1).expand(1, 2, 1, 2), "category 'part' has 'leg' twice at one pixel"),
        (torch.tensor([[[[1, 2]], [[3, 0]]]]), "'part' holds label 3, but only labels 0 to 2"),
        (torch.zeros(1, 0, 1, 2).long(), r"must have shape \(1, H, W\) or \(1, L, H, W\), not \(1, 0, 1, 2\)"),
        (torch.zeros(1, 1, 1, 1, 2).long(), r"must have shape \(1, H, W\) or \(1, L, H, W\)"),
    ],
)
def test_layers_that_can_not_be_counted_are_refused(labels, message):
    with pytest.raises(KdlibError, match=message):
        dissect_activations([(torch.rand(1, 1, 1, 2), {"part": labels})], {"part": ("unlabelled", "ear", "leg")})
