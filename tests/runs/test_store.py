"""The run store: each run is trained once, shares its teacher, and its key holds whatever shapes the training."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_runs import RECIPE, SCRATCH, distilled, leftovers, same

from kdlib.errors import KdlibError
from kdlib.runs import files, store
from kdlib.runs.listing import remove_run
from kdlib.runs.place import store_root
from kdlib.runs.store import get_or_train, run_key


def test_a_run_is_trained_once_and_comes_back_the_same(splits, count_trainings):
    first, second = get_or_train(SCRATCH, splits), get_or_train(SCRATCH, splits)
    assert count_trainings == [0]
    assert same(first.state("last"), second.state("last")) and same(first.state("best"), second.state("best"))
    assert first.history == second.history
    images = splits.test.inputs(slice(0, 4))
    assert torch.equal(first.model()(images), second.model()(images))
    assert leftovers() == []


def test_students_share_their_teacher(splits, count_trainings):
    get_or_train(distilled(alpha=0.5, temperature=1.0), splits)
    get_or_train(distilled(alpha=0.9, temperature=4.0), splits)
    assert count_trainings == [0, 0, 0]  # a teacher and two students


def test_a_run_starts_from_anothers_last_weights_and_leaves_the_frozen_ones(splits, count_trainings):
    spec = replace(SCRATCH, seed=3, start=SCRATCH, frozen_up_to="layer2")
    run = get_or_train(spec, splits)
    assert count_trainings == [0, 0]
    before, after = get_or_train(SCRATCH, splits).state(), run.state()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    # Statistics of frozen BatchNorm layers stay as well.
    assert kept == {name for name in before if name.startswith(("normalise", "stem", "layer1", "layer2"))}
    again = get_or_train(spec, splits)
    assert count_trainings == [0, 0] and same(again.state(), after)
    assert again.model().training is False


def test_a_student_may_see_fewer_images_than_its_teacher(splits, monkeypatch):
    seen = []
    fit = store.fit
    monkeypatch.setattr(
        store, "fit", lambda make, data, *a, **k: seen.append(len(data.train)) or fit(make, data, *a, **k)
    )
    few = replace(distilled(alpha=0.5, temperature=1.0), n_train=64)
    run = get_or_train(few, splits)
    assert seen == [len(splits.train), 64]
    # The pixels' statistics are the whole set's for both: one picture is one input for teacher and student.
    assert torch.equal(run.state()["normalise.mean"], get_or_train(SCRATCH, splits).state()["normalise.mean"])
    assert run.metadata["data_hash"] == splits.content_hash()
    with pytest.raises(KdlibError, match="n_train is 100000"):
        get_or_train(replace(SCRATCH, n_train=100_000), splits)


def test_a_distilled_run_does_not_depend_on_those_before_it(splits, monkeypatch):
    monkeypatch.setattr(store, "_teachers", {})
    spec = distilled(alpha=0.9, temperature=4.0)
    alone = get_or_train(spec, splits)
    remove_run(alone.key)
    monkeypatch.setattr(store, "_teachers", {})
    get_or_train(replace(spec, seed=7), splits)  # uses the same teacher first
    assert same(alone.state(), get_or_train(spec, splits).state())


def test_an_interrupted_distillation_goes_on_to_the_same_bits(splits, monkeypatch, count_trainings):
    spec = replace(distilled(alpha=0.9, temperature=4.0), recipe=replace(RECIPE, epochs=4))
    whole = get_or_train(spec, splits)
    remove_run(whole.key)
    save = files.ProgressSaver.save

    def save_and_die(saver, progress):
        save(saver, progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.ProgressSaver, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            get_or_train(spec, splits)
    monkeypatch.setattr(store, "_teachers", {})  # as in another process
    assert same(whole.state(), get_or_train(spec, splits).state())
    assert count_trainings[-1] == 2


def test_the_device_is_in_the_key_only_where_it_decides_the_precision(splits, monkeypatch):
    mixed = replace(SCRATCH, recipe=replace(RECIPE, mixed_precision=True))
    keys = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(store, "resolve_device", lambda name, device=device: torch.device(device))
        keys[device] = run_key(SCRATCH, splits), run_key(mixed, splits)
    assert keys["cpu"][0] == keys["cuda"][0]
    assert keys["cpu"][1] != keys["cuda"][1]


def test_whatever_shapes_a_training_is_in_the_key(splits, monkeypatch):
    other_data = replace(splits, train=splits.train.subset(slice(0, 100)))
    keys = {
        run_key(SCRATCH, splits),
        run_key(replace(SCRATCH, seed=1), splits),
        run_key(replace(SCRATCH, recipe=replace(RECIPE, weight_decay=0.0)), splits),
        run_key(distilled(alpha=0.5, temperature=1.0), splits),
        run_key(distilled(alpha=0.5, temperature=2.0), splits),
        run_key(replace(distilled(alpha=0.5, temperature=1.0), teacher=replace(SCRATCH, seed=7)), splits),
        run_key(SCRATCH, other_data),
        run_key(replace(SCRATCH, n_train=64), splits),
        run_key(replace(SCRATCH, start=replace(SCRATCH, seed=7)), splits),
        run_key(replace(SCRATCH, start=replace(SCRATCH, seed=7), frozen_up_to="layer1"), splits),
    }
    monkeypatch.setattr(store, "training_source", lambda modules: "another source")
    assert len(keys | {run_key(SCRATCH, splits)}) == 11


def test_the_source_of_network_method_and_teachers_counts(splits, monkeypatch):
    asked = []
    monkeypatch.setattr(store, "training_source", lambda modules: asked.append(set(modules)) or "")
    run_key(distilled(alpha=0.5), splits)
    methods = {"kdlib.distill.kd", "kdlib.distill.cross_entropy"}
    assert asked == [{"kdlib.models.resnet", "kdlib.data.image_set"} | methods]


def test_the_test_part_is_not_in_the_key(splits):
    assert run_key(SCRATCH, replace(splits, test=splits.val)) == run_key(SCRATCH, splits)


def test_metadata_tells_where_a_run_comes_from(splits):
    run = get_or_train(SCRATCH, splits)
    stored = json.loads((store_root() / run.key / "run.json").read_text())
    assert {"spec", "data_hash", "source", "torch", "device", "date", "history", "checksum"} <= stored.keys()
    assert stored["data_hash"] == splits.content_hash()
