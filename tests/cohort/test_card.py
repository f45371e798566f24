"""The data card says what is on file, and nothing that the files do not say."""

from __future__ import annotations

import hashlib

import pytest

from kdlib.cohort.card import CARD, card
from kdlib.cohort.cohort import load_cohort
from kdlib.cohort.premise import save


@pytest.fixture
def text(protocol, published, tmp_path) -> str:
    return card(protocol, published, tmp_path / "none.json")


def test_every_arm_stands_with_its_method_and_its_accuracies(text, published):
    toy = load_cohort("toy", device="cpu", folder=published)
    accuracies = [100 * accuracy for accuracy in toy.accuracies("kd")]
    [row] = [line for line in text.splitlines() if line.startswith("| `kd` |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:5] == ["`kd`, temperature = 4, alpha = 0.9", "teacher", "2", "3"]
    assert float(cells[5]) == pytest.approx(sum(accuracies) / 3, abs=0.005)
    [short] = [line for line in text.splitlines() if line.startswith("| `short` |")]
    assert short.split("|")[3:5] == [" labels alone ", " 1 "]  # an epoch, by its own row in the protocol


def test_its_checksums_are_those_of_the_files(text, published):
    block = text.split("```")[1].split("\n")[1:-1]
    assert len(block) == 4
    for line in block:
        checksum, name = line.split("  ")
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == checksum


def test_training_leaves_the_card_beside_the_files(text, published):
    written = (published / CARD).read_text(encoding="utf-8")
    assert written.split("## Fashion-MNIST")[1] == text.split("## Fashion-MNIST")[1]


def test_what_is_not_trained_yet_is_named_as_such(protocol, tmp_path):
    assert "No network of it is published yet." in card(protocol, tmp_path, tmp_path / "none.json")


def test_the_premise_stands_where_it_was_judged(protocol, tmp_path):
    rows = [
        {"candidate": "toy", "arm": arm, "val_accuracy": values, "seconds": [1.0, 1.0], "replicates": [0, 1]}
        for arm, values in (("teacher", [90.0, 91.0]), ("scratch", [80.0, 81.0]), ("KD", [84.0, 86.0]))
    ]
    save(rows, tmp_path / "premise.json")
    assert "| toy | 2 | 90.5 | 80.5 | KD | 85.0 | +4.5" in card(protocol, tmp_path, tmp_path / "premise.json")
