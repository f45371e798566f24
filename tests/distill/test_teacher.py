"""Teachers of which only their outputs are known: looked up by row, and refused where a method needs more."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_nets import batch_of, setting_of, teacher_net

from kdlib.distill.catalogue import METHODS
from kdlib.distill.teacher import KnownOutputs, Teacher
from kdlib.errors import KdlibError

LOOKS_INSIDE = {
    "layer_mse": {"layer": "layer2"},
    "attention_transfer": {},
    "factor_transfer": {},
    "contrastive": {},
    "self_supervision": {},
}
BY_LOGITS = ("kd", "shuffled", "wrong_classes")


def known_setting(splits, outputs=None, augment: str = "none"):
    """A setting whose teacher is known by its logits of the training images alone."""
    if outputs is None:
        with torch.no_grad():
            outputs = {"logits": teacher_net().eval()(splits.train.inputs(slice(None)))}
    return replace(setting_of(splits, augment=augment), teacher_model=None, teacher_outputs=outputs)


def test_outputs_are_looked_up_by_the_rows_index_whatever_its_place_in_the_batch(splits):
    outputs = {"logits": torch.randn(128, 4), "leaf": torch.arange(128)}
    teacher, index = KnownOutputs(outputs), torch.tensor([5, 127, 5, 0])
    answer = teacher.answer(batch_of(splits, index, augment="none"))
    assert answer["leaf"].tolist() == [5, 127, 5, 0]
    assert all(torch.equal(answer["logits"][place], outputs["logits"][row]) for place, row in enumerate(index))
    assert torch.equal(teacher(batch_of(splits, index, augment="none")), answer["logits"])


def test_outputs_without_logits_are_refused():
    with pytest.raises(KdlibError, match="must include 'logits', not only leaf"):
        KnownOutputs({"leaf": torch.arange(3)})
    with pytest.raises(KdlibError, match="must include 'logits', not only nothing"):
        KnownOutputs({})


@pytest.mark.parametrize("method", BY_LOGITS)
def test_a_method_of_logits_has_the_loss_that_the_network_itself_would_give(splits, method):
    with_network = METHODS[method].build(setting_of(splits, augment="none"), alpha=0.7)
    by_outputs = METHODS[method].build(known_setting(splits), alpha=0.7)
    batch, logits = batch_of(splits, torch.tensor([3, 90, 41, 7]), augment="none"), torch.randn(4, 4)
    wanted, found = (objective(batch, logits, {}) for objective in (with_network, by_outputs))
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", LOOKS_INSIDE)
def test_a_method_that_looks_inside_its_teacher_is_refused(splits, method):
    with pytest.raises(KdlibError, match="looks inside its teacher, of which only the outputs are known"):
        METHODS[method].build(known_setting(splits), **LOOKS_INSIDE[method])


def test_every_method_with_a_teacher_is_one_of_the_two_kinds():
    assert {name for name, method in METHODS.items() if method.taught} == {*LOOKS_INSIDE, *BY_LOGITS}


def test_augmentation_with_views_is_refused(splits):
    with pytest.raises(KdlibError, match="not for views of augmentation 'flip'; train with augment='none'"):
        METHODS["kd"].build(known_setting(splits, augment="flip"))


def test_too_few_rows_are_refused(splits):
    with pytest.raises(KdlibError, match="'logits' is known for 127 rows, but there are 128 to train on"):
        METHODS["kd"].build(known_setting(splits, {"logits": torch.zeros(127, 4)}))


def test_outputs_for_other_classes_are_refused(splits):
    with pytest.raises(KdlibError, match="the teacher has 7 outputs and the student 4"):
        METHODS["kd"].build(known_setting(splits, {"logits": torch.zeros(128, 7)}))


def test_a_teacher_with_a_memory_is_a_network_and_is_asked_once_a_row(splits):
    teacher = Teacher(teacher_net(), len(splits.train), 1)
    batch = batch_of(splits, torch.tensor([0, 4, 9]), augment="none")
    first = teacher(batch)
    assert torch.equal(first, teacher(batch)) and teacher.asked == 3
