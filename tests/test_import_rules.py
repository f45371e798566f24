"""The import rules: floors, no circle, no paper that imports another. `make check` names both modules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = {path.stem for path in (ROOT / "kdlib/papers").glob("*.py")}  # by all papers


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "kdlib",
        tmp_path / "kdlib",
        ignore=lambda folder, names: [n for n in names if "." in n and not n.endswith(".py")],
    )
    return tmp_path


def test_make_check_asks_the_linter_and_the_package_passes(copy):
    assert "$(BIN)/lint-imports" in (ROOT / "Makefile").read_text()
    found = lint(copy)
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


@pytest.mark.parametrize(
    ("importer", "imported", "rule"),
    [
        ("kdlib.claims.claim", "kdlib.claims.judging", "No circle"),
        ("kdlib.stats", "kdlib.metrics.five_band", "Each floor imports only what is below it"),
        ("kdlib.papers.cheng2020.settings", "kdlib.papers.han2023.arms", "No paper imports another paper"),
        ("kdlib.papers.study", "kdlib.papers.han2023.arms", "No paper imports another paper"),
        ("kdlib.papers.new2030", "kdlib.papers.cheng2020.settings", "No paper imports another paper"),
    ],
)
def test_a_broken_rule_is_reported_with_both_names(copy, importer, imported, rule):
    file = copy.joinpath(*importer.split(".")).with_suffix(".py")
    if not file.exists():  # a paper that comes next needs no edit of the rule
        file = file.with_suffix("") / "__init__.py"
        file.parent.mkdir()
        file.touch()
    file.write_text(f"{file.read_text()}\nimport {imported}\n")
    found = lint(copy)
    assert found.returncode == 1
    assert f"{rule} BROKEN" in found.stdout
    named = found.stdout.split("Broken contracts")[1]
    # A circle is named by its package and the last parts of both modules.
    names = [importer, imported] if rule != "No circle" else [name.rpartition(".")[2] for name in (importer, imported)]
    assert all(name in named for name in names), named


def test_the_page_for_contributors_names_the_floors_as_the_linter_has_them():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "book/extending.md").read_text()
    [shown] = [part for part in page.split("\n\n") if "←" in part]
    named = [re.findall(r"\w+", floor) for floor in shown.split("←")]
    assert [set(floor) for floor in reversed(named)] == [set(re.findall(r"kdlib\.(\w+)", floor)) for floor in floors]
    rooms = {folder.name for folder in (ROOT / "kdlib").iterdir() if (folder / "__init__.py").is_file()}
    assert rooms <= set(re.findall(r"^\| `(\w+)/` \|", page, re.M))


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_imports_one_paper_at_most(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    papers = set(re.findall(r"^from kdlib\.papers\.(\w+)", code, re.M))
    assert papers, "a chapter uses a paper's study or at least what all papers share"
    assert len(papers - SHARED) <= 1
