"""Toys for the widgets, and a page that shows them as the static book does: without kernel and network."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from ipywidgets.embed import dependency_state

from kdlib.data.drawn.sentences import load as load_sentences
from kdlib.data.image_set import ConceptMap, ImageSet
from kdlib.metrics.class_similarity import similarity_matrix
from kdlib.metrics.visual_concepts import foreground_cells
from kdlib.widgets import Replicates, UnitViews, static_figure

# The widgets' fixtures, with the element that each one is in a page.
KINDS = {
    "temperature": ".kdlib-temperature",
    "dissection": ".kdlib-dissection",
    "comparison": ".kdlib-comparison",
    "similarity": ".kdlib-similarity",
    "bands": ".kdlib-bands-viewer",
    "words": ".kdlib-words",
    "entropy": ".kdlib-entropy",
    "dynamics": ".kdlib-dynamics",
    "lottery": ".kdlib-lottery",
}
VENDORED = Path(__file__).parents[2] / "book" / "_static" / "widgets"
CLASSES = ("tabby", "lynx", "wolf", "beagle", "sedan", "van", "truck", "rose", "tulip", "daisy")
SUPERCLASSES = ("cats", "dogs", "vehicles", "flowers")
SUPERCLASS_OF = (0, 0, 1, 1, 2, 2, 2, 3, 3, 3)
CONCEPTS = {
    "object": ("disc", "block", "bar"),
    "part": ("disc rim", "block corner"),
    "scene": ("meadow", "street", "dusk"),
    "texture": ("striped", "dotted"),
    "color": ("red", "green", "blue"),
}


def shapes(count: int = 60, size: int = 32, seed: int = 3) -> ImageSet:
    """Scenes of one disc, block or bar on a tinted ground, with exact masks in five categories."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    maps = {category: torch.zeros(count, size, size, dtype=torch.int64) for category in CONCEPTS}
    labels = torch.zeros(count, dtype=torch.int64)
    grounds = torch.tensor([[190, 215, 160], [170, 170, 178], [120, 90, 140]])
    inks = torch.tensor([[214, 62, 50], [40, 140, 80], [50, 90, 200]])
    for i in range(count):
        kind, ground, ink, texture = draw(0, 3), draw(0, 3), draw(0, 3), draw(0, 2)
        cy, cx, radius = draw(9, size - 9), draw(9, size - 9), draw(5, 9)
        distance = ((y - cy) ** 2 + (x - cx) ** 2).float().sqrt()
        square = ((y - cy).abs() < radius) & ((x - cx).abs() < radius)
        body = [distance < radius, square, ((y - cy).abs() < 3) & ((x - cx).abs() < radius + 4)][kind]
        noise = torch.randint(-10, 11, (3, size, size), generator=generator)
        picture = grounds[ground].view(3, 1, 1) + noise
        picture[:, body] = inks[ink].view(3, 1) + noise[:, body]
        marked = body & (((x + y) % 4 < 2) if texture == 0 else ((x % 3 == 0) & (y % 3 == 0)))
        picture[:, marked] = picture[:, marked] // 2
        images[i] = picture.clamp(0, 255).to(torch.uint8)
        maps["object"][i][body] = kind + 1
        maps["scene"][i] = ground + 1
        maps["texture"][i][body] = texture + 1
        maps["color"][i][body] = ink + 1
        if kind == 0:
            maps["part"][i][body & (distance > radius - 2)] = 1
        if kind == 1:
            maps["part"][i][square & ((y - cy).abs() > radius - 3) & ((x - cx).abs() > radius - 3)] = 2
        labels[i] = (3 * kind + ground) % len(CLASSES)
    concepts = tuple(ConceptMap(c, maps[c], ("unlabelled", *CONCEPTS[c])) for c in CONCEPTS)
    return ImageSet("shapes", images, labels, CLASSES, SUPERCLASSES, SUPERCLASS_OF, concepts=concepts)


def toy_views(probe: ImageSet, units: int, quality: float, seed: int, k: int = 4) -> UnitViews:
    """Units that follow a concept's mask, the better the higher `quality`; scores are drawn, not measured."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [(category, name) for category, names in CONCEPTS.items() for name in names if category != "scene"]
    index = torch.zeros(units, k, dtype=torch.int64)
    maps = torch.zeros(units, k, 8, 8)
    concepts, categories = [], []
    for unit in range(units):
        category, concept = pairs[int(torch.randint(len(pairs), (1,), generator=generator))]
        found = probe.concept_map(category)
        masks = (found.labels == found.names.index(concept)).float()
        coarse = F.adaptive_avg_pool2d(masks[:, None], 8)[:, 0]
        noise = torch.rand(coarse.shape, generator=generator)
        activation = (quality * coarse + (1 - quality) * noise * 0.8 - 0.15).clamp(min=0)
        strongest = activation.amax((1, 2)).sort(descending=True, stable=True).indices[:k]
        index[unit], maps[unit] = strongest, activation[strongest]
        concepts.append(concept)
        categories.append(category)
    scores = torch.rand(units, generator=generator).double() ** 2 * 0.3 * quality
    concepts[0], categories[0], scores[0] = "", "", 0.0  # a dead unit
    thresholds = maps.flatten(1).quantile(0.8, dim=1)
    return UnitViews(scores, concepts, categories, thresholds, index, maps)


def toy_logits(count: int, sharpness: float, seed: int, labels: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    groups = torch.tensor(SUPERCLASS_OF)
    sibling = (groups[labels][:, None] == groups[None]).float()
    truth = F.one_hot(labels, len(CLASSES)).float()
    return sharpness * (3 * sibling + 4 * truth) + torch.randn(count, len(CLASSES), generator=generator)


def toy_matrices() -> tuple[dict[str, torch.Tensor], dict[float, dict[str, torch.Tensor]]]:
    """Class-by-class mean log-probabilities of four models, and of a smoothed teacher and its student over T."""
    labels = torch.arange(400) % len(CLASSES)

    def matrix(siblings: float, truth: float, seed: int, temperature: float = 1.0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        groups = torch.tensor(SUPERCLASS_OF)
        logits = siblings * (groups[labels][:, None] == groups[None]).float() + truth * F.one_hot(labels, len(CLASSES))
        noise = torch.randn(len(CLASSES), len(CLASSES), generator=generator)[labels]
        return similarity_matrix(logits + noise + torch.randn(logits.shape, generator=generator), labels, temperature)

    sizes = {"teacher": (3.0, 5.0), "scratch": (1.5, 5.0), "label_smoothing": (0.2, 4.0), "kd": (2.6, 4.0)}
    fixed = {name: matrix(*each, seed) for seed, (name, each) in enumerate(sizes.items())}
    sweep = {
        t: {"ls_teacher": matrix(0.8, 5.0, 9, t), "ls_student": matrix(0.8 / t, 4.0 / t, 10)}
        for t in (1.0, 2.0, 3.0, 4.0, 8.0)
    }
    return fixed, sweep


def toy_bands(count: int = 6, size: int = 48) -> dict:
    """Arguments of a five-band viewer: discs with a bar, maps that know them more or less well, a blank at the end."""
    generator = torch.Generator().manual_seed(4)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    truth = torch.zeros(count, size, size, dtype=torch.int64)
    for i in range(count):
        cy, cx = (int(v) for v in torch.randint(14, size - 14, (2,), generator=generator))
        disc = ((y - cy) ** 2 + (x - cx) ** 2) < 121
        bar = disc & ((y - cy).abs() < 3)
        images[i] = torch.randint(20, 70, (3, size, size), generator=generator)
        if i < count - 1:
            truth[i][disc], truth[i][bar] = 1, 2
            images[i][:, disc], images[i][0, bar] = 150, 230
    heat = truth.float() * 0.45
    saliency = {}
    for name, noise in {"teacher": 0.1, "scratch": 0.35, "label_smoothing": 0.45, "kd": 0.2}.items():
        blurred = F.avg_pool2d(heat[:, None], 5, 1, 2)[:, 0]
        saliency[name] = blurred + noise * torch.randn(heat.shape, generator=generator)
    labels = [i % 2 for i in range(count)]
    return {
        "images": images, "saliency": saliency, "truth_bands": truth, "labels": labels,
        "class_names": ("barred cell", "plain cell"), "predictions": {"kd": labels, "scratch": [0] * count},
    }  # fmt: skip


def toy_words(count: int = 12) -> dict:
    """Arguments of a word explorer: sentences of the grammar, and noise around their truth."""
    sentences = load_sentences(n_train=200, n_val=2, n_test=count).test
    generator = torch.Generator().manual_seed(5)
    attributions, logits = {}, {}
    for method, noise in {"occlusion": 0.4, "gradient_x_input": 0.9}.items():
        attributions[method] = {
            name: sentences.polarity + noise * torch.randn(sentences.tokens.shape, generator=generator)
            for name in ("teacher", "scratch", "kd")
        }
    for name in ("teacher", "scratch", "kd"):
        logits[name] = torch.randn(count, 2, generator=generator)
    return {"sentences": sentences, "attributions": attributions, "logits": logits}


def toy_object_cells(count: int, grid: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, their labels, and the cells of the shape on each."""
    probe = shapes(count)
    return probe.images, probe.labels, foreground_cells(probe.concept_map("object").labels, grid)


def toy_entropy(count: int = 6) -> dict:
    """Arguments of an entropy explorer: maps that are lower on the object; one image without a map in one network, and
    a network with one layer only."""
    images, labels, foreground = toy_object_cells(count)
    generator = torch.Generator().manual_seed(6)
    maps: dict[str, dict[str, torch.Tensor]] = {}
    for name, strength in {"teacher": 0.6, "scratch": 0.3, "kd": 0.5}.items():
        layers = ("conv", "fc1") if name != "kd" else ("fc1",)
        maps[name] = {
            layer: -2.6 - strength * foreground + 0.15 * torch.randn(foreground.shape, generator=generator)
            for layer in layers
        }
    maps["scratch"]["fc1"][2] = float("nan")
    return {"images": images, "maps": maps, "foreground": foreground, "labels": labels, "class_names": CLASSES}


def toy_dynamics(count: int = 6) -> dict:
    """Arguments of a dynamics player: concepts that grow on the object and flicker elsewhere; two schedules."""
    images, labels, foreground = toy_object_cells(count)
    generator = torch.Generator().manual_seed(7)
    epochs = {"scratch": [0, 2, 5, 10, 20], "kd": [0, 2, 5, 10], "teacher": [0, 5, 20]}
    concepts = {
        name: torch.stack([
            torch.rand(foreground.shape, generator=generator) < (0.02 + 0.8 * foreground * min(1.0, epoch / 10))
            for epoch in each
        ])
        for name, each in epochs.items()
    }  # fmt: skip
    distances = {name: torch.tensor(each).double() ** 0.5 * 0.2 for name, each in epochs.items()}
    return {
        "images": images, "concepts": concepts, "foreground": foreground, "distances": distances, "epochs": epochs,
        "labels": labels, "class_names": CLASSES,
    }  # fmt: skip


def toy_replicates() -> list[Replicates]:
    """Contrasts of a seed lottery: one that few replicates often miss, one with a name full of signs, one of another
    length that is claimed to fall, and one without any difference."""
    generator = torch.Generator().manual_seed(8)

    def drawn(mean: float, spread: float, count: int = 16) -> list[float]:
        return (mean + spread * torch.randn(count, generator=generator, dtype=torch.float64)).tolist()

    return [
        Replicates("Accuracy, KD − scratch", "percentage points", "greater", 0.5, drawn(0.8, 1.0)),
        Replicates("<b>$x$</b> of $y$", "units & more", "greater", 2.0, drawn(0.2, 2.0)),
        Replicates("Entropy, KD − scratch", "nats", "smaller", 0.05, drawn(-0.02, 0.03, 24)),
        Replicates("Dead units, KD − scratch", "units", "less", 1.0, [0.0] * 8),
    ]


def write_page(folder: Path, widgets: list, theme: str = "light") -> Path:
    """An HTML page with each widget's still picture and the widget, its scripts beside it, as in the static book."""
    scripts = folder / "scripts"
    if not scripts.exists():
        shutil.copytree(VENDORED, scripts)
    state = {"version_major": 2, "version_minor": 0, "state": dependency_state(widgets, drop_defaults=False)}
    text = json.dumps(state).replace("</", "<\\/")
    body = ""
    for widget in widgets:
        view = json.dumps({"version_major": 2, "version_minor": 0, "model_id": widget.model_id})
        body += static_figure(widget).data
        body += f'<div class="cell"><script type="application/vnd.jupyter.widget-view+json">{view}</script></div>'
    page = folder / f"page-{theme}.html"
    page.write_text(
        f'<!doctype html><html lang="en" data-theme="{html.escape(theme)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        "<style>body{margin:12px;font-family:sans-serif} html[data-theme=dark] body{background:#121212;color:#ddd}"
        '</style><script src="scripts/require.js"></script><script src="scripts/setup.js"></script>'
        '<script src="scripts/embed-amd.js" data-jupyter-widgets-cdn="./no-cdn/"></script></head><body>'
        f'<script type="application/vnd.jupyter.widget-state+json">{text}</script>{body}</body></html>',
        encoding="utf-8",
    )
    return page
