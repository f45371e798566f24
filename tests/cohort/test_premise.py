"""The premise is judged by accuracy on val alone, with replicates that nothing else uses."""

from __future__ import annotations

import json

import pytest

from kdlib.cli import main
from kdlib.cohort import premise
from kdlib.cohort.population import TEST_SEED
from kdlib.cohort.premise import judge, read_premise, read_results, save, table
from kdlib.errors import KdlibError

SMALL = """\
replicates = [900_001, 900_002]
[[kd]]
temperature = 4.0
alpha = 0.9
[data.few]
data = "fashion_mnist"
options = { n_train = 64, n_val = 20, n_test = 20, n_probe = 20 }
[nets.net]
model = "small_resnet"
options = { depth = 8, width = 4, features = 8 }
epochs = 1
batch_size = 32
[nets.wide]
model = "small_resnet"
options = { depth = 8, width = 8, features = 8 }
epochs = 1
batch_size = 32
[[candidate]]
name = "first"
data = "few"
teacher = "wide"
student = "net"
"""


@pytest.fixture
def small(tmp_path):
    def read(text: str = SMALL):
        path = tmp_path / "premise.toml"
        path.write_text(text)
        return read_premise(path)

    return read


def test_each_arm_has_one_accuracy_a_replicate_and_nothing_is_trained_twice(small, count_trainings):
    rows = judge(small(), workers=1)
    assert [row["arm"] for row in rows] == ["teacher", "scratch", "KD, T = 4, alpha = 0.9"]
    assert all(row["replicates"] == [900_001, 900_002] and len(row["val_accuracy"]) == 2 for row in rows)
    assert all(0 <= accuracy <= 100 for row in rows for accuracy in row["val_accuracy"])
    assert len(count_trainings) == 6
    assert judge(small(), workers=1) == rows and len(count_trainings) == 6


def test_results_are_kept_beside_those_of_other_candidates(tmp_path):
    row = {"arm": "scratch", "val_accuracy": [1.0]}
    save([row | {"candidate": "a"}, row | {"candidate": "b"}], tmp_path / "p.json")
    save([row | {"candidate": "b", "val_accuracy": [2.0]}], tmp_path / "p.json")
    assert [(one["candidate"], one["val_accuracy"]) for one in read_results(tmp_path / "p.json")] == [
        ("a", [1.0]),
        ("b", [2.0]),
    ]


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"arm": "scratch"}]'])
def test_a_file_that_holds_no_results_is_refused_before_anything_is_trained(tmp_path, capsys, text, count_trainings):
    (tmp_path / "p.json").write_text(text)
    assert main(["cohort", "premise", "--out", str(tmp_path / "p.json")]) == 2
    assert "p.json can't be read" in capsys.readouterr().err
    assert main(["cohort", "premise", "--out", str(tmp_path / "p.json/below")]) == 2
    assert "cannot write results to" in capsys.readouterr().err
    assert count_trainings == [] and (tmp_path / "p.json").read_text() == text


def test_a_gain_is_the_mean_of_paired_differences_with_student_s_interval():
    rows = [
        {"candidate": "toy", "arm": "teacher", "val_accuracy": [90.0, 90.0, 90.0], "seconds": [5.0, 5.0, 5.0]},
        {"candidate": "toy", "arm": "scratch", "val_accuracy": [70.0, 60.0, 80.0], "seconds": [5.0, 5.0, 5.0]},
        {"candidate": "toy", "arm": "KD", "val_accuracy": [72.0, 63.0, 84.0], "seconds": [7.0, 7.0, 7.0]},
    ]
    # Differences 2, 3, 4: mean 3, standard error 1 / sqrt(3), t(0.975, 2) = 4.303.
    assert "+3.0 (+0.5 to +5.5)" in table(rows)


def test_what_is_not_there_is_refused_before_anything_is_trained(small, count_trainings):
    with pytest.raises(KdlibError, match="unknown candidate 'fist'; did you mean 'first'"):
        judge(small(), ["fist"])
    with pytest.raises(KdlibError, match="replicates must be a whole number from 1 to 2, not 3"):
        judge(small(), replicates=3)
    assert count_trainings == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('student = "net"', 'student = "nett"', "unknown net of a candidate 'nett'; did you mean 'net'"),
        ('data = "few"\nteacher', 'data = "fw"\nteacher', "unknown data of a candidate 'fw'; did you mean 'few'"),
        ("alpha = 0.9", "alpha = 1.9", "alpha must be"),
    ],
)
def test_a_wrong_file_is_refused(small, old, new, message):
    with pytest.raises(KdlibError, match=message):
        small(SMALL.replace(old, new))


def test_two_candidates_of_one_name_are_refused(small):
    with pytest.raises(KdlibError, match="two candidates are called 'first'"):
        small(SMALL + SMALL[SMALL.index("[[candidate]]") :])


def test_the_command_prints_the_table_and_writes_the_rows(small, tmp_path, monkeypatch, capsys):
    read = small()
    monkeypatch.setattr(premise, "read_premise", lambda: read)
    assert main(["cohort", "premise", "--replicates", "2", "--out", str(tmp_path / "rows.json")]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| first | 2 |")
    assert {row["candidate"] for row in json.loads((tmp_path / "rows.json").read_text())} == {"first"}


def test_candidates_on_file_use_replicates_of_their_own():
    on_file = read_premise()
    assert min(on_file.replicates) > 100_000 and TEST_SEED not in on_file.replicates
