"""The paper's scale, made small: the way in, its settings, and two processes that are killed and go on."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from photographs import plant, plant_stripes
from tiny_paper_scale import TINY

from kdlib.cli import main
from kdlib.data.broden import export_broden
from kdlib.data.drawn.concept_world import draw_scenes
from kdlib.data.folder_stream import FolderStream
from kdlib.errors import KdlibError
from kdlib.metrics.dissection.dissect import dissect
from kdlib.papers.han2023 import presets
from kdlib.papers.han2023 import settings as paper_settings
from kdlib.papers.han2023.arms import ARMS
from kdlib.papers.han2023.study import HanStudy
from kdlib.runs.place import store_root
from kdlib.runs.store import is_stored

SCRIPT = Path(__file__).parents[2] / "helpers/tiny_paper_scale.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """As ImageNet: train and val, no test."""
    root = tmp_path_factory.mktemp("tiny_imagenet")
    plant_stripes(root / "train", {"top": 25, "middle": 25, "bottom": 25})
    plant_stripes(root / "val", {"top": 5, "middle": 5, "bottom": 4})
    return root


@pytest.fixture(scope="module")
def enough(tmp_path_factory) -> Path:
    """Images for one batch of the paper's 256."""
    return plant(tmp_path_factory.mktemp("enough"), {"top": 120, "middle": 120, "bottom": 120})


@pytest.fixture(scope="module")
def broden(tmp_path_factory) -> Path:
    return export_broden(draw_scenes(40, seed=5), tmp_path_factory.mktemp("probe") / "broden")


@pytest.fixture
def tiny(monkeypatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "gpu", replace(presets.PRESETS["gpu"], for_folder=TINY))


class TestSettings:
    def test_are_the_papers(self):
        """Paper file, sections 1.3 and 2.1."""
        recipe = paper_settings.RECIPE
        rates = [recipe.learning_rate_at(epoch + 0.5) for epoch in (0, 29, 30, 59, 60, 89, 90, 99)]
        assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])
        assert (recipe.epochs, recipe.batch_size, recipe.optimizer) == (100, 256, "sgd")
        assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, False, 1e-4)
        assert (paper_settings.TEACHER, paper_settings.STUDENT) == ("resnet34", "resnet18")
        assert (paper_settings.QUANTILE, paper_settings.TAU, paper_settings.DENOMINATOR) == (0.005, 0.05, "lite")
        assert (paper_settings.LAYER, paper_settings.TEMPERATURE, paper_settings.ALPHA) == ("layer4", 1.0, 0.5)

    def test_preset_gpu_has_them_for_a_folder_of_photographs(self, enough):
        study = HanStudy("image_folder", "gpu", device="cpu", data_folder=str(enough))
        teacher, student = study.spec("teacher"), study.spec("kd", 3)
        assert (teacher.model, student.model) == ("resnet34", "resnet18")
        assert teacher.recipe == student.recipe == paper_settings.RECIPE
        assert student.teacher == teacher
        assert dict(student.objective_options) == {"alpha": 0.5, "temperature": 1.0}
        assert len(study.seeds) == 8
        train = study.part("train")
        assert isinstance(train, FolderStream)
        assert train.image_size == (224, 224)
        with torch.no_grad():
            assert study.untrained()(train.inputs(slice(0, 2))).shape == (2, 3)

    def test_methods_have_the_papers_own_recipes(self, images):
        """Paper file, section 1.3: batch, epochs and weight decay of each configuration."""
        study = HanStudy("image_folder", "gpu", device="cpu", data_folder=str(images))
        told = {
            arm: (recipe.batch_size, recipe.epochs, recipe.weight_decay)
            for arm in ("scratch", "kd", "ls_teacher_t2", "at", "at_with_logits", "ft", "crd", "sskd")
            if (recipe := study.spec(arm).recipe)
        }
        assert told == {
            "scratch": (256, 100, 1e-4),
            "kd": (256, 100, 1e-4),
            "ls_teacher_t2": (512, 100, 1e-4),
            "at": (512, 100, 1e-4),
            "at_with_logits": (512, 100, 1e-4),
            "ft": (256, 90, 1e-4),
            "crd": (256, 100, 1e-4),
            "sskd": (256, 100, 5e-4),
        }
        assert dict(study.spec("ls_teacher_t2").objective_options) == {"alpha": 0.9, "temperature": 2.0}
        shorter = HanStudy("image_folder", "gpu", device="cpu", data_folder=str(images), student_epochs=95)
        assert {shorter.spec(arm).recipe.epochs for arm in told} == {95}

    def test_the_layer_is_the_last_stage_of_whatever_network(self, enough):
        study = HanStudy("image_folder", "gpu", device="cpu", data_folder=str(enough))
        assert study.last_stage == paper_settings.LAYER
        assert HanStudy("concept_world", "smoke", device="cpu").last_stage == "layer3"

    def test_other_data_keeps_its_small_nets_at_preset_gpu(self):
        assert HanStudy("cifar10", "gpu", device="cpu").spec("teacher").model == "small_resnet"

    def test_the_real_nets_take_a_step_of_the_real_recipe(self, images, monkeypatch):
        """ResNet-34 teaches ResNet-18 for one epoch, on small images."""
        short = replace(paper_settings.RECIPE, epochs=1, batch_size=4, milestones=(), learning_rate=0.01)
        small = replace(presets.PAPER_SCALE, teacher_recipe=short, student_recipe=short, streamed_size=32)
        monkeypatch.setitem(presets.PRESETS, "gpu", replace(presets.PRESETS["gpu"], for_folder=small))
        few = images.parent / "few"
        plant_stripes(few / "train", {"top": 5, "bottom": 5})
        plant_stripes(few / "val", {"top": 1, "bottom": 1})
        study = HanStudy("image_folder", "gpu", n_seeds=1, device="cpu", data_folder=str(few))
        assert {"kd", "cross_entropy"} <= set(study.run("kd").history[0])
        assert study.logits("kd").shape == (2, 2)


class TestCommandLine:
    def test_fills_the_store_with_what_the_study_wants(self, tiny, images, capsys):
        command = ["--images", str(images), "--seeds", "1", "--device", "cpu", "--arms", "scratch", "kd"]
        assert main(["paper-scale", *command]) == 0
        told = capsys.readouterr().out.splitlines()
        assert [line.split(",")[0].split()[-1] for line in told[:-1]] == ["teacher", "scratch", "kd"]
        study = HanStudy("image_folder", "gpu", n_seeds=1, device="cpu", data_folder=str(images))
        assert all(is_stored(study.spec(arm), study.splits, "cpu") for arm in ("teacher", "scratch", "kd"))
        assert not is_stored(study.spec("label_smoothing"), study.splits, "cpu")
        assert told[1].split()[1] == study.run("scratch").key

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"--images": "nowhere"}, "there is no folder .*nowhere"),
            ({"--probe": "nowhere"}, r"there is no nowhere/index\.csv; give a folder in Broden's layout"),
            ({"--arms": "kdd"}, "unknown arm 'kdd'; did you mean 'kd'"),
            ({"--seeds": "0"}, "n_seeds must be a whole number from 1 to 1000, not 0"),
            ({"--device": "gpu"}, "unknown device 'gpu'"),
        ],
    )
    def test_bad_input_is_one_sentence_and_exit_code_2(self, images, capsys, changes, message):
        given = {"--images": str(images), "--device": "cpu"} | changes
        assert main(["paper-scale", *(word for pair in given.items() for word in pair)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert re.search(message, line)
        assert not store_root().joinpath(".locks").exists()


def torchrun(images: Path, store: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    command += ["paper-scale", "--images", str(images), "--seeds", "2", "--device", "cpu"]
    environment = os.environ | {"KDLIB_RUNS": str(store), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_in_mid_training(program: subprocess.Popen, store: Path) -> dict:
    """Kill one of the two as soon as an epoch of some training is kept; returns what is kept when all have ended."""
    while program.poll() is None:
        if found := list(store.glob(".partial-*/progress.pt")):
            os.kill(int((store / "process_1").read_text()), signal.SIGKILL)
            # Not communicate: decoders of the killed one may hold the pipes open a while longer.
            assert program.wait(timeout=120) != 0
            if not found[0].exists():
                pytest.skip("the training ended in the very moment of the interruption")
            return torch.load(_content(found[0]), weights_only=True) | {"key": found[0].parent.name[9:]}
        time.sleep(0.01)
    pytest.fail(program.communicate()[1])
    return {}


def _content(path: Path) -> io.BytesIO:
    return io.BytesIO(path.read_bytes()[32:])  # behind its checksum


@pytest.mark.slow
def test_two_processes_are_killed_go_on_and_the_study_finds_their_runs(tiny, images, broden, tmp_path, monkeypatch):
    store = tmp_path / "runs"
    kept = kill_in_mid_training(torchrun(images, store), store)
    assert kept["epoch"] >= 1
    again = torchrun(images, store)
    out, error = again.communicate(timeout=300)
    assert again.returncode == 0, error
    assert len(out.splitlines()) == 8  # the teacher, three arms by two seeds, a last word; each told by one process

    monkeypatch.setenv("KDLIB_RUNS", str(store))
    record = json.loads((store / kept["key"] / "run.json").read_text())
    assert record["processes"] == 2
    assert record["history"][: kept["epoch"]] == kept["history"]  # seconds too: these epochs were not trained again
    assert not list(store.glob(".partial-*"))

    study = HanStudy("image_folder", "gpu", n_seeds=2, device="cpu", data_folder=str(images), probe_folder=str(broden))
    wanted = [study.spec("teacher"), *(study.spec(arm, seed) for arm in ARMS for seed in study.seeds)]
    assert all(is_stored(spec, study.splits, "cpu") for spec in wanted)
    study.train(ARMS)
    assert len(list(store.glob("[0-9a-f]*/run.json"))) == len(wanted)
    assert all(0 <= accuracy <= 1 for accuracy in study.accuracies("kd"))
    found = dissect(study.model("kd", 1), study.part("probe"), "layer3")
    assert found.num_units == 16
    assert set(found.iou) == {"object", "part", "scene", "material", "texture", "color"}


class TestProbeFolder:
    def test_is_the_probe_in_place_of_the_datas_own(self, tiny, images, broden):
        study = HanStudy("image_folder", "gpu", device="cpu", data_folder=str(images), probe_folder=str(broden))
        assert len(study.part("probe")) == 40
        assert study.describe()["probe set"] == "broden"
        assert isinstance(study.part("test"), FolderStream)

    def test_a_folder_without_an_index_column_is_refused_at_once(self, images, tmp_path):
        folder = export_broden(draw_scenes(20, seed=1), tmp_path / "world")
        lines = (folder / "index.csv").read_text().splitlines()
        (folder / "index.csv").write_text("\n".join(line.split(",", 1)[1] for line in lines))
        with pytest.raises(KdlibError, match=r"index\.csv lacks the column 'image'; is it Broden's"):
            HanStudy("image_folder", "gpu", device="cpu", data_folder=str(images), probe_folder=str(folder))

    def test_a_missing_picture_stops_the_dissection_by_name(self, tiny, images, tmp_path):
        folder = export_broden(draw_scenes(20, seed=1), tmp_path / "world")
        mask = next(path for path in sorted((folder / "images").rglob("*.png")) if "part" in path.name)
        mask.unlink()
        study = HanStudy("image_folder", "gpu", device="cpu", data_folder=str(images), probe_folder=str(folder))
        with pytest.raises(KdlibError, match=rf"{mask.name} is missing; copy or download the folder again"):
            dissect(study.untrained(), study.part("probe"), "layer3")


@pytest.mark.slow
def test_torchrun_takes_the_command_and_a_mistake_is_said_once(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "kdlib.cli", "paper-scale", "--images", str(tmp_path / "nowhere"), "--device", "cpu"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr.count("kdlib: there is no folder") == 1
