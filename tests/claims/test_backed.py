"""Nothing in the README, the chapters or the notebooks gives a verdict that no committed record backs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kdlib.claims import Record, read_records
from kdlib.claims.ledger import check_prose, readme_table, refresh_between_markers
from kdlib.claims.records import SUFFIX

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "book" / "results"
BUILT = {"executed", "results", "_static"}


def prose() -> list[Path]:
    """README, chapters and notebooks as committed; the ledger is compiled anew by every build."""
    chapters = [p for p in (ROOT / "book").rglob("*.md") if not BUILT & set(p.relative_to(ROOT / "book").parts)]
    return [ROOT / "README.md", *sorted(chapters), *sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Every committed record; reading them rechecks each verdict against its measurements and its claim."""
    return read_records([RESULTS])


def test_every_results_file_is_found_by_its_name() -> None:
    strange = [path.name for path in RESULTS.rglob("*.json") if not path.name.endswith(SUFFIX)]
    assert strange == []


@pytest.mark.parametrize("path", prose(), ids=lambda path: path.name)
def test_verdicts_in_prose_are_backed(path: Path, records: list[Record]) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n".join(source if isinstance(source, str) else "".join(source) for source in cells)
    check_prose(text, records)


def test_the_results_in_the_readme_are_current(records: list[Record]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if "<!-- results:begin -->" not in readme:
        pytest.skip("the README shows no table of results")
    assert refresh_between_markers(readme, "results", readme_table(records)) == readme, (
        "write readme_table into README.md"
    )
