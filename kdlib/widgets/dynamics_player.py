"""A player of learning: concepts appear and vanish from checkpoint to checkpoint, while their number is drawn
as a curve over the path length of the weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kdlib.errors import KdlibError, choose
from kdlib.metrics.learning_dynamics import stability
from kdlib.widgets.cells import (
    MARK_COLOURS,
    check_cells,
    check_size,
    draw_picture,
    mark_handles,
    network_entries,
    pack_cells,
    picture_state,
)
from kdlib.widgets.common import content_key, model_colours, new_figure, source

STATE_BYTES = 3_000_000
CHANGES = {
    "new": "new since the checkpoint before",
    "kept": "kept",
    "vanished": "vanished since the checkpoint before",
}


class DynamicsPlayer(anywidget.AnyWidget):
    """Concepts of two networks, side by side, from checkpoint to checkpoint; made by `dynamics_player`.

    `image`, `left`, `right` (names of networks) and `step` (a place in `epochs`) follow the reader's choice and may be
    set or linked from Python; the browser counts for itself. At an epoch at which a network has no checkpoint it shows
    its last one before.
    """

    _esm = source("dynamics_player", "js", "cells")
    _css = source("dynamics_player", "css", "cells")

    image = traitlets.Int(0).tag(sync=True)
    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    networks = traitlets.List(traitlets.Dict()).tag(sync=True)
    epochs = traitlets.List(traitlets.Int()).tag(sync=True)
    concepts = traitlets.Bytes().tag(sync=True)
    cells = traitlets.List(traitlets.Int()).tag(sync=True)
    foreground = traitlets.Bytes().tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    sprite_type = traitlets.Unicode().tag(sync=True)
    sprite_columns = traitlets.Int().tag(sync=True)
    tile = traitlets.List(traitlets.Int()).tag(sync=True)
    image_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    mark_colours = traitlets.Dict().tag(sync=True)
    change_names = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    static_key = traitlets.Unicode().tag(sync=True)

    # For Python's own counts and the still picture; the browser has the same in its own form.
    _images: Tensor
    _foreground: Tensor
    _concepts: dict[str, Tensor]

    @traitlets.validate("image")
    def _check_image(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self.image_names):
            raise KdlibError(f"image must be one of 0 to {len(self.image_names) - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("step")
    def _check_step(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self.epochs):
            raise KdlibError(f"step must be one of 0 to {len(self.epochs) - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("left", "right")
    def _check_network(self, proposal: dict) -> str:
        return choose(proposal["value"], [entry["name"] for entry in self.networks], "network")

    def __repr__(self) -> str:
        names = ", ".join(f"{entry['name']} ({len(entry['epochs'])} checkpoints)" for entry in self.networks)
        return f"DynamicsPlayer({len(self.image_names)} images; {names})"

    def entry(self, name: str) -> dict:
        """The entry of a network in `networks`."""
        return next(each for each in self.networks if each["name"] == name)

    def checkpoint(self, name: str) -> int:
        """Which of a network's checkpoints is shown: the last one that is not after the present epoch."""
        return sum(epoch <= self.epochs[self.step] for epoch in self.entry(name)["epochs"]) - 1

    def changes(self, name: str) -> dict[str, Tensor]:
        """Cells (R, C) of the chosen image that are new, kept and vanished since a network's checkpoint before; at the
        first one all are new."""
        now = self._concepts[name][self.checkpoint(name), self.image]
        before = torch.zeros_like(now)
        if self.checkpoint(name):
            before = self._concepts[name][self.checkpoint(name) - 1, self.image]
        return {"new": now & ~before, "kept": now & before, "vanished": before & ~now}

    def counts(self, name: str) -> Tensor:
        """(M, N) concepts on the object, at each of a network's checkpoints on each image."""
        return (self._concepts[name] & self._foreground).flatten(2).sum(2)

    def progress(self, name: str) -> dict[str, float]:
        """The numbers shown of a network at the present step, those of the chosen image first.

        foreground, background: concepts now. new, kept, vanished: on the object, since the checkpoint before. union:
        those that were ever on the object so far; remaining: foreground / union, 0 if there is none, at the last
        checkpoint the paper's rho. most: the largest count so far, at path length peak (NaN without a concept).
        mean_foreground, mean_remaining: over all images. epoch, distance: of the checkpoint shown.
        """
        place, inside = self.checkpoint(name), self._foreground[self.image]
        so_far = self.counts(name)[: place + 1]
        stable = stability(self._concepts[name][: place + 1], self._foreground)
        mine = so_far[:, self.image].tolist()
        distances = self.entry(name)["distances"]
        return {
            "epoch": self.entry(name)["epochs"][place],
            "distance": distances[place],
            "foreground": mine[-1],
            "background": int((self._concepts[name][place, self.image] & ~inside).sum()),
            **{kind: int((cells & inside).sum()) for kind, cells in self.changes(name).items()},
            "union": int(stable.union[self.image]),
            "remaining": float(stable.rho[self.image]),
            "most": max(mine),
            "peak": distances[mine.index(max(mine))] if max(mine) else float("nan"),
            "mean_foreground": float(so_far[-1].double().mean()),
            "mean_remaining": float(stable.rho.mean()),
        }

    def describe(self) -> str:
        """The present state in words: the text alternative of the still picture."""
        described = []
        for name in (self.left, self.right):
            entry, found = self.entry(name), self.progress(name)
            rho = "rho" if self.checkpoint(name) == len(entry["epochs"]) - 1 else "remaining"
            described.append(
                f"{entry['title']} at epoch {found['epoch']}, path length {found['distance']:.2f}, has "
                f"{found['foreground']} concepts on the object, of {found['union']} that it ever had so far "
                f"({rho} {found['remaining']:.2f}); its mean over {len(self.image_names)} images is "
                f"{found['mean_foreground']:.2f} (mean {rho} {found['mean_remaining']:.2f})"
            )
        return f"Image {self.image + 1}, {self.image_names[self.image]}. {'; '.join(described)}."

    def draw(self) -> Figure:
        """The present state as a matplotlib figure: two pictures with their concepts, two curves below."""
        figure = new_figure(7.2, 5.6)
        pictures, charts = figure.subplots(2, 2, height_ratios=(3, 2))
        furthest = max(self.entry(name)["distances"][-1] for name in (self.left, self.right))
        most = max(int(self.counts(name).max()) for name in (self.left, self.right))
        for name, picture, chart in zip((self.left, self.right), pictures, charts, strict=True):
            inside = self._foreground[self.image]
            draw_picture(picture, self._images[self.image], inside, self.changes(name), 190)
            entry = self.entry(name)
            picture.set_title(f"{entry['title']}, epoch {self.progress(name)['epoch']}", fontsize=10)
            self._draw_curve(chart, name, furthest, most)
        charts[0].set_ylabel("concepts on the object", fontsize=8)
        charts[0].legend(fontsize=7, frameon=False)
        words = {kind: kind for kind in CHANGES}
        figure.legend(handles=mark_handles(words), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
        return figure

    def _draw_curve(self, axes: Axes, name: str, furthest: float, most: int) -> None:
        entry, place = self.entry(name), self.checkpoint(name)
        distances, counts = entry["distances"][: place + 1], self.counts(name)[: place + 1].double()
        axes.plot(distances, counts.numpy(), color="0.75", linewidth=0.8)
        axes.plot(distances, counts[:, self.image].numpy(), color="0.2", linestyle="--", marker="P", markersize=5,
                  linewidth=1.2, label=f"image {self.image + 1}")  # fmt: skip
        axes.plot(distances, counts.mean(1).numpy(), color=entry["colour"], linewidth=2.6, marker="o", markersize=4,
                  label="mean")  # fmt: skip
        axes.set_xlim(-0.03 * furthest, 1.03 * furthest or 1)
        axes.set_ylim(0, max(1, most) * 1.05)
        axes.set_xlabel("path length, times the norm of the first weights", fontsize=8)
        axes.tick_params(labelsize=8)


def dynamics_player(
    images: Tensor,
    concepts: Mapping[str, Tensor],
    foreground: Tensor,
    distances: Mapping[str, Tensor | Sequence[float]],
    epochs: Mapping[str, Sequence[int]],
    *,
    left: str | None = None,
    right: str | None = None,
    image: int | None = None,
    labels: Sequence[int] | Tensor | None = None,
    class_names: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
    colours: Mapping[str, str] | None = None,
    max_bytes: int = STATE_BYTES,
) -> DynamicsPlayer:
    """A widget that plays two networks' concepts, checkpoint by checkpoint, over the path length of their weights.

    images: (N, C, H, W) uint8. concepts: network -> (M, N, R, C) bool, `VisualConcepts.concepts` of its M checkpoints;
    M may differ from network to network. foreground: (N, R, C) bool, the object's cells. distances: network -> (M,)
    path length at each checkpoint in norms of the first weights, never falling
    (`metrics.learning_dynamics.weight_distance`). epochs: network -> M epochs of the checkpoints, rising; all networks
    have the same first one.

    left, right: the networks shown at first; the first two if not given. image: the one shown at first. labels,
    class_names: the images' classes and their names. titles, colours: names for readers and #rrggbb of networks that
    are not the book's. max_bytes: bound of the widget's state in the page.

    At first the last checkpoint is shown, with the whole curve; the player starts anew from there. Nothing moves until
    the reader asks for it.

    Raises KdlibError for fewer than two networks, shapes that do not fit, distances that fall, epochs that do not rise
    or start differently, an unknown name, and more than the page may hold.

    >>> foreground = torch.tensor([[[True, True, False]]])
    >>> concepts = {
    ...     "baseline": torch.tensor([[[[True, False, False]]], [[[False, True, True]]]]),
    ...     "student_fc1": torch.tensor([[[[False, False, False]]], [[[True, True, False]]]]),
    ... }
    >>> player = dynamics_player(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), concepts, foreground,
    ...     {name: [0.0, 0.5] for name in concepts}, {name: [0, 2] for name in concepts})
    >>> player
    DynamicsPlayer(1 images; baseline (2 checkpoints), student_fc1 (2 checkpoints))
    >>> found = player.progress("baseline")
    >>> found["foreground"], found["new"], found["vanished"], found["union"], found["remaining"]
    (1, 1, 1, 2, 0.5)
    """
    pictures = picture_state(images, labels, class_names)
    count = len(images)
    inside = check_cells(foreground, count)
    if len(concepts) < 2:
        raise KdlibError(f"dynamics_player needs at least two networks to set side by side, not {len(concepts)}")
    sets = {name: _checked(each, inside, name) for name, each in concepts.items()}
    lengths = {name: _distances(distances, name, len(each)) for name, each in sets.items()}
    times = {name: _epochs(epochs, name, len(each)) for name, each in sets.items()}
    starts = {name: each[0] for name, each in times.items()}
    if len(set(starts.values())) > 1:
        raise KdlibError(f"all networks must have the same first checkpoint, but their first epochs are {starts}")
    packed = b"".join(pack_cells(each) for each in sets.values())
    check_size([pictures["sprite"], packed], count, max_bytes)
    entries = network_entries(sets, model_colours(sets, colours), titles)
    start = 0
    for entry, name in zip(entries, sets, strict=True):
        entry |= {"epochs": times[name], "distances": lengths[name], "start": start}
        start += len(times[name])
    every_epoch = sorted({epoch for each in times.values() for epoch in each})
    state = {
        **pictures,
        "networks": entries,
        "epochs": every_epoch,
        "concepts": packed,
        "cells": list(inside.shape[1:]),
        "foreground": pack_cells(inside),
        "mark_colours": {kind: MARK_COLOURS[kind] for kind in CHANGES},
        "change_names": [[kind, words] for kind, words in CHANGES.items()],
    }
    shown = [None if name is None else choose(name, sets, "network") for name in (left, right)]
    first = {
        "left": shown[0] or next(name for name in sets if name != shown[1]),
        "image": 0 if image is None else image,
        "step": len(every_epoch) - 1,
    }
    first["right"] = shown[1] or next(name for name in sets if name != first["left"])
    widget = DynamicsPlayer(**state, **first)
    widget._images, widget._foreground, widget._concepts = images, inside, sets
    widget.static_key = content_key("dynamics", *state.values(), *first.values())
    return widget


def _checked(concepts: Tensor, foreground: Tensor, name: str) -> Tensor:
    if (
        not isinstance(concepts, Tensor)
        or concepts.dtype != torch.bool
        or concepts.ndim != 4
        or concepts.shape[1:] != foreground.shape
        or not len(concepts)
    ):
        shown = f"{concepts.dtype} of {tuple(concepts.shape)}" if isinstance(concepts, Tensor) else type(concepts)
        raise KdlibError(
            f"concepts of '{name}' must be bool of shape (checkpoints, {', '.join(map(str, foreground.shape))}), "
            f"not {shown}"
        )
    return concepts.detach().cpu()


def _distances(distances: Mapping[str, Tensor | Sequence[float]], name: str, checkpoints: int) -> list[float]:
    values = torch.as_tensor(distances[choose(name, distances, "network of distances")], dtype=torch.float64).cpu()
    if tuple(values.shape) != (checkpoints,):
        raise KdlibError(
            f"distances of '{name}' must be {checkpoints}, one for each checkpoint, not of shape {tuple(values.shape)}"
        )
    if not bool(torch.isfinite(values).all() and (values >= 0).all() and (values.diff() >= 0).all()):
        raise KdlibError(f"distances of '{name}' must be finite, 0 or more and never fall; give them in their order")
    return values.tolist()


def _epochs(epochs: Mapping[str, Sequence[int]], name: str, checkpoints: int) -> list[int]:
    values = [int(epoch) for epoch in epochs[choose(name, epochs, "network of epochs")]]
    if len(values) != checkpoints:
        raise KdlibError(f"epochs of '{name}' must be {checkpoints}, one for each checkpoint, not {len(values)}")
    if any(later <= earlier for earlier, later in itertools.pairwise(values)):
        raise KdlibError(f"epochs of '{name}' must rise from checkpoint to checkpoint, not {values}")
    return values
