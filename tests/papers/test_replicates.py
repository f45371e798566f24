"""Studies of replicates: a teacher and images of its own for each, published networks where specifications agree."""

from __future__ import annotations

import pytest
import torch

from kdlib.cohort import cohort
from kdlib.cohort.population import TEST_SEED
from kdlib.cohort.protocol import Protocol, read_protocol
from kdlib.cohort.train import train_cohort
from kdlib.data.registry import load
from kdlib.errors import KdlibError
from kdlib.papers import replicates
from kdlib.papers.han2023.study import HanStudy
from kdlib.papers.replicates import ReplicateStudy
from kdlib.runs.teachers import weights_of

TOY = """\
replicates = 4
block = 2

[fashion_mnist]
data = "fashion_mnist"
options = { n_train = 64, n_val = 20, n_test = 30, n_probe = 20 }
tau = 0.07

[fashion_mnist.nets.teacher]
model = "small_resnet"
options = { depth = 8, width = 8, features = 8 }
epochs = 2
batch_size = 32

[fashion_mnist.nets.student]
model = "small_resnet"
options = { depth = 8, width = 4, features = 8 }
epochs = 2
batch_size = 32

[fashion_mnist.epochs]
scratch_7 = 1

[fashion_mnist.arms]
teacher = { objective = "cross_entropy", net = "teacher" }
scratch = { objective = "cross_entropy" }
scratch_7 = { objective = "cross_entropy" }
kd = { objective = "kd", options = { temperature = 1.0, alpha = 0.5 }, teacher = "teacher" }
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Protocol:
    path = tmp_path_factory.mktemp("protocol") / "protocol.toml"
    path.write_text(TOY)
    return read_protocol(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, runs, toy):
    """Two of the toy protocol's four replicates, published."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDLIB_RUNS", str(runs))
        train_cohort(toy, replicates=2, folder=folder, workers=1, say=lambda text: None)
    return folder


@pytest.fixture
def published(folder, toy, runs, monkeypatch):
    """The toy cohort in the place of the project's own."""
    monkeypatch.setenv("KDLIB_RUNS", str(runs))
    monkeypatch.setattr(replicates, "read_protocol", lambda: toy)
    monkeypatch.setattr(cohort, "read_protocol", lambda: toy)
    monkeypatch.setattr(replicates, "is_published", lambda data: cohort.is_published(data, folder))
    monkeypatch.setattr(replicates, "load_cohort", lambda data, **how: cohort.load_cohort(data, folder=folder, **how))


def study(preset: str = "quick", **options) -> HanStudy:
    return HanStudy("fashion_mnist", preset, device="cpu", **options)


def forbid_training(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a published network was trained")

    monkeypatch.setattr("kdlib.papers.study.get_or_train", refuse)
    monkeypatch.setattr("kdlib.papers.study.train_missing_of", lambda wanted, device: wanted and refuse())


class TestDataAndTeachers:
    def test_each_replicate_has_a_teacher_and_images_of_its_own_and_the_same_test(self):
        ours = study("smoke")
        first, second = (ours.spec("kd", seed) for seed in ours.seeds)
        assert first.teacher != second.teacher
        one, other = (ours.replicate(seed) for seed in ours.seeds)
        assert one.train.content_hash() != other.train.content_hash()
        assert one.test is other.test and one.probe is other.probe

    def test_a_replicates_train_and_val_are_drawn_from_its_number_and_test_from_one_that_no_replicate_has(self):
        ours = study("smoke")
        sizes = {"n_train": 160, "n_val": 100, "n_test": 200, "n_probe": 200}
        assert ours.replicate(1).val.content_hash() == load("fashion_mnist", seed=1, **sizes).val.content_hash()
        assert ours.part("test").content_hash() == load("fashion_mnist", seed=TEST_SEED, **sizes).test.content_hash()

    def test_one_teacher_and_one_draw_for_all_where_asked_for(self):
        ours = study("smoke", one_teacher=True)
        assert len({ours.spec("kd", seed).teacher for seed in ours.seeds}) == 1
        assert ours.replicate(0) is ours.replicate(1)


@pytest.mark.usefixtures("published")
class TestPublishedNetworks:
    def test_as_many_replicates_as_are_on_file_at_the_populations_own_sizes(self):
        ours = study()
        assert ours.seeds == (0, 1)
        assert (len(ours.part("test")), ours.sizes.n_train, ours.sizes.student_recipe.epochs) == (30, 64, 2)
        assert study("retrain").seeds == (0, 1, 2, 3)
        assert ours.tau == 0.07

    def test_equal_specifications_are_taken_from_the_cohort_and_nothing_is_trained(self, monkeypatch):
        forbid_training(monkeypatch)
        ours = study()
        ours.train(["teacher", "scratch", "scratch_7", "kd"])
        assert [ours.origin(arm, 1) for arm in ("teacher", "scratch", "scratch_7", "kd")] == ["published"] * 4
        own = ours.cohort.model("kd", 1).state_dict()
        assert all(torch.equal(own[name], tensor) for name, tensor in ours.model("kd", 1).state_dict().items())
        labels = ours.part("test").labels
        assert ours.accuracy("kd", 1) == pytest.approx(float((ours.logits("kd", 1).argmax(1) == labels).float().mean()))
        assert ours.history("kd", 1)[-1]["epoch"] == 2
        assert ours.describe()["networks"] == "8 published, 0 trained here"

    def test_what_the_parameters_make_different_is_trained_here_on_the_replicates_own_images(self):
        ours = study(temperature=8.0, n_seeds=1)
        ours.train(["scratch", "kd"])
        assert [ours.origin(arm) for arm in ("scratch", "kd")] == ["published", "trained here"]
        assert "1 published, 1 trained here" in str(ours.describe()["networks"])
        assert ours.origin("teacher") == "published"
        own = ours.cohort.model("teacher", 0).state_dict()
        found = weights_of(ours.spec("kd").teacher)
        assert all(torch.equal(found[name], tensor) for name, tensor in own.items())  # not trained again
        assert ours.splits_of(ours.spec("kd")).train.content_hash() == ours.replicate(0).train.content_hash()

    def test_a_replicate_that_is_not_on_file_is_trained_here(self):
        ours = study(n_seeds=3)
        assert [ours.origin("scratch", seed) for seed in ours.seeds] == ["published", "published", "trained here"]

    def test_retrain_asks_no_cohort(self):
        assert study("retrain").origin("scratch") == "trained here"

    def test_a_state_that_is_not_published_is_refused_with_a_remedy(self):
        with pytest.raises(KdlibError, match="last epoch alone, not 'best'; take preset=retrain"):
            study().model("kd", 0, "best")

    def test_accuracies_on_val_come_from_the_file_and_are_those_of_the_weights(self):
        ours = study()
        val = ours.replicate(1).val
        right = (ours.logits("scratch", 1, "val").argmax(1) == val.labels).float().mean()
        assert ours.accuracy("scratch", 1, "val") == pytest.approx(float(right))


def test_every_arm_of_the_cohorts_protocol_has_the_same_specification_in_the_study():
    population = read_protocol().population("concept_world")
    ours = HanStudy("concept_world", "retrain", device="cpu")
    for arm in population.arms:
        for replicate in (0, 11):
            assert ours.spec(arm, replicate) == population.spec(arm, replicate), arm


def test_data_of_ones_own_keep_one_teacher(tmp_path):
    assert ReplicateStudy({}, load("fashion_mnist", n_train=64), "smoke", device="cpu").one_teacher
