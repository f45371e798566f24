"""Nothing in the README, the chapters or the notebooks gives a verdict that no committed record backs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prose import check_prose

from kdlib.claims import Record, read_records
from kdlib.claims.readme import PICTURE, refresh_between_markers, results_in_readme
from kdlib.claims.records import SUFFIX
from kdlib.errors import KdlibError

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
    known = {"seconds.json"}  # how long each notebook took, for the executor
    strange = [p.name for p in RESULTS.rglob("*.json") if not p.name.endswith(SUFFIX) and p.name not in known]
    assert strange == []


def test_every_notebook_tells_how_long_it_took() -> None:
    seconds = json.loads((RESULTS / "quick" / "seconds.json").read_text(encoding="utf-8"))
    assert seconds.keys() == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert all(taken > 0 for taken in seconds.values())


def text_of(path: Path) -> str:
    """What a reader reads: the file, or a notebook's Markdown cells and Markdown outputs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    parts = []
    for cell in json.loads(text)["cells"]:
        parts += [cell["source"]] if cell["cell_type"] == "markdown" else []
        parts += [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
    return "\n".join(part if isinstance(part, str) else "".join(part) for part in parts)


@pytest.mark.parametrize("path", prose(), ids=lambda path: path.name)
def test_verdicts_in_prose_are_backed(path: Path, records: list[Record]) -> None:
    check_prose(text_of(path), records)


def test_markdown_cells_and_outputs_of_a_notebook_are_read(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["about ", "han2023.1a\n"]},
        {
            "cell_type": "code",
            "source": "x",
            "outputs": [{"data": {"text/markdown": "- **han2023.1b**, supported: so."}}],
        },
        {"cell_type": "code", "source": "y", "outputs": [{"name": "stdout", "text": "z"}]},
    ]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert "about han2023.1a" in text_of(path)
    with pytest.raises(KdlibError, match=r"'supported' of han2023\.1b"):
        check_prose(text_of(path), [])


def test_the_results_in_the_readme_are_current(records: list[Record]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    body, picture = results_in_readme(records)
    mend = "kdlib.claims.readme.refresh_readme mends it"
    assert refresh_between_markers(readme, "results", body) == readme, mend
    assert (ROOT / PICTURE).read_text(encoding="utf-8") == picture, mend
