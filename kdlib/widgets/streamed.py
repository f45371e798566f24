"""Widgets over a probe set that is too large for memory: the best units, and no images but theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F

from kdlib.data.broden import BrodenFolder
from kdlib.data.folder_stream import FolderStream
from kdlib.data.image_set import ImageSet
from kdlib.errors import positive_integer
from kdlib.widgets.units import UnitViews


def best_units(
    models: Mapping[str, UnitViews], probe: ImageSet | BrodenFolder | FolderStream, units: int = 32
) -> tuple[dict[str, UnitViews], ImageSet]:
    """Views and probe set as the widgets over units take them, where the probe set is read from a folder.

    Of each model the `units` units with the highest scores are kept (in the order of their numbers, but numbered anew;
    a widget then counts among these), and of the folder the images that they show, reduced to the size of the masks:
    more does not fit into a page. An `ImageSet` and its views come back as they are.
    """
    positive_integer(units, "units")
    if isinstance(probe, ImageSet):
        return dict(models), probe
    kept = {}
    for name, views in models.items():
        chosen = views.score.argsort(descending=True, stable=True)[:units].sort().values
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
