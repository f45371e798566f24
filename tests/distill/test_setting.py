"""What a method's builder is given, and what every method refuses at once."""

from __future__ import annotations

import pytest
from small_nets import setting_of, student_net, teacher_net
from torch import nn

from kdlib.distill.catalogue import METHODS
from kdlib.distill.setting import num_outputs
from kdlib.errors import KdlibError
from kdlib.models import build

TAUGHT = [name for name, method in METHODS.items() if method.taught]
BY_CLASSES = [name for name in TAUGHT if name != "layer_mse"]  # a layer may be imitated whatever the classes


@pytest.mark.parametrize("method", BY_CLASSES)
def test_a_teacher_of_other_classes_is_refused_before_a_step_is_made(splits, method):
    setting = setting_of(splits, teacher=teacher_net(num_classes=7))
    message = "the teacher has 7 outputs and the student 4; train both on the same classes"
    with pytest.raises(KdlibError, match=message):
        METHODS[method].build(setting)


def test_a_layer_may_be_imitated_whatever_the_classes(splits):
    nets = {"width": 4, "features": 8}
    student, teacher = (build("small_vgg", num_classes=classes, **nets) for classes in (4, 7))
    assert METHODS["layer_mse"].build(setting_of(splits, student=student, teacher=teacher), layer="fc1")


@pytest.mark.parametrize("training", [True, False])
def test_asking_for_the_number_of_classes_leaves_the_network_as_it_was(splits, training):
    net: nn.Module = student_net().train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert num_outputs(net, splits.train.inputs(slice(0, 1))) == 4
    assert net.training is training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("method", TAUGHT)
def test_a_method_that_needs_a_teacher_says_so(splits, method):
    setting = setting_of(splits)
    object.__setattr__(setting, "teacher_model", None)
    options = {"layer": "fc1"} if method == "layer_mse" else {}
    with pytest.raises(KdlibError, match="needs a teacher, and teacher is None; give the run of one"):
        METHODS[method].build(setting, **options)
