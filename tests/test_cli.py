"""The `kdlib` command: what it prints, what it refuses, and the code it leaves with."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
from toy_notebooks import MEASURE, write_notebook

from kdlib import commands
from kdlib.book.notebooks import read_cells, summary
from kdlib.book.project import Project
from kdlib.cli import build_parser, main
from kdlib.commands import parse_assignments
from kdlib.errors import KdlibError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of notebooks, and an empty current folder."""
    write_notebook(tmp_path / "notebooks/toy.ipynb", MEASURE, text="Shows **one** [thing](x.md). And more.")
    write_notebook(tmp_path / "notebooks/broken.ipynb", "1 / 0", text="Fails.")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "notebooks"


def every_command():
    """The command itself and each of its parts, as lists of words."""
    return [
        [],
        ["list"],
        ["params"],
        ["run"],
        ["sweep"],
        ["book"],
        ["data"],
        *(["data", action] for action in ("list", "get", "info")),
        ["runs"],
        *(["runs", action] for action in ("list", "show", "rm")),
        ["paper-scale"],
        ["dissect"],
        ["cohort"],
        *(["cohort", action] for action in ("list", "info", "train", "verify", "premise")),
    ]


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_help_shows_an_example_that_the_parser_accepts(words, capsys):
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    example = shlex.split(capsys.readouterr().out.split("example: kdlib ")[1])
    assert example[: len(words)] == words
    assert build_parser().parse_args(example).run is not None


def test_list_names_each_notebook_and_what_it_shows(folder, capsys):
    assert main(["list", "--notebooks", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "notebook"
    assert lines[1].startswith("broken") and lines[1].endswith("Fails.")
    assert lines[2].startswith("toy") and lines[2].endswith("Shows one thing.")


def test_list_tells_the_time_measured_with_the_committed_results(folder, capsys, monkeypatch, tmp_path):
    results = tmp_path / "book/results/quick"
    results.mkdir(parents=True)
    (results / "seconds.json").write_text('{"toy": 81.4}')
    monkeypatch.setattr("kdlib.book.project.Project", lambda: Project(tmp_path))
    assert main(["list", "--notebooks", str(folder)]) == 0
    broken, toy = capsys.readouterr().out.splitlines()[1:]
    assert "81 s" in toy
    assert "not measured" in broken


def test_a_choice_that_is_none_is_named_by_its_option(capsys):
    with pytest.raises(SystemExit):
        main(["book", "--execute", "chnged"])
    assert capsys.readouterr().err.startswith("kdlib: unknown --execute 'chnged'; did you mean 'changed'?")


def test_params_shows_the_form(folder, capsys):
    assert main(["params", "toy", "--notebooks", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "type", "default", "range", "help"]
    assert lines[1].split()[:3] == ["preset", "str", "'quick'"]
    assert "smoke | quick | long | gpu" in lines[1]
    assert next(line for line in lines if line.startswith("temperature")).split() == [
        *("temperature", "float", "4.0", ">", "1e-09", "and", "<", "1000000"),
        *("softens", "both", "distributions"),
    ]


def test_run_prints_the_paths_it_wrote(folder, capsys, tmp_path):
    assert main(["run", "toy", "-p", "temperature=8", "--preset", "smoke", "--notebooks", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == ["out/toy/toy.ipynb", "out/toy/toy.html", "out/toy/metrics.json"]
    metrics = json.loads((tmp_path / "here/out/toy/metrics.json").read_text())
    assert metrics["execution"]["parameters"]["preset"] == "smoke"
    assert metrics["temperature"] == 8.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["-p", "temperature=0"],
            "temperature must be a finite number greater than 1e-09 and less than 1e+06, not 0.0",
        ),
        (
            ["-p", "temperature=-1"],
            "temperature must be a finite number greater than 1e-09 and less than 1e+06, not -1.0",
        ),
        (["-p", "temperature=nan"], "temperature must be a finite number, not nan"),
        (["-p", "temperature=abc"], "temperature must be a number, not 'abc'"),
        (["-p", "n_seeds=0"], "n_seeds must be a whole number from 1 to 1000, not 0"),
        (["-p", "temprature=8"], "unknown parameter of toy 'temprature'; did you mean 'temperature'?"),
        (["-p", "temperature"], "-p takes name=value, not 'temperature'"),
        (["-p", "seed=1", "-p", "seed=2"], "seed is given twice"),
        (["--preset", "qick"], "unknown preset 'qick'; did you mean 'quick'?"),
        (["--preset", "gpu", "-p", "preset=smoke"], "--preset and -p preset=... name different presets"),
        (["--cell-timeout", "0"], "--cell-timeout must be at least 1 second, not 0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(folder, capsys, tmp_path, words, message):
    assert main(["run", "toy", *words, "--notebooks", str(folder)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"kdlib: {message}")
    assert told.err.count("\n") == 1 and told.out == ""
    assert list((tmp_path / "here").iterdir()) == []


def test_a_missing_notebook_is_answered_with_the_nearest_name(folder, capsys):
    assert main(["run", "tyo", "--notebooks", str(folder)]) == 2
    assert capsys.readouterr().err.startswith("kdlib: unknown notebook 'tyo'; did you mean 'toy'?")


@pytest.mark.parametrize("words", [["lst"], ["data", "lits"]])
def test_a_mistyped_command_is_answered_with_the_nearest_one(words, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    message = capsys.readouterr().err
    assert "did you mean 'list'?" in message and message.count("\n") == 1


def test_a_failing_notebook_exits_with_1_and_names_the_cell(folder, capsys):
    assert main(["run", "broken", "--notebooks", str(folder)]) == 1
    message = capsys.readouterr().err.splitlines()
    assert message[0] == ("kdlib: broken failed in code cell 2 of 2 ('1 / 0'): ZeroDivisionError: division by zero")
    assert message[1].endswith("out/broken/broken.failed.ipynb")


def test_a_cell_that_refuses_its_input_exits_with_2(folder, capsys):
    cell = "from kdlib.errors import choose\nchoose('layer9', ['layer3'], 'layer')"
    write_notebook(folder / "refusing.ipynb", cell)
    assert main(["run", "refusing", "--notebooks", str(folder)]) == 2
    assert "KdlibError: unknown layer 'layer9'; did you mean 'layer3'?" in capsys.readouterr().err


def test_an_interruption_exits_with_130_and_one_line(monkeypatch, capsys):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "list_notebooks", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err.strip().startswith("kdlib: interrupted")


def test_no_space_is_one_sentence(monkeypatch, capsys):
    def full(options):
        raise OSError(28, "No space left on device", "out/x.html")

    monkeypatch.setattr(commands, "list_notebooks", full)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == "kdlib: out/x.html: No space left on device\n"


def test_data_and_runs_speak_to_their_backends(capsys):
    assert main(["data", "list"]) == 0
    assert "concept_world" in capsys.readouterr().out
    assert main(["data", "info", "fashion_mnist"]) == 0
    assert "MIT" in capsys.readouterr().out
    assert main(["data", "info", "fashon_mnist"]) == 2
    assert "did you mean 'fashion_mnist'?" in capsys.readouterr().err
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr().out == "no trained models in the store\n"
    assert main(["runs", "show", "abc"]) == 2
    assert "abc" in capsys.readouterr().err


def test_an_unknown_preset_of_the_book_is_refused(capsys):
    assert main(["book", "--preset", "qick"]) == 2
    assert "did you mean 'quick'?" in capsys.readouterr().err


def test_the_book_is_told_what_to_execute_and_how_many_at_once(monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr("kdlib.book.build.build_book", lambda **options: asked.update(options) or "there")
    assert main(["book", "--execute", "none", "--jobs", "3"]) == 0
    assert asked == {"preset": "quick", "execute": "none", "jobs": 3}
    assert main(["book", "--jobs", "0"]) == 2
    assert "--jobs must be a whole number from 1 to 1000" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["book", "--execute", "al"])
    assert left.value.code == 2
    assert "did you mean 'all'?" in capsys.readouterr().err


# What takes seconds to load, or is loaded for nothing. numpy comes with torch and pandas.
HEAVY = ("torch", "numpy", "pandas", "scipy", "PIL", "nbformat", "jsonschema", "papermill", "yaml", "matplotlib")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],
        ["params", "kd_loss"],
        ["data", "list"],
        ["runs", "list"],
        ["cohort", "list"],
        ["run", "kd_loss", "-p", "temperature=0"],
        ["run", "kd_lss"],
        ["sweep", "kd_loss", "-p", "temprature=1,2"],
        ["sweep", "kd_loss", "-p", "seed=0..1", "--scheduler", "a b"],
        ["book", "--preset", "qick"],
    ],
    ids=" ".join,
)
def test_an_answer_loads_nothing_heavy(words):
    """Counted rather than timed: these imports are what took seconds."""
    code = (
        "import sys\n"
        "from kdlib.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "loaded []"


def test_assignments_keep_later_equals_signs_and_refuse_nameless_ones():
    assert parse_assignments(["a=b=c", " seed = 3 "]) == {"a": "b=c", "seed": "3"}
    with pytest.raises(KdlibError):
        parse_assignments(["=3"])


def test_summary_is_the_first_sentence_below_the_title(tmp_path):
    path = write_notebook(tmp_path / "x.ipynb", text="Does *it* work? Yes.")
    assert summary(read_cells(path)) == "Does it work?"


@pytest.mark.parametrize(
    "command",
    [
        ["run", "toy", "--notebooks", "NOTEBOOKS"],
        ["sweep", "toy", "-p", "temperature=1", "--notebooks", "NOTEBOOKS"],
        ["cohort", "train", "--data", "concept_world"],
        ["cohort", "premise"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
@pytest.mark.parametrize(
    ("out", "message"),
    [("", "--out is empty; name a folder"), ("~no_such_user/out", "--out='~no_such_user/out': there is no such home")],
)
def test_a_place_for_results_that_can_t_be_is_refused_before_any_work(
    monkeypatch, capsys, folder, command, out, message
):
    def train(*arguments, **options):
        raise AssertionError("work was begun")

    for work in ("cohort.train.train_cohort", "cohort.premise.judge", "book.run.run_notebook", "book.sweep.run_sweep"):
        monkeypatch.setattr(f"kdlib.{work}", train)
    command = [str(folder) if word == "NOTEBOOKS" else word for word in command]
    assert main([*command, "--out", out]) == 2
    assert capsys.readouterr().err.startswith(f"kdlib: {message}")


def test_the_cohort_s_files_and_accuracies_go_where_they_are_meant(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("kdlib.cohort.train.train_cohort", lambda *_, folder, **__: seen.append(folder))
    assert main(["cohort", "train", "--out", "~/files"]) == 0 and seen == [tmp_path / "files"]
    (tmp_path / "notes").write_text("mine", encoding="utf-8")
    assert main(["cohort", "train", "--out", "~/notes"]) == 2
    assert "is a file, and the networks need a folder" in capsys.readouterr().err
    monkeypatch.setattr("kdlib.cohort.premise.judge", lambda *_: pytest.fail("hours of training were begun"))
    assert main(["cohort", "premise", "--out", "~/notes"]) == 2
    assert "can't be read" in capsys.readouterr().err
    assert (tmp_path / "notes").read_text(encoding="utf-8") == "mine"
