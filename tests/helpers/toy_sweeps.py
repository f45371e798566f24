"""A notebook that measures two numbers, and a stand-in for its execution that takes no time."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

from toy_notebooks import write_notebook

from kdlib.book.execute import Result, notebook_form, read_notebook, values_of
from kdlib.book.notebooks import NotebookFailed
from kdlib.book.stamps import fingerprint

MEASURES = """\
from kdlib.claims import Record
if temperature == 666:
    raise ValueError("too hot")
record = Record("toy", {"preset": preset, "temperature": temperature, "seed": seed, "n_seeds": n_seeds})
seeds = range(seed, seed + n_seeds)
record.measure("accuracy/kd", {s: 80 + temperature + s for s in seeds}, "percent")
record.measure("gain/kd", {s: -0.5 * temperature for s in seeds}, "points")
record.write()
"""


def toy(folder: Path) -> Path:
    """The notebook `toy` in `folder`/notebooks."""
    return write_notebook(folder / "notebooks/toy.ipynb", MEASURES)


class Executed:
    """In the place of `execute_notebook`: what it was asked for, and metrics as the notebook would leave them."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.interrupt_at = 0
        self._lock = threading.Lock()

    def __call__(self, path: Path, parameters: dict[str, Any], *, failed_copy: Path | None = None, **_: Any) -> Result:
        source = read_notebook(path)
        values = values_of(notebook_form(source, path.stem), parameters, path.stem)
        with self._lock:
            self.asked.append(dict(parameters))
            if len(self.asked) == self.interrupt_at:
                raise KeyboardInterrupt
        if values["temperature"] == 666:
            assert failed_copy is not None
            failed_copy.write_text("as far as it got")
            raise NotebookFailed("toy failed in code cell 2 of 2: ValueError: too\nhot")
        return Result(source, metrics(values, fingerprint(source, values)), 1.0)


def metrics(values: dict[str, Any], key: str = "") -> dict[str, Any]:
    """As `metrics.json` of the notebook with these parameters."""
    seeds = list(range(values["seed"], values["seed"] + values["n_seeds"]))
    temperature = values["temperature"]
    accuracy = [80 + temperature + random.Random(seed).random() for seed in seeds]
    return {
        "measurements": {
            "accuracy/kd": {"values": accuracy, "unit": "percent", "seeds": seeds},
            "gain/kd": {"values": [-0.5 * temperature for _ in seeds], "unit": "points", "seeds": None},
        },
        "execution": {
            "fingerprint": key,
            "parameters": values,
            "seconds": 1.0,
            "finished": "2026-11-27T12:00:00+00:00",
        },
    }
