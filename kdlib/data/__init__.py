"""What the models see: named data sets as `Splits` of `ImageSet`.

>>> from kdlib import data
>>> splits = data.load("fashion_mnist", n_train=500, n_val=100, n_test=100)
>>> splits.train.image_size, len(splits.train)
((28, 28), 500)
"""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path
from typing import Any

from kdlib.data.catalogue import DatasetInfo, DatasetRow, dataset_info, get_dataset, list_datasets
from kdlib.data.image_set import CATEGORIES, Batch, ConceptMap, ImageSet, Splits
from kdlib.errors import KdlibError, choose

__all__ = [
    "CATEGORIES", "DATASETS", "Batch", "ConceptMap", "DatasetInfo", "DatasetRow", "ImageSet", "Splits",
    "data_root", "dataset_info", "get_dataset", "list_datasets", "load",
]  # fmt: skip

# Name -> the module whose `load` makes its splits; imported when asked for.
DATASETS = {
    "concept_world": "kdlib.data.concept_world",
    "cells": "kdlib.data.cells",
    "fashion_mnist": "kdlib.data.fashion_mnist",
    "garment_scenes": "kdlib.data.garment_scenes",
    "cifar10": "kdlib.data.cifar10",
    "voc": "kdlib.data.voc",
    "cub": "kdlib.data.cub",
    "image_folder": "kdlib.data.image_folder",
}


def data_root(root: str | Path | None = None) -> Path:
    """The folder of downloaded data sets: `root` if given, else `$KDLIB_DATA`, else ~/.cache/kdlib/data."""
    named = root or os.environ.get("KDLIB_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "kdlib" / "data"


def load(name: str, **options: Any) -> Splits:
    """The splits of the data set `name` (one of `DATASETS`); options are those of its module's `load`.

    Raises KdlibError for an unknown name or option, naming the nearest, and for whatever the loader refuses.

    >>> load("fashion_mnist", n_trian=100)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: unknown fashion_mnist option 'n_trian'; did you mean 'n_train'? ...
    """
    choose(name, DATASETS, "data set")
    loader = importlib.import_module(DATASETS[name]).load
    known = inspect.signature(loader).parameters
    for option in options:
        choose(option, known, f"{name} option")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise KdlibError(f"data set '{name}' needs the option {option}; give {option}=...")
    return loader(**options)
