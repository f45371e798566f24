"""The published networks are those that were trained, to half precision, and anyone can train them again."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from kdlib.cli import main
from kdlib.cohort import cohort as module
from kdlib.cohort.cohort import Cohort, load_cohort
from kdlib.cohort.listing import overview
from kdlib.cohort.train import train_cohort
from kdlib.cohort.verify import verify
from kdlib.cohort.weights import ArmFile, arm_file, pack, unpack
from kdlib.errors import KdlibError
from kdlib.runs.store import get_or_train


@pytest.fixture
def toy(published) -> Cohort:
    return load_cohort("toy", device="cpu", folder=published)


def test_a_published_network_is_the_trained_one_in_half_precision(toy):
    assert toy.arms == ("teacher", "scratch", "short", "kd") and toy.seeds == (0, 1, 2)
    for arm in toy.arms:
        run = get_or_train(toy.population.spec(arm, 1), toy.splits(1), device="cpu")
        half = unpack(pack([run.state("last")]), 0)
        assert all(torch.equal(half[name], value) for name, value in toy.model(arm, 1).state_dict().items())
        assert toy.history(arm, 1)[-1]["val_accuracy"] == pytest.approx(run.history[-1]["val_accuracy"], rel=1e-5)
        assert toy.provenance(arm, 1)["key"] == run.key


def test_what_is_on_file_is_what_the_networks_say(toy):
    for arm in ("teacher", "kd"):
        for replicate in toy.seeds:
            logits = toy.logits(arm, replicate)
            assert torch.equal(logits.argmax(dim=1), toy.predictions(arm, replicate))
            assert toy.accuracy(arm, replicate) == float((logits.argmax(1) == toy.splits(0).test.labels).float().mean())
    val = toy.logits("kd", 2, "val").argmax(dim=1) == toy.splits(2).val.labels
    assert toy.accuracy("kd", 2, "val") == pytest.approx(float(val.float().mean()))
    assert toy.accuracies("kd") == [toy.accuracy("kd", replicate) for replicate in (0, 1, 2)]


def test_more_replicates_leave_those_on_file_as_they_are(protocol, published, count_trainings):
    before = {path: path.read_bytes() for path in (published / "toy").glob("*.safetensors")}
    train_cohort(protocol, arms=["scratch"], folder=published, workers=1, say=lambda text: None)
    assert len(count_trainings) == 2  # replicates 3 and 4
    assert all(path.read_bytes() == content for path, content in before.items())
    more = load_cohort("toy", device="cpu", folder=published)
    assert more.replicates("scratch") == (0, 1, 2, 3, 4) and more.seeds == (0, 1, 2)


def test_a_block_that_was_begun_is_replaced_by_the_whole_one_and_never_cut(protocol, tmp_path):
    for replicates in (2, 3, 1):
        train_cohort(protocol, arms=["short"], replicates=replicates, folder=tmp_path, workers=1, say=lambda text: None)
    assert {path.name for path in (tmp_path / "toy").iterdir()} == {"index.json", "short.0-2.safetensors"}
    assert Cohort(protocol.population("toy"), tmp_path / "toy", "cpu").replicates("short") == (0, 1, 2)


def test_names_that_are_not_there_are_refused_before_anything_is_trained(protocol, tmp_path, count_trainings):
    for words, message in (({"arms": ["kdd"]}, "'kdd'"), ({"data": ["toys"]}, "'toys'"), ({"replicates": 9}, "not 9")):
        with pytest.raises(KdlibError, match=message):
            train_cohort(protocol, folder=tmp_path / "out", **words)
    assert count_trainings == [] and not (tmp_path / "out").exists()


def test_a_replicate_that_is_not_there_is_told(toy):
    with pytest.raises(KdlibError, match="the cohort has no replicate 7 of kd; it has 0 to 2"):
        toy.model("kd", 7)
    with pytest.raises(KdlibError, match="unknown arm of the cohort 'kdd'; did you mean 'kd'"):
        toy.accuracy("kdd", 0)


def test_what_is_not_published_is_told(protocol, protocol_file, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "read_protocol", lambda: protocol)
    with pytest.raises(KdlibError, match="no networks of toy are published yet; make them by `kdlib cohort train"):
        load_cohort("toy", folder=tmp_path)
    assert overview(protocol_file, tmp_path) == [
        {"data": "toy", "arms": 4, "replicates": 5, "published": 0, "bytes": 0}
    ]


@pytest.mark.parametrize("index", ["{", "[]"])
def test_a_broken_index_is_told(published, index):
    (published / "toy/index.json").write_text(index)
    with pytest.raises(KdlibError, match=r"index\.json can't be read"):
        load_cohort("toy", folder=published)


def test_a_damaged_file_is_told_when_it_is_needed(toy):
    [path] = toy.folder.glob("kd.*")
    path.write_bytes(path.read_bytes()[:-9])
    assert toy.accuracy("scratch", 0) >= 0
    with pytest.raises(KdlibError, match=r"kd\.0-2\.safetensors is damaged"):
        toy.accuracy("kd", 0)


def test_a_second_training_gives_the_same_bits_and_uses_no_stored_run(toy, count_trainings):
    count_trainings.clear()
    found = verify(toy, 2, arms=["kd", "short"], workers=1)
    assert all(one.same_bits and one.passed and one.published == one.retrained for one in found)
    assert len(count_trainings) >= 2


def test_a_network_that_was_exchanged_has_other_bits(toy, published):
    index = json.loads((published / "toy/index.json").read_text())
    [(name, row)] = index["scratch"].items()
    scratch = ArmFile(published / "toy" / name, row["sha256"])
    short = toy._file("short", 0)
    content = arm_file(short.packed, short.predictions, scratch.record)
    (published / "toy" / name).write_bytes(content)
    row["sha256"] = hashlib.sha256(content).hexdigest()
    (published / "toy/index.json").write_text(json.dumps(index))
    [found] = verify(load_cohort("toy", device="cpu", folder=published), 1, arms=["scratch"], workers=1)
    assert not found.same_bits


def test_a_sample_is_no_larger_than_what_there_is(toy):
    with pytest.raises(KdlibError, match="sample must be a whole number from 1 to 3, not 4"):
        verify(toy, 4, arms=["kd"])


def test_the_commands(published, monkeypatch, capsys):
    monkeypatch.setattr(module.load_cohort, "__kwdefaults__", {"device": "cpu", "folder": published})
    assert main(["cohort", "info", "toy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["arm", "replicates"] and len(lines) == 5
    assert main(["cohort", "verify", "--data", "toy", "--sample", "1", "--arms", "short"]) == 0
    assert "the same" in capsys.readouterr().out
    assert main(["cohort", "info", "toys"]) == 2
