"""Every data set by its name in `kdlib.names.DATA_SETS`.

>>> splits = load("fashion_mnist", n_train=500, n_val=100, n_test=100)
>>> splits.train.image_size, len(splits.train)
((28, 28), 500)
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from kdlib.data.labelled_set import Splits
from kdlib.errors import KdlibError, choose
from kdlib.names import DATA_SETS


def load(name: str, **options: Any) -> Splits:
    """The splits of the data set `name` (one of `kdlib.names.DATA_SETS`); options are those of its module's `load`.

    Raises KdlibError for an unknown name or option, naming the nearest, and for anything that the loader refuses.

    >>> load("fashion_mnist", n_trian=100)
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: unknown fashion_mnist option 'n_trian'; did you mean 'n_train'? ...
    """
    module = DATA_SETS[choose(name, DATA_SETS, "data set")].module
    loader = importlib.import_module(module).load
    known = inspect.signature(loader).parameters
    for option in options:
        choose(option, known, f"{name} option")
    for option, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise KdlibError(f"data set '{name}' needs the option {option}; give {option}=...")
    return loader(**options)
