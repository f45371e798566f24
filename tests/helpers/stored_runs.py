"""Runs made by hand that the store writes in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kdlib.runs.files import save_run
from kdlib.runs.place import store_root
from kdlib.train.state import Run

KEY, OTHER = "0123456789abcdef0123", "fedcba98765432100123"


def make() -> nn.Module:
    return nn.Linear(2, 2)


def by_hand(key: str = KEY, **changes: object) -> Run:
    """A run of a linear layer with all that `kdlib runs list` shows; changes: of its metadata."""
    state = {"weight": torch.arange(4.0).reshape(2, 2), "bias": torch.zeros(2)}
    history = [{"epoch": 1, "val_loss": 0.5, "val_accuracy": 0.75, "seconds": 2.0}]
    spec = {"model": "linear", "model_options": [], "objective": "cross_entropy", "objective_options": [], "seed": 4}
    spec["recipe"] = {"epochs": 1}
    metadata = {"key": key, "spec": spec, "data": "toy", "history": history, "device": "cpu", "date": "2024-01-01"}
    return Run(make, {"last": state, "best": state}, history, "cpu", key, metadata | changes)


def stored(key: str = KEY, **changes: object) -> Path:
    """Store a run made by hand; returns its folder."""
    root = store_root()
    root.mkdir(parents=True, exist_ok=True)
    assert save_run(root, by_hand(key, **changes))
    return root / key


def names() -> set[str]:
    """All names in the store but that of the locks' folder."""
    return {path.name for path in store_root().iterdir()} - {".locks"}
