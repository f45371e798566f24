"""Chapters of prose: their figures and verdicts come from records, and say so where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdlib.chapters import fill, fill_chapters
from kdlib.claims import Record, all_claims
from kdlib.errors import KdlibError

ROOT = Path(__file__).resolve().parents[1]


def detectors_record(preset: str = "quick", kd: float = 60.0) -> Record:
    record = Record("han2023_concept_detectors", {"preset": preset, "n_seeds": 3})
    arms = {"scratch": 50.0, "label_smoothing": 45.0, "kd": kd}
    for metric, unit in (("accuracy", "percent"), ("detectors", "percent of units")):
        for arm, value in arms.items():
            record.measure(f"{metric}/{arm}", {seed: value + 0.3 * seed for seed in range(3)}, unit)
    record.claim("han2023.1b")
    return record


def test_a_verdict_is_the_records(tmp_path):
    text = fill("before\n\n<!-- verdict: han2023.1b -->\n\nafter", all_claims(), [detectors_record()], tmp_path)
    assert "- Claim 1b, *KD gives more concept detectors*: **supported**, +10 (+10 to +10) points" in text
    assert "[quick, 3 seeds](../notebooks/han2023_concept_detectors.ipynb)" in text
    assert text.startswith("before") and text.endswith("after")


def test_without_a_record_nothing_is_claimed(tmp_path):
    text = fill("<!-- verdict: han2023.1b -->\n<!-- figure: headline han2023: Two. -->", all_claims(), [], tmp_path)
    assert "not yet measured" in text and "needs results that are not yet on file" in text
    assert list(tmp_path.iterdir()) == []


def test_the_larger_preset_speaks(tmp_path):
    records = [detectors_record(), detectors_record("gpu", kd=40.0)]
    assert "**contradicted**" in fill("<!-- verdict: han2023.1b -->", all_claims(), records, tmp_path)


def test_a_figure_is_drawn_described_and_captioned(tmp_path):
    text = fill("<!-- figure: headline han2023: What to see. -->", all_claims(), [detectors_record()], tmp_path)
    assert (tmp_path / "han2023_headline.png").stat().st_size > 10_000
    assert "What to see." in text
    (alt,) = [line for line in text.splitlines() if line.startswith(":alt:")]
    assert "Paper, detectors: Scratch 275, Label smoothing 219, Distilled (KD) 312" in alt
    assert "Distilled (KD): mean 60.3 %" in alt


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
    ],
)
def test_a_misspelt_mark_is_refused(tmp_path, mark, message):
    with pytest.raises(KdlibError, match=message):
        fill(mark, all_claims(), [], tmp_path)


def test_every_mark_of_the_books_chapters_is_understood(tmp_path):
    for path in (ROOT / "book").glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text())
    fill_chapters(tmp_path, [ROOT / "book/results"])
    for path in tmp_path.glob("*.md"):
        assert "<!-- verdict" not in path.read_text() and "<!-- figure" not in path.read_text()
