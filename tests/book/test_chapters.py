"""Chapters of prose: their figures and verdicts come from records, and say so where there are none."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kdlib.book.chapters import fill, fill_chapters
from kdlib.claims import Record, all_claims
from kdlib.claims.conditions import Conditions
from kdlib.errors import KdlibError

pytestmark = pytest.mark.usefixtures("bare_claims")
ROOT = Path(__file__).resolve().parents[2]


def detectors_record(preset: str = "quick", kd: float = 60.0) -> Record:
    record = Record("han2023_concept_detectors", {"preset": preset, "n_seeds": 8})
    arms = {"scratch": 50.0, "label_smoothing": 45.0, "kd": kd}
    for metric, unit in (("accuracy", "percent"), ("detectors", "percent of units")):
        for arm, value in arms.items():
            record.measure(f"{metric}/{arm}", {seed: value + 0.3 * seed for seed in range(8)}, unit)
    record.claim("han2023.1b")
    return record


def test_a_verdict_is_the_records(tmp_path):
    text = fill("before\n\n<!-- verdict: han2023.1b -->\n\nafter", all_claims(), [detectors_record()], tmp_path)
    assert "- Claim 1b, *KD gives more concept detectors*: **supported**, +10.0 (+10.0 to +10.0) points" in text
    assert "[quick, 8 seeds](../notebooks/han2023_concept_detectors.ipynb)" in text
    assert text.startswith("before") and text.endswith("after")


def test_what_failed_is_said_and_an_exploratory_claim_is_marked(tmp_path):
    record, claims = detectors_record(), all_claims()
    found = replace(record.verdicts["han2023.1b"], word="no test", failed_gates=("gate failed: a poor teacher: Sad.",))
    record.verdicts["han2023.1b"] = found
    seen = Conditions(exploratory_since=datetime.date(2026, 11, 27), exploratory_why="Seen before.")
    claims["han2023.1b"] = replace(claims["han2023.1b"], conditions=seen)
    text = fill("<!-- verdict: han2023.1b -->", claims, [record], tmp_path)
    assert text.startswith("- Claim 1b, *KD gives more concept detectors* (exploratory): **no test**, +10.0")
    assert text.endswith("han2023_concept_detectors.ipynb)). Gate failed: a poor teacher: Sad")


def test_without_a_record_nothing_is_claimed(tmp_path):
    text = fill("<!-- verdict: han2023.1b -->\n<!-- figure: headline han2023: Two. -->", all_claims(), [], tmp_path)
    assert "not yet measured" in text and "needs results that are not yet on file" in text
    assert list(tmp_path.iterdir()) == []


def test_the_larger_preset_speaks(tmp_path):
    records = [detectors_record(), detectors_record("gpu", kd=40.0)]
    assert "**contradicted**" in fill("<!-- verdict: han2023.1b -->", all_claims(), records, tmp_path)
    records = [detectors_record(), detectors_record("retrain", kd=40.0)]
    assert "[long, 8 seeds]" in fill("<!-- verdict: han2023.1b -->", all_claims(), records, tmp_path)


def test_a_figure_is_drawn_described_and_captioned(tmp_path):
    text = fill("<!-- figure: headline han2023: What to see. -->", all_claims(), [detectors_record()], tmp_path)
    assert (tmp_path / "han2023_headline.png").stat().st_size > 10_000
    assert "*Figure 1.* What to see." in text and ":width: 480px" in text
    (alt,) = [line for line in text.splitlines() if line.startswith(":alt:")]
    assert "Paper, detectors: Scratch 275, Label smoothing 219, Distilled (KD) 312" in alt
    assert "Distilled (KD): mean 61.1 %, seeds 60.0 to 62.1" in alt


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.md").write_text("<!-- figure: at_a_glance han2023: All. -->\n")
    for name in ("a", "b"):
        fill((tmp_path / name / "x.md").read_text(), all_claims(), [detectors_record()], tmp_path / name)
    pictures = [(tmp_path / name / "han2023_at_a_glance.png").read_bytes() for name in ("a", "b")]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("<!-- verdict: han2023.1z -->", "unknown claim"),
        ("<!-- figure: headlin han2023: x -->", "did you mean 'headline'"),
        ("<!-- figure: headline han2032: x -->", "did you mean 'han2023'"),
    ],
)
def test_a_misspelt_mark_is_refused(tmp_path, mark, message):
    with pytest.raises(KdlibError, match=message):
        fill(mark, all_claims(), [], tmp_path)


def test_figures_are_numbered_down_the_page_and_what_is_not_drawn_has_no_number(tmp_path):
    marks = [f"<!-- figure: {name} han2023: Look. -->" for name in ("headline", "controls", "at_a_glance")]
    text = fill("\n\n".join(marks), all_claims(), [detectors_record()], tmp_path)
    assert re.findall(r"\*Figure (\d)\.\*", text) == ["1", "2"] and "not yet on file" in text


def test_a_chapter_s_answer_is_the_record_s_first_line(tmp_path):
    record = detectors_record()
    mark = "<!-- found: han2023_concept_detectors -->"
    assert fill(mark, all_claims(), [record], tmp_path) == (
        "- [](../notebooks/han2023_concept_detectors.ipynb): this chapter has not been run with this version of the "
        "book."
    )
    record.found = ("Fewer\n(-3 points).", "Three seeds.", "None.")
    text = fill(f"{mark}\n<!-- found: start_here -->", all_claims(), [record], tmp_path)
    assert text.splitlines()[0] == "- [](../notebooks/han2023_concept_detectors.ipynb): Fewer (−3 points)."
    assert "start_here.ipynb): this chapter has not been run" in text.splitlines()[1]
    long = detectors_record("retrain")
    long.found = ("More.", "Eight seeds.", "None.")
    assert fill(mark, all_claims(), [record, long], tmp_path).endswith(": More.")


def test_every_mark_of_the_books_chapters_is_understood(tmp_path):
    chapters = sorted((ROOT / "book").glob("*.md"))
    assert {"intro.md", "han2023.md", "cheng2020.md"} <= {path.name for path in chapters}
    for path in chapters:
        (tmp_path / path.name).write_text(path.read_text())
    fill_chapters(tmp_path, [ROOT / "book/results"])
    for path in tmp_path.glob("*.md"):
        assert "<!--" not in path.read_text()


def concepts_record(arms: dict[str, float]) -> Record:
    record = Record("cheng2020_visual_concepts", {"preset": "quick", "n_seeds": 3})
    units = {"concepts_on_object": 20.0, "concepts_beside_object": 10.0, "share_on_object": 0.6}
    for metric, base in units.items():
        unit = "fraction" if base < 1 else "cells of 256"
        for arm, factor in arms.items():
            record.measure(f"{metric}/{arm}", {seed: base * factor + 0.01 * seed for seed in range(3)}, unit)
    return record


def test_concepts_are_drawn_where_all_three_networks_are_on_file(tmp_path):
    mark = "<!-- figure: concepts cheng2020: What to see. -->"
    record = concepts_record({"teacher": 1.2, "student": 1.1, "baseline": 1.0})
    text = fill(mark, all_claims(), [record], tmp_path)
    assert (tmp_path / "cheng2020_concepts.png").stat().st_size > 10_000
    (alt,) = [line for line in text.splitlines() if line.startswith(":alt:")]
    assert "Student 22 (22 to 22)" in alt and "Teacher 24" in alt and "Baseline 0.61 (0.6 to 0.62)" in alt
    half = concepts_record({"student": 1.1, "baseline": 1.0})
    assert "not yet on file" in fill(mark, all_claims(), [half], tmp_path)
    assert "not yet on file" in fill("<!-- figure: learning cheng2020: Later. -->", all_claims(), [record], tmp_path)
