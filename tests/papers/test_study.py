"""Studies: paired students, presets that are sizes and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from photographs import plant

from kdlib.errors import KdlibError
from kdlib.papers.cheng2020.study import ConceptStudy
from kdlib.papers.han2023.arms import ARMS
from kdlib.papers.han2023.study import HanStudy
from kdlib.papers.study import gallery_indices


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        study = HanStudy("fashion_mnist", "smoke", seed=3, device="cpu", temperature=4.0, alpha=0.9)
        study.train(ARMS)
        yield study


def test_seeds_follow_the_first_one(study):
    assert study.seeds == (3, 4)
    assert HanStudy("fashion_mnist", "smoke", 3, n_seeds=5).seeds == (3, 4, 5, 6, 7)


def test_every_arm_of_the_largest_seed_has_a_seed_of_its_own():
    study = HanStudy("fashion_mnist", "smoke", 2**32 - 1, n_seeds=1)
    assert [study.spec(arm).seed for arm in ("scratch", "self_teacher")] == [2**32 - 1, 999]
    fair = ConceptStudy("concept_world", "smoke", 2**32 - 1, 1, "cpu", teacher_images="same")
    assert [fair.spec(arm).seed for arm in ("baseline", "teacher")] == [2**32 - 1, 999]


def test_arms_of_a_seed_differ_in_the_objective_alone(study):
    specs = [study.spec(arm, 4) for arm in ARMS]
    assert len({(s.model, s.model_options, s.recipe, s.seed) for s in specs}) == 1
    assert [s.objective for s in specs] == ["cross_entropy", "label_smoothing", "kd"]
    assert dict(specs[2].objective_options) == {"temperature": 4.0, "alpha": 0.9}


def test_the_students_of_a_seed_have_the_teacher_of_that_seed(study):
    for seed in study.seeds:
        assert study.spec("kd", seed).teacher == study.spec("teacher", seed)
    assert study.run("teacher", 3) is not study.run("teacher", 4)


def test_with_alpha_0_the_distilled_student_is_the_one_from_scratch_to_the_last_bit(study):
    # the strictest check of pairing: same start, same images, same order
    twin = HanStudy("fashion_mnist", "smoke", seed=3, n_seeds=1, device="cpu", alpha=0.0, smoothing=0.0)
    scratch = study.run("scratch", 3).state()
    for arm in ("kd", "label_smoothing"):
        state = twin.run(arm, 3).state()
        assert all(torch.equal(scratch[name], state[name]) for name in scratch)


def test_accuracy_is_that_of_the_logits(study):
    logits, labels = study.logits("kd", 4), study.part("test").labels
    assert study.accuracies("kd")[1] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert study.logits("kd", 4) is logits  # computed once


def test_gallery_takes_the_first_image_of_each_class(study):
    labels = study.part("test").labels
    found = gallery_indices(labels, per_class=2)
    assert labels[found].tolist() == [c for c in range(10) for _ in range(2)]
    assert found[0] == labels.tolist().index(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "quik"}, "unknown preset 'quik'; did you mean 'quick'"),
        ({"data": "fashion"}, "unknown data set 'fashion'; did you mean 'fashion_mnist'"),
        ({"temperature": 0}, "temperature must be a finite number greater than 1e-09 and less than 1e.06, not 0"),
        (
            {"temperature": float("nan")},
            "temperature must be a finite number greater than 1e-09 and less than 1e.06, not ",
        ),
        (
            {"temperature": "abc"},
            "temperature must be a finite number greater than 1e-09 and less than 1e.06, not 'abc'",
        ),
        ({"n_seeds": 0}, "n_seeds must be a whole number from 1 to 1000, not 0"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, not -1"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"alpha": 1.5}, "alpha must be a finite number at least 0 and at most 1, not 1.5"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_drawn_or_trained(arguments, message):
    with pytest.raises(KdlibError, match=message):
        HanStudy(**arguments)


def test_arms_name_their_teacher_and_its_temperature(study):
    assert study.spec("ls_teacher_t8").teacher == study.spec("ls_teacher")
    assert dict(study.spec("ls_teacher_t8").objective_options) == {"alpha": 0.9, "temperature": 8.0}
    assert study.spec("ls_teacher").objective == "label_smoothing"
    assert study.spec("kd_shuffled").teacher == study.spec("teacher")
    assert study.spec("superclass_smoothing").teacher is None


def test_a_self_teacher_has_the_students_shape_and_none_of_the_students_weights(study):
    teacher, student = study.spec("self_kd").teacher, study.spec("self_kd")
    assert (teacher.model, teacher.model_options) == (student.model, student.model_options)
    assert teacher.seed not in study.seeds


def test_feature_methods_come_without_and_with_the_teachers_logits(study):
    for method in ("at", "ft", "crd"):
        assert dict(study.spec(method).objective_options).get("alpha", 0) == 0
        assert dict(study.spec(f"{method}_with_logits").objective_options)["alpha"] == 0.9
    assert dict(study.spec("sskd").objective_options).get("logits", 0) == 0
    assert dict(study.spec("sskd_with_logits").objective_options)["logits"] == 0.9


def test_schedules_of_other_lengths_differ_in_their_epochs_alone(study):
    usual = study.spec("scratch").recipe
    for length in (7, 10, 20, 28):
        recipe = study.spec(f"scratch_{length}").recipe
        assert recipe.epochs == max(1, round(length / 14 * usual.epochs))
        assert replace(recipe, epochs=usual.epochs) == usual


def test_photographs_of_ones_own_can_be_distilled(tmp_path, monkeypatch):
    # With strided 1x1 shortcuts in channels_last, images of this size killed the process (oneDNN).
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    photographs = plant(tmp_path / "photographs", {"cat": 50, "dog": 50})
    study = HanStudy("image_folder", "smoke", n_seeds=1, device="cpu", data_folder=str(photographs))
    assert study.splits.train.image_size == (64, 64)
    assert 0 <= study.accuracy("kd") <= 1
