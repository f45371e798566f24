"""What a training leaves: the state from which it can go on, and the finished run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlib.data.task import Task
from kdlib.errors import choose
from kdlib.train.recipe import Recipe

State = dict[str, Tensor]


@dataclass
class Progress:
    """Everything that the next epoch depends on; saved after each epoch, so that a killed training goes on.

    best_score: of the state `best` on val, None before the first epoch. beside: state of the objective's `module`.
    optimizer: its state_dict.
    """

    epoch: int
    model: State
    best: State
    best_score: float | None
    beside: State
    optimizer: dict[str, Any]
    history: list[dict[str, float]]
    checkpoints: dict[int, State]


@dataclass
class Run:
    """What a training gave.

    history: one dict an epoch with every loss term, the train and val score, learning rate and seconds. states: "last",
    "best" (best val score, the earliest on a tie) and "epoch_<n>" for each checkpoint asked for.
    """

    build: Callable[[], nn.Module]
    states: dict[str, State]
    history: list[dict[str, float]]
    device: str
    key: str = ""
    metadata: dict[str, object] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time spent in training, over all sittings."""
        return sum(row["seconds"] for row in self.history)

    def state(self, which: str = "last") -> State:
        """Weights after the last epoch, of the best epoch on val, or of a checkpoint."""
        return self.states[choose(which, self.states, "state of this run")]

    def model(self, which: str = "last", device: torch.device | str = "cpu") -> nn.Module:
        """A fresh model with these weights, in eval mode."""
        model = self.build()
        model.load_state_dict(self.state(which))
        return model.to(device).eval()


def first_progress(model: nn.Module, beside: nn.Module | None, recipe: Recipe) -> Progress:
    """The state before the first epoch."""
    checkpoints = {0: copied(model)} if 0 in recipe.checkpoints else {}
    return Progress(0, copied(model), copied(model), None, copied(beside), {}, [], checkpoints)


def next_progress(
    progress: Progress,
    model: nn.Module,
    beside: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    row: dict[str, float],
    recipe: Recipe,
    task: Task,
) -> Progress:
    """The state after an epoch; row: its line of the history."""
    state, epoch = copied(model), int(row["epoch"])
    score = row[f"val_{task.score}"]
    better = task.better(score, progress.best_score)
    return Progress(
        epoch=epoch,
        model=state,
        best=state if better else progress.best,
        best_score=score if better else progress.best_score,
        beside=copied(beside),
        optimizer=_on_cpu(optimizer.state_dict()),
        history=[*progress.history, row],
        checkpoints=progress.checkpoints | ({epoch: state} if epoch in recipe.checkpoints else {}),
    )


def finished(build: Callable[[], nn.Module], progress: Progress, device: torch.device) -> Run:
    """The run that a training's last state makes."""
    states = {"last": progress.model, "best": progress.best}
    states |= {f"epoch_{epoch}": state for epoch, state in progress.checkpoints.items()}
    return Run(build, states, progress.history, str(device))


def copied(module: nn.Module | None) -> State:
    """A module's state, copied to the CPU; nothing for None."""
    state = module.state_dict() if module else {}
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def restore(model: nn.Module, beside: nn.Module | None, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Take up a training where `progress` left it."""
    model.load_state_dict(progress.model)
    if beside:
        beside.load_state_dict(progress.beside)
    optimizer.load_state_dict(progress.optimizer)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # in the parameter's own memory format, and with it the bits of an uninterrupted training
                kept[name] = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)


def _on_cpu(optimizer_state: dict[str, Any]) -> dict[str, Any]:
    state = {
        number: {
            name: value.detach().cpu().clone() if isinstance(value, Tensor) else value for name, value in kept.items()
        }
        for number, kept in optimizer_state["state"].items()
    }
    return {"state": state, "param_groups": optimizer_state["param_groups"]}
