"""Widgets over a probe set that is too large for memory: the best units, and no images but theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F

from kdlib.data.broden import BrodenFolder
from kdlib.data.folder_stream import FolderStream
from kdlib.data.image_set import ImageSet
from kdlib.errors import KdlibError, positive_integer
from kdlib.widgets.units import UnitViews


def best_units(
    models: Mapping[str, UnitViews],
    probe: ImageSet | BrodenFolder | FolderStream,
    units: int = 32,
    *,
    same: bool = False,
) -> tuple[dict[str, UnitViews], ImageSet]:
    """Views and probe set as the widgets over units take them, where the probe set is read from a folder.

    Of each model the `units` units with the highest scores are kept (in the order of their numbers, but numbered anew;
    a widget then counts among these), and of the folder the images that they show, reduced to the size of the masks:
    more does not fit into a page. same: the same units of every model, those whose highest score among the models is
    highest, for a widget that compares units by their number. An `ImageSet` and its views come back as they are.
    """
    positive_integer(units, "units")
    if isinstance(probe, ImageSet):
        return dict(models), probe
    kept = {}
    scores = {name: views.score for name, views in models.items()}
    if same:
        counts = {len(score) for score in scores.values()}
        if len(counts) > 1:
            raise KdlibError(
                f"the same units of all models need equally many in each, not {sorted(counts)}; same=False"
            )
        scores = dict.fromkeys(scores, torch.stack(list(scores.values())).amax(0))
    for name, views in models.items():
        chosen = scores[name].argsort(descending=True, stable=True)[:units].sort().values
        kept[name] = UnitViews(
            score=views.score[chosen],
            best_concept=[views.best_concept[unit] for unit in chosen.tolist()],
            best_category=[views.best_category[unit] for unit in chosen.tolist()],
            thresholds=views.thresholds[chosen],
            top_index=views.top_index[chosen],
            top_maps=views.top_maps[chosen],
        )
    used, place = torch.unique(torch.cat([views.top_index.flatten() for views in kept.values()]), return_inverse=True)
    held = probe.subset(used).load()
    reduced = F.interpolate(held.images.float(), probe.mask_size, mode="area").round().byte()
    start = 0
    for name, views in kept.items():
        stop = start + views.top_index.numel()
        kept[name] = replace(views, top_index=place[start:stop].view_as(views.top_index))
        start = stop
    return kept, replace(held, images=reduced)
