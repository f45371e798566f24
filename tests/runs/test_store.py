"""The run store's promises: kept whole or not at all, trained once, damage seen, interruption survived."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdlib.errors import KdlibError
from kdlib.runs import store as runs
from kdlib.runs.files import store_root
from kdlib.runs.listing import list_runs, remove_run, show_run
from kdlib.runs.spec import make_spec
from kdlib.runs.store import get_or_train, run_key
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=32, augment="flip")
NET = {"width": 4, "features": 16}
SCRATCH = make_spec("small_resnet", "cross_entropy", RECIPE, 0, model_options=NET)


def distilled(**options: float):
    return make_spec("small_resnet", "kd", RECIPE, 1, model_options=NET, objective_options=options, teacher=SCRATCH)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def count_trainings(monkeypatch):
    """Number of trainings begun; `resumed_from` notes where each took up."""
    calls: list[int] = []
    fit = runs.fit

    def counted(*args, resume=None, **kwargs):
        calls.append(resume.epoch if resume else 0)
        return fit(*args, resume=resume, **kwargs)

    monkeypatch.setattr(runs, "fit", counted)
    return calls


def leftovers() -> list[str]:
    return [p.name for p in store_root().iterdir() if p.name.startswith((".tmp", ".partial"))]


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


def test_what_starts_elsewhere_is_a_run_of_the_same_network(splits):
    with pytest.raises(KdlibError, match="same network"):
        replace(SCRATCH, start=replace(SCRATCH, model="resnet18", model_options=()))
    with pytest.raises(KdlibError, match="no run to start from"):
        replace(SCRATCH, frozen_up_to="layer1")


def test_a_student_may_see_fewer_images_than_its_teacher(splits, monkeypatch):
    seen = []
    fit = runs.fit
    monkeypatch.setattr(
        runs, "fit", lambda make, data, *a, **k: seen.append(len(data.train)) or fit(make, data, *a, **k)
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
    monkeypatch.setattr(runs, "_teachers", {})
    spec = distilled(alpha=0.9, temperature=4.0)
    alone = get_or_train(spec, splits)
    remove_run(alone.key)
    monkeypatch.setattr(runs, "_teachers", {})
    get_or_train(replace(spec, seed=7), splits)  # uses the same teacher first
    assert same(alone.state(), get_or_train(spec, splits).state())


def test_an_interrupted_distillation_goes_on_to_the_same_bits(splits, monkeypatch, count_trainings):
    spec = replace(distilled(alpha=0.9, temperature=4.0), recipe=replace(RECIPE, epochs=4))
    whole = get_or_train(spec, splits)
    remove_run(whole.key)
    save = runs._ProgressSaver.save

    def save_and_die(saver, progress):
        save(saver, progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs._ProgressSaver, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            get_or_train(spec, splits)
    monkeypatch.setattr(runs, "_teachers", {})  # as in another process
    assert same(whole.state(), get_or_train(spec, splits).state())
    assert count_trainings[-1] == 2


def test_the_device_is_in_the_key_only_where_it_decides_the_precision(splits, monkeypatch):
    mixed = replace(SCRATCH, recipe=replace(RECIPE, mixed_precision=True))
    keys = {}
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(runs, "resolve_device", lambda name, device=device: torch.device(device))
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
    monkeypatch.setattr(runs, "training_source", lambda modules: "another source")
    assert len(keys | {run_key(SCRATCH, splits)}) == 11


def test_the_source_of_network_method_and_teachers_counts(splits, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, "training_source", lambda modules: asked.append(set(modules)) or "")
    run_key(distilled(alpha=0.5), splits)
    methods = {"kdlib.distill.kd", "kdlib.distill.cross_entropy"}
    assert asked == [{"kdlib.models.resnet", "kdlib.data.image_set"} | methods]


def test_the_test_part_is_not_in_the_key(splits):
    assert run_key(SCRATCH, replace(splits, test=splits.val)) == run_key(SCRATCH, splits)


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors", "run.json"])
@pytest.mark.parametrize("damage", ["flip a byte", "cut", "delete"])
def test_damage_is_seen_told_in_one_line_and_mended(splits, count_trainings, capsys, name, damage):
    run = get_or_train(SCRATCH, splits)
    path = store_root() / run.key / name
    content = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    else:
        # A text's middle may be the last of a number's many digits, which says nothing: a key always does.
        place = content.index(b'"history"') + 1 if name == "run.json" else len(content) // 2
        content[place] ^= 1
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    again = get_or_train(SCRATCH, splits)
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and f"the stored run {run.key} is damaged" in said[0]
    assert count_trainings == [0, 0]
    assert same(run.state(), again.state())
    get_or_train(SCRATCH, splits)
    assert count_trainings == [0, 0]


CHILD = """
    import os, sys, time
    sys.path.insert(0, {tests!r})
    from conftest import striped_images
    from kdlib.runs import store as runs
    from kdlib.data.image_set import Splits
    from kdlib.runs.store import get_or_train
    from kdlib.runs.spec import make_spec
    from kdlib.train.recipe import Recipe
    counts = dict(train=128, val=64, test=64, probe=64)
    splits = Splits("stripes", **{{p: striped_images(n, s, p) for s, (p, n) in enumerate(counts.items())}})
    spec = make_spec("small_resnet", "cross_entropy", Recipe(epochs={epochs}, batch_size=32), 0,
                     model_options=dict(width=4, features=16))
    {extra}
    run = get_or_train(spec, splits)
    print("trained", flush=True)
"""


def child(epochs: int, extra: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parent), epochs=epochs, extra=extra)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def long_spec(epochs: int):
    return replace(SCRATCH, recipe=Recipe(epochs=epochs, batch_size=32))


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the child did not get there"
        time.sleep(0.01)


def test_a_training_killed_midway_goes_on_from_its_last_epoch_to_the_same_bits(splits, count_trainings):
    # The child halts in its third epoch, so that the kill is sure to hit a training under way.
    halt = "; ".join(
        [
            "save = runs._ProgressSaver.save",
            "runs._ProgressSaver.save = lambda s, p: (save(s, p), time.sleep(60) if p.epoch == 3 else 0)",
        ]
    )
    process = child(5, halt)
    spec = long_spec(5)
    partial = store_root() / f".partial-{run_key(spec, splits)}" / "progress.pt"
    wait_for(lambda: partial.exists() and runs._ProgressSaver(partial.parent).load().epoch == 3, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list_runs() == []
    resumed = get_or_train(spec, splits)
    assert count_trainings == [3]
    remove_run(resumed.key)
    whole = get_or_train(spec, splits)
    assert count_trainings == [3, 0]
    assert same(resumed.state("last"), whole.state("last")) and same(resumed.state("best"), whole.state("best"))
    assert leftovers() == []


def test_a_process_killed_while_writing_leaves_no_run_and_no_rubbish(splits, count_trainings):
    halt = "write = runs._write; "
    halt += "runs._write = lambda p, c: (write(p, c[:100]), print('writing', flush=True), time.sleep(60))"
    process = child(2, halt)
    assert process.stdout.readline().strip() == "writing"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list_runs() == []
    assert any(name.startswith(".tmp") for name in leftovers())
    run = get_or_train(long_spec(2), splits)
    assert count_trainings == [2]  # all epochs were done: only the writing was lost
    assert leftovers() == []
    assert [row["key"] for row in list_runs()] == [run.key]


def test_two_processes_that_want_one_run_train_it_once(splits):
    count = "fit = runs.fit; runs.fit = lambda *a, **k: (print('fit', flush=True), time.sleep(1), fit(*a, **k))[2]"
    processes = [child(2, count) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum(out.count("fit") for out, _ in outputs) == 1
    assert all("trained" in out for out, _ in outputs)


def test_a_full_disk_loses_nothing(splits, monkeypatch, count_trainings):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "_unkept", {})
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_write", full)
        with pytest.warns(UserWarning, match="No space left on device.*free space or set KDLIB_RUNS"):
            run = get_or_train(SCRATCH, splits)
        assert get_or_train(SCRATCH, splits) is run  # not trained twice in this process
    runs._unkept.clear()  # as in the next process
    assert run.history and run.model()(splits.test.inputs(slice(0, 2))).shape == (2, 4)
    assert list_runs() == []
    assert not any(name.startswith(".tmp") for name in leftovers())
    again = get_or_train(SCRATCH, splits)  # with room again, the finished epochs are taken up and stored
    assert count_trainings == [0, 2]
    assert same(run.state(), again.state())
    assert len(list_runs()) == 1


def test_damaged_progress_is_told_of_and_not_used(splits, count_trainings, capsys):
    folder = store_root() / f".partial-{run_key(SCRATCH, splits)}"
    folder.mkdir(parents=True)
    (folder / "progress.pt").write_bytes(b"half a file")
    get_or_train(SCRATCH, splits)
    assert count_trainings == [0]
    assert "an interrupted training could not be taken up" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_store_that_cannot_be_written_is_refused_before_training(splits, monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    with pytest.raises(KdlibError, match="can't write to the run store"):
        get_or_train(SCRATCH, splits)


def test_a_store_that_is_a_file_is_refused_before_training(splits, monkeypatch, tmp_path, count_trainings):
    (tmp_path / "runs").write_text("not a folder")
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    with pytest.raises(KdlibError, match=r"can't write to the run store .*set KDLIB_RUNS to another folder"):
        get_or_train(SCRATCH, splits)
    assert count_trainings == []


def test_runs_are_listed_shown_and_removed_by_a_part_of_their_key(splits):
    run = get_or_train(distilled(alpha=0.5, temperature=1.0), splits)
    rows = {row["key"]: row for row in list_runs()}
    assert rows[run.key]["objective"] == "kd alpha=0.5 temperature=1.0"
    assert show_run(run.key[:8])["spec"]["seed"] == 1
    assert remove_run(run.key[:8]) == run.key
    assert run.key not in {row["key"] for row in list_runs()}
    with pytest.raises(KdlibError, match=r"no run|unknown run"):
        show_run("ffffffff")


def test_a_damaged_entry_does_not_break_the_listing(splits):
    run = get_or_train(SCRATCH, splits)
    (store_root() / run.key / "run.json").write_text("{")
    assert "damaged" in list_runs()[0]["data"]
    with pytest.raises(KdlibError, match=rf"the stored run {run.key} is damaged .*kdlib runs rm {run.key}"):
        show_run(run.key)


def test_metadata_tells_where_a_run_comes_from(splits):
    run = get_or_train(SCRATCH, splits)
    stored = json.loads((store_root() / run.key / "run.json").read_text())
    assert {"spec", "data_hash", "source", "torch", "device", "date", "history", "checksum"} <= stored.keys()
    assert stored["data_hash"] == splits.content_hash()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small_resnet", "kd", RECIPE, 0), "objective 'kd' needs a teacher"),
        (("small_resnet", "crossentropy", RECIPE, 0), "did you mean 'cross_entropy'"),
        (("small_resnet", "cross_entropy", RECIPE, -1), "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_a_senseless_specification_is_refused(arguments, message):
    with pytest.raises(KdlibError, match=message):
        make_spec(*arguments)
