"""Maps of trained networks: measured once, the same side by side, by either estimator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kdlib.errors import KdlibError
from kdlib.metrics.information.linear import linear_information
from kdlib.metrics.information.maps import information_discarding
from kdlib.metrics.information.search import Converged, EarlyStopped
from kdlib.papers.cheng2020 import concept_maps as module
from kdlib.papers.cheng2020.concept_maps import MapPlan, MapTask, concept_maps, features_of
from kdlib.runs import measurements
from kdlib.runs.spec import make_spec
from kdlib.runs.store import get_or_train
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=32, learning_rate=0.01, augment="none", checkpoints=(0, 1))
SPEC = make_spec("small_vgg", "cross_entropy", RECIPE, 0, model_options={"width": 4, "features": 16})
TASK = MapTask(SPEC, "fc1", ("epoch_0", "epoch_1"))
PLAN = MapPlan(samples=4)


@pytest.fixture
def images(splits):
    return splits.train.inputs(slice(0, 3))


@pytest.fixture
def count_measured(monkeypatch):
    calls: list[str] = []
    fresh = module._fresh
    monkeypatch.setattr(module, "_fresh", lambda shared, task, state: calls.append(state) or fresh(shared, task, state))
    return calls


def test_maps_are_those_of_the_network_in_its_state(splits, images):
    [found] = concept_maps([TASK], splits, images, PLAN)
    run = get_or_train(SPEC, splits)
    for state, kept in found.items():
        wanted = linear_information(run.model(state), images, "fc1", if_not_reached="mark")
        assert torch.allclose(kept.entropy, wanted.entropy.float(), atol=1e-6)
        assert kept.reached.tolist() == wanted.reached.tolist()
    assert not torch.equal(found["epoch_0"].entropy, found["epoch_1"].entropy)


def test_the_published_recipe_is_the_other_estimator(splits, images):
    [found] = concept_maps([replace(TASK, states=("last",))], splits, images, replace(PLAN, estimator="sampled"))
    model = get_or_train(SPEC, splits).model()
    wanted = information_discarding(model, images, "fc1", samples=4, if_not_reached="mark")
    assert torch.allclose(found["last"].entropy, wanted.entropy.float(), atol=1e-4)


def test_a_map_is_measured_once(splits, images, count_measured):
    first, second = (concept_maps([TASK], splits, images, PLAN) for _ in range(2))
    assert count_measured == ["epoch_0", "epoch_1"]
    assert torch.equal(first[0]["epoch_1"].entropy, second[0]["epoch_1"].entropy)
    # One more state measures that one alone.
    concept_maps([replace(TASK, states=("epoch_0", "epoch_1", "last"))], splits, images, PLAN)
    assert count_measured == ["epoch_0", "epoch_1", "last"]


@pytest.mark.parametrize(
    "change",
    [{"noise_seed": 1}, {"relu": False}, {"search": Converged(steps=20, averaged=10)}, {"grid": 8}, {"projections": 2}],
)
def test_whatever_shapes_a_map_makes_another(splits, images, count_measured, change):
    concept_maps([TASK], splits, images, PLAN)
    concept_maps([TASK], splits, images, replace(PLAN, **change))
    assert len(count_measured) == 4


@pytest.mark.parametrize("change", [{"chunk": 5}, {"samples": 8}])
def test_what_does_not_shape_it_does_not(splits, images, count_measured, change):
    concept_maps([TASK], splits, images, PLAN)
    concept_maps([TASK], splits, images, replace(PLAN, **change))
    assert len(count_measured) == 2


def test_other_images_and_layers_are_measured_anew(splits, images, count_measured):
    concept_maps([TASK], splits, images, PLAN)
    concept_maps([TASK, replace(TASK, layer="fc2")], splits, images.flip(0), PLAN)
    assert len(count_measured) == 6


def test_several_processes_give_the_same_bits(splits, images):
    tasks = [TASK, replace(TASK, layer="fc2")]
    alone = concept_maps(tasks, splits, images, PLAN, workers=1)
    for folder in module.stored_measurement.__globals__["store_root"]().glob("concept_maps/*.json"):
        folder.unlink()
    together = concept_maps(tasks, splits, images, PLAN, workers=2)
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[state].entropy, other[state].entropy) for state in one)


def test_many_samples_are_worth_more_processes(splits, images, monkeypatch):
    used = []
    alone = module.in_processes
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "in_processes", lambda *a: used.append(a[3]) or alone(*a[:3], 1, a[4]))
    monkeypatch.setattr(module, "worth_processes", lambda work, device: work >= 1000)
    short = EarlyStopped(steps=2, last_steps=1)
    for samples in (2, 12):  # 3 images
        concept_maps([replace(TASK, states=("last",))], splits, images, MapPlan("sampled", samples, search=short))
    assert used == [1, 2]


@pytest.mark.parametrize("estimator", ["linear", "sampled"])
def test_a_study_s_misses_are_marked_not_refused(splits, images, estimator):
    model = get_or_train(SPEC, splits).model()
    far = MapPlan(estimator, 4, search=EarlyStopped(target=1.0, steps=4, last_steps=1))
    missed = far.measure(model, images, "fc1")
    assert missed.entropy.isfinite().all() and not missed.reached.any()
    dead = next(module for module in model.modules() if getattr(module, "out_features", 0) == 16)
    torch.nn.init.zeros_(dead.weight)
    found = far.measure(model, images, "fc1")
    assert found.dead.all() and found.entropy.isnan().all()


def test_a_wide_layer_is_projected(splits, images):
    model = get_or_train(SPEC, splits).model()
    assert features_of(model, images, "fc1") == 16
    few = replace(PLAN, projections=2)
    assert not torch.equal(PLAN.measure(model, images, "fc1").entropy, few.measure(model, images, "fc1").entropy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"estimator": "lineer"}, "did you mean 'linear'"),
        ({"samples": 1}, "samples"),
        ({"noise_seed": -1}, "noise_seed"),
    ],
)
def test_a_bad_plan_is_refused(change, words):
    with pytest.raises(KdlibError, match=words):
        replace(PLAN, **change)


def test_what_can_not_be_stored_is_measured_once_all_the_same(splits, images, count_measured, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(measurements, "write_file", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        concept_maps([TASK], splits, images, PLAN)
    assert count_measured == ["epoch_0", "epoch_1"]
