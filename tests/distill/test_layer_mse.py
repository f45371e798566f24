"""Distillation of one layer: its value, whom it teaches and whom it leaves alone, and the classifier afterwards."""

from __future__ import annotations

import pytest
import torch

from kdlib.capture import capture
from kdlib.data.augment import Augmentation
from kdlib.distill import TrainBatch
from kdlib.distill.layer_mse import LayerMSE, build_layer_mse, observe_layer
from kdlib.distill.setting import Setting
from kdlib.distill.teacher import KnownOutputs, Teacher
from kdlib.errors import KdlibError
from kdlib.models import build
from kdlib.models.freezing import parameters_up_to
from kdlib.models.probed import layer_path
from kdlib.train.loop import fit
from kdlib.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=0.05, augment="none")
LAYER = "layer2"


def student_net(seed: int = 0):
    return build("small_resnet", num_classes=4, width=4, features=16, seed=seed)


def setting_of(splits, teacher=None, student=None) -> Setting:
    return Setting(student or student_net(), splits.train, Augmentation("none"), 0, teacher or student_net(9))


def test_the_loss_is_the_mean_square_over_the_batch_and_all_outputs():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 2, 2, 2), torch.randn(3, 2, 2, 2)
    batch = TrainBatch(torch.rand(3, 1, 2, 2), torch.zeros(3).long(), torch.arange(3), torch.zeros(3).long())
    model = torch.nn.Identity()
    objective = LayerMSE("x", Teacher(model, observe=lambda model, images: {"logits": images, "layer": teacher}))
    found = objective(batch, torch.zeros(3, 4), {"x": student})["layer_mse"]
    pairs = zip(student.double().flatten().tolist(), teacher.double().flatten().tolist(), strict=True)
    assert float(found) == pytest.approx(sum((s - t) ** 2 for s, t in pairs) / student.numel(), rel=1e-5)


def test_the_student_comes_nearer_and_what_lies_behind_the_layer_does_not_move(splits):
    objective = build_layer_mse(setting_of(splits), layer=LAYER)
    run = fit(student_net, splits, objective, RECIPE, seed=0)
    losses = [row["layer_mse"] for row in run.history]
    assert losses[-1] < losses[0]
    fresh, trained = student_net(), run.model()
    before, after = dict(fresh.named_parameters()), dict(trained.named_parameters())
    taught = {id(parameter) for parameter in parameters_up_to(fresh, LAYER)}
    for name, parameter in before.items():
        moved = not torch.equal(parameter, after[name])
        assert moved == (id(parameter) in taught), name


def test_labels_have_no_say(splits):
    batch = TrainBatch(
        splits.train.inputs(slice(0, 8)), splits.train.labels[:8], torch.arange(8), torch.zeros(8).long()
    )
    objective = build_layer_mse(setting_of(splits), layer=LAYER)
    model = student_net().eval()
    with capture(model, LAYER) as captured:
        logits = model(batch.images)
    other = TrainBatch(batch.images, (batch.labels + 1) % 4, batch.index, batch.view)
    terms = objective(batch, logits, captured), objective(other, logits * 0, captured)
    assert terms[0].keys() == {"layer_mse"}
    assert torch.equal(terms[0]["layer_mse"], terms[1]["layer_mse"])


def test_a_student_that_equals_its_teacher_has_no_loss(splits):
    objective = build_layer_mse(setting_of(splits, teacher=student_net()), layer=LAYER)
    batch = TrainBatch(
        splits.train.inputs(slice(0, 8)), splits.train.labels[:8], torch.arange(8), torch.zeros(8).long()
    )
    seen = observe_layer(LAYER)(student_net().eval(), batch.images)
    assert objective(batch, seen["logits"], {LAYER: seen["layer"]})["layer_mse"].item() < 1e-9


def test_layers_go_by_the_papers_names_where_a_network_has_them():
    named = torch.nn.Sequential(torch.nn.Linear(2, 2))
    named.probed_layers = {"fc1": "0"}
    assert (layer_path(named, "fc1"), layer_path(named, "0")) == ("0", "0")


def test_relative_to_the_teachers_variance_a_mean_guess_costs_1(splits):
    teacher = student_net(9).eval()
    objective = build_layer_mse(setting_of(splits, teacher=teacher), layer=LAYER, relative=1)
    few = slice(0, len(splits.train))
    labels = splits.train.labels
    batch = TrainBatch(splits.train.inputs(few), labels, torch.arange(len(labels)), torch.zeros_like(labels))
    with torch.no_grad():
        outputs = observe_layer(LAYER)(teacher, batch.images)["layer"]
    guess = outputs.mean(0, keepdim=True).expand_as(outputs)
    assert float(objective(batch, torch.zeros(1), {LAYER: guess})["layer_mse"]) == pytest.approx(1.0, rel=1e-4)


def test_a_teacher_that_tells_nothing_has_no_variance_to_divide_by(splits):
    mute = student_net(9)
    for parameter in mute.layer2.parameters():
        torch.nn.init.zeros_(parameter)
    with pytest.raises(KdlibError, match="nothing to learn"):
        build_layer_mse(setting_of(splits, teacher=mute), layer=LAYER, relative=1)


def test_layers_of_two_shapes_are_refused(splits):
    wide = build("small_resnet", num_classes=4, width=8, features=16)
    with pytest.raises(KdlibError, match=r"\(8, 16, 16\) and the teacher's \(16, 16, 16\)|one shape"):
        build_layer_mse(setting_of(splits, teacher=wide), layer=LAYER)


def test_layers_of_two_shapes_are_refused_in_the_loss_too():
    """One would be spread over the other, and the loss be a number all the same."""
    teacher = KnownOutputs({"logits": torch.zeros(2, 1), "layer": torch.zeros(2, 1)})
    batch = TrainBatch(torch.zeros(2, 1), torch.zeros(2).long(), torch.arange(2), torch.zeros(2).long())
    with pytest.raises(KdlibError, match=r"layers of one shape, but the student's gives \(2, 4\) .*'s \(2, 1\)"):
        LayerMSE("fc", teacher)(batch, torch.zeros(2, 4), {"fc": torch.zeros(2, 4)})


def test_an_unknown_layer_is_refused_by_naming_the_nearest(splits):
    with pytest.raises(KdlibError, match="nearest"):
        build_layer_mse(setting_of(splits), layer="layr2")


@pytest.mark.parametrize("relative", [0.5, 2, -1, float("nan"), "1"])
def test_relative_is_0_or_1_and_nothing_between(splits, relative):
    with pytest.raises(KdlibError, match="relative must be 0 or 1, not "):
        build_layer_mse(setting_of(splits), layer=LAYER, relative=relative)
