"""What lies in the cohort's folder: damage is made good, other protocols are refused, and nobody's row is lost."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from functools import partial

import pytest

from kdlib.cohort import train as module
from kdlib.cohort.cohort import Cohort
from kdlib.cohort.listing import read_index
from kdlib.cohort.protocol import read_protocol
from kdlib.cohort.train import train_cohort, write_arm
from kdlib.errors import KdlibError


def train(protocol, folder, *arms: str, replicates: int = 3) -> list[str]:
    said: list[str] = []
    train_cohort(protocol, arms=arms, replicates=replicates, folder=folder, workers=1, say=said.append)
    return said


def test_a_damaged_file_is_moved_aside_and_made_anew_and_so_is_a_missing_one(protocol, published):
    toy = published / "toy"
    whole = (toy / "kd.0-2.safetensors").read_bytes()
    (toy / "kd.0-2.safetensors").write_bytes(whole[:-9])
    (toy / "short.0-2.safetensors").unlink()
    said = train(protocol, published)
    assert said == [
        "toy: short.0-2.safetensors is missing; it is made anew",
        "toy: kd.0-2.safetensors was damaged and is kept as kd.0-2.safetensors.damaged-1; it is made anew",
        "toy: short, replicates 0 to 2, written",
        "toy: kd, replicates 0 to 2, written",
    ]
    # The header's two texts stand in any order.
    assert sorted((toy / "kd.0-2.safetensors").read_bytes()) == sorted(whole)
    assert Cohort(protocol.population("toy"), toy, "cpu").seeds == (0, 1, 2)
    assert (toy / "kd.0-2.safetensors.damaged-1").read_bytes() == whole[:-9]
    assert train(protocol, published) == []


def test_a_file_that_can_t_be_read_now_is_neither_moved_nor_made_anew(protocol, published, monkeypatch):
    from kdlib.cohort import weights

    def fails(path):
        raise OSError(5, "Input/output error", str(path))

    before = sorted(path.name for path in (published / "toy").iterdir())
    monkeypatch.setattr(weights, "read_file", fails)
    with pytest.raises(KdlibError, match=r"can't be read \(Input/output error\); try again"):
        train(protocol, published)
    assert sorted(path.name for path in (published / "toy").iterdir()) == before


@pytest.mark.parametrize("name", ["index.json", "kd.0-2.safetensors"])
def test_a_pipe_is_not_waited_for(protocol, published, name):
    (published / "toy" / name).unlink()
    os.mkfifo(published / "toy" / name)
    with pytest.raises(KdlibError, match=r"can't be read \(it is no file\)"):
        train(protocol, published)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size = 32", "batch_size = 16", "by another protocol than this one"),
        ("n_train = 64", "n_train = 60", "on other data than fashion_mnist"),
    ],
)
def test_a_folder_of_another_protocol_is_refused(protocol_file, published, old, new, message, count_trainings):
    count_trainings.clear()
    protocol_file.write_text(protocol_file.read_text().replace(old, new))
    other = read_protocol(protocol_file)
    (published / "toy/short.0-2.safetensors").unlink()  # so that there is something to train
    with pytest.raises(KdlibError, match=message):
        train(other, published)
    assert count_trainings == []


def test_a_file_of_another_arm_is_not_taken_for_this_one(protocol, published):
    index = read_index(published / "toy")
    index["scratch"]["scratch.0-2.safetensors"] = index["short"]["short.0-2.safetensors"]
    short = (published / "toy/short.0-2.safetensors").read_bytes()
    (published / "toy/scratch.0-2.safetensors").write_bytes(short)
    (published / "toy/index.json").write_text(json.dumps(index))
    with pytest.raises(KdlibError, match="holds other networks than its index says"):
        Cohort(protocol.population("toy"), published / "toy", "cpu").model("scratch", 0)
    with pytest.raises(KdlibError, match="holds other networks than its index says"):
        train(protocol, published)


def test_what_a_killed_process_left_of_a_block_is_cleared_and_nothing_else(protocol, published):
    for name in ("kd.0-1", "kd.3-4", "kd.2-0", "other.0-1"):
        (published / "toy" / f"{name}.safetensors").write_text("left")
    train(protocol, published)
    left = {path.name for path in (published / "toy").iterdir() if path.read_bytes() == b"left"}
    assert left == {"kd.3-4.safetensors", "kd.2-0.safetensors", "other.0-1.safetensors"}


def test_two_that_write_into_one_folder_lose_no_row(protocol, tmp_path, monkeypatch):
    population = protocol.population("toy")
    splits = {0: population.splits(0)}
    both_have_read = threading.Barrier(2)

    def read_slowly(place):
        index = read_index(place)
        with contextlib.suppress(threading.BrokenBarrierError):  # the other one waits for its turn
            both_have_read.wait(timeout=2)  # it reads the same index here, if it may
        return index

    monkeypatch.setattr(module, "read_index", read_slowly)
    arms = ("scratch", "short")
    for arm in arms:  # trained before, so that both come to write
        module.get_or_train(population.spec(arm, 0), splits[0], device="cpu")
    writers = [threading.Thread(target=partial(write_arm, tmp_path, population, arm, (0,), splits)) for arm in arms]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert set(read_index(tmp_path)) == set(arms)


def test_a_folder_that_can_t_be_written_to_is_refused_before_anything_is_trained(protocol, tmp_path, count_trainings):
    (tmp_path / "file").write_text("")
    with pytest.raises(KdlibError, match=r"cannot write results to .*file/toy: Not a directory; name another folder"):
        train(protocol, tmp_path / "file")
    assert count_trainings == []
