"""The README's results: a line a paper, the forest plot as a picture, and nothing that the records do not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kdlib.claims import WORDS, Record, all_claims, papers
from kdlib.claims.readme import PICTURE, refresh_between_markers, refresh_readme, results_in_readme
from kdlib.errors import KdlibError

Make = Callable[..., Record]
EMPTY = "# Title\n<!-- results:begin -->\nold\n<!-- results:end -->\nRest\n"


def cells(body: str, first: str) -> list[str]:
    """The row of the table that begins so."""
    (line,) = [line for line in body.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_a_line_a_paper_counts_its_verdicts(make_record: Make) -> None:
    body, _ = results_in_readme([make_record()])
    assert cells(body, "Paper") == [*WORDS, "not yet measured"]
    of_paper = [claim for claim in all_claims().values() if claim.paper.key == "han2023"]
    assert cells(body, "Han et al. 2023") == ["1", "1", "0", "0", "0", str(len(of_paper) - 2)]
    assert cells(body, "all") == ["1", "1", "0", "0", "0", str(len(all_claims()) - 2)]
    assert len([line for line in body.splitlines() if line.startswith("|")]) == 3 + len(papers())


def test_a_claim_counts_once_at_its_largest_preset(make_record: Make) -> None:
    body, _ = results_in_readme([make_record("gpu", seeds=1), make_record("quick")])
    assert cells(body, "Han et al. 2023")[:4] == ["0", "0", "0", "2"]
    assert "Measured: 2 at preset `gpu` ([larger networks, whole data sets, eight seeds](book/using.md))." in body


def test_the_picture_is_shown_with_the_counts_in_words(make_record: Make) -> None:
    body, picture = results_in_readme([make_record()])
    missing = len(all_claims()) - 2
    alternative = f"![Forest plot of {missing + 2} claims: 1 supported, 1 not supported, 0 contradicted, "
    alternative += "0 inconclusive, 0 no test"
    assert f"{alternative}, {missing} not yet measured. " in body and body.endswith(f"]({PICTURE})\n")
    assert picture is not None and picture.startswith("<svg ")


def test_nothing_measured(make_record: Make) -> None:
    assert results_in_readme([make_record("smoke")]) == results_in_readme([]) == ("No results yet.\n", None)


def test_refreshing_twice_changes_nothing(make_record: Make) -> None:
    body, _ = results_in_readme([make_record()])
    once = refresh_between_markers(EMPTY, "results", body)
    assert body.strip() in once
    assert "old" not in once
    assert once.startswith("# Title\n")
    assert once.endswith("<!-- results:end -->\nRest\n")
    assert refresh_between_markers(once, "results", body) == once


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- results:begin -->",
        "<!-- results:end --><!-- results:begin -->",
        "<!-- results:begin --><!-- results:end --><!-- results:end -->",
        "<!-- other:begin --><!-- other:end -->",
    ],
)
def test_markers_must_stand_once_and_in_order(text: str) -> None:
    with pytest.raises(KdlibError, match="each once"):
        refresh_between_markers(text, "results", "new")


def test_readme_and_picture_are_written_only_where_they_change(make_record: Make, tmp_path: Path) -> None:
    path, picture = tmp_path / "README.md", tmp_path / PICTURE
    path.write_text(EMPTY, encoding="utf-8")
    assert refresh_readme(path, [make_record()]) == [path, picture]
    body, svg = results_in_readme([make_record()])
    assert body.strip() in path.read_text(encoding="utf-8") and picture.read_text(encoding="utf-8") == svg
    assert refresh_readme(path, [make_record()]) == []
    picture.write_text("another", encoding="utf-8")
    assert refresh_readme(path, [make_record()]) == [picture]
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == [path, picture]


def test_without_results_no_picture_is_written(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(EMPTY, encoding="utf-8")
    assert refresh_readme(path, []) == [path] and list(tmp_path.iterdir()) == [path]


def test_a_readme_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KdlibError, match=r"cannot refresh .*none\.md"):
        refresh_readme(tmp_path / "none.md", [])
