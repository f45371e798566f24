"""What a chapter repeats: its box, its claims and verdicts, its figures' numbers, its record."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
import torch
from IPython.display import Markdown
from nbclient import NotebookClient

from kdlib.claims import Record, load_claims, records
from kdlib.claims.conditions import Conditions
from kdlib.claims.gates import Gate
from kdlib.claims.records import METRICS_VARIABLE
from kdlib.claims.rule import rule_in_words
from kdlib.errors import KdlibError
from kdlib.papers import chapter as module
from kdlib.papers.chapter import Chapter

pytestmark = pytest.mark.usefixtures("bare_claims")
NAME = "han2023_concept_detectors"
STUDY = SimpleNamespace(seeds=tuple(range(8)), device=torch.device("cpu"))
DETECTORS = {
    "kd": [61.0, 63.0, 62.5, 61.5, 62.0, 64.0, 60.5, 63.5],
    "scratch": [54.0, 55.0, 56.0, 54.5, 55.5, 56.5, 54.0, 55.0],
    "label_smoothing": [54.5, 55.1, 55.8, 54.4, 55.9, 56.2, 54.3, 55.1],
}
TEACHER = Gate("at least", ("accuracy/teacher",), "A poor teacher has little to teach.", threshold=85.0)


@pytest.fixture
def shown(monkeypatch):
    """All that a chapter displays, in order; what it updates besides, by display id."""
    things, updates = [], {}
    monkeypatch.setattr(module, "display", lambda thing, display_id=None: things.append(thing))
    monkeypatch.setattr(module, "update_display", lambda thing, display_id: updates.update({display_id: thing}))
    return SimpleNamespace(things=things, updates=updates)


@pytest.fixture
def started(shown):
    chapter = Chapter(NAME)
    chapter.start(STUDY, preset="quick", seed=0)
    return chapter


def text_of(things) -> str:
    return "\n".join(thing.data for thing in things if isinstance(thing, Markdown))


def test_a_chapter_has_the_claims_of_its_notebook_and_no_others():
    chapter = Chapter(NAME)
    assert chapter.claims == {id_: c for id_, c in load_claims("han2023").items() if c.notebook == NAME}
    assert len(chapter.claims) > 3
    assert Chapter("start_here").claims == {}


def test_the_claims_table_has_what_is_claimed_and_would_matter(shown):
    chapter = Chapter(NAME)
    chapter.claims_table()
    (table,) = shown.things
    assert list(table.columns) == ["claim", "statement", "would matter from"]
    assert list(table["claim"]) == [claim.short_id for claim in chapter.claims.values()]
    assert list(table["statement"]) == [claim.statement for claim in chapter.claims.values()]


def test_there_is_no_record_before_the_start():
    with pytest.raises(KdlibError, match="no record yet"):
        _ = Chapter(NAME).record


def test_start_files_parameters_seeds_and_device(started):
    assert started.record.notebook == NAME
    assert started.record.parameters == {"preset": "quick", "seed": 0, "n_seeds": 8}
    assert started.record.provenance["device"] == "cpu"
    assert len(started.record.provenance["source_fingerprint"]) == 64


def test_a_chapter_without_a_study_starts_too(shown):
    chapter = Chapter("kd_loss")
    chapter.start(preset="smoke")
    assert chapter.record.parameters == {"preset": "smoke"}
    assert list(chapter.seeds) == []


def test_measure_files_one_number_a_seed_for_each_arm(started):
    started.measure("detectors", DETECTORS, "percent of units", units=128)
    filed = started.record.measurements["detectors/kd"]
    assert (filed.values, filed.seeds) == (tuple(DETECTORS["kd"]), tuple(range(8)))
    assert (filed.unit, filed.units) == ("percent of units", 128)
    assert set(started.record.measurements) == {f"detectors/{arm}" for arm in DETECTORS}
    with pytest.raises(ValueError):
        started.measure("detectors", {"kd": [1.0, 2.0]}, "percent of units")


def test_verdicts_judges_what_was_measured_and_names_what_was_not(started, shown):
    started.measure("detectors", DETECTORS, "percent of units")
    started.verdicts()
    judged = {"han2023.1b", "han2023.2b", "han2023.3c"}
    assert set(started.record.verdicts) == judged
    table = next(thing for thing in shown.things if isinstance(thing, pd.DataFrame))
    assert len(table) == len(judged)
    assert list(table["verdict"]) == [started.record.verdicts[id_].word for id_ in sorted(judged)]
    text = text_of(shown.things)
    unmeasured = [claim.short_id for id_, claim in started.claims.items() if id_ not in judged]
    (line,) = [line for line in text.splitlines() if line.startswith("Not judged on these data")]
    assert all(f"{short} (lacks " in line for short in unmeasured) and "1a (lacks accuracy of KD)" in line
    assert rule_in_words() in text


def test_what_failed_stands_below_the_table_and_the_rest_behind_the_fold(started, shown):
    id_ = "han2023.1b"
    claims = {id_: replace(started.claims[id_], conditions=Conditions((TEACHER,)))}
    started.claims = claims
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "all_claims", lambda only=None: claims)
        started.measure("detectors", DETECTORS, "percent of units")
        started.verdicts()
        assert text_of(shown.things).endswith("which lack what they need: 1b (lacks accuracy of teacher).")
        started.measure("accuracy", {"teacher": [70.0 + seed % 2 for seed in range(8)]}, "percent")
        started.verdicts()
    table, remarks, fold = shown.things[-3:]
    assert list(table["verdict"]) == ["no test"]
    assert remarks.data.startswith("- **1b**: gate failed: accuracy of teacher, 70.50 %")
    assert remarks.data.endswith("A poor teacher has little to teach.")
    assert rule_in_words() in fold.data and started.record.verdicts[id_].sentence in fold.data
    assert started.verdict_in_words("1b").endswith("8 replicates, **no test**")


@pytest.mark.parametrize("seeds", [1, 3, 7])
def test_few_seeds_are_an_estimate_and_never_an_error(shown, seeds):
    chapter = Chapter(NAME)
    chapter.start(SimpleNamespace(seeds=tuple(range(seeds)), device=torch.device("cpu")), preset="quick", seed=0)
    chapter.measure("detectors", {arm: values[:seeds] for arm, values in DETECTORS.items()}, "percent of units")
    chapter.verdicts()
    assert {found.word for found in chapter.record.verdicts.values()} == {"inconclusive"}
    assert "an estimate" in text_of(shown.things)


def test_nothing_measured_means_no_table(started, shown):
    started.verdicts()
    assert [type(thing) for thing in shown.things] == [Markdown]


def test_numbers_in_prose_have_a_minus_sign(started, shown):
    started.measure("detectors", DETECTORS, "percent of units")
    assert started.contrast_in_words("detectors", "scratch", "kd", "points").startswith("scratch minus KD: −7.19 (−")
    started.verdicts()
    assert "KD minus scratch: +7.19" in started.verdict_in_words("1b")
    assert started.verdict_in_words("1b").endswith("points of the layer's units, 8 seeds, **supported**")
    cells = next(thing for thing in shown.things if isinstance(thing, pd.DataFrame))["we measured (95 % interval)"]
    assert any("−" in cell for cell in cells)
    assert not any(" -" in cell or "(-" in cell for cell in cells)


def test_the_box_waits_and_is_filled_by_the_conclusion(started, shown):
    started.box()
    assert "has not ended yet" in shown.things[-1].data
    started.conclude(" KD has more detectors: -1 to 3. ", "Three seeds.", "The controls agree.")
    (box,) = shown.updates.values()
    for line in ("**Answer.** KD has more detectors: −1 to 3.", "**How sure.** Three", "**Controls.** The controls"):
        assert line in box.data
    assert started.record.found == ("KD has more detectors: −1 to 3.", "Three seeds.", "The controls agree.")


def test_a_box_with_an_empty_line_is_refused(started):
    with pytest.raises(KdlibError, match="three lines"):
        started.conclude("Yes.", "Three seeds.", " ")
    assert started.record.found == ()


def test_figures_are_numbered_in_their_order(started, shown, capsys):
    for caption in ("One line.", "Another."):
        plt.plot([1, 2])
        started.figure(caption, f"Description of: {caption}")
    assert text_of(shown.things) == "*Figure 1.* One line.\n*Figure 2.* Another."
    assert "Description of: Another." in capsys.readouterr().out
    assert plt.get_fignums() == []


def test_a_figure_without_a_description_gets_no_number(started, shown):
    plt.plot([1, 2])
    with pytest.raises(KdlibError, match="description"):
        started.figure("One line.", " ")
    plt.plot([1, 2])
    started.figure("One line.", "A line.")
    assert text_of(shown.things) == "*Figure 1.* One line."


def test_provenance_writes_the_record_and_shows_what_made_it(started, shown, tmp_path, monkeypatch):
    monkeypatch.setenv(METRICS_VARIABLE, str(tmp_path / "m.json"))
    started.measure("detectors", DETECTORS, "percent of units")
    started.verdicts()
    started.conclude("Yes.", "Three seeds.", "Fine.")
    started.provenance({"data": "concept_world"})
    written = Record.read(tmp_path / "m.json")
    written.recheck()
    assert written.found == ("Yes.", "Three seeds.", "Fine.")
    assert written.measurements == started.record.measurements
    rows = dict(shown.things[-1].itertuples(index=False))
    assert rows["data"] == "concept_world"
    assert rows["device"] == "cpu"
    assert json.loads((tmp_path / "m.json").read_text())["notebook"] == NAME


@pytest.mark.slow
def test_the_box_under_the_title_is_filled_in_the_saved_notebook():
    """The conclusion stands in a cell further down; the output above it must change in the file."""
    cells = [
        "from kdlib.papers.chapter import Chapter\nchapter = Chapter('start_here')\nchapter.box()",
        "chapter.start(preset='smoke');",
        "chapter.conclude('An answer.', 'Quite.', 'They agree.')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (box,) = notebook.cells[0].outputs
    assert "**Answer.** An answer." in box.data["text/markdown"]
    assert "not ended" not in box.data["text/markdown"]
