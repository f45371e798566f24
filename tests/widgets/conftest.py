"""The toy widgets as fixtures."""

from __future__ import annotations

import pytest
from widget_toys import (
    CLASSES,
    SUPERCLASS_OF,
    SUPERCLASSES,
    shapes,
    toy_bands,
    toy_dynamics,
    toy_entropy,
    toy_logits,
    toy_matrices,
    toy_replicates,
    toy_views,
    toy_words,
)

from kdlib.data.image_set import ImageSet
from kdlib.widgets import (
    dissection_explorer,
    dynamics_player,
    entropy_explorer,
    five_band_viewer,
    method_comparison,
    seed_lottery,
    similarity_explorer,
    temperature_explorer,
    word_explorer,
)


@pytest.fixture(scope="session")
def probe() -> ImageSet:
    return shapes()


@pytest.fixture()
def temperature(probe):
    labels = probe.labels[:12]
    students = {"scratch": toy_logits(12, 0.5, 1, labels), "kd": toy_logits(12, 0.8, 2, labels)}
    return temperature_explorer(
        probe.images[:12], labels, toy_logits(12, 1.0, 0, labels), students, CLASSES, SUPERCLASSES, SUPERCLASS_OF
    )


@pytest.fixture()
def dissection(probe):
    qualities = {"teacher": 0.95, "scratch": 0.6, "label_smoothing": 0.5, "kd": 0.8}
    views = {name: toy_views(probe, 48, quality, seed) for seed, (name, quality) in enumerate(qualities.items())}
    return dissection_explorer(views, probe)


@pytest.fixture()
def comparison(probe):
    """The teacher has fewer units than its students."""
    sizes = {"teacher": (30, 0.95), "scratch": (48, 0.6), "label_smoothing": (48, 0.5), "kd": (48, 0.8)}
    views = {name: toy_views(probe, *each, seed) for seed, (name, each) in enumerate(sizes.items())}
    return method_comparison(views, probe)


@pytest.fixture()
def similarity():
    fixed, sweep = toy_matrices()
    return similarity_explorer(fixed, CLASSES, SUPERCLASSES, SUPERCLASS_OF, sweep=sweep)


@pytest.fixture()
def bands():
    return five_band_viewer(**toy_bands())


@pytest.fixture()
def words():
    return word_explorer(**toy_words())


@pytest.fixture()
def entropy():
    return entropy_explorer(**toy_entropy())


@pytest.fixture()
def dynamics():
    return dynamics_player(**toy_dynamics())


@pytest.fixture()
def lottery():
    return seed_lottery(toy_replicates())
