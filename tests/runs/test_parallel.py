"""Trainings in parallel: the same runs as one after another, teachers first, errors reported, no process left."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from killed import pool_script
from tqdm import tqdm

from kdlib.errors import KdlibError
from kdlib.runs import parallel
from kdlib.runs.parallel import in_processes, train_missing, train_missing_of
from kdlib.runs.spec import make_spec
from kdlib.runs.store import get_or_train, is_stored
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=32, augment="flip")
NET = {"width": 4, "features": 16}


def scratch(seed: int = 0, recipe: Recipe = RECIPE):
    return make_spec("small_resnet", "cross_entropy", recipe, seed, model_options=NET)


def distilled(seed: int):
    return make_spec("small_resnet", "kd", RECIPE, seed, model_options=NET, teacher=scratch(9))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Switch to another, empty run store."""

    def switch(name: str) -> None:
        monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / name))

    return switch


@pytest.mark.slow
def test_processes_give_the_bits_of_one_training_after_another(splits, elsewhere):
    specs = [scratch(0), scratch(1), distilled(0)]
    elsewhere("processes")
    assert train_missing(specs, splits, device="cpu", workers=2) == 4  # with the teacher
    assert all(is_stored(spec, splits, "cpu") for spec in specs)
    together = [get_or_train(spec, splits, device="cpu").state() for spec in specs]
    elsewhere("alone")
    alone = [get_or_train(spec, splits, device="cpu").state() for spec in specs]
    for a, b in zip(together, alone, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_stored_is_not_trained_again(splits, monkeypatch):
    train_missing([scratch()], splits, device="cpu", workers=1)
    monkeypatch.setattr(parallel, "get_or_train", None)
    assert train_missing([scratch(), scratch()], splits, device="cpu") == 0


def test_teachers_come_first_and_those_who_need_them_last(splits, monkeypatch):
    order = []
    monkeypatch.setattr(parallel, "get_or_train", lambda spec, *_, **__: order.append((spec.objective, spec.seed)))
    train_missing([distilled(0), scratch(0), distilled(1)], splits, device="cpu", workers=1)
    assert order == [("cross_entropy", 9), ("cross_entropy", 0), ("kd", 0), ("kd", 1)]


def test_of_several_data_sets_all_teachers_come_first_and_each_run_meets_its_own_data(splits, monkeypatch):
    order = []

    def noted(spec, data, **_):
        order.append((data.name, spec.objective, spec.seed))

    monkeypatch.setattr(parallel, "get_or_train", noted)
    other = replace(splits, name="others", train=splits.val)
    specs = [scratch(0), distilled(0)]
    assert train_missing_of([(specs, splits), (specs, other)], device="cpu", workers=1) == 6
    names = ("stripes", "others")
    expected = [*(("cross_entropy", 9),) * 2, *(("cross_entropy", 0),) * 2, *(("kd", 0),) * 2]
    assert order == [(names[place % 2], *rest) for place, rest in enumerate(expected)]


def test_students_of_one_teacher_and_method_stay_together_and_the_longest_begin_first():
    methods = ("kd", "attention_transfer", "factor_transfer", "self_supervision")
    students = [
        make_spec("small_resnet", method, RECIPE, seed, model_options=NET, teacher=scratch(9))
        for seed in range(3)
        for method in methods
    ]
    alone, *groups = parallel._groups([scratch(9), *students], workers=2)
    assert alone == [scratch(9)]
    assert [{spec.objective for spec in group} for group in groups[:2]] == [{"self_supervision"}, {"factor_transfer"}]
    assert all(len(group) == 3 and len({spec.objective for spec in group}) == 1 for group in groups)


def test_a_single_group_is_cut_so_that_every_process_has_work():
    groups = parallel._groups([distilled(seed) for seed in range(5)], workers=2)
    assert sorted(spec.seed for group in groups for spec in group) == list(range(5))
    assert [len(group) for group in groups] == [3, 2]


@pytest.mark.slow
def test_an_error_in_a_process_is_reported_and_no_process_stays(splits):
    before = set(multiprocessing.active_children())
    diverging = scratch(0, replace(RECIPE, learning_rate=1e30, warmup=0))
    endless = scratch(1, replace(RECIPE, epochs=10_000))
    with pytest.raises(KdlibError, match="the loss became"):
        train_missing([diverging, endless], splits, device="cpu", workers=2)
    # Not join(): the pool's own thread waits for the same processes, and where it is the one that reaps a process,
    # this thread takes that one to be alive for another moment.
    end = time.monotonic() + 30
    while (left := set(multiprocessing.active_children()) - before) and time.monotonic() < end:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert not left


def test_what_a_run_starts_from_is_trained_before_it(splits):
    base = scratch(0)
    later = replace(scratch(1), start=base)
    assert parallel.needed_first([later]) == [base, later]
    taught = replace(distilled(3), start=later)
    order = parallel.needed_first([taught])
    assert order.index(base) < order.index(later) < order.index(taught)
    assert parallel._groups([base, later, distilled(2)], workers=2)[-1] == [later]


def _number_of(shared: int, task: int) -> int:
    return shared + task


def _in_a_pools_process(task: int) -> list[int]:
    return in_processes(_number_of, 10, [task, task + 1], 2, tqdm(disable=True))


def test_a_process_of_a_pool_that_may_have_none_of_its_own_does_the_work_itself():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_in_a_pools_process, [1]) == [[11, 12]]


def test_a_script_that_does_not_keep_its_work_to_itself_is_told_so(tmp_path):
    script = pool_script(tmp_path).replace('__name__ == "__main__"', "True")
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "memory" not in done.stderr
    # Not always the last line: another process may warn after it of what the killed ones left.
    told = next((line for line in done.stderr.splitlines() if "ended by itself" in line), done.stderr)
    assert "ended by itself, by the error above; a script that trains must be a file with its work below `if " in told


def test_a_full_disk_of_temporary_files_is_one_error(monkeypatch):
    def full(*_: object) -> None:
        raise RuntimeError("unexpected pos 704 vs 598")  # as torch says it

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        KdlibError, match=r"can't write what the other processes need to .*set TMPDIR to another folder"
    ):
        in_processes(_number_of, 10, [1, 2], 2, tqdm(disable=True))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_what_other_processes_could_not_store_is_not_trained_twice(splits, monkeypatch):
    import resource

    from kdlib.runs import store

    monkeypatch.setattr(store, "_unkept", {})
    specs = [replace(scratch(seed), model_options=(("features", 16), ("width", 48))) for seed in (0, 1)]
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # the data is smaller, the runs are larger
    try:
        assert train_missing(specs, splits, device="cpu", workers=2) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(is_stored(spec, splits, "cpu") for spec in specs)
    monkeypatch.setattr(store, "fit", None)
    assert [get_or_train(spec, splits, device="cpu").history[-1]["epoch"] for spec in specs] == [2, 2]
