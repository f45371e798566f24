"""The cohort trained on a Dask scheduler and two workers of this machine, one of which is killed on the way."""

from __future__ import annotations

import pytest
import torch
from dask_cluster import local_cluster, once

from kdlib.cohort.listing import read_index
from kdlib.cohort.train import train_cohort
from kdlib.errors import KdlibError
from kdlib.runs.place import store_root
from kdlib.runs.remote import Study, train_missing_on
from kdlib.runs.store import get_or_train, is_stored


@pytest.mark.slow
def test_a_killed_worker_s_trainings_are_done_by_the_other_with_the_same_bits(
    protocol, tmp_path, monkeypatch, count_trainings
):
    population, splits = protocol.population("toy"), {}
    for replicate in (0, 1):
        splits[replicate] = population.splits(replicate)
    # A teacher that is here already is sent to the workers.
    get_or_train(population.spec("teacher", 0), splits[0], device="cpu")
    with local_cluster(tmp_path / "cluster", "one", "two") as cluster:
        begun = cluster.store("one") / ".locks"  # a training holds its lock there
        with once(begun.exists, lambda: cluster.kill_worker("one")):
            arms = ["teacher", "scratch", "kd"]
            train_cohort(protocol, arms=arms, replicates=2, folder=tmp_path / "out", scheduler=cluster.address)
        assert (cluster.store("two") / get_or_train(population.spec("kd", 0), splits[0], device="cpu").key).is_dir()
    assert len(count_trainings) == 1  # nothing else was trained here
    assert {arm: list(files) for arm, files in read_index(tmp_path / "out/toy").items()} == {
        arm: [f"{arm}.0-1.safetensors"] for arm in arms
    }
    there = {(a, r): get_or_train(population.spec(a, r), splits[r], device="cpu") for a in arms for r in (0, 1)}
    assert len(list(store_root().glob("[0-9a-f]*"))) == 6
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "alone"))
    for arm, replicate in (("teacher", 1), ("kd", 0), ("kd", 1)):
        alone = get_or_train(population.spec(arm, replicate), splits[replicate], device="cpu").state("last")
        sent = there[arm, replicate].state("last")
        assert all(torch.equal(sent[name], tensor) for name, tensor in alone.items())


class NoWorkers:
    """A cluster that is asked for nothing."""

    def submit(self, *arguments, **more):
        raise AssertionError("nothing was missing")

    def finished(self, futures):
        return iter(())


class AtOnce:
    """A cluster that does everything here, when its answer is asked for."""

    def submit(self, function, *arguments, needs=()):
        return lambda: function(*arguments, *(needed() for needed in needs))

    def hand(self, content):
        return lambda: content

    def finished(self, futures):
        return iter([(value, future) for future, value in futures.items()])


def test_what_is_stored_is_not_trained_on_a_cluster(protocol):
    population = protocol.population("toy")
    study = Study([population.spec("short", 0)], population.splits(0), lambda: population.splits(0))
    get_or_train(study.specs[0], study.splits, device="cpu")
    assert train_missing_on(NoWorkers(), [study], device="cpu") == 0


def test_teachers_are_trained_first_and_counted(protocol):
    population = protocol.population("toy")
    study = Study([population.spec("kd", 0)], population.splits(0), lambda: population.splits(0))
    assert train_missing_on(AtOnce(), [study], device="cpu") == 2
    assert is_stored(population.spec("teacher", 0), study.splits, "cpu")


def test_a_worker_with_other_data_is_refused(protocol):
    population = protocol.population("toy")
    study = Study([population.spec("short", 0)], population.splits(0), lambda: population.splits(1))
    with pytest.raises(KdlibError, match=r"the training of cross_entropy, seed 0, failed: a worker's data or versions"):
        train_missing_on(AtOnce(), [study], device="cpu")
    assert not list(store_root().glob("[0-9a-f]*"))
