"""Trainings give the weights that they gave when the file beside this one was written, to the last bit.

Rebuild the file only for a change that is meant to alter what networks learn:

    KDLIB_RUNS=$(mktemp -d) PYTHONPATH=. python tests/train/test_same_bits.py
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kdlib.papers.cheng2020.study import ConceptStudy
from kdlib.papers.han2023.presets import PRESETS
from kdlib.papers.han2023.study import HanStudy
from kdlib.train.state import Run

FILE = Path(__file__).with_name("weights_at_smoke.json")
KEPT = json.loads(FILE.read_text())
NAMES = ("study/kd", "concepts/student")

# The file's own sizes; those of the preset are only to be quick.
SIZES = {"smoke": replace(PRESETS["smoke"], n_train=640, n_val=200, n_test=300, n_probe=300)}


def digest(run: Run) -> str:
    """16 hexadecimal digits of all weights of all states that a run keeps."""
    found = hashlib.sha256()
    for which in sorted(run.states):
        for name, tensor in run.states[which].items():
            found.update((which + name).encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def cpu() -> dict[str, str]:
    """What decides in which order a CPU adds up: its vector instructions, and its model for the libraries' choices."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "model": models[0] if models else platform.processor(),
    }


def trained(name: str) -> Run:
    study, arm = name.split("/")
    if study == "study":
        return HanStudy("concept_world", "smoke", 0, 1, "cpu", presets=SIZES).run(arm, 0)
    concepts = ConceptStudy("concept_world", "smoke", 0, 1, "cpu")
    return concepts.run_of(concepts.spec(arm, 0, "fc1"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_training_gives_the_kept_bits(name):
    """Elsewhere, rounding differs: there the losses are compared."""
    run, kept = trained(name), KEPT["runs"][name]
    if torch.__version__ == KEPT["torch"] and cpu() == KEPT["cpu"]:
        assert digest(run) == kept["hash"]
    assert [row["loss"] for row in run.history] == pytest.approx(kept["loss"], rel=1e-3)


def test_the_digest_sees_one_changed_bit():
    states = [{"last": {"weight": torch.tensor([1.0, value])}} for value in (2.0, 2.0000002)]
    assert len({digest(Run(torch.nn.Identity, state, [], "cpu")) for state in states}) == 2


if __name__ == "__main__":
    runs = {name: trained(name) for name in NAMES}
    found = {name: {"hash": digest(run), "loss": [row["loss"] for row in run.history]} for name, run in runs.items()}
    FILE.write_text(json.dumps({"torch": torch.__version__, "cpu": cpu(), "runs": found}, indent=1) + "\n")
