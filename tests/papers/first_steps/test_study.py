"""The study of the first chapters, and its trainings in parallel with one on drawn scenes."""

from __future__ import annotations

import pytest

from kdlib.errors import KdlibError
from kdlib.papers.first_steps.study import FirstStudy, train_with_scenes
from kdlib.runs.store import is_stored


def test_temperature_and_alpha_are_those_of_kd_and_of_no_other_arm():
    one, other = FirstStudy(temperature=4.0, alpha=0.9), FirstStudy(temperature=2.0, alpha=0.9)
    assert one.spec("kd") != other.spec("kd")
    assert one.spec("scratch") == other.spec("scratch")
    assert one.spec("teacher", 5) == one.spec("teacher", 0)  # one teacher for all seeds


def test_an_unknown_data_set_is_refused():
    with pytest.raises(KdlibError, match="concept_world"):
        FirstStudy("concept_word")


@pytest.mark.slow
def test_the_scenes_are_trained_on_with_the_study(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))
    study = FirstStudy("fashion_mnist", "smoke", n_seeds=1, device="cpu")
    scenes = FirstStudy("concept_world", "smoke", n_seeds=1, device="cpu")
    train_with_scenes(study, scenes, ("scratch", "kd"))
    for arm in ("teacher", "scratch", "kd"):
        assert is_stored(study.spec(arm), study.splits, "cpu"), arm
    assert is_stored(scenes.spec("scratch"), scenes.splits, "cpu")
    assert not is_stored(scenes.spec("teacher"), scenes.splits, "cpu")
