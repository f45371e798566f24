"""Teachers that are no run of the store: kept by their content, and their students trained like any other."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import NET, RECIPE, SCRATCH

from kdlib.errors import KdlibError
from kdlib.runs import place, teachers
from kdlib.runs.place import store_root
from kdlib.runs.spec import make_spec
from kdlib.runs.store import get_or_train, run_key
from kdlib.runs.teachers import KnownTeacher, keep_network, keep_teacher, outputs_of, weights_of
from kdlib.train.predict import predict

PLAIN = replace(RECIPE, augment="none")
LOGITS = torch.arange(12.0).reshape(4, 3)


def student(teacher, method: str = "kd", recipe=PLAIN):
    return make_spec("small_resnet", method, recipe, 1, model_options=NET, teacher=teacher)


def file_of(teacher: KnownTeacher) -> Path:
    return store_root() / "teachers" / f"{teacher.content}.safetensors"


@pytest.fixture
def kept(splits) -> KnownTeacher:
    """What the run of SCRATCH says of every training image, as it is."""
    model = get_or_train(SCRATCH, splits, device="cpu").model()
    return keep_teacher("network", {"logits": predict(model, splits.train)})


def test_a_student_of_kept_outputs_is_the_student_of_the_run_that_gave_them(splits, kept):
    by_run = get_or_train(student(SCRATCH), splits, device="cpu")
    by_outputs = get_or_train(student(kept), splits, device="cpu")
    assert by_run.key != by_outputs.key
    for name, weight in by_run.state().items():
        torch.testing.assert_close(by_outputs.state()[name], weight, rtol=1e-3, atol=1e-4)
    untrained = by_run.build().state_dict()["fc.weight"]
    assert not torch.allclose(untrained, by_run.state()["fc.weight"], atol=1e-2)


def test_the_student_comes_back_from_the_store_and_names_its_teacher(splits, kept):
    first, second = (get_or_train(student(kept), splits, device="cpu") for _ in range(2))
    assert torch.equal(first.state()["fc.weight"], second.state()["fc.weight"]) and first.history == second.history
    assert second.metadata["spec"]["teacher"] == {"name": "network", "content": kept.content}


def test_what_is_kept_comes_back_and_the_same_content_is_the_same_teacher():
    outputs = {"logits": LOGITS, "leaf": torch.arange(4)}
    teacher = keep_teacher("trees", outputs)
    found = outputs_of(teacher)
    assert found.keys() == outputs.keys() and all(torch.equal(found[name], outputs[name]) for name in outputs)
    assert keep_teacher("trees", dict(reversed(outputs.items()))) == teacher
    assert len(list((store_root() / "teachers").iterdir())) == 1


def test_the_content_is_in_the_key_of_the_student(splits):
    outputs = torch.randn(128, 4)
    changed = outputs.clone()
    changed[5, 1] += 1e-3
    first, again, other = (keep_teacher("trees", {"logits": logits}) for logits in (outputs, outputs.clone(), changed))
    keys = [run_key(student(teacher), splits, "cpu") for teacher in (first, again, other)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name", ["", "LightGBM", "a b", "../out"])
def test_a_name_that_could_be_no_word_is_refused(name):
    with pytest.raises(KdlibError, match="a teacher's name is made of lower-case letters, digits and _"):
        keep_teacher(name, {"logits": LOGITS})


def test_outputs_without_logits_are_refused():
    with pytest.raises(KdlibError, match="must include 'logits', not only leaf"):
        keep_teacher("trees", {"leaf": LOGITS})


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(4), r"must be numbers of shape \(rows, outputs\).*, not of shape \(4,\); correct them"),
        (torch.full((4, 2), torch.nan), "not nan or inf; correct them"),
        (torch.full((4, 2), torch.inf), "not nan or inf; correct them"),
    ],
)
def test_logits_that_no_student_can_learn_from_are_refused(logits, message):
    with pytest.raises(KdlibError, match=message):
        keep_teacher("trees", {"logits": logits})
    keep_teacher("trees", {"logits": torch.tensor([[0.0, -torch.inf]])})


def test_a_method_that_looks_inside_is_refused_before_training(splits, kept, count_trainings):
    with pytest.raises(KdlibError, match="looks inside its teacher"):
        get_or_train(student(kept, "attention_transfer"), splits, device="cpu")
    assert count_trainings == []


def test_augmentation_with_views_is_refused_before_training(splits, kept, count_trainings):
    with pytest.raises(KdlibError, match="train with augment='none'"):
        get_or_train(student(kept, recipe=RECIPE), splits, device="cpu")
    assert count_trainings == []


def test_too_few_rows_are_refused_before_training(splits, count_trainings):
    few = keep_teacher("few", {"logits": torch.zeros(100, 4)})
    with pytest.raises(KdlibError, match="known for 100 rows, but there are 128 to train on; give one for each"):
        get_or_train(student(few), splits, device="cpu")
    assert count_trainings == []


def test_a_student_of_the_first_rows_takes_their_outputs(splits, kept):
    run = get_or_train(replace(student(kept), n_train=64), splits, device="cpu")
    assert len(run.history) == PLAIN.epochs


def test_a_missing_file_is_refused_with_the_remedy(splits, kept):
    file_of(kept).unlink()
    with pytest.raises(KdlibError, match=rf"teacher network \({kept.content}\) can't be read .* keep_teacher"):
        get_or_train(student(kept), splits, device="cpu")


@pytest.mark.parametrize("damage", ["flip a byte", "cut"])
def test_a_damaged_file_is_refused_with_the_remedy(kept, damage):
    content = bytearray(file_of(kept).read_bytes())
    content[-3] ^= 1
    file_of(kept).write_bytes(content[:-20] if damage == "cut" else content)
    with pytest.raises(KdlibError, match=r"is damaged: .* remove .*safetensors and make it again with keep_teacher"):
        outputs_of(kept)


def test_a_full_disk_falls_back_to_memory(monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(teachers, "_unkept", {})
    with monkeypatch.context() as patch:
        patch.setattr(place.os, "fsync", full)
        with pytest.warns(UserWarning, match=r"No space left on device.*teacher trees is used from memory"):
            teacher = keep_teacher("trees", {"logits": LOGITS})
    assert torch.equal(outputs_of(teacher)["logits"], LOGITS)
    assert list((store_root() / "teachers").iterdir()) == []  # nor half a file


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_others_may_read_what_is_kept_as_any_new_file():
    before = os.umask(0o022)
    try:
        teacher = keep_teacher("trees", {"logits": LOGITS})
    finally:
        os.umask(before)
    assert file_of(teacher).stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_pipe_in_its_place_is_refused_and_not_waited_for():
    teacher = keep_teacher("trees", {"logits": LOGITS})
    file_of(teacher).unlink()
    os.mkfifo(file_of(teacher))
    with pytest.raises(KdlibError, match=r"can't be read .*\(it is no file\); .*remove .*make it again"):
        outputs_of(teacher)


def test_a_folder_that_hides_whether_it_is_kept_is_told_and_memory_is_used(monkeypatch):
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(teachers, "_unkept", {})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", closed)
        with pytest.warns(UserWarning, match=r"cannot be reached \(Permission denied\).*is used from memory"):
            teacher = keep_teacher("trees", {"logits": LOGITS})
    assert torch.equal(outputs_of(teacher)["logits"], LOGITS)


# ---- teachers by their weights ----


@pytest.fixture
def network(splits):
    """The network of SCRATCH's run, by its weights."""
    return keep_network("small_resnet", NET, get_or_train(SCRATCH, splits, device="cpu").state())


@pytest.mark.parametrize("method", ["kd", "attention_transfer"])
def test_a_student_of_kept_weights_is_bit_for_bit_that_of_the_run_with_these_weights(splits, network, method):
    by_run, by_weights = (
        get_or_train(student(teacher, method, RECIPE), splits, device="cpu") for teacher in (SCRATCH, network)
    )
    assert by_run.key != by_weights.key
    assert all(torch.equal(by_weights.state()[name], weight) for name, weight in by_run.state().items())
    options = [list(pair) for pair in network.model_options]
    known = {"model": "small_resnet", "model_options": options, "content": network.content}
    assert by_weights.metadata["spec"]["teacher"] == known


def test_weights_come_back_and_other_weights_are_another_teacher(splits, network):
    state = get_or_train(SCRATCH, splits, device="cpu").state()
    found = weights_of(network)
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    changed = {name: tensor + 1e-3 if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    other = keep_network("small_resnet", NET, changed)
    assert run_key(student(other), splits, "cpu") != run_key(student(network), splits, "cpu")


def test_damaged_weights_are_told_with_the_remedy(network):
    path = file_of(network)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(KdlibError, match=r"small_resnet .* is damaged.*make it again with keep_network"):
        weights_of(network)
