"""Tasks against loops written from their definitions, and trainings whose labels are no classes of images."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from rows import linear_model, row_splits
from torch.nn import functional as F

from kdlib.data.task import BINARY, CLASSIFICATION, REGRESSION
from kdlib.distill import Objective
from kdlib.train.loop import fit
from kdlib.train.predict import predict, score
from kdlib.train.recipe import Recipe

RECIPE = Recipe(
    epochs=4, batch_size=16, learning_rate=0.05, weight_decay=0.0, warmup=0, augment="none", channels_last=False
)


def drawn(name: str, columns: int):
    outputs = 3 * torch.randn(7, columns)
    labels = {
        "classification": torch.randint(columns, (7,)),
        "binary": torch.tensor([0, 1, 1, 0, 1, 0, 0]),
        "regression": torch.randn(7),
    }[name]
    return outputs, labels


def slow_row(name: str, outputs: list[float], label: float) -> tuple[float, float, float]:
    """Loss, credit and prediction of one row."""
    if name == "classification":
        total = sum(math.exp(value) for value in outputs)
        best = max(range(len(outputs)), key=lambda k: outputs[k])
        return -math.log(math.exp(outputs[int(label)]) / total), float(best == label), best
    [output] = outputs
    if name == "binary":
        probability = 1 / (1 + math.exp(-output))
        said = int(probability > 0.5)
        return -math.log(probability if label else 1 - probability), float(said == label), said
    return (output - label) ** 2, (output - label) ** 2, output


@pytest.mark.parametrize(("task", "columns"), [(CLASSIFICATION, 4), (BINARY, 1), (REGRESSION, 1)])
def test_loss_credit_score_and_predictions_by_slow_twin(task, columns):
    outputs, labels = drawn(task.name, columns)
    rows = [slow_row(task.name, row, label) for row, label in zip(outputs.tolist(), labels.tolist(), strict=True)]
    losses, credits, predictions = map(list, zip(*rows, strict=True))
    assert float(task.loss(outputs, labels)) == pytest.approx(sum(losses) / 7, rel=1e-5)
    assert task.credit(outputs, labels).tolist() == pytest.approx(credits, rel=1e-5)
    assert task.credit(outputs, labels).dtype == torch.float32
    assert task.mean_score(outputs, labels) == pytest.approx(sum(credits) / 7, rel=1e-5)
    assert task.predict(outputs).tolist() == pytest.approx(predictions, rel=1e-5)


@pytest.mark.parametrize("task", [BINARY, REGRESSION])
def test_one_output_a_row_may_be_a_column_or_none(task):
    outputs, labels = drawn(task.name, 1)
    for part in (task.credit, task.loss):
        assert torch.equal(part(outputs, labels), part(outputs[:, 0], labels))


def test_two_outputs_a_row_are_no_single_number():
    for task in (BINARY, REGRESSION):
        with pytest.raises(RuntimeError):
            task.credit(torch.zeros(3, 2), torch.zeros(3))


def test_the_first_score_is_better_than_none_and_an_equal_one_is_not():
    for task in (CLASSIFICATION, BINARY):
        assert [task.better(0.5, best) for best in (None, 0.4, 0.5, 0.6)] == [True, True, False, False]
    assert [REGRESSION.better(0.5, best) for best in (None, 0.4, 0.5, 0.6)] == [True, False, False, True]


class OfTask(Objective):
    """Learn the labels by the task's own loss."""

    def __init__(self, task) -> None:
        self.task = task

    def __call__(self, batch, logits, features):
        return {self.task.name: self.task.loss(logits, batch.labels)}


def test_a_regression_is_trained_and_its_best_epoch_is_the_lowest():
    splits = row_splits(REGRESSION)
    # At a constant rate the error goes up and down; its lowest is not its last.
    recipe = replace(RECIPE, epochs=8, checkpoints=tuple(range(1, 9)), schedule="step")
    run = fit(linear_model, splits, OfTask(REGRESSION), recipe, seed=0)
    errors = [row["val_mean_squared_error"] for row in run.history]
    lowest = min(range(8), key=errors.__getitem__)
    assert lowest < 7 and errors[lowest] < errors[0] < max(errors)
    assert "val_accuracy" not in run.history[0] and "train_mean_squared_error" in run.history[0]
    assert torch.equal(run.state("best")["weight"], run.state(f"epoch_{lowest + 1}")["weight"])
    best = run.model("best")
    by_hand = F.mse_loss(predict(best, splits.val)[:, 0], splits.val.labels)
    assert errors[lowest] == pytest.approx(float(by_hand), rel=1e-6)
    assert score(best, splits.val) == pytest.approx(errors[lowest], rel=1e-6)


def test_a_regression_finds_the_plane_that_made_the_labels():
    recipe = replace(RECIPE, epochs=30)
    state = fit(linear_model, row_splits(REGRESSION), OfTask(REGRESSION), recipe, seed=0).state()
    assert state["weight"][0].tolist() == pytest.approx([2, -1], abs=0.01)
    assert state["bias"].tolist() == pytest.approx([1], abs=0.01)


def test_a_binary_training_learns_from_one_logit():
    splits = row_splits(BINARY)
    run = fit(linear_model, splits, OfTask(BINARY), replace(RECIPE, epochs=20), seed=0)
    assert score(linear_model(), splits.test) < 0.75  # it says "no" to all
    assert run.history[-1]["val_accuracy"] > 0.9 and score(run.model(), splits.test) > 0.9
    assert BINARY.predict(predict(run.model(), splits.test)).unique().tolist() == [0, 1]


def test_the_error_of_a_double_is_taken_from_the_whole_label():
    exact = torch.tensor([2.0**24 + 1], dtype=torch.float64)
    assert REGRESSION.loss(exact[:, None] + 1, exact) == 1
    assert REGRESSION.loss(exact[:, None] + 1, torch.tensor([2**24 + 1])) == 1
