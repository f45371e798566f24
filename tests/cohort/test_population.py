"""A replicate is a teacher and its students, independent of any other but for test and probe."""

from __future__ import annotations

import pytest
import torch

from kdlib.cohort.population import Population, read_arm, read_net
from kdlib.errors import KdlibError
from kdlib.runs.arms import Arm, Net
from kdlib.train.recipe import Recipe

NET = Net("small_resnet", {"depth": 8, "width": 4, "features": 8}, Recipe(epochs=1, batch_size=16))
ARMS = {
    "teacher": Arm("cross_entropy", net="teacher"),
    "scratch": Arm("cross_entropy"),
    "kd": Arm("kd", {"temperature": 4.0, "alpha": 0.9}, teacher="teacher"),
    "short": Arm("cross_entropy"),
}


def population(**changed) -> Population:
    options = {"n_train": 40, "n_val": 20, "n_test": 20, "n_probe": 20}
    fields = {"data": "concept_world", "options": options, "nets": {"teacher": NET, "student": NET}, "arms": ARMS}
    return Population(**(fields | {"recipes": {"short": Recipe(epochs=0)}} | changed))


def test_replicates_have_images_of_their_own_and_share_test_and_probe():
    first, second = (population().splits(replicate) for replicate in (3, 4))
    for part in ("train", "val"):
        assert not torch.equal(getattr(first, part).images, getattr(second, part).images)
    for part in ("test", "probe"):
        assert torch.equal(getattr(first, part).images, getattr(second, part).images)
    assert not torch.equal(first.test.images, first.val.images)


def test_photographs_of_test_are_in_no_replicate_s_train():
    options = {"n_train": 100, "n_val": 20, "n_test": 50, "n_probe": 50}
    splits = population(data="fashion_mnist", options=options).splits(5)
    trained = {image.numpy().tobytes() for image in (*splits.train.images, *splits.val.images)}
    assert not trained & {image.numpy().tobytes() for image in splits.test.images}


def test_all_arms_of_a_replicate_have_its_number_and_teachers_differ_between_replicates():
    three, four = ({arm: population().spec(arm, number) for arm in ARMS} for number in (3, 4))
    assert {spec.seed for spec in three.values()} == {3}
    assert three["kd"].teacher == three["teacher"] != four["teacher"]
    assert three["short"].recipe.epochs == 0


def test_one_s_own_files_are_no_data_of_a_population():
    with pytest.raises(KdlibError, match="cifar10 needs files"):
        population(data="cifar10")
    with pytest.raises(KdlibError, match="unknown data set 'concept_word'; did you mean 'concept_world'"):
        population(data="concept_word")
    with pytest.raises(KdlibError, match="seed is no option of a population's data"):
        population(options={"seed": 3})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"model": "small_resnet"}, "here has no epochs"),
        ({"epochs": 2}, "here has no model"),
        ({"model": "small_resnet", "epoch": 2}, "unknown entry of here 'epoch'; did you mean 'epochs'"),
        ({"model": "small_resnet", "epochs": -2}, "epochs must be"),
    ],
)
def test_a_net_that_can_t_be_read_is_refused(table, message):
    with pytest.raises(KdlibError, match=message):
        read_net(table, "here")


def test_an_arm_that_can_t_be_read_is_refused():
    with pytest.raises(KdlibError, match="here has the objective None"):
        read_arm({}, "here")
    with pytest.raises(KdlibError, match="unknown entry of here 'techer'; did you mean 'teacher'"):
        read_arm({"objective": "kd", "techer": "teacher"}, "here")
