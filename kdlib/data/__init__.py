"""What the models see: data sets by name, each as `kdlib.data.labelled_set.Splits` of labelled sets.

>>> from kdlib.data import load
>>> len(load("concept_world", n_train=40, n_val=20, n_test=20, n_probe=20).train)
40
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`load` of `kdlib.data.registry`, when it is asked for: the command's quick answers need no torch."""
    if name == "load":
        from kdlib.data.registry import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
