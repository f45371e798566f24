"""Where a training runs, and how it is made to give the same bits each time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from kdlib.errors import KdlibError, choose_device


def resolve_device(device: str = "auto") -> torch.device:
    """The device named, or for "auto" the GPU if there is one.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if choose_device(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise KdlibError(f"device '{device}' is not there: this torch sees no GPU; use device=cpu or device=auto")
        if int(device.partition(":")[2] or 0) >= count:
            last = f"{count} GPUs, the last is cuda:{count - 1}" if count > 1 else "one GPU, cuda:0"
            raise KdlibError(f"device '{device}' is not there: this torch sees {last}; use that or device=auto")
    return torch.device(device)


@contextmanager
def deterministic() -> Iterator[None]:
    """Deterministic algorithms and one CPU thread while the block runs, the former settings afterwards.

    The order in which threads add up decides the last bits: with one thread a training gives the same bits however
    many cores there are. Several trainings in parallel use the other cores (`kdlib.runs.parallel`).
    """
    threads = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its property is not in torch's type hints
    benchmark, filled = torch.backends.cudnn.benchmark, memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    # Filling new memory costs a tenth of a step; it helps to find reads of uninitialised memory, which are none here.
    memory.fill_uninitialized_memory = False
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        memory.fill_uninitialized_memory = filled


def watched() -> bool:
    """Whether a person sees a progress bar: on a terminal or in Jupyter, but not when a notebook is executed."""
    if os.environ.get("KDLIB_METRICS") or multiprocessing.parent_process() is not None:
        return False
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return sys.stderr.isatty() or hasattr(shell, "kernel")
