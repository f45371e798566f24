"""A protocol so small that its cohort is trained in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdlib.cohort import cohort
from kdlib.cohort.protocol import Protocol, read_protocol
from kdlib.cohort.train import train_cohort

TOY = """\
replicates = 5
block = 3

[toy]
data = "fashion_mnist"
options = { n_train = 64, n_val = 20, n_test = 20, n_probe = 20 }

[toy.nets.teacher]
model = "small_resnet"
options = { depth = 8, width = 8, features = 8 }
epochs = 2
batch_size = 32

[toy.nets.student]
model = "small_resnet"
options = { depth = 8, width = 4, features = 8 }
epochs = 2
batch_size = 32

[toy.epochs]
short = 1

[toy.arms]
teacher = { objective = "cross_entropy", net = "teacher" }
scratch = { objective = "cross_entropy" }
short = { objective = "cross_entropy" }
kd = { objective = "kd", options = { temperature = 4.0, alpha = 0.9 }, teacher = "teacher" }
"""


@pytest.fixture
def protocol_file(tmp_path) -> Path:
    path = tmp_path / "protocol.toml"
    path.write_text(TOY)
    return path


@pytest.fixture
def protocol(protocol_file) -> Protocol:
    return read_protocol(protocol_file)


@pytest.fixture
def published(protocol, tmp_path, monkeypatch) -> Path:
    """A folder with the first three replicates of all arms, and the toy protocol in the place of the cohort's."""
    folder = tmp_path / "published"
    train_cohort(protocol, replicates=3, folder=folder, workers=1, say=lambda text: None)
    monkeypatch.setattr(cohort, "read_protocol", lambda: protocol)
    return folder
