"""What a network says of a set, and its score."""

from __future__ import annotations

import pytest
import torch
from tiny_trainings import net, same

from kdlib.train.predict import predict, score


def test_predict_is_in_eval_mode_and_independent_of_the_batch_size(splits):
    model = net()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = predict(model, splits.test, batch_size=64)
    assert torch.allclose(logits, predict(model, splits.test, batch_size=7), atol=1e-5)
    assert model.training
    assert same(before, dict(model.state_dict()))


def test_accuracy_counts_hits(splits):
    model = net().eval()
    hits = (predict(model, splits.test).argmax(1) == splits.test.labels).sum().item()
    assert score(model, splits.test) == pytest.approx(hits / len(splits.test))
